// Package audit records who changed what.
package audit

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/store/db"
)

// Change is one change of a tenant's configuration.
type Change struct {
	Action string // what was done: "webhook.updated"
	// Subject is what it was done to.
	SubjectType, SubjectID string
	// Before and After are the subject as the API shows it, so without secrets; nil
	// for what was created or deleted.
	Before, After any
}

// Record writes a change made by the principal in ctx into the transaction of
// the change itself: neither stands without the other.
func Record(ctx context.Context, q *db.Queries, c Change) error {
	p, _ := auth.FromContext(ctx)
	return RecordBy(ctx, q, p.Tenant, p.Actor, c)
}

// System is the actor of what nobody asked for.
const System = "system"

// RecordBy is Record for a tenant and an actor that no request names.
func RecordBy(ctx context.Context, q *db.Queries, tenant uuid.UUID, actor string, c Change) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("audit: make an id: %w", err)
	}
	row := db.InsertAuditParams{
		ID: id, TenantID: tenant, Actor: actor, Action: c.Action, SubjectType: c.SubjectType, SubjectID: c.SubjectID,
	}
	if row.Before, err = encode(c.Before); err != nil {
		return fmt.Errorf("audit: %s before: %w", c.Action, err)
	}
	if row.After, err = encode(c.After); err != nil {
		return fmt.Errorf("audit: %s after: %w", c.Action, err)
	}
	if err := q.InsertAudit(ctx, row); err != nil {
		return fmt.Errorf("audit: %s: %w", c.Action, err)
	}
	return nil
}

func encode(state any) ([]byte, error) {
	if state == nil {
		return nil, nil
	}
	return json.Marshal(state)
}
