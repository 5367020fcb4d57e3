package jobs

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/testenv"
)

// partitionsOf lists the days of a table's partitions, from today.
func partitionsOf(t *testing.T, s *store.Store, table string) []int {
	t.Helper()
	return ask[[]int](t, s, `SELECT coalesce(array_agg(day ORDER BY day), '{}') FROM (
		SELECT to_date(right(c.relname, 8), 'YYYYMMDD') - current_date AS day
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::text::regclass) AS d`, table)
}

func TestPartitioner_Work(t *testing.T) {
	t.Parallel()
	t.Run("makes the days to come, drops those past retention, and keeps the others", func(t *testing.T) {
		t.Parallel()
		database := testenv.DB(t)
		s := open(t, database, testenv.Worker)
		exec(t, open(t, database, testenv.Owner), dropPartitions)
		today := bus.Day(time.Now())
		if _, err := s.Queries().EnsurePartitions(t.Context(), today.AddDate(0, 0, -33), today.AddDate(0, 0, -29)); err != nil {
			t.Fatal(err)
		}
		if err := newPartitioner(s, quiet()).Work(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"events", "webhook_logs"} {
			if got, want := partitionsOf(t, s, table), []int{-30, -29, -1, 0, 1, 2, 3}; !slices.Equal(got, want) {
				t.Errorf("%s has the days %v, want %v", table, got, want)
			}
		}
	})

	t.Run("stands back while its table is written, and blocks no other writer", func(t *testing.T) {
		t.Parallel()
		s := open(t, testenv.DB(t), testenv.Worker)
		old := bus.Day(time.Now()).AddDate(0, 0, -40)
		if _, err := s.Queries().EnsurePartitions(t.Context(), old, old); err != nil {
			t.Fatal(err)
		}
		writer, err := s.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer writer.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // committed below
		for _, insert := range []string{insertEvent, insertLog} {
			if _, err := writer.Exec(t.Context(), insert, uuid.New()); err != nil {
				t.Fatal(err)
			}
		}
		log, tries := counting(slog.LevelInfo)
		p := newPartitioner(s, log)
		p.pause = time.Millisecond
		ended := make(chan error, 1)
		go func() { ended <- p.Work(t.Context(), nil) }()
		for try := range int64(3) {
			eventually(t, "a try to drop gives up", func() bool { return tries.count.Load() > try })
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			for _, insert := range []string{insertEvent, insertLog} {
				if _, err := s.Pool().Exec(ctx, insert, uuid.New()); err != nil {
					t.Fatalf("another writer: %v", err)
				}
			}
			cancel()
		}
		if err := writer.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"events", "webhook_logs"} {
			if days := partitionsOf(t, s, table); days[0] != -1 {
				t.Errorf("%s still has the days %v", table, days)
			}
		}
	})
}

func TestDropPartition_RefusesRecentDays(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.DB(t), testenv.Worker)
	before := partitionsOf(t, s, "events")
	if _, err := s.Queries().DropPartition(t.Context(), bus.Day(time.Now()).AddDate(0, 0, -6)); err == nil {
		t.Error("a day within the last week was accepted")
	}
	if after := partitionsOf(t, s, "events"); !slices.Equal(before, after) {
		t.Errorf("the days went from %v to %v", before, after)
	}
}

// impatient is a session whose statements fail when they wait for a lock longer
// than the 50 ms that a drop may stop them for, and what a busy machine adds.
func impatient(t *testing.T, database *testenv.Database) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), database.URL(testenv.Worker))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	if _, err := conn.Exec(t.Context(), "SET lock_timeout = '500ms'"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// write keeps writing to both tables in transactions of its own until stop is
// closed, and counts in written how often it did.
func write(ctx context.Context, conn *pgx.Conn, stop <-chan struct{}, written *atomic.Int64) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		for _, insert := range []string{insertEvent, insertLog} {
			if _, err := conn.Exec(ctx, insert, uuid.NewString()); err != nil {
				return err
			}
		}
		written.Add(1)
	}
}

func TestPartitions_NeverStopWriters(t *testing.T) {
	t.Parallel()
	// during has three writers at work while fn runs, and fails the test if one of
	// them had to wait.
	during := func(t *testing.T, database *testenv.Database, fn func()) {
		t.Helper()
		const writers = 3
		stop, ended := make(chan struct{}), make(chan error, writers)
		var written atomic.Int64
		for range writers {
			conn := impatient(t, database)
			go func() { ended <- write(t.Context(), conn, stop, &written) }()
		}
		eventually(t, "writers are at work", func() bool { return written.Load() > writers || len(ended) > 0 })
		fn()
		close(stop)
		for range writers {
			if err := <-ended; err != nil {
				t.Errorf("a writer, after %d writes of all: %v", written.Load(), err)
			}
		}
	}
	// hold is a transaction that has written to both tables, and is not done.
	hold := func(t *testing.T, s *store.Store) pgx.Tx {
		t.Helper()
		tx, err := s.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) })
		for _, insert := range []string{insertEvent, insertLog} {
			if _, err := tx.Exec(t.Context(), insert, uuid.New()); err != nil {
				t.Fatal(err)
			}
		}
		return tx
	}
	const (
		make5  = "SELECT ensure_partitions(current_date - 44, current_date - 40)"
		isMade = "SELECT count(*) FROM pg_class WHERE relname LIKE 'webhook_logs_%' AND relkind = 'r'"
	)

	t.Run("while some are made, nor wait for writers", func(t *testing.T) {
		t.Parallel()
		database := testenv.DB(t)
		s := open(t, database, testenv.Worker)
		hold(t, s)
		during(t, database, func() {
			tx, err := impatient(t, database).Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), make5); err != nil {
				t.Fatalf("making waits for a writer: %v", err)
			}
			// Not committed yet: the writers go on all the same.
			for range 3 {
				exec(t, s, insertEvent, uuid.New())
				exec(t, s, insertLog, uuid.New())
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
		if n := ask[int](t, s, isMade); n < 5 {
			t.Errorf("%d partitions are there", n)
		}
	})

	t.Run("while some are dropped, though the drop has to wait", func(t *testing.T) {
		t.Parallel()
		database := testenv.DB(t)
		s := open(t, database, testenv.Worker)
		exec(t, s, make5)
		holder := hold(t, s)
		log, tries := counting(slog.LevelInfo)
		p := newPartitioner(s, log)
		p.pause = 10 * time.Millisecond
		during(t, database, func() {
			ended := make(chan error, 1)
			go func() { ended <- p.Work(t.Context(), nil) }()
			eventually(t, "tries to drop give up", func() bool { return tries.count.Load() > 10 })
			if err := holder.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		})
		if days := partitionsOf(t, s, "webhook_logs"); days[0] != -1 {
			t.Errorf("there are still the days %v", days)
		}
	})
}

// A partition has the indexes of its table, also that which was made for days to
// come alone.
func TestPartitions_HaveEveryIndex(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.DB(t), testenv.Worker)
	exec(t, s, "SELECT ensure_partitions('2001-02-03', '2001-02-03')")
	for _, table := range []string{"events", "webhook_logs"} {
		const indexes = "SELECT count(*) FROM pg_index WHERE indrelid = $1::text::regclass"
		want, got := ask[int](t, s, indexes, table), ask[int](t, s, indexes, table+"_20010203")
		if got != want || want == 0 {
			t.Errorf("a new partition of %s has %d indexes, want %d", table, got, want)
		}
	}
}

const (
	dropPartitions = `DO $$ DECLARE part regclass; BEGIN
		FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent IN ('events'::regclass, 'webhook_logs'::regclass) LOOP
			EXECUTE 'DROP TABLE ' || part;
		END LOOP;
	END $$`
	insertEvent = `INSERT INTO events (day, tenant_id, id, type, stream_seq, created_at) VALUES (current_date, $1, 'e', 'deal.moved', 1, now())`
	insertLog   = `INSERT INTO webhook_logs (webhook_id, created_at, id, tenant_id, delivery_id, event_id, event_type, attempt, kind, counted,
		success, status, duration_ms) VALUES ($1, now(), $1, $1, $1, 'e', 'deal.moved', 1, 0, true, true, 200, 1)`
)
