package lanes

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/worker/attempt"
)

// Writers and claimers at the same few lanes, over stores of their own: at no
// moment is there a row that its lane would not wake for, and none is left.
func TestClaimer_claim_LosesNoWakeUp(t *testing.T) {
	t.Parallel()
	const lanes, writers, claimers, length = 6, 3, 2, 3 * time.Second
	w := newWorld(t)
	var hooks []uuid.UUID
	for range lanes {
		hooks = append(hooks, w.webhook())
	}
	var all []*claimer
	for range claimers {
		c := w.claimer(1000)
		c.Store = w.open(testenv.Worker)
		c.Results, _ = w.ledger()
		all = append(all, c)
	}
	var (
		writing, claiming sync.WaitGroup
		ctx, stop         = context.WithCancel(t.Context())
		written, repaired int
		mu                sync.Mutex
	)
	defer stop()
	end := time.Now().Add(length)
	for i := range writers {
		s := w.open(testenv.Worker)
		random := rand.New(rand.NewPCG(uint64(i), 0)) //nolint:gosec // to be the same again
		writing.Go(func() {
			n := 0
			for time.Now().Before(end) && !t.Failed() {
				hook, delay := hooks[random.IntN(lanes)], int64(random.IntN(3)) // some are due a little later
				if err := write(t.Context(), s, hook, delay); err != nil {
					t.Errorf("write: %v", err)
					return
				}
				n++
			}
			mu.Lock()
			defer mu.Unlock()
			written += n
		})
	}
	for _, c := range all {
		claiming.Go(func() {
			for ctx.Err() == nil {
				if _, err := c.claim(ctx); err != nil && ctx.Err() == nil {
					t.Errorf("claim: %v", err)
					return
				}
			}
		})
	}
	sweeper := w.claimer(1)
	claiming.Go(func() {
		for ctx.Err() == nil {
			n, err := sweeper.Sweep(ctx)
			if err != nil && ctx.Err() == nil {
				t.Errorf("sweep: %v", err)
				return
			}
			repaired += n
		}
	})
	writing.Wait()
	eventually(t, "the queue to be empty", func() bool {
		return ask[int64](w, "SELECT count(*) FROM webhook_queue")[0] == 0
	})
	stop()
	claiming.Wait()
	if repaired > 0 {
		t.Errorf("%d lanes had lost their wake-up", repaired)
	}
	expect(w, "deliveries, each counted once", []int{written}, "SELECT count(*)::int FROM webhook_logs WHERE counted")
	if written < 300 {
		t.Errorf("%d rows in %s: this test proves little", written, length)
	}
}

// write puts a row into the queue in a transaction, in the ledger's order.
func write(ctx context.Context, s *store.Store, hook uuid.UUID, delayMs int64) error {
	return s.InTx(ctx, func(q *db.Queries) error {
		err := q.InsertQueueRows(ctx, db.InsertQueueRowsParams{
			DeliveryIds: []uuid.UUID{newID()}, WebhookIds: []uuid.UUID{hook}, Tenants: []uuid.UUID{tenant},
			EventIds: []string{"e"}, EventTypes: []string{"deal.moved"}, EventDays: []time.Time{bus.Day(time.Now())},
			Epochs: []int64{0}, StreamSeqs: []int64{1}, Kinds: []int16{0}, States: []int16{0}, Attempts: []int16{1},
			DelayMs: []int64{delayMs}, LeaseIds: []uuid.UUID{uuid.Nil}, LastStatuses: []int16{0}, LastErrors: []string{""},
		})
		if err != nil {
			return err
		}
		return q.WakeLanes(ctx, []uuid.UUID{hook}, []uuid.UUID{tenant}, []int64{delayMs})
	})
}

func TestClaimer_Run(t *testing.T) {
	t.Parallel()
	t.Run("attempts each row when it is due, never earlier", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c := w.claimer(100)
		c.Results, _ = w.ledger()
		var rows []row
		for i := range 30 {
			rows = append(rows, row{due: time.Duration(i*20) * time.Millisecond, event: bus.Event{
				Tenant: tenant, Type: "deal.moved", ID: newID().String(), Day: bus.Day(time.Now()), Seq: 1,
			}})
		}
		hooks := []uuid.UUID{w.webhook(), w.webhook(), w.webhook()}
		for i, r := range rows {
			w.queue(hooks[i%len(hooks)], r)
		}
		due := map[string]time.Time{}
		for _, r := range rows {
			due[r.event.ID] = ask[time.Time](w, "SELECT due_at FROM webhook_queue WHERE event_id = $1", r.event.ID)[0]
		}
		w.run(c)
		eventually(t, "all attempts", func() bool { return len(c.net.seen()) == len(rows) })
		for i, r := range c.net.seen() {
			if early := due[r.EventID].Sub(c.net.begun[i]); early > 0 {
				t.Errorf("attempted %s before it was due", early)
			}
		}
		eventually(t, "the queue to be empty", func() bool {
			return len(ask[string](w, "SELECT delivery_id::text FROM webhook_queue")) == 0
		})
	})

	t.Run("retries until a delivery succeeds, and waits in between", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c := w.claimer(100)
		c.Results, _ = w.ledger()
		c.net.answer = func(context.Context, *attempt.Request) attempt.Outcome {
			o := attempt.Outcome{Status: 500, Start: time.Now(), Duration: time.Millisecond, Class: attempt.ClassStatus, Message: "500"}
			if len(c.net.seen()) == 2 {
				o = attempt.Outcome{Success: true, Status: 200, Start: o.Start, Duration: time.Millisecond}
			}
			return o
		}
		w.queue(w.webhook(), row{})
		w.run(c)
		eventually(t, "the queue to be empty", func() bool {
			return len(ask[string](w, "SELECT delivery_id::text FROM webhook_queue")) == 0
		})
		expect(w, "logs", []string{"1 500 t", "2 200 t"}, "SELECT concat_ws(' ', attempt, status, counted) FROM webhook_logs ORDER BY attempt")
		if wait := c.net.begun[1].Sub(c.net.begun[0]); wait < time.Second { // the webhook's schedule
			t.Errorf("the second attempt came after %s, want a second at least", wait)
		}
	})

	t.Run("looks again at once when an endpoint that was wanted has room", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		c := w.claimer(1000)
		release := make(chan struct{})
		c.net.answer = func(context.Context, *attempt.Request) attempt.Outcome {
			<-release
			return attempt.Outcome{Success: true, Status: 200, Start: time.Now(), Duration: time.Millisecond}
		}
		w.queue(hook, due(8)...) // all that an endpoint may have at first
		w.once(c)
		select {
		case <-c.Pool.Freed():
			t.Fatal("freed before anything has ended")
		default:
		}
		close(release)
		select {
		case <-c.Pool.Freed():
		case <-time.After(patience):
			t.Error("nothing says that the endpoint has room again")
		}
	})

	t.Run("goes on when the database comes back to its senses", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c := w.claimer(100)
		w.queue(w.webhook(), due(1)...)
		w.super("REVOKE SELECT ON webhook_lanes FROM primezap_worker")
		if again := c.poll(t.Context()); again != failurePause {
			t.Errorf("polls again after %s, want %s", again, failurePause)
		}
		w.super("GRANT SELECT ON webhook_lanes TO primezap_worker")
		if again := c.poll(t.Context()); again != pollAgain {
			t.Errorf("polls again after %s, want %s: there was something to do", again, pollAgain)
		}
	})

	t.Run("polls soon for lanes that somebody else holds at the moment", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c := w.claimer(100)
		w.queue(w.webhook(), due(1)...)
		other, err := w.store.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer other.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // it only locks
		if _, err := other.Exec(t.Context(), "SELECT FROM webhook_lanes FOR UPDATE"); err != nil {
			t.Fatal(err)
		}
		if again := c.poll(t.Context()); again != pollSoon {
			t.Errorf("polls again after %s, want %s", again, pollSoon)
		}
	})

	t.Run("ends when it is asked to, whenever that is", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		c := w.claimer(100)
		w.queue(w.webhook(), due(5)...)
		testenv.StressStop(t, func(ctx context.Context) error {
			c.Run(ctx)
			return nil
		})
	})
}

// run runs a claimer until the test ends.
func (w *world) run(c *claimer) {
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan struct{})
	go func() { c.Run(ctx); close(ended) }()
	w.t.Cleanup(func() { cancel(); <-ended })
}

func TestClaimer_Sweep(t *testing.T) {
	t.Parallel()
	t.Run("repairs lanes that lost their wake-up, and counts them", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		late, gone, well := w.webhook(), w.webhook(), w.webhook()
		for _, hook := range []uuid.UUID{late, gone, well} {
			w.queue(hook, row{due: -time.Second}, row{due: time.Hour})
		}
		w.exec("UPDATE webhook_lanes SET next_due_at = 'infinity' WHERE webhook_id = $1", late)
		w.exec("DELETE FROM webhook_lanes WHERE webhook_id = $1", gone)
		c := w.claimer(100)
		if got := w.once(c); len(got) != 1 {
			t.Fatalf("leased %d rows, want the well lane's: nothing was lost to repair", len(got))
		}
		for i, want := range []int{2, 0} {
			if repaired, err := c.Sweep(t.Context()); repaired != want || err != nil {
				t.Errorf("sweep %d repaired %d lanes (%v), want %d", i, repaired, err, want)
			}
		}
		if got := w.once(c); len(got) != 2 {
			t.Errorf("leased %d rows after the repair, want both", len(got))
		}
	})

	t.Run("finds nothing to repair where nothing is wrong", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		leased, shut, later, backlogged, exhausted := w.webhook(), w.webhook(), w.webhook(), w.webhook(), w.webhook()
		c := w.claimer(100)
		w.queue(leased, due(3)...)
		w.queue(backlogged, due(30)...)
		w.once(c)
		w.queue(shut, due(3)...)
		w.activate(shut, false)
		w.queue(later, row{due: time.Hour})
		w.queue(exhausted, row{state: 3, due: time.Hour}, row{due: 2 * time.Hour}) // the first is no longer waited for
		if stray, err := w.store.Queries().StrayLanes(t.Context(), 10); len(stray) != 0 || err != nil {
			t.Errorf("%d lanes are to be looked at (%v)", len(stray), err)
		}
		before := ask[string](w, lanesAndRows)
		if repaired, err := c.Sweep(t.Context()); repaired != 0 || err != nil {
			t.Errorf("repaired %d lanes (%v)", repaired, err)
		}
		if after := ask[string](w, lanesAndRows); !slices.Equal(before, after) {
			t.Errorf("a sweep changed %v to %v", before, after)
		}
	})

	t.Run("does not count a lane that another has mended meanwhile", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.queue(hook, due(1)...)
		w.exec("UPDATE webhook_lanes SET next_due_at = 'infinity'")
		other, err := w.store.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Exec(t.Context(), "UPDATE webhook_lanes SET next_due_at = '-infinity'"); err != nil {
			t.Fatal(err)
		}
		c := w.claimer(100)
		c.Store = w.open(testenv.Worker)
		type answer struct {
			repaired int
			err      error
		}
		swept := make(chan answer, 1)
		go func() { // waited for below
			repaired, err := c.Sweep(t.Context())
			swept <- answer{repaired, err}
		}()
		eventually(t, "the sweep to wait for the lane", func() bool {
			return ask[int64](w, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")[0] == 1
		})
		if err := other.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := <-swept; got != (answer{}) {
			t.Errorf("repaired %d lanes (%v), want none", got.repaired, got.err)
		}
	})

	t.Run("leaves it to the worker that sweeps already", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.queue(w.webhook(), due(1)...)
		w.exec("UPDATE webhook_lanes SET next_due_at = 'infinity'")
		c := w.claimer(100)
		errBusy := errors.New("done with the lock")
		err := w.api.InTx(t.Context(), func(q *db.Queries) error {
			if mine, err := q.TrySweepLock(t.Context()); err != nil || !mine {
				t.Fatalf("the sweep's lock: %t, %v", mine, err)
			}
			if repaired, err := c.Sweep(t.Context()); repaired != 0 || err != nil {
				t.Errorf("repaired %d lanes (%v) beside another worker", repaired, err)
			}
			return errBusy
		})
		if !errors.Is(err, errBusy) {
			t.Fatal(err)
		}
		if repaired, err := c.Sweep(t.Context()); repaired != 1 || err != nil {
			t.Errorf("repaired %d lanes (%v) afterwards, want 1", repaired, err)
		}
	})
}
