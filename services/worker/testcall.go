package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/dispatch"
	"github.com/primezap/primezap/services/worker/endpoint"
	"github.com/primezap/primezap/services/worker/ledger"
)

// maxTests is how many test calls a worker makes at once. Further ones wait in
// the subscription, and their callers give up in time.
const maxTests = 16

// testCalls answers requests for test calls.
type testCalls struct {
	w     *worker
	sub   *nats.Subscription
	slots chan struct{}
	wg    sync.WaitGroup

	mu      sync.Mutex
	stopped bool // a request that comes after all is left to its caller's timeout

	ctx    context.Context // of the calls; outlives the worker's by its grace
	cancel context.CancelFunc
}

// answerTests subscribes; each request goes to one worker of the fleet.
func (w *worker) answerTests(ctx context.Context) (*testCalls, error) {
	t := &testCalls{w: w, slots: make(chan struct{}, maxTests)}
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	t.sub, err = w.nc.QueueSubscribe(bus.SubjectTest, "worker", func(msg *nats.Msg) {
		t.slots <- struct{}{}
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.stopped {
			<-t.slots
			return
		}
		t.wg.Go(func() {
			defer func() { <-t.slots }()
			t.answer(t.ctx, msg)
		})
	})
	if err != nil {
		t.cancel()
		return nil, fmt.Errorf("subscribe to test calls: %w", err)
	}
	return t, nil
}

// stop takes no more requests, interrupts those under way when grace ends, and
// waits for them: their log rows are written all the same.
func (t *testCalls) stop(grace context.Context) {
	defer t.cancel()
	defer context.AfterFunc(grace, t.cancel)()
	if err := t.sub.Unsubscribe(); err != nil {
		t.w.log.Debug("test calls: unsubscribe", "error", err)
	}
	t.mu.Lock()
	t.stopped = true
	t.mu.Unlock()
	t.wg.Wait()
}

func (t *testCalls) answer(ctx context.Context, msg *nats.Msg) {
	result, err := t.call(ctx, msg.Data)
	if err != nil {
		t.w.log.Error("test call", "error", err)
		return // the caller times out
	}
	reply, err := json.Marshal(result)
	if err == nil {
		err = msg.Respond(reply)
	}
	if err != nil {
		t.w.log.Warn("test call: answer", "error", err)
	}
}

// call makes the attempt, by the same code as a delivery's, and returns once its
// log row is committed.
func (t *testCalls) call(ctx context.Context, request []byte) (*bus.TestResult, error) {
	var call bus.TestCall
	if err := json.Unmarshal(request, &call); err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	row, err := t.w.database.Queries().WebhookForTest(ctx, call.Webhook, call.Tenant)
	if errors.Is(err, pgx.ErrNoRows) {
		return &bus.TestResult{NotFound: true}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read webhook %s: %w", call.Webhook, err)
	}
	opened, err := t.w.opener.Open(endpoint.Sealed{
		ID: row.ID, Tenant: row.TenantID, Generation: row.Generation, URL: row.Url, Secret: row.Secret,
		PreviousSecret: row.PreviousSecret, PreviousSecretUntil: row.PreviousSecretUntil, Headers: row.Headers,
		RetryDelays: row.RetryDelays,
	})
	if err != nil {
		return nil, err
	}
	d := &dispatch.Delivery{
		ID: uuid.Must(uuid.NewV7()), Endpoint: opened, Attempt: 1,
		Event: &bus.Event{
			Tenant: call.Tenant, Type: call.Event, ID: uuid.Must(uuid.NewV7()).String(), Day: bus.Day(time.Now()), Body: call.Body,
		},
	}
	log := &ledger.Log{
		ID: uuid.Must(uuid.NewV7()), Webhook: row.ID, Tenant: row.TenantID, Delivery: d.ID, EventID: d.Event.ID,
		Event: call.Event, Attempt: 1, Kind: ledger.Test, Outcome: t.w.pool.Try(ctx, d),
	}
	log.Counted = log.Outcome.Class != attempt.ClassInterrupted
	verdict := make(chan ledger.Verdict, 1)
	t.w.ledger.SubmitLog(log, func(v ledger.Verdict) { verdict <- v })
	if v := <-verdict; v != ledger.Committed {
		return nil, errors.New("the log row was not written")
	}
	o := &log.Outcome
	return &bus.TestResult{
		LogID: log.ID, Success: o.Success, Status: o.Status, DurationMs: o.Duration.Milliseconds(),
		ResponseBody: o.ResponseBody, ErrorClass: string(o.Class), ErrorMessage: o.Message,
	}, nil
}
