package e2e

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var seedCount = flag.Uint64("seeds", 20, "how many seeds TestOwnership tries at each place")

// worldsAtOnce is how many systems are up at a time. They wait most of the time
// for what a killed worker held.
const worldsAtOnce = 12

// place is where a worker kills itself.
type place struct {
	name string
	hits int // it is killed at the first of these hits, or the last, or between
}

// places are all that a delivery goes through.
var places = []place{
	{"intake.fetched", 6},      // the event is the stream's, nobody else knows of it
	{"intake.matched", 6},      // the ledger has been asked
	{"attempt.begin", 40},      // nothing was sent
	{"attempt.sent", 40},       // the endpoint has the request
	{"attempt.end", 40},        // and has answered
	{"ledger.begin", 8},        // the attempts have ended, or are about to be leased
	{"ledger.transaction", 12}, // the entry is written, its rows or logs are not
	{"ledger.lanes", 4},        // the rows are, their lane does not wake for them yet
	{"ledger.commit", 8},       // everything is written, nothing committed
	{"ledger.committed", 8},    // the event is the ledger's, and not acked
	{"lanes.claimed", 4},       // rows are leased, nobody attempts them yet
}

// TestOwnership kills workers at every place where a delivery changes hands. At
// every instant either the stream owns it, or its row in the queue, so nothing
// is lost and nobody's attempts count twice.
func TestOwnership(t *testing.T) {
	t.Parallel()
	type trial struct {
		place
		seed uint64
	}
	first := newSeed()
	t.Logf("seeds %d to %d", first, first+*seedCount-1)
	trials := make(chan trial)
	var ran, again atomic.Int64
	var runners sync.WaitGroup
	for range worldsAtOnce {
		runners.Go(func() {
			for trial := range trials {
				// Not by t.Parallel, which would let as many run as there are processors.
				t.Run(fmt.Sprintf("%s/%d", trial.name, trial.seed), func(t *testing.T) {
					w, faults, came := crash(t, trial.place, trial.seed)
					w.report(faults)
					ran.Add(1)
					again.Add(int64(came))
				})
			}
		})
	}
	for i := range *seedCount {
		for _, place := range places {
			trials <- trial{place, first + i}
		}
	}
	close(trials)
	runners.Wait()
	t.Logf("%d systems were crashed; %d requests came twice", ran.Load(), again.Load())
}

// TestOwnership_NoticesEarlyAcks is the test of that test: workers that ack an
// event before its entry is committed must not pass it.
func TestOwnership_NoticesEarlyAcks(t *testing.T) {
	t.Parallel()
	seed := newSeed()
	// In the first commit, which is an entry's: its acks are out by then.
	for _, place := range []place{{"ledger.transaction", 3}, {"ledger.commit", 1}} {
		t.Run(place.name, func(t *testing.T) {
			t.Parallel()
			w, faults, _ := crash(t, place, seed, "PRIMEZAP_MUTATION=ack-early")
			if !slices.ContainsFunc(faults, func(f string) bool { return strings.HasPrefix(f, "lost: ") }) {
				t.Errorf("seed %d: a worker that acks before the commit loses nothing when it is killed: %v", w.seed, faults)
			}
			t.Logf("%d faults, such as: %v", len(faults), faults[:min(3, len(faults))])
		})
	}
}

// course is what a seed decides of a trial.
type course struct {
	events  int // at least; published until the worker is dead
	workers int
	crashes int  // of the first worker, one after another
	returns bool // after the last one, where another worker lives
	tempers []temper
}

func newCourse(rnd *rand.Rand) course {
	c := course{
		events: 20 + rnd.IntN(41), workers: 1 + rnd.IntN(2), crashes: 1, returns: rnd.IntN(2) == 0,
		tempers: []temper{steady, stumbling},
	}
	if rnd.IntN(4) == 0 {
		c.crashes = 2
	}
	for _, t := range []temper{slow, hanging, hopeless} {
		if rnd.IntN(2) == 0 {
			c.tempers = append(c.tempers, t)
		}
	}
	return c
}

// crash runs a trial and returns what is wrong in the end.
func crash(t *testing.T, at place, seed uint64, env ...string) (w *world, faults []string, again int) {
	t.Helper()
	course := newCourse(rand.New(rand.NewPCG(seed, 1)))
	s := impatient
	s.Variant = killable
	s.WorkerEnv = append(slices.Clone(s.WorkerEnv), env...)
	w = newWorld(t, seed, s, course.tempers...)
	victim := w.sys.newWorker()
	for range course.workers - 1 {
		w.sys.StartWorker()
	}
	for n := range course.crashes {
		victim.Launch(fmt.Sprintf("PRIMEZAP_FAILPOINT=%s:%d", at.name, 1+w.rand.IntN(at.hits)))
		if n == 0 {
			victim.AwaitReady() // nothing is there yet that could kill it
		}
		w.publishUntilDead(victim, (n+1)*course.events/course.crashes)
		mustHaveDied(t, victim, at, n+1)
	}
	if course.workers == 1 || course.returns {
		victim.Launch()
	}
	w.sys.AwaitIdle(100 * time.Second) // longer than until a sweep: a lane that it had to repair is a fault below, and tells which kind of delay it was
	faults, again = w.Faults()
	return w, faults, again
}

// publishUntilDead publishes until a worker has died, and at least so many events
// are published in all.
func (w *world) publishUntilDead(victim *process, atLeast int) {
	w.t.Helper()
	deadline := time.After(time.Minute)
	pace := time.NewTimer(0)
	defer pace.Stop()
	for {
		select {
		case <-pace.C:
			w.Publish(1 + w.rand.IntN(4))
			wait := time.Duration(w.rand.IntN(40)) * time.Millisecond
			if w.numbers >= atLeast {
				wait = 200 * time.Millisecond // enough to reach any place
			}
			pace.Reset(wait)
		case <-victim.Exited():
			for w.numbers < atLeast {
				w.Publish(1 + w.rand.IntN(4))
			}
			return
		case <-deadline:
			w.t.Fatalf("seed %d: %s did not come to the place where it is to be killed; %d events were published", w.seed, victim.name, w.numbers)
		}
	}
}

// mustHaveDied checks that a worker was killed at a place, for the nth time.
func mustHaveDied(t *testing.T, victim *process, at place, times int) {
	t.Helper()
	victim.AwaitExit(exitWithin)
	status, ok := victim.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("%s ended, but was not killed: %s", victim.name, victim.cmd.ProcessState)
	}
	if said := strings.Count(victim.log.tail()+"\n", "failpoint: killed at "+at.name+"\n"); said < times {
		t.Fatalf("%s was not killed at %s", victim.name, at.name)
	}
}
