package telemetry

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Readiness says of several services in one process whether all of them can work.
// The zero value knows of none.
type Readiness struct {
	mu     sync.Mutex
	names  []string // in the order in which they were expected
	checks map[string]func(context.Context) error
}

// Expect names a service that is not ready until it says so. The function returned
// is for it to say how it is asked from then on.
func (r *Readiness) Expect(name string) (ready func(check func(context.Context) error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, name)
	return func(check func(context.Context) error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.checks == nil {
			r.checks = make(map[string]func(context.Context) error)
		}
		r.checks[name] = check
	}
}

var errStarting = errors.New("is starting")

// Ready says which services cannot work now, and why; nil if all can. It is what
// [AdminConfig] asks for.
func (r *Readiness) Ready(ctx context.Context) error {
	r.mu.Lock()
	errs := make([]error, len(r.names))
	checks := make([]func(context.Context) error, len(r.names))
	for i, name := range r.names {
		checks[i] = r.checks[name]
	}
	names := r.names // is appended to alone
	r.mu.Unlock()
	var wg sync.WaitGroup
	for i, check := range checks {
		if check == nil {
			errs[i] = errStarting
			continue
		}
		wg.Go(func() { errs[i] = check(ctx) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			errs[i] = fmt.Errorf("%s: %w", names[i], err)
		}
	}
	return errors.Join(errs...)
}
