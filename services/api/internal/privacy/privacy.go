// Package privacy serves requests to forget: a contact, by a tenant; a tenant, by
// the platform. Workers do it (services/worker/jobs); what is asked for and the
// job that does it commit together.
package privacy

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/param"
	"github.com/primezap/primezap/services/api/internal/render"
)

// Service implements the operations on erasures and tenant deletions.
type Service struct {
	Store     *store.Store
	JetStream jetstream.JetStream // says what was accepted by now
	Jobs      *jobs.Inserter
	Deleted   func() // called when a tenant was deleted, before the answer
}

const (
	maxContact = 256 // characters of a contact's id
	storeAway  = 2 * time.Second
)

// CreateErasure serves POST /api/erasures. What is accepted of the contact after
// it is new, and stays, unless the contact is kept here: then all goes that is of it
// until its row is gone.
func (s *Service) CreateErasure(ctx context.Context, req openapi.CreateErasureRequestObject) (openapi.CreateErasureResponseObject, error) {
	if n := utf8.RuneCountInString(req.Body.ContactID); n == 0 || n > maxContact {
		return nil, problem.Invalid(problem.FieldError{Pointer: "/contactId", Detail: fmt.Sprintf("must have 1 to %d characters", maxContact)})
	}
	contact := event.ContactKey(req.Body.ContactID)
	here, err := bus.Here(ctx, s.JetStream)
	if err != nil {
		return nil, problem.Unavailable(storeAway, "the event store cannot be reached").WithCause(err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make an erasure's id: %w", err)
	}
	principal, _ := auth.FromContext(ctx)
	var shown openapi.Erasure
	err = s.Store.InTenantTx(ctx, principal.Tenant, func(tx pgx.Tx, q *db.Queries) error {
		row, err := q.InsertErasure(ctx, db.InsertErasureParams{
			ID: id, TenantID: principal.Tenant, ContactID: &contact,
			Epoch: here.Epoch, LastSeq: int64(here.Last), LastTime: here.Time, //nolint:gosec // does not reach 2^63
		})
		if err != nil {
			return err
		}
		shown = showErasure(row)
		// Whose data it was is not to be learned from the log either.
		err = audit.Record(ctx, q, audit.Change{Action: "erasure.created", SubjectType: "erasure", SubjectID: id.String(), After: shown})
		if err != nil {
			return err
		}
		return s.Jobs.Insert(ctx, tx, jobs.Erasure{ID: id})
	})
	if err != nil {
		return nil, fmt.Errorf("create erasure: %w", err)
	}
	return openapi.CreateErasure202JSONResponse{
		Body: shown, Headers: openapi.CreateErasure202ResponseHeaders{Location: new("/api/erasures/" + id.String())},
	}, nil
}

// GetErasure serves GET /api/erasures/{id}.
func (s *Service) GetErasure(ctx context.Context, req openapi.GetErasureRequestObject) (openapi.GetErasureResponseObject, error) {
	var row db.Erasure
	err := s.find(ctx, req.ID, func(q *db.Queries, id uuid.UUID) (err error) {
		row, err = q.GetErasure(ctx, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read erasure: %w", err)
	}
	return openapi.GetErasure200JSONResponse(showErasure(row)), nil
}

// find reads a row of the tenant that the request acts for. Another tenant's is as
// if it were not there.
func (s *Service) find(ctx context.Context, name string, read func(*db.Queries, uuid.UUID) error) error {
	id, err := param.ID(name)
	if err != nil {
		return err
	}
	principal, _ := auth.FromContext(ctx)
	err = s.Store.InTenant(ctx, principal.Tenant, func(q *db.Queries) error { return read(q, id) })
	if errors.Is(err, pgx.ErrNoRows) {
		return store.ErrNotFound
	}
	return err
}

func showErasure(row db.Erasure) openapi.Erasure {
	return openapi.Erasure{
		ID: row.ID, State: state(row.StartedAt, row.FinishedAt), Records: row.Records, Events: row.Events, Bodies: row.Bodies, Logs: row.Logs,
		Deliveries: row.Deliveries, CreatedAt: row.CreatedAt.UTC(), FinishedAt: render.Time(row.FinishedAt),
	}
}

func state(started, finished *time.Time) openapi.JobState {
	switch {
	case finished != nil:
		return openapi.JobStateCompleted
	case started != nil:
		return openapi.JobStateRunning
	}
	return openapi.JobStatePending
}
