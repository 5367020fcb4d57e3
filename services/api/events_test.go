package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/telemetry"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/api"
)

// Most tests are not about data, which a schema would want whole.
const eventsPath = "/api/events?strict=false"

// accepted is the answer to a single event.
type accepted struct{ ID string }

// results is the answer to an array.
type results struct {
	Data []struct {
		Status int
		ID     string
		Error  *problem.Problem
	}
}

// stored reads all that the event store holds.
func (f *fixture) stored() []bus.Event {
	f.Helper()
	return stored(f.T, f.account)
}

func stored(t *testing.T, account *testenv.Account) []bus.Event {
	t.Helper()
	js, err := jetstream.New(account.Connect(t, testenv.Admin))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), bus.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	var events []bus.Event
	for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		e, err := bus.Parse(msg.Subject, msg.Header, msg.Data, msg.Sequence, msg.Time)
		if err != nil {
			t.Fatal(err)
		}
		e.Deduplicate = msg.Header.Get(jetstream.MsgIDHeader) == e.Tenant.String()+"/"+e.ID
		events = append(events, e)
	}
	return events
}

func TestEvents_Single(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	got := into[accepted](f.do("POST", eventsPath, `{"event":"deal.moved","timestamp":"2025-10-20T09:00:00.5-03:00",
		"data":{"b":1.0,"1":"x","a":"é\u003c","b":2,"big":1e21,"lone":"\uD800"}}`, "traceparent", trace).is(http.StatusAccepted))
	id, err := uuid.Parse(got.ID)
	if err != nil || id.Version() != 7 {
		t.Errorf("id %q is no UUIDv7", got.ID)
	}
	events := f.stored()
	if len(events) != 1 {
		t.Fatalf("stored %d events, want 1", len(events))
	}
	e := events[0]
	const body = `{"event":"deal.moved","timestamp":"2025-10-20T12:00:00.500Z","data":{"1":"x","b":2,"a":"é<","big":1e+21,"lone":"\ud800"}}`
	if string(e.Body) != body {
		t.Errorf("stored\n%s\nwant\n%s", e.Body, body)
	}
	if e.Tenant != f.tenant || e.Class != bus.Live || e.Type != "deal.moved" || e.ID != got.ID || e.Traceparent != trace ||
		e.Deduplicate || !e.Day.Equal(bus.Day(time.Now())) {
		t.Errorf("stored %+v", e)
	}
}

// The ledger indexes events by whom they are about.
func TestEvents_Contact(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	var contacts []string
	for _, data := range []string{
		`{"deal":{"id":"d"},"contact":{"name":"Maria","id":"c_1"}}`,
		`{"contact":{"id":"c_1"},"contact":{"id":"c_2","id":"c_3"}}`,
		`{"contact":{"id":17}}`, `{"contact":"c_1"}`, `{"contact":{"id":"a\r\nb"}}`, `{"id":"c_1"}`, `{}`,
	} {
		f.do("POST", eventsPath, `{"event":"deal.moved","data":`+data+`}`).is(http.StatusAccepted)
	}
	for _, e := range f.stored() {
		contacts = append(contacts, e.Contact)
	}
	if want := []string{"c_1", "c_3", "", "", event.ContactKey("a\r\nb"), "", ""}; !slices.Equal(contacts, want) {
		t.Errorf("stored for %q, want %q", contacts, want)
	}
}

func TestEvents_Defaults(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	before := time.Now().Add(-time.Second)
	f.do("POST", eventsPath, `{"event":"deal.moved","data":{},"timestamp":null,"id":null,"tenantId":null}`, "traceparent", "00-nonsense").is(http.StatusAccepted)
	f.do("POST", eventsPath, `{"\u0065vent":"deal.moved","d\u0061ta":{}}`).is(http.StatusAccepted) // JSON all the same
	e := f.stored()[0]
	var body struct{ Timestamp time.Time }
	f.check(json.Unmarshal(e.Body, &body))
	if body.Timestamp.Before(before) || time.Since(body.Timestamp) < 0 {
		t.Errorf("body %s has not the present time", e.Body)
	}
	if !telemetry.ValidTraceparent(e.Traceparent) {
		t.Errorf("traceparent %q", e.Traceparent)
	}
}

func TestEvents_Array(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	all := into[results](f.do("POST", eventsPath, `[{"event":"deal.moved","data":{"n":1}}, {"event":"message.sent","data":{"n":2},"id":"mine"}]`).is(http.StatusAccepted))
	if len(all.Data) != 2 || all.Data[0].Status != 202 || all.Data[1].Status != 202 || all.Data[1].ID != "mine" {
		t.Errorf("answered %+v", all)
	}
	some := into[results](f.do("POST", eventsPath, `[
		{"event":"deal.moved","data":{"n":3}},
		{"event":"deal.lost","data":{}},
		{"event":"deal.moved","data":{"deal":{"cents":9007199254740993}}},
		{"event":"deal.moved","data":{},"colour":"red","timestamp":"now"},
		7,
		{"event":"deal.moved","data":{"n":4}}]`).is(http.StatusMultiStatus))
	for i, want := range []struct {
		status   int
		pointers []string
	}{
		{status: 202},
		{status: 422, pointers: []string{"/1/event"}},
		{status: 422, pointers: []string{"/2/data/deal/cents"}},
		{status: 422, pointers: []string{"/3/colour", "/3/timestamp"}},
		{status: 422, pointers: []string{"/4"}},
		{status: 202},
	} {
		got := some.Data[i]
		var pointers []string
		if got.Error != nil {
			for _, fault := range got.Error.Errors {
				pointers = append(pointers, fault.Pointer)
			}
		}
		if got.Status != want.status || (got.ID != "") != (want.status == 202) || !slices.Equal(pointers, want.pointers) {
			t.Errorf("item %d: %+v %+v, want %+v", i, got, got.Error, want)
		}
	}
	var bodies []string
	for _, e := range f.stored() {
		_, data, _ := strings.Cut(string(e.Body), `"data":`)
		bodies = append(bodies, data)
	}
	if want := []string{`{"n":1}}`, `{"n":2}}`, `{"n":3}}`, `{"n":4}}`}; !slices.Equal(bodies, want) {
		t.Errorf("stored %v, want %v", bodies, want)
	}
}

func TestEvents_Refusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	data := func(json string) string { return `{"event":"deal.moved","data":` + json + `}` }
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	zeros := func(n int) string { return strings.Repeat("/0", n) }
	for _, tc := range []struct {
		name, body string
		status     int
		pointers   []string
	}{
		{name: "an empty body", body: ``, status: 400},
		{name: "malformed JSON", body: `{"event":`, status: 400, pointers: []string{"/event"}},
		{name: "malformed JSON in data", body: data(`{"a":01}`), status: 400, pointers: []string{"/data"}},
		{name: "half an array", body: `[` + data(`{}`), status: 400},
		{name: "malformed JSON in one of many", body: `[` + data(`{}`) + `,{"event":"deal.moved","data":{"a":tru}}]`, status: 400, pointers: []string{"/1/data/a"}},
		{name: "broken UTF-8 in data", body: data("{\"a\":\"\xff\"}"), status: 400, pointers: []string{"/data/a"}},
		{name: "two documents", body: data(`{}`) + data(`{}`), status: 400},
		{name: "no object", body: `"deal.moved"`, status: 422, pointers: []string{""}},
		{name: "null", body: `null`, status: 422, pointers: []string{""}},
		{name: "an empty array", body: `[]`, status: 422, pointers: []string{""}},
		{name: "501 events", body: `[` + strings.Repeat(data(`{}`)+",", 500) + data(`{}`) + `]`, status: 422, pointers: []string{""}},
		{name: "nothing", body: `{}`, status: 422, pointers: []string{"/event", "/data"}},
		{name: "an unknown event", body: `{"event":"deal.lost","data":{}}`, status: 422, pointers: []string{"/event"}},
		{name: "a subscription for an event", body: `{"event":"deal.*","data":{}}`, status: 422, pointers: []string{"/event"}},
		{name: "an operational event", body: `{"event":"webhook.disabled","data":{}}`, status: 422, pointers: []string{"/event"}},
		{name: "an event that is no string", body: `{"event":1,"data":{}}`, status: 422, pointers: []string{"/event"}},
		{name: "an event that is null", body: `{"event":null,"data":{}}`, status: 422, pointers: []string{"/event"}},
		{name: "an empty event", body: `{"event":"","data":{}}`, status: 422, pointers: []string{"/event"}},
		{name: "an unknown field", body: `{"event":"deal.moved","data":{},"evnt":1}`, status: 422, pointers: []string{"/evnt"}},
		{name: "a field in another case", body: `{"Event":"deal.moved","event":"deal.moved","data":{}}`, status: 422, pointers: []string{"/Event"}},
		{name: "a field twice", body: `{"event":"deal.moved","event":"deal.moved","data":{}}`, status: 422, pointers: []string{"/event"}},
		{name: "data that is an array", body: data(`[]`), status: 422, pointers: []string{"/data"}},
		{name: "data that is null", body: data(`null`), status: 422, pointers: []string{"/data"}},
		{name: "an integer beyond 2^53", body: data(`{"a":[1,9007199254740992]}`), status: 422, pointers: []string{"/data/a/1"}},
		{name: "1e400", body: data(`{"a":1e400}`), status: 422, pointers: []string{"/data/a"}},
		{name: "65 levels", body: data(`{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`), status: 422, pointers: []string{"/data/a" + zeros(62)}},
		{name: "100 000 levels", body: data(`{"a":` + deep + `}`), status: 422, pointers: []string{"/data/a" + zeros(14)}},
		{name: "100 000 levels never closed", body: `{"event":"deal.moved","data":{"a":` + strings.Repeat(`{"a":`, 100_000), status: 422, pointers: []string{"/data" + strings.Repeat("/a", 15)}},
		{name: "100 000 levels in an unknown field", body: `{"x":` + deep + `}`, status: 422, pointers: []string{"/x" + zeros(15)}},
		{name: "a body of more than 256 KiB", body: data(`{"a":"` + strings.Repeat("x", 256<<10) + `"}`), status: 413, pointers: []string{"/data"}},
		{name: "a request of more than 1 MiB", body: data(`{"a":"` + strings.Repeat("x", 1<<20) + `"}`), status: 413},
		{name: "a timestamp that is none", body: `{"event":"deal.moved","data":{},"timestamp":"2025-10-20"}`, status: 422, pointers: []string{"/timestamp"}},
		{name: "a timestamp that is a number", body: `{"event":"deal.moved","data":{},"timestamp":1760961600}`, status: 422, pointers: []string{"/timestamp"}},
		{name: "an id with other characters", body: `{"event":"deal.moved","data":{},"id":"a/b"}`, status: 422, pointers: []string{"/id"}},
		{name: "an id of 65 characters", body: `{"event":"deal.moved","data":{},"id":"` + strings.Repeat("x", 65) + `"}`, status: 422, pointers: []string{"/id"}},
		{name: "a tenant that is no UUID", body: `{"event":"deal.moved","data":{},"tenantId":"acme"}`, status: 422, pointers: []string{"/tenantId"}},
		{name: "another tenant", body: `{"event":"deal.moved","data":{},"tenantId":"` + uuid.NewString() + `"}`, status: 403},
		{
			name: "every fault at once", body: `{"event":"deal.moved","data":{"a":1e999},"id":"a b","timestamp":"x","tenantId":"x","x":{}}`, status: 422,
			pointers: []string{"/data/a", "/id", "/timestamp", "/tenantId", "/x"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := *f
			g.T = t
			g.do("POST", eventsPath, tc.body).refuses(tc.status, tc.pointers...)
		})
	}
	f.do("POST", eventsPath, data(`{}`)).is(http.StatusAccepted) // it lives on
	if got := len(f.stored()); got != 1 {
		t.Errorf("stored %d events, want 1: a refused one was published", got)
	}
	large := into[results](f.do("POST", eventsPath, `[`+data(`{}`)+`,`+data(`{"a":"`+strings.Repeat("x", 256<<10)+`"}`)+`]`).is(http.StatusMultiStatus))
	if large.Data[0].Status != 202 || large.Data[1].Status != 413 {
		t.Errorf("a large event among others: %+v", large)
	}
}

// A schema's faults are named by pointers into the request; strict=false passes
// over them, and over nothing else.
func TestEvents_Schema(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const strict = "/api/events"
	d, _ := event.Lookup(event.DealMoved)
	var example struct{ Data json.RawMessage }
	f.check(json.Unmarshal(d.Example, &example))
	item := func(data string) string { return `{"event":"deal.moved","data":` + data + `}` }
	good := string(example.Data)
	further := strings.Replace(good, `{"deal":{`, `{"extra":{"n":1},"deal":{"colour":"red",`, 1)
	bad := strings.Replace(strings.Replace(good, `"valueCents":629090`, `"valueCents":"1"`, 1), `"movedBy":`, `"movedby":`, 1)
	f.do("POST", strict, item(further)).is(http.StatusAccepted)
	f.do("POST", strict+"?strict=true", item(good)).is(http.StatusAccepted)
	f.do("POST", strict, item(bad)).refuses(http.StatusUnprocessableEntity, "/data/deal/valueCents", "/data/movedBy")
	some := into[results](f.do("POST", strict, `[`+item(good)+`,`+item(bad)+`]`).is(http.StatusMultiStatus))
	if p := some.Data[1].Error; some.Data[0].Status != 202 || p == nil || p.Errors[0].Pointer != "/1/data/deal/valueCents" {
		t.Errorf("answered %+v", some)
	}
	f.do("POST", strict+"?strict=false", item(bad)).is(http.StatusAccepted)
	f.do("POST", strict+"?strict=false", item(`{"n":1e999}`)).refuses(http.StatusUnprocessableEntity, "/data/n")
	f.do("POST", strict+"?strict=0", item(good)).refuses(http.StatusUnprocessableEntity, "/strict")
	events := f.stored()
	if len(events) != 4 {
		t.Fatalf("stored %d events, want 4", len(events))
	}
	if _, data, _ := strings.Cut(string(events[0].Body), `"data":`); data != further+"}" {
		t.Errorf("stored %s, want data as it was sent, %s", data, further)
	}
}

func TestEvents_Tenants(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	crm, acme, umbrella := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	platform := "Bearer " + f.newKey(crm, auth.ScopeEventsWrite, auth.ScopePlatform)
	f.do("POST", eventsPath, fmt.Sprintf(`[{"event":"deal.moved","data":{}},{"event":"deal.moved","data":{},"tenantId":%q},{"event":"deal.moved","data":{},"tenantId":%q,"id":"x"},
		{"event":"deal.moved","data":{},"tenantId":%q,"id":"x"}]`, acme, acme, umbrella), "Authorization", platform).is(http.StatusAccepted)
	f.do("POST", eventsPath, `{"event":"deal.moved","data":{}}`, "Authorization", platform, "X-Tenant-Id", acme.String()).is(http.StatusAccepted)
	f.do("POST", eventsPath, fmt.Sprintf(`{"event":"deal.moved","data":{},"tenantId":%q}`, f.tenant)).is(http.StatusAccepted) // its own
	var tenants []uuid.UUID
	for _, e := range f.stored() {
		tenants = append(tenants, e.Tenant)
	}
	if want := []uuid.UUID{crm, acme, acme, umbrella, acme, f.tenant}; !slices.Equal(tenants, want) {
		t.Errorf("stored for %v, want %v", tenants, want)
	}
	mixed := into[results](f.do("POST", eventsPath, fmt.Sprintf(`[{"event":"deal.moved","data":{}},{"event":"deal.moved","data":{},"tenantId":%q}]`, acme)).is(http.StatusMultiStatus))
	if mixed.Data[0].Status != 202 || mixed.Data[1].Status != 403 {
		t.Errorf("another tenant's event among own ones: %+v", mixed)
	}
}

func TestEvents_Classes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.LiveRate, c.LiveBurst = 0.001, 2 })
	other := "Bearer " + f.newKey(uuid.Must(uuid.NewV7()), auth.ScopeEventsWrite)
	one := `{"event":"deal.moved","data":{}}`
	f.do("POST", eventsPath, `[`+one+`,`+one+`,`+one+`]`).is(http.StatusAccepted)
	f.do("POST", eventsPath, one).is(http.StatusAccepted)
	f.do("POST", eventsPath, one, "Authorization", other).is(http.StatusAccepted)
	var classes []bus.Class
	for _, e := range f.stored() {
		classes = append(classes, e.Class)
	}
	if want := []bus.Class{bus.Live, bus.Live, bus.Bulk, bus.Bulk, bus.Live}; !slices.Equal(classes, want) {
		t.Errorf("stored as %v, want %v", classes, want)
	}
}

func TestEvents_IdempotencyKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const body = `[{"event":"deal.moved","data":{"n":1}},{"event":"deal.lost","data":{}},{"event":"deal.moved","data":{"n":2},"id":"own"}]`
	post := func(key, body string) answer { return f.do("POST", eventsPath, body, "Idempotency-Key", key) }
	first := post("k 1", body)
	first.refuses(422, "")
	const key = `k%2F1,"x"`
	first = post(key, body).is(http.StatusMultiStatus)
	again := post(key, body).is(http.StatusMultiStatus)
	if string(first.body) == "" || into[results](first).Data[0].ID != into[results](again).Data[0].ID || into[results](again).Data[2].ID != "own" {
		t.Errorf("answered %s, then %s", first.body, again.body)
	}
	if got := into[results](again).Data[1].Status; got != 422 {
		t.Errorf("the invalid item is %d the second time", got)
	}
	events := f.stored()
	if len(events) != 2 || !events[0].Deduplicate || !events[1].Deduplicate || events[1].ID != "own" {
		t.Errorf("stored %+v, want two events, with ids to be recognised by", events)
	}
	if p := post(key, strings.Replace(body, "1", "7", 1)).refuses(422, ""); !strings.Contains(p.Detail, "Idempotency-Key") || p.Type != problem.TypeIdempotencyKeyReused {
		t.Errorf("%+v does not say that the key was reused", p)
	}
	post("another", `{"event":"deal.moved","data":{}}`).is(http.StatusAccepted)
	one, two := into[accepted](post("single", `{"event":"deal.moved","data":{}}`)), into[accepted](post("single", `{"event":"deal.moved","data":{}}`))
	if one.ID == "" || one != two {
		t.Errorf("answered %+v, then %+v", one, two)
	}
	stranger := "Bearer " + f.newKey(uuid.Must(uuid.NewV7()), auth.ScopeEventsWrite)
	if got := into[accepted](f.do("POST", eventsPath, `{"event":"deal.moved","data":{}}`, "Idempotency-Key", "single", "Authorization", stranger).is(202)); got == one {
		t.Error("another tenant's key was found")
	}
	for _, bad := range []string{strings.Repeat("x", 256), "ç"} {
		post(bad, `{"event":"deal.moved","data":{}}`).refuses(422, "")
	}
	post(strings.Repeat("x", 255), `{"event":"deal.moved","data":{}}`).is(202)
}

// An event that was refused with a key is not accepted by repeating the request
// where it would be valid: nobody has published it.
func TestEvents_KeyOfRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const body = `[{"event":"deal.moved","data":{}},{"event":"deal.moved","data":{},"tenantId":"01890a5d-ac96-774b-bcce-b302099a8057"}]`
	post := func(credential string) answer {
		return f.do("POST", eventsPath, body, "Idempotency-Key", "k", "Authorization", credential)
	}
	first := into[results](post("Bearer " + f.newKey(f.tenant, auth.ScopeEventsWrite)).is(http.StatusMultiStatus))
	if first.Data[0].Status != 202 || first.Data[1].Status != 403 {
		t.Fatalf("answered %+v", first)
	}
	if p := post("Bearer "+f.newKey(f.tenant, auth.ScopeEventsWrite, auth.ScopePlatform)).refuses(422, ""); p.Type != problem.TypeIdempotencyKeyReused {
		t.Errorf("%+v does not say that the key was reused", p)
	}
	// One that was refused for its id, which everybody has forgotten since.
	const reuse = `[{"event":"deal.moved","data":{}},{"event":"deal.moved","data":{"n":2},"id":"mine"}]`
	f.do("POST", eventsPath, `{"event":"deal.moved","data":{"n":1},"id":"mine"}`).is(http.StatusAccepted)
	f.do("POST", eventsPath, reuse, "Idempotency-Key", "reuse").is(http.StatusMultiStatus)
	_, err := f.open(testenv.Superuser).Pool().Exec(t.Context(), "DELETE FROM idempotency_keys WHERE key = 'id:mine'")
	f.check(err)
	js, err := jetstream.New(f.account.Connect(t, testenv.Admin))
	f.check(err)
	f.check(js.DeleteStream(t.Context(), bus.StreamEvents))
	f.check(bus.Apply(t.Context(), js, bus.Options{Replicas: 1, MaxBytes: 1 << 20}))
	f.do("POST", eventsPath, reuse, "Idempotency-Key", "reuse").is(http.StatusAccepted)
	if events := f.stored(); len(events) != 1 || events[0].ID != "mine" {
		t.Errorf("stored %+v, want the one that was not accepted before", events)
	}
}

func TestEvents_ClientIDs(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	item := func(id string, n int) string {
		return fmt.Sprintf(`{"event":"deal.moved","data":{"n":%d},"id":%q}`, n, id)
	}
	for range 2 {
		if got := into[accepted](f.do("POST", eventsPath, item("a", 1)).is(202)); got.ID != "a" {
			t.Errorf("id %q, want a", got.ID)
		}
	}
	if p := f.do("POST", eventsPath, item("a", 2)).refuses(422, "/id"); p.Type != problem.TypeEventIDReused {
		t.Errorf("%+v does not say that the id was reused", p)
	}
	got := into[results](f.do("POST", eventsPath, `[`+strings.Join([]string{item("a", 1), item("a", 9), item("b", 1), item("b", 1), item("b", 2)}, ",")+`]`).is(http.StatusMultiStatus))
	var statuses []int
	for _, r := range got.Data {
		statuses = append(statuses, r.Status)
	}
	if want := []int{202, 422, 202, 202, 422}; !slices.Equal(statuses, want) {
		t.Errorf("answered %v, want %v: %+v", statuses, want, got)
	}
	if p := got.Data[4].Error; p.Errors[0].Pointer != "/4/id" {
		t.Errorf("item 4: %+v", p)
	}
	var ids []string
	for _, e := range f.stored() {
		ids = append(ids, e.ID)
	}
	if want := []string{"a", "b"}; !slices.Equal(ids, want) {
		t.Errorf("stored %v, want %v", ids, want)
	}
}

// Many requests with one key at once: one id, whoever is first.
func TestEvents_KeyConcurrently(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			ids[i] = into[accepted](f.do("POST", eventsPath, `{"event":"deal.moved","data":{}}`, "Idempotency-Key", "k")).ID
		})
	}
	wg.Wait()
	if slices.Sort(ids); ids[0] == "" || ids[0] != ids[7] {
		t.Errorf("answered %v, want one id", ids)
	}
	if got := len(f.stored()); got != 1 {
		t.Errorf("stored %d events, want 1", got)
	}
}

// The event store goes away and comes back: nothing is accepted meanwhile, and a
// repeated request publishes the ids of its first try, on the day of its first try.
func TestEvents_StoreAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	server := testenv.PrivateNATS(t)
	nc := server.Connect(t, testenv.API)
	cut, _ := f.serve(f.open(testenv.API), nc, nil)
	post := func(body string, headers ...string) answer {
		return f.send(cut.URL, "POST", eventsPath, strings.NewReader(body), headers...)
	}
	const one = `{"event":"deal.moved","data":{}}`
	const many = `[` + one + `,{"event":"deal.moved","data":{},"id":"own"},{"event":"deal.lost","data":{}}]`
	post(one).is(http.StatusAccepted)
	server.Kill()
	for _, body := range []string{one, many} {
		a := post(body, "Idempotency-Key", fmt.Sprint(len(body)))
		a.refuses(http.StatusServiceUnavailable)
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	// As if the first try had been yesterday.
	_, err := f.open(testenv.Superuser).Pool().Exec(t.Context(), "UPDATE idempotency_keys SET day = day - 1")
	f.check(err)
	server.Restart()
	for !nc.IsConnected() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("not connected again")
		}
	}
	var got results
	for range 2 {
		got = into[results](post(many, "Idempotency-Key", fmt.Sprint(len(many))).is(http.StatusMultiStatus))
	}
	var ids []string
	f.scan("SELECT event_ids FROM idempotency_keys WHERE key = $1", []any{"key:" + fmt.Sprint(len(many))}, &ids)
	if got.Data[0].ID != ids[0] || got.Data[1].ID != "own" || ids[1] != "own" {
		t.Errorf("answered %+v, the first try had %v", got, ids)
	}
	events := stored(t, &server.Account)
	if len(events) != 3 || events[1].ID != ids[0] || events[2].ID != "own" {
		t.Fatalf("stored %+v", events)
	}
	for _, e := range events[1:] {
		if yesterday := bus.Day(time.Now()).AddDate(0, 0, -1); !e.Day.Equal(yesterday) {
			t.Errorf("event %s is of %s, want the day of its first try", e.ID, e.Day)
		}
	}
	var pending int
	f.scan("SELECT count(*) FROM idempotency_keys WHERE NOT accepted", nil, &pending)
	if pending != 1 {
		t.Errorf("%d keys are pending, want 1: that of the request which was not repeated", pending)
	}
}

func TestEventTypes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	got := into[struct{ Data []event.Definition }](f.do("GET", "/api/event-types", "").is(http.StatusOK))
	want := event.Types()
	if len(got.Data) != len(want) {
		t.Fatalf("%d types, want %d", len(got.Data), len(want))
	}
	for i, d := range got.Data {
		if d.Type != want[i].Type || d.Operational != want[i].Operational || d.Description.En == "" || d.Description.PtBR == "" || len(d.Schema) == 0 {
			t.Errorf("%s is shown as %+v", want[i].Type, d)
		}
		var example struct {
			Event     string
			Timestamp time.Time
			Data      map[string]any
		}
		if err := json.Unmarshal(d.Example, &example); err != nil || example.Event != string(d.Type) || len(example.Data) == 0 {
			t.Errorf("example of %s: %v %s", d.Type, err, d.Example)
		}
	}
}
