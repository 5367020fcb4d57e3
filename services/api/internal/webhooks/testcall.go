package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/render"
)

// testTimeout is longer than an attempt may take, with the writing of its log row.
const testTimeout = 35 * time.Second

// noWorkers is when a test call may be tried again that nobody could take.
const noWorkers = 5 * time.Second

// TestWebhook serves POST /api/custom-webhooks/{id}/test: a worker makes the
// attempt, since workers alone make requests to customers' endpoints.
func (s *Service) TestWebhook(ctx context.Context, req openapi.TestWebhookRequestObject) (openapi.TestWebhookResponseObject, error) {
	var hook db.Webhook
	err := s.of(ctx, req.ID, func(_ *db.Queries, row db.Webhook) error {
		hook = row
		return nil
	})
	if err != nil {
		return nil, err
	}
	eventType := defaultEvent(hook.Events)
	if req.Body != nil && req.Body.Event != nil {
		eventType = event.Type(*req.Body.Event)
	}
	definition, ok := event.Lookup(eventType)
	if !ok {
		return nil, problem.Invalid(problem.FieldError{Pointer: "/event", Detail: event.NoType})
	}
	body, err := example(definition, time.Now())
	if err != nil {
		return nil, err
	}
	result, err := s.call(ctx, bus.TestCall{Tenant: hook.TenantID, Webhook: hook.ID, Event: string(eventType), Body: body})
	if err != nil {
		return nil, err
	}
	if result.NotFound {
		return nil, store.ErrNotFound
	}
	shown := openapi.TestWebhook200JSONResponse{
		LogID: result.LogID, Success: result.Success, Status: render.Status(result.Status), DurationMs: int(result.DurationMs),
	}
	if result.ResponseBody != "" {
		shown.ResponseBody = &result.ResponseBody
	}
	if result.ErrorClass != "" {
		shown.Error = &openapi.AttemptError{Class: result.ErrorClass, Message: result.ErrorMessage}
	}
	return shown, nil
}

// call asks a worker and waits for its answer. The error is a problem where the
// client can do something about it.
func (s *Service) call(ctx context.Context, call bus.TestCall) (bus.TestResult, error) {
	request, err := json.Marshal(call)
	if err != nil {
		return bus.TestResult{}, fmt.Errorf("encode test call: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	msg, err := s.NATS.RequestWithContext(ctx, bus.SubjectTest, request)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return bus.TestResult{}, problem.Unavailable(noWorkers, "no worker is running").WithCause(err)
	case errors.Is(err, context.DeadlineExceeded):
		return bus.TestResult{}, problem.New(http.StatusGatewayTimeout, "", "no worker answered in time").WithCause(err)
	case errors.Is(err, context.Canceled):
		return bus.TestResult{}, fmt.Errorf("test call: %w", err)
	case err != nil:
		return bus.TestResult{}, problem.Unavailable(noWorkers, "the workers cannot be reached").WithCause(err)
	}
	var result bus.TestResult
	if err := json.Unmarshal(msg.Data, &result); err != nil {
		return bus.TestResult{}, fmt.Errorf("read result of test call: %w", err)
	}
	return result, nil
}

// defaultEvent is the first subscription to a single type.
func defaultEvent(subscriptions []string) event.Type {
	for _, s := range subscriptions {
		if !strings.HasSuffix(s, event.All) {
			return event.Type(s)
		}
	}
	return event.MessageReceived
}

// example is the type's example as if it had happened just now.
func example(d event.Definition, now time.Time) ([]byte, error) {
	var whole struct {
		Data json.RawMessage `json:"data"`
	}
	err := json.Unmarshal(d.Example, &whole)
	if err != nil {
		return nil, fmt.Errorf("example of %s: %w", d.Type, err)
	}
	body, err := event.Body(d.Type, now, whole.Data)
	if err != nil {
		return nil, fmt.Errorf("example of %s: %w", d.Type, err)
	}
	return body, nil
}
