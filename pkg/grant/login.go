package grant

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/quota"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
)

// maxGrants is how many users' grants a tenant has at most.
const maxGrants = 100

var (
	// ErrTooMany says that as many users have logged in for the tenant as may.
	ErrTooMany = fmt.Errorf("the tenant has the grants of as many users as it may have, %d", maxGrants)
	// ErrReplaced says that somebody logged in again meanwhile, or that the token was
	// refused: what was got with the one before is of no use.
	ErrReplaced = errors.New("the grant has another token by now, or none")
)

// all are a tenant's grants, for their lock alone.
var all = quota.Kind{Name: "grants", Max: maxGrants}

// Login is what somebody allowed by logging in.
type Login struct {
	UserID, UserName string
	Permission
}

// Permission is a user's token and what it is good for.
type Permission struct {
	Token               string
	ExpiresAt           time.Time // zero: never
	DataAccessExpiresAt time.Time // zero: never
	Scopes              []string  // granted
	Missing             []string  // asked for, and not granted
}

// String is for errors and logs: without the token.
func (p Permission) String() string { return "permission until " + p.ExpiresAt.Format(time.RFC3339) }

// GoString is String.
func (p Permission) GoString() string { return p.String() }

// Save keeps a login in a transaction of the tenant: the user's grant is made, or has
// what the last login brought. It is locked then, and accounts can be connected by it.
// The error is ErrTooMany for one user too many.
func Save(ctx context.Context, q *db.Queries, v *vault.Vault, tenant uuid.UUID, actor string, in Login) (db.OauthGrant, error) {
	if err := all.Lock(ctx, q, tenant); err != nil {
		return db.OauthGrant{}, err
	}
	before, err := q.LockGrantOfUser(ctx, tenant, in.UserID)
	if errors.Is(err, pgx.ErrNoRows) {
		return create(ctx, q, v, tenant, actor, in)
	}
	if err != nil {
		return db.OauthGrant{}, fmt.Errorf("lock the user's grant: %w", err)
	}
	sealed, err := seal(v, tenant, before.ID, in.Token)
	if err != nil {
		return db.OauthGrant{}, err
	}
	after, err := q.RenewGrant(ctx, db.RenewGrantParams{
		ID: before.ID, TenantID: tenant, UserName: in.UserName, Credentials: sealed, Scopes: list(in.Scopes), MissingScopes: list(in.Missing),
		ExpiresAt: end(in.ExpiresAt), DataAccessExpiresAt: end(in.DataAccessExpiresAt),
	})
	if err != nil {
		return db.OauthGrant{}, fmt.Errorf("renew grant %s: %w", before.ID, err)
	}
	return after, record(ctx, q, actor, "grant.renewed", &before, &after)
}

func create(ctx context.Context, q *db.Queries, v *vault.Vault, tenant uuid.UUID, actor string, in Login) (db.OauthGrant, error) {
	have, err := q.CountGrants(ctx, tenant, maxGrants)
	if err != nil {
		return db.OauthGrant{}, fmt.Errorf("count grants: %w", err)
	}
	if have >= maxGrants {
		return db.OauthGrant{}, ErrTooMany
	}
	id, err := uuid.NewV7()
	if err != nil {
		return db.OauthGrant{}, fmt.Errorf("make a grant's id: %w", err)
	}
	sealed, err := seal(v, tenant, id, in.Token)
	if err != nil {
		return db.OauthGrant{}, err
	}
	row, err := q.InsertGrant(ctx, db.InsertGrantParams{
		ID: id, TenantID: tenant, UserID: in.UserID, UserName: in.UserName, Credentials: sealed, Scopes: list(in.Scopes), MissingScopes: list(in.Missing),
		ExpiresAt: end(in.ExpiresAt), DataAccessExpiresAt: end(in.DataAccessExpiresAt),
	})
	if err != nil {
		return db.OauthGrant{}, fmt.Errorf("insert grant: %w", err)
	}
	return row, record(ctx, q, actor, "grant.created", nil, &row)
}

// Renew keeps what Meta gave for the token of g: another one of the same login. It does
// so only if the grant still has the token of g, and is ErrReplaced else.
func Renew(ctx context.Context, q *db.Queries, v *vault.Vault, actor string, g Grant, fresh Permission) (db.OauthGrant, error) {
	before, err := Lock(ctx, q, g.Row.TenantID, g.Row.ID)
	if err != nil {
		return db.OauthGrant{}, err
	}
	// The token itself is compared: it may have been sealed again.
	if has, err := Open(v, before); errors.Is(err, ErrReconnect) || err == nil && has.token != g.token {
		return db.OauthGrant{}, ErrReplaced
	} else if err != nil {
		return db.OauthGrant{}, err
	}
	sealed, err := seal(v, before.TenantID, before.ID, fresh.Token)
	if err != nil {
		return db.OauthGrant{}, err
	}
	after, err := q.RefreshGrant(ctx, db.RefreshGrantParams{
		ID: before.ID, TenantID: before.TenantID, Credentials: sealed, Scopes: list(fresh.Scopes), MissingScopes: list(fresh.Missing),
		ExpiresAt: end(fresh.ExpiresAt), DataAccessExpiresAt: end(fresh.DataAccessExpiresAt),
	})
	if err != nil {
		return db.OauthGrant{}, fmt.Errorf("refresh grant %s: %w", before.ID, err)
	}
	return after, record(ctx, q, actor, "grant.refreshed", &before, &after)
}

// Lock reads a grant, and keeps it as it is until the transaction ends. The error is
// store.ErrNotFound for one that is gone or another tenant's.
func Lock(ctx context.Context, q *db.Queries, tenant, id uuid.UUID) (db.OauthGrant, error) {
	row, err := q.LockGrant(ctx, id, tenant)
	if err != nil {
		return db.OauthGrant{}, fmt.Errorf("lock grant %s: %w", id, store.Found(err))
	}
	return row, nil
}

// Read reads a grant, with its token. The error is store.ErrNotFound for one that is gone
// or another tenant's, and ErrReconnect, with the row, for one without a token.
func Read(ctx context.Context, q *db.Queries, v *vault.Vault, tenant, id uuid.UUID) (Grant, error) {
	row, err := q.GetGrant(ctx, id, tenant)
	if err != nil {
		return Grant{}, fmt.Errorf("read grant %s: %w", id, store.Found(err))
	}
	g, err := Open(v, row)
	g.Row = row
	return g, err
}

// List reads all grants of a tenant, newest first.
func List(ctx context.Context, q *db.Queries, tenant uuid.UUID) ([]db.OauthGrant, error) {
	rows, err := q.ListGrants(ctx, tenant, maxGrants)
	if err != nil {
		return nil, fmt.Errorf("list grants: %w", err)
	}
	return rows, nil
}

// end is a column's value of when something ends.
func end(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
