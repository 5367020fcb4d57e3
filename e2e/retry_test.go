package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"
)

// maxLate is how late an attempt may be in a lane that is not backlogged.
const maxLate = 500 * time.Millisecond

// TestRetry measures times, so it shares the machine with nobody. Its parts
// share the waiting.
func TestRetry(t *testing.T) {
	sys := start(t, setup{APIs: 1, Workers: 2, Variant: fast})
	r := newReceiver(t)

	t.Run("an endpoint that fails three times is tried after 1, 5 and 15 s", func(t *testing.T) {
		t.Parallel()
		tenant, e := sys.Tenant().In(t), r.Endpoint(statuses(500, 503, 404, 200))
		hook := tenant.Subscribe(e, "deal.moved")
		id := tenant.Publish("deal.moved")
		got := e.AwaitEvent(t, id, 4, 30*time.Second)
		checkDelays(t, got, time.Second, 5*time.Second, 15*time.Second)

		rows := tenant.AwaitLogs(hook.ID, 4, soon)
		slices.Reverse(rows)
		for i, want := range []int{500, 503, 404, 200} {
			row := rows[i]
			if row.Status == nil || *row.Status != want || row.Attempt != i+1 || !row.Counted || row.Success != (want == 200) ||
				row.EventID != id || row.DeliveryID != rows[0].DeliveryID || (row.class() == "") != row.Success {
				t.Errorf("log row %d is %+v, want attempt %d with status %d of one delivery, counted", i, row, i+1, want)
			}
		}
		eventually(t, soon, func() error {
			if rows := tenant.Queue(hook.ID); len(rows) > 0 {
				return fmt.Errorf("the queue has %+v, want nothing", rows)
			}
			return nil
		})
		if n := len(tenant.Logs(hook.ID)); n != 4 || len(e.Of(id)) != 4 {
			t.Errorf("%d attempts and %d log rows in the end, want 4 of each", len(e.Of(id)), n)
		}
	})

	t.Run("an endpoint that fails for good leaves an exhausted delivery, and retry now works", func(t *testing.T) {
		t.Parallel()
		tenant, e := sys.Tenant().In(t), r.Endpoint(statuses(500, 500, 500, 502, 200))
		hook := tenant.SubscribeWith(e, webhookInput{Events: []string{"deal.*"}, Retry: &retryPolicy{DelaysSeconds: []int{1, 1, 1}}})
		id := tenant.Publish("deal.created")
		checkDelays(t, e.AwaitEvent(t, id, 4, 15*time.Second), time.Second, time.Second, time.Second)

		var row queueRow
		eventually(t, soon, func() error {
			rows := tenant.Queue(hook.ID)
			if len(rows) != 1 || rows[0].State != "exhausted" {
				return fmt.Errorf("the queue has %+v, want one exhausted delivery", rows)
			}
			row = rows[0]
			return nil
		})
		if row.EventID != id || row.LastStatus == nil || *row.LastStatus != 502 || row.LastError == nil || row.NextAttemptAt != nil {
			t.Errorf("the exhausted delivery is %+v", row)
		}
		if n := tenant.QueueTotal(hook.ID, "exhausted"); n != 1 {
			t.Errorf("the queue lists %d exhausted deliveries, want 1", n)
		}

		asked := time.Now()
		tenant.RetryNow(hook.ID, row.ID)
		last := e.AwaitEvent(t, id, 5, soon)[4]
		if late := last.Arrived.Sub(asked); late > maxLate {
			t.Errorf("retried %s after it was asked for, want at most %s", late, maxLate)
		}
		rows := tenant.AwaitLogs(hook.ID, 5, soon)
		if newest := rows[0]; newest.Attempt != 5 || !newest.Success || !newest.Counted || newest.DeliveryID != row.ID {
			t.Errorf("the retry is logged as %+v, want attempt 5 of delivery %s, a success", newest, row.ID)
		}
		if n := tenant.QueueTotal(hook.ID, ""); n != 0 {
			t.Errorf("%d deliveries in the queue after the success, want none", n)
		}
	})

	t.Run("a longer Retry-After wins over the schedule", func(t *testing.T) {
		t.Parallel()
		tenant := sys.Tenant().In(t)
		e := r.Endpoint(firstAttempts(func(w http.ResponseWriter, _ *http.Request, _ *delivery, _ <-chan struct{}) {
			w.Header().Set("Retry-After", "3")
			w.WriteHeader(http.StatusTooManyRequests)
		}))
		tenant.Subscribe(e, "*")
		id := tenant.Publish("message.sent")
		checkDelays(t, e.AwaitEvent(t, id, 2, soon), 3*time.Second)
	})

	t.Run("an answer that does not come is a failure after the timeout", func(t *testing.T) {
		t.Parallel()
		sys := start(t, setup{APIs: 1, Workers: 1, Variant: fast, WorkerEnv: []string{"WORKER_ATTEMPT_TIMEOUT=2s", "WORKER_LEASE=7s"}})
		tenant, r := sys.Tenant(), newReceiver(t)
		e := r.Endpoint(firstAttempts(hang(nil, nil)))
		hook := tenant.Subscribe(e, "*")
		id := tenant.Publish("message.sent")
		got := e.AwaitEvent(t, id, 2, soon)
		checkDelays(t, got, time.Second)
		if took := got[0].Ended.Sub(got[0].Arrived); took < 1900*time.Millisecond || took > 2*time.Second+maxLate {
			t.Errorf("the first attempt was given up after %s, want 2 s", took)
		}
		rows := tenant.AwaitLogs(hook.ID, 2, soon)
		if first := rows[1]; first.class() != "timeout" || first.Status != nil || !first.Counted || first.Attempt != 1 {
			t.Errorf("the first attempt is logged as %+v, want a timeout without status", first)
		}
	})
}

// checkDelays checks that attempts at one event were neither early nor late,
// from the end of one to the start of the next, and told themselves apart by
// nothing but their time.
func checkDelays(t *testing.T, attempts []delivery, delays ...time.Duration) {
	t.Helper()
	if len(attempts) != len(delays)+1 {
		t.Errorf("%d attempts, want %d", len(attempts), len(delays)+1)
	}
	for i, delay := range delays[:min(len(delays), len(attempts)-1)] {
		before, after := attempts[i], attempts[i+1]
		waited := after.Arrived.Sub(before.Ended)
		if waited < delay || waited > delay+maxLate {
			t.Errorf("attempt %d came %s after the end of the one before, want %s to %s", i+2, waited, delay, delay+maxLate)
		}
		if before.ID != after.ID || string(before.Body) != string(after.Body) {
			t.Errorf("attempts %d and %d at one event differ in id or body", i+1, i+2)
		}
		if !after.Timestamp().After(before.Timestamp()) {
			t.Errorf("webhook-timestamp of attempt %d is %s, want one after %s", i+2, after.Timestamp(), before.Timestamp())
		}
		t.Logf("attempt %d: %s after %s", i+2, waited-delay, delay)
	}
}
