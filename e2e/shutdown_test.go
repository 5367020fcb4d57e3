package e2e

import (
	"testing"
	"time"
)

// TestShutdown stops a worker with attempts in flight: what ends within the
// grace period counts, the rest goes to another worker as if never tried.
func TestShutdown(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		env    []string
		within time.Duration
		slow   bool // an attempt ends within the grace period
	}{
		"while deliveries are leased":                  {within: 10 * time.Second, slow: true}, // grace: the default
		"while events have no entry in the ledger yet": {env: []string{"WORKER_GRACE=100ms"}, within: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sys := start(t, setup{APIs: 1})
			tenant, r := sys.Tenant(), newReceiver(t)
			ending := sys.StartWorker(tc.env...)

			stuck := r.Endpoint(firstAttempts(hang(nil, nil)))
			stuckHook := tenant.Subscribe(stuck, "deal.moved")
			const events = 5
			ids := tenant.PublishMany("deal.moved", events)
			stuck.AwaitEvents(t, events, soon)
			answers := make(chan struct{})
			slow := r.Endpoint(hang(answers, statuses(200)))
			slowHook := tenant.Subscribe(slow, "contact.created")
			if tc.slow {
				tenant.Publish("contact.created")
				slow.Await(t, 1, soon)
			}

			began := time.Now()
			ending.Terminate()
			close(answers)
			sys.StartWorker()
			if code := ending.AwaitExit(exitWithin); code != 0 {
				t.Errorf("%s ended with code %d, want 0", ending.name, code)
			}
			if took := time.Since(began); took > tc.within {
				t.Errorf("%s took %s to end, want at most %s", ending.name, took, tc.within)
			}
			stuck.Await(t, 2*events, soon)
			sys.AwaitIdle(soon)

			for _, id := range ids {
				if n := len(stuck.Of(id)); n != 2 {
					t.Errorf("event %s was attempted %d times, want 2", id, n)
				}
			}
			counted, interrupted := make(map[string]int), make(map[string]int)
			for _, row := range tenant.Logs(stuckHook.ID) {
				switch {
				case row.Success && row.Counted && row.Attempt == 1:
					counted[row.EventID]++
				case row.class() == "interrupted" && !row.Counted && row.Attempt == 1:
					interrupted[row.EventID]++
				default:
					t.Errorf("unexpected log row %+v", row)
				}
			}
			for _, id := range ids {
				if counted[id] != 1 || interrupted[id] != 1 {
					t.Errorf("event %s has %d interrupted attempts and %d successes in the log, want one of each", id, interrupted[id], counted[id])
				}
			}
			if !tc.slow {
				return
			}
			if rows := tenant.Logs(slowHook.ID); len(rows) != 1 || !rows[0].Success || !rows[0].Counted || len(slow.Deliveries()) != 1 {
				t.Errorf("the slow endpoint got %d attempts, logged as %+v; want one success", len(slow.Deliveries()), rows)
			}
		})
	}
}

// A test call to an endpoint that hangs does not hold up a worker that stops: it
// is interrupted with the other attempts, and answered.
func TestShutdown_TestCall(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 1})
	tenant, r := sys.Tenant(), newReceiver(t)
	ending := sys.StartWorker("WORKER_GRACE=100ms")
	stuck := r.Endpoint(hang(nil, nil))
	hook := tenant.Subscribe(stuck, "deal.moved")

	type answer struct {
		Success bool
		Error   struct{ Class string }
	}
	answers := make(chan answer, 1) // sent once, by the goroutine below
	go func() {
		defer close(answers)
		var got answer
		if err := tenant.Do(t.Context(), "POST", "/api/custom-webhooks/"+hook.ID+"/test", nil, 200, &got); err == nil {
			answers <- got
		}
	}()
	stuck.Await(t, 1, soon)
	ending.Terminate()
	if code := ending.AwaitExit(exitWithin); code != 0 {
		t.Errorf("%s ended with code %d, want 0", ending.name, code)
	}
	if got := <-answers; got.Success || got.Error.Class != "interrupted" {
		t.Errorf("the test call was answered %+v, want an interrupted attempt", got)
	}
	if rows := tenant.Logs(hook.ID); len(rows) != 1 || rows[0].Counted || rows[0].Kind != "test" {
		t.Errorf("logged as %+v, want one test call that does not count", rows)
	}
}
