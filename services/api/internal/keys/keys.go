// Package keys serves a tenant's API keys.
//
// A key is shown once, when it is made; what is kept is its hash. Revoked keys
// stay as rows: the audit log tells of them by id.
package keys

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/quota"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/page"
	"github.com/primezap/primezap/services/api/internal/param"
)

// Service implements the operations on API keys.
type Service struct {
	Store   *store.Store
	Max     int    // live keys of a tenant; 0: as many as it likes
	Revoked func() // called when a key was revoked, before the answer
}

const (
	path    = "/api/api-keys/" // an id follows it
	subject = "api_key"        // in the audit log

	maxName    = 200 // characters
	hintLength = 4   // of a key's end
)

// ListAPIKeys serves GET /api/api-keys.
func (s *Service) ListAPIKeys(ctx context.Context, req openapi.ListAPIKeysRequestObject) (openapi.ListAPIKeysResponseObject, error) {
	pages, faults := page.Parse(req.Params.Page, req.Params.Limit, req.Params.Cursor, page.IDKeySize)
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	principal, _ := auth.FromContext(ctx)
	var total int64
	var rows []db.ListAPIKeysRow
	err := s.Store.InTenant(ctx, principal.Tenant, func(q *db.Queries) (err error) {
		if total, err = q.CountAPIKeys(ctx, principal.Tenant, page.CountLimit); err != nil {
			return err
		}
		rows, err = q.ListAPIKeys(ctx, db.ListAPIKeysParams{
			TenantID: principal.Tenant, Before: pages.AfterID(), RowLimit: pages.Limit(), RowOffset: pages.Offset(),
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list API keys: %w", err)
	}
	rows, pagination := page.Show(pages, rows, total, func(row db.ListAPIKeysRow) []byte { return page.IDKey(row.ID) })
	shown := make([]openapi.APIKey, len(rows))
	for i, row := range rows {
		shown[i] = show(db.CreateAPIKeyRow(row))
	}
	return openapi.ListAPIKeys200JSONResponse{Data: shown, Pagination: pagination}, nil
}

// CreateAPIKey serves POST /api/api-keys. The key is in this answer and in no
// later one.
func (s *Service) CreateAPIKey(ctx context.Context, req openapi.CreateAPIKeyRequestObject) (openapi.CreateAPIKeyResponseObject, error) {
	principal, _ := auth.FromContext(ctx)
	if err := check(*req.Body, principal); err != nil {
		return nil, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make an API key's id: %w", err)
	}
	key := auth.NewKey()
	hash := auth.HashKey(key)
	var shown openapi.APIKey
	err = s.Store.InTenant(ctx, principal.Tenant, func(q *db.Queries) error {
		kind := quota.Kind{Name: "API keys", Policy: "api-keys", Type: problem.TypeAPIKeyLimit, Max: s.Max}
		if err := kind.Take(ctx, q, principal.Tenant, q.CountAPIKeys); err != nil {
			return err
		}
		row, err := q.CreateAPIKey(ctx, db.CreateAPIKeyParams{
			ID: id, TenantID: principal.Tenant, Name: req.Body.Name, Hint: key[len(key)-hintLength:], Hash: hash[:],
			Scopes: req.Body.Scopes,
		})
		if err != nil {
			return err
		}
		shown = show(row)
		return audit.Record(ctx, q, audit.Change{
			Action: "api_key.created", SubjectType: subject, SubjectID: id.String(), After: shown,
		})
	})
	if err != nil {
		return nil, fmt.Errorf("create API key: %w", err)
	}
	return openapi.CreateAPIKey201JSONResponse{
		Body: openapi.APIKeyWithKey{
			ID: shown.ID, Name: shown.Name, Hint: shown.Hint, Scopes: shown.Scopes, CreatedAt: shown.CreatedAt,
			LastUsedAt: shown.LastUsedAt, Key: key,
		},
		Headers: openapi.CreateAPIKey201ResponseHeaders{Location: new(path + id.String())},
	}, nil
}

// check says what is wrong with a new key: 422 for what cannot be, 403 for scopes
// that whoever makes it does not have.
func check(in openapi.APIKeyInput, principal auth.Principal) error {
	var faults []problem.FieldError
	fault := func(detail string, at ...any) {
		faults = append(faults, problem.FieldError{Pointer: problem.Pointer(at...), Detail: detail})
	}
	switch n := utf8.RuneCountInString(in.Name); {
	case strings.TrimSpace(in.Name) == "" || n > maxName:
		fault("must have 1 to 200 characters", "name")
	case strings.ContainsFunc(in.Name, unicode.IsControl):
		fault("must not have control characters", "name")
	}
	known := auth.Scopes()
	if len(in.Scopes) == 0 {
		fault("must have at least one scope", "scopes")
	}
	for i, scope := range in.Scopes {
		switch {
		case !slices.Contains(known, scope):
			fault("must be one of "+strings.Join(known, ", "), "scopes", i)
		case slices.Contains(in.Scopes[:i], scope):
			fault("is given twice", "scopes", i)
		}
		if len(faults) > maxFaults {
			break
		}
	}
	if len(faults) > 0 {
		return problem.Invalid(faults...)
	}
	for _, scope := range in.Scopes {
		if !principal.Has(scope) {
			return problem.Forbidden("nobody may give a key a scope that they lack themselves: " + scope)
		}
	}
	return nil
}

// maxFaults bounds what a list of scopes, which may be as long as a body, can
// make us answer.
const maxFaults = 10

// RevokeAPIKey serves DELETE /api/api-keys/{id}. Other processes that found the key
// valid take it for a second more.
func (s *Service) RevokeAPIKey(ctx context.Context, req openapi.RevokeAPIKeyRequestObject) (openapi.RevokeAPIKeyResponseObject, error) {
	id, err := param.ID(req.ID)
	if err != nil {
		return nil, err
	}
	principal, _ := auth.FromContext(ctx)
	err = s.Store.InTenant(ctx, principal.Tenant, func(q *db.Queries) error {
		row, err := q.RevokeAPIKey(ctx, id, principal.Tenant)
		if errors.Is(err, pgx.ErrNoRows) {
			return store.ErrNotFound
		}
		if err != nil {
			return err
		}
		return audit.Record(ctx, q, audit.Change{
			Action: "api_key.revoked", SubjectType: subject, SubjectID: id.String(), Before: show(db.CreateAPIKeyRow(row)),
		})
	})
	if err != nil {
		return nil, fmt.Errorf("revoke API key %s: %w", id, err)
	}
	s.Revoked()
	return openapi.RevokeAPIKey204Response{}, nil
}

// show is a key as answers have it.
func show(row db.CreateAPIKeyRow) openapi.APIKey {
	shown := openapi.APIKey{ID: row.ID, Name: row.Name, Hint: row.Hint, Scopes: row.Scopes, CreatedAt: row.CreatedAt.UTC()}
	if row.LastUsedAt != nil {
		shown.LastUsedAt = new(row.LastUsedAt.Truncate(time.Minute).UTC())
	}
	return shown
}
