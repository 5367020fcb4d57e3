package ledger

import (
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// mixture is one of each: an entry with logs, one with leased rows alone, results
// that end, move and release a row, and a log.
func (w *world) mixture() (all []*item) {
	w.t.Helper()
	webhook := newID()
	entry := w.delivered("entry", webhook, newID())
	entry.Rows = []Row{{Delivery: newID(), Webhook: webhook, State: Retrying, Attempt: 2, Delay: time.Second}}
	leased := w.delivered("leased")
	leased.Rows = []Row{{Delivery: newID(), Webhook: webhook, State: InFlight, Attempt: 1, Delay: time.Minute, Lease: newID()}}
	results := w.leased(webhook, 3)
	results[0].Done = w.verdicts.of("ended")
	results[1].Done, results[1].Next = w.verdicts.of("retried"), &Next{State: Retrying, Attempt: 2, Delay: time.Second}
	results[2].Done, results[2].Log, results[2].Next = w.verdicts.of("released"), nil, &Next{State: Waiting, Attempt: 1}
	e := event()
	log := attempted(&e, webhook, newID(), 1, 200)
	return items(entry, leased, results[0], results[1], results[2], &item{log: &log, done: w.verdicts.of("log")})
}

// writtenOnce checks what became of a mixture.
func (w *world) writtenOnce() {
	w.t.Helper()
	for _, name := range []string{"entry", "leased", "ended", "retried", "log"} {
		w.verdict(name, Committed)
	}
	if got := w.verdicts.about("released"); len(got) != 1 {
		w.t.Errorf("released: decided %v, want once", got) // nothing is left that proves whose release it was
	}
	// The third event is that of the rows which the results are about.
	expect(w, "events", []int64{3}, "SELECT count(*) FROM events")
	expect(w, "rows", []string{"0 1 f 1", "1 1 t 1", "2 2 f 2"}, `SELECT concat_ws(' ', state, attempt, lease_id IS NOT NULL, count(*))
		FROM webhook_queue GROUP BY state, attempt, lease_id IS NOT NULL ORDER BY state`)
	expect(w, "logs, all counted", []string{"5 5"}, "SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE counted)) FROM webhook_logs")
	expect(w, "counted calls", []int64{5}, "SELECT sum(total)::bigint FROM webhook_stats_hourly")
	w.consistent()
}

func TestLedger_settle_UnknownOutcome(t *testing.T) {
	t.Parallel()
	t.Run("what is committed already is found, and counts once", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		all := w.mixture()
		l := w.ledger()
		if err := l.try(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		l.settle(t.Context(), all) // as after an answer that was lost
		w.writtenOnce()
	})

	for how, choice := range map[string]cut{
		"before the server sees the commit": before, "while the server is at work": during, "before its answer arrives": after,
	} {
		t.Run("a connection that is cut "+how+" loses and doubles nothing", func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			all := w.mixture()
			var trips atomic.Int64
			url, relay := w.relayed(func() cut {
				if trips.Add(1) == 1 {
					return choice
				}
				return pass
			})
			New(w.open(url), quiet()).settle(t.Context(), all)
			if relay.count(choice) != 1 {
				t.Fatal("no connection was cut")
			}
			w.writtenOnce()
		})
	}

	t.Run("a commit that comes true while it is looked for is found", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		all := w.mixture()
		// Its lane holds the commit up.
		lane, err := w.store.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := lane.Exec(t.Context(), "SELECT FROM webhook_lanes FOR UPDATE"); err != nil {
			t.Fatal(err)
		}
		var trips atomic.Int64
		url, _ := w.relayed(func() cut {
			switch trips.Add(1) {
			case 1:
				return during
			case 3: // the first look-up has seen nothing
				if err := lane.Commit(t.Context()); err != nil {
					t.Error(err)
				}
				for deadline := time.Now().Add(patience); len(ask[string](w, "SELECT id FROM events")) < 3; time.Sleep(time.Millisecond) {
					if time.Now().After(deadline) {
						t.Error("the commit did not come true")
						break
					}
				}
			}
			return pass
		})
		New(w.open(url), quiet()).settle(t.Context(), all)
		w.writtenOnce()
	})

	t.Run("an entry without logs that another worker made is not made again", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		first, second := w.delivered("first"), w.delivered("second")
		second.Event.ID = first.Event.ID
		for _, entry := range []*Entry{first, second} {
			entry.Rows = []Row{{Delivery: newID(), Webhook: newID(), State: InFlight, Attempt: 1, Delay: time.Minute, Lease: newID()}}
		}
		l := w.ledger()
		l.settle(t.Context(), items(first))
		l.settle(t.Context(), items(second))
		expect(w, "leases", []string{first.Rows[0].Lease.String()}, "SELECT lease_id::text FROM webhook_queue")
		for i, entry := range []*Entry{first, second} {
			row := &entry.Rows[0]
			log := attempted(&entry.Event, row.Webhook, row.Delivery, 1, 200)
			l.settle(t.Context(), items(&Result{
				Delivery: row.Delivery, Webhook: row.Webhook, Tenant: tenant, Lease: row.Lease, Attempt: 1, Log: &log,
				Done: w.verdicts.of("result " + strconv.Itoa(i)),
			}))
		}
		w.verdict("result 0", Committed)
		w.verdict("result 1", Superseded)
		w.consistent()
	})
}
