// Package ingest takes events into the event store.
//
// An event is accepted when JetStream has acknowledged it, never before. What
// makes a repeated request safe is Postgres: a key row holds the ids and the day
// that were given to a request's events before the first of them was published,
// so a repetition publishes the same ids on the same day, which the ledger
// delivers once; a row that is marked accepted is answered without publishing.
package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/failpoint"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/telemetry"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/param"
)

// Publisher stores events: an error for each, nil once it is accepted.
type Publisher interface {
	Publish(ctx context.Context, events ...bus.Event) []error
}

// Tenants refuses, with a problem, tenants that were deleted.
type Tenants interface {
	Refuse(ctx context.Context, tenant uuid.UUID) error
}

// Service implements the operations on events.
type Service struct {
	Store     *store.Store // for idempotency; events without id or key need none
	Publisher Publisher
	Tenants   Tenants
	Classes   *Classes
	Limit     *Limit // nil: none
	Metrics   *Metrics
	Log       *slog.Logger
}

// MaxEvents is how many events a request may hold.
const MaxEvents = 500

// How long a client is asked to wait.
const (
	storeAway = 2 * time.Second
	storeFull = time.Minute
)

// ListEventTypes serves GET /api/event-types.
func (s *Service) ListEventTypes(context.Context, openapi.ListEventTypesRequestObject) (openapi.ListEventTypesResponseObject, error) {
	return openapi.ListEventTypes200JSONResponse{Data: event.Types()}, nil
}

// item is one event of a request, and what becomes of it.
type item struct {
	input
	at       string // JSON Pointer to it in the request
	event    bus.Event
	refused  *problem.Problem // why it is not accepted
	twin     *item            // an item before it with the same id and content, whose fate it shares
	accepted bool             // now or by an earlier request
}

// PublishEvents serves POST /api/events.
func (s *Service) PublishEvents(ctx context.Context, req openapi.PublishEventsRequestObject) (openapi.PublishEventsResponseObject, error) {
	principal, _ := auth.FromContext(ctx)
	key := req.Params.IdempotencyKey
	if key != nil && !validKey(*key) {
		return nil, problem.Invalid(problem.FieldError{Detail: "Idempotency-Key must have 1 to 255 visible ASCII characters"})
	}
	checked := true
	if strict := req.Params.Strict; strict != nil {
		if *strict != "true" && *strict != "false" {
			return nil, problem.Invalid(problem.FieldError{Pointer: "/strict", Detail: "must be true or false"})
		}
		checked = *strict == "true"
	}
	inputs, array, err := read(*req.Body)
	if err != nil {
		return nil, err
	}
	trace := ""
	if req.Params.Traceparent != nil {
		trace = *req.Params.Traceparent
	}
	if !telemetry.ValidTraceparent(trace) {
		trace = telemetry.NewTraceparent()
	}
	now := time.Now()
	items := make([]item, len(inputs))
	for i := range items {
		it := &items[i]
		it.input = inputs[i]
		it.event = bus.Event{
			Tenant: principal.Tenant, Type: it.eventType, ID: it.id, Day: bus.Day(now), Traceparent: trace,
			Deduplicate: key != nil || it.id != "",
		}
		if array {
			it.at = problem.Pointer(i)
		}
		if it.refused = prepare(it, principal, now, checked); it.refused != nil && it.refused.Status == http.StatusBadRequest {
			return nil, it.refused // no JSON in one place is no JSON at all
		}
		if it.refused == nil && it.event.Tenant != principal.Tenant {
			err := s.Tenants.Refuse(ctx, it.event.Tenant)
			if p, ok := errors.AsType[*problem.Problem](err); ok {
				it.refused = p
			} else if err != nil {
				return nil, err
			}
		}
	}
	claims, err := s.claim(ctx, principal.Tenant, key, *req.Body, items)
	if err != nil {
		return nil, err
	}
	budget := s.Limit.budget(now)
	failpoint.Hit("ingest.claimed")
	s.publish(ctx, items, budget)
	failpoint.Hit("ingest.published")
	if err := claims.complete(ctx, items); err != nil {
		// The events are accepted all the same. A repeated request publishes them again,
		// with the same ids.
		s.Log.WarnContext(ctx, "idempotency keys not completed", "error", err)
	}
	failpoint.Hit("ingest.completed")
	s.Metrics.count(items)
	return respond(items, array, budget.headers(principal.Tenant))
}

// prepare checks an item, its data against the type's schema only if checked, and
// makes its body.
func prepare(it *item, principal auth.Principal, now time.Time, checked bool) *problem.Problem {
	faults := it.faults
	fault := func(name, detail string) {
		faults = append(faults, problem.FieldError{Pointer: "/" + name, Detail: detail})
	}
	when := now
	if it.timestamp != "" {
		if err := when.UnmarshalText([]byte(it.timestamp)); err != nil { // RFC 3339 to the letter
			fault("timestamp", "must be a time such as 2025-10-20T12:00:00Z")
			when = now
		}
	}
	if it.id == "" {
		it.event.ID = uuid.Must(uuid.NewV7()).String()
	} else if !event.ValidID(it.id) {
		fault("id", "must be 1 to 64 letters, digits, _ and -")
	}
	if it.tenantID != "" {
		var err error
		if tenant, ok := param.UUID(it.tenantID); !ok || tenant == uuid.Nil {
			fault("tenantId", "must be a UUID")
		} else if principal, err = principal.For(tenant); err != nil {
			return problem.Forbidden("tenantId: only keys with the scope platform may act for another tenant").WithCause(err)
		}
		it.event.Tenant = principal.Tenant
	}
	if event.Type(it.eventType).Operational() {
		fault("event", "is raised by this service alone")
		checked = false // what its data should be is nobody's business
	}
	tooLarge := false
	if len(it.data) > 0 && it.eventType != "" {
		body, err := event.Body(event.Type(it.eventType), when, it.data)
		if refusal, ok := errors.AsType[*event.Error](err); ok {
			if refusal.Unreadable() {
				p := problem.BadRequest("the body cannot be read as JSON")
				p.Errors = []problem.FieldError{{Pointer: it.at + refusal.Pointer, Detail: refusal.Detail}}
				return p
			}
			tooLarge = refusal.Reason == event.TooLarge && len(faults) == 0
			faults = append(faults, problem.FieldError{Pointer: refusal.Pointer, Detail: refusal.Detail})
		}
		if err == nil && checked {
			for _, wrong := range event.Validate(event.Type(it.eventType), body) {
				faults = append(faults, problem.FieldError{Pointer: wrong.Pointer, Detail: wrong.Detail})
			}
		}
		it.event.Body = body
	}
	it.event.Contact = event.ContactKey(it.contact) // it becomes a header of the message
	if len(faults) == 0 {
		return nil
	}
	faults = faults[:min(len(faults), maxFaults)]
	for i := range faults {
		faults[i].Pointer = it.at + faults[i].Pointer
	}
	if tooLarge {
		p := problem.TooLarge(event.MaxBodyBytes)
		p.Errors = faults
		return p
	}
	return problem.Invalid(faults...)
}

// publish stores what is valid, not accepted yet and within the budget, and marks
// each item accepted or refused.
func (s *Service) publish(ctx context.Context, items []item, budget *budget) {
	events := make([]bus.Event, 0, len(items))
	sent := make([]*item, 0, len(items))
	for i := range items {
		it := &items[i]
		if it.refused != nil || it.accepted || it.twin != nil {
			continue
		}
		if it.refused = budget.take(it); it.refused != nil {
			continue
		}
		it.event.Class = s.Classes.Of(it.event.Tenant, budget.now)
		events = append(events, it.event)
		sent = append(sent, it)
	}
	if len(events) > 0 {
		for i, err := range s.Publisher.Publish(ctx, events...) {
			if err != nil {
				sent[i].refused = unavailable(err)
				continue
			}
			sent[i].accepted = true
			budget.accepted(sent[i])
		}
	}
	for i := range items {
		if twin := items[i].twin; twin != nil {
			items[i].refused, items[i].accepted = twin.refused, twin.accepted
		}
	}
}

func unavailable(err error) *problem.Problem {
	if errors.Is(err, bus.ErrFull) {
		return problem.Unavailable(storeFull, "the event store is full").WithCause(err)
	}
	return problem.Unavailable(storeAway, "the event store cannot be reached").WithCause(err)
}

// later says that the item may be accepted when it comes again.
func (it *item) later() bool {
	return it.refused != nil &&
		(it.refused.Status == http.StatusServiceUnavailable || it.refused.Status == http.StatusTooManyRequests)
}

// respond says what became of the items; headers tell of the limit. Where nothing
// was accepted that may be later, the request as a whole may be made again.
func respond(items []item, array bool, headers http.Header) (openapi.PublishEventsResponseObject, error) {
	if !array {
		if items[0].refused != nil {
			return nil, withHeaders(items[0].refused, headers)
		}
		return answer{status: http.StatusAccepted, header: headers, body: openapi.EventAccepted{ID: items[0].event.ID}}, nil
	}
	results := openapi.EventResults{Data: make([]openapi.EventResult, len(items))}
	status := http.StatusAccepted
	accepted := false
	var later *problem.Problem // the one with the longest wait
	for i := range items {
		it := &items[i]
		if it.refused == nil {
			accepted = true
			results.Data[i] = openapi.EventResult{Status: http.StatusAccepted, ID: &it.event.ID}
			continue
		}
		if it.later() && (later == nil || later.RetryAfter < it.refused.RetryAfter) {
			later = it.refused
		}
		status = http.StatusMultiStatus
		results.Data[i] = openapi.EventResult{Status: it.refused.Status, Error: it.refused}
	}
	again := time.Duration(0)
	if later != nil {
		if !accepted {
			return nil, withHeaders(later, headers)
		}
		again = later.RetryAfter
	}
	return answer{status: status, header: headers, retryAfter: again, body: results}, nil
}

func withHeaders(p *problem.Problem, headers http.Header) *problem.Problem {
	for name, values := range headers {
		p = p.WithHeader(name, values[0])
	}
	return p
}

// answer is a response of this operation; the generated one would encode twice.
type answer struct {
	status     int
	header     http.Header   // besides those of the body
	retryAfter time.Duration // 0 if there is nothing to be tried again
	body       any
}

// VisitPublishEventsResponse implements openapi.PublishEventsResponseObject.
func (a answer) VisitPublishEventsResponse(w http.ResponseWriter) error {
	body, err := json.Marshal(a.body)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	maps.Copy(w.Header(), a.header)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	if a.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((a.retryAfter+time.Second-1)/time.Second), 10))
	}
	w.WriteHeader(a.status)
	_, err = w.Write(body)
	return err
}

func validKey(key string) bool {
	return 1 <= len(key) && len(key) <= 255 && !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' })
}

func hashOf(content []byte) []byte {
	hash := sha256.Sum256(content)
	return hash[:]
}
