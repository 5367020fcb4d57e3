package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/primezap/primezap/pkg/bus"
	asked "github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
)

// replayWorld is a world with webhooks and replays.
type replayWorld struct {
	*world
	api *store.Store
	replayer
	hook uuid.UUID // the webhook that is replayed into
}

func newReplayWorld(t *testing.T) *replayWorld {
	t.Helper()
	w := &replayWorld{world: newWorld(t)}
	w.replayer = *newReplayer(w.world.store, w.world.js, quiet())
	w.api = open(t, w.database, testenv.API)
	w.hook = w.webhook(`{*}`, nil)
	return w
}

func (w *replayWorld) webhook(subscriptions string, filter *string) uuid.UUID {
	w.t.Helper()
	id := uuid.Must(uuid.NewV7())
	asTenant(w.t, w.api, `INSERT INTO webhooks (id, tenant_id, name, url, events, filter, secret, secret_hint)
		VALUES ($1, $2, 'w', 'https://example.com', $3::text::text[], $4::text::json, '', '')`, id, tenant, subscriptions, filter)
	return id
}

// enter stores n events of a type and enters them in the ledger, as delivered.
func (w *replayWorld) enter(n int, change func(i int, e *bus.Event)) (events []bus.Event) {
	w.t.Helper()
	var p db.InsertEventsParams
	for i := range n {
		e := bus.Event{
			Tenant: tenant, Class: bus.Live, Type: "deal.moved", ID: fmt.Sprintf("e%04d", i), Day: bus.Day(time.Now()),
			Body: fmt.Appendf(nil, `{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{"n":%d}}`, i),
		}
		if change != nil {
			change(i, &e)
		}
		events = append(events, e)
	}
	first := w.state().LastSeq + 1
	for i, err := range w.publisher.Publish(w.t.Context(), events...) {
		if err != nil {
			w.t.Fatal(err)
		}
		e := &events[i]
		e.Seq = first + uint64(i)
		if e.AcceptedAt.IsZero() {
			e.AcceptedAt = time.Now()
		}
		p.Days, p.Tenants, p.Ids = append(p.Days, e.Day), append(p.Tenants, e.Tenant), append(p.Ids, e.ID)
		p.Types, p.Seqs = append(p.Types, e.Type), append(p.Seqs, int64(e.Seq))
		p.Contacts, p.Created = append(p.Contacts, ""), append(p.Created, e.AcceptedAt)
	}
	if err := w.world.store.Queries().InsertEvents(w.t.Context(), p); err != nil {
		w.t.Fatal(err)
	}
	return events
}

// today has a replay begin with today's events.
const today = ", next_day = (now() AT TIME ZONE 'UTC')::date"

// create makes a replay of the last hour, changed by SQL, that may begin.
func (w *replayWorld) create(changes string) uuid.UUID {
	w.t.Helper()
	id := uuid.Must(uuid.NewV7())
	err := w.api.InTenant(w.t.Context(), tenant, func(q *db.Queries) error {
		_, err := q.InsertReplay(w.t.Context(), db.InsertReplayParams{
			ID: id, TenantID: tenant, WebhookID: w.hook, Since: time.Now().Add(-time.Hour), Until: time.Now().Add(time.Minute), Events: []string{"*"},
		})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	exec(w.t, w.world.store, "UPDATE replays SET created_at = now() - interval '1 minute' WHERE id = $1", id)
	exec(w.t, w.world.store, "UPDATE replays SET tenant_id = tenant_id"+changes+" WHERE id = $1", id)
	return id
}

// run works on a replay and returns what River is told.
func (w *replayWorld) run(ctx context.Context, id uuid.UUID) error {
	return w.Work(ctx, &river.Job[asked.Replay]{JobRow: &rivertype.JobRow{Attempt: 1}, Args: asked.Replay{ID: id}})
}

// complete works on a replay, which must end by that.
func (w *replayWorld) complete(id uuid.UUID) db.Replay {
	w.t.Helper()
	if err := w.run(w.t.Context(), id); err != nil {
		w.t.Fatalf("the job ends with %v", err)
	}
	r := w.replay(id)
	if r.State != replayCompleted || r.FinishedAt == nil {
		w.t.Errorf("the replay is %+v, want it completed", r)
	}
	return r
}

func (w *replayWorld) replay(id uuid.UUID) db.Replay {
	w.t.Helper()
	r, err := w.world.store.Queries().GetReplay(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *replayWorld) expectSnooze(err error, want time.Duration) {
	w.t.Helper()
	if snooze, ok := errors.AsType[*river.JobSnoozeError](err); !ok || snooze.Duration != want {
		w.t.Errorf("the job ends with %v, want a snooze of %s", err, want)
	}
}

// queued are the events that the webhook's replayed rows are of.
func (w *replayWorld) queued() []string {
	w.t.Helper()
	return ask[[]string](w.t, w.world.store, `SELECT coalesce(array_agg(event_id ORDER BY event_id), '{}') FROM webhook_queue
		WHERE webhook_id = $1 AND kind = 2 AND state = 0 AND attempt = 1 AND due_at <= now() AND lease_id IS NULL`, w.hook)
}

func (w *replayWorld) expectQueued(want ...string) {
	w.t.Helper()
	if got := w.queued(); !slices.Equal(got, want) {
		w.t.Errorf("deliveries of %q are queued, want %q", got, want)
	}
}

func (w *replayWorld) expectCounts(r db.Replay, inserted, skipped int64) {
	w.t.Helper()
	if r.Inserted != inserted || r.Skipped != skipped {
		w.t.Errorf("%d were inserted and %d skipped, want %d and %d", r.Inserted, r.Skipped, inserted, skipped)
	}
}

// row puts a delivery of an event into the queue.
func (w *replayWorld) row(hook uuid.UUID, e bus.Event, state int16) {
	w.t.Helper()
	err := insertRow(w.t.Context(), w.world.store.Queries(), queueRow{
		webhook: hook, event: e.ID, epoch: w.epoch(), seq: e.Seq, state: state, due: time.Hour,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestReplayer_Work(t *testing.T) {
	t.Parallel()
	t.Run("delivers what is asked for of the ledger's events, each once", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		now := time.Now()
		types := []string{"deal.moved", "deal.created", "message.sent"}
		w.enter(6, func(i int, e *bus.Event) { e.Type = types[i%3] })
		w.enter(1, func(_ int, e *bus.Event) { e.ID, e.Tenant = "another's", uuid.New() })
		w.enter(1, func(_ int, e *bus.Event) { e.ID, e.AcceptedAt = "before", now.Add(-2*time.Hour) })
		w.enter(1, func(_ int, e *bus.Event) { e.ID, e.AcceptedAt = "after", now.Add(2*time.Minute) })
		w.enter(1, func(_ int, e *bus.Event) { e.ID, e.Day = "a", bus.Day(now).AddDate(0, 0, -1) }) // repeated after midnight
		w.publish(bus.Live, 1, 10)                                                                  // not entered: it is on its way
		r := w.complete(w.create(", events = '{deal.*}'"))
		w.expectQueued("a", "e0000", "e0001", "e0003", "e0004")
		w.expectCounts(r, 5, 0)
		if !ask[bool](t, w.world.store, "SELECT wake_at <= now() FROM webhook_lanes WHERE webhook_id = $1", w.hook) {
			t.Error("the lane does not wake for them")
		}
		if err := w.run(t.Context(), r.ID); err != nil || len(w.queued()) != 5 {
			t.Errorf("run again, it ends with %v and %d rows", err, len(w.queued()))
		}
	})

	t.Run("passes over what still waits and takes the place of what is exhausted", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		other := w.webhook(`{*}`, nil)
		events := w.enter(6, nil)
		for i := range 4 { // waiting, in flight, retrying, exhausted
			w.row(w.hook, events[i], int16(i))
		}
		w.row(other, events[4], 0)
		w.row(other, events[5], 3)
		r := w.complete(w.create(""))
		w.expectQueued("e0003", "e0004", "e0005")
		w.expectCounts(r, 3, 3)
		rows := ask[[]string](t, w.world.store, `SELECT array_agg(event_id || ' ' || state ORDER BY event_id) FROM webhook_queue WHERE kind = 0`)
		if want := []string{"e0000 0", "e0001 1", "e0002 2", "e0004 0", "e0005 3"}; !slices.Equal(rows, want) {
			t.Errorf("of the deliveries before, %q are left, want %q", rows, want)
		}
	})

	t.Run("leaves an exhausted delivery to whoever retries it at the same time", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		w.row(w.hook, w.enter(1, nil)[0], 3)
		tx, err := w.world.store.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
		if _, err := tx.Exec(t.Context(), "UPDATE webhook_queue SET state = 2, due_at = now()"); err != nil {
			t.Fatal(err)
		}
		id := w.create("")
		ended := make(chan error, 1) // sent once, received once
		go func() { ended <- w.run(t.Context(), id) }()
		eventually(t, "the replay waits for the row", func() bool {
			return ask[bool](t, w.world.store, `SELECT EXISTS (SELECT FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%LockExhausted%')`)
		})
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		w.expectQueued()
		w.expectCounts(w.replay(id), 0, 1)
		if n := ask[int](t, w.world.store, "SELECT count(*) FROM webhook_queue WHERE state = 2"); n != 1 {
			t.Errorf("%d rows are retried, want 1", n)
		}
	})

	t.Run("delivers, if asked to, only what the webhook has not answered with success", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		other := w.webhook(`{*}`, nil)
		w.enter(4, nil)
		for i, l := range []struct {
			hook    uuid.UUID
			success bool
		}{{w.hook, true}, {w.hook, false}, {other, true}} {
			exec(t, w.world.store, `INSERT INTO webhook_logs (webhook_id, created_at, id, tenant_id, delivery_id, event_id, event_type, attempt, kind, counted, success, status, duration_ms)
				VALUES ($1, now(), gen_random_uuid(), $2, gen_random_uuid(), $3, 'deal.moved', 1, 0, true, $4, 200, 1)`, l.hook, tenant, fmt.Sprintf("e%04d", i), l.success)
		}
		r := w.complete(w.create(", failed_only = true"))
		w.expectQueued("e0001", "e0002", "e0003")
		w.expectCounts(r, 3, 1)
	})

	t.Run("delivers what the filter lets pass", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		w.hook = w.webhook(`{*}`, new(`{"n":{"$gte":3}}`))
		w.enter(5, nil)
		r := w.complete(w.create(""))
		w.expectQueued("e0003", "e0004")
		w.expectCounts(r, 2, 0)
	})

	t.Run("is so many deliveries ahead and no more", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		const all = replayAhead + 3*replayPage/2
		w.enter(all, nil)
		id := w.create("")
		w.expectSnooze(w.run(t.Context(), id), fullPause)
		if n := len(w.queued()); n != replayAhead || w.replay(id).State != 1 {
			t.Fatalf("%d are queued in state %d, want %d while it runs", n, w.replay(id).State, replayAhead)
		}
		// Exhausted ones are done; those that are retried are not.
		exec(t, w.world.store, "UPDATE webhook_queue SET state = CASE WHEN event_id < 'e0250' THEN 3 ELSE 2 END WHERE event_id < 'e0500'")
		w.expectSnooze(w.run(t.Context(), id), fullPause)
		if n := ask[int](t, w.world.store, "SELECT count(*) FROM webhook_queue WHERE state < 3"); n != replayAhead {
			t.Errorf("%d are ahead after some were done, want %d", n, replayAhead)
		}
		asTenant(t, w.api, "UPDATE webhooks SET active = false WHERE id = $1", w.hook)
		w.expectSnooze(w.run(t.Context(), id), idlePause)
		exec(t, w.world.store, "DELETE FROM webhook_queue WHERE event_id < 'e0750'")
		w.expectCounts(w.complete(id), all, 0)
		if n := len(w.queued()); n != all-750 {
			t.Errorf("%d are left in the queue, want %d", n, all-750)
		}
	})

	t.Run("waits at first for events that were matched before the webhook was as it is", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		w.enter(1, nil)
		id := w.create(", created_at = now()")
		w.expectSnooze(w.run(t.Context(), id), settlePause)
		w.expectQueued()
	})

	t.Run("inserts nothing once it is cancelled", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		w.enter(3, nil)
		id := w.create(today)
		todo, err := w.world.store.Queries().ReplayToDo(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		p, err := w.read(t.Context(), &todo)
		if err != nil || len(p.events) != 3 {
			t.Fatalf("read %d events, %v", len(p.events), err)
		}
		asTenant(t, w.api, "UPDATE replays SET state = 3, finished_at = now() WHERE id = $1", id)
		if err := w.insert(t.Context(), &todo.Replay, p); err != nil {
			t.Fatal(err)
		}
		if err := w.run(t.Context(), id); err != nil {
			t.Errorf("of a cancelled replay the job ends with %v", err)
		}
		w.expectQueued()
		if r := w.replay(id); r.State != replayCancelled || r.Inserted != 0 {
			t.Errorf("the replay is %+v", r)
		}
	})

	t.Run("ends with its webhook", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		w.enter(3, nil)
		id := w.create("")
		asTenant(t, w.api, "UPDATE webhooks SET active = false, deleted_at = now() WHERE id = $1", w.hook)
		if err := w.run(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if r := w.replay(id); r.State != replayCancelled || r.Failure == nil || r.FinishedAt == nil {
			t.Errorf("the replay is %+v, want it cancelled", r)
		}
		w.expectQueued()
	})

	t.Run("fails with its last attempt", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		w.enter(1, nil)
		id := w.create(today)
		if err := w.admin.DeleteStream(t.Context(), bus.StreamEvents); err != nil {
			t.Fatal(err)
		}
		for attempt, state := range []int16{0, replayFailed} {
			job := &river.Job[asked.Replay]{JobRow: &rivertype.JobRow{Attempt: replayAttempts - 1 + attempt}, Args: asked.Replay{ID: id}}
			if err := w.Work(t.Context(), job); err == nil {
				t.Error("without an event store the job succeeds")
			}
			if r := w.replay(id); r.State != state || (r.Failure != nil) != (state == replayFailed) {
				t.Errorf("after attempt %d the replay is %+v", replayAttempts-1+attempt, r)
			}
		}
	})
}

func TestReplayer_TwoAtOnce(t *testing.T) {
	t.Parallel()
	w := newReplayWorld(t)
	const all = replayAhead
	w.enter(all, nil)
	id := w.create("")
	var workers sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		workers.Go(func() { errs[i] = w.run(t.Context(), id) })
	}
	workers.Wait()
	for _, err := range errs {
		if _, snoozed := errors.AsType[*river.JobSnoozeError](err); err != nil && !snoozed {
			t.Error(err)
		}
	}
	exec(t, w.world.store, "UPDATE webhook_queue SET state = 3") // room for the end
	w.expectCounts(w.complete(id), all, 0)
	n := ask[int](t, w.world.store, "SELECT count(*) FROM webhook_queue")
	if events := ask[int](t, w.world.store, "SELECT count(DISTINCT event_id) FROM webhook_queue"); n != all || events != all {
		t.Errorf("%d deliveries of %d events, want one of each of %d", n, events, all)
	}
}

func TestReplayer_Bodies(t *testing.T) {
	t.Parallel()
	t.Run("keeps those that the event store does not, and passes over what is lost", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		events := w.enter(5, nil)
		other := w.webhook(`{*}`, nil)
		w.row(other, events[1], 0) // the janitor keeps its body
		if err := w.world.store.Queries().SavePurgePoint(t.Context(), w.epoch(), 5); err != nil {
			t.Fatal(err)
		}
		kept := db.KeepBodiesParams{
			Epoch: w.epoch(), StreamSeqs: []int64{2}, Tenants: []uuid.UUID{tenant}, Days: []time.Time{events[1].Day},
			Ids: []string{events[1].ID}, Bodies: [][]byte{events[1].Body},
		}
		if err := w.world.store.Queries().KeepBodies(t.Context(), kept); err != nil {
			t.Fatal(err)
		}
		if err := bus.PurgeBelow(t.Context(), w.world.js, 4); err != nil { // the fourth is about to go
			t.Fatal(err)
		}
		exec(t, open(t, w.database, testenv.Superuser), "UPDATE events SET created_at = created_at - interval '10 minutes' WHERE id = 'e0004'") // another stream's
		r := w.complete(w.create(""))
		w.expectQueued("e0001", "e0003")
		w.expectCounts(r, 2, 3)
		w.expectBodies(2, 4)
		body, err := w.world.store.Queries().EventBody(t.Context(), tenant, events[3].Day, events[3].ID)
		if err != nil || string(body) != string(events[3].Body) {
			t.Errorf("kept is %q, %v, want %q", body, err, events[3].Body)
		}
	})

	t.Run("passes over an event that was erased after it was read", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		w.enter(3, nil)
		id := w.create(today)
		todo, err := w.world.store.Queries().ReplayToDo(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		p, err := w.read(t.Context(), &todo)
		if err != nil {
			t.Fatal(err)
		}
		exec(t, w.world.store, "UPDATE events SET erased_at = now() WHERE id = 'e0001'")
		if err := w.insert(t.Context(), &todo.Replay, p); err != nil {
			t.Fatal(err)
		}
		w.expectQueued("e0000", "e0002")
		w.expectCounts(w.replay(id), 2, 1)
	})

	t.Run("looks again when the purge point has come to what it read", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		w.enter(3, nil)
		id := w.create(today)
		todo, err := w.world.store.Queries().ReplayToDo(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		p, err := w.read(t.Context(), &todo)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.world.store.Queries().SavePurgePoint(t.Context(), w.epoch(), 3); err != nil {
			t.Fatal(err)
		}
		if err := w.insert(t.Context(), &todo.Replay, p); err != nil {
			t.Fatal(err)
		}
		w.expectQueued()
		w.complete(id)
		w.expectQueued("e0000", "e0001", "e0002")
		w.expectBodies(1, 2)
	})

	t.Run("holds the purge point while it inserts", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		w.enter(3, nil)
		exec(t, w.world.store, "INSERT INTO webhook_lanes (webhook_id, tenant_id, next_due_at) VALUES ($1, $2, 'infinity')", w.hook, tenant)
		tx, err := w.world.store.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
		if err := db.New(tx).LockLane(t.Context(), w.hook); err != nil {
			t.Fatal(err)
		}
		waits := func(query string) func() bool {
			return func() bool {
				return ask[bool](t, w.world.store, `SELECT EXISTS (SELECT FROM pg_stat_activity
					WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%')`, query)
			}
		}
		id, epoch := w.create(today), w.epoch()
		errs := make(chan error, 2) // sent and received twice
		go func() { errs <- w.run(t.Context(), id) }()
		eventually(t, "the replay is about to wake the lane", waits("WakeLanes"))
		go func() { errs <- w.world.store.Queries().SavePurgePoint(t.Context(), epoch, 3) }()
		eventually(t, "the janitor waits for it", waits("SavePurgePoint"))
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(<-errs, <-errs); err != nil {
			t.Fatal(err)
		}
		w.expectQueued("e0000", "e0001", "e0002")
	})

	t.Run("none is missing while the janitor is at work", func(t *testing.T) {
		t.Parallel()
		w := newReplayWorld(t)
		w.keepNothing()
		const all = replayAhead
		w.enter(all, nil)
		w.deliver(bus.ConsumerLive, all)
		id := w.create(today)
		if more, err := w.step(t.Context(), id); !more || err != nil {
			t.Fatalf("the first page: %t, %v", more, err)
		}
		var janitor sync.WaitGroup
		janitor.Go(func() {
			if err := w.janitor.Work(t.Context(), nil); err != nil {
				t.Error(err)
			}
		})
		for {
			more, err := w.step(t.Context(), id)
			if _, full := errors.AsType[*river.JobSnoozeError](err); full || err == nil && !more {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		janitor.Wait()
		w.work()
		first := w.state().FirstSeq
		missing := ask[int](t, w.world.store, `SELECT count(*) FROM webhook_queue q WHERE q.stream_seq < $1
			AND NOT EXISTS (SELECT FROM event_bodies b WHERE b.epoch = q.epoch AND b.stream_seq = q.stream_seq)`, int64(first))
		r := w.replay(id)
		if n := len(w.queued()); missing > 0 || first != all || n < replayPage || int64(n) != r.Inserted || r.Inserted+r.Skipped != all {
			t.Errorf("%d deliveries (of %d events, %d no longer stored), %d of them without a body; the first that is stored is %d",
				n, all, r.Skipped, missing, first)
		}
		t.Logf("%d of %d events were stored when they were read", r.Inserted, all)
	})
}

// TestReplayer_Transaction shows that rows and the place behind them stand or
// fall together.
func TestReplayer_Transaction(t *testing.T) {
	t.Parallel()
	w := newReplayWorld(t)
	w.enter(3, nil)
	id := w.create(today)
	super := open(t, w.database, testenv.Superuser)
	exec(t, super, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$`)
	for _, place := range []string{"webhook_lanes", "replays"} {
		exec(t, super, "CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON "+place+" FOR EACH ROW EXECUTE FUNCTION refuse()")
		if err := w.run(t.Context(), id); err == nil {
			t.Errorf("%s refuses, and the job succeeds", place)
		}
		w.expectQueued()
		if r := w.replay(id); r.State != 0 || r.Inserted != 0 || r.AfterID != "" {
			t.Errorf("%s refused, and the replay has moved: %+v", place, r)
		}
		exec(t, super, "DROP TRIGGER refuse ON "+place)
	}
	w.expectCounts(w.complete(id), 3, 0)
}

func TestReplayer_NextRetry(t *testing.T) {
	t.Parallel()
	for attempt, want := range map[int]time.Duration{1: time.Second, 20: 20 * time.Second, 100: 30 * time.Second} {
		at := (&replayer{}).NextRetry(&river.Job[asked.Replay]{JobRow: &rivertype.JobRow{Attempt: attempt}})
		if got := time.Until(at).Round(time.Second); got != want {
			t.Errorf("after attempt %d it is tried again in %s, want %s", attempt, got, want)
		}
	}
}
