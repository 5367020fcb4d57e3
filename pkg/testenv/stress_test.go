package testenv

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// recorder is a test that may fail without failing ours.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	errors []string
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.TB.Context() }
func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestStressStop(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	var runs, beforeStart atomic.Int64
	for _, tc := range []struct {
		name string
		run  func(ctx context.Context) error
		fine bool
	}{
		{name: "a service that ends when asked passes", fine: true, run: func(ctx context.Context) error {
			runs.Add(1)
			if ctx.Err() != nil {
				beforeStart.Add(1)
			}
			<-ctx.Done()
			return nil
		}},
		{name: "one that reports the cancellation as an error does not", run: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}},
		{name: "nor one that ends by itself", run: func(context.Context) error { return nil }},
		{name: "nor one that fails", run: func(context.Context) error { return broken }},
		{name: "nor one that goes on", run: func(ctx context.Context) error {
			<-ctx.Done()
			select {
			case <-t.Context().Done():
			case <-time.After(time.Second):
			}
			return nil
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &recorder{TB: t}
			stressStop(r, 100*time.Millisecond, tc.run)
			if passed := len(r.errors) == 0; passed != tc.fine {
				t.Errorf("passed: %t, want %t; %v", passed, tc.fine, r.errors)
			}
		})
	}
	if runs.Load() != stressGoroutines*stressRounds || beforeStart.Load() == 0 {
		t.Errorf("%d runs, %d of them cancelled before they began; want %d and some", runs.Load(), beforeStart.Load(), stressGoroutines*stressRounds)
	}
}
