package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/event"
)

func TestNewPlan(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name              string
		tenants, webhooks int
		fits              bool
	}{
		{name: "one tenant has a webhook for each type", tenants: 1, webhooks: 13, fits: true},
		{name: "a further one would share a type", tenants: 1, webhooks: 14},
		{name: "every tenant has at least one", tenants: 3, webhooks: 2},
		{name: "an uneven spread is as good", tenants: 3, webhooks: 38, fits: true},
		{name: "there is a tenant", tenants: 0, webhooks: 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if _, err := newPlan(tc.tenants, tc.webhooks); (err == nil) != tc.fits {
				t.Errorf("newPlan(%d, %d): %v", tc.tenants, tc.webhooks, err)
			}
		})
	}
}

func TestPlan_Subscription(t *testing.T) {
	t.Parallel()
	t.Run("no two webhooks of a tenant subscribe to one type", func(t *testing.T) {
		t.Parallel()
		p, err := newPlan(3, 38)
		if err != nil {
			t.Fatal(err)
		}
		type place struct {
			tenant uuid.UUID
			event  event.Type
		}
		taken := map[place]bool{}
		for i := range p.Webhooks {
			tenant, subscription := p.subscription(i)
			if at := (place{tenant, subscription}); taken[at] {
				t.Errorf("webhook %d: %v is taken", i, at)
			} else {
				taken[at] = true
			}
		}
	})
}

func TestPlan_Append(t *testing.T) {
	t.Parallel()
	p, err := newPlan(3, 38)
	if err != nil {
		t.Fatal(err)
	}
	for n := range int64(2 * p.Webhooks) {
		n += 100_000
		var published struct {
			Event    event.Type
			TenantID string
			Data     json.RawMessage
		}
		if err := json.Unmarshal(p.append(nil, n), &published); err != nil {
			t.Fatalf("event %d: %v", n, err)
		}
		tenant, subscription := p.subscription(int(n) % p.Webhooks)
		if published.TenantID == "" {
			published.TenantID = p.Tenants[0].String() // the key's own
		}
		if published.Event != subscription || published.TenantID != tenant.String() {
			t.Errorf("event %d is %s of %s, want %s of %s", n, published.Event, published.TenantID, subscription, tenant)
		}
		body, err := event.Body(published.Event, time.Now(), published.Data)
		if err != nil {
			t.Fatalf("event %d: %v", n, err)
		}
		if faults := event.Validate(published.Event, body); faults != nil {
			t.Errorf("the API refuses a %s: %v", published.Event, faults)
		}
		if number(body, dataMark) != n {
			t.Errorf("the body of event %d has number %d", n, number(body, dataMark))
		}
		if len(body) < 1000 || len(body) > 1500 {
			t.Errorf("the body of a %s has %d bytes, want %d or as many as its example has", published.Event, len(body), bodyBytes)
		}
	}
}

func TestPlan_Delivered(t *testing.T) {
	t.Parallel()
	t.Run("what the raw client sends looks like what the worker sends", func(t *testing.T) {
		t.Parallel()
		p, err := newPlan(1, 10)
		if err != nil {
			t.Fatal(err)
		}
		raw := p.delivered(7)
		var got struct{ Data json.RawMessage }
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		body, err := event.Body(p.types[7].name, time.Now(), got.Data)
		if err != nil {
			t.Fatal(err)
		}
		if number(raw, dataMark) != 7 || len(raw) < len(body)-8 || len(raw) > len(body)+8 {
			t.Errorf("raw body number %d of %d bytes, a delivered one has %d", number(raw, dataMark), len(raw), len(body))
		}
	})
}

func TestNumber(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]int64{
		`{"event":"x","data":{"n":42,"a":1}}`: 42,
		`{"event":"x","data":{"n":7}}`:        7,
		`{"event":"x","data":{"a":1}}`:        0,
		`{"event":"x","data":{"n":12`:         0, // more digits may have followed
		``:                                    0,
	} {
		if got := number([]byte(body), dataMark); got != want {
			t.Errorf("number(%s) = %d, want %d", body, got, want)
		}
	}
}
