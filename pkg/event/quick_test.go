package event

import (
	"bytes"
	"fmt"
	"strings"
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

// What the rule alone does not accept is no fault yet: behind any number of such
// values a wrong one is found.
func TestValidator_LooksBehindWhatItTrims(t *testing.T) {
	t.Parallel()
	const schema = `{"properties":{
		"a":{"type":"array","items":{"type":"string","pattern":"^[a\"]+$"}},
		"b":{"type":"object","additionalProperties":{"type":"string","format":"email"}},
		"c":{"anyOf":[{"type":"null"},{"type":"object","properties":{"d":{"type":"string"}},"required":["d"]}]}}}`
	compiled, err := compileSchema(Definition{Type: "test", Schema: []byte(schema)})
	if err != nil {
		t.Fatal(err)
	}
	v := validator{quick: newRule([]byte(schema)), schema: compiled}
	quotes := strings.Repeat(`"\"",`, 30)
	members := `"k":"a@b.c"`
	for n := range 30 {
		members += fmt.Sprintf(`,"k%d":"a@b.c"`, n)
	}
	for data, want := range map[string]string{
		`{"a":[` + quotes + `"a"]}`: "", `{"a":[` + quotes + `1]}`: "/data/a/30",
		`{"b":{` + members + `}}`: "", `{"b":{` + members + `,"x":1}}`: "/data/b/x",
		`{"a":[` + quotes + `"a"],"c":{"d":"x"}}`: "", `{"a":[` + quotes + `"a"],"c":{"d":1}}`: "/data/c/d",
	} {
		got := ""
		for _, fault := range v.faults([]byte(data)) {
			got += fault.Pointer
		}
		if got != want {
			t.Errorf("%.40s… has faults at %q, want %q", data, got, want)
		}
	}
}
