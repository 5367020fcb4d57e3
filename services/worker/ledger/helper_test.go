package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/histogram"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/worker/attempt"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

// world is a database as a worker sees it.
type world struct {
	t        *testing.T
	database interface{ URL(testenv.Role) string }
	store    *store.Store
	verdicts *verdicts
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, database: testenv.DB(t), verdicts: &verdicts{}}
	w.store = w.open(w.database.URL(testenv.Worker))
	return w
}

// of is the world for a part of its test.
func (w *world) of(t *testing.T) *world {
	return &world{t: t, database: w.database, store: w.store, verdicts: &verdicts{}}
}

func (w *world) open(url string) *store.Store {
	w.t.Helper()
	s, err := store.Open(w.t.Context(), url, 4)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.Close)
	return s
}

// ledger is one that does not run.
func (w *world) ledger() *Ledger { return New(w.store, quiet()) }

// run starts l, and returns what ends its context and what closes it and waits
// until it has returned.
func (w *world) run(l *Ledger) (cancel, stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan struct{})
	go func() { l.Run(ctx); close(ended) }()
	stop = sync.OnceFunc(func() {
		l.Close()
		select {
		case <-ended:
		case <-time.After(patience):
			w.t.Error("the ledger did not end")
		}
	})
	w.t.Cleanup(func() { cancel(); stop() })
	return cancel, stop
}

// sql runs a statement as the owner of the schema.
func (w *world) sql(statement string) {
	w.t.Helper()
	conn, err := pgx.Connect(w.t.Context(), w.database.URL(testenv.Owner))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(w.t.Context()))
	if _, err := conn.Exec(w.t.Context(), statement); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
}

// ask returns what a query answers in its one column, row by row, as the worker.
func ask[T any](w *world, query string, args ...any) []T {
	w.t.Helper()
	return askOf[T](w, w.store.Pool(), query, args...)
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func askOf[T any](w *world, of querier, query string, args ...any) []T {
	w.t.Helper()
	rows, err := of.Query(w.t.Context(), query, args...)
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

// verdicts are the ledger's answers, by the name of what they are about.
type verdicts struct {
	mu  sync.Mutex
	got map[string][]Verdict
}

func (v *verdicts) of(name string) func(Verdict) {
	return func(verdict Verdict) {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.got == nil {
			v.got = map[string][]Verdict{}
		}
		v.got[name] = append(v.got[name], verdict)
	}
}

func (v *verdicts) about(name string) []Verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.got[name])
}

func (v *verdicts) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.got)
}

// decided waits until n things are decided.
func (w *world) decided(n int) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); w.verdicts.count() < n; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%d things are decided after %s, want %d", w.verdicts.count(), patience, n)
		}
	}
}

// verdict checks that name was decided once, as want.
func (w *world) verdict(name string, want Verdict) {
	w.t.Helper()
	if got := w.verdicts.about(name); !slices.Equal(got, []Verdict{want}) {
		w.t.Errorf("%s: decided %v, want once %v", name, got, want)
	}
}

// all checks that everything was decided once, as want.
func (w *world) all(want Verdict) {
	w.t.Helper()
	w.verdicts.mu.Lock()
	defer w.verdicts.mu.Unlock()
	wrong := 0
	for name, got := range w.verdicts.got {
		if !slices.Equal(got, []Verdict{want}) {
			if wrong++; wrong <= 5 {
				w.t.Errorf("%s: decided %v, want once %v", name, got, want)
			}
		}
	}
	if wrong > 5 {
		w.t.Errorf("and %d more", wrong-5)
	}
}

// tenant of everything here, and the epoch of its stream.
var tenant = uuid.MustParse("0198f000-0000-7000-8000-000000000001")

const epoch = 1_700_000_000_000_000_000

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

var sequence atomic.Uint64

// event is a new one of today.
func event() bus.Event {
	now := time.Now()
	return bus.Event{
		Tenant: tenant, Class: bus.Live, Type: "deal.moved", ID: newID().String(), Day: bus.Day(now), Contact: "c1",
		Seq: sequence.Add(1), AcceptedAt: now.UTC().Truncate(time.Microsecond),
	}
}

// attempted is the log of an attempt that took 12 ms and was answered by status.
func attempted(e *bus.Event, webhook, delivery uuid.UUID, number, status int) Log {
	o := attempt.Outcome{
		Success: status/100 == 2, Status: status, Start: time.Now(), Duration: 12 * time.Millisecond,
		Timing:         attempt.Timing{Connect: 2 * time.Millisecond, FirstByte: 11 * time.Millisecond},
		RequestHeaders: []byte(`{"a":"b"}`), ResponseHeaders: []byte(`{"c":"d"}`), ResponseBody: "answer",
	}
	if !o.Success {
		o.Class, o.Message = attempt.ClassStatus, fmt.Sprintf("the endpoint answered %d", status)
	}
	return Log{
		ID: newID(), Webhook: webhook, Tenant: tenant, Delivery: delivery, EventID: e.ID, Event: e.Type,
		Attempt: number, Kind: Delivery, Counted: true, Outcome: o,
	}
}

// delivered is the entry of an event that was delivered to webhooks at once.
func (w *world) delivered(name string, webhooks ...uuid.UUID) *Entry {
	entry := &Entry{Event: event(), Epoch: epoch, Done: w.verdicts.of(name)}
	for _, webhook := range webhooks {
		entry.Logs = append(entry.Logs, attempted(&entry.Event, webhook, newID(), 1, 200))
	}
	return entry
}

// exhausted is the entry of an event whose one delivery was answered by status
// for the last time.
func (w *world) exhausted(name string, webhook uuid.UUID, status int) *Entry {
	entry := &Entry{Event: event(), Epoch: epoch, Done: w.verdicts.of(name)}
	log := attempted(&entry.Event, webhook, newID(), lastAttempt, status)
	entry.Logs = append(entry.Logs, log)
	entry.Rows = append(entry.Rows, Row{
		Delivery: log.Delivery, Webhook: webhook, State: Exhausted, Attempt: lastAttempt + 1, Delay: KeepExhausted, LastStatus: status,
	})
	return entry
}

// lastAttempt is the number of the attempt that exhausts a delivery.
const lastAttempt = 4

// leased puts rows into the queue, each with a lease of its own, and returns
// their results: done with.
func (w *world) leased(webhook uuid.UUID, n int) []*Result {
	w.t.Helper()
	entry := &Entry{Event: event(), Epoch: epoch}
	var results []*Result
	for range n {
		row := Row{Delivery: newID(), Webhook: webhook, State: InFlight, Attempt: 1, Delay: time.Minute, Lease: newID()}
		entry.Rows = append(entry.Rows, row)
		log := attempted(&entry.Event, webhook, row.Delivery, 1, 200)
		results = append(results, &Result{
			Delivery: row.Delivery, Webhook: webhook, Tenant: tenant, Lease: row.Lease, Attempt: 1, Log: &log,
		})
	}
	if err := w.ledger().try(w.t.Context(), items(entry)); err != nil {
		w.t.Fatal(err)
	}
	return results
}

// items are what Submit… makes of entries, results and logs.
func items(of ...any) (all []*item) {
	for _, one := range of {
		switch one := one.(type) {
		case *Entry:
			all = append(all, &item{entry: one, done: one.Done})
		case *Result:
			all = append(all, &item{result: one, done: one.Done})
		case *item:
			all = append(all, one)
		default:
			panic(fmt.Sprintf("%T is nothing for a ledger", one))
		}
	}
	return all
}

// consistent checks what must hold at every moment, whatever has happened:
// statistics equal the logs, and no attempt counts twice.
func (w *world) consistent() {
	w.t.Helper()
	// Others may be at work: all of it in one snapshot.
	tx, err := w.store.Pool().BeginTx(w.t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		w.t.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(w.t.Context())) //nolint:errcheck // it only reads
	none := func(what, query string) {
		w.t.Helper()
		if n := askOf[int64](w, tx, "SELECT count(*) FROM ("+query+") AS found")[0]; n != 0 {
			w.t.Errorf("%d %s", n, what)
		}
	}
	none("statistics do not equal the logs", `
		WITH logs AS (
			SELECT webhook_id, date_trunc('hour', created_at) AS hour, event_type, status, tenant_id, count(*) AS total,
				count(*) FILTER (WHERE success) AS successful, sum(duration_ms)::bigint AS duration
			FROM webhook_logs WHERE counted GROUP BY 1, 2, 3, 4, 5
		), stats AS (
			SELECT webhook_id, hour, event_type, status, tenant_id, total, successful, duration_ms_sum FROM webhook_stats_hourly
		)
		(TABLE logs EXCEPT TABLE stats) UNION ALL (TABLE stats EXCEPT TABLE logs)`)
	none("days that are summed up do not equal the logs", `
		WITH logs AS (
			SELECT l.webhook_id, d.day, l.event_type, l.status, l.tenant_id, count(*) AS total,
				count(*) FILTER (WHERE l.success) AS successful, sum(l.duration_ms)::bigint AS duration
			FROM webhook_logs l JOIN webhook_stats_daily d ON d.webhook_id = l.webhook_id AND d.day = (l.created_at AT TIME ZONE 'UTC')::date
			WHERE l.counted GROUP BY 1, 2, 3, 4, 5
		), days AS (
			SELECT webhook_id, day, unnest(event_types), unnest(statuses), tenant_id, unnest(totals), unnest(successful), unnest(duration_ms_sums)
			FROM webhook_stats_daily
		)
		(TABLE logs EXCEPT TABLE days) UNION ALL (TABLE days EXCEPT TABLE logs)`)
	none("durations of days that are summed up do not equal those of their hours", `
		WITH hours AS (
			SELECT h.webhook_id, d.day, h.bucket, sum(h.total)::bigint AS total
			FROM webhook_durations_hourly h JOIN webhook_stats_daily d ON d.webhook_id = h.webhook_id AND d.day = (h.hour AT TIME ZONE 'UTC')::date
			GROUP BY 1, 2, 3
		), days AS (SELECT webhook_id, day, unnest(buckets), unnest(bucket_totals) FROM webhook_stats_daily)
		(TABLE hours EXCEPT TABLE days) UNION ALL (TABLE days EXCEPT TABLE hours)`)
	none("attempts count twice", `
		SELECT FROM webhook_logs WHERE counted GROUP BY delivery_id, attempt HAVING count(*) > 1`)
	rows, err := tx.Query(w.t.Context(), "SELECT webhook_id, created_at, duration_ms FROM webhook_logs WHERE counted")
	if err != nil {
		w.t.Fatal(err)
	}
	type key struct {
		webhook uuid.UUID
		hour    int64
		bucket  int16
	}
	totals := map[key]int{}
	var (
		webhook uuid.UUID
		at      time.Time
		ms      int32
	)
	if _, err := pgx.ForEachRow(rows, []any{&webhook, &at, &ms}, func() error {
		totals[key{webhook, at.Truncate(time.Hour).Unix(), histogram.Bucket(ms)}]++
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	var want []string
	for k, total := range totals {
		want = append(want, fmt.Sprintf("%s %d %d %d", k.webhook, k.hour, k.bucket, total))
	}
	got := askOf[string](w, tx, "SELECT concat_ws(' ', webhook_id, extract(epoch FROM hour)::bigint, bucket, total) FROM webhook_durations_hourly")
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.t.Errorf("durations do not equal the logs: %q, want %q", got, want)
	}
}

// warnings counts what a ledger complains about.
type warnings struct {
	slog.Handler
	mu  sync.Mutex
	got []string
}

func newWarnings() (*slog.Logger, *warnings) {
	h := &warnings{Handler: slog.DiscardHandler}
	return slog.New(h), h
}

func (h *warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (h *warnings) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, text)
	return nil
}

func (h *warnings) texts() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.got)
}

// exec runs a statement as the worker.
func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.store.Pool().Exec(w.t.Context(), statement, args...); err != nil {
		w.t.Fatalf("%s: %v", statement, err)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
