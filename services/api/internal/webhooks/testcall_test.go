package webhooks

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// A worker that took the call and does not come back is waited for until the time
// is over, here the caller's.
func TestService_call_NoAnswer(t *testing.T) {
	t.Parallel()
	account := testenv.NATS(t)
	worker := account.Connect(t, testenv.Worker)
	taken := make(chan struct{}, 1)
	if _, err := worker.QueueSubscribe(bus.SubjectTest, "worker", func(*nats.Msg) { taken <- struct{}{} }); err != nil {
		t.Fatal(err)
	}
	if err := worker.Flush(); err != nil {
		t.Fatal(err)
	}
	s := &Service{NATS: account.Connect(t, testenv.API)}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := s.call(ctx, bus.TestCall{})
	p, ok := errors.AsType[*problem.Problem](err)
	if !ok || p.Status != http.StatusGatewayTimeout {
		t.Errorf("answered %v, want a problem with status 504", err)
	}
	select {
	case <-taken:
	default:
		t.Error("no worker was asked")
	}
	if testTimeout < 35*time.Second {
		t.Errorf("a test call is given up after %s, and an attempt may take 30 s", testTimeout)
	}
}
