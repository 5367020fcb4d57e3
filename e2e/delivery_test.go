package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/webhook"
)

// soon is what a test waits for something that takes milliseconds. It is shorter
// than a lease: nothing here may depend on one running out.
const soon = 30 * time.Second

func TestDelivery_ReachesSubscribersOnce(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 1, Workers: 2})
	r := newReceiver(t)
	ours, theirs := sys.Tenant(), sys.Tenant()

	type subscriber struct {
		tenant *client
		hook   webhookInput
		wants  []string // of the types below
	}
	inactive := false
	types := []string{"deal.moved", "deal.created", "message.received", "contact.updated"}
	subscribers := map[string]*subscriber{
		"exact type":                {tenant: ours, hook: webhookInput{Events: []string{"deal.moved"}}, wants: types[:1]},
		"two types":                 {tenant: ours, hook: webhookInput{Events: []string{"message.received", "deal.created"}}, wants: types[1:3]},
		"prefix":                    {tenant: ours, hook: webhookInput{Events: []string{"deal.*"}}, wants: types[:2]},
		"all":                       {tenant: ours, hook: webhookInput{Events: []string{"*"}}, wants: types},
		"overlapping subscriptions": {tenant: ours, hook: webhookInput{Events: []string{"deal.moved", "deal.*", "*"}}, wants: types},
		"other types":               {tenant: ours, hook: webhookInput{Events: []string{"broadcast.completed", "lead.*"}}},
		"inactive":                  {tenant: ours, hook: webhookInput{Events: []string{"*"}, Active: &inactive}},
		"of another tenant":         {tenant: theirs, hook: webhookInput{Events: []string{"*", "deal.*", "deal.moved"}}},
	}
	endpoints := make(map[string]*endpoint)
	for name, s := range subscribers {
		endpoints[name] = r.Endpoint()
		s.tenant.SubscribeWith(endpoints[name], s.hook)
	}
	published := make(map[string]string) // types by id
	for _, eventType := range types {
		for range 5 {
			published[ours.Publish(eventType)] = eventType
		}
	}
	for _, id := range ours.PublishMany("deal.moved", 50) {
		published[id] = "deal.moved"
	}
	unseen := theirs.Publish("deal.moved")
	sys.AwaitIdle(soon)

	for name, s := range subscribers {
		want := make(map[string]int)
		for id, eventType := range published {
			if s.tenant == ours && slices.Contains(s.wants, eventType) {
				want[id] = 1
			}
		}
		if s.tenant == theirs {
			want[unseen] = 1
		}
		if got := endpoints[name].Events(); !maps.Equal(got, want) {
			t.Errorf("the endpoint %q got %v, want each of %v", name, got, want)
		}
		for _, d := range endpoints[name].Deliveries() {
			if eventType := d.Header.Get(webhook.HeaderEvent); s.tenant == ours && eventType != published[d.ID] {
				t.Errorf("the endpoint %q got event %s as %s, it is %s", name, d.ID, eventType, published[d.ID])
			}
		}
	}
}

func TestDelivery_IsAsTheContractSays(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 1, Workers: 1})
	r := newReceiver(t)
	tenant := sys.Tenant()

	for name, secret := range map[string]string{
		"with a generated secret":    "",
		"with a secret of one's own": "correct horse battery staple",
	} {
		t.Run(name, func(t *testing.T) {
			tenant := tenant.In(t)
			e := r.Endpoint()
			hook := tenant.SubscribeWith(e, webhookInput{
				Events: []string{"deal.moved"}, Secret: secret, Headers: map[string]string{"X-Api-Token": "s3cret", "x-lower": "yes"},
			})
			defer tenant.Delete(hook.ID)
			if secret == "" && !strings.HasPrefix(hook.Secret, webhook.SecretPrefix) || secret != "" && hook.Secret != secret {
				t.Fatalf("the webhook's secret is %q", hook.Secret)
			}
			in := eventInput{
				Event: "deal.moved", ID: "evt_" + strconv.Itoa(len(secret)), Timestamp: "2025-10-20T09:00:00-03:00",
				Data: []byte(`{"b":1.0, "10":"x","a":"\u003c\u2028","2":[1e21,-0,null],"b":{"big":"9007199254740993","half":"\uD83D"}}`),
			}
			want := `{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{"2":[1e+21,0,null],"10":"x",` +
				`"b":{"big":"9007199254740993","half":"\ud83d"},"a":"<` + "\u2028" + `"}}`
			const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
			before := time.Now().Truncate(time.Second)
			err := tenant.DoWith(t.Context(), http.Header{"Traceparent": {"00-" + trace + "-00f067aa0ba902b7-01"}},
				http.MethodPost, eventsPath, in, http.StatusAccepted, nil)
			if err != nil {
				t.Fatal(err)
			}
			d := e.AwaitEvent(t, in.ID, 1, soon)[0]

			if string(d.Body) != want {
				t.Errorf("body\n%s, want\n%s", d.Body, want)
			}
			if at := d.Timestamp(); at.Before(before) || at.After(time.Now()) {
				t.Errorf("webhook-timestamp is %s, want between %s and now", at, before)
			}
			for header, pattern := range map[string]string{
				"Content-Type":        `application/json`,
				"User-Agent":          `PrimeZap-Webhook/1\.0`,
				"X-Webhook-Event":     `deal\.moved`,
				"X-Webhook-Signature": `[0-9a-f]{64}`,
				"Webhook-Id":          in.ID,
				"Webhook-Timestamp":   `\d{10}`,
				"Webhook-Signature":   `v1,[A-Za-z0-9+/]{43}=`,
				"Traceparent":         `00-` + trace + `-[0-9a-f]{16}-01`,
				"X-Api-Token":         `s3cret`,
				"X-Lower":             `yes`,
				"Content-Length":      strconv.Itoa(len(want)),
			} {
				values := d.Header.Values(header)
				if len(values) != 1 || !regexp.MustCompile(`^(?:`+pattern+`)$`).MatchString(values[0]) {
					t.Errorf("header %s is %q, want one value like %s", header, values, pattern)
				}
				delete(d.Header, header)
			}
			if len(d.Header) > 0 {
				t.Errorf("headers nobody asked for: %s", fmt.Sprint(d.Header))
			}
		})
	}
}
