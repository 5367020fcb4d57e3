package event

import (
	"bytes"
	"testing"
)

// The library is for what is wrong: nothing that is right and usual may need it,
// in no type.
func TestRule_AcceptsExamples(t *testing.T) {
	t.Parallel()
	for _, d := range Types() {
		_, data, _ := bytes.Cut(d.Example, []byte(`,"data":`))
		if !newRule(d.Schema).accepts(data[:len(data)-1]) {
			t.Errorf("%s: the example is left to the library", d.Type)
		}
	}
}

// A schema that has no rule is left to the library, never accepted.
func TestRule_LeavesToTheLibrary(t *testing.T) {
	t.Parallel()
	for schema, value := range map[string]string{
		`{"not":{"type":"string"}}`: `1`, `{"oneOf":[{"type":"string"}]}`: `"x"`, `{"type":"uuid"}`: `"x"`, `{"$ref":"other.json"}`: `1`,
		`{"$ref":"#/$defs/none"}`: `1`, `{"pattern":"a|b"}`: `"a"`, `{"pattern":"^a(b|c)$"}`: `"ab"`, `{"pattern":"(?i)^a$"}`: `"a"`,
		`{"pattern":"a$"}`: `"a"`, `{"pattern":"["}`: `"["`, `{"format":"email"}`: `"a@b.c"`, `{"minLength":"1"}`: `"x"`,
		`{"additionalProperties":false}`: `{"a":1}`, `{"properties":{"a":true}}`: `{"a":1}`, `{"required":"a"}`: `{"a":1}`, `{"enum":{}}`: `1`,
		`true`: `1`, `[]`: `1`,
	} {
		if newRule([]byte(schema)).accepts([]byte(value)) {
			t.Errorf("%s accepts %s", schema, value)
		}
	}
}
