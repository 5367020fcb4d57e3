package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/services/api/internal/strict"
)

// input is one event as the client wrote it. Absent fields and those that are
// null are empty.
type input struct {
	raw       []byte // the whole item
	data      []byte
	eventType string
	timestamp string
	id        string
	tenantID  string
	faults    []problem.FieldError // pointers start at the item
}

// read takes a request's body apart: one event, or an array of them. It goes once
// over the bytes; data is cut out of them as it stands. The error is a problem
// with the request as a whole.
func read(body []byte) (inputs []input, array bool, err error) {
	r := reader{
		body: body,
		// What data may hold is pkg/event's to say: duplicate keys and lone surrogates
		// among it.
		dec: jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)),
	}
	if r.dec.PeekKind() == '[' {
		array = true
		inputs, err = r.items()
	} else {
		inputs = make([]input, 1)
		err = r.item(&inputs[0])
	}
	if err == nil {
		if _, err = r.dec.ReadToken(); errors.Is(err, io.EOF) {
			return inputs, array, nil
		}
		if err == nil {
			err = errTrailing
		}
	}
	if p, ok := errors.AsType[*problem.Problem](err); ok {
		return nil, array, p
	}
	return nil, array, strict.Problem(err)
}

var errTrailing = errors.New("something follows the document")

type reader struct {
	body []byte
	dec  *jsontext.Decoder
}

func (r *reader) items() ([]input, error) {
	if _, err := r.dec.ReadToken(); err != nil {
		return nil, err
	}
	inputs := make([]input, 0, min(MaxEvents, 1+len(r.body)/512))
	for r.dec.PeekKind() != ']' {
		if len(inputs) == MaxEvents {
			return nil, problem.Invalid(problem.FieldError{Detail: fmt.Sprintf("must have at most %d events", MaxEvents)})
		}
		inputs = append(inputs, input{})
		if err := r.item(&inputs[len(inputs)-1]); err != nil {
			return nil, err
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return nil, err
	}
	if len(inputs) == 0 {
		return nil, problem.Invalid(problem.FieldError{Detail: "must have at least one event"})
	}
	return inputs, nil
}

// item reads one event.
func (r *reader) item(in *input) error {
	if r.dec.PeekKind() != '{' {
		in.fault("", "must be an object")
		return r.dec.SkipValue()
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	start := r.dec.InputOffset() - 1
	var seen [5]bool
	for r.dec.PeekKind() != '}' {
		name, err := r.dec.ReadToken()
		if err != nil {
			return err
		}
		field := name.String() // the token is gone after the next read
		at := -1
		switch field {
		case "event":
			at, err = 0, r.text(in, field, &in.eventType, false)
		case "data":
			var data jsontext.Value
			data, err = r.dec.ReadValue()
			at, in.data = 1, r.body[r.dec.InputOffset()-int64(len(data)):r.dec.InputOffset()]
		case "timestamp":
			at, err = 2, r.text(in, field, &in.timestamp, true)
		case "id":
			at, err = 3, r.text(in, field, &in.id, true)
		case "tenantId":
			at, err = 4, r.text(in, field, &in.tenantID, true)
		default:
			in.fault(strict.Pointer(problem.Pointer(field)), "is not a known field")
			err = r.dec.SkipValue()
		}
		if err != nil {
			return err
		}
		if at >= 0 && seen[at] {
			in.fault("/"+field, "is given twice")
		} else if at >= 0 {
			seen[at] = true
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	in.raw = r.body[start:r.dec.InputOffset()]
	if !seen[0] {
		in.fault("/event", "is required")
	}
	if !seen[1] {
		in.fault("/data", "is required")
	}
	return nil
}

// text reads a string. A null is the empty one where the field is optional.
func (r *reader) text(in *input, field string, into *string, optional bool) error {
	kind := r.dec.PeekKind()
	if kind != '"' {
		if kind != 'n' || !optional {
			in.fault("/"+field, "must be a string")
		}
		return r.dec.SkipValue()
	}
	token, err := r.dec.ReadToken()
	if err != nil {
		return err
	}
	if *into = token.String(); *into == "" {
		in.fault("/"+field, "must not be empty")
	}
	return nil
}

func (in *input) fault(pointer, detail string) {
	// A document cannot make us remember more faults than it has room for events.
	if len(in.faults) < maxFaults {
		in.faults = append(in.faults, problem.FieldError{Pointer: pointer, Detail: detail})
	}
}

// maxFaults bounds the faults that are named of one event.
const maxFaults = 20
