package lanes

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/worker/attempt"
)

// rate gives a webhook a rate, and none if it is 0.
func (w *world) rate(hook uuid.UUID, perSecond int32) {
	w.t.Helper()
	w.change(hook, func(p *db.UpdateWebhookParams) {
		if p.RatePerSecond = nil; perSecond > 0 {
			p.RatePerSecond = &perSecond
		}
	})
}

// crowd puts n rows, long due, into a webhook's queue.
func (w *world) crowd(hook uuid.UUID, n int) {
	w.t.Helper()
	w.super(`INSERT INTO webhook_queue (delivery_id, webhook_id, tenant_id, event_id, event_type, event_day, epoch, stream_seq, kind, state, attempt, due_at)
		SELECT gen_random_uuid(), $1, $2, 'e' || n, 'deal.moved', current_date, 0, n, 0, 0, 1, now() - interval '1 hour' FROM generate_series(1, $3) AS n`, hook, tenant, n)
	w.super(`INSERT INTO webhook_lanes (webhook_id, tenant_id, next_due_at) VALUES ($1, $2, now() - interval '1 hour')
		ON CONFLICT (webhook_id) DO UPDATE SET next_due_at = excluded.next_due_at`, hook, tenant)
}

// watched keeps when each row is leased, by the clock of Postgres.
func (w *world) watched() {
	w.t.Helper()
	w.super(`CREATE TABLE claims (webhook_id uuid, at timestamptz)`)
	w.super(`GRANT SELECT, INSERT, DELETE ON claims TO primezap_worker`)
	w.super(`CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO claims VALUES (new.webhook_id, clock_timestamp()); RETURN null; END $$`)
	w.super(`CREATE TRIGGER watch AFTER UPDATE ON webhook_queue FOR EACH ROW WHEN (new.state = 1) EXECUTE FUNCTION watch()`)
}

func (w *world) claims(hook uuid.UUID) []time.Time {
	w.t.Helper()
	return ask[time.Time](w, "SELECT at FROM claims WHERE webhook_id = $1 ORDER BY at", hook)
}

// most is the largest number of claims within a second, wherever that begins.
func most(claims []time.Time) (n int) {
	first := 0
	for i, at := range claims {
		for at.Sub(claims[first]) >= time.Second {
			first++
		}
		n = max(n, i-first+1)
	}
	return n
}

// workers runs n claimers, each over a store of its own.
func (w *world) workers(n int) (all []*claimer) {
	w.t.Helper()
	for range n {
		c := w.claimer(1000)
		c.Store = w.open(testenv.Worker)
		c.Results, _ = w.ledger()
		w.run(c)
		all = append(all, c)
	}
	return all
}

// However many workers claim, no second has more than the rate, and while rows
// wait the rate is used.
func TestClaimer_Run_KeepsRates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.watched()
	rates := []int32{1, 7, 15, 100, 400}
	hooks := make([]uuid.UUID, len(rates))
	for i, rate := range rates {
		hooks[i] = w.webhook()
		w.rate(hooks[i], rate)
		w.crowd(hooks[i], 10_000)
	}
	w.workers(2)
	const length = 5 * time.Second
	eventually(t, "some seconds to pass", func() bool {
		claims := w.claims(hooks[0])
		return len(claims) > 0 && claims[len(claims)-1].Sub(claims[0]) >= length
	})
	for i, rate := range rates {
		claims := w.claims(hooks[i])
		took := claims[len(claims)-1].Sub(claims[0])
		if got := most(claims); got > int(rate) {
			t.Errorf("%d a second: %d rows were claimed within a second", rate, got)
		}
		// The last slice ends what took counts; it is not paid for yet.
		if kept := float64(len(claims)-int(slice(rate))) / took.Seconds() / float64(rate); kept < 0.9 {
			t.Errorf("%d a second: %d rows in %s, %.0f %% of it", rate, len(claims), took, kept*100)
		}
	}
	expect(w, "lanes that count as backlogged", []int64{0}, "SELECT count(*) FROM webhook_lanes WHERE backlog")
}

func TestClaimer_Run_RateDelaysNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	limited, healthy := w.webhook(), w.webhook()
	w.rate(limited, 5)
	w.crowd(limited, 10_000)
	c := w.workers(1)[0]
	url := ask[string](w, "SELECT url FROM webhooks WHERE id = $1", healthy)[0]
	var late []time.Duration
	for range 20 {
		before := time.Now()
		count := func() (n int) {
			for _, r := range c.net.seen() {
				if r.URL == url {
					n++
				}
			}
			return n
		}
		had := count()
		w.queue(healthy, row{})
		eventually(t, "the healthy webhook's attempt", func() bool { return count() > had })
		late = append(late, time.Since(before))
	}
	slices.Sort(late)
	if median := late[len(late)/2]; median > 500*time.Millisecond {
		t.Errorf("a healthy webhook waits %s at the median beside a lane that waits for its rate", median)
	}
}

func TestClaimer_claim_Rate(t *testing.T) {
	t.Parallel()
	t.Run("takes a slice, and wakes when there may be another", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.rate(hook, 25)
		w.queue(hook, due(30)...)
		c := w.claimer(1000)
		if got := w.once(c); len(got) != 3 {
			t.Fatalf("leased %d rows, want a tenth of 25, rounded up", len(got))
		}
		const lane = `SELECT concat_ws(' ', backlog, next_due_at < now(), turn_at > taken_at[1], turn_at - taken_at[1], taken) FROM webhook_lanes`
		expect(w, "the lane", []string{"f t t 00:00:00.06 {3}"}, lane)
		if len(c.turns) != 1 || time.Until(c.turns[0]) > 60*time.Millisecond {
			t.Errorf("the claimer remembers the turns %v", c.turns)
		}
		c.turns = []time.Time{time.Now().Add(-time.Second), time.Now().Add(time.Hour), time.Now().Add(pollEvery / 2)}
		if wait := c.untilTurn(); wait > pollEvery/2 || wait < pollAgain {
			t.Errorf("polls again after %s, want with the next turn", wait)
		}
		w.exec("UPDATE webhook_lanes SET turn_at = now() + interval '1 hour'")
		w.queue(hook, row{})
		if worked, err := c.claim(t.Context()); worked || err != nil {
			t.Errorf("claimed before its turn: %t, %v", worked, err)
		}
	})

	// at lets all that lanes remember be so old, however long the test takes.
	at := func(w *world, age string) {
		w.t.Helper()
		w.exec("UPDATE webhook_lanes SET turn_at = now() - interval '1 ms', taken_at = ARRAY(SELECT clock_timestamp() - $1::interval FROM unnest(taken_at))", age)
	}
	t.Run("takes no more than the last second leaves", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.rate(hook, 10)
		w.queue(hook, due(30)...)
		c := w.claimer(1000)
		var got []int
		for range 12 {
			got = append(got, len(w.once(c)))
			at(w, "1 ms")
		}
		if want := []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0}; !slices.Equal(got, want) {
			t.Errorf("leased %v, want %v", got, want)
		}
		w.once(c)
		expect(w, "it wakes when the first is a second ago", []bool{true}, "SELECT turn_at = taken_at[1] + interval '1 second' FROM webhook_lanes")
		at(w, "1 s")
		if got := w.once(c); len(got) != 1 {
			t.Errorf("leased %d rows a second later", len(got))
		}
		expect(w, "what is longer ago is forgotten", []int64{1}, "SELECT cardinality(taken_at) FROM webhook_lanes")
	})

	t.Run("goes by the rate of the moment", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.rate(hook, 1)
		w.queue(hook, due(600)...)
		c := w.claimer(1000)
		var got []int
		for _, rate := range []int32{1, 1, 60, 1, 0, 1} {
			w.rate(hook, rate)
			got = append(got, len(w.once(c)))
			at(w, "1 ms")
		}
		// Without a rate it takes what the endpoint has room for, of which it remembers nothing.
		if got[4] < 8 || !slices.Equal(slices.Delete(slices.Clone(got), 4, 5), []int{1, 0, 6, 0, 0}) {
			t.Errorf("leased %v", got)
		}
	})

	t.Run("has the lane of an inactive webhook shut, and opened again", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.rate(hook, 5)
		w.queue(hook, due(3)...)
		c := w.claimer(1000)
		w.once(c)
		w.activate(hook, false)
		at(w, "2 s")
		if got := w.once(c); len(got) != 0 {
			t.Errorf("leased %d rows of an inactive webhook", len(got))
		}
		w.activate(hook, true)
		if got := w.once(c); len(got) != 1 {
			t.Errorf("leased %d rows after it was activated", len(got))
		}
	})

	t.Run("counts retries", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.rate(hook, 2)
		w.queue(hook, row{attempt: 3, state: 2, due: -time.Second}, row{attempt: 2, state: 2, due: -time.Second}, row{due: -time.Second})
		c := w.claimer(1000)
		for i, want := range []int{1, 1, 0} {
			if got := w.once(c); len(got) != want {
				t.Errorf("claim %d leased %d rows, want %d", i, len(got), want)
			}
			at(w, "0 s")
		}
	})

	t.Run("takes nothing for a line that does not move", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.rate(hook, 20)
		w.queue(hook, due(100)...)
		c := w.claimer(1000)
		c.net.answer = silent
		total := 0
		for range 30 {
			total += len(w.once(c))
			at(w, "2 s")
		}
		if most := 8 + 2; total > most { // attempts at once, and a slice in line
			t.Errorf("%d rows are leased to an endpoint that does not answer, want at most %d", total, most)
		}
		expect(w, "its lane's next turn is to come", []bool{true}, "SELECT turn_at > now() - interval '1 s' FROM webhook_lanes")
	})

	t.Run("leaves other lanes their part of the claim", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		limited, other := w.webhook(), w.webhook()
		w.rate(limited, 1)
		w.queue(limited, due(50)...)
		rows := w.queue(other, due(4)...)
		c := w.claimer(1000)
		got := w.once(c)
		if len(got) != 5 {
			t.Errorf("leased %d rows, want one and all four of the other", len(got))
		}
		for _, id := range rows {
			if !slices.Contains(got, id) {
				t.Errorf("%s was left out", id)
			}
		}
		expect(w, "rates in the other's lane", []int64{0}, "SELECT cardinality(taken_at) FROM webhook_lanes WHERE webhook_id = $1", other)
	})
}

// A slow endpoint gets no burst when it is quick again: what stood in line is a
// slice at most.
func TestClaimer_claim_RateAfterAStall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := w.webhook()
	w.rate(hook, 100)
	w.crowd(hook, 1000)
	c := w.claimer(1000)
	release := make(chan struct{})
	c.net.answer = func(ctx context.Context, _ *attempt.Request) attempt.Outcome {
		start := time.Now()
		select {
		case <-release:
		case <-ctx.Done():
		}
		return attempt.Outcome{Success: true, Status: 200, Start: start, Duration: time.Since(start)}
	}
	for range 20 {
		w.once(c)
		w.exec("UPDATE webhook_lanes SET turn_at = now() - interval '1 ms', taken_at = '{}', taken = '{}'")
	}
	if got := len(c.net.seen()); got != 8 {
		t.Fatalf("%d attempts at once", got)
	}
	close(release)
	eventually(t, "what stood in line", func() bool { return len(c.results.seen()) == 18 && c.Pool.Running() == 0 })
	if got := len(c.net.seen()); got != 18 {
		t.Errorf("%d attempts after the stall, want 8 and a slice of 10", got)
	}
}
