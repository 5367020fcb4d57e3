package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/primezap/primezap/pkg/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// request is one that the API got.
type request struct {
	At     time.Time
	Header http.Header
	Path   string
	Body   string
	Events []struct {
		Event, Timestamp, ID, TenantID string
		Data                           json.RawMessage
	}
}

// unruly is the API on a bad day: it answers each request as told, and remembers
// all. It takes requests directly, without a network, where there is a fake clock.
type unruly struct {
	answer func(n int, r request) (*http.Response, error) // the n-th request, from 1

	mu  sync.Mutex
	got []request
}

func (u *unruly) RoundTrip(r *http.Request) (*http.Response, error) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	got := request{At: time.Now(), Header: r.Header, Path: r.URL.RequestURI(), Body: string(text)}
	if err := json.Unmarshal(text, &got.Events); err != nil && !bytes.Contains(text, []byte("unreadable")) {
		return nil, err
	}
	u.mu.Lock()
	u.got = append(u.got, got)
	n := len(u.got)
	u.mu.Unlock()
	resp, err := u.answer(n, got)
	if resp == nil && err == nil {
		<-r.Context().Done()
		err = r.Context().Err()
	}
	return resp, err
}

func (u *unruly) requests() []request {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.got)
}

var errCut = errors.New("the connection was cut")

func respond(status int, contentType, body string, header ...string) *http.Response {
	resp := &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(strings.NewReader(body)),
	}
	for i := 0; i < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

func refuse(status int, header ...string) *http.Response {
	return respond(status, "application/problem+json",
		fmt.Sprintf(`{"type":"about:blank","title":%q,"status":%d,"detail":"as told","requestId":"r-1"}`, http.StatusText(status), status), header...)
}

// accept accepts the events whose numbers are not refused with a status.
func accept(r request, refused map[int]int) *http.Response {
	var results []string
	status := http.StatusAccepted
	for i, event := range r.Events {
		if code := refused[i]; code != 0 {
			status = http.StatusMultiStatus
			results = append(results, fmt.Sprintf(`{"status":%d,"error":{"type":"about:blank","title":"No","status":%d,"detail":"/%d/data: as told",`+
				`"errors":[{"pointer":"/%d/data","detail":"as told"}]}}`, code, code, i, i))
			continue
		}
		results = append(results, fmt.Sprintf(`{"status":202,"id":%q}`, "id-of-"+string(event.Data)))
	}
	return respond(status, "application/json", `{"data":[`+strings.Join(results, ",")+`]}`)
}

func acceptAll(_ int, r request) (*http.Response, error) { return accept(r, nil), nil }

// open starts a client of the API and closes it when the test ends.
func open(t *testing.T, api http.RoundTripper, change func(*client.Config)) *client.Client {
	t.Helper()
	cfg := client.Config{URL: "http://api.test/base", APIKey: "pz_test", HTTPClient: &http.Client{Transport: api}}
	if change != nil {
		change(&cfg)
	}
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return c
}

// number is an event that can be told from others; its id will be id-of-n.
func number(n int) client.Event { return client.Event{Type: "deal.moved", Data: n} }

func numbers(from, to int) (events []client.Event) {
	for n := from; n < to; n++ {
		events = append(events, number(n))
	}
	return events
}

func wantID(t *testing.T, n int, id string, err error) {
	t.Helper()
	if want := "id-of-" + strconv.Itoa(n); err != nil || id != want {
		t.Errorf("event %d: %q, %v; want %s", n, id, err, want)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		cfg   client.Config
		fault string
	}{
		{"there is no default URL", client.Config{APIKey: "pz_1"}, "URL must be"},
		{"the URL has a host", client.Config{URL: "https:///api", APIKey: "pz_1"}, "URL must be"},
		{"the URL is one of HTTP", client.Config{URL: "nats://host", APIKey: "pz_1"}, "URL must be"},
		{"the URL has no query", client.Config{URL: "https://host?strict=false", APIKey: "pz_1"}, "URL must be"},
		{"there is no default key", client.Config{URL: "https://host"}, "APIKey is required"},
		{"a batch is no larger than the API takes", client.Config{URL: "https://host", APIKey: "pz_1", BatchSize: 501}, "BatchSize must be 1 to 500"},
		{"all faults are named", client.Config{URL: "https://host", MaxPending: -1}, "APIKey is required\nclient: MaxPending must be positive"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, err := client.New(tc.cfg)
			if err == nil {
				_ = c.Close(t.Context())
				t.Fatal("there is no error")
			}
			if !strings.Contains(err.Error(), tc.fault) {
				t.Errorf("error %q, want %q", err, tc.fault)
			}
		})
	}
}

func TestClient_Publish(t *testing.T) {
	t.Parallel()

	t.Run("a request is what the API documents", func(t *testing.T) {
		t.Parallel()
		api := &unruly{answer: acceptAll}
		c := open(t, api, func(cfg *client.Config) { cfg.TenantID, cfg.SkipSchemas = "tenant-1", true })
		_, err := c.Publish(t.Context(), client.Event{
			Type: "deal.moved", ID: "d-1", TenantID: "tenant-2", Data: json.RawMessage(`{"a": "<&>", "big": 1.0}`),
			Timestamp: time.Date(2025, 10, 20, 9, 0, 0, 5e8, time.FixedZone("", -3*60*60)),
		})
		if err != nil {
			t.Fatal(err)
		}
		r := api.requests()[0]
		if want := `[{"event":"deal.moved","data":{"a":"<&>","big":1.0},"timestamp":"2025-10-20T12:00:00.5Z","id":"d-1","tenantId":"tenant-2"}]`; r.Body != want {
			t.Errorf("body %s, want %s", r.Body, want)
		}
		if r.Path != "/base/api/events?strict=false" || r.Header.Get("Authorization") != "Bearer pz_test" || r.Header.Get("X-Tenant-Id") != "tenant-1" ||
			r.Header.Get("Content-Type") != "application/json" || len(r.Header.Get("Idempotency-Key")) < 20 {
			t.Errorf("%s with headers %v", r.Path, r.Header)
		}
	})

	t.Run("events of many goroutines share requests", func(t *testing.T) {
		t.Parallel()
		api := &unruly{answer: acceptAll}
		c := open(t, api, func(cfg *client.Config) { cfg.Linger = time.Hour }) // only full batches go
		var all sync.WaitGroup
		for n := range 300 {
			all.Go(func() {
				id, err := c.Publish(t.Context(), number(n))
				wantID(t, n, id, err)
			})
		}
		all.Wait()
		keys := make(map[string]bool)
		for _, r := range api.requests() {
			keys[r.Header.Get("Idempotency-Key")] = true
			if len(r.Events) != 100 {
				t.Errorf("a request holds %d events, want 100", len(r.Events))
			}
		}
		if len(keys) != 3 {
			t.Errorf("%d keys, want 3", len(keys))
		}
	})

	t.Run("an event waits for others no longer than told, and is as old as its call", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			api, began := &unruly{answer: acceptAll}, time.Now()
			c := open(t, api, nil)
			var all sync.WaitGroup
			for n := range 3 {
				all.Go(func() {
					id, err := c.Publish(t.Context(), number(n))
					wantID(t, n, id, err)
				})
				time.Sleep(3 * time.Millisecond) // the third comes when the first two have gone
			}
			all.Wait()
			got := api.requests()
			if len(got) != 2 || len(got[0].Events) != 2 || got[0].At.Sub(began) != 5*time.Millisecond || got[1].At.Sub(began) != 11*time.Millisecond {
				t.Fatalf("requests %+v, want one of two events after 5 ms and one more after 11 ms", got)
			}
			if at, want := got[0].Events[1].Timestamp, began.Add(3*time.Millisecond).UTC().Format(time.RFC3339Nano); at != want {
				t.Errorf("the second event is of %s, want %s", at, want)
			}
		})
	})

	t.Run("a request is no longer than the API takes", func(t *testing.T) {
		t.Parallel()
		api := &unruly{answer: func(_ int, r request) (*http.Response, error) {
			return respond(202, "application/json", `{"data":[`+strings.Repeat(`{"status":202,"id":"x"},`, len(r.Events)-1)+`{"status":202,"id":"x"}]}`), nil
		}}
		c := open(t, api, func(cfg *client.Config) { cfg.Linger = 50 * time.Millisecond })
		large := client.Event{Type: "deal.moved", Data: strings.Repeat("x", 250<<10)}
		for i, result := range c.PublishAll(t.Context(), slices.Repeat([]client.Event{large}, 10)) {
			if result.Err != nil {
				t.Errorf("event %d: %v", i, result.Err)
			}
		}
		for _, r := range api.requests() {
			if len(r.Body) > 1<<20 {
				t.Errorf("a request of %d bytes", len(r.Body))
			}
		}
		_, err := c.Publish(t.Context(), client.Event{Type: "deal.moved", Data: strings.Repeat("x", 1<<20)})
		if !errors.Is(err, client.ErrTooLarge) {
			t.Errorf("an event of more than 1 MiB: %v, want %v", err, client.ErrTooLarge)
		}
	})

	t.Run("more events than there is room for", func(t *testing.T) {
		t.Parallel()
		api := &unruly{answer: acceptAll}
		c := open(t, api, func(cfg *client.Config) { cfg.MaxPending, cfg.BatchSize = 5, 3 })
		for n, result := range c.PublishAll(t.Context(), numbers(0, 50)) {
			wantID(t, n, result.ID, result.Err)
		}
	})

	t.Run("what cannot be encoded is refused at once", func(t *testing.T) {
		t.Parallel()
		api := &unruly{answer: acceptAll}
		c := open(t, api, nil)
		for _, data := range []any{json.RawMessage(`{"a":`), func() {}} {
			if id, err := c.Publish(t.Context(), client.Event{Type: "deal.moved", Data: data}); err == nil {
				t.Errorf("%v was accepted as %s", data, id)
			}
		}
		if n := len(api.requests()); n != 0 {
			t.Errorf("%d requests", n)
		}
	})

	t.Run("a refused event is refused alone", func(t *testing.T) {
		t.Parallel()
		api := &unruly{answer: func(_ int, r request) (*http.Response, error) { return accept(r, map[int]int{1: 422}), nil }}
		c := open(t, api, func(cfg *client.Config) { cfg.Linger = time.Hour; cfg.BatchSize = 3 })
		for n, result := range c.PublishAll(t.Context(), numbers(0, 3)) {
			if n != 1 {
				wantID(t, n, result.ID, result.Err)
				continue
			}
			p, ok := errors.AsType[*client.Problem](result.Err)
			if !ok || p.Status != 422 || len(p.Errors) != 1 || p.Errors[0].Pointer != "/data" || p.Detail != "/data: as told" || errors.Is(result.Err, client.ErrUnknown) {
				t.Errorf("event 1: %v", result.Err)
			}
		}
		if n := len(api.requests()); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})

	t.Run("an event that makes a request unreadable is refused alone", func(t *testing.T) {
		t.Parallel()
		api := &unruly{answer: func(_ int, r request) (*http.Response, error) {
			if strings.Contains(r.Body, "unreadable") {
				return refuse(400), nil
			}
			return accept(r, nil), nil
		}}
		c := open(t, api, func(cfg *client.Config) { cfg.Linger = time.Hour; cfg.BatchSize = 10 })
		events := numbers(0, 10)
		events[6].Data = "unreadable"
		for n, result := range c.PublishAll(t.Context(), events) {
			if n != 6 {
				wantID(t, n, result.ID, result.Err)
			} else if p, ok := errors.AsType[*client.Problem](result.Err); !ok || p.Status != 400 || p.RequestID != "r-1" {
				t.Errorf("the unreadable event: %v", result.Err)
			}
		}
	})

	t.Run("a refusal of all is nobody's to try again", func(t *testing.T) {
		t.Parallel()
		for _, status := range []int{301, 401, 403, 404, 501} {
			api := &unruly{answer: func(int, request) (*http.Response, error) {
				return refuse(status, "Location", "http://elsewhere.test/"), nil
			}}
			c := open(t, api, func(cfg *client.Config) {
				cfg.HTTPClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			})
			for _, result := range c.PublishAll(t.Context(), numbers(0, 2)) {
				if p, ok := errors.AsType[*client.Problem](result.Err); !ok || p.Status != status || errors.Is(result.Err, client.ErrUnknown) {
					t.Errorf("status %d: %v", status, result.Err)
				}
			}
			if err := c.Close(t.Context()); err != nil || len(api.requests()) > 2 {
				t.Errorf("status %d: %d requests, closed with %v", status, len(api.requests()), err)
			}
		}
	})
}

func TestClient_Publish_Repeats(t *testing.T) {
	t.Parallel()

	// same fails unless all requests are one, repeated.
	same := func(t *testing.T, requests []request, n int) {
		t.Helper()
		if len(requests) != n {
			t.Fatalf("%d requests, want %d", len(requests), n)
		}
		for i, r := range requests {
			if r.Body != requests[0].Body || r.Header.Get("Idempotency-Key") != requests[0].Header.Get("Idempotency-Key") {
				t.Errorf("request %d is another than the first", i+1)
			}
		}
	}

	t.Run("whatever may pass leads to the same request again", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			api := &unruly{answer: func(n int, r request) (*http.Response, error) {
				switch n {
				case 1:
					return nil, errCut
				case 2, 3, 4, 5, 6:
					return refuse([]int{429, 500, 502, 503, 504}[n-2]), nil
				case 7:
					return respond(202, "application/json", `{"data":[{"status":202,`), nil // cut off
				case 8:
					return respond(202, "application/json", `{"data":[]}`), nil
				case 9:
					return nil, nil // never: its time runs out
				}
				return accept(r, nil), nil
			}}
			c := open(t, api, func(cfg *client.Config) { cfg.GiveUpAfter = 5 * time.Minute })
			id, err := c.Publish(t.Context(), number(7))
			wantID(t, 7, id, err)
			same(t, api.requests(), 10)
		})
	})

	t.Run("events that could not be stored are sent again with the others, which keep their ids", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			api := &unruly{answer: func(n int, r request) (*http.Response, error) {
				switch n {
				case 1:
					return accept(r, map[int]int{0: 503, 1: 422, 2: 503}), nil
				case 2:
					return refuse(503), nil // those accepted before stay accepted
				case 3:
					return accept(r, map[int]int{0: 503, 1: 422}), nil
				}
				return accept(r, map[int]int{1: 422}), nil
			}}
			c := open(t, api, nil)
			results := c.PublishAll(t.Context(), numbers(0, 4))
			for _, n := range []int{0, 2, 3} {
				wantID(t, n, results[n].ID, results[n].Err)
			}
			if p, ok := errors.AsType[*client.Problem](results[1].Err); !ok || p.Status != 422 {
				t.Errorf("event 1: %v, want its refusal", results[1].Err)
			}
			same(t, api.requests(), 4)
		})
	})

	t.Run("not before the API asked for", func(t *testing.T) {
		t.Parallel()
		for name, after := range map[string]func() string{
			"in seconds": func() string { return "7" },
			"as a date":  func() string { return time.Now().Add(7 * time.Second).UTC().Format(http.TimeFormat) },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					api := &unruly{answer: func(n int, r request) (*http.Response, error) {
						if n == 1 {
							return refuse(429, "Retry-After", after()), nil
						}
						return accept(r, nil), nil
					}}
					c := open(t, api, nil)
					id, err := c.Publish(t.Context(), number(1))
					wantID(t, 1, id, err)
					got := api.requests()
					if wait := got[1].At.Sub(got[0].At); wait < 6*time.Second || wait > 8*time.Second { // a date has no milliseconds
						t.Errorf("came again after %s, want 7 s", wait)
					}
				})
			})
		}
	})

	t.Run("until the time for it is over", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			api := &unruly{answer: func(_ int, r request) (*http.Response, error) { return accept(r, map[int]int{0: 503}), nil }}
			c := open(t, api, nil)
			began := time.Now()
			results := c.PublishAll(t.Context(), numbers(0, 2))
			took := time.Since(began)
			if p, ok := errors.AsType[*client.Problem](results[0].Err); !errors.Is(results[0].Err, client.ErrUnknown) || !ok || p.Status != 503 {
				t.Errorf("the event that could not be stored: %v", results[0].Err)
			}
			wantID(t, 1, results[1].ID, results[1].Err)
			if n := len(api.requests()); took < 50*time.Second || took > time.Minute || n > 30 {
				t.Errorf("gave up after %s and %d requests", took, n)
			}
		})
	})
}

func TestClient_Publish_BackPressure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		api := &unruly{answer: func(_ int, r request) (*http.Response, error) {
			<-hold
			return accept(r, nil), nil
		}}
		c := open(t, api, func(cfg *client.Config) { cfg.MaxPending, cfg.BatchSize, cfg.MaxRequests = 5, 2, 2 })
		var all sync.WaitGroup
		for n := range 6 { // 4 under way, one waits, and the last finds no room
			all.Go(func() {
				id, err := c.Publish(t.Context(), number(n))
				wantID(t, n, id, err)
			})
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Publish(ctx, number(6)); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, client.ErrUnknown) {
			t.Errorf("an event without room: %v, want its context's error alone", err)
		}
		close(hold)
		all.Wait()
		sent := 0
		for _, r := range api.requests() {
			sent += len(r.Events)
		}
		if sent != 6 {
			t.Errorf("%d events were sent, want 6", sent)
		}
	})
}

func TestClient_Publish_ContextEnds(t *testing.T) {
	t.Parallel()

	t.Run("an event that still waits is not sent", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			api := &unruly{answer: acceptAll}
			c := open(t, api, func(cfg *client.Config) { cfg.Linger, cfg.MaxPending = time.Hour, 1 })
			for range 3 { // its room is free again each time
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				if _, err := c.Publish(ctx, number(0)); err != ctx.Err() { //nolint:errorlint // this very one, not one that wraps it
					t.Errorf("%v, want %v", err, ctx.Err())
				}
				cancel()
			}
			ended, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := c.Publish(ended, number(0)); !errors.Is(err, context.Canceled) {
				t.Errorf("with a context that has ended: %v", err)
			}
			var last sync.WaitGroup
			last.Go(func() {
				id, err := c.Publish(t.Context(), number(1)) // has room
				wantID(t, 1, id, err)
			})
			synctest.Wait()
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
			last.Wait()
			if got := api.requests(); len(got) != 1 || len(got[0].Events) != 1 {
				t.Errorf("sent %+v, want the last event alone", got)
			}
		})
	})

	t.Run("of an event under way nothing is known", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			hold := make(chan struct{})
			api := &unruly{answer: func(_ int, r request) (*http.Response, error) {
				<-hold
				return accept(r, nil), nil
			}}
			c := open(t, api, nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := c.Publish(ctx, number(0)); !errors.Is(err, client.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v, want that it is not known, for lack of time", err)
			}
			close(hold)
		})
	})
}

func TestClient_Close(t *testing.T) {
	t.Parallel()

	t.Run("what waits is sent first", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			api := &unruly{answer: acceptAll}
			c := open(t, api, func(cfg *client.Config) { cfg.Linger, cfg.BatchSize = time.Hour, 2 })
			var all sync.WaitGroup
			for n := range 3 {
				all.Go(func() {
					id, err := c.Publish(t.Context(), number(n))
					wantID(t, n, id, err)
				})
			}
			synctest.Wait()
			began := time.Now()
			if err := c.Close(t.Context()); err != nil || time.Since(began) != 0 {
				t.Errorf("closed after %s with %v", time.Since(began), err)
			}
			all.Wait()
			if _, err := c.Publish(t.Context(), number(3)); !errors.Is(err, client.ErrClosed) {
				t.Errorf("after the end: %v, want %v", err, client.ErrClosed)
			}
		})
	})

	t.Run("when its context ends it breaks requests off", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			api := &unruly{answer: func(int, request) (*http.Response, error) { return nil, nil }} // hangs
			c := open(t, api, func(cfg *client.Config) { cfg.BatchSize, cfg.MaxRequests, cfg.MaxPending = 1, 1, 2 })
			var wg sync.WaitGroup
			errs := make([]error, 3)
			for n := range errs { // under way, waiting, and without room
				wg.Go(func() { _, errs[n] = c.Publish(t.Context(), number(n)) })
				synctest.Wait()
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := c.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("closed with %v", err)
			}
			wg.Wait()
			for n, want := range []error{client.ErrUnknown, client.ErrClosed, client.ErrClosed} {
				if !errors.Is(errs[n], want) {
					t.Errorf("event %d: %v, want %v", n, errs[n], want)
				}
			}
			if err := c.Close(t.Context()); err != nil {
				t.Errorf("closed again with %v", err)
			}
		})
	})

	t.Run("amid calls every event is either sent or not", func(t *testing.T) {
		t.Parallel()
		for range 50 {
			api := &unruly{answer: acceptAll}
			c := open(t, api, func(cfg *client.Config) { cfg.Linger, cfg.BatchSize, cfg.MaxPending = time.Microsecond, 3, 4 })
			var calls sync.WaitGroup
			var accepted atomic.Int64
			for n := range 20 {
				calls.Go(func() {
					for i := range 10 {
						id, err := c.Publish(t.Context(), number(100*n+i))
						if errors.Is(err, client.ErrClosed) {
							return
						}
						wantID(t, 100*n+i, id, err)
						accepted.Add(1)
					}
				})
			}
			if err := c.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			calls.Wait()
			sent := 0
			for _, r := range api.requests() {
				sent += len(r.Events)
			}
			if int64(sent) != accepted.Load() {
				t.Fatalf("%d events were sent, %d calls say so", sent, accepted.Load())
			}
		}
	})
}

// A real connection that is cut after the API has read the request, and one that
// is cut within the answer.
func TestClient_Publish_CutConnection(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	keys := make(map[string]int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		keys[r.Header.Get("Idempotency-Key")+string(text)]++
		times := keys[r.Header.Get("Idempotency-Key")+string(text)]
		mu.Unlock()
		if times <= 2 {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			if times == 2 {
				_, _ = io.WriteString(conn, "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"data\":[")
			}
			_ = conn.Close()
			return
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, `{"data":[{"status":202,"id":"id-of-1"}]}`)
	}))
	t.Cleanup(server.Close)
	c := open(t, nil, func(cfg *client.Config) { cfg.URL, cfg.HTTPClient = server.URL, nil })
	id, err := c.Publish(t.Context(), number(1))
	wantID(t, 1, id, err)
	if len(keys) != 1 {
		t.Errorf("%d different requests, want one, repeated", len(keys))
	}
}
