package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
)

// entered is a row of the ledger.
type entered struct {
	Day       time.Time
	TenantID  uuid.UUID // default: the fixture's
	ID, Type  string
	StreamSeq int64
	ContactID *string
	CreatedAt time.Time
}

// enter writes events into the ledger, as a worker does. Their partitions are
// there whatever the day.
func (f *fixture) enter(events ...entered) {
	f.Helper()
	var p db.InsertEventsParams
	for _, e := range events {
		if e.TenantID == uuid.Nil {
			e.TenantID = f.tenant
		}
		contact := ""
		if e.ContactID != nil {
			contact = *e.ContactID
		}
		p.Days, p.Tenants, p.Ids, p.Types = append(p.Days, e.Day), append(p.Tenants, e.TenantID), append(p.Ids, e.ID), append(p.Types, e.Type)
		p.Seqs, p.Contacts, p.Created = append(p.Seqs, e.StreamSeq), append(p.Contacts, contact), append(p.Created, e.CreatedAt)
		_, err := f.worker.Queries().EnsurePartitions(f.Context(), e.Day, e.Day)
		f.check(err)
	}
	f.check(f.worker.Queries().InsertEvents(f.Context(), p))
}

// shownEvent is an event as the API lists it.
type shownEvent struct {
	ID        string
	Event     string
	ContactID *string
	CreatedAt time.Time
}

func TestEventLog_List(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	now := time.Now().UTC().Truncate(time.Microsecond)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	one := func(id, typ string, at time.Time) entered {
		return entered{Day: bus.Day(at), ID: id, Type: typ, StreamSeq: 1, CreatedAt: at}
	}
	old := one("e0", "deal.moved", ago(8*24*time.Hour))
	late := one("e1", "deal.moved", ago(3*24*time.Hour)) // its id is two days older
	late.Day = late.Day.AddDate(0, 0, -2)
	alien := one("e2", "deal.moved", ago(time.Minute))
	alien.TenantID = uuid.New()
	about := one("e4", "message.sent", ago(3*time.Minute))
	about.ContactID = new("contact_1")
	f.enter(old, late, alien, one("e3", "deal.moved", ago(24*time.Hour)), about,
		one("e5", "message.sent", ago(time.Minute)), one("e6", "deal.moved", ago(time.Minute))) // at the same time

	stamp := func(d time.Duration) string { return ago(d).Format(time.RFC3339Nano) }
	for query, want := range map[string][]string{
		"":                               {"e6", "e5", "e4", "e3", "e1"},
		"?event=message.sent":            {"e5", "e4"},
		"?event=deal.created":            nil,
		"?from=" + stamp(9*24*time.Hour): {"e6", "e5", "e4", "e3", "e1", "e0"},
		"?from=" + stamp(73*time.Hour):   {"e6", "e5", "e4", "e3", "e1"},
		"?to=" + stamp(time.Minute):      {"e4", "e3", "e1"},
		"?from=" + stamp(3*time.Minute):  {"e6", "e5", "e4"},
		"?to=" + stamp(7*24*time.Hour):   {"e0"},
		"?from=" + stamp(2*time.Hour) + "&to=" + stamp(time.Hour): nil,
		"?from=1970-01-01T00:00:00Z&to=9999-12-31T00:00:00Z":      {"e6", "e5", "e4", "e3", "e1", "e0"},
		"?page=2&limit=2": {"e4", "e3"},
		"?page=3&limit=2&event=deal.moved&from=" + stamp(9*24*time.Hour): nil,
	} {
		got := into[list[shownEvent]](f.do("GET", "/api/events"+query, "").is(http.StatusOK))
		var ids []string
		for _, e := range got.Data {
			ids = append(ids, e.ID)
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%s lists %v, want %v", query, ids, want)
		}
	}
	all := into[list[shownEvent]](f.do("GET", "/api/events?limit=3", "").is(http.StatusOK))
	if e := all.Data[2]; all.Pagination.Total != 5 || e.Event != "message.sent" || e.ContactID == nil || *e.ContactID != "contact_1" || !e.CreatedAt.Equal(about.CreatedAt) {
		t.Errorf("lists %+v of %d", e, all.Pagination.Total)
	}

	// By cursor every event once, also two of the same time.
	var ids []string
	query := "?limit=1&from=" + stamp(9*24*time.Hour)
	for next := ""; ; {
		got := into[list[shownEvent]](f.do("GET", "/api/events"+query+next, "").is(http.StatusOK))
		for _, e := range got.Data {
			ids = append(ids, e.ID)
		}
		if got.Pagination.NextCursor == nil {
			break
		}
		next = "&cursor=" + *got.Pagination.NextCursor
	}
	if want := []string{"e6", "e5", "e4", "e3", "e1", "e0"}; !slices.Equal(ids, want) {
		t.Errorf("read %v by cursor, want %v", ids, want)
	}

	for query, pointer := range map[string]string{
		"?event=deal.*": "/event", "?event=": "/event", "?from=yesterday": "/from", "?to=1": "/to", "?page=0": "/page", "?limit=101": "/limit",
		"?cursor=AAAA": "/cursor", "?cursor=AAAAAAAAAAA": "/cursor", "?cursor=AAAAAAAAAAAv": "/cursor", "?cursor=!": "/cursor",
	} {
		f.do("GET", "/api/events"+query, "").refuses(http.StatusUnprocessableEntity, pointer)
	}
	f.do("GET", "/api/events", "", "Authorization", "Bearer "+f.newKey(f.tenant, auth.ScopeEventsWrite)).refuses(http.StatusForbidden)
}

func TestEventLog_Get(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	today := bus.Day(time.Now())
	type detail struct {
		shownEvent
		Body       json.RawMessage
		Deliveries []struct {
			ID, WebhookID, Kind, State string
			Attempts                   int
			LastStatus                 *int
			LastError                  *string
			LastAttemptAt              *time.Time
		}
	}
	const body = `{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{"contact":{"id":"c1"},"n":1.5,"a<b":"` + "\u2028" + `"}}`
	published := func(id string, headers ...string) {
		f.do("POST", eventsPath, fmt.Sprintf(`{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{"contact":{"id":"c1"},"n":1.5,"a<b":"\u2028"},"id":%q}`, id), headers...).is(202)
	}
	published("e1")
	published("e2")
	stranger := uuid.Must(uuid.NewV7())
	theirs := "Bearer " + f.newKey(stranger, auth.ScopeEventsWrite, auth.ScopeWebhooksRead)
	published("e3", "Authorization", theirs)
	at := time.Now().UTC().Truncate(time.Microsecond)
	f.enter(
		entered{Day: today, ID: "e1", Type: "deal.moved", StreamSeq: 1, CreatedAt: at, ContactID: new("c1")},
		entered{Day: today.AddDate(0, 0, -20), ID: "e2", Type: "deal.moved", StreamSeq: 1, CreatedAt: at.AddDate(0, 0, -20)},
		entered{Day: today, ID: "e2", Type: "deal.moved", StreamSeq: 2, CreatedAt: at},
		entered{Day: today, ID: "e3", Type: "deal.moved", StreamSeq: 3, CreatedAt: at}, // where the stranger's e3 stands
		entered{Day: today, ID: "e4", Type: "deal.moved", StreamSeq: 4000, CreatedAt: at},
		entered{Day: today, ID: "e5", Type: "deal.moved", StreamSeq: 5000, CreatedAt: at},
	)

	t.Run("an event has its body and what became of its deliveries", func(t *testing.T) {
		js, err := jetstream.New(f.account.Connect(t, testenv.Admin))
		f.check(err)
		epoch, err := bus.Epoch(t.Context(), js)
		f.check(err)
		h := f.newHook("")
		done, lost, waits, fresh := uuid.New(), uuid.New(), uuid.New(), uuid.New()
		super := f.open(testenv.Superuser).Pool()
		for i, a := range []struct {
			delivery uuid.UUID
			counted  bool
			status   int
			class    any
		}{{done, true, 500, "status"}, {done, false, 0, "interrupted"}, {done, true, 204, nil}, {lost, true, 404, "status"}, {waits, true, 0, "timeout"}} {
			_, err := super.Exec(t.Context(), `INSERT INTO webhook_logs (webhook_id, created_at, id, tenant_id, delivery_id, event_id, event_type,
				attempt, kind, counted, success, status, duration_ms, error_class, error_message)
				VALUES ($1, $2, $3, $4, $5, 'e1', 'deal.moved', $6, 0, $7, $8, $9, 1, $10, CASE WHEN $10::text IS NOT NULL THEN 'no' END)`,
				h.ID, at.Add(time.Duration(i)*time.Millisecond), uuid.New(), f.tenant, a.delivery, i+1, a.counted, a.status/100 == 2, a.status, a.class)
			f.check(err)
		}
		for delivery, state := range map[uuid.UUID]int{waits: 2, fresh: 0} {
			_, err := super.Exec(t.Context(), `INSERT INTO webhook_queue (delivery_id, webhook_id, tenant_id, event_id, event_type, event_day,
				epoch, stream_seq, kind, state, attempt, due_at) VALUES ($1, $2, $3, 'e1', 'deal.moved', $4, $5, 1, 0, $6, 1, now())`,
				delivery, h.ID, f.tenant, today, epoch, state)
			f.check(err)
		}
		got := into[detail](f.do("GET", "/api/events/e1", "").is(http.StatusOK))
		if string(got.Body) != body || got.ID != "e1" || got.Event != "deal.moved" || got.ContactID == nil || *got.ContactID != "c1" || !got.CreatedAt.Equal(at) {
			t.Errorf("shown as %+v with the body\n%s\nwant\n%s", got.shownEvent, got.Body, body)
		}
		var became []string
		for _, d := range got.Deliveries {
			status, fault, when := 0, "", "never"
			if d.LastStatus != nil {
				status = *d.LastStatus
			}
			if d.LastError != nil {
				fault = *d.LastError
			}
			if d.LastAttemptAt != nil {
				when = fmt.Sprint(d.LastAttemptAt.Sub(at).Milliseconds())
			}
			name := map[string]string{done.String(): "done", lost.String(): "lost", waits.String(): "waits", fresh.String(): "fresh"}[d.ID]
			became = append(became, fmt.Sprintf("%s %s %s: %d attempts, %d %q at %s", name, d.Kind, d.State, d.Attempts, status, fault, when))
		}
		want := []string{
			`fresh delivery waiting: 0 attempts, 0 "" at never`,
			`waits delivery retrying: 1 attempts, 0 "timeout: no" at 4`,
			`lost delivery failed: 1 attempts, 404 "status: no" at 3`,
			`done delivery delivered: 2 attempts, 204 "" at 2`,
		}
		if !slices.Equal(became, want) {
			t.Errorf("deliveries\n%s\nwant\n%s", strings.Join(became, "\n"), strings.Join(want, "\n"))
		}
	})
	t.Run("of an id that was given twice the last event is shown", func(t *testing.T) {
		got := into[detail](f.do("GET", "/api/events/e2", "").is(http.StatusOK))
		if !got.CreatedAt.Equal(at) || got.Deliveries == nil {
			t.Errorf("shown is %+v", got)
		}
	})
	t.Run("another tenant's body is never shown", func(t *testing.T) {
		if p := f.do("GET", "/api/events/e3", "").refuses(http.StatusGone); p.Type != problem.TypeBodyExpired {
			t.Errorf("%+v does not say that the body has expired", p)
		}
	})
	t.Run("a body that is kept for its deliveries is shown", func(t *testing.T) {
		f.do("GET", "/api/events/e4", "").refuses(http.StatusGone)
		_, err := f.worker.Pool().Exec(t.Context(), `INSERT INTO event_bodies (epoch, stream_seq, tenant_id, event_day, event_id, body)
			VALUES (1, 4000, $1, $2, 'e4', $3), (1, 5000, $4, $2, 'e5', $3)`, f.tenant, today, []byte(body), stranger)
		f.check(err)
		if got := into[detail](f.do("GET", "/api/events/e4", "").is(http.StatusOK)); string(got.Body) != body {
			t.Errorf("the body is %s", got.Body)
		}
		f.do("GET", "/api/events/e5", "").refuses(http.StatusGone) // the stranger's
	})
	t.Run("what is not there, not entered or another tenant's is not found", func(t *testing.T) {
		for _, id := range []string{"e9", "e1.x", strings.Repeat("x", 65), "%00", uuid.NewString()} {
			f.do("GET", "/api/events/"+id, "").refuses(http.StatusNotFound)
		}
		f.do("GET", "/api/events/e1", "", "Authorization", theirs).refuses(http.StatusNotFound)
		f.do("GET", "/api/events/e3", "", "Authorization", theirs).refuses(http.StatusNotFound)
	})
}

// A body that cannot be asked for is not gone.
func TestEventLog_StoreAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	server := testenv.PrivateNATS(t)
	cut, _ := f.serve(f.open(testenv.API), server.Connect(t, testenv.API), nil)
	f.enter(entered{Day: bus.Day(time.Now()), ID: "e1", Type: "deal.moved", StreamSeq: 1, CreatedAt: time.Now()})
	server.Kill()
	a := f.send(cut.URL, "GET", "/api/events/e1", http.NoBody)
	a.refuses(http.StatusServiceUnavailable)
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}
