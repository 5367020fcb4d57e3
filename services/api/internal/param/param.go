// Package param reads query parameters, which come as strings, and points out
// those that cannot be read.
package param

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
)

// The bounds of lists that are not bounded in time.
var (
	Beginning = time.Unix(0, 0).UTC()
	FarFuture = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
)

// Fault adds a fault of the parameter called name.
func Fault(faults *[]problem.FieldError, name, detail string) {
	*faults = append(*faults, problem.FieldError{Pointer: problem.Pointer(name), Detail: detail})
}

// UUID reads a UUID in its one form: uuid.Parse takes others, too.
func UUID(s string) (id uuid.UUID, ok bool) {
	id, err := uuid.Parse(s)
	return id, err == nil && len(s) == 36
}

// ID reads the id of a row. None has another form.
func ID(s string) (uuid.UUID, error) {
	id, ok := UUID(s)
	if !ok {
		return uuid.Nil, store.ErrNotFound
	}
	return id, nil
}

// OneOf is nil for a parameter that is not there.
func OneOf[T ~string](name string, value *string, choices []T, faults *[]problem.FieldError) *string {
	if value != nil && !slices.Contains(choices, T(*value)) {
		Fault(faults, name, "must be "+Choices(choices))
	}
	return value
}

// Choices names what there is to choose from.
func Choices[T ~string](choices []T) string {
	var b strings.Builder
	for i, choice := range choices {
		switch {
		case i == 0:
		case i == len(choices)-1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(string(choice))
	}
	return b.String()
}

// Boolean is nil for a parameter that is not there.
func Boolean(name string, value *string, faults *[]problem.FieldError) *bool {
	switch {
	case value == nil:
		return nil
	case *value == "true":
		return new(true)
	case *value == "false":
		return new(false)
	default:
		Fault(faults, name, "must be true or false")
		return nil
	}
}

// Time is otherwise for a parameter that is not there.
func Time(name string, value *string, otherwise time.Time, faults *[]problem.FieldError) time.Time {
	if value == nil {
		return otherwise
	}
	var at time.Time
	if err := at.UnmarshalText([]byte(*value)); err != nil { // RFC 3339 to the letter
		Fault(faults, name, "must be a time such as 2025-10-20T12:00:00Z")
	}
	return at
}

// Period is the time from one parameter to another, each with what it is where it
// is not there. One that ends before it begins is a fault: nothing is in it.
func Period(from, to *string, since, until time.Time, faults *[]problem.FieldError) (first, end time.Time) {
	before := len(*faults)
	first, end = Time("from", from, since, faults), Time("to", to, until, faults)
	if len(*faults) == before && end.Before(first) {
		Fault(faults, "to", "must not be before from")
	}
	return first, end
}
