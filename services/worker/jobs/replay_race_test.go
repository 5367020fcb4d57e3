package jobs

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/worker/health"
)

// A replay, a recovery, and a tenant that retries everything come upon the same
// exhausted deliveries at once, each twice: of every event one delivery is to come.
func TestReplayer_AmongOthersWhoBringBack(t *testing.T) {
	t.Parallel()
	w := newReplayWorld(t)
	const events = 600
	all := w.enter(events, nil)
	s, epoch := w.world.store, w.epoch()
	for _, e := range all {
		err := insertRow(t.Context(), s.Queries(), queueRow{webhook: w.hook, event: e.ID, epoch: epoch, seq: e.Seq, state: 3})
		if err != nil {
			t.Fatal(err)
		}
	}
	exec(t, s, "UPDATE webhook_queue SET attempt = 4, due_at = now() + interval '7 days' - random() * interval '23 hours' - interval '1 minute'")
	exec(t, s, "INSERT INTO webhook_health (webhook_id, tenant_id, down, succeeded_at, recover_at) VALUES ($1, $2, false, now(), now())", w.hook, tenant)
	id := w.create(today)

	var wg sync.WaitGroup
	race := func(name string, do func(context.Context) error) {
		for range 2 {
			wg.Go(func() {
				if err := do(t.Context()); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
	race("replay", func(ctx context.Context) error {
		err := w.run(ctx, id)
		if _, snoozed := errors.AsType[*river.JobSnoozeError](err); snoozed {
			return nil
		}
		return err
	})
	eventually(t, "the replay is at its second page", func() bool {
		return ask[bool](t, s, "SELECT inserted > 0 FROM replays WHERE id = $1", id)
	})
	race("recovery", health.New(s, time.Hour, quiet()).Look)
	race("retry", func(ctx context.Context) error {
		for after, until := uuid.Nil, uuid.Max; after != until; {
			err := w.api.InTenant(ctx, tenant, func(q *db.Queries) error {
				row, err := q.RetryDeliveries(ctx, db.RetryDeliveriesParams{WebhookID: w.hook, After: after, Until: until, RowLimit: 50})
				after = row.Last
				if err == nil && row.Taken > 0 {
					err = q.WakeLanes(ctx, []uuid.UUID{w.hook}, []uuid.UUID{tenant}, []int64{0})
				}
				return err
			})
			if err != nil && !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
		}
		return nil
	})
	wg.Wait()
	if n := ask[int](t, s, "SELECT count(DISTINCT event_id) FROM webhook_queue WHERE state < 3"); n != events {
		t.Errorf("deliveries of %d events are to come, want all of %d", n, events)
	}
	if n := ask[int](t, s, "SELECT count(*) FROM webhook_queue"); n != events {
		t.Errorf("%d deliveries of %d events", n, events)
	}
	t.Logf("%d of them replayed", ask[int](t, s, "SELECT count(*) FROM webhook_queue WHERE kind = 2"))
}
