package connection

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
)

// Account is what a tenant connects.
type Account struct {
	Channel     messaging.Channel
	ExternalID  string
	PageID      *string // of an Instagram account, where it is known
	Name        string  // the tenant's
	AccountName *string // Meta's, nil where it was not asked
	Token       string
}

// ids are what updates may know the account by, in the order of their locks.
func (a Account) ids() []string {
	ids := []string{a.ExternalID}
	if a.PageID != nil {
		ids = append(ids, *a.PageID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Create connects an account in a transaction of the tenant. The error is ErrTaken
// if there is a live connection of it, or one whose page or account id is one of
// its: updates would go astray.
func Create(ctx context.Context, q *db.Queries, v *vault.Vault, tenant uuid.UUID, a Account) (db.Connection, error) {
	if err := lock(ctx, q, a); err != nil {
		return db.Connection{}, err
	}
	taken, err := find(ctx, q, a.Channel, a.ids()...)
	if err != nil {
		return db.Connection{}, err
	}
	if len(taken) > 0 {
		return db.Connection{}, ErrTaken
	}
	return insert(ctx, q, v, tenant, a)
}

// Claim connects an account for a tenant that has proven that it is its own, in a
// transaction of that tenant: a connection that another tenant has of it is deleted,
// and the audit logs of both say that it moved. A connection that the tenant has of it
// itself gets the token and keeps its name.
func Claim(ctx context.Context, q *db.Queries, v *vault.Vault, tenant uuid.UUID, actor string, a Account) (db.Connection, error) {
	if err := lock(ctx, q, a); err != nil {
		return db.Connection{}, err
	}
	released, err := q.ReleaseConnections(ctx, string(a.Channel), a.ExternalID, a.PageID)
	if err != nil {
		return db.Connection{}, fmt.Errorf("release the account: %w", err)
	}
	own, err := find(ctx, q, a.Channel, a.ExternalID)
	if err != nil {
		return db.Connection{}, err
	}
	if len(own) > 0 { // all others' are released
		return renew(ctx, q, v, tenant, actor, own[0].ID, a)
	}
	row, err := insert(ctx, q, v, tenant, a)
	if err != nil {
		return db.Connection{}, err
	}
	action := "connection.created"
	if released > 0 {
		action = "connection.moved_here"
	}
	return row, record(ctx, q, actor, action, nil, &row)
}

// lock lets one look at a time, of all who connect an account at once.
func lock(ctx context.Context, q *db.Queries, a Account) error {
	for _, id := range a.ids() {
		if err := q.LockAccount(ctx, string(a.Channel), id); err != nil {
			return fmt.Errorf("lock the account: %w", err)
		}
	}
	return nil
}

// find finds live connections, whoever's, by what updates may know them by.
func find(ctx context.Context, q *db.Queries, channel messaging.Channel, ids ...string) ([]db.FindConnectionsRow, error) {
	rows, err := q.FindConnections(ctx, slices.Repeat([]string{string(channel)}, len(ids)), ids)
	if err != nil {
		return nil, fmt.Errorf("look for the account's connection: %w", err)
	}
	return rows, nil
}

func insert(ctx context.Context, q *db.Queries, v *vault.Vault, tenant uuid.UUID, a Account) (db.Connection, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return db.Connection{}, fmt.Errorf("make a connection's id: %w", err)
	}
	sealed, err := seal(v, tenant, id, a.Token)
	if err != nil {
		return db.Connection{}, err
	}
	row, err := q.InsertConnection(ctx, db.InsertConnectionParams{
		ID: id, TenantID: tenant, Channel: string(a.Channel), Name: a.Name, ExternalID: a.ExternalID, PageID: a.PageID,
		Credentials: sealed, AccountName: a.AccountName,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return db.Connection{}, ErrTaken
	}
	if err != nil {
		return db.Connection{}, fmt.Errorf("insert connection: %w", err)
	}
	return row, nil
}

// renew gives a tenant's own connection what it has proven again.
func renew(ctx context.Context, q *db.Queries, v *vault.Vault, tenant uuid.UUID, actor string, id uuid.UUID, a Account) (db.Connection, error) {
	before, err := q.LockConnection(ctx, id, tenant)
	if err != nil {
		return db.Connection{}, fmt.Errorf("lock connection %s: %w", id, store.Found(err))
	}
	row := before
	if a.PageID != nil {
		row.PageID = a.PageID
	}
	if a.AccountName != nil {
		row.AccountName = a.AccountName
	}
	if err := SetToken(v, &row, a.Token); err != nil {
		return db.Connection{}, err
	}
	after, err := Update(ctx, q, row)
	if err != nil {
		return db.Connection{}, err
	}
	return after, record(ctx, q, actor, "connection.updated", &before, &after)
}

// SetToken gives a row a token that Meta takes, or that nobody has asked Meta about:
// what Meta refused of the one before is forgotten.
func SetToken(v *vault.Vault, row *db.Connection, token string) error {
	sealed, err := seal(v, row.TenantID, row.ID, token)
	if err != nil {
		return err
	}
	row.Credentials, row.TokenRefused, row.LastError, row.LastErrorAt = sealed, false, nil, nil
	if Status(row.Status) == Reconnect {
		row.Status = string(Active)
	}
	return nil
}

// Update stores a row that was locked in the same transaction.
func Update(ctx context.Context, q *db.Queries, row db.Connection) (db.Connection, error) {
	stored, err := q.UpdateConnection(ctx, db.UpdateConnectionParams{
		ID: row.ID, TenantID: row.TenantID, Name: row.Name, PageID: row.PageID, Status: row.Status, Credentials: row.Credentials,
		TokenRefused: row.TokenRefused, AccountName: row.AccountName, LastError: row.LastError, LastErrorAt: row.LastErrorAt,
	})
	if err != nil {
		return db.Connection{}, fmt.Errorf("update connection %s: %w", row.ID, store.Found(err))
	}
	return stored, nil
}

// Delete deletes a connection that was locked in the same transaction, softly: its
// token is gone, and so is what it had used of its rate limits.
func Delete(ctx context.Context, q *db.Queries, row db.Connection) error {
	if err := q.DeleteConnection(ctx, row.ID, row.TenantID); err != nil {
		return fmt.Errorf("delete connection %s: %w", row.ID, err)
	}
	if err := q.ForgetRateLimits(ctx, row.ID); err != nil {
		return fmt.Errorf("forget the rate limits of connection %s: %w", row.ID, err)
	}
	return nil
}

// record writes a change into the audit log, in the transaction of the change.
func record(ctx context.Context, q *db.Queries, actor, action string, before, after *db.Connection) error {
	change := audit.Change{Action: action, SubjectType: "connection"}
	var tenant uuid.UUID
	if before != nil {
		tenant, change.SubjectID, change.Before = before.TenantID, before.ID.String(), Show(*before)
	}
	if after != nil {
		tenant, change.SubjectID, change.After = after.TenantID, after.ID.String(), Show(*after)
	}
	return audit.RecordBy(ctx, q, tenant, actor, change)
}
