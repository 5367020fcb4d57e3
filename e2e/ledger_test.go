package e2e

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/primezap/primezap/pkg/testenv"
)

// TestLedger_OddAnswers has what Postgres would refuse in the same commits as
// what it takes.
func TestLedger_OddAnswers(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 1, Workers: 1})
	tenant, r := sys.Tenant(), newReceiver(t)
	odd := map[string]answer{
		"NUL bytes and broken UTF-8": oddly("X-Odd: a\xff\x80b", "ok\x00\x00\xff\xfe\xc3\x28\xe2\x82end!"),
		"a character cut at 4 KiB":   oddly("X-Odd: €", strings.Repeat("a", 4095)+"€"),
		"nothing but NUL bytes":      oddly("X-Odd: ", "\x00\x00\x00\x00"),
		"surrogates and backslashes": oddly(`X-Odd: \u0000`, `{"a":"\u0000`+"\xed\xa0\xbd\"}"),
	}
	kept := map[string]string{ // a part of what is stored, at least
		"NUL bytes and broken UTF-8": "ok\uFFFD", "a character cut at 4 KiB": "aaaa", "surrogates and backslashes": `{"a":"\u0000`,
	}
	plain := r.Endpoint()
	plainHook := tenant.Subscribe(plain, "*")
	hooks := make(map[string]webhookInfo)
	for name, answer := range odd {
		hooks[name] = tenant.Subscribe(r.Endpoint(answer), "*")
	}
	const events = 40
	tenant.PublishMany("deal.moved", events)
	sys.AwaitIdle(soon)

	if rows := tenant.Logs(plainHook.ID); len(rows) != events {
		t.Errorf("the webhook with plain answers has %d log rows, want %d", len(rows), events)
	}
	for name, hook := range hooks {
		rows := tenant.Logs(hook.ID)
		if len(rows) != events {
			t.Errorf("%s: %d log rows, want %d", name, len(rows), events)
		}
		for _, row := range rows {
			if !row.Success || !row.Counted {
				t.Fatalf("%s: a log row is %+v, want a success", name, row)
			}
			body := ""
			if row.ResponseBody != nil {
				body = *row.ResponseBody
			}
			if !utf8.ValidString(body) || strings.ContainsRune(body, 0) || len(body) > 4096 || !strings.Contains(body, kept[name]) {
				t.Fatalf("%s: the answer is kept as %q, want %q", name, body, kept[name])
			}
		}
	}
}

// oddly answers 200 with a header line and a body as they are. It says that it
// closes the connection: other attempts may be about to use it.
func oddly(header, body string) answer {
	return raw(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\n%s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", header, len(body), body))
}

// TestLedger_DeletedInFlight deletes webhooks while attempts at them are made,
// before and after the delivery has a row in the queue.
func TestLedger_DeletedInFlight(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 1, Workers: 1})
	tenant, r := sys.Tenant(), newReceiver(t)
	plain := r.Endpoint()
	plainHook := tenant.Subscribe(plain, "*")

	for name, tc := range map[string]struct {
		leased bool // the entry is made, and the delivery has a row
		status int
	}{
		"before the entry, a success": {status: 200},
		"before the entry, a failure": {status: 500},
		"with a lease, a success":     {leased: true, status: 200},
		"with a lease, a failure":     {leased: true, status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			tenant := tenant.In(t)
			release := make(chan struct{})
			e := r.Endpoint(hang(release, statuses(tc.status)))
			hook := tenant.Subscribe(e, "deal.moved")
			id := tenant.Publish("deal.moved")
			e.Await(t, 1, soon)
			if tc.leased {
				eventually(t, soon, func() error {
					if rows := tenant.Queue(hook.ID); len(rows) != 1 || rows[0].State != "inFlight" {
						return fmt.Errorf("the queue has %+v, want one delivery in flight", rows)
					}
					return nil
				})
			}
			tenant.Delete(hook.ID)
			others := append(tenant.PublishMany("contact.created", 20), id)
			close(release)
			sys.AwaitIdle(soon)

			for _, other := range others {
				if n := len(plain.Of(other)); n != 1 {
					t.Errorf("the other webhook got event %s %d times, want once", other, n)
				}
			}
			// The API shows no log of what is deleted.
			if n := sys.Count("SELECT count(*) FROM webhook_logs WHERE webhook_id = $1 AND status = $2", hook.ID, tc.status); n != 1 {
				t.Errorf("%d log rows of the deleted webhook's attempt, want 1", n)
			}
			if n := sys.Count("SELECT count(*) FROM webhook_queue WHERE webhook_id = $1", hook.ID); n != 0 {
				t.Errorf("%d rows of the deleted webhook in the queue, want none", n)
			}
			if n := len(e.Deliveries()); n != 1 {
				t.Errorf("%d attempts at the deleted webhook, want the one that was in flight", n)
			}
		})
	}
	if rows, got := tenant.Logs(plainHook.ID), plain.Deliveries(); len(rows) != len(got) {
		t.Errorf("%d log rows of the other webhook's %d deliveries", len(rows), len(got))
	}
}

// TestLedger_MissingPartition drops the day's logs while deliveries are made.
func TestLedger_MissingPartition(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 1, Workers: 2})
	tenant, r := sys.Tenant(), newReceiver(t)
	good := r.Endpoint()
	bad := r.Endpoint(firstAttempts(func(w http.ResponseWriter, _ *http.Request, d *delivery, _ <-chan struct{}) {
		if d.ID[len(d.ID)-1] < '8' { // half of them: its breaker must not open
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	hook := tenant.Subscribe(good, "*")
	tenant.SubscribeWith(bad, webhookInput{Events: []string{"*"}, Retry: &retryPolicy{DelaysSeconds: []int{1}}})

	// A fleet that starts looks after its partitions: it must not do so later and
	// mend what we break.
	eventually(t, soon, func() error {
		if sys.Count("SELECT count(*) FROM river_job WHERE kind = 'partitions' AND state = 'completed'") == 0 {
			return errors.New("the job that makes partitions has not run")
		}
		return nil
	})
	before := tenant.PublishMany("deal.moved", 200)
	good.AwaitEvents(t, 50, soon)
	sys.Exec(testenv.Owner, "DROP TABLE webhook_logs_"+time.Now().UTC().Format("20060102"))
	after := tenant.PublishMany("deal.created", 200)
	sys.AwaitIdle(soon)

	want := make(map[string]int)
	for _, id := range slices.Concat(before, after) {
		want[id] = 1
	}
	if got := good.Events(); !maps.Equal(got, want) {
		t.Errorf("%d events arrived, some perhaps more than once; want %d, once each", len(got), len(want))
	}
	if got := bad.Events(); len(got) != len(want) {
		t.Errorf("%d events arrived at the endpoint that failed at first, want %d", len(got), len(want))
	}
	logged := make(map[string]int)
	for _, row := range tenant.Logs(hook.ID) {
		if row.Event == "deal.created" && row.Success && *row.Status == http.StatusOK {
			logged[row.EventID]++
		}
	}
	for _, id := range after {
		if logged[id] != 1 {
			t.Fatalf("event %s, published after the drop, has %d log rows, want 1", id, logged[id])
		}
	}
}
