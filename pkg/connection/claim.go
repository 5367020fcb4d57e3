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
	"github.com/primezap/primezap/pkg/outbox"
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
	GrantID     *uuid.UUID // by which it is connected, nil for a token that somebody gave
}

// ids are what updates may know the account by.
func (a Account) ids() []string {
	ids := []string{a.ExternalID}
	if a.PageID != nil {
		ids = append(ids, *a.PageID)
	}
	return slices.Compact(ids)
}

// Create connects an account in a transaction of the tenant. The error is ErrTaken
// if there is a live connection of it, or one whose page or account id is one of
// its: updates would go astray.
func Create(ctx context.Context, q *db.Queries, v *vault.Vault, tenant uuid.UUID, a Account) (db.Connection, error) {
	if err := lock(ctx, q, a); err != nil {
		return db.Connection{}, err
	}
	taken, err := find(ctx, q, a)
	if err != nil {
		return db.Connection{}, err
	}
	if len(taken) > 0 {
		return db.Connection{}, ErrTaken
	}
	return insert(ctx, q, v, tenant, a)
}

// lock lets one look at a time, of all who connect one of the accounts at once.
func lock(ctx context.Context, q *db.Queries, accounts ...Account) error {
	var names []string
	for _, a := range accounts {
		for _, id := range a.ids() {
			names = append(names, "account "+string(a.Channel)+" "+id)
		}
	}
	if err := q.LockAccounts(ctx, names); err != nil {
		return fmt.Errorf("lock the accounts: %w", err)
	}
	return nil
}

// find finds live connections, whoever's, by what updates may know them by.
func find(ctx context.Context, q *db.Queries, accounts ...Account) ([]db.FindConnectionsRow, error) {
	var channels, ids []string
	for _, a := range accounts {
		for _, id := range a.ids() {
			channels, ids = append(channels, string(a.Channel)), append(ids, id)
		}
	}
	rows, err := q.FindConnections(ctx, channels, ids)
	if err != nil {
		return nil, fmt.Errorf("look for the accounts' connections: %w", err)
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
		Credentials: sealed, AccountName: a.AccountName, GrantID: a.GrantID,
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return db.Connection{}, ErrTaken
	}
	if err != nil {
		return db.Connection{}, fmt.Errorf("insert connection: %w", err)
	}
	return row, nil
}

// SetToken gives a row a token that Meta takes, or that nobody has asked Meta about:
// what Meta refused of the one before is forgotten, and so is the grant that it came by.
func SetToken(v *vault.Vault, row *db.Connection, token string) error {
	sealed, err := seal(v, row.TenantID, row.ID, token)
	if err != nil {
		return err
	}
	row.Credentials, row.TokenRefused, row.LastError, row.LastErrorAt, row.GrantID = sealed, false, nil, nil, nil
	if Status(row.Status) == Reconnect {
		row.Status = string(Active)
	}
	return nil
}

// Update stores a row that was locked in the same transaction.
func Update(ctx context.Context, q *db.Queries, row db.Connection) (db.Connection, error) {
	stored, err := q.UpdateConnection(ctx, db.UpdateConnectionParams{
		ID: row.ID, TenantID: row.TenantID, Name: row.Name, PageID: row.PageID, Status: row.Status, Credentials: row.Credentials,
		TokenRefused: row.TokenRefused, AccountName: row.AccountName, LastError: row.LastError, LastErrorAt: row.LastErrorAt, GrantID: row.GrantID,
	})
	if err != nil {
		return db.Connection{}, fmt.Errorf("update connection %s: %w", row.ID, store.Found(err))
	}
	return stored, nil
}

// Delete deletes a connection that was locked in the same transaction, softly, as the
// tenant wants it: its token is gone, and so is what it had used of its rate limits. The
// audit log and an event tell so.
func Delete(ctx context.Context, q *db.Queries, actor string, row db.Connection) error {
	deleted, err := q.DeleteConnection(ctx, row.ID, row.TenantID)
	if err != nil {
		return fmt.Errorf("delete connection %s: %w", row.ID, store.Found(err))
	}
	if err := q.ForgetRateLimits(ctx, row.ID); err != nil {
		return fmt.Errorf("forget the rate limits of connection %s: %w", row.ID, err)
	}
	if err := record(ctx, q, actor, "connection.deleted", &row, nil); err != nil {
		return err
	}
	return outbox.Raise(ctx, q, disconnected(deleted, Disconnected))
}

// RaiseMoved raises connection.disconnected of a connection that was another tenant's
// before it was claimed: on the worker's role, which crosses tenants. Of one that is no
// more there is nothing to tell.
func RaiseMoved(ctx context.Context, q *db.Queries, id uuid.UUID) error {
	row, err := q.LockReleasedConnection(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read connection %s: %w", id, err)
	}
	return outbox.Raise(ctx, q, disconnected(row, Moved))
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
