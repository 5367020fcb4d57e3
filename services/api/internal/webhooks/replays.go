package webhooks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/param"
	"github.com/primezap/primezap/services/api/internal/render"
)

// jobInserter asks for a job in a transaction; a *jobs.Inserter.
type jobInserter interface {
	Insert(ctx context.Context, tx pgx.Tx, job river.JobArgs) error
}

// replaysPath is the path of the replays; an id follows it.
const replaysPath = "/api/replays/"

const maxReplayEvents = 50

// replayStates are the wire names of a replay's state, by their number.
var replayStates = []openapi.ReplayState{
	openapi.ReplayStatePending, openapi.ReplayStateRunning, openapi.ReplayStateCompleted, openapi.ReplayStateCancelled,
	openapi.ReplayStateFailed,
}

// What of its range a replay delivers.
const (
	statusAll    = "all"
	statusFailed = "failed"
)

// CreateReplay serves POST /api/custom-webhooks/{id}/replay. What stands in the
// replay does not change any more: the time at which it ends, also where that is
// now, and the webhook's subscriptions where it brings none.
func (s *Service) CreateReplay(ctx context.Context, req openapi.CreateReplayRequestObject) (openapi.CreateReplayResponseObject, error) {
	hook, err := param.ID(req.ID)
	if err != nil {
		return nil, err
	}
	p, err := replayParams(req.Body, time.Now())
	if err != nil {
		return nil, err
	}
	p.WebhookID, p.TenantID = hook, tenantOf(ctx)
	if p.ID, err = uuid.NewV7(); err != nil {
		return nil, fmt.Errorf("make a replay's id: %w", err)
	}
	var shown openapi.Replay
	err = s.Store.InTenantTx(ctx, p.TenantID, func(tx pgx.Tx, q *db.Queries) error {
		row, err := q.GetWebhook(ctx, hook)
		if err != nil {
			return store.Found(err)
		}
		if p.Events == nil {
			p.Events = row.Events
		}
		replay, err := q.InsertReplay(ctx, p)
		if isUnique(err) {
			return problem.Conflict("another replay of this webhook has not ended").WithCause(err)
		}
		if err != nil {
			return err
		}
		if err := s.Jobs.Insert(ctx, tx, jobs.Replay{ID: p.ID}); err != nil {
			return err
		}
		shown = showReplay(replay)
		return audit.Record(ctx, q, audit.Change{
			Action: "replay.created", SubjectType: "replay", SubjectID: p.ID.String(), After: shown,
		})
	})
	if err != nil {
		return nil, fmt.Errorf("create replay of webhook %s: %w", hook, err)
	}
	return openapi.CreateReplay202JSONResponse{
		Body: shown, Headers: openapi.CreateReplay202ResponseHeaders{Location: new(replaysPath + p.ID.String())},
	}, nil
}

// replayParams reads what a request asks for.
func replayParams(in *openapi.ReplayInput, now time.Time) (p db.InsertReplayParams, err error) {
	var faults []problem.FieldError
	fault := func(detail string, at ...any) {
		faults = append(faults, problem.FieldError{Pointer: problem.Pointer(at...), Detail: detail})
	}
	since := param.Time("since", &in.Since, now, &faults)
	until := param.Time("until", in.Until, now, &faults)
	if until.After(now) { // it would have no end
		until = now
	}
	switch {
	case len(faults) > 0:
	case !since.Before(now):
		fault("must be in the past", "since")
	case !since.Before(until):
		fault("must be after since", "until")
	case since.Before(param.Beginning):
		since = param.Beginning
	}
	p.Since, p.Until = since, until
	p.Events = in.Events
	if p.Events != nil && (len(p.Events) == 0 || len(p.Events) > maxReplayEvents) {
		fault("must have 1 to 50 event types, prefixes such as deal.*, or *", "events")
	}
	for i, name := range p.Events[:min(len(p.Events), maxReplayEvents)] {
		if !event.ValidSubscription(name) {
			fault(event.NoSubscription, "events", i)
		}
	}
	switch {
	case in.Status == nil || *in.Status == statusAll:
	case *in.Status == statusFailed:
		p.FailedOnly = true
	default:
		fault("must be all or failed", "status")
	}
	if len(faults) > 0 {
		return p, problem.Invalid(faults...)
	}
	return p, nil
}

// GetReplay serves GET /api/replays/{id}.
func (s *Service) GetReplay(ctx context.Context, req openapi.GetReplayRequestObject) (openapi.GetReplayResponseObject, error) {
	id, err := param.ID(req.ID)
	if err != nil {
		return nil, err
	}
	var row db.Replay
	err = s.Store.InTenant(ctx, tenantOf(ctx), func(q *db.Queries) (err error) {
		row, err = q.GetReplay(ctx, id)
		return store.Found(err)
	})
	if err != nil {
		return nil, fmt.Errorf("replay %s: %w", id, err)
	}
	return openapi.GetReplay200JSONResponse(showReplay(row)), nil
}

// CancelReplay serves DELETE /api/replays/{id}. Once it has answered, nothing
// more is put into the queue. Again is once; of another end there is nothing to
// cancel.
func (s *Service) CancelReplay(ctx context.Context, req openapi.CancelReplayRequestObject) (openapi.CancelReplayResponseObject, error) {
	id, err := param.ID(req.ID)
	if err != nil {
		return nil, err
	}
	err = s.Store.InTenant(ctx, tenantOf(ctx), func(q *db.Queries) error {
		cancelled, err := q.CancelReplay(ctx, id)
		if err != nil {
			return err
		}
		row, err := q.GetReplay(ctx, id)
		if err != nil {
			return store.Found(err)
		}
		shown := showReplay(row)
		switch {
		case cancelled > 0:
			return audit.Record(ctx, q, audit.Change{
				Action: "replay.cancelled", SubjectType: "replay", SubjectID: id.String(), After: shown,
			})
		case shown.State != openapi.ReplayStateCancelled:
			return problem.Conflict("the replay has ended: it is " + string(shown.State))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cancel replay %s: %w", id, err)
	}
	return openapi.CancelReplay204Response{}, nil
}

func showReplay(row db.Replay) openapi.Replay {
	r := openapi.Replay{
		ID: row.ID, WebhookID: row.WebhookID, State: replayStates[row.State], Since: row.Since.UTC(), Until: row.Until.UTC(),
		Events: row.Events, Status: statusAll, Inserted: row.Inserted, Skipped: row.Skipped, Failure: row.Failure,
		CreatedAt: row.CreatedAt.UTC(), FinishedAt: render.Time(row.FinishedAt),
	}
	if row.FailedOnly {
		r.Status = statusFailed
	}
	return r
}

// isUnique reports whether there is such a row already (SQLSTATE 23505).
func isUnique(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "23505"
}
