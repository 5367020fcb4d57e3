package webhooks

import (
	"context"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/page"
	"github.com/primezap/primezap/services/api/internal/param"
	"github.com/primezap/primezap/services/api/internal/render"
)

// ListDeliveries serves GET /api/custom-webhooks/{id}/queue.
func (s *Service) ListDeliveries(ctx context.Context, req openapi.ListDeliveriesRequestObject) (openapi.ListDeliveriesResponseObject, error) {
	pages, faults := page.Parse(req.Params.Page, req.Params.Limit, req.Params.Cursor, page.IDKeySize)
	state := stateOf(req.Params.State, &faults)
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	var total int64
	var rows []db.WebhookQueue
	err := s.of(ctx, req.ID, func(q *db.Queries, hook db.Webhook) (err error) {
		if total, err = q.CountQueue(ctx, hook.ID, state, page.CountLimit); err != nil {
			return err
		}
		rows, err = q.ListQueue(ctx, db.ListQueueParams{
			WebhookID: hook.ID, State: state, Before: pages.AfterID(), RowLimit: pages.Limit(), RowOffset: pages.Offset(),
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	rows, pagination := page.Show(pages, rows, total, func(row db.WebhookQueue) []byte { return page.IDKey(row.DeliveryID) })
	return openapi.ListDeliveries200JSONResponse{Data: each(rows, showDelivery), Pagination: pagination}, nil
}

// stateOf is the number of a state that a request may name, nil if it names none.
func stateOf(name *openapi.DeliveryState, faults *[]problem.FieldError) *int16 {
	if name == nil {
		return nil
	}
	for n, state := range render.States() {
		if state == *name {
			return new(int16(n)) //nolint:gosec // one of four
		}
	}
	*faults = append(*faults, problem.FieldError{Pointer: "/state", Detail: "must be waiting, inFlight, retrying or exhausted"})
	return nil
}

func showDelivery(row db.WebhookQueue) openapi.Delivery {
	d := openapi.Delivery{
		ID: row.DeliveryID, WebhookID: row.WebhookID, EventID: row.EventID, Event: row.EventType,
		Kind: render.Kind(row.Kind), State: render.State(row.State), Attempt: int(row.Attempt),
		LastError: row.LastError, CreatedAt: row.CreatedAt.UTC(),
	}
	if d.State == openapi.Waiting || d.State == openapi.Retrying {
		d.NextAttemptAt = render.Time(&row.DueAt)
	}
	if row.LastStatus != nil {
		d.LastStatus = render.Status(*row.LastStatus)
	}
	return d
}

// RetryDelivery serves POST /api/custom-webhooks/{id}/queue/{deliveryId}/retry.
func (s *Service) RetryDelivery(ctx context.Context, req openapi.RetryDeliveryRequestObject) (openapi.RetryDeliveryResponseObject, error) {
	delivery, err := param.ID(req.DeliveryID)
	if err != nil {
		return nil, err
	}
	err = s.of(ctx, req.ID, func(q *db.Queries, hook db.Webhook) error {
		inFlight, err := q.LockQueueRow(ctx, hook.ID, delivery)
		if err != nil {
			return store.Found(err)
		}
		if inFlight {
			return problem.Conflict("an attempt is in flight")
		}
		if err := q.RetryQueueRowNow(ctx, delivery); err != nil {
			return err
		}
		return q.WakeLanes(ctx, []uuid.UUID{hook.ID}, []uuid.UUID{hook.TenantID}, []int64{0})
	})
	if err != nil {
		return nil, err
	}
	return openapi.RetryDelivery202Response{}, nil
}

// CancelDelivery serves DELETE /api/custom-webhooks/{id}/queue/{deliveryId}. It
// also takes a delivery that is in flight: its result finds no row any more, and
// is logged without counting.
func (s *Service) CancelDelivery(ctx context.Context, req openapi.CancelDeliveryRequestObject) (openapi.CancelDeliveryResponseObject, error) {
	delivery, err := param.ID(req.DeliveryID)
	if err != nil {
		return nil, err
	}
	err = s.of(ctx, req.ID, func(q *db.Queries, hook db.Webhook) error {
		if _, err := q.LockQueueRow(ctx, hook.ID, delivery); err != nil {
			return store.Found(err)
		}
		return q.CancelQueueRow(ctx, delivery)
	})
	if err != nil {
		return nil, err
	}
	return openapi.CancelDelivery204Response{}, nil
}
