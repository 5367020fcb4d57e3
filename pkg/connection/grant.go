package connection

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/outbox"
	"github.com/primezap/primezap/pkg/store/db"
)

// OfGrant locks the live connections that came by a grant, in the order of their ids,
// and returns them. Whoever locks the grant's row does so before.
func OfGrant(ctx context.Context, q *db.Queries, tenant, grant uuid.UUID) ([]db.Connection, error) {
	rows, err := q.LockConnectionsOfGrant(ctx, tenant, &grant)
	if err != nil {
		return nil, fmt.Errorf("lock the connections of grant %s: %w", grant, err)
	}
	return rows, nil
}

// LookAt has a worker find out soon what the tokens are worth that came by a grant, which
// Meta refused: they are other ones, and die of some of the same causes.
func LookAt(ctx context.Context, q *db.Queries, tenant, grant uuid.UUID) error {
	if _, err := OfGrant(ctx, q, tenant, grant); err != nil { // locked in their order
		return err
	}
	if err := q.LookAtConnectionsOf(ctx, tenant, &grant); err != nil {
		return fmt.Errorf("have the connections of grant %s looked at: %w", grant, err)
	}
	return nil
}

// ForgetTokens forgets the tokens of the connections that came by a grant, which Meta
// takes no more since the user took the permission back: for Deauthorized or DataDeleted.
// They wait for others, which the audit log tells, and an event of each that did not wait
// before.
func ForgetTokens(ctx context.Context, q *db.Queries, tenant, grant uuid.UUID, reason Reason) error {
	rows, err := OfGrant(ctx, q, tenant, grant)
	if err != nil {
		return err
	}
	var events []outbox.Event
	for _, before := range rows {
		if before.Credentials == nil {
			continue
		}
		after, err := q.ForgetToken(ctx, before.ID, tenant)
		if err != nil {
			return fmt.Errorf("forget the token of connection %s: %w", before.ID, err)
		}
		if err := record(ctx, q, audit.System, "connection."+string(reason), &before, &after); err != nil {
			return err
		}
		if !before.TokenRefused {
			events = append(events, waits(after, reason))
		}
	}
	return outbox.RaiseAll(ctx, q, events)
}
