package ledger

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/services/worker/attempt"
)

// health is what stands of a webhook, in words: the streak, whether it is told to
// be down, and whether there is something to recover. "" is a healthy one.
func (w *world) health(webhook uuid.UUID) string {
	w.t.Helper()
	found := ask[string](w, `SELECT concat_ws(' ', exhausted, CASE WHEN down THEN 'down' ELSE 'up' END,
		CASE WHEN recover_at IS NOT NULL THEN 'recovering' END, CASE WHEN level > 0 THEN level || '%' END, 'gone at ' || gone_generation,
		CASE WHEN (exhausted > 0) <> (failing_since IS NOT NULL) THEN 'since ' || coalesce(failing_since::text, 'ever') END)
		FROM webhook_health WHERE webhook_id = $1 AND tenant_id = $2`, webhook, tenant)
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// write commits entries, results and logs together.
func (w *world) write(l *Ledger, of ...any) {
	w.t.Helper()
	l.settle(w.t.Context(), items(of...))
}

// failed is the result of a leased row: exhausted by status.
func failed(r *Result, status int) *Result {
	e := event()
	r.Log.Outcome = attempted(&e, r.Webhook, r.Delivery, 1, status).Outcome
	r.Next = &Next{State: Exhausted, Attempt: 2, Delay: KeepExhausted, LastStatus: status}
	return r
}

func TestLedger_Health(t *testing.T) {
	t.Parallel()
	t.Run("counts what is exhausted in a row, through whatever ledger", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		a, b := w.ledger(), New(w.open(w.database.URL("worker")), quiet())
		hook := newID()
		for i, step := range []struct {
			l    *Ledger
			item any
			want string
		}{
			{a, w.delivered("", hook), ""},
			{a, w.exhausted("", hook, 500), "1 down"},
			{b, w.exhausted("", hook, 500), "2 down"},
			{b, failed(w.leased(hook, 1)[0], 503), "3 down"},
			{b, w.delivered("", hook), "0 up recovering"}, // it never saw it healthy, nor first fail
			{a, w.delivered("", hook), "0 up recovering"},
			{a, w.exhausted("", hook, 500), "1 down recovering"},
			{b, w.leased(hook, 1)[0], "0 up recovering"},
		} {
			w.write(step.l, step.item)
			if got := w.health(hook); got != step.want {
				t.Fatalf("after step %d: %q, want %q", i, got, step.want)
			}
		}
	})

	t.Run("takes the items of a commit in their order", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		wasDown, wasUp := newID(), newID()
		w.write(w.ledger(), w.exhausted("", wasDown, 500), w.exhausted("", wasDown, 500))
		for _, tc := range []struct {
			hook uuid.UUID
			of   string // f: exhausted, s: success
			want string
		}{
			{wasDown, "sf", "1 down recovering"},
			{wasDown, "ffsff", "2 down recovering"},
			{wasDown, "fs", "0 up recovering"},
			{wasUp, "s", ""},
			{wasUp, "sf", "1 down"}, // nothing was exhausted before the success
			{wasUp, "f", "2 down"},
			{wasUp, "sfs", "0 up recovering"},
			{newID(), "fs", "0 up recovering"},
		} {
			var all []any
			for _, c := range tc.of {
				if c == 's' {
					all = append(all, w.delivered("", tc.hook))
				} else {
					all = append(all, w.exhausted("", tc.hook, 500))
				}
			}
			w.write(w.ledger(), all...)
			if got := w.health(tc.hook); got != tc.want {
				t.Errorf("%s: %q, want %q", tc.of, got, tc.want)
			}
		}
	})

	t.Run("ends a streak in a commit with another webhook's failure, and writes nothing of healthy ones", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		wasUp, healthy := newID(), newID()
		w.write(w.ledger(), w.exhausted("", wasUp, 500))
		w.write(w.ledger(), w.delivered("", wasUp), w.delivered("", healthy), w.exhausted("", newID(), 500))
		if got := w.health(wasUp) + w.health(healthy); got != "0 up recovering" {
			t.Errorf("a success beside another's failure leaves %q", got)
		}
		before := ask[string](w, "SELECT xmin::text FROM webhook_health WHERE webhook_id = $1", wasUp)
		w.write(w.ledger(), w.delivered("", wasUp), w.exhausted("", newID(), 500))
		if after := ask[string](w, "SELECT xmin::text FROM webhook_health WHERE webhook_id = $1", wasUp); !slices.Equal(before, after) {
			t.Error("a further success wrote it again")
		}
	})

	t.Run("does not bring back what was exhausted after the success in its commit", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := newID()
		before, after, both := w.exhausted("", hook, 500), w.exhausted("", hook, 500), w.exhausted("", hook, 500)
		w.write(w.ledger(), before)
		w.write(w.ledger(), w.delivered("", hook), after)
		brought := func() []uuid.UUID {
			return ask[uuid.UUID](w, `SELECT delivery_id FROM webhook_queue q JOIN webhook_health h USING (webhook_id)
				WHERE webhook_id = $1 AND q.due_at - interval '7 days' <= h.succeeded_at ORDER BY q.due_at`, hook)
		}
		if got, want := brought(), []uuid.UUID{before.Rows[0].Delivery}; !slices.Equal(got, want) {
			t.Errorf("brings back %v, want %v", got, want)
		}
		w.write(w.ledger(), both, w.delivered("", hook))
		if got := brought(); len(got) != 3 {
			t.Errorf("brings back %d deliveries once it succeeded after all, want 3", len(got))
		}
	})

	t.Run("heeds nothing that is not the endpoint's doing", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		sick, well := newID(), newID()
		w.write(w.ledger(), w.exhausted("", sick, 500), w.exhausted("", sick, 500))
		test := func(hook uuid.UUID, status int) *item {
			e := event()
			log := attempted(&e, hook, newID(), 1, status)
			log.Kind = Test
			return &item{log: &log}
		}
		late := w.leased(sick, 2)
		w.write(w.ledger(), late[0], late[1])
		again, lateFailure := w.leased(sick, 1)[0], w.leased(well, 1)[0]
		again.Lease, lateFailure.Lease = newID(), newID()
		if got := w.health(sick); got != "0 up recovering" {
			t.Fatalf("two results in time leave %q", got)
		}
		w.write(w.ledger(), w.exhausted("", sick, 500), w.exhausted("", sick, 500))
		lost := w.exhausted("", well, 0)
		lost.Logs[0].Outcome.Class = attempt.ClassBodyLost
		interrupted := w.delivered("", well)
		interrupted.Logs[0].Outcome = attempt.Outcome{Class: attempt.ClassInterrupted, Start: time.Now()}
		interrupted.Logs[0].Counted = false
		uncounted := w.delivered("", sick, newID()) // beside one that does
		uncounted.Logs[0].Counted = false
		retried := w.delivered("", well)
		retried.Logs = []Log{attempted(&retried.Event, well, newID(), 1, 500)}
		refused := failed(w.leased(well, 1)[0], 500)
		refused.Log.Event = nul
		for name, of := range map[string]any{
			"a test call that succeeds": test(sick, 200), "a test call that fails": test(well, 500), "a test call's 410": test(well, 410),
			"a success too late": again, "a failure too late": failed(lateFailure, 500), "a lost body": lost,
			"an interrupted attempt": interrupted, "a success that does not count": uncounted, "a failure that is retried": retried, "what Postgres refuses": refused,
		} {
			w.write(w.ledger(), of)
			if sick, well := w.health(sick), w.health(well); sick != "2 down recovering" || well != "" {
				t.Errorf("%s: %q and %q", name, sick, well)
			}
		}
		expect(w, "attempts that do not count", []int64{3}, "SELECT count(*) FROM webhook_logs WHERE NOT counted AND status > 0")
	})

	t.Run("remembers at which generation the endpoint was gone", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := newID()
		woken := 0
		l := w.ledger()
		l.Gone = func() { woken++ }
		gone := w.exhausted("", hook, 410)
		gone.Logs[0].Generation = 7
		w.write(l, w.exhausted("", hook, 500), gone)
		if got := w.health(hook); got != "2 down gone at 7" || woken != 1 {
			t.Errorf("%q, told %d times", got, woken)
		}
		row := failed(w.leased(hook, 1)[0], 410)
		row.Log.Generation = 8
		w.write(l, row)
		w.write(l, w.exhausted("", hook, 500))
		if got := w.health(hook); got != "4 down gone at 8" || woken != 2 {
			t.Errorf("%q, told %d times", got, woken)
		}
	})
}

// A healthy webhook's success is no transition: nothing is written, and nothing
// asked by a statement of its own.
func TestLedger_Health_SuccessesCostNoStatement(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := newID()
	steps := len(w.ledger().plan(items(w.delivered("", hook), w.delivered("", newID()))))
	if steps != 4 { // events, logs, statistics, durations
		t.Errorf("a commit of successes has %d statements, want 4", steps)
	}
	w.write(w.ledger(), w.delivered("", hook))
	expect(w, "rows about healthy webhooks", []int64{0}, "SELECT count(*) FROM webhook_health")
	w.write(w.ledger(), w.exhausted("", hook, 500))
	w.write(w.ledger(), w.delivered("", hook))
	before := ask[string](w, "SELECT xmin::text FROM webhook_health")
	w.write(w.ledger(), w.delivered("", hook))
	if after := ask[string](w, "SELECT xmin::text FROM webhook_health"); !slices.Equal(before, after) {
		t.Error("the second success wrote the webhook's health again")
	}
}

func TestLedger_Health_Levels(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		exhausted int // before
		lasted    time.Duration
		want      string
	}{
		{name: "is none before half of the time", exhausted: 30, lasted: 12*time.Hour - time.Minute, want: "31 down"},
		{name: "is 50 from half of it on", exhausted: 1, lasted: 12 * time.Hour, want: "2 down 50%"},
		{name: "is 75 from three quarters on", exhausted: 30, lasted: 18 * time.Hour, want: "31 down 75%"},
		{name: "is 90 from nine tenths on", exhausted: 30, lasted: 24*time.Hour - time.Minute, want: "31 down 90%"},
		{name: "is 100 when the time is over and enough is exhausted", exhausted: 19, lasted: 24 * time.Hour, want: "20 down 100%"},
		{name: "stays at 90 while too little is exhausted", exhausted: 18, lasted: 48 * time.Hour, want: "19 down 90%"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			hook := newID()
			w.write(w.ledger(), w.exhausted("", hook, 500))
			w.exec("UPDATE webhook_health SET exhausted = $1, failing_since = now() - $2::interval", tc.exhausted, tc.lasted)
			w.write(w.ledger(), w.exhausted("", hook, 500))
			if got := w.health(hook); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
			w.write(w.ledger(), w.delivered("", hook))
			if got := w.health(hook); got != "0 up recovering" {
				t.Errorf("%q after a success", got)
			}
		})
	}
	t.Run("is reached by settings", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := newID()
		l := w.ledger()
		l.Disable = Disable{After: time.Hour, Exhausted: 3}
		w.write(l, w.exhausted("", hook, 500))
		w.exec("UPDATE webhook_health SET failing_since = now() - interval '1 hour'")
		w.write(l, w.exhausted("", hook, 500))
		if got := w.health(hook); got != "2 down 90%" {
			t.Errorf("%q after two", got)
		}
		w.write(l, w.exhausted("", hook, 500))
		if got := w.health(hook); got != "3 down 100%" {
			t.Errorf("%q after three", got)
		}
	})
}

// streaks compares what health says to what the logs say in their order: the
// deliveries exhausted after the last success.
func (w *world) streaks() {
	w.t.Helper()
	wrong := ask[string](w, `
		WITH said AS (
			SELECT webhook_id, created_at, success, attempt = $1 AND NOT success AND error_class <> 'body_lost' AS exhausted
			FROM webhook_logs WHERE counted AND kind <> 1
		), streak AS (
			SELECT s.webhook_id, count(*) FILTER (WHERE s.exhausted
				AND s.created_at > coalesce((SELECT max(k.created_at) FROM said k WHERE k.webhook_id = s.webhook_id AND k.success), '-infinity')) AS length
			FROM said s GROUP BY 1
		)
		SELECT format('%s: %s, down %s; the logs say %s', s.webhook_id, h.exhausted, h.down, s.length)
		FROM streak s FULL JOIN webhook_health h USING (webhook_id)
		WHERE coalesce(h.exhausted, 0) IS DISTINCT FROM s.length OR coalesce(h.down, false) <> (s.length > 0)`, lastAttempt)
	for _, text := range wrong {
		w.t.Error(text)
	}
}

// Whatever happens to webhooks, in commits of any size by either of two ledgers,
// each streak is what the logs say.
func TestLedger_Health_EqualsTheLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test's choices
	ledgers := []*Ledger{w.ledger(), New(w.open(w.database.URL("worker")), quiet())}
	var hooks []uuid.UUID
	for range 6 {
		hooks = append(hooks, newID())
	}
	at := time.Now()
	for range 120 {
		var all []any
		for range 1 + rnd.IntN(8) {
			hook := hooks[rnd.IntN(len(hooks))]
			var logs []*Log
			switch what := rnd.IntN(10); {
			case what < 3:
				entry := w.delivered("", hook)
				all, logs = append(all, entry), append(logs, &entry.Logs[0])
			case what < 6:
				entry := w.exhausted("", hook, 500)
				all, logs = append(all, entry), append(logs, &entry.Logs[0])
			case what < 7: // one success, one failure, of two webhooks
				entry, other := w.exhausted("", hook, 500), hooks[rnd.IntN(len(hooks))]
				if other != hook {
					entry.Logs = append(entry.Logs, attempted(&entry.Event, other, newID(), 1, 200))
				}
				all = append(all, entry)
				for i := range entry.Logs {
					logs = append(logs, &entry.Logs[i])
				}
			case what < 8:
				entry := w.exhausted("", hook, 0)
				entry.Logs[0].Outcome.Class = attempt.ClassBodyLost
				all, logs = append(all, entry), append(logs, &entry.Logs[0])
			case what < 9:
				r := w.leased(hook, 1)[0]
				if rnd.IntN(2) == 0 {
					r = failed(r, 503)
					r.Log.Attempt = lastAttempt
				}
				if rnd.IntN(2) == 0 {
					r.Lease = newID() // too late
				}
				all, logs = append(all, r), append(logs, r.Log)
			default:
				e := event()
				log := attempted(&e, hook, newID(), lastAttempt, []int{200, 500}[rnd.IntN(2)])
				log.Kind = Test
				all, logs = append(all, &item{log: &log}), append(logs, &log)
			}
			for _, log := range logs {
				at = at.Add(time.Millisecond)
				log.Outcome.Start = at
			}
		}
		w.write(ledgers[rnd.IntN(2)], all...)
		w.streaks()
		if t.Failed() {
			return
		}
		if rnd.IntN(10) == 0 { // recovered: the row goes
			w.exec("DELETE FROM webhook_health WHERE NOT down")
		}
	}
	expect(w, "webhooks that have failed", []bool{true}, "SELECT count(*) > 1 FROM webhook_health")
}

// Two ledgers at once lose no count, and a success after all that they wrote ends
// every streak.
func TestLedger_Health_TwoLedgersAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ledgers := []*Ledger{w.ledger(), New(w.open(w.database.URL("worker")), quiet())}
	hooks := []uuid.UUID{newID(), newID(), newID()}
	const rounds = 40
	both := func(of func(l *Ledger, round int) []any) {
		var writers sync.WaitGroup
		for _, l := range ledgers {
			writers.Go(func() {
				for round := range rounds {
					l.settle(t.Context(), items(of(l, round)...))
				}
			})
		}
		writers.Wait()
	}
	both(func(*Ledger, int) (all []any) {
		for _, hook := range hooks {
			all = append(all, w.exhausted("", hook, 500))
		}
		return all
	})
	for _, hook := range hooks {
		if got, want := w.health(hook), fmt.Sprintf("%d down", 2*rounds); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	both(func(l *Ledger, round int) []any {
		if l == ledgers[round%2] {
			return []any{w.delivered("", hooks[round%3]), w.exhausted("", hooks[(round+1)%3], 500)}
		}
		return []any{w.delivered("", hooks[(round+1)%3]), w.delivered("", hooks[round%3])}
	})
	w.write(ledgers[0], w.delivered("", hooks...))
	for _, hook := range hooks {
		if got := w.health(hook); got != "0 up recovering" {
			t.Errorf("%q after the last success", got)
		}
	}
	w.consistent()
}
