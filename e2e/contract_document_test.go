package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/primezap/primezap/api"
)

// contractDocument is the contract, as the test reads it.
type contractDocument struct {
	whole      any
	operations []*operation
	compiler   *jsonschema.Compiler
}

// operation is a method of a path.
type operation struct {
	id, method, path string
	public           bool
	anyQuery         bool // takes query parameters that it does not have
	scopes           []string
	parameters       []parameter
	body             map[string]any // its schema, nil without one
	bodyRequired     bool
	form             bool                      // the body is a form's, not JSON
	answers          map[int]map[string]string // where the schema of a status and media type stands
	headers          map[int][]string          // that an answer with a status must have
}

// parameter is one of a path, query or header.
type parameter struct {
	name, in string
	schema   map[string]any
}

// formType is the media type of a form's fields.
const formType = "application/x-www-form-urlencoded"

// contractURL is where the schemas believe to be.
const contractURL = "https://contract.test/openapi.json"

func readContract(t *testing.T) *contractDocument {
	t.Helper()
	var fromYAML any
	if err := yaml.Unmarshal(api.OpenAPI, &fromYAML); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(fromYAML)
	if err != nil {
		t.Fatal(err)
	}
	doc := &contractDocument{compiler: jsonschema.NewCompiler()}
	if doc.whole, err = decode(encoded); err != nil {
		t.Fatal(err)
	}
	doc.compiler.DefaultDraft(jsonschema.Draft2020) // OpenAPI 3.1
	doc.compiler.AssertFormat()
	if err := doc.compiler.AddResource(contractURL, doc.whole); err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.whole.(map[string]any)["paths"].(map[string]any) {
		for method, described := range item.(map[string]any) {
			if method != "parameters" {
				doc.operations = append(doc.operations, doc.operation(path, method, described.(map[string]any)))
			}
		}
	}
	slices.SortFunc(doc.operations, func(a, b *operation) int { return strings.Compare(a.id, b.id) })
	return doc
}

func (d *contractDocument) operation(path, method string, described map[string]any) *operation {
	op := &operation{id: described["operationId"].(string), method: method, path: path, answers: map[int]map[string]string{}, headers: map[int][]string{}}
	op.anyQuery, _ = described["x-any-query"].(bool)
	security, given := described["security"].([]any)
	op.public = given && len(security) == 0
	if len(security) > 0 {
		for _, scope := range security[0].(map[string]any)["apiKey"].([]any) {
			op.scopes = append(op.scopes, scope.(string))
		}
	}
	shared, _ := at(d.whole, "paths", path, "parameters").([]any)
	own, _ := described["parameters"].([]any)
	for _, p := range slices.Concat(shared, own) {
		p := d.resolve(p.(map[string]any))
		op.parameters = append(op.parameters, parameter{p["name"].(string), p["in"].(string), d.resolve(p["schema"].(map[string]any))})
	}
	if body, ok := described["requestBody"].(map[string]any); ok {
		mediaType := "application/json"
		if op.form = at(body, "content", formType) != nil; op.form {
			mediaType = formType
		}
		op.body = d.resolve(at(body, "content", mediaType, "schema").(map[string]any))
		op.bodyRequired, _ = body["required"].(bool)
	}
	for code, answer := range described["responses"].(map[string]any) {
		status, err := strconv.Atoi(code)
		if err != nil {
			continue
		}
		pointer := pointerTo("paths", path, method, "responses", code)
		if ref, ok := answer.(map[string]any)["$ref"].(string); ok {
			pointer = ref
		}
		op.answers[status] = map[string]string{}
		headers, _ := d.resolve(answer.(map[string]any))["headers"].(map[string]any)
		for name := range headers {
			// Of the limit only where there is one, and when to try again not where nothing is to be.
			if !strings.HasPrefix(name, "RateLimit") && status != http.StatusMultiStatus {
				op.headers[status] = append(op.headers[status], name)
			}
		}
		content, _ := d.resolve(answer.(map[string]any))["content"].(map[string]any)
		for mediaType := range content {
			op.answers[status][mediaType] = pointer + strings.TrimPrefix(pointerTo("content", mediaType, "schema"), "#")
		}
	}
	return op
}

// resolve follows a reference, if it is one.
func (d *contractDocument) resolve(described map[string]any) map[string]any {
	for {
		ref, ok := described["$ref"].(string)
		if !ok {
			return described
		}
		described = at(d.whole, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...).(map[string]any)
	}
}

// schema is the one at a place of the document.
func (d *contractDocument) schema(t fataler, place ...string) *jsonschema.Schema {
	return d.compiled(t, pointerTo(place...))
}

func (d *contractDocument) compiled(t fataler, pointer string) *jsonschema.Schema {
	schema, err := d.compiler.Compile(contractURL + pointer)
	if err != nil {
		t.Fatalf("schema at %s: %v", pointer, err)
	}
	return schema
}

func pointerTo(place ...string) string {
	pointer := "#"
	for _, token := range place {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(token)
	}
	return strings.NewReplacer("{", "%7B", "}", "%7D").Replace(pointer)
}

// at is what stands at a place in a document, nil if nothing does.
func at(document any, place ...string) any {
	for _, token := range place {
		object, ok := document.(map[string]any)
		if !ok {
			return nil
		}
		document = object[token]
	}
	return document
}

// decode reads JSON with its numbers as they are written.
func decode(text []byte) (any, error) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	return value, nil
}
