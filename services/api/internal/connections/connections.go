// Package connections serves a tenant's connections to Meta: numbers, pages and
// Instagram accounts.
//
// Whether a token is the account's own is asked of Meta before anything is stored,
// and outside of any transaction. The token itself is in no answer, log or audit row.
package connections

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/page"
	"github.com/primezap/primezap/services/api/internal/param"
)

// Service implements the operations on connections.
type Service struct {
	Store   *store.Store
	Vault   *vault.Vault
	Meta    accounts
	Limiter *ratelimit.Limiter
	Max     int // live connections of a tenant; 0: as many as it likes
}

const (
	path    = "/api/connections/" // an id follows it
	subject = "connection"        // in the audit log
)

var (
	channels = []messaging.Channel{messaging.WhatsApp, messaging.Facebook, messaging.Instagram}
	statuses = []connection.Status{connection.Active, connection.Reconnect, connection.Paused}
)

// ListConnections serves GET /api/connections.
func (s *Service) ListConnections(ctx context.Context, req openapi.ListConnectionsRequestObject) (openapi.ListConnectionsResponseObject, error) {
	pages, faults := page.Parse(req.Params.Page, req.Params.Limit, req.Params.Cursor, page.IDKeySize)
	channel := param.OneOf("channel", req.Params.Channel, channels, &faults)
	status := param.OneOf("status", req.Params.Status, statuses, &faults)
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	tenant := tenantOf(ctx)
	var total int64
	var rows []db.Connection
	err := s.Store.InTenant(ctx, tenant, func(q *db.Queries) (err error) {
		total, err = q.CountConnections(ctx, db.CountConnectionsParams{TenantID: tenant, Channel: channel, Status: status, Cap: page.CountLimit})
		if err != nil {
			return err
		}
		rows, err = q.ListConnections(ctx, db.ListConnectionsParams{
			TenantID: tenant, Channel: channel, Status: status,
			Before: pages.AfterID(), RowLimit: pages.Limit(), RowOffset: pages.Offset(),
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	rows, pagination := page.Show(pages, rows, total, func(row db.Connection) []byte { return page.IDKey(row.ID) })
	shown := make([]openapi.Connection, len(rows))
	for i, row := range rows {
		shown[i] = connection.Show(row)
	}
	return openapi.ListConnections200JSONResponse{Data: shown, Pagination: pagination}, nil
}

// CreateConnection serves POST /api/connections.
func (s *Service) CreateConnection(ctx context.Context, req openapi.CreateConnectionRequestObject) (openapi.CreateConnectionResponseObject, error) {
	in := reader{}
	ask := in.verify(req.Params.Verify)
	account, own := in.create(*req.Body)
	if err := in.err(); err != nil {
		return nil, err
	}
	if ask {
		name, err := s.check(ctx, account)
		if err != nil {
			return nil, err
		}
		account.AccountName = name
	}
	tenant := tenantOf(ctx)
	var row db.Connection
	err := s.Store.InTenant(ctx, tenant, func(q *db.Queries) (err error) {
		if err := connection.Room(ctx, q, tenant, s.Max); err != nil {
			return err
		}
		if row, err = connection.Create(ctx, q, s.Vault, tenant, account); err != nil {
			return err
		}
		if err := record(ctx, q, "connection.created", nil, &row); err != nil {
			return err
		}
		if own != nil {
			return s.limit(ctx, q, row, own)
		}
		// Makes the rows of its windows, for whoever looks at them there.
		_, err = s.Limiter.In(q).Lock(ctx, ratelimit.Connection{Tenant: tenant, ID: row.ID})
		return err
	})
	if errors.Is(err, connection.ErrTaken) {
		return nil, problem.Conflict("the account is connected already: who proves by OAuth that it is theirs can take it over").
			WithType(problem.TypeConnectionTaken)
	}
	if err != nil {
		return nil, fmt.Errorf("create connection: %w", err)
	}
	return openapi.CreateConnection201JSONResponse{
		Body:    connection.Show(row),
		Headers: openapi.CreateConnection201ResponseHeaders{Location: new(path + row.ID.String())},
	}, nil
}

// GetConnection serves GET /api/connections/{id}.
func (s *Service) GetConnection(ctx context.Context, req openapi.GetConnectionRequestObject) (openapi.GetConnectionResponseObject, error) {
	id, err := param.ID(req.ID)
	if err != nil {
		return nil, err
	}
	row, err := s.read(ctx, id)
	if err != nil {
		return nil, err
	}
	return openapi.GetConnection200JSONResponse(connection.Show(row)), nil
}

func (s *Service) read(ctx context.Context, id uuid.UUID) (row db.Connection, err error) {
	tenant := tenantOf(ctx)
	err = s.Store.InTenant(ctx, tenant, func(q *db.Queries) (err error) {
		row, err = q.GetConnection(ctx, id, tenant)
		return store.Found(err)
	})
	if err != nil {
		return row, fmt.Errorf("read connection %s: %w", id, err)
	}
	return row, nil
}

// DeleteConnection serves DELETE /api/connections/{id}. Sends that are being decided
// on are waited for; from the answer on there are no more.
func (s *Service) DeleteConnection(ctx context.Context, req openapi.DeleteConnectionRequestObject) (openapi.DeleteConnectionResponseObject, error) {
	id, err := param.ID(req.ID)
	if err != nil {
		return nil, err
	}
	tenant := tenantOf(ctx)
	err = s.Store.InTenant(ctx, tenant, func(q *db.Queries) error {
		row, err := q.LockConnection(ctx, id, tenant)
		if err != nil {
			return store.Found(err)
		}
		return connection.Delete(ctx, q, actorOf(ctx), row)
	})
	if err != nil {
		return nil, fmt.Errorf("delete connection %s: %w", id, err)
	}
	return openapi.DeleteConnection204Response{}, nil
}

// record writes a change of a connection into the audit log, in the transaction of
// the change.
func record(ctx context.Context, q *db.Queries, action string, before, after *db.Connection) error {
	change := audit.Change{Action: action, SubjectType: subject}
	if before != nil {
		change.SubjectID, change.Before = before.ID.String(), connection.Show(*before)
	}
	if after != nil {
		change.SubjectID, change.After = after.ID.String(), connection.Show(*after)
	}
	return audit.Record(ctx, q, change)
}

func tenantOf(ctx context.Context) uuid.UUID {
	p, _ := auth.FromContext(ctx)
	return p.Tenant
}

func actorOf(ctx context.Context) string {
	p, _ := auth.FromContext(ctx)
	return p.Actor
}
