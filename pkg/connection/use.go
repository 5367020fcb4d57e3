package connection

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/outbox"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
)

// Usable is a connection that may be sent through, with its token.
type Usable struct {
	ID, Tenant uuid.UUID
	Channel    messaging.Channel
	ExternalID string
	Token      string

	sealed []byte // which token it is
	erred  bool
}

// String is for errors and logs: without the token.
func (u Usable) String() string { return string(u.Channel) + " connection " + u.ID.String() }

// GoString is String.
func (u Usable) GoString() string { return u.String() }

// ForUse reads a connection in the transaction that decides on a send. Until that
// one ends nobody can pause or delete the connection; it is to be the transaction's
// first lock, before the connection's rate limits. The error is store.ErrNotFound for
// one that is deleted or another tenant's, ErrPaused or ErrReconnect.
func ForUse(ctx context.Context, q *db.Queries, v *vault.Vault, tenant, id uuid.UUID) (Usable, error) {
	row, err := q.UseConnection(ctx, id, tenant)
	if err != nil {
		return Usable{}, fmt.Errorf("read connection %s: %w", id, store.Found(err))
	}
	switch Status(row.Status) {
	case Active:
	case Paused:
		return Usable{}, ErrPaused
	default:
		return Usable{}, ErrReconnect
	}
	return usable(v, db.Connection{
		ID: row.ID, TenantID: row.TenantID, Channel: row.Channel, ExternalID: row.ExternalID, Credentials: row.Credentials, LastError: row.LastError,
	})
}

// Open is for what is asked of Meta about an account, rather than sent: what its page is
// subscribed to, say. It needs no lock, and a connection that is paused has it, too. The
// error is ErrReconnect where Meta refused the token that the row has, or it has none.
func Open(v *vault.Vault, row db.Connection) (Usable, error) {
	if row.TokenRefused {
		return Usable{}, ErrReconnect
	}
	return usable(v, row)
}

func usable(v *vault.Vault, row db.Connection) (Usable, error) {
	if row.Credentials == nil {
		return Usable{}, ErrReconnect
	}
	token, err := open(v, row.TenantID, row.ID, row.Credentials)
	if err != nil {
		return Usable{}, fmt.Errorf("token of connection %s: %w", row.ID, err)
	}
	return Usable{
		ID: row.ID, Tenant: row.TenantID, Channel: messaging.Channel(row.Channel), ExternalID: row.ExternalID, Token: token,
		sealed: row.Credentials, erred: row.LastError != nil,
	}, nil
}

// maxError bounds what is kept of Meta's words, in bytes.
const maxError = 1000

// Refused keeps what Meta answered to a use of u. If it is the token that it
// refuses, the connection waits for another one from now on, which the audit log
// tells, and an event. A connection that has another token by now, or none, stays as it
// is.
func Refused(ctx context.Context, q *db.Queries, u Usable, message string, token bool) error {
	before, err := q.LockConnection(ctx, u.ID, u.Tenant)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lock connection %s: %w", u.ID, err)
	}
	after, err := q.RefuseConnection(ctx, db.RefuseConnectionParams{
		ID: u.ID, TenantID: u.Tenant, Credentials: u.sealed, TokenRefused: token, Message: new(bounded(message)),
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keep the error of connection %s: %w", u.ID, err)
	}
	if before.Status == after.Status {
		return nil
	}
	if err := record(ctx, q, audit.System, "connection.token_refused", &before, &after); err != nil {
		return err
	}
	return outbox.Raise(ctx, q, waits(after, TokenRefused))
}

// Succeeded forgets what Meta refused before u was used. It writes only where there
// is something to forget.
func Succeeded(ctx context.Context, q *db.Queries, u Usable) error {
	if !u.erred {
		return nil
	}
	if err := q.ClearConnectionError(ctx, u.ID, u.Tenant, u.sealed); err != nil {
		return fmt.Errorf("forget the error of connection %s: %w", u.ID, err)
	}
	return nil
}

// bounded is what Postgres takes of a text from outside.
func bounded(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "")
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "")
	}
	return text
}
