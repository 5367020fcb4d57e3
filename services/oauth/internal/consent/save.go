package consent

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
	"github.com/primezap/primezap/services/oauth/internal/refusal"
)

// stored is what became of what was found.
type stored struct {
	grant       uuid.UUID
	connections []*uuid.UUID // of what is connectable, in that order; nil where it is not connected
	warnings    []openapi.OAuthWarning
}

// save stores what was found, all of it or nothing, with its audit rows and events.
func (s *Service) save(ctx context.Context, p auth.Principal, f *found) (*stored, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Times.Storing)
	defer cancel()
	var result *stored
	err := s.Store.InTenant(ctx, p.Tenant, func(q *db.Queries) (err error) {
		result, err = s.connect(ctx, q, p, f)
		return err
	})
	return result, err
}

// connect is the transaction.
func (s *Service) connect(ctx context.Context, q *db.Queries, p auth.Principal, f *found) (*stored, error) {
	// The locks of the accounts come before that of the grant.
	if err := s.Connector.Lock(ctx, q, p.Tenant, f.connectable(uuid.Nil)...); err != nil {
		return nil, err
	}
	row, err := grant.Save(ctx, q, s.Vault, p.Tenant, p.Actor, grant.Login{
		UserID: f.user.ID, UserName: f.user.Name,
		Permission: grant.Permission{
			Token: f.token.AccessToken, ExpiresAt: f.token.ExpiresAt, DataAccessExpiresAt: f.info.DataAccessExpiresAt,
			Scopes: f.granted, Missing: f.missing,
		},
	})
	if err != nil {
		return nil, err
	}
	accounts := f.connectable(row.ID)
	outcomes, err := s.Connector.Connect(ctx, q, p.Tenant, p.Actor, accounts)
	if err != nil {
		return nil, err
	}
	result := &stored{grant: row.ID, connections: make([]*uuid.UUID, len(outcomes))}
	for i, o := range outcomes {
		if o.Err != nil {
			result.warnings = append(result.warnings, unconnected(accounts[i], o.Err))
			continue
		}
		result.connections[i] = &o.Connection.ID
	}
	return result, nil
}

// unconnected says why an account is not connected.
func unconnected(a connection.Account, err error) openapi.OAuthWarning {
	what, page, account := "page "+a.ExternalID, a.ExternalID, ""
	if a.Channel == messaging.Instagram {
		what, page, account = "Instagram account "+a.ExternalID, *a.PageID, a.ExternalID
	}
	if errors.Is(err, connection.ErrTaken) {
		return refusal.Warning(refusal.ConnectedElsewhere, what+" is connected by another tenant: subscribe_webhook takes it over", page, account, nil)
	}
	return refusal.Warning(refusal.ConnectionLimit, what+" is not connected: the tenant has as many connections as it may have", page, account, nil)
}
