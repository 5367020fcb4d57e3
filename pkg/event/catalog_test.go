package event_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/primezap/primezap/pkg/event"
)

func TestTypes(t *testing.T) {
	t.Parallel()
	want := []event.Type{
		"message.received", "message.sent", "conversation.created", "conversation.updated", "conversation.closed",
		"contact.created", "contact.updated", "deal.created", "deal.updated", "deal.moved",
		"lead.qualified", "workflow.completed", "broadcast.completed", "webhook.failing", "webhook.disabled",
		"connection.connected", "connection.disconnected", "connection.expiring", "connection.reconnect_required",
	}
	types := event.Types()
	got := make([]event.Type, 0, len(types))
	for _, d := range types {
		got = append(got, d.Type)
		if want := strings.HasPrefix(string(d.Type), "webhook.") || strings.HasPrefix(string(d.Type), "connection."); d.Operational != want || d.Type.Operational() != want {
			t.Errorf("%s: operational is %t, want %t", d.Type, d.Operational, want)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("the catalog is %q; want %q", got, want)
	}
	types[0] = event.Definition{}
	if event.Types()[0].Type != want[0] {
		t.Error("a caller can change the catalog")
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	for _, want := range event.Types() {
		if got, ok := event.Lookup(want.Type); !ok || !bytes.Equal(got.Schema, want.Schema) || got.Type != want.Type {
			t.Errorf("Lookup(%q) = %q, %t", want.Type, got.Type, ok)
		}
	}
	for _, none := range []event.Type{"", "*", "deal.*", "deal.won", "Deal.moved", "deal.moved "} {
		if d, ok := event.Lookup(none); ok {
			t.Errorf("Lookup(%q) found %q", none, d.Type)
		}
	}
}

func TestDefinition_Description(t *testing.T) {
	t.Parallel()
	seen := map[string]event.Type{}
	for _, d := range event.Types() {
		for _, text := range []string{d.Description.En, d.Description.PtBR} {
			if len(text) < 30 || !strings.HasSuffix(text, ".") {
				t.Errorf("%s: %q is no description", d.Type, text)
			}
			if other, twice := seen[text]; twice {
				t.Errorf("%s and %s are described alike: %q", d.Type, other, text)
			}
			seen[text] = d.Type
		}
	}
}

func TestDefinition_JSON(t *testing.T) {
	t.Parallel()
	d, _ := event.Lookup(event.DealMoved)
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var read map[string]json.RawMessage
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if names := slices.Sorted(maps.Keys(read)); !slices.Equal(names, []string{"description", "example", "name", "operational", "schema"}) {
		t.Errorf("a definition has %q", names)
	}
	var languages map[string]string
	if err := json.Unmarshal(read["description"], &languages); err != nil || languages["en"] == "" || languages["pt-BR"] == "" {
		t.Errorf("the description is %s, %v", read["description"], err)
	}
}

func TestDefinition_ExampleIsABody(t *testing.T) {
	t.Parallel()
	node := startOracle(t)
	for _, d := range event.Types() {
		var body struct {
			Event     event.Type
			Timestamp time.Time
			Data      json.RawMessage
		}
		if err := json.Unmarshal(d.Example, &body); err != nil {
			t.Fatalf("%s: %v", d.Type, err)
		}
		sent, err := event.Body(body.Event, body.Timestamp, body.Data)
		if err != nil || body.Event != d.Type || !bytes.Equal(sent, d.Example) {
			t.Errorf("%s: the example is\n%s, and would be sent as\n%s, %v", d.Type, d.Example, sent, err)
		}
		if objection := node.objection(t, d.Example, d.Example, nil); objection != "" {
			t.Errorf("%s: the example %s", d.Type, objection)
		}
	}
}

// TestDefinition_Schema shows that a schema accepts the example and further fields
// in it, and notices each value of the example being of another kind.
func TestDefinition_Schema(t *testing.T) {
	t.Parallel()
	for _, d := range event.Types() {
		t.Run(string(d.Type), func(t *testing.T) {
			t.Parallel()
			schema := compile(t, d)
			data := decode(t, dataOf(t, d.Type))
			if err := schema.Validate(data); err != nil {
				t.Fatalf("the example: %v", err)
			}
			root := data.(map[string]any)
			for _, name := range slices.Sorted(maps.Keys(root)) {
				if name == "conversationId" || name == "connectionId" {
					continue // our own events have them: those of the CRM came before
				}
				without := maps.Clone(root)
				delete(without, name)
				if schema.Validate(without) == nil {
					t.Errorf("accepts data without %s", name)
				}
			}
			for _, place := range places(data, "") {
				object, isObject := place.value.(map[string]any)
				if isObject && !strings.HasSuffix(place.path, "/customFields") {
					object["novidade"] = map[string]any{"x": []any{1.0}}
					if err := schema.Validate(data); err != nil {
						t.Errorf("refuses a further field in %s: %v", place.path, err)
					}
					delete(object, "novidade")
				}
				if place.set == nil || strings.Contains(place.path, "/customFields/") || strings.Contains(place.path, "/raw/") {
					continue // customers' own fields and Meta's are of any kind
				}
				place.set(wrong(place.value))
				if schema.Validate(data) == nil {
					t.Errorf("accepts %v for %s at %s", wrong(place.value), place.value, place.path)
				}
				place.set(place.value)
			}
		})
	}
}

// TestDefinition_SchemaDefinitionsAgree keeps a contact a contact: the same name
// means the same in all schemas.
func TestDefinition_SchemaDefinitionsAgree(t *testing.T) {
	t.Parallel()
	type definition struct {
		text string
		of   event.Type
	}
	seen := map[string]definition{}
	for _, d := range event.Types() {
		var schema struct {
			Schema string                     `json:"$schema"`
			Defs   map[string]json.RawMessage `json:"$defs"`
		}
		if err := json.Unmarshal(d.Schema, &schema); err != nil {
			t.Fatalf("%s: %v", d.Type, err)
		}
		if schema.Schema != "https://json-schema.org/draft/2020-12/schema" {
			t.Errorf("%s: the dialect is %q", d.Type, schema.Schema)
		}
		for name, text := range schema.Defs {
			if !bytes.Contains(d.Schema, []byte(`"#/$defs/`+name+`"`)) {
				t.Errorf("%s: %s is not used", d.Type, name)
			}
			if other, ok := seen[name]; ok && other.text != string(text) {
				t.Errorf("%s differs in %s\n%s\nand %s\n%s", name, d.Type, text, other.of, other.text)
			}
			seen[name] = definition{text: string(text), of: d.Type}
		}
	}
}

func TestValidSubscription(t *testing.T) {
	t.Parallel()
	valid := []string{"*", "message.*", "conversation.*", "contact.*", "deal.*", "lead.*", "workflow.*", "broadcast.*", "webhook.*"}
	for _, d := range event.Types() {
		valid = append(valid, string(d.Type))
	}
	for _, s := range valid {
		if !event.ValidSubscription(s) {
			t.Errorf("%q is refused", s)
		}
	}
	for _, s := range []string{
		"", " ", "**", "*.*", ".*", "*.moved", "d*", "deal*", "deal.", "deal", "deal.m*", "deal.moved*", "deal.moved.*", "Deal.*", "deal.* ", "DEAL.MOVED",
		"webhook.failed", "invoice.*", "deal.won", "deal.*.*", "deal.moved,deal.created", "dea.*",
	} {
		if event.ValidSubscription(s) {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	const (
		never       = iota
		operational // by an operational webhook's subscription alone
		always
	)
	for _, tc := range []struct {
		subscription string
		typ          event.Type
		want         int
	}{
		{subscription: "deal.moved", typ: event.DealMoved, want: always},
		{subscription: "deal.moved", typ: event.DealCreated},
		{subscription: "deal.*", typ: event.DealMoved, want: always},
		{subscription: "deal.*", typ: event.ContactCreated},
		{subscription: "de*", typ: event.DealMoved},
		{subscription: "deal.m*", typ: event.DealMoved},
		{subscription: ".*", typ: event.DealMoved},
		{subscription: "", typ: event.DealMoved},
		{subscription: "*", typ: event.BroadcastCompleted, want: always},
		{subscription: "webhook.failing", typ: event.WebhookFailing, want: always},
		{subscription: "webhook.failing", typ: event.WebhookDisabled},
		{subscription: "webhook.*", typ: event.WebhookFailing, want: operational},
		{subscription: "webhook.*", typ: event.WebhookDisabled, want: operational},
		{subscription: "*", typ: event.WebhookDisabled, want: operational},
		{subscription: "connection.*", typ: event.ConnectionExpiring, want: operational},
		{subscription: "*", typ: event.ConnectionReconnectRequired, want: operational},
		{subscription: "deal.*", typ: event.WebhookDisabled},
		// Not in the catalog, so never caught by a wide subscription.
		{subscription: "webhook.*", typ: "webhook.created"},
		{subscription: "deal.*", typ: "deal.won"},
		{subscription: "*", typ: ""},
	} {
		for isOperational, least := range map[bool]int{false: always, true: operational} {
			if got := event.Matches(tc.subscription, tc.typ, isOperational); got != (tc.want >= least) {
				t.Errorf("Matches(%q, %q, %t) = %t", tc.subscription, tc.typ, isOperational, got)
			}
		}
	}
}

func TestValidID(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"a", "0199f3de-7f05-79e7-9fc5-414934b9b5df", "_", "-", "AZaz09_-", strings.Repeat("x", 64)} {
		if !event.ValidID(id) {
			t.Errorf("%q is refused", id)
		}
	}
	for _, id := range []string{"", strings.Repeat("x", 65), "a b", "a.b", "a/b", "a\n", "á", "\xff", "a\x00", "a@", "a[", "a`", "a{", "a:", "*", ">"} {
		if event.ValidID(id) {
			t.Errorf("%q is accepted", id)
		}
	}
}

func compile(t testing.TB, d event.Definition) *jsonschema.Schema {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	location := string(d.Type) + ".json"
	if err := compiler.AddResource(location, decode(t, d.Schema)); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(location)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func decode(t testing.TB, text []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// place is a value somewhere in a document; set, nil at the root, puts another there.
type place struct {
	path  string
	value any
	set   func(any)
}

func places(v any, path string) []place {
	all := []place{{path: path, value: v}}
	add := func(child any, name string, set func(any)) {
		below := places(child, path+"/"+name)
		below[0].set = set
		all = append(all, below...)
	}
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			add(child, name, func(other any) { v[name] = other })
		}
	case []any:
		for i, child := range v {
			add(child, "-", func(other any) { v[i] = other })
		}
	}
	return all
}

// wrong returns a value of a kind that no field has which may hold v.
func wrong(v any) any {
	if _, isString := v.(string); isString || v == nil {
		return true
	}
	return "x"
}
