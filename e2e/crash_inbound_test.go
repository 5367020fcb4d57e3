package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/meta"
)

// TestInbound_Crash kills the api at every step of taking what Meta posts, and a
// worker while it relays what was raised. Meta repeats the post: everything is
// stored once, and each event is delivered under one id.
func TestInbound_Crash(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		api, worker place
	}{
		{api: place{"inbound.begun", 1}},     // nothing is read
		{api: place{"inbound.written", 1}},   // nothing is committed
		{api: place{"inbound.committed", 1}}, // all is, and Meta was not told
		{worker: place{"bus.acknowledged", 2}},
	} {
		t.Run(tc.api.name+tc.worker.name, func(t *testing.T) {
			t.Parallel()
			sys := start(t, setup{APIs: 1, Workers: 1, APIEnv: []string{"META_APP_SECRETS=" + appSecret}})
			tenant := sys.Tenant()
			e := newReceiver(t).Endpoint()
			tenant.Subscribe(e, "*")
			if _, err := sys.database.Exec(t.Context(), "INSERT INTO connections (id, tenant_id, channel, name, external_id) VALUES ($1, $2, 'whatsapp', 'n', '800001')",
				uuid.Must(uuid.NewV7()), tenant.tenant); err != nil {
				t.Fatal(err)
			}
			body := postOfMessages(4)

			api, worker := sys.APIs[0], sys.Workers[0]
			if tc.api.name != "" {
				api.Kill()
				api.Launch(fmt.Sprintf("PRIMEZAP_FAILPOINT=%s:%d", tc.api.name, tc.api.hits))
				api.AwaitReady()
				sys.awaitReadiness(api)
				if status, err := postToMeta(t, urlOf(api), body); err == nil {
					t.Fatalf("the api was to die before it answered, and said %d", status)
				}
				mustHaveDied(t, api, tc.api, 1)
				api.Start()
				sys.awaitReadiness(api)
			} else {
				worker.Kill()
				worker.Launch(fmt.Sprintf("PRIMEZAP_FAILPOINT=%s:%d", tc.worker.name, tc.worker.hits))
				worker.AwaitReady()
			}
			for range 2 {
				if status, err := postToMeta(t, urlOf(api), body); err != nil || status != http.StatusOK {
					t.Fatalf("answered %d, %v", status, err)
				}
			}
			if tc.worker.name != "" {
				mustHaveDied(t, worker, tc.worker, 1)
				worker.Start()
			}
			eventually(t, soon, func() error {
				var waiting int
				err := sys.database.QueryRow(t.Context(), "SELECT count(*) FROM outbox").Scan(&waiting)
				if err == nil && waiting > 0 {
					err = fmt.Errorf("%d events wait to be relayed", waiting)
				}
				return err
			})
			sys.AwaitIdle(soon)

			for table, want := range map[string]int{"contacts": 2, "conversations": 2, "messages": 4} {
				var got int
				if err := sys.database.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&got); err != nil || got != want {
					t.Errorf("%d rows in %s, %v; want %d", got, table, err, want)
				}
			}
			types := map[string]int{}
			ids := map[string]bool{}
			for _, d := range e.Deliveries() {
				if !ids[d.ID] {
					ids[d.ID] = true
					types[d.Header.Get("X-Webhook-Event")]++
				}
			}
			want := map[string]int{"contact.created": 2, "conversation.created": 2, "conversation.updated": 2, "message.received": 4}
			if !maps.Equal(types, want) {
				t.Errorf("delivered %v, want %v", types, want)
			}
			for id, n := range e.Events() {
				if n != 1 && tc.worker.name == "" {
					t.Errorf("event %s was delivered %d times", id, n)
				}
			}
		})
	}
}

// postOfMessages is a post of n messages, by two people in turn.
func postOfMessages(n int) []byte {
	var messages []string
	for i := range n {
		messages = append(messages, fmt.Sprintf(`{"from":"551190000000%d","id":"wamid.%d","timestamp":"%d","type":"text","text":{"body":"%d"}}`, i%2, i, 1763942300+i, i))
	}
	return fmt.Appendf(nil, `{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{
		"metadata":{"phone_number_id":"800001"},"messages":[%s]}}]}]}`, strings.Join(messages, ","))
}

// postToMeta posts a signed body to the address that Meta has.
func postToMeta(t *testing.T, base string, body []byte) (status int, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/webhooks/meta", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(meta.SignatureHeader, meta.Sign(appSecret, body))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
