package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/webhook"
)

// receiver is a customer's server. What it answers depends on the path:
//
//	/ok      204
//	/fails   500 to the first attempt at each event, then 204
//	/hangs   nothing to the first attempt at each event, then 204
type receiver struct {
	server *httptest.Server

	mu  sync.Mutex
	got map[string][]delivery // by path
}

// delivery is a request that a receiver got.
type delivery struct {
	ID      string // webhook-id
	Arrived time.Time
	Header  http.Header
	Body    []byte
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{got: make(map[string][]delivery)}
	r.server = httptest.NewServer(r)
	t.Cleanup(func() {
		r.server.CloseClientConnections()
		r.server.Close()
	})
	return r
}

func (r *receiver) URL(path string) string { return r.server.URL + path }

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	d := delivery{ID: req.Header.Get(webhook.HeaderID), Arrived: time.Now(), Header: req.Header}
	var err error
	if d.Body, err = io.ReadAll(req.Body); err != nil {
		return // the sender was killed
	}
	r.mu.Lock()
	first := !slices.ContainsFunc(r.got[req.URL.Path], func(earlier delivery) bool { return earlier.ID == d.ID })
	r.got[req.URL.Path] = append(r.got[req.URL.Path], d)
	r.mu.Unlock()

	switch {
	case first && req.URL.Path == "/hangs":
		<-req.Context().Done()
	case first && req.URL.Path == "/fails":
		w.WriteHeader(http.StatusInternalServerError)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// At is what came to a path, in the order of arrival.
func (r *receiver) At(path string) []delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got[path])
}

// Await waits until n deliveries came to a path.
func (r *receiver) Await(t testing.TB, path string, n int) []delivery {
	t.Helper()
	eventually(t, soon, func() error {
		if got := len(r.At(path)); got < n {
			return fmt.Errorf("%d of %d deliveries came to %s", got, n, path)
		}
		return nil
	})
	return r.At(path)
}

// AwaitEvents waits until each of the events came so many times to a path.
func (r *receiver) AwaitEvents(t testing.TB, path string, ids []string, times int) {
	t.Helper()
	eventually(t, soon, func() error {
		came := make(map[string]int)
		for _, d := range r.At(path) {
			came[d.ID]++
		}
		for _, id := range ids {
			if came[id] < times {
				return fmt.Errorf("event %s came %d times to %s, want %d", id, came[id], path, times)
			}
		}
		return nil
	})
}

// verify checks both signatures of a delivery.
func verify(t testing.TB, d delivery, secret string) {
	t.Helper()
	if err := webhook.Verify(d.Header, d.Body, secret, d.Arrived, webhook.DefaultTolerance); err != nil {
		t.Errorf("signature of %s: %v", d.ID, err)
	}
	if err := webhook.VerifyHex(d.Header, d.Body, secret); err != nil {
		t.Errorf("hex signature of %s: %v", d.ID, err)
	}
}
