package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func open(t testing.TB, d *testenv.Database, role testenv.Role, conns int) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), d.URL(role), conns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// floor is what consumer_floors says of a consumer, 0 for nothing. The tests
// write there because it has no tenant.
func floor(t testing.TB, q *db.Queries, consumer string) int64 {
	t.Helper()
	row, err := q.ConsumerFloor(t.Context(), consumer)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	return row.Floor
}

func insertWebhook(ctx context.Context, q *db.Queries, tenant uuid.UUID) (uuid.UUID, error) {
	hook, err := q.InsertWebhook(ctx, db.InsertWebhookParams{
		ID: uuid.Must(uuid.NewV7()), TenantID: tenant, Name: "n", Url: "https://example.com", Events: []string{"*"},
		Active: true, Secret: []byte("sealed"), HeaderNames: []string{}, RetryDelays: []int32{1},
	})
	return hook.ID, err
}

func TestOpen(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.DB(t), testenv.Worker, 3)
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if got := s.Pool().Config().MaxConns; got != 3 {
		t.Errorf("the pool takes %d connections, want 3", got)
	}
	var zone string
	if err := s.Pool().QueryRow(t.Context(), "SHOW timezone").Scan(&zone); err != nil || zone != "UTC" {
		t.Errorf("time zone %q, %v, want UTC", zone, err)
	}
}

func TestOpen_RefusesAtOnce(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for name, url := range map[string]string{
		"a URL that is none":         "postgres://api:" + secret + "@127.0.0.1:port/primezap",
		"a server that is not there": "postgres://api:" + secret + "@127.0.0.1:1/primezap?sslmode=disable",
	} {
		s, err := store.Open(t.Context(), url, 0)
		if err == nil {
			s.Close()
			t.Errorf("%s: opened", name)
			continue
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the password", name)
		}
	}
}

func TestStore_InTenant(t *testing.T) {
	t.Parallel()
	// One connection: each transaction comes after another tenant's.
	s := open(t, testenv.DB(t), testenv.API, 1)
	mine, theirs := uuid.New(), uuid.New()
	inserted := map[uuid.UUID]uuid.UUID{}
	for _, tenant := range []uuid.UUID{mine, theirs} {
		err := s.InTenant(t.Context(), tenant, func(q *db.Queries) (err error) {
			inserted[tenant], err = insertWebhook(t.Context(), q, tenant)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tenant := range []uuid.UUID{mine, theirs, mine} {
		for owner, hook := range inserted {
			err := s.InTenant(t.Context(), tenant, func(q *db.Queries) error {
				_, err := q.GetWebhook(t.Context(), hook)
				return err
			})
			if found := err == nil; found != (owner == tenant) {
				t.Errorf("tenant %s reads a webhook of %s: %v", tenant, owner, err)
			}
		}
	}
	if _, err := s.Queries().GetWebhook(t.Context(), inserted[mine]); !errors.Is(err, pgx.ErrNoRows) {
		t.Errorf("read after a tenant's transaction, outside of one: %v, want no row", err)
	}
	err := s.InTenant(t.Context(), mine, func(q *db.Queries) error {
		_, err := insertWebhook(t.Context(), q, theirs)
		return fmt.Errorf("insert for another tenant: %w", err)
	})
	if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "42501" {
		t.Errorf("insert for another tenant: %v, want it denied", err)
	}
}

func TestStore_InTx_CommitsOrLeavesNothing(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.DB(t), testenv.Worker, 1)
	broken := errors.New("broken")
	save := func(consumer string, then func() error) func(*db.Queries) error {
		return func(q *db.Queries) error {
			if err := q.SaveConsumerFloor(t.Context(), consumer, 1, 7); err != nil {
				return err
			}
			return then()
		}
	}

	if err := s.InTx(t.Context(), save("fine", func() error { return nil })); err != nil {
		t.Error(err)
	}
	err := s.InTx(t.Context(), save("failed", func() error { return fmt.Errorf("outer: %w", fmt.Errorf("inner: %w", broken)) }))
	if !errors.Is(err, broken) {
		t.Errorf("%v, want what fn returned in it", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.InTx(ctx, save("cancelled", func() error { cancel(); return ctx.Err() })); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic went no further")
			}
		}()
		_ = s.InTx(t.Context(), save("panicked", func() error { panic("at the disco") }))
	}()
	// A statement's error that fn keeps to itself does not commit the rest.
	err = s.InTx(t.Context(), func(q *db.Queries) error {
		if err := q.SaveConsumerFloor(t.Context(), "aborted", 1, 7); err != nil {
			return err
		}
		_, _ = q.FindAPIKey(t.Context(), []byte("k")) // denied to a worker
		return nil
	})
	if err == nil {
		t.Error("a transaction that the server had aborted was reported as committed")
	}

	for consumer, want := range map[string]int64{"fine": 7, "failed": 0, "cancelled": 0, "panicked": 0, "aborted": 0} {
		if got := floor(t, s.Queries(), consumer); got != want { // over the one connection
			t.Errorf("%s: %d is stored, want %d", consumer, got, want)
		}
	}
}

func TestStore_InTx_EachStatementSeesWhatIsCommitted(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.DB(t), testenv.Worker, 2)
	err := s.InTx(t.Context(), func(q *db.Queries) error {
		if got := floor(t, q, "c"); got != 0 {
			t.Errorf("%d at first", got)
		}
		if err := s.Queries().SaveConsumerFloor(t.Context(), "c", 1, 7); err != nil { // another connection
			return err
		}
		if got := floor(t, q, "c"); got != 7 {
			t.Errorf("the next statement sees %d, want the 7 committed since", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStore_InTx_RepeatsADeadlocksVictim(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.DB(t), testenv.Worker, 3)
	names := []string{"a", "b"}
	for _, name := range names {
		if err := s.Queries().SaveConsumerFloor(t.Context(), name, 99, 1); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var runs [2]int
	holds := [2]chan struct{}{make(chan struct{}), make(chan struct{})} // closed with the first row locked
	var both sync.WaitGroup
	for i := range 2 {
		both.Go(func() {
			err := s.InTx(ctx, func(q *db.Queries) error {
				runs[i]++
				if err := q.SaveConsumerFloor(ctx, names[i], int64(i), 1); err != nil {
					return fmt.Errorf("first row: %w", err)
				}
				if runs[i] == 1 {
					close(holds[i])
					select {
					case <-holds[1-i]:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				if err := q.SaveConsumerFloor(ctx, names[1-i], int64(i), 1); err != nil {
					return fmt.Errorf("second row: %w", err)
				}
				return nil
			})
			if err != nil {
				t.Errorf("transaction %d: %v", i, err)
			}
		})
	}
	both.Wait()
	if runs[0]+runs[1] < 3 {
		t.Errorf("runs %v, want a victim that was repeated", runs)
	}
	// Who came last wrote both rows.
	epochs := map[int64]bool{}
	for _, name := range names {
		row, err := s.Queries().ConsumerFloor(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		epochs[row.Epoch] = true
	}
	if len(epochs) != 1 || epochs[99] {
		t.Errorf("the rows are of transactions %v, want one", epochs)
	}
}

func TestStore_InTx_RepeatsNoMoreThanItMay(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.DB(t), testenv.Worker, 1)
	for _, tc := range []struct {
		name string
		err  error
		runs int
	}{
		{name: "a transaction that could not be serialised runs three times", err: &pgconn.PgError{Code: "40001"}, runs: 3},
		{name: "a deadlock's victim likewise, whatever fn wrapped it in", err: fmt.Errorf("take rows: %w", &pgconn.PgError{Code: "40P01"}), runs: 3},
		{name: "a unique violation runs once", err: &pgconn.PgError{Code: "23505"}, runs: 1},
		{name: "an error that is not the server's runs once", err: errors.New("40001"), runs: 1},
		{name: "a success runs once", runs: 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			runs := 0
			err := s.InTx(t.Context(), func(*db.Queries) error { runs++; return tc.err })
			if runs != tc.runs || !errors.Is(err, tc.err) {
				t.Errorf("%d runs, %v; want %d, %v", runs, err, tc.runs, tc.err)
			}
			if got, want := store.Repeatable(tc.err), tc.runs > 1; got != want {
				t.Errorf("Repeatable is %t, want %t", got, want)
			}
		})
	}
}

func TestStore_Commit_AllOrNothing(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.DB(t), testenv.Worker, 1)
	now := time.Now().UTC()
	events := func(ids ...string) db.InsertEventsParams {
		var p db.InsertEventsParams
		for _, id := range ids {
			p.Days, p.Tenants, p.Ids, p.Types = append(p.Days, now), append(p.Tenants, uuid.Nil), append(p.Ids, id), append(p.Types, "deal.moved")
			p.Seqs, p.Contacts, p.Created = append(p.Seqs, 1), append(p.Contacts, ""), append(p.Created, now)
		}
		return p
	}
	add := func(b *store.Batch, consumer string, floor int64, ids ...string) {
		t.Helper()
		if err := errors.Join(
			b.SaveConsumerFloor(t.Context(), consumer, 1, 1),
			b.InsertEvents(t.Context(), events(ids...)),
			b.SaveConsumerFloor(t.Context(), consumer, 1, floor),
		); err != nil {
			t.Fatal(err)
		}
	}

	failing := store.NewBatch()
	add(failing, "first", 2, "x")
	add(failing, "second", 2, "y", "y") // an event twice
	add(failing, "third", 2, "z")
	if failing.Len() != 9 {
		t.Errorf("%d statements, want 9", failing.Len())
	}
	err := s.Commit(t.Context(), failing)
	if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "23505" {
		t.Errorf("%v, want the failing statement's error", err)
	}
	for _, consumer := range []string{"first", "second", "third"} {
		if got := floor(t, s.Queries(), consumer); got != 0 {
			t.Errorf("%s: %d is stored, want nothing of the batch", consumer, got)
		}
	}

	fine := store.NewBatch()
	for i := range 100 {
		add(fine, fmt.Sprintf("c%d", i), int64(i+2), fmt.Sprintf("e%d", i))
	}
	if err := s.Commit(t.Context(), fine); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if got := floor(t, s.Queries(), fmt.Sprintf("c%d", i)); got != int64(i+2) {
			t.Errorf("c%d is %d, want %d, the last statement's", i, got, i+2)
		}
	}
}

func TestStore_Commit_ErrorsThatLeaveTheOutcomeOpen(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.DB(t), testenv.Worker, 1)
	b := store.NewBatch()
	if err := b.SaveConsumerFloor(t.Context(), "c", 1, 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Commit(ctx, b)
	if _, isServers := errors.AsType[*pgconn.PgError](err); err == nil || isServers {
		t.Errorf("%v, want an error that is not the server's answer", err)
	}
	if err := s.Commit(ctx, store.NewBatch()); err != nil {
		t.Errorf("an empty batch: %v, want nothing sent", err)
	}
}

func TestBatch_RefusesQueriesThatAnswer(t *testing.T) {
	t.Parallel()
	b := store.NewBatch()
	if _, err := b.ConsumerFloor(t.Context(), "c"); err == nil {
		t.Error("a :one query was taken")
	}
	if _, err := b.OutboxBatch(t.Context(), 0, 1, 1); err == nil {
		t.Error("a :many query was taken")
	}
	if _, err := b.PurgeExhausted(t.Context(), 1); err == nil {
		t.Error("an :execrows query was taken")
	}
	if b.Len() != 0 {
		t.Errorf("%d statements are queued, want none", b.Len())
	}
}

// Keys in the wrong form of UUID or hash would be found by nobody.
func TestStore_UUIDsAndBytesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.DB(t), testenv.API, 2)
	id, tenant, hash := uuid.New(), uuid.New(), sha256.Sum256([]byte("pz_key"))
	err := s.InTenant(t.Context(), tenant, func(q *db.Queries) error {
		return q.InsertAPIKey(t.Context(), db.InsertAPIKeyParams{
			ID: id, TenantID: tenant, Name: "n", Hint: "_key", Hash: hash[:], Scopes: []string{"webhooks:read", "events:write"},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := s.Queries().FindAPIKey(t.Context(), hash[:])
	if err != nil || key.ID != id || key.TenantID != tenant || len(key.Scopes) != 2 {
		t.Errorf("found %+v, %v", key, err)
	}
}
