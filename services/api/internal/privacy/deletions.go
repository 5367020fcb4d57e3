package privacy

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/param"
	"github.com/primezap/primezap/services/api/internal/render"
)

// CreateTenantDeletion serves POST /api/tenant-deletions. Asked for again, by the
// same platform, it answers with the deletion that there is.
func (s *Service) CreateTenantDeletion(ctx context.Context, req openapi.CreateTenantDeletionRequestObject) (openapi.CreateTenantDeletionResponseObject, error) {
	principal, _ := auth.FromContext(ctx)
	target, ok := param.UUID(req.Body.TenantID)
	switch {
	case !ok || target == uuid.Nil:
		return nil, problem.Invalid(problem.FieldError{Pointer: "/tenantId", Detail: "must be a UUID"})
	case target == principal.Tenant:
		// Nobody could read the deletion's progress.
		return nil, problem.Invalid(problem.FieldError{Pointer: "/tenantId", Detail: "must not be the tenant that the request acts for"})
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make a deletion's id: %w", err)
	}
	var row db.TenantDeletion
	err = s.Store.InTenantTx(ctx, principal.Tenant, func(tx pgx.Tx, q *db.Queries) error {
		done, err := q.DeleteTenant(ctx, target)
		if err != nil {
			return fmt.Errorf("mark tenant: %w", err)
		}
		if !done {
			row, err = q.FindTenantDeletion(ctx, target)
			if errors.Is(err, pgx.ErrNoRows) {
				return problem.Conflict("the tenant was deleted before, by another platform tenant")
			}
			return err
		}
		if row, err = q.InsertTenantDeletion(ctx, id, principal.Tenant, target); err != nil {
			return err
		}
		err = audit.Record(ctx, q, audit.Change{
			Action: "tenant.deleted", SubjectType: "tenant", SubjectID: target.String(), After: showDeletion(row),
		})
		if err != nil {
			return err
		}
		return s.Jobs.Insert(ctx, tx, jobs.TenantDeletion{ID: id})
	})
	if err != nil {
		return nil, fmt.Errorf("delete tenant: %w", err)
	}
	s.Deleted()
	return openapi.CreateTenantDeletion202JSONResponse{
		Body: showDeletion(row), Headers: openapi.CreateTenantDeletion202ResponseHeaders{Location: new("/api/tenant-deletions/" + row.ID.String())},
	}, nil
}

// GetTenantDeletion serves GET /api/tenant-deletions/{id}.
func (s *Service) GetTenantDeletion(ctx context.Context, req openapi.GetTenantDeletionRequestObject) (openapi.GetTenantDeletionResponseObject, error) {
	var row db.TenantDeletion
	err := s.find(ctx, req.ID, func(q *db.Queries, id uuid.UUID) (err error) {
		row, err = q.GetTenantDeletion(ctx, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read tenant deletion: %w", err)
	}
	return openapi.GetTenantDeletion200JSONResponse(showDeletion(row)), nil
}

func showDeletion(row db.TenantDeletion) openapi.TenantDeletion {
	return openapi.TenantDeletion{
		ID: row.ID, TenantID: row.TargetID, State: state(row.StartedAt, row.FinishedAt), Step: row.Step, Rows: row.Rows,
		CreatedAt: row.CreatedAt.UTC(), FinishedAt: render.Time(row.FinishedAt),
	}
}
