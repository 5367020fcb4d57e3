// Package problem holds the errors that an HTTP client is meant to see: problem
// details as RFC 9457 defines them. Handlers return a *Problem like any other
// error; ErrorHandler alone writes them, and turns everything else into one.
package problem

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ContentType is the media type of a problem.
const ContentType = "application/problem+json"

// typeBlank says that a problem means no more than its status code (RFC 9457, 4.2.1).
const typeBlank = "about:blank"

// Problem is an error for the client, complete enough to act on. Everything in
// it is sent, except the cause. One value may answer many requests: ErrorHandler
// and the With methods change copies.
type Problem struct {
	// Type is a URI naming the kind of problem; empty means about:blank.
	Type string `json:"type"`
	// Title is the same for every problem of a type; empty means the status text.
	Title string `json:"title"`
	// Status is the HTTP status code, 400 to 599.
	Status int `json:"status"`
	// Detail says what went wrong this time and how to put it right.
	Detail string `json:"detail,omitempty"`
	// Instance is the path of the request; ErrorHandler fills it in.
	Instance string `json:"instance,omitempty"`
	// Errors names the fields at fault.
	Errors []FieldError `json:"errors,omitempty"`
	// RequestID finds the request in the logs; ErrorHandler fills it in.
	RequestID string `json:"requestId,omitempty"`

	// Extensions are further members of the JSON object (RFC 9457, 3.2). One named
	// like a member above is left out.
	Extensions map[string]any `json:"-"`
	// RetryAfter becomes the Retry-After header in whole seconds, rounded up; 0
	// sends none.
	RetryAfter time.Duration `json:"-"`
	// Header holds further headers of the answer, such as WWW-Authenticate.
	Header http.Header `json:"-"`

	cause error
}

// FieldError is one fault of a request's body.
type FieldError struct {
	// Pointer is a JSON Pointer (RFC 6901) to the field, as made by Pointer.
	Pointer string `json:"pointer"`
	// Detail says what the field must be.
	Detail string `json:"detail"`
}

// Pointer joins object keys and array indices to a JSON Pointer (RFC 6901):
// Pointer("events", 3) is "/events/3", and without tokens the whole document, "".
func Pointer(tokens ...any) string {
	var b strings.Builder
	for _, token := range tokens {
		b.WriteByte('/')
		b.WriteString(pointerEscapes.Replace(fmt.Sprint(token)))
	}
	return b.String()
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// New returns a problem with the given status; an empty title means the status's text.
func New(status int, title, detail string) *Problem {
	if title == "" {
		title = statusText(status)
	}
	return &Problem{Type: typeBlank, Title: title, Status: status, Detail: detail}
}

// BadRequest is 400: the request could not be read.
func BadRequest(detail string) *Problem { return New(http.StatusBadRequest, "", detail) }

// Unauthorized is 401; challenge is the value of WWW-Authenticate, which RFC 9110
// demands with this status.
func Unauthorized(challenge, detail string) *Problem {
	return New(http.StatusUnauthorized, "", detail).WithHeader("WWW-Authenticate", challenge)
}

// Forbidden is 403: we know who asks, and they may not.
func Forbidden(detail string) *Problem { return New(http.StatusForbidden, "", detail) }

// NotFound is 404, also for what belongs to another tenant.
func NotFound(detail string) *Problem { return New(http.StatusNotFound, "", detail) }

// Conflict is 409: the request does not fit the present state.
func Conflict(detail string) *Problem { return New(http.StatusConflict, "", detail) }

// TooLarge is 413: the body is longer than limit bytes.
func TooLarge(limit int64) *Problem {
	return New(http.StatusRequestEntityTooLarge, "", fmt.Sprintf("the body is larger than %d bytes", limit))
}

// Invalid is 422: the request could be read, and the named fields are wrong.
func Invalid(faults ...FieldError) *Problem {
	p := New(http.StatusUnprocessableEntity, "", fmt.Sprintf("%d fields are invalid", len(faults)))
	switch {
	case len(faults) == 0:
		p.Detail = "the request is invalid"
	case len(faults) == 1 && faults[0].Pointer == "":
		p.Detail = faults[0].Detail
	case len(faults) == 1:
		p.Detail = faults[0].Pointer + ": " + faults[0].Detail
	}
	p.Errors = faults
	return p
}

// TooManyRequests is 429; the client may come back after retryAfter.
func TooManyRequests(retryAfter time.Duration, detail string) *Problem {
	p := New(http.StatusTooManyRequests, "", detail)
	p.RetryAfter = retryAfter
	return p
}

// Unavailable is 503: something that we need is away; the client may come back
// after retryAfter.
func Unavailable(retryAfter time.Duration, detail string) *Problem {
	p := New(http.StatusServiceUnavailable, "", detail)
	p.RetryAfter = retryAfter
	return p
}

// Error describes the problem for logs, with its cause.
func (p *Problem) Error() string {
	s := strconv.Itoa(p.Status) + " " + p.Title
	if p.Detail != "" {
		s += ": " + p.Detail
	}
	if p.cause != nil {
		s += ": " + p.cause.Error()
	}
	return s
}

// Unwrap returns the cause, or nil.
func (p *Problem) Unwrap() error { return p.cause }

// WithCause returns a copy that wraps err: for logs and errors.Is, never sent.
func (p *Problem) WithCause(err error) *Problem {
	c := *p
	c.cause = err
	return &c
}

// WithHeader returns a copy whose answer carries one more header.
func (p *Problem) WithHeader(name, value string) *Problem {
	c := *p
	c.Header = p.Header.Clone()
	if c.Header == nil {
		c.Header = make(http.Header)
	}
	c.Header.Add(name, value)
	return &c
}

// WithExtension returns a copy with one more member.
func (p *Problem) WithExtension(name string, value any) *Problem {
	c := *p
	c.Extensions = maps.Clone(p.Extensions)
	if c.Extensions == nil {
		c.Extensions = make(map[string]any)
	}
	c.Extensions[name] = value
	return &c
}

// members are the names that extensions cannot take.
var members = []string{"type", "title", "status", "detail", "instance", "errors", "requestId"}

// MarshalJSON writes the members, then the extensions sorted by name.
func (p *Problem) MarshalJSON() ([]byte, error) {
	type plain Problem // without methods: no recursion
	c := plain(*p)
	if c.Type == "" {
		c.Type = typeBlank
	}
	if c.Title == "" {
		c.Title = statusText(c.Status)
	}
	own, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("problem: encode: %w", err)
	}
	more := maps.Clone(p.Extensions)
	maps.DeleteFunc(more, func(name string, _ any) bool { return slices.Contains(members, name) })
	if len(more) == 0 {
		return own, nil
	}
	extensions, err := json.Marshal(more)
	if err != nil {
		return nil, fmt.Errorf("problem: encode extensions: %w", err)
	}
	return slices.Concat(bytes.TrimSuffix(own, []byte("}")), []byte(","), bytes.TrimPrefix(extensions, []byte("{"))), nil
}

func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "Status " + strconv.Itoa(status)
}
