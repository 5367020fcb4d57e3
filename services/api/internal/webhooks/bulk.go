package webhooks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
)

const (
	bulkChunk = 1000             // rows that one transaction looks at
	bulkFor   = 10 * time.Second // then the client asks again
	bulkPause = 50 * time.Millisecond
	auditFor  = 5 * time.Second
)

// RetryDeliveries serves POST /api/custom-webhooks/{id}/queue/retry. Rows in
// flight stay with their workers; those of a lane are attempted a few at a time,
// however many are due.
func (s *Service) RetryDeliveries(ctx context.Context, req openapi.RetryDeliveriesRequestObject) (openapi.RetryDeliveriesResponseObject, error) {
	result, err := s.bulk(ctx, req.ID, bulk{
		action: "delivery.retried_all",
		chunk: func(ctx context.Context, q *db.Queries, hook db.Webhook, after, until uuid.UUID) (chunk, error) {
			row, err := q.RetryDeliveries(ctx, db.RetryDeliveriesParams{WebhookID: hook.ID, After: after, Until: until, RowLimit: bulkChunk})
			if err == nil && row.Taken > 0 {
				err = q.WakeLanes(ctx, []uuid.UUID{hook.ID}, []uuid.UUID{hook.TenantID}, []int64{0})
			}
			return chunk(row), err
		},
	})
	if err != nil {
		return nil, err
	}
	return openapi.RetryDeliveries202JSONResponse(result), nil
}

// CancelDeliveries serves DELETE /api/custom-webhooks/{id}/queue. It also takes
// deliveries that are in flight, as CancelDelivery does.
func (s *Service) CancelDeliveries(ctx context.Context, req openapi.CancelDeliveriesRequestObject) (openapi.CancelDeliveriesResponseObject, error) {
	var faults []problem.FieldError
	state := stateOf(req.Params.State, &faults)
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	result, err := s.bulk(ctx, req.ID, bulk{
		action: "delivery.cancelled_all", state: req.Params.State,
		chunk: func(ctx context.Context, q *db.Queries, hook db.Webhook, after, until uuid.UUID) (chunk, error) {
			row, err := q.CancelDeliveries(ctx, db.CancelDeliveriesParams{
				WebhookID: hook.ID, After: after, Until: until, RowLimit: bulkChunk, State: state,
			})
			return chunk(row), err
		},
	})
	if err != nil {
		return nil, err
	}
	return openapi.CancelDeliveries200JSONResponse(result), nil
}

// bulk is something done to many rows of a webhook's queue.
type bulk struct {
	action string                 // as the audit log calls it
	state  *openapi.DeliveryState // of the rows, nil for the action's own
	// chunk takes some of the rows behind after, up to until.
	chunk func(ctx context.Context, q *db.Queries, hook db.Webhook, after, until uuid.UUID) (chunk, error)
}

// chunk is what one transaction came to.
type chunk struct {
	Taken      int64
	PassedOver int64     // locked by somebody else
	Last       uuid.UUID // where it stopped
}

// bulk walks over the rows that a webhook's queue has now, in the order of its
// list and a transaction for each chunk, until none is left that somebody else
// had locked. What was done is written to the audit log whether or not the walk
// came to its end.
func (s *Service) bulk(ctx context.Context, id string, b bulk) (result openapi.BulkResult, err error) {
	var hook db.Webhook
	var until uuid.UUID
	err = s.of(ctx, id, func(q *db.Queries, row db.Webhook) (err error) {
		hook = row
		until, err = q.LastDelivery(ctx, hook.ID)
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return openapi.BulkResult{Complete: true}, nil
	}
	if err != nil {
		return result, err
	}
	walked := s.walk(ctx, hook, until, b, &result)
	if result.Count == 0 {
		return result, walked
	}
	// The client may be gone; what it had done is done.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), auditFor)
	defer cancel()
	err = s.Store.InTenant(ctx, hook.TenantID, func(q *db.Queries) error {
		return audit.Record(ctx, q, audit.Change{
			Action: b.action, SubjectType: "webhook", SubjectID: hook.ID.String(),
			After: bulkAudit{State: b.state, Count: result.Count, Complete: result.Complete},
		})
	})
	return result, errors.Join(walked, err)
}

// bulkAudit is what the audit log tells of a bulk.
type bulkAudit struct {
	State    *openapi.DeliveryState `json:"state,omitempty"`
	Count    int64                  `json:"count"`
	Complete bool                   `json:"complete"`
}

// walk adds to result what it has done, also before it fails.
func (s *Service) walk(ctx context.Context, hook db.Webhook, until uuid.UUID, b bulk, result *openapi.BulkResult) error {
	ends := time.Now().Add(bulkFor)
	var after uuid.UUID
	var passedOver int64
	for time.Now().Before(ends) {
		var c chunk
		err := s.Store.InTenant(ctx, hook.TenantID, func(q *db.Queries) (err error) {
			c, err = b.chunk(ctx, q, hook, after, until)
			return err
		})
		if err != nil {
			return fmt.Errorf("%s of webhook %s: %w", b.action, hook.ID, err)
		}
		result.Count += c.Taken
		passedOver += c.PassedOver
		after = c.Last
		if after != until {
			continue
		}
		if passedOver == 0 {
			result.Complete = true
			return nil
		}
		after, passedOver = uuid.Nil, 0
		select { // whoever has them writes for a moment only
		case <-time.After(bulkPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
