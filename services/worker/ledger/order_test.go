package ledger

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/testenv"
)

// Two commits that need the same keys follow one another, in whatever order the
// keys came. A third party holds the key in the middle, so that both are at work
// when it lets go: one of them would be a deadlock's victim if they had locked
// their keys in different orders before.
func TestLedger_commit_LocksInOneOrder(t *testing.T) {
	t.Parallel()
	const keys, rounds = 25, 6
	for _, tc := range []struct {
		name string
		hold string // locks the key in the middle
		// items of the first commit, and of the second; ids are sorted.
		items func(w *world, ids []uuid.UUID) (first, second []*item)
	}{
		{
			name: "events",
			hold: `INSERT INTO events (day, tenant_id, id, type, stream_seq, created_at)
				VALUES (current_date, '` + tenant.String() + `', $1::uuid::text, 'deal.moved', 1, now())`,
			items: func(w *world, ids []uuid.UUID) (first, second []*item) {
				for _, id := range ids {
					for _, all := range []*[]*item{&first, &second} {
						entry := w.delivered("")
						entry.Event.ID = id.String()
						*all = append(*all, items(entry)...)
					}
				}
				slices.Reverse(second)
				return first, second
			},
		},
		{
			name: "lanes",
			hold: "SELECT FROM webhook_lanes WHERE webhook_id = $1 FOR UPDATE",
			items: func(w *world, ids []uuid.UUID) (first, second []*item) {
				for _, id := range ids {
					for _, all := range []*[]*item{&first, &second} {
						entry := w.delivered("")
						entry.Rows = []Row{{Delivery: newID(), Webhook: id, Attempt: 1}}
						*all = append(*all, items(entry)...)
					}
				}
				return first, second
			},
		},
		{
			name:  "statistics",
			hold:  "SELECT FROM webhook_stats_hourly WHERE webhook_id = $1 FOR UPDATE",
			items: func(_ *world, ids []uuid.UUID) (first, second []*item) { return logsOf(ids, 200), logsOf(ids, 200) },
		},
		{
			name: "durations",
			hold: "SELECT FROM webhook_durations_hourly WHERE webhook_id = $1 FOR UPDATE",
			// Of other statuses, or the keys of statistics would bring them into line.
			items: func(_ *world, ids []uuid.UUID) (first, second []*item) { return logsOf(ids, 200), logsOf(ids, 500) },
		},
		{
			name: "health",
			hold: "SELECT FROM webhook_health WHERE webhook_id = $1 FOR UPDATE",
			// One ends the streaks, in the last statement of all; one goes on with them.
			// Statuses and durations differ, or the keys of statistics would bring them
			// into line.
			items: func(w *world, ids []uuid.UUID) (first, second []*item) {
				for _, id := range ids {
					first = append(first, items(w.exhausted("", id, 500))...)
					success := w.delivered("", id)
					success.Logs[0].Outcome.Duration = time.Second
					second = append(second, items(success)...)
				}
				slices.Reverse(second)
				return first, second
			},
		},
		{
			name: "health, mixed",
			hold: "SELECT FROM webhook_health WHERE webhook_id = $1 FOR UPDATE",
			items: func(w *world, ids []uuid.UUID) (first, second []*item) {
				for i, id := range ids {
					one, other := w.exhausted("", id, 500), w.delivered("", id)
					other.Logs[0].Outcome.Duration = time.Second
					if i%2 == 0 {
						one, other = w.delivered("", id), w.exhausted("", id, 501)
						one.Logs[0].Outcome.Duration = 10 * time.Second
						other.Logs[0].Outcome.Duration = time.Minute
					}
					first, second = append(first, items(one)...), append(second, items(other)...)
				}
				slices.Reverse(second)
				return first, second
			},
		},
	} {
		t.Run("of "+tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			holder, err := pgx.Connect(t.Context(), w.database.URL(testenv.Worker))
			if err != nil {
				t.Fatal(err)
			}
			defer holder.Close(context.WithoutCancel(t.Context()))
			for range rounds {
				var ids []uuid.UUID
				for range keys {
					ids = append(ids, newID())
				}
				if tc.name != "events" { // so that there is something to lock
					first, second := tc.items(w, ids)
					for _, all := range [][]*item{second, first} {
						if err := w.ledger().try(t.Context(), all); err != nil {
							t.Fatal(err)
						}
					}
				}
				tx, err := holder.Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := tx.Exec(t.Context(), tc.hold, ids[keys/2]); err != nil {
					t.Fatal(err)
				}
				first, second := tc.items(w, ids)
				var commits sync.WaitGroup
				for _, all := range [][]*item{first, second} {
					commits.Go(func() {
						if err := w.ledger().try(t.Context(), all); err != nil && faultOf(err) != undone {
							t.Error(err)
						}
					})
				}
				for deadline := time.Now().Add(patience); ask[int64](w, `SELECT count(*) FROM pg_stat_activity
					WHERE datname = current_database() AND wait_event_type = 'Lock'`)[0] < 2; time.Sleep(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Fatal("the commits do not wait for each other: this test proves nothing")
					}
				}
				if err := tx.Rollback(t.Context()); err != nil {
					t.Fatal(err)
				}
				commits.Wait()
			}
		})
	}
}

// logsOf are counted log rows, one a webhook.
func logsOf(webhooks []uuid.UUID, status int) (all []*item) {
	e := event()
	for _, webhook := range webhooks {
		log := attempted(&e, webhook, newID(), 1, status)
		all = append(all, &item{log: &log})
	}
	return all
}
