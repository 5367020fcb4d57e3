package grant

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/store/db"
)

// Refuse keeps that a grant is worth nothing any more, in a transaction of its tenant.
// read is its row as it was when that became known: a login since then stands, and the
// answer is false. Reasons:
//
//	connection.TokenRefused  Meta does not take the user's token. It is forgotten, and
//	                         the grant waits for another login. The tokens of its pages
//	                         are other ones, which may well outlive it: connections stay
//	                         as they are, and a worker asks Meta for them soon.
//	connection.Deauthorized  The user took all of it back: the tokens of the pages are
//	                         forgotten, too, and their connections wait for others.
//	connection.DataDeleted   The same; and the grant is deleted, with the user's id and
//	                         name, and its connections no longer name it.
//
// It may be repeated: audit log and events tell of it once.
func Refuse(ctx context.Context, q *db.Queries, read db.OauthGrant, reason connection.Reason) (refused bool, err error) {
	before, err := q.LockGrant(ctx, read.ID, read.TenantID)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("lock grant %s: %w", read.ID, err)
	}
	if !before.GrantedAt.Equal(read.GrantedAt) {
		return false, nil
	}
	if reason == connection.TokenRefused {
		// It may have been refreshed, too.
		if before.Credentials == nil || !bytes.Equal(before.Credentials, read.Credentials) {
			return false, nil
		}
		if err := connection.LookAt(ctx, q, before.TenantID, before.ID); err != nil {
			return false, err
		}
		return true, wait(ctx, q, before, reason)
	}
	if err := connection.ForgetTokens(ctx, q, before.TenantID, before.ID, reason); err != nil {
		return false, err
	}
	if reason == connection.DataDeleted {
		return true, remove(ctx, q, audit.System, "grant."+string(reason), before)
	}
	return true, wait(ctx, q, before, reason)
}

// wait makes a grant wait for another login, unless it does.
func wait(ctx context.Context, q *db.Queries, before db.OauthGrant, reason connection.Reason) error {
	if Status(before.Status) == Reconnect && before.Credentials == nil {
		return nil
	}
	after, err := q.RefuseGrant(ctx, before.ID, before.TenantID)
	if err != nil {
		return fmt.Errorf("refuse grant %s: %w", before.ID, err)
	}
	return record(ctx, q, audit.System, "grant."+string(reason), &before, &after)
}

// Remove deletes a grant that was locked in the same transaction, as the tenant wants it.
// Connections that came by it and are to be gone as well are deleted before; others no
// longer name it.
func Remove(ctx context.Context, q *db.Queries, actor string, row db.OauthGrant) error {
	return remove(ctx, q, actor, "grant.deleted", row)
}

func remove(ctx context.Context, q *db.Queries, actor, action string, row db.OauthGrant) error {
	if err := q.ForgetGrant(ctx, row.TenantID, &row.ID); err != nil {
		return fmt.Errorf("forget grant %s: %w", row.ID, err)
	}
	if err := q.DeleteGrant(ctx, row.ID, row.TenantID); err != nil {
		return fmt.Errorf("delete grant %s: %w", row.ID, err)
	}
	return record(ctx, q, actor, action, &row, nil)
}

// audited is a grant in the audit log, which nothing is ever taken out of: it does not
// name the user, who may ask for that.
type audited struct {
	ID                  uuid.UUID  `json:"id"`
	Status              Status     `json:"status"`
	GrantedScopes       []string   `json:"grantedScopes"`
	MissingScopes       []string   `json:"missingScopes"`
	ExpiresAt           *time.Time `json:"expiresAt"`
	DataAccessExpiresAt *time.Time `json:"dataAccessExpiresAt"`
}

// record writes a change into the audit log, in the transaction of the change.
func record(ctx context.Context, q *db.Queries, actor, action string, before, after *db.OauthGrant) error {
	change := audit.Change{Action: action, SubjectType: "grant"}
	var tenant uuid.UUID
	for _, side := range []struct {
		row  *db.OauthGrant
		into *any
	}{{before, &change.Before}, {after, &change.After}} {
		if side.row == nil {
			continue
		}
		v := Show(*side.row)
		tenant, change.SubjectID = side.row.TenantID, v.ID.String()
		*side.into = audited{
			ID: v.ID, Status: v.Status, GrantedScopes: v.GrantedScopes, MissingScopes: v.MissingScopes,
			ExpiresAt: v.ExpiresAt, DataAccessExpiresAt: v.DataAccessExpiresAt,
		}
	}
	return audit.RecordBy(ctx, q, tenant, actor, change)
}
