package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// TestIsolation_HangingEndpoint measures times, so it shares the machine with
// nobody.
func TestIsolation_HangingEndpoint(t *testing.T) {
	sys := start(t, setup{APIs: 1, Workers: 1, Variant: fast})
	tenant, r := sys.Tenant(), newReceiver(t)
	release := make(chan struct{})
	sick, healthy := r.Endpoint(hang(release, statuses(200))), r.Endpoint()
	sickHook := tenant.Subscribe(sick, "*")
	healthyHook := tenant.Subscribe(healthy, "*")

	const events = 5000
	began := time.Now()
	published := tenant.PublishMany("message.received", events)
	healthy.AwaitEvents(t, events, 25*time.Second) // the sick one's first attempts have not ended
	t.Logf("the healthy endpoint got all in %s", time.Since(began).Round(time.Millisecond))
	if n := len(sick.Deliveries()); n > 32 {
		t.Errorf("%d attempts at the hanging endpoint at once, want at most 32", n)
	}
	eventually(t, soon, func() error {
		if s, h := tenant.QueueTotal(sickHook.ID, ""), tenant.QueueTotal(healthyHook.ID, ""); s != events || h != 0 {
			return fmt.Errorf("%d deliveries of the sick endpoint and %d of the healthy one are in the queue, want %d and none", s, h, events)
		}
		return nil
	})

	close(release)
	began = time.Now()
	sick.AwaitEvents(t, events, 60*time.Second)
	t.Logf("the sick endpoint got all %s after it recovered", time.Since(began).Round(time.Millisecond))
	sys.AwaitIdle(soon)
	for name, e := range map[string]*endpoint{"healthy": healthy, "sick": sick} {
		got := e.Events()
		for _, id := range published {
			if got[id] != 1 {
				t.Fatalf("the %s endpoint got event %s %d times, want once", name, id, got[id])
			}
		}
	}
}

// TestIsolation_BusyTenant measures times, so it shares the machine with nobody.
func TestIsolation_BusyTenant(t *testing.T) {
	sys := start(t, setup{APIs: 1, Workers: 1, Variant: fast})
	busy, quiet := sys.Tenant(), sys.Tenant()
	r := newReceiver(t)
	busyEndpoint, quietEndpoint := r.Endpoint(), r.Endpoint()
	busy.Subscribe(busyEndpoint, "*")
	quiet.Subscribe(quietEndpoint, "*")
	quietEndpoint.AwaitEvent(t, quiet.Publish("deal.moved"), 1, soon) // connections are made

	const events, limit = 20_000, time.Second
	type burst struct {
		ids []string
		err error
	}
	done := make(chan burst, 1)
	go func(ctx context.Context) { // received from below
		ids, err := busy.publishMany(ctx, "deal.moved", events)
		done <- burst{ids, err}
	}(t.Context())

	var worst time.Duration
	check := func() {
		t.Helper()
		began := time.Now()
		id := quiet.Publish("deal.moved")
		took := quietEndpoint.AwaitEvent(t, id, 1, soon)[0].Arrived.Sub(began)
		if worst = max(worst, took); took > limit {
			t.Errorf("the quiet tenant's event took %s while %d of the busy one's were delivered, want at most %s", took, len(busyEndpoint.Events()), limit)
		}
	}
	var ids []string
	for arrived := 500; len(busyEndpoint.Events()) < events && !t.Failed(); arrived += 500 {
		select {
		case b := <-done:
			if b.err != nil {
				t.Fatal(b.err)
			}
			ids = b.ids
			t.Logf("the burst was published when %d had arrived", len(busyEndpoint.Events()))
		default:
		}
		check()
		busyEndpoint.AwaitEvents(t, min(arrived, events), 60*time.Second)
	}
	if ids == nil {
		b := <-done
		if ids = b.ids; b.err != nil {
			t.Fatal(b.err)
		}
	}
	t.Logf("the quiet tenant's slowest event took %s", worst)
	sys.AwaitIdle(soon)
	got := busyEndpoint.Events()
	for _, id := range ids {
		if got[id] != 1 {
			t.Fatalf("event %s of the busy tenant came %d times, want once", id, got[id])
		}
	}
}
