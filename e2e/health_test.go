package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
)

// switchable answers with the status that it is set to.
type switchable struct{ status atomic.Int64 }

func switchedTo(status int) *switchable {
	s := &switchable{}
	s.set(status)
	return s
}

func (s *switchable) set(status int) { s.status.Store(int64(status)) }

func (s *switchable) answer(w http.ResponseWriter, _ *http.Request, _ *delivery, _ <-chan struct{}) {
	w.WriteHeader(int(s.status.Load()))
}

// health is what the API shows of a webhook that was disabled.
type health struct {
	Active         bool    `json:"active"`
	DisabledAt     *string `json:"disabledAt"`
	DisabledReason *string `json:"disabledReason"`
}

func (c *client) health(id string) (h health) {
	c.t.Helper()
	c.call(http.MethodGet, "/api/custom-webhooks/"+id, nil, http.StatusOK, &h)
	return h
}

// awaitExhausted waits until all of a webhook's deliveries in the queue are
// exhausted, and there are n.
func (c *client) awaitExhausted(id string, n int) {
	c.t.Helper()
	eventually(c.t, soon, func() error {
		if exhausted, all := c.QueueTotal(id, "exhausted"), c.QueueTotal(id, ""); exhausted != n || all != n {
			return fmt.Errorf("%d of %d deliveries are exhausted, want %d", exhausted, all, n)
		}
		return nil
	})
}

func TestHealth(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 1, Workers: 2, Variant: fast})
	r := newReceiver(t)

	t.Run("an endpoint that is gone is disabled at once, and comes back when it is enabled", func(t *testing.T) {
		t.Parallel()
		tenant, does := sys.Tenant().In(t), switchedTo(http.StatusGone)
		e, watcher, bystander := r.Endpoint(does.answer), r.Endpoint(), r.Endpoint()
		hook := tenant.SubscribeWith(e, webhookInput{Events: []string{"*"}, Retry: &retryPolicy{DelaysSeconds: []int{1, 1}}})
		tenant.SubscribeWith(watcher, webhookInput{Events: []string{"webhook.*"}, Operational: true})
		tenant.Subscribe(bystander, "*")

		var test struct{ Status *int }
		tenant.call(http.MethodPost, "/api/custom-webhooks/"+hook.ID+"/test", nil, http.StatusOK, &test)
		if test.Status == nil || *test.Status != http.StatusGone {
			t.Fatalf("the test call was answered with %v", test.Status)
		}
		id := tenant.Publish("deal.moved")
		told := watcher.Await(t, 1, soon)[0]
		var body struct {
			Event string
			Data  struct {
				Webhook struct{ ID, URL string }
				Reason  string
			}
		}
		if err := json.Unmarshal(told.Body, &body); err != nil || body.Event != "webhook.disabled" || body.Data.Webhook.ID != hook.ID ||
			body.Data.Webhook.URL != e.URL || body.Data.Reason != "gone" {
			t.Errorf("told %s, %v", told.Body, err)
		}
		if h := tenant.health(hook.ID); h.Active || h.DisabledAt == nil || h.DisabledReason == nil || *h.DisabledReason != "gone" {
			t.Errorf("it is shown as %+v, want it disabled because it is gone", h)
		}
		tenant.awaitExhausted(hook.ID, 1)
		missed := tenant.Publish("deal.moved") // by an inactive webhook
		bystander.AwaitEvent(t, missed, 1, soon)

		does.set(http.StatusOK)
		tenant.call(http.MethodPost, "/api/custom-webhooks/"+hook.ID+"/enable", nil, http.StatusOK, nil)
		tenant.Publish("deal.moved")
		e.AwaitEvent(t, id, 2, soon) // what was exhausted is recovered
		eventually(t, soon, func() error {
			if n := tenant.QueueTotal(hook.ID, ""); n > 0 {
				return fmt.Errorf("%d deliveries in the queue, want none", n)
			}
			return nil
		})
		if n := len(e.Of(missed)); n > 0 {
			t.Errorf("an event that was published while it was inactive came %d times", n)
		}
		if n := len(e.Of(id)); n != 2 {
			t.Errorf("the event of the 410 came %d times, want once, and once more after the recovery", n)
		}
		if n := len(watcher.Deliveries()); n != 1 {
			t.Errorf("the watcher was told %d things, want 1", n)
		}
		for _, d := range bystander.Deliveries() {
			if err := json.Unmarshal(d.Body, &body); err != nil || body.Event != "deal.moved" {
				t.Errorf("a webhook that is not operational got %s", d.Body)
			}
		}
	})

	t.Run("an endpoint that is down for longer than its schedule loses nothing, and gets each event once more", func(t *testing.T) {
		t.Parallel()
		tenant, does := sys.Tenant().In(t), switchedTo(http.StatusServiceUnavailable)
		e, left := r.Endpoint(does.answer), r.Endpoint(does.answer)
		input := webhookInput{Events: []string{"deal.*"}, Retry: &retryPolicy{DelaysSeconds: []int{1}}}
		hook := tenant.SubscribeWith(e, input)
		input.Retry = &retryPolicy{DelaysSeconds: []int{1}, AutoRecover: new(false)}
		unwilling := tenant.SubscribeWith(left, input)
		const events = 8 // so few that no breaker opens
		ids := tenant.PublishMany("deal.moved", events)
		for _, id := range []string{hook.ID, unwilling.ID} {
			tenant.awaitExhausted(id, events)
		}

		does.set(http.StatusNoContent)
		up := tenant.Publish("deal.created")
		for _, id := range ids {
			e.AwaitEvent(t, id, 3, soon)
		}
		// From here on nothing can come a second time.
		eventually(t, soon, func() error {
			recovering := sys.Count("SELECT count(*) FROM webhook_health WHERE webhook_id = ANY($1) AND recover_at IS NOT NULL", []string{hook.ID, unwilling.ID})
			if queued := tenant.QueueTotal(hook.ID, ""); recovering > 0 || queued > 0 {
				return fmt.Errorf("%d webhooks recover, %d deliveries are in the queue, want none", recovering, queued)
			}
			return nil
		})
		for _, id := range ids {
			if n := len(e.Of(id)); n != 3 {
				t.Errorf("event %s came %d times, want twice in vain and once more", id, n)
			}
			if n := len(left.Of(id)); n != 2 {
				t.Errorf("event %s came %d times to the webhook that recovers nothing, want twice in vain", id, n)
			}
		}
		if n, m := len(e.Of(up)), len(left.Of(up)); n != 1 || m != 1 {
			t.Errorf("the first event after it came up came %d and %d times, want once", n, m)
		}
		if n := tenant.QueueTotal(unwilling.ID, "exhausted"); n != events {
			t.Errorf("the webhook that recovers nothing has %d exhausted deliveries, want %d", n, events)
		}
	})
}
