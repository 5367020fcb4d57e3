package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/webhook"
)

// receiver is a customer's server. It records what it gets and verifies both
// signatures on arrival; a signature that does not match fails the test.
type receiver struct {
	t      testing.TB
	server *httptest.Server
	quit   chan struct{} // closed when the test ends: answers must not outlast it

	mu        sync.Mutex
	endpoints map[string]*endpoint
	changed   chan struct{} // closed, and replaced, when something was recorded
}

// newReceiver starts a server that ends with t.
func newReceiver(t testing.TB) *receiver {
	r := &receiver{t: t, quit: make(chan struct{}), endpoints: make(map[string]*endpoint), changed: make(chan struct{})}
	r.server = httptest.NewServer(r)
	t.Cleanup(func() {
		close(r.quit)
		r.server.CloseClientConnections() // of workers that are gone or hang
		r.server.Close()
	})
	return r
}

// endpoint is one path of a receiver.
type endpoint struct {
	URL string

	receiver *receiver
	answer   answer

	// Guarded by the receiver's lock:
	secret     string // verified against, unless empty
	deliveries []*delivery
	byID       map[string][]*delivery
}

// delivery is one request that an endpoint got.
type delivery struct {
	ID      string // webhook-id
	Attempt int    // at this endpoint, with this id: from 1
	Header  http.Header
	Body    []byte
	Arrived time.Time
	Ended   time.Time // when it was answered; zero before
}

// Verify checks both signatures of the delivery as of its arrival.
func (d *delivery) Verify(secret string) error {
	if err := webhook.Verify(d.Header, d.Body, secret, d.Arrived, webhook.DefaultTolerance); err != nil {
		return err
	}
	return webhook.VerifyHex(d.Header, d.Body, secret)
}

// VerifyAlone is Verify, and no other secret may have signed beside this one.
func (d *delivery) VerifyAlone(secret string) error {
	if n := len(strings.Fields(d.Header.Get(webhook.HeaderSignature))); n != 1 {
		return fmt.Errorf("%d secrets signed, want one", n)
	}
	return d.Verify(secret)
}

// Timestamp is the time of the attempt as its sender saw it, to the second.
func (d *delivery) Timestamp() time.Time {
	seconds, _ := strconv.ParseInt(d.Header.Get(webhook.HeaderTimestamp), 10, 64) // unreadable is long ago
	return time.Unix(seconds, 0)
}

// answer answers a delivery, whose body was read. done is closed when the test
// ends.
type answer func(w http.ResponseWriter, r *http.Request, d *delivery, done <-chan struct{})

// statuses answers the first attempt at each event with the first status, and
// so on; the last one is for all further attempts.
func statuses(codes ...int) answer {
	return func(w http.ResponseWriter, _ *http.Request, d *delivery, _ <-chan struct{}) {
		w.WriteHeader(codes[min(d.Attempt, len(codes))-1])
	}
}

// hang answers nothing until release is closed, or the sender gives up; then it
// goes on as then says.
func hang(release <-chan struct{}, then answer) answer {
	return func(w http.ResponseWriter, r *http.Request, d *delivery, done <-chan struct{}) {
		select {
		case <-release:
			then(w, r, d, done)
		case <-r.Context().Done():
		case <-done:
		}
	}
}

// firstAttempts answers the first attempt at each event as first says, the
// others with 200.
func firstAttempts(first answer) answer {
	return func(w http.ResponseWriter, r *http.Request, d *delivery, done <-chan struct{}) {
		if d.Attempt == 1 {
			first(w, r, d, done)
		}
	}
}

// raw writes response, which should say so, as it is and closes the connection.
func raw(response []byte) answer {
	return func(w http.ResponseWriter, _ *http.Request, _ *delivery, _ <-chan struct{}) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return // the sender gave up
		}
		_, _ = conn.Write(response) // it may read no further
		_ = conn.Close()
	}
}

// Endpoint makes an endpoint that answers as told, by default with 200.
func (r *receiver) Endpoint(answers ...answer) *endpoint {
	e := &endpoint{receiver: r, answer: statuses(http.StatusOK), byID: make(map[string][]*delivery)}
	if len(answers) > 0 {
		e.answer = answers[0]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	path := "/" + strconv.Itoa(len(r.endpoints)+1)
	e.URL = r.server.URL + path
	r.endpoints[path] = e
	return e
}

// VerifyWith has what comes from now on verified against secret.
func (e *endpoint) VerifyWith(secret string) {
	e.receiver.mu.Lock()
	defer e.receiver.mu.Unlock()
	e.secret = secret
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	d := &delivery{ID: req.Header.Get(webhook.HeaderID), Header: req.Header, Arrived: time.Now()}
	var err error
	if d.Body, err = io.ReadAll(req.Body); err != nil {
		return // the sender broke off: it was killed
	}
	r.mu.Lock()
	e := r.endpoints[req.URL.Path]
	if e == nil {
		r.mu.Unlock()
		r.t.Errorf("a delivery to %s, which is nobody's endpoint", req.URL.Path)
		return
	}
	if e.secret != "" {
		if err := d.Verify(e.secret); err != nil {
			r.t.Errorf("%s got %s with a wrong signature: %v", req.URL.Path, d.ID, err)
		}
	}
	d.Attempt = len(e.byID[d.ID]) + 1
	e.byID[d.ID] = append(e.byID[d.ID], d)
	e.deliveries = append(e.deliveries, d)
	r.notify()
	r.mu.Unlock()

	e.answer(w, req, d, r.quit)

	r.mu.Lock()
	d.Ended = time.Now()
	r.notify()
	r.mu.Unlock()
}

// notify wakes who waits. The caller holds the lock.
func (r *receiver) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// await waits until holds, called under the lock, is true, and reports whether
// that came in time.
func (r *receiver) await(within time.Duration, holds func() bool) bool {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		r.mu.Lock()
		ok, changed := holds(), r.changed
		r.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-changed:
		case <-deadline.C:
			return false
		}
	}
}

// Await waits until the endpoint has got n deliveries, and returns all it has.
func (e *endpoint) Await(t testing.TB, n int, within time.Duration) []delivery {
	t.Helper()
	if !e.receiver.await(within, func() bool { return len(e.deliveries) >= n }) {
		t.Fatalf("%s has got %d deliveries in %s, want %d", e.URL, len(e.Deliveries()), within, n)
	}
	return e.Deliveries()
}

// AwaitEvent waits until the endpoint has got n attempts at an event, and
// returns all it has.
func (e *endpoint) AwaitEvent(t testing.TB, id string, n int, within time.Duration) []delivery {
	t.Helper()
	if !e.receiver.await(within, func() bool { return len(e.byID[id]) >= n }) {
		t.Fatalf("%s has got %d attempts at event %s in %s, want %d", e.URL, len(e.Of(id)), id, within, n)
	}
	return e.Of(id)
}

// AwaitEvents waits until the endpoint has got n different events.
func (e *endpoint) AwaitEvents(t testing.TB, n int, within time.Duration) {
	t.Helper()
	if !e.receiver.await(within, func() bool { return len(e.byID) >= n }) {
		t.Fatalf("%s has got %d events in %s, want %d", e.URL, len(e.Events()), within, n)
	}
}

// Deliveries are all that the endpoint has got, in the order of arrival.
func (e *endpoint) Deliveries() []delivery {
	e.receiver.mu.Lock()
	defer e.receiver.mu.Unlock()
	return values(e.deliveries)
}

// Of are the attempts at one event, in the order of arrival.
func (e *endpoint) Of(id string) []delivery {
	e.receiver.mu.Lock()
	defer e.receiver.mu.Unlock()
	return values(e.byID[id])
}

// Events says how often each event came.
func (e *endpoint) Events() map[string]int {
	e.receiver.mu.Lock()
	defer e.receiver.mu.Unlock()
	times := make(map[string]int, len(e.byID))
	for id, attempts := range e.byID {
		times[id] = len(attempts)
	}
	return times
}

func values(pointers []*delivery) []delivery {
	list := make([]delivery, len(pointers))
	for i, p := range pointers {
		list[i] = *p
	}
	return list
}
