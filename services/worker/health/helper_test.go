package health

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/ledger"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// tenant of everything here.
var tenant = uuid.MustParse("0198f000-0000-7000-8000-000000000001")

// world is a database with webhooks, as workers see it.
type world struct {
	t        *testing.T
	database *testenv.Database
	store    *store.Store
	api      *store.Store
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, database: testenv.DB(t)}
	w.store, w.api = w.open(testenv.Worker), w.open(testenv.API)
	return w
}

func (w *world) open(role testenv.Role) *store.Store {
	w.t.Helper()
	s, err := store.Open(w.t.Context(), w.database.URL(role), 8)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.Close)
	return s
}

// keeper is one worker's.
func (w *world) keeper() *Keeper { return New(w.store, 24*time.Hour, quiet()) }

// look has a fleet look at once, so that its keepers race.
func (w *world) look() {
	w.t.Helper()
	var fleet sync.WaitGroup
	for range 4 {
		k := w.keeper()
		fleet.Go(func() {
			if err := k.Look(w.t.Context()); err != nil {
				w.t.Error(err)
			}
		})
	}
	fleet.Wait()
}

// webhook makes one, as the API does.
func (w *world) webhook() uuid.UUID {
	w.t.Helper()
	id := newID()
	w.asAPI(func(q *db.Queries) error {
		_, err := q.InsertWebhook(w.t.Context(), db.InsertWebhookParams{
			ID: id, TenantID: tenant, Name: `Pedidos "ERP" <1>`, Url: "https://example.com/hook?a=1&b=2", Events: []string{"*"}, Active: true,
			Secret: []byte{1}, RetryDelays: []int32{1}, HeaderNames: []string{}, AutoRecover: true,
		})
		return err
	})
	return id
}

// asAPI does what the API does for the tenant.
func (w *world) asAPI(do func(*db.Queries) error) {
	w.t.Helper()
	if err := w.api.InTenant(w.t.Context(), tenant, do); err != nil {
		w.t.Fatal(err)
	}
}

// enable makes a webhook active, as the API does.
func (w *world) enable(hook uuid.UUID) {
	w.t.Helper()
	w.asAPI(func(q *db.Queries) error {
		_, err := q.EnableWebhook(w.t.Context(), hook)
		return err
	})
}

// generation is the webhook's.
func (w *world) generation(hook uuid.UUID) int64 {
	w.t.Helper()
	return ask[int64](w, "SELECT generation FROM webhooks WHERE id = $1", hook)[0]
}

// entry is that of an event whose one delivery was answered by status: for the
// last time, if it is a failure.
func entry(hook uuid.UUID, status int, generation int64) *ledger.Entry {
	e := bus.Event{Tenant: tenant, Class: bus.Live, Type: "deal.moved", ID: newID().String(), Day: bus.Day(time.Now()), AcceptedAt: time.Now()}
	log := ledger.Log{
		ID: newID(), Webhook: hook, Tenant: tenant, Delivery: newID(), EventID: e.ID, Event: e.Type, Attempt: 2, Counted: true,
		Generation: generation, Outcome: attempt.Outcome{Success: status/100 == 2, Status: status, Start: time.Now(), Duration: time.Millisecond},
	}
	made := &ledger.Entry{Event: e, Logs: []ledger.Log{log}}
	if !log.Outcome.Success {
		made.Rows = []ledger.Row{{Delivery: log.Delivery, Webhook: hook, State: ledger.Exhausted, Attempt: 3, Delay: ledger.KeepExhausted}}
	}
	return made
}

// commit has a ledger of its own write entries.
func (w *world) commit(entries ...*ledger.Entry) {
	w.t.Helper()
	l := ledger.New(w.store, quiet())
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	var ended sync.WaitGroup
	ended.Go(func() { l.Run(ctx) })
	for _, e := range entries {
		e.Done = func(v ledger.Verdict) {
			if v != ledger.Committed {
				w.t.Errorf("an entry is decided %v", v)
			}
		}
		l.SubmitEntry(e)
	}
	l.Close()
	ended.Wait()
}

// fail has n deliveries exhausted, the first of them so long ago.
func (w *world) fail(hook uuid.UUID, n int, since time.Duration) {
	w.t.Helper()
	for i := range n {
		if i == n-1 {
			w.exec("UPDATE webhook_health SET failing_since = now() - $2::interval WHERE webhook_id = $1", hook, since)
		}
		w.commit(entry(hook, 500, 0))
	}
}

// succeed has a delivery succeed.
func (w *world) succeed(hook uuid.UUID) {
	w.t.Helper()
	w.commit(entry(hook, 200, 0))
}

// exec runs a statement as the worker.
func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.store.Pool().Exec(w.t.Context(), statement, args...); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
}

// super runs statements as a superuser.
func (w *world) super(statements string) {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.database.URL(testenv.Superuser))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(w.t.Context()))
	if _, err := conn.Exec(w.t.Context(), statements); err != nil {
		w.t.Fatalf("%s: %v", statements, err)
	}
}

// ask returns what a query answers in its one column, row by row, as the worker.
func ask[T any](w *world, query string, args ...any) []T {
	w.t.Helper()
	rows, err := w.store.Pool().Query(w.t.Context(), query, args...)
	if err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	answer, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		w.t.Fatalf("%s: %v", query, err)
	}
	return answer
}

// expect compares what a query answers.
func expect[T comparable](w *world, what string, want []T, query string, args ...any) {
	w.t.Helper()
	if got := ask[T](w, query, args...); !slices.Equal(got, want) {
		w.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// raised are the events in the outbox: their types.
func (w *world) raised() []string {
	w.t.Helper()
	return ask[string](w, "SELECT event_type FROM outbox ORDER BY id")
}

// told is the data of the last event in the outbox, which must be as the catalog
// says.
func (w *world) told() map[string]any {
	w.t.Helper()
	body := ask[[]byte](w, "SELECT body FROM outbox ORDER BY id DESC LIMIT 1")[0]
	var whole struct {
		Event event.Type
		Data  map[string]any
	}
	if err := json.Unmarshal(body, &whole); err != nil {
		w.t.Fatal(err)
	}
	for _, fault := range event.Validate(whole.Event, body) {
		w.t.Errorf("%s: %v", body, fault)
	}
	expect(w, "its row", []string{string(whole.Event)}, `SELECT event_type FROM outbox WHERE tenant_id = $1 AND day = (now() AT TIME ZONE 'UTC')::date
		AND event_id ~ '^[0-9a-f-]{36}$' ORDER BY id DESC LIMIT 1`, tenant)
	return whole.Data
}
