package health

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/worker/ledger"
)

// exhaust puts n exhausted rows into a webhook's queue, without saying so to its
// health: exhausted so long ago, each a microsecond after the one before.
func (w *world) exhaust(hook uuid.UUID, n int, since time.Duration) {
	w.t.Helper()
	w.exec(`INSERT INTO webhook_queue (delivery_id, webhook_id, tenant_id, event_id, event_type, event_day, epoch, stream_seq, kind, state, attempt, due_at)
		SELECT gen_random_uuid(), $1, $2, 'e' || n, 'deal.moved', current_date, 1, n, 0, 3, 5, now() - $4::interval + interval '7 days' + n * interval '1 microsecond'
		FROM generate_series(1, $3::int) AS n`, hook, tenant, n, since)
}

// queue counts a webhook's rows that are exhausted, and those back in its lane.
func (w *world) queue(hook uuid.UUID) string {
	w.t.Helper()
	return ask[string](w, `SELECT format('%s exhausted, %s back', count(*) FILTER (WHERE state = 3), count(*) FILTER (WHERE state <> 3))
		FROM webhook_queue WHERE webhook_id = $1`, hook)[0]
}

// turn makes the next turn of all recoveries due.
func (w *world) turn() {
	w.t.Helper()
	w.exec("UPDATE webhook_health SET recover_at = now() WHERE recover_at IS NOT NULL")
}

func TestKeeper_Look_Recovery(t *testing.T) {
	t.Parallel()
	t.Run("brings back what was exhausted in the 24 hours before the success, once", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook, still := w.webhook(), w.webhook()
		w.fail(hook, 3, time.Hour)
		w.fail(still, 3, time.Hour)
		w.exhaust(hook, 2, 24*time.Hour-time.Minute)
		w.exhaust(hook, 5, 24*time.Hour+time.Minute)
		w.look()
		if got := w.queue(hook); got != "10 exhausted, 0 back" {
			t.Fatalf("while it is down: %s", got)
		}
		w.succeed(hook)
		w.look()
		if got := w.queue(hook) + "; " + w.queue(still); got != "5 exhausted, 5 back; 3 exhausted, 0 back" {
			t.Errorf("after the success: %s", got)
		}
		expect(w, "rows as they are back", []string{"2 t 2 3", "2 t 2 3", "2 t 2 3", "2 t 4 5", "2 t 4 5"}, `SELECT concat_ws(' ', state, lease_id IS NULL, recovered_after, attempt)
			FROM webhook_queue WHERE webhook_id = $1 AND state <> 3 ORDER BY attempt`, hook)
		expect(w, "lanes that are awake", []uuid.UUID{hook}, "SELECT webhook_id FROM webhook_lanes WHERE next_due_at <= now()")
		expect(w, "health of those that are well", []uuid.UUID{still}, "SELECT webhook_id FROM webhook_health")

		// Those that are back are exhausted again, and the endpoint comes up again.
		w.exec("UPDATE webhook_queue SET state = 3, due_at = now() + interval '7 days' WHERE webhook_id = $1 AND state <> 3", hook)
		w.fail(hook, 1, 0)
		w.succeed(hook)
		w.look()
		if got := w.queue(hook); got != "10 exhausted, 1 back" {
			t.Errorf("after a second recovery: %s, want one back that had not been", got)
		}
	})

	t.Run("leaves what was exhausted since the success to the next one", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.fail(hook, 2, time.Hour)
		w.succeed(hook)
		w.fail(hook, 3, 0)
		w.look()
		if got := w.queue(hook); got != "3 exhausted, 2 back" {
			t.Errorf("%s", got)
		}
		expect(w, "its health", []string{"3 t f"}, "SELECT concat_ws(' ', exhausted, down, recover_at IS NOT NULL) FROM webhook_health")
		w.succeed(hook)
		w.look()
		if got := w.queue(hook); got != "0 exhausted, 5 back" {
			t.Errorf("after the next success: %s", got)
		}
	})

	t.Run("is paced: a chunk a turn, spread over the turn, by however many workers", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.exhaust(hook, 2*recoverRows+10, time.Hour)
		w.fail(hook, 1, time.Hour)
		w.succeed(hook)
		w.look()
		if got, want := w.queue(hook), fmt.Sprintf("%d exhausted, %d back", recoverRows+11, recoverRows); got != want {
			t.Fatalf("after a turn: %s, want %s", got, want)
		}
		spread := ask[float64](w, "SELECT extract(epoch FROM max(due_at) - min(due_at))::float8 FROM webhook_queue WHERE state <> 3")[0]
		if want := recoverPause.Seconds(); spread < 0.9*want || spread > want {
			t.Errorf("they are due over %.1f s, want %.1f", spread, want)
		}
		first := ask[int64](w, "SELECT max(stream_seq) FROM webhook_queue WHERE state <> 3")[0]
		if first != recoverRows {
			t.Errorf("the last event brought back is the %dth, want the oldest %d", first, recoverRows)
		}
		w.look()
		if got, want := w.queue(hook), fmt.Sprintf("%d exhausted, %d back", recoverRows+11, recoverRows); got != want {
			t.Errorf("before the next turn: %s, want %s", got, want)
		}
		// The endpoint has not dealt with them yet.
		w.exec("UPDATE webhook_queue SET due_at = now() WHERE state <> 3")
		w.turn()
		w.look()
		if got, want := w.queue(hook), fmt.Sprintf("%d exhausted, %d back", recoverRows+11, recoverRows); got != want {
			t.Errorf("while as many are due: %s, want %s", got, want)
		}
		w.exec("DELETE FROM webhook_queue WHERE state <> 3")
		w.turn()
		w.look()
		w.turn()
		w.look()
		if got, want := w.queue(hook), fmt.Sprintf("0 exhausted, %d back", recoverRows+11); got != want {
			t.Errorf("in the end: %s, want %s", got, want)
		}
		expect(w, "health", []int64{0}, "SELECT count(*) FROM webhook_health")
	})

	for name, sql := range map[string]string{
		"is left out where its owner does not want it": "UPDATE webhooks SET auto_recover = false",
		"is left out for a deleted webhook":            "UPDATE webhooks SET deleted_at = now()",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			hook := w.webhook()
			w.fail(hook, 2, time.Hour)
			w.super(sql)
			w.succeed(hook)
			w.look()
			if got := w.queue(hook); got != "2 exhausted, 0 back" {
				t.Error(got)
			}
			expect(w, "health", []int64{0}, "SELECT count(*) FROM webhook_health")
		})
	}

	t.Run("comes after the webhook was enabled too, with the first success", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.fail(hook, 20, 24*time.Hour)
		w.look()
		w.enable(hook)
		w.look()
		if got := w.queue(hook); got != "20 exhausted, 0 back" {
			t.Errorf("before the success: %s", got)
		}
		w.succeed(hook)
		w.look()
		if got := w.queue(hook); got != "0 exhausted, 20 back" {
			t.Errorf("after it: %s", got)
		}
	})

	t.Run("is not lost with the worker that began it", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook, other := w.webhook(), w.webhook()
		for _, hook := range []uuid.UUID{hook, other} {
			w.fail(hook, 2, time.Hour)
			w.succeed(hook)
		}
		// Its last statement fails, and all before it is undone.
		w.super(`CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
			CREATE TRIGGER fail BEFORE DELETE ON webhook_health FOR EACH ROW WHEN (old.webhook_id = '` + hook.String() + `') EXECUTE FUNCTION fail()`)
		if err := w.keeper().Look(t.Context()); err == nil {
			t.Error("nothing failed")
		}
		if got := w.queue(hook) + "; " + w.queue(other); got != "2 exhausted, 0 back; 0 exhausted, 2 back" {
			t.Errorf("after a failure: %s", got)
		}
		w.super("DROP TRIGGER fail ON webhook_health")
		w.look()
		if got := w.queue(hook); got != "0 exhausted, 2 back" {
			t.Errorf("after another's turn: %s", got)
		}
	})
}

// A row that is back has its schedule from the start: an endpoint that stumbles
// while it recovers loses nothing.
func TestKeeper_Look_Recovery_LeasedAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := w.webhook()
	w.fail(hook, 1, 0)
	w.succeed(hook)
	w.look()
	w.exec("UPDATE webhook_queue SET due_at = now()")
	lease := newID()
	rows, err := w.store.Queries().LeaseQueueRows(t.Context(), db.LeaseQueueRowsParams{
		WebhookIds: []uuid.UUID{hook}, RowLimits: []int32{10}, LeaseID: &lease, LeaseSeconds: 45,
	})
	if err != nil || len(rows) != 1 {
		t.Fatalf("leased %d rows, %v", len(rows), err)
	}
	if rows[0].Attempt != 3 || rows[0].RecoveredAfter != 2 || ledger.State(ask[int16](w, "SELECT state FROM webhook_queue")[0]) != ledger.InFlight {
		t.Errorf("leased as %+v", rows[0])
	}
	if slices.Contains(ask[bool](w, "SELECT recovered_after IS NULL FROM webhook_queue"), true) {
		t.Error("a lease makes it recoverable again")
	}
}
