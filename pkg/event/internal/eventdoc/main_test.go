package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/event"
)

func TestPageOf_IsCommitted(t *testing.T) {
	t.Parallel()
	committed, err := os.ReadFile("../../../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	page, err := pageOf(event.Types())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(page, committed) {
		t.Error("docs/events.md is not what the catalog says: make generate")
	}
}

func TestFieldsOf(t *testing.T) {
	t.Parallel()
	rows, err := fieldsOf([]byte(`{
		"properties": {
			"who": {"allOf": [{"$ref": "#/$defs/who"}, {"properties": {"role": {"const": "owner"}, "since": {"type": "string", "format": "date"}}, "required": ["role"]}]},
			"boss": {"description": "Above it", "anyOf": [{"$ref": "#/$defs/who"}, {"type": "null"}]},
			"parts": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 0, "maximum": 9}}}},
			"free": {"type": "object", "minProperties": 1, "additionalProperties": {"type": ["string", "number"]}}
		},
		"required": ["who"],
		"$defs": {"who": {"type": "object", "properties": {
			"name": {"type": "string", "minLength": 1}, "role": {"type": "string", "enum": ["owner", "guest"]}, "code": {"type": "string", "pattern": "^a|b$"}
		}, "required": ["name"]}}
	}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []row{
		{"who", "object", true, ""},
		{"who.name", "string", true, "not empty"},
		{"who.role", "string", true, "always `owner`"},
		{"who.code", "string", false, "matches `^a|b$`"},
		{"who.since", "string (date)", false, ""},
		{"boss", "object or null", false, "Above it"},
		{"boss.name", "string", true, "not empty"},
		{"boss.role", "string", false, "one of `owner`, `guest`"},
		{"boss.code", "string", false, "matches `^a|b$`"},
		{"parts", "array of object", false, ""},
		{"parts[].n", "integer", false, "0 to 9"},
		{"free", "object", false, "at least 1 of its fields"},
		{"free.*", "string or number", false, ""},
	}
	for i := range max(len(rows), len(want)) {
		var got, expected row
		if i < len(rows) {
			got = rows[i]
		}
		if i < len(want) {
			expected = want[i]
		}
		if got != expected {
			t.Errorf("row %d is %+v, want %+v", i, got, expected)
		}
	}
}

// What the page has no words for must not be left out in silence.
func TestPageOf_RefusesUnknownKeywords(t *testing.T) {
	t.Parallel()
	d, _ := event.Lookup(event.DealMoved)
	for _, schema := range []string{
		`{"properties": {"a": {"not": {}}}}`, `{"properties": {"a": {"$ref": "#/$defs/b"}}}`,
		`{"properties": {"a": {"anyOf": [{"type": "string"}, {"type": "object"}]}}}`,
	} {
		d.Schema = json.RawMessage(schema)
		if _, err := pageOf([]event.Definition{d}); err == nil || !strings.Contains(err.Error(), "a") {
			t.Errorf("%s: %v", schema, err)
		}
	}
}
