package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// maxFaults bounds what Validate names of one body.
const maxFaults = 20

// Validate holds the data of a body that Body returned against its type's schema,
// and returns what is wrong with it, 20 faults at most and in the order of their
// pointers; nil for data that is as the schema says. Pointers begin with /data.
func Validate(t Type, body []byte) []*Error {
	v, ok := validators()[t]
	if !ok {
		return []*Error{{Pointer: "/event", Reason: UnknownType, Detail: NoType}}
	}
	_, data, _ := bytes.Cut(body, []byte(`,"data":`)) // the first: neither type nor time can hold it
	data = data[:len(data)-1]
	if v.quick.accepts(data) {
		return nil
	}
	return v.faults(data)
}

// validator is a schema, compiled twice: quick for the answer that nearly all data
// gets, the library's for all others.
type validator struct {
	quick  *rule
	schema *jsonschema.Schema
}

var validators = sync.OnceValue(func() map[Type]validator {
	all := make(map[Type]validator, len(definitions()))
	for t, d := range definitions() {
		schema, err := compileSchema(d)
		if err != nil {
			panic(fmt.Sprintf("event: catalog: %s: %v", t, err))
		}
		all[t] = validator{quick: newRule(d.Schema), schema: schema}
	}
	return all
})

func compileSchema(d Definition) (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(d.Schema))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	compiler.DefaultDraft(jsonschema.Draft2020)
	location := string(d.Type) + ".json"
	if err := compiler.AddResource(location, document); err != nil {
		return nil, err
	}
	return compiler.Compile(location)
}

// faults asks the library, first about as much of the data as shows maxFaults.
func (v validator) faults(data []byte) []*Error {
	part := v.quick.trimmed(data, maxFaults)
	faults := v.explain(part)
	if faults == nil && len(part) < len(data) { // the rule was wrong about all that it did not accept
		return v.explain(data)
	}
	return faults
}

func (v validator) explain(data []byte) []*Error {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		panic(fmt.Sprintf("event: a body holds no JSON: %v", err))
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](v.schema.Validate(document))
	if !ok {
		return nil
	}
	faults := faultsIn(nil, invalid)
	slices.SortStableFunc(faults, func(a, b *Error) int { return strings.Compare(a.Pointer, b.Pointer) })
	// Two schemas may find the same.
	return slices.CompactFunc(faults, func(a, b *Error) bool { return *a == *b })
}

// faultsIn appends the faults at the leaves of the library's tree, until there are
// maxFaults.
func faultsIn(faults []*Error, e *jsonschema.ValidationError) []*Error {
	add := func(detail string, below ...string) {
		if len(faults) < maxFaults {
			faults = append(faults, faultAt(e.InstanceLocation, detail, below...))
		}
	}
	switch is := e.ErrorKind.(type) {
	case *kind.AnyOf:
		return append(faults, alternatives(e, maxFaults-len(faults))...)
	case *kind.Required:
		for _, name := range is.Missing {
			add("is required", name)
		}
	case *kind.Type:
		add("must be " + kindsOf(is.Want))
	case *kind.Enum:
		add("must be one of " + list(is.Want))
	case *kind.Const:
		add("must be " + list([]any{is.Want}))
	case *kind.Pattern:
		add("must match " + is.Want)
	case *kind.Format:
		add("must be a " + is.Want)
	case *kind.MinLength:
		if is.Want == 1 {
			add("must not be empty")
		} else {
			add(fmt.Sprintf("must have at least %d characters", is.Want))
		}
	case *kind.Minimum:
		add("must be at least " + is.Want.RatString())
	case *kind.Maximum:
		add("must be at most " + is.Want.RatString())
	case *kind.MinProperties:
		add(fmt.Sprintf("must have at least %d fields", is.Want))
	default:
		for _, cause := range e.Causes {
			if len(faults) == maxFaults {
				break
			}
			faults = faultsIn(faults, cause)
		}
		if len(e.Causes) == 0 {
			add("must satisfy " + strings.Join(e.ErrorKind.KeywordPath(), "/") + " of the event type's schema")
		}
	}
	return faults
}

// alternatives explains why none of several schemas accepts a value: by those that
// are for a value of its kind, or if there are none by the kinds that there are.
func alternatives(e *jsonschema.ValidationError, most int) []*Error {
	var wanted []string
	for _, cause := range e.Causes {
		if kinds := otherKinds(cause, len(e.InstanceLocation)); kinds != nil {
			wanted = append(wanted, kinds...)
			continue
		}
		faults := faultsIn(nil, cause)
		return faults[:min(most, len(faults))]
	}
	if most == 0 {
		return nil
	}
	return []*Error{faultAt(e.InstanceLocation, "must be "+kindsOf(wanted))}
}

// otherKinds returns the kinds of value that a schema is for, if it refused the
// value at depth for its kind.
func otherKinds(e *jsonschema.ValidationError, depth int) []string {
	if mismatch, ok := e.ErrorKind.(*kind.Type); ok && len(e.InstanceLocation) == depth {
		return mismatch.Want
	}
	for _, cause := range e.Causes {
		if len(cause.InstanceLocation) > depth {
			continue
		}
		if kinds := otherKinds(cause, depth); kinds != nil {
			return kinds
		}
	}
	return nil
}

func faultAt(location []string, detail string, below ...string) *Error {
	e := &Error{Reason: SchemaMismatch, Detail: detail}
	for _, name := range slices.Backward(slices.Concat([]string{"data"}, location, below)) {
		e = e.within(name)
	}
	return e
}

// kindsOf names JSON Schema's types as people do.
func kindsOf(types []string) string {
	names := make([]string, len(types))
	for i, t := range types {
		switch t {
		case "null":
			names[i] = "null"
		case "boolean":
			names[i] = "true or false"
		case "integer":
			names[i] = "a whole number"
		case "array", "object":
			names[i] = "an " + t
		default:
			names[i] = "a " + t
		}
	}
	return strings.Join(names, " or ")
}

// list writes values of a schema: ours, so few and short.
func list(values []any) string {
	texts := make([]string, len(values))
	for i, value := range values {
		text, err := json.Marshal(value)
		if err != nil {
			panic(fmt.Sprintf("event: a schema holds %v: %v", value, err))
		}
		texts[i] = string(bytes.Trim(text, `"`))
	}
	return strings.Join(texts, ", ")
}
