package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestSink_ServeHTTP(t *testing.T) {
	t.Parallel()
	post := func(s *sink, path, body string) int {
		answer := httptest.NewRecorder()
		s.ServeHTTP(answer, httptest.NewRequest(http.MethodPost, path, strings.NewReader(body)))
		return answer.Code
	}
	const body = `{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{"n":3,"note":""}}`

	t.Run("a delivery is counted, with its time, and a second one apart", func(t *testing.T) {
		t.Parallel()
		s := &sink{arrivals: make([]atomic.Int64, maxEvents)}
		before := time.Now().UnixNano()
		for range 2 {
			if status := post(s, "/hook/1", body); status != http.StatusNoContent {
				t.Errorf("status %d", status)
			}
		}
		if got := s.counts(); got.Delivered != 1 || got.Again != 1 || got.Raw != 0 {
			t.Errorf("counts %+v", got)
		}
		times, err := s.list(span{First: 2, Count: 2})
		if err != nil {
			t.Fatal(err)
		}
		if times[0] != 0 || times[1] < before || times[1] > time.Now().UnixNano() {
			t.Errorf("events 2 and 3 arrived at %v", times)
		}
	})
	t.Run("a raw request is no delivery", func(t *testing.T) {
		t.Parallel()
		s := &sink{arrivals: make([]atomic.Int64, maxEvents)}
		post(s, rawPath, body)
		if got := s.counts(); got.Delivered != 0 || got.Raw != 1 {
			t.Errorf("counts %+v", got)
		}
	})
	t.Run("what is no event of ours is refused", func(t *testing.T) {
		t.Parallel()
		s := &sink{arrivals: make([]atomic.Int64, maxEvents)}
		for name, odd := range map[string]string{
			"without a number": `{"data":{}}`, "of a number too high": `{"data":{"n":99999999}}`,
			"too long": body + strings.Repeat(" ", 16<<10), "empty": "",
		} {
			if status := post(s, "/hook/1", odd); status != http.StatusBadRequest {
				t.Errorf("a body %s: status %d", name, status)
			}
		}
		if got := s.counts(); got.Delivered != 0 {
			t.Errorf("counts %+v", got)
		}
	})
}
