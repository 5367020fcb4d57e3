package testenv

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// The extent of StressStop, and how long a run may take to end once it is asked.
const (
	stressGoroutines = 10
	stressRounds     = 50
	stressPatience   = 30 * time.Second
)

// StressStop runs a service many times, ten at a time, and cancels each run at
// a moment of its own: before it has begun, while it starts, when it works. A
// run must return nil, and soon. run is called from several goroutines at once.
func StressStop(t testing.TB, run func(ctx context.Context) error) {
	t.Helper()
	stressStop(t, stressPatience, run)
}

func stressStop(t testing.TB, patience time.Duration, run func(ctx context.Context) error) {
	t.Helper()
	var workers sync.WaitGroup
	for range stressGoroutines {
		workers.Go(func() {
			for round := range stressRounds {
				if !stopOnce(t, round, patience, run) {
					return
				}
			}
		})
	}
	workers.Wait()
}

// stopOnce is a round; false means that there is no use in another.
func stopOnce(t testing.TB, round int, patience time.Duration, run func(ctx context.Context) error) bool {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if round%10 == 0 {
		cancel() // stopped before it starts
	}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }() // waited for below; a run that hangs is the finding
	select {
	case err := <-ended:
		if ctx.Err() == nil {
			t.Errorf("round %d: ended by itself: %v", round, err)
			return false
		}
		ended <- err
	case <-time.After(rand.N(5 * time.Millisecond)):
		cancel()
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("round %d: %v, want nil from a run that was asked to end", round, err)
		}
		return err == nil
	case <-time.After(patience):
		t.Errorf("round %d: still running %s after it was asked to end", round, patience)
		return false
	}
}
