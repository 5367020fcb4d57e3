package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/testenv"
)

// TestAmnesia takes from NATS what it remembers of deliveries, under load: the
// durable consumers are deleted, or the server is killed, with the acks of its
// last moments. The ledger remembers: what has an entry is not sent again. A
// lone worker that lives on even knows what it holds, and sends everything once;
// one of two may get what the other holds.
func TestAmnesia(t *testing.T) {
	t.Parallel()
	for _, loss := range losses {
		for workers := 1; workers <= 2; workers++ {
			t.Run(fmt.Sprintf("%s, workers %d", loss.name, workers), func(t *testing.T) {
				t.Parallel()
				w, faults := forgetUnderLoad(t, loss, workers, fast)
				w.report(faults)
			})
		}
	}
}

// TestAmnesia_NoticesForgetfulWorkers is the test of that test: workers that do
// not ask the ledger must not pass it.
func TestAmnesia_NoticesForgetfulWorkers(t *testing.T) {
	t.Parallel()
	for _, loss := range losses {
		t.Run(loss.name, func(t *testing.T) {
			t.Parallel()
			w, faults := forgetUnderLoad(t, loss, 1, killable, "PRIMEZAP_MUTATION=forget")
			if !slices.ContainsFunc(faults, func(f string) bool { return strings.HasPrefix(f, "sent again") }) {
				t.Errorf("seed %d: workers that do not ask the ledger send nothing again", w.seed)
			}
			t.Logf("%d faults, such as: %v", len(faults), faults[:min(3, len(faults))])
		})
	}
}

// loss is how NATS forgets.
type loss struct {
	name string
	make func(w *world, nats *testenv.NATSProcess)
}

var losses = []loss{
	{"the durable consumers are deleted", func(w *world, _ *testenv.NATSProcess) { w.deleteConsumers() }},
	{"nats-server is killed", func(_ *world, nats *testenv.NATSProcess) { nats.Restart() }},
}

// TestAmnesia_OfAll has the workers forget along with NATS. The consumers are
// made again from the floors that Postgres keeps, which must not lie above what
// the workers held.
func TestAmnesia_OfAll(t *testing.T) {
	t.Parallel()
	all := loss{"", func(w *world, _ *testenv.NATSProcess) {
		for _, p := range w.sys.Workers {
			p.Kill()
		}
		w.deleteConsumers()
		for _, p := range w.sys.Workers {
			p.Start()
		}
	}}
	w, faults := forgetUnderLoad(t, all, 2, fast)
	w.report(faults)
}

// tired takes every event, some of them a little later.
var tired = temper{"tired", []int{1, 1, 1}, func(seed uint64) answer {
	return someEvents(seed, 3, after(300*time.Millisecond, statuses(http.StatusOK)))
}}

// forgetUnderLoad has NATS forget several times while events are delivered, and
// returns what is wrong in the end.
func forgetUnderLoad(t *testing.T, loss loss, workers int, programs *variant, env ...string) (w *world, faults []string) {
	t.Helper()
	nats := testenv.PrivateNATS(t)
	s := impatient
	s.Variant, s.NATS, s.WorkerEnv = programs, nats, append(slices.Clone(s.WorkerEnv), env...)
	w = newWorld(t, newSeed(), s, steady, tired)
	for range workers {
		w.sys.StartWorker()
	}
	over, published := make(chan struct{}), make(chan error, 1)
	ctx := t.Context()
	go func() { published <- w.PublishUnderFailures(ctx, over, 0, 20, 40*time.Millisecond) }() // received below
	const times = 4
	var settled time.Duration
	if workers > 1 {
		settled = 2 * time.Second // a copy that the loss before gave to the other worker has arrived by then
	}
	var done []map[address]int // before each loss
	for i := range times {
		w.AwaitArrivals(w.Arrived()+500, soon)
		if i == times/2 {
			w.awaitFloors() // just saved, while much is in flight
		}
		done = append(done, w.done(settled))
		loss.make(w, nats)
	}
	w.AwaitArrivals(w.Arrived()+500, soon)
	close(over)
	if err := <-published; err != nil {
		t.Fatalf("publish: %v", err)
	}
	w.sys.AwaitIdle(50 * time.Second)
	faults, again := w.Faults()
	sizes := make([]int, times)
	for at, arrived := range w.arrivals() {
		for i := range done {
			if before, ok := done[i][at]; ok {
				sizes[i]++
				if arrived != before {
					faults = append(faults, fmt.Sprintf("sent again: %s was done before loss %d, when it had arrived %d times; now it has %d times", at, i+1, before, arrived))
				}
			}
		}
		if workers == 1 && arrived != 1 { // it was not killed
			faults = append(faults, fmt.Sprintf("sent again: %s arrived %d times", at, arrived))
		}
	}
	t.Logf("seed %d: %d deliveries; done before the losses: %v; %d came twice", w.seed, w.Deliveries(), sizes, again)
	return w, faults
}

// arrivals says how often each delivery arrived.
func (w *world) arrivals() map[address]int {
	arrivals := make(map[address]int)
	for _, h := range w.hooks {
		for id, n := range h.Events() {
			arrivals[address{h.id, id}] = n
		}
	}
	return arrivals
}

// done are the deliveries that the ledger has held as finished for some time, with how
// often they have arrived.
func (w *world) done(settled time.Duration) map[address]int {
	w.t.Helper()
	rows := rowsOf[struct{ WebhookID, EventID string }](w.sys, fmt.Sprintf(
		`SELECT l.webhook_id::text, l.event_id FROM webhook_logs l WHERE l.counted AND l.success AND l.created_at <= now() - interval '%d milliseconds'`,
		settled.Milliseconds()))
	arrivals := w.arrivals() // after the ledger: who is in it has arrived
	done := make(map[address]int, len(rows))
	for _, row := range rows {
		at := address{row.WebhookID, row.EventID}
		done[at] = arrivals[at]
	}
	return done
}

// awaitFloors waits until Postgres knows how far the consumers are.
func (w *world) awaitFloors() {
	w.t.Helper()
	eventually(w.t, soon, func() error {
		n, err := w.sys.count("SELECT count(*) FROM consumer_floors WHERE floor > 0")
		if err == nil && n < 2 {
			err = fmt.Errorf("%d consumers have a floor above 0", n)
		}
		return err
	})
}

// deleteConsumers deletes the durable consumers, as soon as they are there.
func (w *world) deleteConsumers() {
	w.t.Helper()
	for _, name := range []string{bus.ConsumerLive, bus.ConsumerBulk} {
		eventually(w.t, soon, func() error { return w.sys.js.DeleteConsumer(w.t.Context(), bus.StreamEvents, name) })
	}
}
