package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/testenv"
)

// TestReplay_KeepsLatency measures times, so it shares the machine with nobody.
func TestReplay_KeepsLatency(t *testing.T) {
	sys := start(t, setup{APIs: 1, Workers: 1, Variant: fast})
	tenant, r := sys.Tenant(), newReceiver(t)
	const events = 5000
	began := time.Now()
	tenant.PublishMany("deal.moved", events)
	sys.AwaitIdle(60 * time.Second)
	busy := r.Endpoint(after(100*time.Millisecond, statuses(http.StatusOK)))
	other := r.Endpoint()
	hook := tenant.Subscribe(busy, "*")
	tenant.Subscribe(other, "message.sent")

	// latencies publishes events one by one and returns how long each took.
	latencies := func(enough func(samples int) bool) (atBusy, atOther []time.Duration) {
		for !enough(len(atBusy)) {
			published := time.Now()
			id := tenant.Publish("message.sent")
			atBusy = append(atBusy, busy.AwaitEvent(t, id, 1, soon)[0].Arrived.Sub(published))
			atOther = append(atOther, other.AwaitEvent(t, id, 1, soon)[0].Arrived.Sub(published))
		}
		return atBusy, atOther
	}
	median := func(all []time.Duration) time.Duration { slices.Sort(all); return all[len(all)/2] }
	latencies(func(n int) bool { return n == 20 }) // connections are made
	busyBefore, otherBefore := latencies(func(n int) bool { return n == 100 })

	replay := tenant.Replay(hook.ID, replayInput{Since: began, Events: []string{"deal.*"}})
	replayed := func() int { return len(busy.Events()) - 120 }
	eventually(t, soon, func() error {
		if replayed() < 100 {
			return fmt.Errorf("%d events were replayed", replayed())
		}
		return nil
	})
	started := time.Now()
	var samples int
	busyDuring, otherDuring := latencies(func(n int) bool { samples = n; return replayed()-n >= events-200 })
	t.Logf("%d samples while events were replayed for %s; p50 at the same endpoint %s, before %s; at another one %s, before %s",
		samples, time.Since(started), median(busyDuring), median(busyBefore), median(otherDuring), median(otherBefore))
	if samples < 20 {
		t.Errorf("%d samples are too few", samples)
	}
	const slack = 25 * time.Millisecond // a place in line, and the machine; behind the replay it would be 100 and more
	if got, limit := median(busyDuring), median(busyBefore)+slack; got > limit {
		t.Errorf("an event takes %s to the endpoint that is replayed into, want at most %s", got, limit)
	}
	if got, limit := median(otherDuring), median(otherBefore)+slack; got > limit {
		t.Errorf("an event takes %s to another endpoint, want at most %s", got, limit)
	}
	if got := tenant.AwaitReplay(replay.ID, soon); got.Inserted != events || got.Skipped != 0 {
		t.Errorf("the replay ends as %+v, want %d inserted", got, events)
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 1, Workers: 2})
	tenant, r := sys.Tenant(), newReceiver(t)
	var up atomic.Bool
	e := r.Endpoint(func(w http.ResponseWriter, _ *http.Request, _ *delivery, _ <-chan struct{}) {
		if !up.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	hook := tenant.SubscribeWith(e, webhookInput{Events: []string{"deal.*"}, Retry: &retryPolicy{DelaysSeconds: []int{1}}})
	began := time.Now()
	down := tenant.PublishMany("deal.moved", 8)
	eventually(t, soon, func() error {
		if n := tenant.QueueTotal(hook.ID, "exhausted"); n != len(down) {
			return fmt.Errorf("%d deliveries are exhausted, want %d", n, len(down))
		}
		return nil
	})
	tenant.Publish("message.sent") // nobody's
	tenant.Patch(hook.ID, map[string]any{"retry": map[string]any{"autoRecover": false}})
	up.Store(true)
	fine := tenant.Publish("deal.created")
	e.AwaitEvent(t, fine, 1, soon)
	tenant.AwaitLogs(hook.ID, 2*len(down)+1, soon)

	replay := tenant.AwaitReplay(tenant.Replay(hook.ID, replayInput{Since: began, Status: "failed"}).ID, soon)
	if replay.Inserted != len(down) || replay.Skipped != 1 {
		t.Errorf("the replay is %+v, want %d inserted, and the one that was taken skipped", replay, len(down))
	}
	for _, id := range down {
		e.AwaitEvent(t, id, 3, soon)
	}
	sys.AwaitIdle(soon)
	got := e.Events()
	for _, id := range down {
		if got[id] != 3 {
			t.Errorf("event %s came %d times, want two failed attempts and one that was replayed", id, got[id])
		}
	}
	if got[fine] != 1 || len(got) != len(down)+1 {
		t.Errorf("got %v, want nothing else again", got)
	}
	if n := tenant.QueueTotal(hook.ID, ""); n != 0 {
		t.Errorf("%d deliveries are in the queue after the replay, want none", n)
	}
	var replayed int
	for _, row := range tenant.Logs(hook.ID) {
		if row.Kind == "replay" && row.Success && row.Counted && row.Attempt == 1 {
			replayed++
		}
	}
	if replayed != len(down) {
		t.Errorf("%d attempts are logged as a replay's, want %d", replayed, len(down))
	}

	// Into an endpoint that is newer than the events, with their ids and bodies.
	late := r.Endpoint()
	lateHook := tenant.Subscribe(late, "deal.moved")
	tenant.AwaitReplay(tenant.Replay(lateHook.ID, replayInput{Since: began}).ID, soon)
	late.AwaitEvents(t, len(down), soon)
	sys.AwaitIdle(soon)
	for _, id := range down {
		if came := late.Of(id); len(came) != 1 || string(came[0].Body) != string(e.Of(id)[0].Body) {
			t.Errorf("event %s came %d times to the later endpoint", id, len(came))
		}
	}
	if n := len(late.Events()); n != len(down) {
		t.Errorf("%d events came to the later endpoint, want %d", n, len(down))
	}
}

// TestReplay_Killed kills the worker in the middle of a page, with everything
// written, and after the commit. What another worker goes on with repeats
// nothing and leaves nothing out.
func TestReplay_Killed(t *testing.T) {
	t.Parallel()
	// The first page is the day before's, which is empty.
	for _, at := range []place{{"replay.inserted", 3}, {"replay.commit", 3}, {"replay.committed", 3}} {
		t.Run(at.name, func(t *testing.T) {
			t.Parallel()
			s := impatient
			s.Variant, s.Workers = killable, 1
			sys := start(t, s)
			tenant, r := sys.Tenant(), newReceiver(t)
			const events = 600 // three pages
			began := time.Now()
			tenant.PublishMany("deal.moved", events)
			sys.AwaitIdle(60 * time.Second)
			e := r.Endpoint()
			hook := tenant.Subscribe(e, "*")
			sys.Workers[0].Terminate()
			sys.Workers[0].AwaitExit(exitWithin)

			replay := tenant.Replay(hook.ID, replayInput{Since: began})
			victim := sys.newWorker()
			victim.Launch(fmt.Sprintf("PRIMEZAP_FAILPOINT=%s:%d", at.name, at.hits))
			select {
			case <-victim.Exited():
			case <-time.After(time.Minute):
				t.Fatal("the worker did not come to the place")
			}
			mustHaveDied(t, victim, at, 1)
			// River waits a minute before it takes a killed worker's jobs, and a leader's
			// term before another is elected: that is not what is tested.
			sys.Exec(testenv.Superuser, "UPDATE river_job SET attempted_at = now() - interval '1 hour' WHERE state = 'running'")
			sys.Exec(testenv.Superuser, "DELETE FROM river_leader")
			victim.Launch()
			got := tenant.AwaitReplay(replay.ID, 90*time.Second)
			sys.AwaitIdle(60 * time.Second)
			if got.Inserted != events || got.Skipped != 0 {
				t.Errorf("the replay ends as %+v, want %d inserted", got, events)
			}
			deliveries := sys.Count("SELECT count(DISTINCT delivery_id) FROM webhook_logs WHERE kind = 2")
			if n := sys.Count("SELECT count(DISTINCT event_id) FROM webhook_logs WHERE kind = 2"); n != events || deliveries != events {
				t.Errorf("%d deliveries of %d events were replayed, want one of each of %d", deliveries, n, events)
			}
			if n := len(e.Events()); n != events {
				t.Errorf("the endpoint got %d events, want %d", n, events)
			}
		})
	}
}
