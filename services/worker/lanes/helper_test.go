package lanes

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/pkg/webhook"
	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/dispatch"
	"github.com/primezap/primezap/services/worker/endpoint"
	"github.com/primezap/primezap/services/worker/ledger"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// tenant of everything here.
var tenant = uuid.MustParse("0198f000-0000-7000-8000-000000000001")

// world is a database with webhooks, as a worker sees it.
type world struct {
	t        *testing.T
	database *testenv.Database
	store    *store.Store
	api      *store.Store
	vault    *vault.Vault
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, database: testenv.DB(t), vault: newVault(t)}
	w.store, w.api = w.open(testenv.Worker), w.open(testenv.API)
	return w
}

// of is the world for a part of its test.
func (w *world) of(t *testing.T) *world {
	part := *w
	part.t = t
	return &part
}

// lease leases a webhook's due rows without regard to its lane.
func (w *world) lease(lease, hook uuid.UUID) []db.LeaseQueueRowsRow {
	w.t.Helper()
	rows, err := w.store.Queries().LeaseQueueRows(w.t.Context(), db.LeaseQueueRowsParams{
		WebhookIds: []uuid.UUID{hook}, RowLimits: []int32{100}, LeaseID: &lease, LeaseSeconds: 45,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

func newVault(t *testing.T) *vault.Vault {
	t.Helper()
	keyset, err := vault.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(keyset)
	if err != nil {
		t.Fatal(err)
	}
	return v
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

// webhook is a new one, made as the API makes it.
func (w *world) webhook() uuid.UUID {
	w.t.Helper()
	id := newID()
	secret, err := w.vault.Seal([]byte(webhook.NewSecret()), vault.Binding{Tenant: tenant, Table: "webhooks", Row: id.String(), Purpose: "secret"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.asTenant(func(q *db.Queries) error {
		_, err := q.InsertWebhook(w.t.Context(), db.InsertWebhookParams{
			ID: id, TenantID: tenant, Name: "w", Url: "https://example.com/" + id.String(), Events: []string{"*"}, Active: true,
			Secret: secret, RetryDelays: []int32{1, 5}, HeaderNames: []string{},
		})
		return err
	})
	return id
}

func (w *world) asTenant(do func(*db.Queries) error) {
	w.t.Helper()
	if err := w.api.InTenant(w.t.Context(), tenant, do); err != nil {
		w.t.Fatal(err)
	}
}

// change changes a webhook as the API does.
func (w *world) change(id uuid.UUID, change func(*db.UpdateWebhookParams)) {
	w.t.Helper()
	w.asTenant(func(q *db.Queries) error {
		hook, err := q.LockWebhook(w.t.Context(), id)
		if err != nil {
			return err
		}
		p := db.UpdateWebhookParams{
			ID: id, Name: hook.Name, Url: hook.Url, Description: hook.Description, Events: hook.Events, Active: hook.Active,
			Secret: hook.Secret, SecretHint: hook.SecretHint, HeaderNames: hook.HeaderNames, RetryDelays: hook.RetryDelays,
			Filter: hook.Filter, RatePerSecond: hook.RatePerSecond,
		}
		change(&p)
		_, err = q.UpdateWebhook(w.t.Context(), p)
		return err
	})
}

func (w *world) activate(id uuid.UUID, active bool) {
	w.t.Helper()
	w.change(id, func(p *db.UpdateWebhookParams) { p.Active = active })
}

func (w *world) remove(id uuid.UUID) {
	w.t.Helper()
	w.asTenant(func(q *db.Queries) error {
		_, err := q.DeleteWebhook(w.t.Context(), id)
		return err
	})
}

// row is a delivery in the queue.
type row struct {
	id      uuid.UUID
	state   ledger.State
	attempt int
	due     time.Duration // from now; negative: since when
	ask     bool          // the webhook's filter first
	event   bus.Event     // tenant, type, id, day and sequence
	epoch   int64
}

// queue puts rows into a webhook's queue, and wakes its lane as the ledger does.
// It returns their ids, which are new where they are not given.
func (w *world) queue(id uuid.UUID, rows ...row) (ids []uuid.UUID) {
	w.t.Helper()
	var p db.InsertQueueRowsParams
	wake := time.Duration(1 << 62)
	for _, r := range rows {
		if r.id == uuid.Nil {
			r.id = newID()
		}
		if r.event.ID == "" {
			r.event = bus.Event{Tenant: tenant, Type: "deal.moved", ID: newID().String(), Day: bus.Day(time.Now())}
		}
		ids = append(ids, r.id)
		p.DeliveryIds = append(p.DeliveryIds, r.id)
		p.WebhookIds = append(p.WebhookIds, id)
		p.Tenants = append(p.Tenants, tenant)
		p.EventIds = append(p.EventIds, r.event.ID)
		p.EventTypes = append(p.EventTypes, r.event.Type)
		p.EventDays = append(p.EventDays, r.event.Day)
		p.Epochs = append(p.Epochs, r.epoch)
		p.StreamSeqs = append(p.StreamSeqs, int64(r.event.Seq))
		p.Kinds = append(p.Kinds, 0)
		p.States = append(p.States, int16(r.state))
		p.Attempts = append(p.Attempts, int16(max(1, r.attempt)))
		p.DelayMs = append(p.DelayMs, r.due.Milliseconds())
		p.LeaseIds = append(p.LeaseIds, uuid.Nil)
		p.LastStatuses = append(p.LastStatuses, 0)
		p.LastErrors = append(p.LastErrors, "")
		p.Unfiltered = append(p.Unfiltered, r.ask)
		if r.state != ledger.Exhausted {
			wake = min(wake, r.due)
		}
	}
	err := w.store.InTx(w.t.Context(), func(q *db.Queries) error {
		if err := q.InsertQueueRows(w.t.Context(), p); err != nil {
			return err
		}
		if wake == 1<<62 {
			return nil
		}
		return q.WakeLanes(w.t.Context(), []uuid.UUID{id}, []uuid.UUID{tenant}, []int64{wake.Milliseconds()})
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return ids
}

// due are n rows that have been due for a while, each a second after the one
// before.
func due(n int) []row {
	rows := make([]row, n)
	for i := range rows {
		rows[i].due = -time.Hour + time.Duration(i)*time.Second
	}
	return rows
}

// exec runs a statement as the worker.
func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.store.Pool().Exec(w.t.Context(), statement, args...); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
}

// super runs a statement as a superuser, without triggers: to fill tables.
func (w *world) super(statement string, args ...any) {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.database.URL(testenv.Superuser))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(w.t.Context()))
	if _, err := conn.Exec(w.t.Context(), "SET session_replication_role = replica"); err != nil {
		w.t.Fatal(err)
	}
	if _, err := conn.Exec(w.t.Context(), statement, args...); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
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

// eventually waits until condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// network stands for all endpoints. It answers at once, unless it is told not to.
type network struct {
	mu       sync.Mutex
	requests []*attempt.Request
	begun    []time.Time
	answer   func(ctx context.Context, r *attempt.Request) attempt.Outcome
}

func (n *network) Do(ctx context.Context, r *attempt.Request) attempt.Outcome {
	start := time.Now()
	n.mu.Lock()
	n.requests, n.begun = append(n.requests, r), append(n.begun, start)
	answer := n.answer
	n.mu.Unlock()
	if answer != nil {
		return answer(ctx, r)
	}
	return attempt.Outcome{Success: true, Status: 200, Start: start, Duration: time.Millisecond}
}

func (n *network) CloseIdle() {}

func (n *network) seen() []*attempt.Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.requests)
}

// silent never answers: an attempt ends when the pool interrupts it.
func silent(ctx context.Context, _ *attempt.Request) attempt.Outcome {
	start := time.Now()
	<-ctx.Done()
	return attempt.Outcome{Start: start, Class: attempt.ClassInterrupted}
}

// stored gives any event a body.
type stored struct{}

func (stored) Event(_ context.Context, _ int64, seq uint64, tenant uuid.UUID, id string) (bus.Event, error) {
	return bus.Event{Tenant: tenant, Type: "deal.moved", ID: id, Seq: seq, Body: []byte(`{}`)}, nil
}

// results keeps what is submitted.
type results struct {
	mu  sync.Mutex
	all []*ledger.Result
}

func (r *results) SubmitResult(result *ledger.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, result)
}

func (r *results) seen() []*ledger.Result {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// claimer is one worker's, with the parts around it.
type claimer struct {
	*Claimer
	net     *network
	results *results
}

// claimer makes at most attempts at once, three quarters of them from lanes. Its
// results are kept, and written nowhere.
func (w *world) claimer(attempts int) *claimer {
	w.t.Helper()
	c := &claimer{net: &network{}, results: &results{}}
	pool := dispatch.New(c.net, attempts)
	w.t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
		cancel() // interrupted at once
		pool.Close(ctx)
	})
	c.Claimer = New(Config{
		Store: w.store, Pool: pool, Bodies: stored{}, Opener: endpoint.NewOpener(w.vault), Results: c.results,
		Lease: 45 * time.Second, Log: quiet(),
	}, func(int) {})
	return c
}

// ledger runs one, over a store of its own, until the test ends or stop is called.
func (w *world) ledger() (l *ledger.Ledger, stop func()) {
	w.t.Helper()
	l = ledger.New(w.open(testenv.Worker), quiet())
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	ended := make(chan struct{})
	go func() { l.Run(ctx); close(ended) }()
	stop = sync.OnceFunc(func() {
		l.Close()
		<-ended
		cancel()
	})
	w.t.Cleanup(stop)
	return l, stop
}

// once claims, and says what was leased: the deliveries, by due time.
func (w *world) once(c *claimer) (ids []uuid.UUID) {
	w.t.Helper()
	before := ask[uuid.UUID](w, "SELECT DISTINCT lease_id FROM webhook_queue WHERE lease_id IS NOT NULL")
	if _, err := c.claim(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return ask[uuid.UUID](w, "SELECT delivery_id FROM webhook_queue WHERE lease_id IS NOT NULL AND lease_id <> ALL($1) ORDER BY delivery_id", before)
}
