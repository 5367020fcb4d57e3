package event_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/primezap/primezap/pkg/event"
)

// exampleData is the data of a type's example, for a test to change.
func exampleData(t testing.TB, typ event.Type) map[string]any {
	t.Helper()
	d, ok := event.Lookup(typ)
	if !ok {
		t.Fatalf("no type %s", typ)
	}
	var body struct{ Data map[string]any }
	if err := json.Unmarshal(d.Example, &body); err != nil {
		t.Fatal(err)
	}
	return body.Data
}

func bodyOf(t testing.TB, typ event.Type, data any) []byte {
	t.Helper()
	text, err := json.Marshal(data)
	if err != nil {
		t.Fatal(err)
	}
	body, err := event.Body(typ, time.Unix(0, 0), text)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestValidate_Examples(t *testing.T) {
	t.Parallel()
	for _, d := range event.Types() {
		if faults := event.Validate(d.Type, d.Example); faults != nil {
			t.Errorf("%s: the example has %v", d.Type, faults)
		}
	}
}

func TestValidate_Faults(t *testing.T) {
	t.Parallel()
	set := func(value any, path ...string) func(map[string]any) {
		return func(data map[string]any) {
			for _, name := range path[:len(path)-1] {
				data = data[name].(map[string]any)
			}
			data[path[len(path)-1]] = value
		}
	}
	for _, tc := range []struct {
		name string
		typ  event.Type
		edit func(map[string]any)
		want []string // pointer, colon, detail
	}{
		{name: "a further field is allowed anywhere", typ: event.DealMoved, edit: set("x", "deal", "stage", "novo")},
		{name: "an escape in a checked string is decided by the library", typ: event.DealMoved, edit: set("a\"b\n", "deal", "title")},
		{name: "a wrong kind", typ: event.DealMoved, edit: set("1", "deal", "valueCents"), want: []string{"/data/deal/valueCents: must be a whole number"}},
		{name: "a fraction", typ: event.DealMoved, edit: set(1.5, "deal", "valueCents"), want: []string{"/data/deal/valueCents: must be a whole number"}},
		{name: "below the minimum", typ: event.DealMoved, edit: set(-1, "deal", "valueCents"), want: []string{"/data/deal/valueCents: must be at least 0"}},
		{name: "not in the list", typ: event.DealMoved, edit: set("lose", "deal", "status"), want: []string{"/data/deal/status: must be one of open, won, lost"}},
		{name: "another pattern", typ: event.DealMoved, edit: set("brl", "deal", "currency"), want: []string{"/data/deal/currency: must match ^[A-Z]{3}$"}},
		{name: "no day", typ: event.DealMoved, edit: set("2025-02-30", "deal", "expectedCloseDate"), want: []string{"/data/deal/expectedCloseDate: must be a date"}},
		{name: "no time", typ: event.DealMoved, edit: set("2025-10-20", "deal", "createdAt"), want: []string{"/data/deal/createdAt: must be a date-time"}},
		{name: "an empty name", typ: event.DealMoved, edit: set("", "deal", "title"), want: []string{"/data/deal/title: must not be empty"}},
		{name: "null where there is no choice", typ: event.DealMoved, edit: set(nil, "deal", "stage"), want: []string{"/data/deal/stage: must be an object"}},
		{name: "a kind that neither alternative has", typ: event.DealMoved, edit: set(1, "deal", "owner"), want: []string{"/data/deal/owner: must be an object or null"}},
		{
			name: "a fault within the alternative that fits", typ: event.DealMoved, edit: set("x", "deal", "owner", "id"),
			want: []string{"/data/deal/owner/id: must match ^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"},
		},
		{name: "a missing field is named", typ: event.DealMoved, edit: func(data map[string]any) { delete(data["deal"].(map[string]any), "stage") }, want: []string{"/data/deal/stage: is required"}},
		{name: "a value that must be one", typ: event.MessageReceived, edit: set("outbound", "message", "direction"), want: []string{"/data/message/direction: must be inbound"}},
		{name: "an item", typ: event.DealMoved, edit: set([]any{"a", 1, "b"}, "contact", "tags"), want: []string{"/data/contact/tags/1: must be a string"}},
		{name: "a field that the account made", typ: event.ContactUpdated, edit: set([]any{}, "contact", "customFields", "a/b"), want: []string{"/data/contact/customFields/a~1b: must be null or true or false or a number or a string"}},
		{
			name: "several at once, in the order of their pointers", typ: event.DealMoved, edit: func(data map[string]any) {
				data["movedBy"] = "me"
				data["contact"].(map[string]any)["phone"] = "11"
				delete(data, "previousStage")
			},
			want: []string{"/data/contact/phone: must match ^\\+[1-9][0-9]{6,14}$", "/data/movedBy: must be an object", "/data/previousStage: is required"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			data := exampleData(t, tc.typ)
			tc.edit(data)
			var got []string
			for _, fault := range event.Validate(tc.typ, bodyOf(t, tc.typ, data)) {
				if fault.Reason != event.SchemaMismatch {
					t.Errorf("%v has another reason", fault)
				}
				got = append(got, fault.Pointer+": "+fault.Detail)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// What a client sends must not grow in what it is told, nor in what it costs.
func TestValidate_Bounds(t *testing.T) {
	keys := make(map[string]any)
	for n := range 20_000 {
		keys[fmt.Sprintf("k%d", n)] = []any{}
	}
	for name, edit := range map[string]func(contact map[string]any){
		"items":           func(c map[string]any) { c["tags"] = slices.Repeat([]any{1}, 100_000) },
		"empty items":     func(c map[string]any) { c["tags"] = slices.Repeat([]any{""}, 60_000) },
		"members":         func(c map[string]any) { c["customFields"] = keys },
		"a member's name": func(c map[string]any) { c["customFields"] = map[string]any{strings.Repeat("k", 10_000): []any{}} },
	} {
		t.Run(name, func(t *testing.T) {
			data := exampleData(t, event.ContactUpdated)
			edit(data["contact"].(map[string]any))
			body := bodyOf(t, event.ContactUpdated, data)
			var faults []*event.Error
			if allocs := testing.AllocsPerRun(1, func() { faults = event.Validate(event.ContactUpdated, body) }); allocs > 5000 {
				t.Errorf("%.0f allocations", allocs)
			}
			if len(faults) == 0 || len(faults) > 20 {
				t.Errorf("%d faults, want 1 to 20", len(faults))
			}
			for _, fault := range faults {
				if len(fault.Pointer) > 512 || len(fault.Detail) > 200 {
					t.Errorf("%d and %d bytes: %v", len(fault.Pointer), len(fault.Detail), fault)
				}
			}
		})
	}
}

func TestValidate_UnknownType(t *testing.T) {
	t.Parallel()
	faults := event.Validate("deal.lost", []byte(`{"event":"deal.lost","timestamp":"2025-10-20T12:00:00Z","data":{}}`))
	if len(faults) != 1 || faults[0].Pointer != "/event" || faults[0].Reason != event.UnknownType {
		t.Errorf("got %v", faults)
	}
}

// TestValidate_AsBeforeChannels shows that what the CRM published before messages came
// through connections is still valid, and what connections leave out may be missing.
func TestValidate_AsBeforeChannels(t *testing.T) {
	t.Parallel()
	for _, kind := range []event.Type{event.MessageReceived, event.MessageSent} {
		data := exampleData(t, kind)
		message := data["message"].(map[string]any)
		for _, name := range []string{"channel", "status", "reply", "raw", "externalId"} {
			delete(message, name)
		}
		delete(data, "conversationId")
		delete(data, "connectionId")
		for _, name := range []string{"lastMessageAt", "lastInboundAt", "closedAt"} {
			delete(data["conversation"].(map[string]any), name)
		}
		for _, file := range []any{nil, map[string]any{"mimeType": "image/jpeg", "url": "https://example.com/a.jpg", "sizeBytes": 1.0}, map[string]any{"id": "1"}} {
			for _, quoted := range []any{nil, "019a017d-9cb8-7881-b1be-1dc66d76b07e"} {
				message["media"], message["replyTo"] = file, quoted
				if faults := event.Validate(kind, bodyOf(t, kind, data)); faults != nil {
					t.Errorf("%s with %v and %v: %v", kind, file, quoted, faults)
				}
			}
		}
	}
	for _, kind := range []event.Type{event.ConversationUpdated, event.ConversationClosed, event.ConversationCreated} {
		data := exampleData(t, kind)
		delete(data, "conversationId")
		delete(data, "connectionId")
		if faults := event.Validate(kind, bodyOf(t, kind, data)); faults != nil {
			t.Errorf("%s: %v", kind, faults)
		}
	}
}

// TestValidate_AsTheLibrary puts values of all kinds into every place of every
// example: Validate must decide as the library alone does.
func TestValidate_AsTheLibrary(t *testing.T) {
	t.Parallel()
	pool := []any{
		nil, true, 0.0, -1.0, 1.0, 1.5, 1e21, 1e300, "", "x", "\n", "é", "\"", "+5511912345678", "+0", "BRL", "BRLX", "open", "inbound",
		"0199f3de-7f05-79e7-9fc5-414934b9b5df", "0199f3de-7f05-79e7-9fc5-414934b9b5d", "0199f3de-7f05-49e7-9fc5-414934b9b5df",
		"2025-10-20", "2025-02-29", "2025-10-20T12:00:00Z", "2025-10-20T12:00:00.5+03:00", "2025-10-20t12:00:00z", "2016-12-31T23:59:60Z",
		"2025-10-20T12:00:00,5Z", "2025-10-20T1:00:00Z", "2025-10-20T24:00:00Z", "https://example.com/a?b=c", "https://a/?b=c%3D%3d", "https://a/%3", "https://a/%zz", "https://a/%", "https://", "https://a:x/", "ftp:x", "http://[::1]/%zz",
		[]any{}, []any{"a"}, []any{1.0}, map[string]any{}, map[string]any{"id": 1.0}, map[string]any{"id": "0199f3de-7f05-79e7-9fc5-414934b9b5df", "name": "x"},
	}
	for _, d := range event.Types() {
		t.Run(string(d.Type), func(t *testing.T) {
			t.Parallel()
			schema := compile(t, d)
			root := any(exampleData(t, d.Type))
			check := func(what string) {
				body := bodyOf(t, d.Type, root)
				_, data, _ := bytes.Cut(body, []byte(`,"data":`))
				want := schema.Validate(decode(t, data[:len(data)-1]))
				if got := event.Validate(d.Type, body); (got == nil) != (want == nil) {
					t.Errorf("%s: %v, the library says %v", what, got, want)
				}
			}
			for _, place := range places(root, "") {
				if place.set == nil {
					continue
				}
				for _, value := range pool {
					place.set(value)
					check(fmt.Sprintf("%q at %s", fmt.Sprint(value), place.path))
				}
				place.set(place.value)
				if object, ok := place.value.(map[string]any); ok {
					for name, value := range object {
						delete(object, name)
						check("without " + place.path + "/" + name)
						object[name] = value
					}
				}
			}
		})
	}
}

// FuzzValidate lets the library judge documents nobody thought of.
func FuzzValidate(f *testing.F) {
	types := event.Types()
	schemas := make([]*jsonschema.Schema, len(types))
	for i, d := range types {
		schemas[i] = compile(f, d)
		f.Add(uint8(i), string(dataOf(f, d.Type))) //nolint:gosec // a few types
	}
	f.Fuzz(func(t *testing.T, which uint8, data string) {
		n := int(which) % len(types)
		d := types[n]
		body, err := event.Body(d.Type, time.Unix(0, 0), []byte(data))
		if err != nil {
			t.Skip()
		}
		_, normal, _ := bytes.Cut(body, []byte(`,"data":`))
		want := schemas[n].Validate(decode(t, normal[:len(normal)-1]))
		got := event.Validate(d.Type, body)
		if (got == nil) != (want == nil) {
			t.Errorf("%s: %v, the library says %v", body, got, want)
		}
		for _, fault := range got {
			if fault.Reason != event.SchemaMismatch || !strings.HasPrefix(fault.Pointer, "/data") || len(fault.Pointer) > 512 {
				t.Errorf("%s: %v", body, fault)
			}
		}
	})
}

// BenchmarkValidate is valid data, which the quick rule takes, and data that has
// one fault, which the library explains.
func BenchmarkValidate(b *testing.B) {
	valid := bodyOf(b, event.MessageReceived, exampleData(b, event.MessageReceived))
	wrong := exampleData(b, event.MessageReceived)
	wrong["message"].(map[string]any)["type"] = "letter"
	invalid := bodyOf(b, event.MessageReceived, wrong)
	b.Run("valid", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if event.Validate(event.MessageReceived, valid) != nil {
				b.Fatal("refused")
			}
		}
	})
	b.Run("invalid", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if event.Validate(event.MessageReceived, invalid) == nil {
				b.Fatal("accepted")
			}
		}
	})
}
