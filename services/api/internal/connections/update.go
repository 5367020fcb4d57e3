package connections

import (
	"context"
	"fmt"
	"reflect"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/limits"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/param"
)

// UpdateConnection serves PATCH /api/connections/{id}. Sends that are being decided
// on are waited for: when it answers that the connection is paused, there are no more.
func (s *Service) UpdateConnection(ctx context.Context, req openapi.UpdateConnectionRequestObject) (openapi.UpdateConnectionResponseObject, error) {
	id, err := param.ID(req.ID)
	if err != nil {
		return nil, err
	}
	in := reader{}
	ask := in.verify(req.Params.Verify)
	wanted := in.patch(*req.Body)
	if err := in.err(); err != nil {
		return nil, err
	}
	var accountName *string
	if wanted.token != nil && ask {
		row, err := s.read(ctx, id)
		if err != nil {
			return nil, err
		}
		accountName, err = s.check(ctx, connection.Account{
			Channel: messaging.Channel(row.Channel), ExternalID: row.ExternalID, PageID: row.PageID, Token: *wanted.token,
		})
		if err != nil {
			return nil, err
		}
	}
	tenant := tenantOf(ctx)
	var row db.Connection
	err = s.Store.InTenant(ctx, tenant, func(q *db.Queries) error {
		before, err := q.LockConnection(ctx, id, tenant)
		if err != nil {
			return store.Found(err)
		}
		row = before
		if err := s.apply(&row, wanted); err != nil {
			return err
		}
		if accountName != nil {
			row.AccountName = accountName
		}
		if wanted.limits != nil {
			if err := s.limit(ctx, q, row, wanted.limits); err != nil {
				return err
			}
		}
		if reflect.DeepEqual(before, row) { // leaves no trace
			return nil
		}
		if row, err = connection.Update(ctx, q, row); err != nil {
			return err
		}
		return record(ctx, q, "connection.updated", &before, &row)
	})
	if err != nil {
		return nil, fmt.Errorf("change connection %s: %w", id, err)
	}
	return openapi.UpdateConnection200JSONResponse(connection.Show(row)), nil
}

// apply changes a row as is wanted, all but its limits.
func (s *Service) apply(row *db.Connection, wanted patch) error {
	if wanted.name != nil {
		row.Name = *wanted.name
	}
	// The token that it has changes nothing, unless there is something to forget.
	if wanted.token != nil && (row.TokenRefused || row.LastError != nil || !connection.Holds(s.Vault, *row, *wanted.token)) {
		if err := connection.SetToken(s.Vault, row, *wanted.token); err != nil {
			return err
		}
	}
	if wanted.status != nil {
		if *wanted.status == connection.Active && row.TokenRefused {
			return problem.Conflict("Meta refused the token that the connection has: it becomes active with another one")
		}
		row.Status = string(*wanted.status)
	}
	return nil
}

func (s *Service) limit(ctx context.Context, q *db.Queries, row db.Connection, own windows) error {
	return limits.Set(ctx, q, s.Limiter, ratelimit.Connection{Tenant: row.TenantID, ID: row.ID}, own)
}
