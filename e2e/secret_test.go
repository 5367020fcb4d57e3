package e2e

import (
	"errors"
	"fmt"
	"testing"

	"github.com/primezap/primezap/pkg/webhook"
)

func TestRegenerate(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 1, Workers: 2})
	r := newReceiver(t)

	t.Run("without grace, what waits in the queue is signed with the new secret alone", func(t *testing.T) {
		t.Parallel()
		tenant, e := sys.Tenant().In(t), r.Endpoint(statuses(500, 200))
		hook := tenant.SubscribeWith(e, webhookInput{Events: []string{"*"}, Retry: &retryPolicy{DelaysSeconds: []int{3600}}})
		e.VerifyWith("") // the test does
		id := tenant.Publish("deal.moved")
		if err := e.AwaitEvent(t, id, 1, soon)[0].VerifyAlone(hook.Secret); err != nil {
			t.Fatalf("before: %v", err)
		}
		var rows []queueRow
		eventually(t, soon, func() error {
			if rows = tenant.Queue(hook.ID); len(rows) != 1 || rows[0].State != "retrying" {
				return fmt.Errorf("the queue has %+v, want one delivery to be retried", rows)
			}
			return nil
		})
		secret := tenant.Regenerate(hook.ID, 0)
		tenant.RetryNow(hook.ID, rows[0].ID)
		if err := e.AwaitEvent(t, id, 2, soon)[1].VerifyAlone(secret); err != nil {
			t.Errorf("the retry: %v", err)
		}
	})

	t.Run("in the grace both sign, and of an older secret nothing is left", func(t *testing.T) {
		t.Parallel()
		tenant, e := sys.Tenant().In(t), r.Endpoint()
		hook := tenant.SubscribeWith(e, webhookInput{Events: []string{"*"}})
		e.VerifyWith("") // the test does
		second := tenant.Regenerate(hook.ID, 3600)
		third := tenant.Regenerate(hook.ID, 3600)
		d := e.AwaitEvent(t, tenant.Publish("deal.moved"), 1, soon)[0]
		if err := d.Verify(third); err != nil {
			t.Errorf("with the new secret: %v", err)
		}
		for secret, want := range map[string]error{second: nil, hook.Secret: webhook.ErrSignature} {
			if err := webhook.Verify(d.Header, d.Body, secret, d.Arrived, webhook.DefaultTolerance); !errors.Is(err, want) {
				t.Errorf("with an older secret: %v, want %v", err, want)
			}
		}
	})

	t.Run("after the grace the old one signs no more, though nothing has changed", func(t *testing.T) {
		t.Parallel()
		tenant, e := sys.Tenant().In(t), r.Endpoint()
		hook := tenant.SubscribeWith(e, webhookInput{Events: []string{"*"}})
		e.VerifyWith("") // the test does
		secret := tenant.Regenerate(hook.ID, 1)
		eventually(t, soon, func() error {
			return e.AwaitEvent(t, tenant.Publish("deal.moved"), 1, soon)[0].VerifyAlone(secret)
		})
	})
}
