package facebook

import (
	"context"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/strict"
)

// Action is what one value of the field action has done.
type Action struct {
	name   string
	stored bool // it needs nothing but what is stored
	do     func(ctx context.Context, body []byte) (answer any, err error)
}

// On is an action whose body is read into T, a type of the contract: its members that
// must be there are those without omitempty. Which values they may have is for do to
// say. Its answer becomes JSON; its error is put through [refusal.Of].
func On[T any](name string, do func(ctx context.Context, in T) (answer any, err error)) Action {
	required := requiredOf(reflect.TypeFor[T]())
	return Action{name: name, do: func(ctx context.Context, body []byte) (any, error) {
		var in T
		if err := strict.Unmarshal(body, &in); err != nil {
			return nil, err
		}
		if err := complete(body, required); err != nil {
			return nil, err
		}
		return do(ctx, in)
	}}
}

// Stored is the action where it needs no settings of Meta's app.
func (a Action) Stored() Action {
	a.stored = true
	return a
}

// requiredOf are the names of the members that a type has in any case.
func requiredOf(t reflect.Type) []string {
	var names []string
	for field := range t.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if !strings.Contains(options, "omitempty") {
			names = append(names, name)
		}
	}
	return names
}

// complete refuses a body, an object, without members that it must have. Nor are they
// null, which would be read as what is empty.
func complete(body []byte, required []string) error {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err != nil {
		return strict.Problem(err)
	}
	var faults []problem.FieldError
	for _, name := range required {
		switch value, given := members[name]; {
		case !given:
			faults = append(faults, problem.FieldError{Pointer: problem.Pointer(name), Detail: "is required"})
		case value.Kind() == 'n':
			faults = append(faults, problem.FieldError{Pointer: problem.Pointer(name), Detail: "must not be null"})
		}
	}
	if len(faults) > 0 {
		return problem.Invalid(faults...)
	}
	return nil
}
