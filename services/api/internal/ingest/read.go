package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/strict"
)

// input is one event as the client wrote it. Absent fields and those that are
// null are empty.
type input struct {
	raw       []byte // the whole item
	data      []byte
	contact   string // data.contact.id, unchecked
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
func (r *reader) item(in *input) (err error) {
	if r.dec.PeekKind() != '{' {
		in.fault("", "must be an object")
		return r.dec.SkipValue()
	}
	var seen [len(fields)]bool
	in.raw, err = r.object(func(name []byte) error {
		at := fieldNamed(name)
		if at < 0 {
			in.fault(strict.Pointer(problem.Pointer(string(name))), "is not a known field")
			return r.dec.SkipValue()
		}
		if seen[at] {
			in.fault("/"+fields[at], "is given twice")
		}
		seen[at] = true
		switch at {
		case fieldEvent:
			return r.text(in, at, &in.eventType, false)
		case fieldData:
			return r.data(in)
		case fieldTimestamp:
			return r.text(in, at, &in.timestamp, true)
		case fieldID:
			return r.text(in, at, &in.id, true)
		default:
			return r.text(in, at, &in.tenantID, true)
		}
	})
	for _, at := range []int{fieldEvent, fieldData} {
		if !seen[at] {
			in.fault("/"+fields[at], "is required")
		}
	}
	return err
}

// fields of an event.
var fields = [...]string{fieldEvent: "event", fieldData: "data", fieldTimestamp: "timestamp", fieldID: "id", fieldTenant: "tenantId"}

const (
	fieldEvent = iota
	fieldData
	fieldTimestamp
	fieldID
	fieldTenant
)

func fieldNamed(name []byte) int {
	for at := range fields {
		if string(name) == fields[at] {
			return at
		}
	}
	return -1
}

// data cuts data out, and remembers the contact that it is about: data.contact.id
// in every type that is about one.
func (r *reader) data(in *input) (err error) {
	in.contact = ""
	if r.dec.PeekKind() != '{' {
		err = r.dec.SkipValue()
		in.data = []byte("null") // refused like any other that is no object
		return err
	}
	in.data, err = r.object(func(name []byte) error {
		if string(name) != "contact" || r.dec.PeekKind() != '{' {
			return r.dec.SkipValue()
		}
		_, err := r.object(func(name []byte) error {
			if string(name) != "id" || r.dec.PeekKind() != '"' {
				return r.dec.SkipValue()
			}
			token, err := r.dec.ReadToken()
			if err == nil {
				in.contact = token.String()
			}
			return err
		})
		return err
	})
	return err
}

// object reads an object, each member's value by member, and returns its text. A
// name is gone after the next read.
func (r *reader) object(member func(name []byte) error) ([]byte, error) {
	if _, err := r.dec.ReadToken(); err != nil {
		return nil, err
	}
	start := r.dec.InputOffset() - 1
	for r.dec.PeekKind() != '}' {
		quoted, err := r.dec.ReadValue()
		if err != nil {
			return nil, err
		}
		name := quoted[1 : len(quoted)-1]
		if bytes.IndexByte(name, '\\') >= 0 {
			name, _ = jsontext.AppendUnquote(nil, quoted) // lone surrogates become U+FFFD, as in no name of ours
		}
		if err := member(name); err != nil {
			return nil, err
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return nil, err
	}
	return r.body[start:r.dec.InputOffset()], nil
}

// text reads a string. A null is the empty one where the field is optional.
func (r *reader) text(in *input, at int, into *string, optional bool) error {
	kind := r.dec.PeekKind()
	if kind != '"' {
		if kind != 'n' || !optional {
			in.fault("/"+fields[at], "must be a string")
		}
		return r.dec.SkipValue()
	}
	token, err := r.dec.ReadToken()
	if err != nil {
		return err
	}
	if *into = token.String(); *into == "" {
		in.fault("/"+fields[at], "must not be empty")
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
