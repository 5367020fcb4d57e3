package eventlog

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/render"
)

const (
	// daysBack is more than the ledger keeps.
	daysBack = 40

	// maxDeliveries of an event are shown, made from maxAttempts at most.
	maxDeliveries = 1000
	maxAttempts   = 20_000

	storeTimeout = 5 * time.Second // for a body
	storeAway    = 2 * time.Second // until a client should come again
)

// GetEvent serves GET /api/events/{id}. The event store is asked between two
// transactions, not within one.
func (s *Service) GetEvent(ctx context.Context, req openapi.GetEventRequestObject) (openapi.GetEventResponseObject, error) {
	if !event.ValidID(req.ID) {
		return nil, store.ErrNotFound
	}
	principal, _ := auth.FromContext(ctx)
	found, err := s.find(ctx, principal.Tenant, req.ID)
	if err != nil {
		return nil, err
	}
	body, epoch, err := s.stored(ctx, principal.Tenant, found)
	if err != nil {
		return nil, err
	}
	detail := openapi.EventDetail{
		ID: found.ID, Event: found.Type, ContactID: event.ContactID(found.ContactID), CreatedAt: found.CreatedAt.UTC(), Body: body,
	}
	err = s.Store.InTenant(ctx, principal.Tenant, func(q *db.Queries) (err error) {
		if detail.Body == nil {
			if detail.Body, err = q.EventBody(ctx, principal.Tenant, found.Day, found.ID); err != nil {
				return err
			}
		}
		detail.Deliveries, err = deliveries(ctx, q, principal.Tenant, found, epoch)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, problem.New(http.StatusGone, "", "the body of this event is no longer stored").WithType(problem.TypeBodyExpired)
	}
	if err != nil {
		return nil, fmt.Errorf("read event: %w", err)
	}
	return answer(detail), nil
}

// answer shows the body byte by byte as it is signed: the generated response would
// write <, > and & as escapes.
type answer openapi.EventDetail

// VisitGetEventResponse implements openapi.GetEventResponseObject.
func (a answer) VisitGetEventResponse(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(a)
}

func (s *Service) find(ctx context.Context, tenant uuid.UUID, id string) (found db.FindEventRow, err error) {
	days := make([]time.Time, daysBack)
	for i := range days {
		days[i] = bus.Day(time.Now()).AddDate(0, 0, 1-i) // clocks differ
	}
	err = s.Store.InTenant(ctx, tenant, func(q *db.Queries) (err error) {
		found, err = q.FindEvent(ctx, days, tenant, id)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return found, store.ErrNotFound
	}
	if err != nil {
		return found, fmt.Errorf("find event: %w", err)
	}
	return found, nil
}

// stored returns the body that the event store has, nil if it has let it go. The
// ledger does not say of which stream a sequence is: if it was another, another
// event stands there, or none.
func (s *Service) stored(ctx context.Context, tenant uuid.UUID, found db.FindEventRow) (body []byte, epoch int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	reader, err := bus.NewReader(ctx, s.JetStream)
	if err == nil {
		epoch = reader.Epoch()
		var e bus.Event
		e, err = reader.Event(ctx, epoch, uint64(found.StreamSeq), tenant, found.ID) //nolint:gosec // as it was written
		body = e.Body
	}
	if errors.Is(err, bus.ErrBodyLost) {
		return nil, epoch, nil
	}
	if err != nil {
		return nil, 0, problem.Unavailable(storeAway, "the event store cannot be reached").WithCause(err)
	}
	return body, epoch, nil
}

// What became of a delivery that has left the queue.
const (
	delivered = "delivered"
	failed    = "failed"
)

// deliveries are those that were attempted, by the log, and those that were not
// yet, by the queue; the last attempted first.
func deliveries(ctx context.Context, q *db.Queries, tenant uuid.UUID, found db.FindEventRow, epoch int64) ([]openapi.EventDelivery, error) {
	attempted, err := q.DeliveriesOfEvent(ctx, db.DeliveriesOfEventParams{
		EventID: found.ID, TenantID: tenant, Since: found.Day.Add(-day), RowCap: maxAttempts, RowLimit: maxDeliveries,
	})
	if err != nil {
		return nil, fmt.Errorf("deliveries in the log: %w", err)
	}
	queued, err := q.QueuedOfEvent(ctx, db.QueuedOfEventParams{
		Epoch: epoch, StreamSeq: found.StreamSeq, TenantID: tenant, EventID: found.ID, RowLimit: maxDeliveries,
	})
	if err != nil {
		return nil, fmt.Errorf("deliveries in the queue: %w", err)
	}
	shown := make([]openapi.EventDelivery, 0, len(attempted))
	logged := make(map[uuid.UUID]bool, len(attempted))
	for _, row := range attempted {
		logged[row.DeliveryID] = true
		shown = append(shown, showAttempted(row))
	}
	for _, row := range queued {
		if !logged[row.DeliveryID] {
			shown = append(shown, showQueued(row))
		}
	}
	slices.SortStableFunc(shown, func(a, b openapi.EventDelivery) int {
		if a.LastAttemptAt == nil || b.LastAttemptAt == nil {
			return cmp.Compare(boolean(a.LastAttemptAt != nil), boolean(b.LastAttemptAt != nil))
		}
		return b.LastAttemptAt.Compare(*a.LastAttemptAt)
	})
	return shown[:min(len(shown), maxDeliveries)], nil
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

func showAttempted(row db.DeliveriesOfEventRow) openapi.EventDelivery {
	d := openapi.EventDelivery{
		ID: row.DeliveryID, WebhookID: row.WebhookID, Kind: render.Kind(row.Kind), State: failed,
		Attempts: int(row.Attempts), LastStatus: render.Status(row.Status), LastAttemptAt: new(row.CreatedAt.UTC()),
	}
	switch {
	case row.State >= 0:
		d.State = string(render.State(row.State))
	case row.Delivered:
		d.State = delivered
	}
	if row.ErrorClass != nil {
		d.LastError = new(*row.ErrorClass)
		if row.ErrorMessage != nil {
			d.LastError = new(*row.ErrorClass + ": " + *row.ErrorMessage)
		}
	}
	return d
}

func showQueued(row db.QueuedOfEventRow) openapi.EventDelivery {
	d := openapi.EventDelivery{
		ID: row.DeliveryID, WebhookID: row.WebhookID, Kind: render.Kind(row.Kind), State: string(render.State(row.State)),
		Attempts: int(row.Attempt) - 1, LastError: row.LastError,
	}
	if row.LastStatus != nil {
		d.LastStatus = render.Status(*row.LastStatus)
	}
	return d
}
