package meta

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"net/url"
	"sync"
)

// trace knows how far a request has come. The transport calls it from goroutines
// that may outlive the request.
type trace struct {
	mu      sync.Mutex
	begun   bool // it has a connection: bytes of it may be on their way
	written bool // all of it
}

func (t *trace) in(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { t.set(true, false) },
		// An error means that the request is not whole: nobody can act on it.
		WroteRequest: func(info httptrace.WroteRequestInfo) { t.set(info.Err == nil, info.Err == nil) },
	})
}

func (t *trace) set(begun, written bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun = begun
	t.written = t.written || written // for good: the transport may try again
}

// failure is the error of a request that got no answer. Between the two reports of
// the transport the outcome counts as unknown.
func (t *trace) failure(method string, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	kind := ErrNotSent
	if t.begun || t.written {
		kind = ErrOutcomeUnknown
	}
	return fmt.Errorf("meta: %s: %w: %w", method, kind, withoutURL(err))
}

// withoutURL takes the URL out of an error: it may hold what is secret.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}
