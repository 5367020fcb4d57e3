package lanes

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/ledger"
)

const lanesAndRows = `SELECT l::text FROM webhook_lanes l UNION ALL SELECT q::text FROM webhook_queue q ORDER BY 1`

func TestClaimer_claim(t *testing.T) {
	t.Parallel()
	t.Run("leases due rows, the earliest first, as many as the endpoint has room for", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		rows := due(20)
		for i := range rows {
			rows[i].id, rows[i].attempt = newID(), 1+i%3 // ids in the order of due times
		}
		w.queue(hook, rows[10:]...)
		w.queue(hook, rows[:10]...)
		w.queue(hook, row{due: time.Hour}, row{state: ledger.Exhausted, due: -time.Hour})
		c := w.claimer(1000)
		var want []uuid.UUID
		for _, r := range rows[:8] { // what a pool that does not know the endpoint takes
			want = append(want, r.id)
		}
		if got := w.once(c); !slices.Equal(got, want) {
			t.Errorf("leased %v, want %v", got, want)
		}
		expect(w, "leases, and what they cover", []string{"1 45 1,2,3,1,2,3,1,2"}, `SELECT concat_ws(' ', min(state),
				round(extract(epoch FROM min(due_at) - now())), string_agg(attempt::text, ',' ORDER BY delivery_id))
			FROM webhook_queue WHERE lease_id IS NOT NULL GROUP BY lease_id`)
		if next := w.once(c); len(next) == 0 || next[0] != rows[8].id {
			t.Errorf("leased %v next, want from %v on", next, rows[8].id)
		}
		eventually(t, "the attempts", func() bool { return len(c.results.seen()) >= 8 })
		for _, result := range c.results.seen()[:8] {
			if result.Log == nil || !result.Log.Counted || result.Next != nil || result.Log.Attempt != result.Attempt {
				t.Errorf("a delivery's result is %+v", result)
			}
		}
	})

	t.Run("takes no more than the pool has room for, and leaves lanes without room in their place", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		var want []uuid.UUID
		for range 3 {
			want = append(want, w.queue(w.webhook(), due(2)...)[0])
		}
		last := w.webhook() // locked by the claim as well: the backlog has a turn of its own
		w.queue(last, due(2)...)
		w.exec("UPDATE webhook_lanes SET backlog = true, turn_at = now() - interval '1 minute' WHERE webhook_id = $1", last)
		c := w.claimer(4) // three of them for lanes
		c.net.answer = silent
		const ofLast = "SELECT l::text FROM webhook_lanes l WHERE webhook_id = $1 UNION ALL SELECT q::text FROM webhook_queue q WHERE webhook_id = $1 ORDER BY 1"
		before := ask[string](w, ofLast, last)
		if got := w.once(c); !slices.Equal(got, want) {
			t.Errorf("leased %v, want %v", got, want)
		}
		if after := ask[string](w, ofLast, last); !slices.Equal(before, after) {
			t.Errorf("the lane without room and its rows are %v, were %v", after, before)
		}
		before = ask[string](w, lanesAndRows)
		if worked, err := c.claim(t.Context()); worked || err != nil {
			t.Errorf("claimed without room: %t, %v", worked, err)
		}
		if after := ask[string](w, lanesAndRows); !slices.Equal(before, after) {
			t.Errorf("without room, lanes and rows become %v, were %v", after, before)
		}
	})

	t.Run("does not touch the lane of an endpoint at its cap", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		busy, other := w.webhook(), w.webhook()
		w.queue(busy, due(600)...)
		c := w.claimer(2000)
		c.net.answer = silent
		eventually(t, "an endpoint at its cap", func() bool {
			w.once(c)
			return slices.Contains(c.Pool.Full(), busy)
		})
		w.queue(other, due(1)...)
		const ofBusy = "SELECT l::text FROM webhook_lanes l WHERE webhook_id = $1 UNION ALL SELECT q::text FROM webhook_queue q WHERE webhook_id = $1 ORDER BY 1"
		before := ask[string](w, ofBusy, busy)
		if got := w.once(c); len(got) != 1 {
			t.Errorf("leased %d rows, want that of the other endpoint", len(got))
		}
		if after := ask[string](w, ofBusy, busy); !slices.Equal(before, after) {
			t.Error("the lane of the endpoint at its cap, or its rows, have changed")
		}
		if len(ask[string](w, "SELECT webhook_id::text FROM webhook_lanes WHERE wake_at <= now()")) == 0 {
			t.Error("nothing is due: this test proves nothing")
		}
		if again := c.poll(t.Context()); again != pollEvery {
			t.Errorf("polls again after %s, want %s: what is due has no room", again, pollEvery)
		}
	})

	t.Run("passes over endpoints whose breaker is open, however little room there is", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		sick, sicker := w.webhook(), w.webhook()
		w.queue(sick, due(60)...)
		w.queue(sicker, due(60)...)
		c := w.claimer(2) // one for lanes
		c.net.answer = func(context.Context, *attempt.Request) attempt.Outcome {
			return attempt.Outcome{Class: attempt.ClassRefused, Start: time.Now(), Duration: time.Millisecond}
		}
		open := func() bool { return slices.Contains(c.Pool.Full(), sick) && slices.Contains(c.Pool.Full(), sicker) }
		eventually(t, "breakers to open", func() bool {
			w.once(c)
			return open()
		})
		eventually(t, "room", func() bool { return c.Pool.Room() == 1 })
		healthy, backlogged := w.webhook(), w.webhook()
		want := slices.Concat(w.queue(healthy, due(1)...), w.queue(backlogged, due(1)...))
		// One sick lane is ahead in each band.
		w.exec("UPDATE webhook_lanes SET backlog = webhook_id = ANY($1), turn_at = '-infinity'", []uuid.UUID{sicker, backlogged})
		w.exec("UPDATE webhook_lanes SET next_due_at = now() - interval '1 day' WHERE webhook_id = ANY($1)", []uuid.UUID{sick, sicker})
		var got []uuid.UUID
		for range 2 {
			got = append(got, w.once(c)...)
			eventually(t, "room", func() bool { return c.Pool.Room() == 1 })
		}
		if !open() {
			t.Fatal("the breakers have closed again: this test proves nothing")
		}
		if !slices.Equal(got, want) {
			t.Errorf("leased %v, want %v", got, want)
		}
	})

	t.Run("lets a lane sleep until its next row or the end of its leases", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		leased, waiting, both := w.webhook(), w.webhook(), w.webhook()
		w.queue(leased, due(2)...)
		w.queue(waiting, row{due: -time.Second}, row{due: 20 * time.Second})
		w.queue(both, row{due: -time.Second}, row{due: time.Hour})
		c := w.claimer(1000)
		if got := w.once(c); len(got) != 4 {
			t.Fatalf("leased %d rows, want 4", len(got))
		}
		expect(w, "seconds that lanes sleep", []string{"45 f", "20 f", "45 f"},
			"SELECT concat_ws(' ', round(extract(epoch FROM next_due_at - now())), backlog) FROM webhook_lanes ORDER BY array_position($1, webhook_id)",
			[]uuid.UUID{leased, waiting, both})
		w.exec("DELETE FROM webhook_queue WHERE webhook_id = $1", leased)
		w.exec("UPDATE webhook_lanes SET next_due_at = now() WHERE webhook_id = $1", leased)
		w.once(c)
		expect(w, "a lane without rows sleeps for ever", []bool{true}, "SELECT next_due_at = 'infinity' FROM webhook_lanes WHERE webhook_id = $1", leased)
	})

	t.Run("puts a lane that is left with due rows behind all others, in turn", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		a, b := w.webhook(), w.webhook()
		w.queue(a, due(30)...)
		c := w.claimer(2) // one for lanes
		served := func() uuid.UUID {
			ids := w.once(c)
			eventually(t, "room", func() bool { return c.Pool.Room() == 1 })
			if len(ids) != 1 {
				t.Fatalf("leased %d rows with room for one", len(ids))
			}
			return ask[uuid.UUID](w, "SELECT webhook_id FROM webhook_queue WHERE delivery_id = $1", ids[0])[0]
		}
		order := []uuid.UUID{served()}
		w.queue(b, due(30)...) // as long due
		for range 4 {
			order = append(order, served())
		}
		if want := []uuid.UUID{a, b, a, b, a}; !slices.Equal(order, want) {
			t.Errorf("served %v, want %v", order, want)
		}
		expect(w, "backlogged", []bool{true, true}, "SELECT backlog FROM webhook_lanes")
		healthy := w.webhook()
		w.queue(healthy, row{due: -time.Millisecond})
		if got := served(); got != healthy {
			t.Errorf("served %v before the one without a backlog", got)
		}
	})
}

// A recovered delivery that fails once more is retried, however many attempts it
// had before.
func TestClaimer_claim_RecoveredRow(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]ledger.State{"NULL": ledger.Exhausted, "3": ledger.Retrying} {
		w := newWorld(t)
		w.queue(w.webhook(), row{attempt: 4, due: -time.Second})
		w.exec("UPDATE webhook_queue SET recovered_after = " + name)
		c := w.claimer(100)
		c.net.answer = func(context.Context, *attempt.Request) attempt.Outcome {
			return attempt.Outcome{Class: attempt.ClassStatus, Status: 503, Start: time.Now(), Duration: time.Millisecond}
		}
		w.once(c)
		eventually(t, "a result", func() bool { return len(c.results.seen()) == 1 })
		if r := c.results.seen()[0]; r.Next == nil || r.Next.State != want || r.Next.Attempt != 5 || r.Log.Generation == 0 {
			t.Errorf("recovered after %s: goes on as %+v, want state %d", name, r.Next, want)
		}
	}
}

// What lanes may have and do not need must not be lost to others: a claim serves
// as many as it locks.
func TestClaimer_claim_ManyLanesOfFewRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.claimer(1000)
	var hooks []uuid.UUID
	for range 100 {
		hooks = append(hooks, w.webhook())
	}
	warm := func() {
		for _, hook := range hooks {
			w.queue(hook, due(1)...)
		}
	}
	warm()
	for len(ask[string](w, "SELECT delivery_id::text FROM webhook_queue WHERE state = 0")) > 0 {
		w.once(c) // from now on each is known to be quick, and could take a hundred
	}
	eventually(t, "answers", func() bool { return len(c.results.seen()) == len(hooks) })
	if room := c.Pool.RoomAt(hooks[0]); room < 100 {
		t.Fatalf("a quick endpoint has room for %d: this test proves nothing", room)
	}
	warm()
	if got := len(w.once(c)); got != len(hooks) {
		t.Errorf("a claim took %d of %d rows, each of another lane", got, len(hooks))
	}
}

// A lane's turn comes soon, whatever waits in ten thousand others.
func TestClaimer_claim_BacklogStarvesNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	template := w.webhook()
	w.super(`INSERT INTO webhooks (id, tenant_id, name, url, events, secret, secret_hint)
		SELECT gen_random_uuid(), tenant_id, 'sick', url, events, secret, '' FROM webhooks, generate_series(1, 10000) WHERE id = $1`, template)
	w.super(`INSERT INTO webhook_queue (delivery_id, webhook_id, tenant_id, event_id, event_type, event_day, epoch, stream_seq, kind, state, attempt, due_at)
		SELECT gen_random_uuid(), id, tenant_id, 'e' || n, 'deal.moved', current_date, 0, n, 0, 0, 1, now() - interval '1 hour'
		FROM webhooks, generate_series(1, 3) AS n WHERE name = 'sick'`)
	w.super(`INSERT INTO webhook_lanes (webhook_id, tenant_id, next_due_at, turn_at, backlog)
		SELECT id, tenant_id, now() - interval '1 hour', now() - interval '1 minute', true FROM webhooks WHERE name = 'sick'`)
	c := w.claimer(11)
	full := 0
	for range 25 {
		healthy := w.webhook()
		id := w.queue(healthy, row{due: -time.Millisecond})[0]
		leased := w.once(c)
		if !slices.Contains(leased, id) {
			t.Fatalf("a claim of %d rows passed over the lane without a backlog", len(leased))
		}
		if len(leased) == 8 {
			full++
		}
		eventually(t, "room", func() bool { return c.Pool.Room() == 8 })
	}
	if full < 20 {
		t.Errorf("%d of 25 claims used all room: the backlog is starved", full)
	}
	// None comes again before all others had their turn.
	expect(w, "lanes of the backlog served more than once", []int64{0},
		"SELECT count(*) FROM (SELECT FROM webhook_queue WHERE state = 1 GROUP BY webhook_id HAVING count(DISTINCT lease_id) > 1) AS twice")
}

func TestClaimer_claim_Inactive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := w.webhook()
	w.activate(hook, false)
	rows := w.queue(hook, due(3)...)
	before := ask[string](w, "SELECT q::text FROM webhook_queue q ORDER BY 1")
	c := w.claimer(100)
	if worked, err := c.claim(t.Context()); !worked || err != nil {
		t.Fatalf("claim: %t, %v, want the lane to be shut", worked, err)
	}
	if after := ask[string](w, "SELECT q::text FROM webhook_queue q ORDER BY 1"); !slices.Equal(before, after) {
		t.Errorf("the rows of an inactive webhook are %v, were %v", after, before)
	}
	expect(w, "its lane is shut", []bool{true}, "SELECT blocked_until = 'infinity' FROM webhook_lanes")
	if worked, err := c.claim(t.Context()); worked || err != nil {
		t.Errorf("a shut lane was claimed again: %t, %v", worked, err)
	}
	w.queue(hook, due(1)...) // a late failure's
	if worked, err := c.claim(t.Context()); worked || err != nil {
		t.Errorf("a further row opened the lane: %t, %v", worked, err)
	}
	w.activate(hook, true)
	if got := w.once(c); len(got) != 4 || !slices.Contains(got, rows[0]) {
		t.Errorf("leased %v after it was activated, want all four", got)
	}

	w.queue(hook, due(2)...)
	w.activate(hook, false) // shuts the lane in the same transaction
	if worked, err := c.claim(t.Context()); worked || err != nil {
		t.Errorf("claimed from a webhook that was switched off: %t, %v", worked, err)
	}
	t.Run("is looked at again by the statement that shuts", func(t *testing.T) {
		// Switched on between that and the statement that locked the lane.
		w := w.of(t)
		on := w.webhook()
		w.queue(on, due(1)...)
		if err := w.store.Queries().ShutLanes(t.Context(), []uuid.UUID{on}); err != nil {
			t.Fatal(err)
		}
		expect(w, "the lane of an active webhook is shut", []bool{false},
			"SELECT blocked_until = 'infinity' FROM webhook_lanes WHERE webhook_id = $1", on)
	})
	t.Run("is not shut for good by whoever saw it before a change was committed", func(t *testing.T) {
		// The change's trigger has found no lane: the first row comes after it.
		for what, change := range map[string]func(*db.Queries, uuid.UUID) error{
			"is switched on": func(q *db.Queries, id uuid.UUID) error {
				_, err := q.EnableWebhook(t.Context(), id)
				return err
			},
			"is deleted": func(q *db.Queries, id uuid.UUID) error {
				_, err := q.DeleteWebhook(t.Context(), id)
				return err
			},
		} {
			w := w.of(t)
			changed := w.webhook()
			w.activate(changed, false)
			w.asTenant(func(q *db.Queries) error {
				if err := change(q, changed); err != nil {
					return err
				}
				w.queue(changed, due(1)...)
				_, err := c.claim(t.Context())
				return err
			})
			if _, err := c.claim(t.Context()); err != nil {
				t.Fatal(err)
			}
			expect(w, "how many rows nobody has taken of a webhook that "+what, []int64{0},
				"SELECT count(*) FROM webhook_queue WHERE webhook_id = $1 AND lease_id IS NULL", changed)
		}
	})
	t.Run("is seen by the statement that leases, too", func(t *testing.T) {
		for what, off := range map[string]func(){ // between two statements of a claim
			"switched off": func() {},
			"deleted":      func() { w.activate(hook, true); w.remove(hook) },
		} {
			off()
			if rows := w.of(t).lease(newID(), hook); len(rows) != 0 {
				t.Errorf("leased %d rows of a webhook that was %s", len(rows), what)
			}
		}
	})
}

func TestClaimer_claim_Deleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook, purged := w.webhook(), newID() // the second is gone altogether
	w.activate(hook, false)
	for range 5 {
		w.queue(hook, due(500)...)
	}
	w.queue(hook, row{state: ledger.Exhausted, due: time.Hour})
	w.queue(purged, due(1)...)
	c := w.claimer(100)
	w.once(c)
	w.remove(hook) // opens its lane, for us to clear
	left := func() int64 { return ask[int64](w, "SELECT count(*) FROM webhook_queue")[0] }
	var counts []int64
	for range 3 {
		if worked, err := c.claim(t.Context()); !worked || err != nil {
			t.Fatalf("claim: %t, %v", worked, err)
		}
		counts = append(counts, left())
	}
	if want := []int64{1501, 501, 0}; !slices.Equal(counts, want) {
		t.Errorf("%v rows are left, want %v: a thousand a claim", counts, want)
	}
	expect(w, "lanes", []int64{0}, "SELECT count(*) FROM webhook_lanes")
	if len(c.net.seen()) > 0 {
		t.Error("an attempt was made at a deleted webhook")
	}
}

func TestClaimer_claim_LeaseRunsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := w.webhook()
	id := w.queue(hook, row{attempt: 2, due: -time.Second})[0]
	l, stop := w.ledger()
	dying, living := w.claimer(100), w.claimer(100)
	living.Store = w.open("worker")
	dying.Results, living.Results = l, l
	release := make(chan struct{})
	dying.net.answer = func(context.Context, *attempt.Request) attempt.Outcome {
		start := time.Now()
		<-release
		return attempt.Outcome{Success: true, Status: 200, Start: start, Duration: time.Since(start)}
	}
	living.net.answer = func(context.Context, *attempt.Request) attempt.Outcome {
		return attempt.Outcome{Status: 500, Start: time.Now(), Duration: time.Millisecond, Class: attempt.ClassStatus, Message: "500"}
	}
	if got := w.once(dying); !slices.Equal(got, []uuid.UUID{id}) {
		t.Fatalf("leased %v", got)
	}
	if got := w.once(living); len(got) != 0 {
		t.Errorf("leased %v while another worker's lease holds", got)
	}
	// As time passes, without waiting for it.
	w.exec("UPDATE webhook_queue SET due_at = now()")
	w.exec("UPDATE webhook_lanes SET next_due_at = now()")
	if got := w.once(living); !slices.Equal(got, []uuid.UUID{id}) {
		t.Fatalf("leased %v after the lease ran out, want the row again", got)
	}
	eventually(t, "the second worker's result", func() bool {
		return len(ask[string](w, "SELECT id::text FROM webhook_logs")) == 1
	})
	close(release) // the first was slow, not dead
	eventually(t, "the first worker's result", func() bool {
		return len(ask[string](w, "SELECT id::text FROM webhook_logs")) == 2
	})
	stop()
	expect(w, "logs", []string{"2 500 t", "2 200 f"}, "SELECT concat_ws(' ', attempt, status, counted) FROM webhook_logs ORDER BY counted DESC")
	expect(w, "the row goes on as the second result says", []string{"2 3 t"}, "SELECT concat_ws(' ', state, attempt, lease_id IS NULL) FROM webhook_queue")
}

func TestClaimer_offer(t *testing.T) {
	t.Parallel()
	// given is what is given back of a row that was not attempted.
	given := func(t *testing.T, c *claimer) *ledger.Result {
		t.Helper()
		eventually(t, "a row given back", func() bool { return len(c.results.seen()) == 1 })
		result := c.results.seen()[0]
		if result.Log != nil || result.Attempt != 2 || result.Next == nil || result.Next.Attempt != 2 || result.Next.State != ledger.Retrying {
			t.Errorf("the result is %+v, want the row back with no attempt used", result)
		}
		if len(c.net.seen()) > 0 {
			t.Error("an attempt was made")
		}
		return result
	}
	t.Run("has a row wait whose webhook cannot be opened", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.queue(hook, row{attempt: 2, due: -time.Second})
		w.vault = newVault(t) // with another key
		c := w.claimer(100)
		w.once(c)
		if next := given(t, c).Next; next.Delay != time.Minute {
			t.Errorf("it waits for %s, want a minute: an operator has to come", next.Delay)
		}
	})
	t.Run("gives a row back that the pool does not take", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.queue(hook, row{attempt: 2, due: -time.Second})
		c := w.claimer(100)
		lease := newID()
		rows := w.lease(lease, hook)
		c.Pool.Close(t.Context()) // the worker stops between claim and offer
		c.offer(lease, &rows[0])
		given(t, c)
	})
	t.Run("signs, and sends the event to the webhook as it is now", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		event := bus.Event{Tenant: tenant, Type: "deal.moved", ID: "e1", Day: bus.Day(time.Now()), Seq: 7}
		w.queue(hook, row{event: event, due: -time.Second})
		w.change(hook, func(p *db.UpdateWebhookParams) { p.Url = "https://moved.example.com" })
		c := w.claimer(100)
		w.once(c)
		eventually(t, "the attempt", func() bool { return len(c.results.seen()) == 1 })
		r := c.net.seen()[0]
		if r.URL != "https://moved.example.com" || r.EventID != "e1" || r.EventType != "deal.moved" || string(r.Body) != "{}" || r.Signer == nil {
			t.Errorf("requested %+v", r)
		}
		if result := c.results.seen()[0]; result.Webhook != hook || result.Tenant != tenant || result.Log.EventID != "e1" {
			t.Errorf("the result is %+v", result)
		}
	})
}
