package jobs

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

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
