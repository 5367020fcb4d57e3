package e2e

import (
	"maps"
	"slices"
	"testing"
	"time"
)

// TestFilter changes a webhook's filter through one api and publishes through
// another: each event must meet the filter that was answered last.
func TestFilter(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 2, Workers: 2})
	tenant, r := sys.Tenant(), newReceiver(t)
	filtered, control := r.Endpoint(), r.Endpoint()
	hook := tenant.Subscribe(filtered, "deal.*")
	tenant.Subscribe(control, "*")
	want := make(map[string]int)
	for i := range 60 {
		filters := []any{
			map[string]any{"stage.to": "won", "value": map[string]any{"$gt": 1250}},
			map[string]any{"stage.to": map[string]any{"$in": []string{"lost", "open"}}},
			nil,
			map[string]any{"$not": map[string]any{"stage": map[string]any{"from": "proposal"}}},
		}
		passes := []bool{true, false, true, false}
		tenant.Via(sys.APIs[i%2]).Patch(hook.ID, map[string]any{"filter": filters[i%len(filters)]})
		id := tenant.Via(sys.APIs[(i+1)%2]).Publish("deal.moved")
		if passes[i%len(passes)] {
			want[id] = 1
		}
		control.AwaitEvent(t, id, 1, soon) // it is matched: a later filter is none of its business
	}
	sys.AwaitIdle(soon)
	if got := filtered.Events(); !maps.Equal(got, want) {
		t.Errorf("the webhook got %d events, want %d: not each met its filter", len(got), len(want))
	}
}

// TestRate gives a webhook a rate: everything arrives, but never more a second,
// of all workers together, and test calls go beside it. Without the rate, what is
// published goes at once.
func TestRate(t *testing.T) {
	t.Parallel()
	const rate, events = 20, 70
	sys := start(t, setup{APIs: 2, Workers: 2})
	tenant, r := sys.Tenant(), newReceiver(t)
	e := r.Endpoint()
	hook := tenant.Subscribe(e, "*")
	tenant.Publish("deal.moved")
	e.Await(t, 1, soon)
	tenant.Via(sys.APIs[0]).Patch(hook.ID, map[string]any{"rate": map[string]int{"perSecond": rate}})
	ids := tenant.Via(sys.APIs[1]).PublishMany("deal.moved", events)
	for range 3 {
		tenant.call("POST", "/api/custom-webhooks/"+hook.ID+"/test", nil, 200, nil)
	}
	sys.AwaitIdle(soon)
	var arrivals []time.Time
	for _, id := range ids {
		got := e.Of(id)
		if len(got) != 1 {
			t.Fatalf("%d deliveries of event %s, want one", len(got), id)
		}
		arrivals = append(arrivals, got[0].Arrived)
	}
	slices.SortFunc(arrivals, time.Time.Compare)
	// On its way a request may catch up with those before it by a tenth of a second.
	const within = time.Second - 100*time.Millisecond
	for i := range arrivals {
		if i >= rate && arrivals[i].Sub(arrivals[i-rate]) < within {
			t.Errorf("arrivals %d to %d came within %s, at %d a second", i-rate, i, arrivals[i].Sub(arrivals[i-rate]), rate)
			break
		}
	}
	if took := arrivals[len(arrivals)-1].Sub(arrivals[0]); took > 2*events/rate*time.Second {
		t.Errorf("%d deliveries took %s at %d a second", events, took, rate)
	}

	tenant.Via(sys.APIs[1]).Patch(hook.ID, map[string]any{"rate": nil})
	began := time.Now()
	for _, id := range tenant.Via(sys.APIs[0]).PublishMany("deal.moved", 5*rate) {
		e.AwaitEvent(t, id, 1, soon)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("without the rate, five seconds' worth of it took %s", took)
	}
}
