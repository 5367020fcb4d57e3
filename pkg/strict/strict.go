// Package strict reads the bodies of requests, and refuses what a generated
// decoder would let pass: unknown and repeated fields, names in another case,
// null where a value is needed, anything behind the document. Every refusal is a
// problem that points to the field.
package strict

import (
	"bytes"
	jsonv1 "encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/primezap/primezap/pkg/problem"
)

// Binder is an echo.Binder for bodies alone: JSON into a struct by Unmarshal, or
// the bytes as they came into a *json.RawMessage.
type Binder struct{}

// Bind implements echo.Binder. A body that is empty is a problem that wraps
// io.EOF, by which the generated server knows an optional body that was left out.
func (Binder) Bind(into any, c echo.Context) error {
	body, err := read(c.Request())
	if err != nil {
		return err
	}
	if raw, ok := into.(*jsonv1.RawMessage); ok {
		*raw = body
		return nil
	}
	return Unmarshal(body, into)
}

// grow is how much of the announced length is believed before it has come.
const grow = 64 << 10

// read returns the body of a request, which the server has bounded.
func read(req *http.Request) ([]byte, error) {
	if encoding := req.Header.Get(echo.HeaderContentEncoding); encoding != "" && encoding != "identity" {
		return nil, problem.New(http.StatusUnsupportedMediaType, "", "the body must not be compressed")
	}
	var buf bytes.Buffer
	buf.Grow(int(min(max(req.ContentLength, 0), grow)) + bytes.MinRead)
	if _, err := buf.ReadFrom(req.Body); err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return nil, err
		}
		return nil, problem.BadRequest("the body did not arrive whole").WithCause(err)
	}
	if len(bytes.TrimSpace(buf.Bytes())) == 0 {
		return nil, problem.BadRequest("the request needs a JSON body").WithCause(io.EOF)
	}
	if media := req.Header.Get(echo.HeaderContentType); media != "" && !isJSON(media) {
		return nil, problem.New(http.StatusUnsupportedMediaType, "", "the body must be application/json")
	}
	return buf.Bytes(), nil
}

func isJSON(media string) bool {
	media, _, _ = strings.Cut(media, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == echo.MIMEApplicationJSON || strings.HasPrefix(media, "application/") && strings.HasSuffix(media, "+json")
}

// Unmarshal reads one JSON document into a struct. The error is a problem: 400
// for what is no JSON, 422 for the first field that is unknown, repeated or of a
// wrong type.
func Unmarshal(body []byte, into any) error {
	if string(bytes.TrimSpace(body)) == "null" { // the library would read it as an empty one
		return problem.Invalid(problem.FieldError{Detail: "must be an object"})
	}
	if err := json.Unmarshal(body, into, json.RejectUnknownMembers(true)); err != nil {
		return Problem(err)
	}
	return nil
}

// Members takes a JSON object apart into those of its members that are known, and
// leaves their values as they are: what they may hold is for others to say. The
// error is a problem, as Unmarshal's.
func Members(body []byte, known ...string) (map[string]jsontext.Value, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	members := make(map[string]jsontext.Value, len(known))
	var faults []problem.FieldError
	read := func() error {
		if dec.PeekKind() != '{' {
			faults = append(faults, problem.FieldError{Detail: "must be an object"})
			return dec.SkipValue()
		}
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		for dec.PeekKind() != '}' {
			token, err := dec.ReadToken()
			if err != nil {
				return err
			}
			name := token.String()
			value, err := dec.ReadValue()
			if err != nil {
				return err
			}
			_, twice := members[name]
			switch at := Pointer(problem.Pointer(name)); {
			case !slices.Contains(known, name):
				faults = append(faults, problem.FieldError{Pointer: at, Detail: "is not a known field"})
			case twice:
				faults = append(faults, problem.FieldError{Pointer: at, Detail: "is given twice"})
			default:
				members[name] = value.Clone()
			}
			if len(faults) == maxFaults {
				return problem.Invalid(faults...)
			}
		}
		_, err := dec.ReadToken()
		return err
	}
	err := read()
	if err == nil {
		if _, err = dec.ReadToken(); errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			err = errTrailing
		}
	}
	if p, ok := errors.AsType[*problem.Problem](err); ok {
		return nil, p
	}
	if err != nil {
		return nil, Problem(err)
	}
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	return members, nil
}

// maxFaults is how many unknown or repeated fields of a document are named.
const maxFaults = 20

var errTrailing = errors.New("something follows the document")

// Problem explains an error of the JSON library to the client that sent the
// document.
func Problem(err error) *problem.Problem {
	if fault, ok := errors.AsType[*json.SemanticError](err); ok {
		at := Pointer(string(fault.JSONPointer))
		if errors.Is(fault.Err, json.ErrUnknownName) {
			return problem.Invalid(problem.FieldError{Pointer: at, Detail: "is not a known field"}).WithCause(err)
		}
		return problem.Invalid(problem.FieldError{Pointer: at, Detail: "must be " + describe(fault.GoType)}).WithCause(err)
	}
	if fault, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at := Pointer(string(fault.JSONPointer))
		if errors.Is(fault.Err, jsontext.ErrDuplicateName) {
			return problem.Invalid(problem.FieldError{Pointer: at, Detail: "is given twice"}).WithCause(err)
		}
		if strings.Count(string(fault.JSONPointer), "/") >= maxDepth {
			return problem.Invalid(problem.FieldError{Pointer: at, Detail: "nests too deep"}).WithCause(err)
		}
		p := problem.BadRequest(fmt.Sprintf("the body cannot be read as JSON: the fault is at byte %d", fault.ByteOffset))
		if at != "" {
			p.Errors = []problem.FieldError{{Pointer: at, Detail: "cannot be read as JSON"}}
		}
		return p.WithCause(err)
	}
	return problem.BadRequest("the body cannot be read as JSON").WithCause(err)
}

// maxDepth is how deep the library reads arrays and objects in one another.
const maxDepth = 10_000

// Bounds of what a document can make us answer: a key may be as long as the
// document.
const (
	maxPointerBytes  = 512
	maxPointerLevels = 16
)

// Pointer is pointer itself, or its nearest ancestor of at most 512 bytes and 16
// levels.
func Pointer(pointer string) string {
	levels := 0
	for i := range len(pointer) {
		if pointer[i] != '/' {
			continue
		}
		if levels++; levels > maxPointerLevels {
			pointer = pointer[:i]
			break
		}
	}
	if len(pointer) <= maxPointerBytes {
		return pointer
	}
	return pointer[:max(strings.LastIndexByte(pointer[:maxPointerBytes+1], '/'), 0)]
}

// describe says what JSON a Go type is read from.
func describe(t reflect.Type) string {
	if t == nil {
		return "of another type"
	}
	if t == reflect.TypeFor[uuid.UUID]() {
		return "a UUID"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return describe(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number in range"
	case reflect.Slice:
		return "an array"
	default:
		return "an object"
	}
}

// Optional is a field of a merge: absent, null or a value. The zero value is
// absent.
type Optional[T any] struct {
	Given bool
	Value *T // nil if absent or null
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom: only a field that is there
// is read.
func (o *Optional[T]) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	o.Given = true
	return json.UnmarshalDecode(dec, &o.Value)
}

// Or returns the value, or otherwise where it is absent or null.
func (o Optional[T]) Or(otherwise T) T {
	if o.Value == nil {
		return otherwise
	}
	return *o.Value
}
