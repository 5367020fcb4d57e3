package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
)

// attempt is a log row that a worker writes.
type attempt struct {
	at        time.Time
	event     string
	eventID   string
	status    int16
	kind      int16
	body      string
	class     string
	uncounted bool
}

// log writes attempts, and returns the ids of their rows.
func (f *fixture) log(h hook, attempts ...attempt) []uuid.UUID {
	f.Helper()
	var p db.InsertLogsParams
	for i, a := range attempts {
		p.WebhookIds, p.Tenants = append(p.WebhookIds, h.ID), append(p.Tenants, f.tenant)
		p.Created, p.Ids = append(p.Created, a.at), append(p.Ids, uuid.Must(uuid.NewV7()))
		p.DeliveryIds, p.EventIds = append(p.DeliveryIds, uuid.Must(uuid.NewV7())), append(p.EventIds, a.eventID)
		p.EventTypes, p.Attempts = append(p.EventTypes, a.event), append(p.Attempts, int16(i+1))
		p.Kinds, p.Counted = append(p.Kinds, a.kind), append(p.Counted, !a.uncounted)
		p.Success, p.Statuses = append(p.Success, a.status/100 == 2), append(p.Statuses, a.status)
		p.DurationMs, p.DnsMs, p.ConnectMs = append(p.DurationMs, 12), append(p.DnsMs, 3), append(p.ConnectMs, 4)
		p.TlsMs, p.FirstByteMs = append(p.TlsMs, -1), append(p.FirstByteMs, 9)
		p.RequestHeaders = append(p.RequestHeaders, `{"webhook-id":"x","X-Token":"••••"}`)
		headers := `{"Server":"<nginx>"}`
		if a.status == 0 {
			headers = ""
		}
		p.ResponseHeaders, p.ResponseBodies = append(p.ResponseHeaders, headers), append(p.ResponseBodies, a.body)
		message := ""
		if a.class != "" {
			message = "it failed"
		}
		p.ErrorClasses, p.ErrorMessages = append(p.ErrorClasses, a.class), append(p.ErrorMessages, message)
	}
	f.check(f.worker.Queries().InsertLogs(f.Context(), p))
	return p.Ids
}

func TestLogs_List(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook("")
	start := time.Now().UTC().Truncate(time.Second).Add(-time.Hour)
	if start.Day() != time.Now().UTC().Day() {
		start = start.Add(time.Hour) // partitions begin yesterday: any of these times has one
	}
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute / 100) }
	ids := f.log(h,
		attempt{at: at(0), event: "deal.moved", eventID: "e1", status: 200, body: "fine"},
		attempt{at: at(1), event: "deal.moved", eventID: "e2", status: 500, class: "status"},
		attempt{at: at(2), event: "message.sent", eventID: "e3", status: 0, class: "timeout", uncounted: true},
		attempt{at: at(2), event: "message.sent", eventID: "e4", status: 404, class: "status", kind: 1},
		attempt{at: at(3), event: "deal.moved", eventID: "e5", status: 204, kind: 2},
	)
	path := hooksPath + "/" + h.ID.String() + "/logs"
	type row struct {
		ID      uuid.UUID
		EventID string
	}
	order := []string{"e5", "e4", "e3", "e2", "e1"}
	for query, want := range map[string][]string{
		"":                    order,
		"?success=true":       {"e5", "e1"},
		"?success=false":      {"e4", "e3", "e2"},
		"?event=message.sent": {"e4", "e3"},
		"?eventId=e2":         {"e2"},
		"?status=404":         {"e4"},
		"?status=2xx":         {"e5", "e1"},
		"?status=5xx":         {"e2"},
		"?status=0":           {"e3"},
		"?from=" + at(1).Format(time.RFC3339Nano): {"e5", "e4", "e3", "e2"},
		"?to=" + at(1).Format(time.RFC3339Nano):   {"e1"},
		"?from=" + at(1).Format(time.RFC3339Nano) + "&to=" + at(3).Format(time.RFC3339Nano) + "&success=false&event=message.sent": {"e4", "e3"},
	} {
		got := into[list[row]](f.do("GET", path+query, "").is(http.StatusOK))
		var events []string
		for _, r := range got.Data {
			events = append(events, r.EventID)
		}
		if !slices.Equal(events, want) || got.Pagination.Total != len(want) {
			t.Errorf("%s lists %v of %d, want %v", query, events, got.Pagination.Total, want)
		}
	}

	// By cursor: every row once, also two of the same time.
	var walked []string
	for cursor := ""; ; {
		p := into[list[row]](f.do("GET", path+"?limit=2"+cursor, "").is(http.StatusOK))
		for _, r := range p.Data {
			walked = append(walked, r.EventID)
		}
		if p.Pagination.NextCursor == nil {
			break
		}
		cursor = "&cursor=" + *p.Pagination.NextCursor
	}
	if !slices.Equal(walked, order) {
		t.Errorf("the cursor walks %v, want %v", walked, order)
	}

	shown := into[list[json.RawMessage]](f.do("GET", path, "")).Data
	var deliveries []uuid.UUID
	for _, r := range into[list[struct{ DeliveryID uuid.UUID }]](f.do("GET", path, "")).Data {
		deliveries = append(deliveries, r.DeliveryID)
	}
	for i, want := range map[int]string{
		4: `{"attempt":1,"counted":true,"createdAt":%q,"deliveryId":%q,"durationMs":12,"error":null,"event":"deal.moved","eventId":"e1","id":%q,"kind":"delivery",` +
			`"request":{"headers":{"webhook-id":"x","X-Token":"••••"}},"responseBody":"fine","responseHeaders":{"Server":"\u003cnginx\u003e"},"status":200,"success":true,` +
			`"timing":{"connectMs":4,"dnsMs":3,"firstByteMs":9,"tlsMs":null},"webhookId":%q}`,
		2: `{"attempt":3,"counted":false,"createdAt":%q,"deliveryId":%q,"durationMs":12,"error":{"class":"timeout","message":"it failed"},"event":"message.sent","eventId":"e3","id":%q,"kind":"delivery",` +
			`"request":{"headers":{"webhook-id":"x","X-Token":"••••"}},"responseBody":null,"responseHeaders":null,"status":null,"success":false,` +
			`"timing":{"connectMs":4,"dnsMs":3,"firstByteMs":9,"tlsMs":null},"webhookId":%q}`,
	} {
		created := map[int]time.Time{4: at(0), 2: at(2)}[i]
		want = fmt.Sprintf(want, created.Format(time.RFC3339Nano), deliveries[i], ids[4-i], h.ID)
		if string(shown[i]) != want {
			t.Errorf("row %d is\n%s\nwant\n%s", i, shown[i], want)
		}
	}

	f.do("GET", path+"?success=1&event=x&from=yesterday&to=2025-13-01T00:00:00Z&status=6xx&eventId=%00", "").
		refuses(422, "/success", "/event", "/from", "/to", "/status", "/eventId")
	for _, status := range []string{"99", "600", "-1", "2x", "0xx", "200.0", "99999"} {
		f.do("GET", path+"?status="+status, "").refuses(422, "/status")
	}
	f.do("GET", path+"?cursor=AAAAAAAAAAAAAAAAAAAAAA", "").refuses(422, "/cursor") // a webhook list's
}

// rows inserts rows of the queue, one a state, and returns their ids.
func (f *fixture) rows(h hook, states ...int16) []uuid.UUID {
	f.Helper()
	var p db.InsertQueueRowsParams
	for _, state := range states {
		p.DeliveryIds, p.WebhookIds = append(p.DeliveryIds, uuid.Must(uuid.NewV7())), append(p.WebhookIds, h.ID)
		p.Tenants, p.EventIds = append(p.Tenants, f.tenant), append(p.EventIds, "e")
		p.EventTypes, p.EventDays = append(p.EventTypes, "deal.moved"), append(p.EventDays, bus.Day(time.Now()))
		p.Epochs, p.StreamSeqs, p.Kinds = append(p.Epochs, 1), append(p.StreamSeqs, 1), append(p.Kinds, 0)
		p.States, p.Attempts, p.DelayMs = append(p.States, state), append(p.Attempts, 2), append(p.DelayMs, 3_600_000)
		lease := uuid.Nil
		if state == 1 {
			lease = uuid.New()
		}
		p.LeaseIds = append(p.LeaseIds, lease)
		p.LastStatuses, p.LastErrors = append(p.LastStatuses, 500), append(p.LastErrors, "status: no")
	}
	f.check(f.worker.Queries().InsertQueueRows(f.Context(), p))
	return p.DeliveryIds
}

// delivery is a row of the queue's list.
type delivery struct {
	ID, WebhookID               uuid.UUID
	EventID, Event, Kind, State string
	Attempt                     int
	NextAttemptAt               *time.Time
	LastStatus                  *int
	LastError                   *string
	CreatedAt                   time.Time
}

func TestQueue_List(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook("")
	ids := f.rows(h, 0, 1, 2, 3)
	path := hooksPath + "/" + h.ID.String() + "/queue"
	got := into[list[delivery]](f.do("GET", path, "").is(http.StatusOK))
	if got.Pagination.Total != 4 || len(got.Data) != 4 {
		t.Fatalf("got %+v", got)
	}
	for i, state := range []string{"exhausted", "retrying", "inFlight", "waiting"} {
		d := got.Data[i]
		due := state == "retrying" || state == "waiting"
		if d.ID != ids[3-i] || d.State != state || (d.NextAttemptAt != nil) != due {
			t.Errorf("row %d is %+v, want %s", i, d, state)
		}
		if d.WebhookID != h.ID || d.EventID != "e" || d.Event != "deal.moved" || d.Kind != "delivery" || d.Attempt != 2 ||
			*d.LastStatus != 500 || *d.LastError != "status: no" || time.Since(d.CreatedAt) > time.Minute {
			t.Errorf("row %d is %+v", i, d)
		}
		if due && time.Until(*d.NextAttemptAt).Round(time.Minute) != time.Hour {
			t.Errorf("row %d is due at %s", i, d.NextAttemptAt)
		}
	}
	filtered := into[list[delivery]](f.do("GET", path+"?state=exhausted", "").is(http.StatusOK))
	if len(filtered.Data) != 1 || filtered.Data[0].ID != ids[3] || filtered.Pagination.Total != 1 {
		t.Errorf("exhausted: %+v", filtered)
	}
	first := into[list[delivery]](f.do("GET", path+"?limit=3", "").is(http.StatusOK))
	last := into[list[delivery]](f.do("GET", path+"?limit=3&cursor="+*first.Pagination.NextCursor, "").is(http.StatusOK))
	if len(last.Data) != 1 || last.Data[0].ID != ids[0] {
		t.Errorf("after the cursor: %+v", last)
	}
	f.do("GET", path+"?state=done", "").refuses(422, "/state")
}

func (f *fixture) scan(query string, args []any, into ...any) {
	f.Helper()
	f.check(f.worker.Pool().QueryRow(f.Context(), query, args...).Scan(into...))
}

func TestQueue_Retry(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook("")
	ids := f.rows(h, 0, 1, 2, 3)
	path := func(id uuid.UUID) string { return hooksPath + "/" + h.ID.String() + "/queue/" + id.String() + "/retry" }
	for i, want := range map[int]int16{0: 0, 2: 2, 3: 2} {
		_, err := f.worker.Pool().Exec(t.Context(), "DELETE FROM webhook_lanes")
		f.check(err)
		f.do("POST", path(ids[i]), "").is(http.StatusAccepted)
		var state int16
		var due, awake bool
		f.scan("SELECT state, due_at <= now() FROM webhook_queue WHERE delivery_id = $1", []any{ids[i]}, &state, &due)
		f.scan("SELECT wake_at <= now() FROM webhook_lanes WHERE webhook_id = $1", []any{h.ID}, &awake)
		if state != want || !due || !awake {
			t.Errorf("row %d: state %d, due %t, lane awake %t; want state %d and both", i, state, due, awake, want)
		}
	}
	f.do("POST", path(ids[1]), "").refuses(http.StatusConflict)
	// A lease that has run out is nobody's.
	_, err := f.worker.Pool().Exec(t.Context(), "UPDATE webhook_queue SET due_at = now() WHERE delivery_id = $1", ids[1])
	f.check(err)
	f.do("POST", path(ids[1]), "").is(http.StatusAccepted)

	f.do("POST", path(uuid.New()), "").refuses(http.StatusNotFound)
	f.do("POST", hooksPath+"/"+h.ID.String()+"/queue/x/retry", "").refuses(http.StatusNotFound)
	other := f.newHook("")
	f.do("POST", hooksPath+"/"+other.ID.String()+"/queue/"+ids[0].String()+"/retry", "").refuses(http.StatusNotFound)
}

func TestQueue_Cancel(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook("")
	ids := f.rows(h, 0, 1, 3)
	other := f.newHook("")
	f.do("DELETE", hooksPath+"/"+other.ID.String()+"/queue/"+ids[0].String(), "").refuses(http.StatusNotFound)
	for _, id := range ids {
		path := hooksPath + "/" + h.ID.String() + "/queue/" + id.String()
		f.do("DELETE", path, "").is(http.StatusNoContent)
		f.do("DELETE", path, "").refuses(http.StatusNotFound)
		var one int
		err := f.worker.Pool().QueryRow(t.Context(), "SELECT 1 FROM webhook_queue WHERE delivery_id = $1", id).Scan(&one)
		if !errors.Is(err, pgx.ErrNoRows) {
			t.Errorf("the row is still there: %v", err)
		}
	}
}

// answerTests has a worker's connection answer test calls, and returns what it
// was asked.
func (f *fixture) answerTests(reply func(bus.TestCall) any) <-chan bus.TestCall {
	f.Helper()
	calls := make(chan bus.TestCall, 16) // sent by the subscription, received by the test
	nc := f.account.Connect(f.T, testenv.Worker)
	_, err := nc.QueueSubscribe(bus.SubjectTest, "worker", func(msg *nats.Msg) {
		var call bus.TestCall
		if err := json.Unmarshal(msg.Data, &call); err != nil {
			f.Errorf("request %s: %v", msg.Data, err)
		}
		calls <- call
		body, err := json.Marshal(reply(call))
		if err == nil {
			err = msg.Respond(body)
		}
		if err != nil {
			f.Errorf("answer: %v", err)
		}
	})
	f.check(err)
	f.check(nc.Flush())
	return calls
}

func TestTestCall(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	logID := uuid.Must(uuid.NewV7())
	result := bus.TestResult{LogID: logID, Success: true, Status: 200, DurationMs: 42, ResponseBody: "ok"}
	calls := f.answerTests(func(bus.TestCall) any { return result })
	create := func(events string) string {
		return hooksPath + "/" + into[hook](f.do("POST", hooksPath, `{"name":"n","url":"https://x.example","events":`+events+`,"active":false}`)).ID.String()
	}
	for _, tc := range []struct{ name, events, body, want string }{
		{name: "by default the first plain subscription", events: `["*","deal.*","deal.moved","message.sent"]`, want: "deal.moved"},
		{name: "without one, message.received", events: `["*"]`, want: "message.received"},
		{name: "an empty object is the default too", events: `["deal.created"]`, body: `{}`, want: "deal.created"},
		{name: "any type by name, subscribed or not", events: `["deal.created"]`, body: `{"event":"contact.updated"}`, want: "contact.updated"},
	} {
		before := time.Now().Add(-time.Second)
		path := create(tc.events)
		a := f.do("POST", path+"/test", tc.body).is(http.StatusOK)
		want := `{"durationMs":42,"error":null,"logId":"` + logID.String() + `","responseBody":"ok","status":200,"success":true}`
		if got := strings.TrimSpace(string(a.body)); got != want {
			t.Errorf("%s: answered %s, want %s", tc.name, got, want)
		}
		call := <-calls
		if call.Event != tc.want || call.Tenant != f.tenant || !strings.HasSuffix(path, call.Webhook.String()) {
			t.Errorf("%s: asked for %+v", tc.name, call)
		}
		definition, _ := event.Lookup(event.Type(tc.want))
		var sent, example struct {
			Event     string
			Timestamp time.Time
			Data      json.RawMessage
		}
		f.check(json.Unmarshal(call.Body, &sent))
		f.check(json.Unmarshal(definition.Example, &example))
		if sent.Event != tc.want || string(sent.Data) != string(example.Data) || sent.Timestamp.Before(before) {
			t.Errorf("%s: body %s", tc.name, call.Body)
		}
	}
	path := create(`["*"]`)
	result = bus.TestResult{LogID: logID, ErrorClass: "timeout", ErrorMessage: "too slow"}
	want := `{"durationMs":0,"error":{"class":"timeout","message":"too slow"},"logId":"` + logID.String() + `","responseBody":null,"status":null,"success":false}`
	if got := strings.TrimSpace(string(f.do("POST", path+"/test", "").is(http.StatusOK).body)); got != want {
		t.Errorf("a failed attempt: answered %s, want %s", got, want)
	}
	result = bus.TestResult{NotFound: true}
	f.do("POST", path+"/test", "").refuses(http.StatusNotFound)
	f.do("POST", path+"/test", `{"event":"deal.lost"}`).refuses(422, "/event")
	f.do("POST", path+"/test", `{"evnt":"x"}`).refuses(422, "/evnt")
	f.do("POST", path+"/test", `{`).refuses(400)
}

func TestTestCall_NoWorkers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	a := f.do("POST", hooksPath+"/"+f.newHook("").ID.String()+"/test", "")
	a.refuses(http.StatusServiceUnavailable)
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}
