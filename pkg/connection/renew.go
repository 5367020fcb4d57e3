package connection

import (
	"context"

	"github.com/primezap/primezap/pkg/outbox"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
)

// Renewed gives a row, which was locked in the same transaction, a token that Meta takes:
// the audit log tells so, and an event if the connection waited for one. What has that
// token already, and none refused, stays as it is. sameGrant: the token came by the grant
// that the row has; else the row has none any more.
func Renewed(ctx context.Context, q *db.Queries, v *vault.Vault, actor string, before db.Connection, token string, sameGrant bool) (db.Connection, error) {
	if Holds(v, before, token) && !before.TokenRefused {
		return before, nil
	}
	row := before
	if err := SetToken(v, &row, token); err != nil {
		return db.Connection{}, err
	}
	if sameGrant {
		row.GrantID = before.GrantID
	}
	after, err := Update(ctx, q, row)
	if err != nil {
		return db.Connection{}, err
	}
	if err := record(ctx, q, actor, "connection.updated", &before, &after); err != nil {
		return db.Connection{}, err
	}
	if !before.TokenRefused {
		return after, nil
	}
	return after, outbox.Raise(ctx, q, connected(after))
}
