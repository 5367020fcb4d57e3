package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/meta/metatest"
)

// meant draws values for fields whose schema does not say all that they must be.
var meant = map[string]func(rt *rapid.T) any{
	"url": func(rt *rapid.T) any {
		return "https://" + rapid.StringMatching(`[a-z]{1,20}`).Draw(rt, "host") + ".example.com/" + rapid.StringMatching(`[a-z0-9/]{0,30}`).Draw(rt, "path")
	},
	"events": func(rt *rapid.T) any {
		return rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"*", "deal.*", "deal.moved", "message.received", "contact.*", "webhook.failing"}), 1, 4, rapid.ID).Draw(rt, "events")
	},
	"secret": func(rt *rapid.T) any { return rapid.StringMatching(`[!-~]{16,64}`).Draw(rt, "secret") },
	"headers": func(rt *rapid.T) any {
		return rapid.MapOfN(rapid.StringMatching(`X-Own-[A-Za-z0-9]{1,20}`), rapid.StringMatching(`[!-~]{1,40}`), 0, 1).Draw(rt, "headers")
	},
	"filter": func(rt *rapid.T) any {
		return rapid.SampledFrom([]any{
			map[string]any{"stage.name": map[string]any{"$eq": "won"}},
			map[string]any{"deal": map[string]any{"value": map[string]any{"$gte": 100}}},
			map[string]any{"$or": []any{map[string]any{"deal.id": "1"}, map[string]any{"deal.id": map[string]any{"$in": []any{"2", "3"}}}}},
		}).Draw(rt, "filter")
	},
	"event": func(rt *rapid.T) any { return string(rapid.SampledFrom(event.Types()).Draw(rt, "event").Type) },
	"scopes": func(rt *rapid.T) any {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(auth.Scopes()), 1, 3, rapid.ID).Draw(rt, "scopes")
	},
	"since":     func(rt *rapid.T) any { return ago(rt, 2*time.Hour, 48*time.Hour) },
	"until":     func(rt *rapid.T) any { return ago(rt, time.Second, time.Hour) },
	"contactId": func(rt *rapid.T) any { return rapid.StringMatching(`[a-z0-9_-]{1,60}`).Draw(rt, "contact") },
	"name":      func(rt *rapid.T) any { return rapid.StringMatching(`[A-Za-zçã0-9 ]{0,50}[a-z]`).Draw(rt, "name") },
	"description": func(rt *rapid.T) any {
		return rapid.StringMatching(`[ -~çãé]{0,200}`).Draw(rt, "description")
	},
	"email": func(rt *rapid.T) any {
		return rapid.StringMatching(`[a-z.]{1,20}@[a-z]{1,20}\.example`).Draw(rt, "email")
	},
	"instagram": func(rt *rapid.T) any { return rapid.StringMatching(`[a-z0-9._]{1,30}`).Draw(rt, "user name") },
	"tags": func(rt *rapid.T) any {
		return rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zçã ]{0,30}[a-z]`), 0, 4, rapid.ID).Draw(rt, "tags")
	},
	"owner": person, "assignee": person,
	"customFields": func(rt *rapid.T) any {
		return rapid.MapOfN(rapid.StringMatching(`[a-zA-Zçã_ ]{1,20}`), rapid.OneOf(
			rapid.Map(rapid.StringMatching(`[ -~çã😊]{0,100}`), func(s string) any { return s }), rapid.Map(rapid.Bool(), func(b bool) any { return b }),
			rapid.Map(rapid.IntRange(-1<<53+1, 1<<53-1), func(n int) any { return n }), rapid.Just(any(nil)),
		), 0, 5).Draw(rt, "custom fields")
	},
	"data": func(rt *rapid.T) any {
		return rapid.MapOfN(rapid.StringMatching(`[a-z_$.]{1,10}`), rapid.OneOf(
			rapid.Map(rapid.String(), func(s string) any { return s }),
			rapid.Map(rapid.IntRange(-1<<53+1, 1<<53-1), func(n int) any { return n }),
			// Integers that Go writes without an exponent are refused beyond 2^53-1.
			rapid.Map(rapid.Float64Range(-1e300, 1e300).Filter(func(f float64) bool { return math.Abs(f) < 1<<53 || math.Abs(f) >= 1e21 }),
				func(f float64) any { return f }),
			rapid.Just(any(nil)),
		), 0, 5).Draw(rt, "data")
	},
}

// person is a member of the team, or nobody.
func person(rt *rapid.T) any {
	if rapid.Bool().Draw(rt, "nobody") {
		return nil
	}
	return map[string]any{"id": uuid.Must(uuid.NewV7()).String(), "name": rapid.StringMatching(`[A-Z][a-zçã]{1,30}`).Draw(rt, "name")}
}

func ago(rt *rapid.T, least, most time.Duration) string {
	return time.Now().Add(-time.Duration(rapid.Int64Range(int64(least), int64(most)).Draw(rt, "ago"))).UTC().Format(time.RFC3339)
}

// bodyOf is a body that op should take.
func (w *contractWorld) bodyOf(rt *rapid.T, doc *contractDocument, op *operation) any {
	switch op.id {
	case "publishEvents":
		if rapid.Bool().Draw(rt, "array") {
			items := make([]any, rapid.IntRange(1, 5).Draw(rt, "items"))
			for i := range items {
				items[i] = w.eventOf(rt)
			}
			if rapid.Bool().Draw(rt, "one refused") {
				items = append(items, map[string]any{"event": "nothing.of_ours", "data": map[string]any{}})
			}
			return items
		}
		return w.eventOf(rt)
	case "createConnection":
		body := doc.value(rt, op.body, "").(map[string]any)
		w.account(body)
		return body
	case "updateConnection":
		body := doc.value(rt, op.body, "").(map[string]any)
		if _, given := body["credentials"]; given {
			body["credentials"] = map[string]any{"accessToken": w.token}
		}
		return body
	case "receiveMetaWebhook":
		return w.updates(rt)
	case "facebookOAuth", "facebookOAuthFunction":
		return w.action(rt, doc, op)
	case "deauthorizeFacebook", "deleteFacebookData":
		return w.notice(rt)
	case "createTenantDeletion":
		// Not a tenant that the test needs.
		return map[string]any{"tenantId": uuid.NewString()}
	}
	return doc.value(rt, op.body, "")
}

// account completes a body that connects an account: one that is at Meta, and that
// nobody has connected.
func (w *contractWorld) account(body map[string]any) {
	id := strings.ReplaceAll(uuid.NewString(), "-", "")
	token := "EAA" + id
	body["externalId"], body["credentials"] = id, map[string]any{"accessToken": token}
	switch body["channel"] {
	case "whatsapp":
		w.graph.AddNumber(metatest.Number{ID: id, Phone: "+5511" + id[:9], Name: "n", Token: token})
	case "facebook":
		w.graph.AddPage(metatest.Page{ID: id, Name: "n", Token: token})
	case "instagram":
		page := "p" + id
		w.graph.AddPage(metatest.Page{ID: page, Name: "n", Token: token})
		w.graph.AddAccount(metatest.Account{ID: id, Username: "n", Page: page})
		if body["pageId"] != nil {
			body["pageId"] = page
		}
		return
	}
	delete(body, "pageId")
}

func (w *contractWorld) eventOf(rt *rapid.T) map[string]any {
	published := slices.DeleteFunc(event.Types(), func(d event.Definition) bool { return d.Operational })
	kind := rapid.SampledFrom(published).Draw(rt, "type")
	var example struct{ Data map[string]any }
	if err := json.Unmarshal(kind.Example, &example); err != nil {
		rt.Fatalf("%v", err)
	}
	example.Data["further"] = rapid.String().Draw(rt, "further")
	in := map[string]any{"event": string(kind.Type), "data": example.Data}
	if rapid.Bool().Draw(rt, "with a timestamp") {
		in["timestamp"] = ago(rt, 0, time.Hour)
	}
	if rapid.Bool().Draw(rt, "with an id") {
		in["id"] = uuid.NewString()
	}
	if rapid.Bool().Draw(rt, "with a tenant") {
		in["tenantId"] = w.tenant.String()
	}
	return in
}

// value is one that a schema allows. name is that of the field it is for.
func (d *contractDocument) value(rt *rapid.T, schema map[string]any, name string) any {
	schema = d.resolve(schema)
	if draw := meant[name]; draw != nil {
		return draw(rt)
	}
	if choices, ok := schema["oneOf"].([]any); ok {
		return d.value(rt, rapid.SampledFrom(choices).Draw(rt, "choice").(map[string]any), name)
	}
	if values, ok := schema["enum"].([]any); ok {
		return rapid.SampledFrom(values).Draw(rt, name)
	}
	switch kind := rapid.SampledFrom(types(schema)).Draw(rt, "type of "+name); kind {
	case "null":
		return nil
	case "boolean":
		return rapid.Bool().Draw(rt, name)
	case "integer":
		return rapid.IntRange(bound(schema, "minimum", 0), bound(schema, "maximum", 1000)).Draw(rt, name)
	case "string":
		return rapid.StringMatching(fmt.Sprintf(`[a-z]{%d,%d}`, bound(schema, "minLength", 0), min(bound(schema, "maxLength", 40), 40))).Draw(rt, name)
	case "array":
		items := make([]any, rapid.IntRange(bound(schema, "minItems", 0), min(bound(schema, "maxItems", 3), 3)).Draw(rt, "length of "+name))
		for i := range items {
			items[i] = d.value(rt, schema["items"].(map[string]any), "")
		}
		return items
	case "object":
		object := map[string]any{}
		required := requiredOf(schema)
		properties, _ := schema["properties"].(map[string]any)
		for _, property := range slices.Sorted(maps.Keys(properties)) {
			if slices.Contains(required, property) || rapid.Bool().Draw(rt, "with "+property) {
				object[property] = d.value(rt, properties[property].(map[string]any), property)
			}
		}
		return object
	default:
		rt.Fatalf("a schema of type %q", kind)
		return nil
	}
}

// types are the JSON types that a schema allows.
func types(schema map[string]any) []string {
	switch kind := schema["type"].(type) {
	case string:
		return []string{kind}
	case []any:
		kinds := make([]string, len(kind))
		for i := range kind {
			kinds[i] = kind[i].(string)
		}
		return kinds
	}
	return []string{"object"}
}

func requiredOf(schema map[string]any) (required []string) {
	names, _ := schema["required"].([]any)
	for _, name := range names {
		required = append(required, name.(string))
	}
	return required
}

func bound(schema map[string]any, name string, otherwise int) int {
	n, ok := schema[name].(json.Number)
	if !ok {
		return otherwise
	}
	value, err := n.Int64()
	if err != nil {
		return otherwise
	}
	return int(min(value, math.MaxInt32))
}

// queryValue is a value for a query parameter, false if it takes none that can
// be made up.
func queryValue(rt *rapid.T, doc *contractDocument, p parameter) (string, bool) {
	switch {
	case p.name == "cursor":
		return "", false // only an answer has one
	case p.name == "page":
		return strconv.Itoa(rapid.IntRange(1, 100).Draw(rt, "page")), true // of 100: the first 10 000 entries
	case p.name == "event":
		return meant["event"](rt).(string), true
	case p.name == "from":
		return ago(rt, 24*time.Hour, 6*24*time.Hour), true
	case p.name == "to":
		return ago(rt, 0, 23*time.Hour), true
	case p.schema["format"] == "uuid":
		return uuid.NewString(), true
	case p.schema["pattern"] != nil:
		return rapid.StringMatching(strings.Trim(p.schema["pattern"].(string), "^$")).Draw(rt, p.name), true
	}
	switch value := doc.value(rt, p.schema, p.name).(type) {
	case string:
		return value, value != ""
	case bool:
		return strconv.FormatBool(value), true
	case int:
		return strconv.Itoa(value), true
	}
	return "", false
}

// wrongQuery are values that a query parameter does not take, nil if it takes
// everything.
func wrongQuery(doc *contractDocument, p parameter) []string {
	switch {
	case p.name == "cursor":
		return []string{"x", "!", strings.Repeat("A", 200)}
	case p.name == "event":
		return []string{"nothing.of_ours", ""}
	case p.schema["format"] == "date-time":
		return []string{"yesterday", "2026-13-01T00:00:00Z", "1"}
	case p.schema["pattern"] != nil, p.schema["enum"] != nil, p.schema["format"] == "uuid":
		return []string{"nothing of it", "999999"}
	case slices.Contains(types(p.schema), "boolean"):
		return []string{"maybe", "1", ""}
	case slices.Contains(types(p.schema), "integer"):
		return []string{"x", "-1", "0", "1e3", "99999999999999999999", "1.5"}
	}
	return nil
}

// wrongBodies are the ways in which r's body can be made wrong.
func (w *contractWorld) wrongBodies(rt *rapid.T, doc *contractDocument, op *operation, r *request) map[string]func() []int {
	whole := func() []byte {
		if !r.hasBody {
			r.body, r.hasBody = w.bodyOf(rt, doc, op), true
			r.header.Set("Content-Type", "application/json")
		}
		encoded, err := json.Marshal(r.body)
		if err != nil {
			rt.Fatalf("%v", err)
		}
		return encoded
	}
	ways := map[string]func() []int{
		"a body that breaks off": func() []int {
			encoded := whole()
			r.raw = encoded[:len(encoded)-1]
			return []int{http.StatusBadRequest}
		},
		"something behind the body": func() []int {
			r.raw = append(whole(), "{}"...)
			return []int{http.StatusBadRequest}
		},
		"a body that is no object": func() []int {
			whole()
			r.raw = []byte(rapid.SampledFrom([]string{`1`, `"x"`, `true`, `[[]]`}).Draw(rt, "body"))
			if op.id == "publishEvents" && r.raw[0] == '[' {
				r.raw = []byte(`[]`)
			}
			return []int{http.StatusUnprocessableEntity}
		},
		"a body that is too large": func() []int {
			r.raw = append(whole(), bytes.Repeat([]byte(" "), 1<<20)...)
			return []int{http.StatusRequestEntityTooLarge}
		},
		"a body that is compressed": func() []int {
			r.raw = whole()
			r.header.Set("Content-Encoding", "gzip")
			return []int{http.StatusUnsupportedMediaType}
		},
	}
	schema := op.body
	switch {
	case op.id == "publishEvents":
		schema = doc.resolve(schema["oneOf"].([]any)[0].(map[string]any))
	case isAction(op):
		schema = doc.actionSchema(op, actionOf(r.body))
	}
	object := func(change func(map[string]any)) []int {
		whole()
		if _, ok := r.body.(map[string]any); !ok {
			r.body = w.eventOf(rt)
		}
		fields := maps.Clone(r.body.(map[string]any))
		change(fields)
		r.body = fields
		return []int{http.StatusUnprocessableEntity}
	}
	ways["an unknown field"] = func() []int {
		return object(func(fields map[string]any) { fields["unheardOf"] = 1 })
	}
	if required := requiredOf(schema); len(required) > 0 {
		ways["a field that is missing"] = func() []int {
			return object(func(fields map[string]any) {
				delete(fields, rapid.SampledFrom(required).Draw(rt, "missing"))
			})
		}
	}
	properties, _ := schema["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		property := doc.resolve(properties[name].(map[string]any))
		for what, value := range wrongValues(doc, property) {
			ways[what+" for "+name] = func() []int {
				want := object(func(fields map[string]any) { fields[name] = value })
				if _, text := value.(string); isAction(op) && text && property["format"] == "uuid" {
					want = append(want, http.StatusNotFound) // as in a path, unless there are two
				}
				return want
			}
		}
	}
	return ways
}

// wrongValues are values that a schema refuses.
func wrongValues(doc *contractDocument, schema map[string]any) map[string]any {
	wrong := map[string]any{}
	if choices, ok := schema["oneOf"].([]any); ok {
		schema = doc.resolve(choices[0].(map[string]any)) // the other is null
	}
	kinds := types(schema)
	for kind, value := range map[string]any{"boolean": true, "integer": 7, "string": "!", "array": []any{[]any{}}, "object": map[string]any{"!": []any{}}} {
		if !slices.Contains(kinds, kind) {
			wrong["a value of type "+kind] = value
		}
	}
	if n := bound(schema, "maxLength", 0); n > 0 {
		wrong["a string that is too long"] = strings.Repeat("a", n+1)
	}
	if bound(schema, "minLength", 0) > 0 || bound(schema, "minItems", 0) > 0 {
		wrong["an empty value"] = map[bool]any{true: "", false: []any{}}[slices.Contains(kinds, "string")]
	}
	if _, ok := schema["maximum"]; ok {
		wrong["a number that is too large"] = bound(schema, "maximum", 0) + 1
	}
	if _, ok := schema["minimum"]; ok {
		wrong["a number that is too small"] = bound(schema, "minimum", 0) - 1
	}
	if schema["enum"] != nil || schema["format"] != nil {
		wrong["a string that is none of it"] = "neither fish nor flesh"
	}
	return wrong
}
