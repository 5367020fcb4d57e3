// Package auditlog reads what package audit records.
package auditlog

import (
	"context"
	"fmt"
	"strings"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/page"
	"github.com/primezap/primezap/services/api/internal/param"
)

// Service implements the reading of the audit log.
type Service struct {
	Store *store.Store
}

const maxFilter = 200 // bytes: no action and no subject's id is longer

// ListAuditLog serves GET /api/audit-log.
func (s *Service) ListAuditLog(ctx context.Context, req openapi.ListAuditLogRequestObject) (openapi.ListAuditLogResponseObject, error) {
	p, _ := auth.FromContext(ctx)
	pages, faults := page.Parse(req.Params.Page, req.Params.Limit, req.Params.Cursor, page.TimeKeySize)
	filter := db.ListAuditParams{
		TenantID: p.Tenant,
		Action:   text("action", req.Params.Action, &faults),
		RowLimit: pages.Limit(), RowOffset: pages.Offset(),
	}
	filter.FromTime, filter.ToTime = param.Period(req.Params.From, req.Params.To, param.Beginning, param.FarFuture, &faults)
	subject := text("subjectId", req.Params.SubjectID, &faults)
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	filter.BeforeTime, filter.BeforeID = pages.AfterTime()
	var total int64
	var rows []db.AuditLog
	err := s.Store.InTenant(ctx, p.Tenant, func(q *db.Queries) (err error) {
		if subject == nil {
			total, rows, err = list(ctx, q, filter)
		} else {
			total, rows, err = listOf(ctx, q, *subject, filter)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list audit log: %w", err)
	}
	rows, pagination := page.Show(pages, rows, total, func(row db.AuditLog) []byte { return page.TimeKey(row.CreatedAt, row.ID) })
	entries := make([]openapi.AuditEntry, len(rows))
	for i, row := range rows {
		entries[i] = openapi.AuditEntry{
			ID: row.ID, Action: row.Action, Actor: row.Actor, SubjectType: row.SubjectType, SubjectID: row.SubjectID,
			Before: row.Before, After: row.After, CreatedAt: row.CreatedAt.UTC(),
		}
	}
	return openapi.ListAuditLog200JSONResponse{Data: entries, Pagination: pagination}, nil
}

func list(ctx context.Context, q *db.Queries, filter db.ListAuditParams) (total int64, rows []db.AuditLog, err error) {
	total, err = q.CountAudit(ctx, db.CountAuditParams{
		TenantID: filter.TenantID, FromTime: filter.FromTime, ToTime: filter.ToTime, Action: filter.Action, Cap: page.CountLimit,
	})
	if err != nil {
		return 0, nil, err
	}
	rows, err = q.ListAudit(ctx, filter)
	return total, rows, err
}

func listOf(ctx context.Context, q *db.Queries, subject string, filter db.ListAuditParams) (total int64, rows []db.AuditLog, err error) {
	total, err = q.CountAuditOf(ctx, db.CountAuditOfParams{
		TenantID: filter.TenantID, SubjectID: subject, FromTime: filter.FromTime, ToTime: filter.ToTime, Action: filter.Action,
		Cap: page.CountLimit,
	})
	if err != nil {
		return 0, nil, err
	}
	rows, err = q.ListAuditOf(ctx, db.ListAuditOfParams{
		TenantID: filter.TenantID, SubjectID: subject, FromTime: filter.FromTime, ToTime: filter.ToTime, Action: filter.Action,
		BeforeTime: filter.BeforeTime, BeforeID: filter.BeforeID, RowOffset: filter.RowOffset, RowLimit: filter.RowLimit,
	})
	return total, rows, err
}

// text is a filter that must be equal; what cannot stand in a row is refused.
func text(name string, value *string, faults *[]problem.FieldError) *string {
	if value != nil && (len(*value) > maxFilter || strings.ContainsFunc(*value, func(r rune) bool { return r <= ' ' || r > '~' })) {
		param.Fault(faults, name, "must have at most 200 visible ASCII characters")
	}
	return value
}
