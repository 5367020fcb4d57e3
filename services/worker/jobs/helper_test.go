package jobs

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/pkg/vault"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func open(t *testing.T, database *testenv.Database, role testenv.Role) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), database.URL(role), 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func connect(t *testing.T, account *testenv.Account, role testenv.Role) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(account.Connect(t, role))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// newVault is one with a key of its own.
func newVault(t *testing.T) *vault.Vault {
	t.Helper()
	keys, err := vault.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return openVault(t, keys)
}

func openVault(t *testing.T, keys []byte) *vault.Vault {
	t.Helper()
	v, err := vault.Open(keys)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func exec(t *testing.T, s *store.Store, sql string, args ...any) {
	t.Helper()
	if _, err := s.Pool().Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// ask returns what a query answers, in one column.
func ask[T any](t *testing.T, s *store.Store, sql string, args ...any) (answer T) {
	t.Helper()
	if err := s.Pool().QueryRow(t.Context(), sql, args...).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return answer
}

// eventually waits until condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// records counts the records of a level.
type records struct {
	slog.Handler
	level slog.Level
	count atomic.Int64
}

func counting(level slog.Level) (*slog.Logger, *records) {
	r := &records{Handler: slog.DiscardHandler, level: level}
	return slog.New(r), r
}

func (r *records) Enabled(_ context.Context, level slog.Level) bool { return level == r.level }

func (r *records) Handle(context.Context, slog.Record) error {
	r.count.Add(1)
	return nil
}

// tenant of everything here.
var tenant = uuid.MustParse("0198f000-0000-7000-8000-000000000001")

// queueRow is a delivery of an event, waiting or whatever state says.
type queueRow struct {
	webhook uuid.UUID
	event   string
	epoch   int64
	seq     uint64
	state   int16
	due     time.Duration // from now
}

func insertRow(ctx context.Context, q *db.Queries, r queueRow) error {
	if r.webhook == uuid.Nil {
		r.webhook = uuid.Must(uuid.NewV7())
	}
	return q.InsertQueueRows(ctx, db.InsertQueueRowsParams{
		DeliveryIds: []uuid.UUID{uuid.Must(uuid.NewV7())}, WebhookIds: []uuid.UUID{r.webhook}, Tenants: []uuid.UUID{tenant},
		EventIds: []string{r.event}, EventTypes: []string{"deal.moved"}, EventDays: []time.Time{bus.Day(time.Now())},
		Epochs: []int64{r.epoch}, StreamSeqs: []int64{int64(r.seq)}, Kinds: []int16{0}, States: []int16{r.state},
		Attempts: []int16{1}, DelayMs: []int64{r.due.Milliseconds()}, LeaseIds: []uuid.UUID{uuid.Nil},
		LastStatuses: []int16{0}, LastErrors: []string{""},
	})
}

// asTenant runs a statement as the api does for tenant: the worker's role may not
// write all tables.
func asTenant(t *testing.T, api *store.Store, sql string, args ...any) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), api.Pool(), func(tx pgx.Tx) error {
		if err := db.New(tx).SetTenant(t.Context(), tenant.String()); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), sql, args...)
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
