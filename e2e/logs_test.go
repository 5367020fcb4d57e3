package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/webhook"
)

// TestLogs_EveryErrorClass provokes each class of errors that the contract names,
// through all of the system, and reads it in the log.
func TestLogs_EveryErrorClass(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{
		APIs: 1, Workers: 1,
		// The API takes an address that workers refuse, as a name's may become one.
		APIEnv:    []string{"WEBHOOK_ALLOW_CIDRS=127.0.0.0/8,10.0.0.0/8"},
		WorkerEnv: []string{"WORKER_ATTEMPT_TIMEOUT=3s", "WORKER_LEASE=8s", "WORKER_GRACE=500ms"},
	})
	tenant, r := sys.Tenant(), newReceiver(t)
	plain := strings.TrimPrefix(r.server.URL, "http://")
	at := func(status int, header string) answer {
		return func(w http.ResponseWriter, _ *http.Request, _ *delivery, _ <-chan struct{}) {
			w.Header().Set("Location", header)
			w.WriteHeader(status)
		}
	}
	never := make(chan struct{})
	for class, url := range map[string]string{
		"dns":      "http://no-such-host.invalid/",
		"refused":  "http://" + closedPort(t) + "/",
		"blocked":  "http://10.1.2.3/",
		"tls":      "https://" + plain + "/",
		"timeout":  r.Endpoint(hang(never, statuses(200))).URL,
		"reset":    r.Endpoint(raw(nil)).URL,
		"status":   r.Endpoint(statuses(404)).URL,
		"redirect": r.Endpoint(at(302, r.server.URL)).URL,
		"body":     r.Endpoint(raw([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"))).URL,
	} {
		t.Run(class, func(t *testing.T) {
			tenant := tenant.In(t)
			hook := tenant.Create(webhookInput{URL: url, Events: []string{"deal.moved"}, Retry: &retryPolicy{DelaysSeconds: []int{}}})
			tenant.Publish("deal.moved")
			row := tenant.AwaitLogs(hook.ID, 1, soon)[0]
			if row.class() != class || row.Error.Message == "" || row.Success || !row.Counted {
				t.Errorf("logged as %+v with %+v, want a failure of class %s", row, row.Error, class)
			}
			if answered := class == "status" || class == "redirect" || class == "body"; (row.Status != nil) != answered {
				t.Errorf("status %v, want one: %t", row.Status, answered)
			}
			tenant.Delete(hook.ID)
		})
	}

	t.Run("interrupted", func(t *testing.T) {
		tenant, e := tenant.In(t), r.Endpoint(firstAttempts(hang(never, statuses(200))))
		hook := tenant.Subscribe(e, "deal.created")
		id := tenant.Publish("deal.created")
		e.AwaitEvent(t, id, 1, soon)
		sys.Workers[0].Terminate()
		sys.Workers[0].AwaitExit(exitWithin)
		sys.Workers[0].Start()
		rows := tenant.AwaitLogs(hook.ID, 2, soon)
		if first := rows[len(rows)-1]; first.class() != "interrupted" || first.Counted || first.Success {
			t.Errorf("logged as %+v, want class interrupted, not counted", first)
		}
		if !rows[0].Success || rows[0].Attempt != 1 {
			t.Errorf("then logged as %+v, want a success at the first attempt that counts", rows[0])
		}
	})

	t.Run("body_lost", func(t *testing.T) {
		tenant := tenant.In(t)
		e := r.Endpoint(statuses(500))
		hook := tenant.SubscribeWith(e, webhookInput{Events: []string{"contact.created"}, Retry: &retryPolicy{DelaysSeconds: []int{3600}}})
		e.AwaitEvent(t, tenant.Publish("contact.created"), 1, soon)
		var rows []queueRow
		eventually(t, soon, func() error {
			if rows = tenant.Queue(hook.ID); len(rows) != 1 || rows[0].State != "retrying" {
				return fmt.Errorf("the queue has %+v, want one delivery to be retried", rows)
			}
			return nil
		})
		stream, err := sys.js.Stream(t.Context(), bus.StreamEvents)
		if err == nil {
			err = stream.Purge(t.Context()) // as if its disk were gone
		}
		if err != nil {
			t.Fatal(err)
		}
		tenant.RetryNow(hook.ID, rows[0].ID)
		row := tenant.AwaitLogs(hook.ID, 2, soon)[0]
		if row.class() != "body_lost" || !row.Counted || row.Status != nil || len(e.Deliveries()) != 1 {
			t.Errorf("logged as %+v, want class body_lost and nothing sent", row)
		}
	})
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// TestLogs_ShowsWhatWasSent reads the log of an attempt that succeeded: every field
// has its value, the signature is shown, and neither the secret nor a value of the
// customer's own headers is.
func TestLogs_ShowsWhatWasSent(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 1, Workers: 1})
	tenant := sys.Tenant()
	got := make(chan http.Header, 1)
	r := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		got <- req.Header
		w.Header().Set("X-Answer", "yes")
		_, _ = w.Write([]byte("thanks"))
	}))
	t.Cleanup(r.Close)
	hook := tenant.Create(webhookInput{
		URL: strings.Replace(r.URL, "127.0.0.1", "localhost", 1), Events: []string{"*"},
		Headers: map[string]string{"Authorization": "Bearer s3cret-token", "X-Own": "s3cret-too"},
	})
	id := tenant.Publish("deal.moved")
	sent := <-got
	tenant.AwaitLogs(hook.ID, 1, soon)
	var page page[json.RawMessage]
	tenant.call(http.MethodGet, "/api/custom-webhooks/"+hook.ID+"/logs", nil, http.StatusOK, &page)
	whole := string(page.Data[0])
	for _, hidden := range []string{"s3cret", hook.Secret, strings.TrimPrefix(hook.Secret, webhook.SecretPrefix)} {
		if strings.Contains(whole, hidden) {
			t.Errorf("the log has %q in it: %s", hidden, whole)
		}
	}
	var row struct {
		logRow
		WebhookID       string
		DurationMs      *int
		Timing          map[string]*int
		Request         struct{ Headers map[string]string }
		ResponseHeaders map[string]string
	}
	if err := json.Unmarshal(page.Data[0], &row); err != nil {
		t.Fatal(err)
	}
	if row.ID == "" || row.WebhookID != hook.ID || row.DeliveryID == "" || row.EventID != id || row.Event != "deal.moved" || row.Attempt != 1 ||
		row.Kind != "delivery" || !row.Counted || !row.Success || row.Status == nil || *row.Status != 200 || row.DurationMs == nil ||
		row.ResponseBody == nil || *row.ResponseBody != "thanks" || row.Error != nil || row.CreatedAt.IsZero() || row.ResponseHeaders["X-Answer"] != "yes" {
		t.Errorf("the log row is %s", whole)
	}
	for _, phase := range []string{"dnsMs", "connectMs", "firstByteMs"} {
		if row.Timing[phase] == nil {
			t.Errorf("the attempt over a new connection to a name has no %s: %s", phase, whole)
		}
	}
	if tls, ok := row.Timing["tlsMs"]; tls != nil || !ok {
		t.Errorf("the attempt without TLS has tlsMs %v", tls)
	}
	masked := []string{"Authorization", "X-Own"}
	for name := range row.Request.Headers {
		want := sent.Get(name)
		if slices.Contains(masked, name) {
			want = "••••"
		}
		if row.Request.Headers[name] != want {
			t.Errorf("header %s is logged as %q, want %q", name, row.Request.Headers[name], want)
		}
	}
	for name := range sent {
		logged := slices.ContainsFunc([]string{"Content-Length"}, func(own string) bool { return own == name })
		for header := range row.Request.Headers {
			logged = logged || http.CanonicalHeaderKey(header) == name
		}
		if !logged {
			t.Errorf("header %s was sent, and is not logged", name)
		}
	}
	if signature := row.Request.Headers["webhook-signature"]; signature == "" || signature != sent.Get(webhook.HeaderSignature) {
		t.Errorf("the signature is logged as %q", signature)
	}
}
