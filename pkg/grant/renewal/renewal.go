// Package renewal renews grants before they end: Meta is asked for another token of the
// user, for what it may do, and for the tokens of the user's pages, and all of it is
// stored at once.
//
// Meta is asked outside of any transaction. Until the new token is stored the old one is
// good, so that whatever fails on the way leaves the grant as it was, to be asked again.
// Of two who renew at once one stores, and the other tells what that one stored.
package renewal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
)

// Renewer renews grants. It is safe for concurrent use, and works on the roles of the
// services and of the worker.
type Renewer struct {
	Store *store.Store
	Vault *vault.Vault
	App   *login.App
}

// Renew renews a tenant's grant now. Connections that came by it get the tokens that
// their pages have by now, and those that waited for one are active again. Warnings are
// of pages that could not be read.
//
// The error is store.ErrNotFound for a grant that is gone or another tenant's, and
// grant.ErrReconnect where the user has to log in again: if Meta says so now, its
// [*meta.Error] is in it, and the grant waits from now on. Any other error is one of
// package login or of the store, and nothing is changed.
func (r *Renewer) Renew(ctx context.Context, tenant, id uuid.UUID, actor string) (grant.View, []login.Warning, error) {
	var g grant.Grant
	err := r.Store.InTenant(ctx, tenant, func(q *db.Queries) (err error) {
		g, err = grant.Read(ctx, q, r.Vault, tenant, id)
		return err
	})
	if err != nil {
		return grant.View{}, nil, err
	}
	fresh, pages, warnings, err := r.ask(ctx, g)
	if err != nil {
		return grant.View{}, nil, r.refused(ctx, g, err)
	}
	row, err := r.keep(ctx, actor, g, fresh, pages)
	if errors.Is(err, grant.ErrReplaced) {
		warnings = nil
		row, err = r.replaced(ctx, tenant, id)
	}
	if err != nil {
		return grant.View{}, nil, err
	}
	return grant.Show(row), warnings, nil
}

// ask asks Meta for everything.
func (r *Renewer) ask(ctx context.Context, g grant.Grant) (fresh grant.Permission, pages []login.Page, warnings []login.Warning, err error) {
	token, err := r.App.Refresh(ctx, g.Token())
	if err != nil {
		return fresh, nil, nil, err
	}
	info, err := r.App.Debug(ctx, token.AccessToken)
	if err != nil {
		return fresh, nil, nil, err
	}
	if !info.Valid {
		return fresh, nil, nil, &meta.Error{Coded: true, Code: cmp.Or(info.Code, 190), Subcode: info.Subcode, Class: meta.Auth}
	}
	granted, missing, err := r.App.Permissions(ctx, token.AccessToken, slices.Concat(g.Row.Scopes, g.Row.MissingScopes))
	if err != nil {
		return fresh, nil, nil, err
	}
	pages, warnings, err = r.App.Pages(ctx, token.AccessToken)
	if failed, ok := errors.AsType[*meta.Error](err); ok && failed.Class == meta.Permission {
		// The user's token is to live on all the same.
		warnings, err = []login.Warning{{Reason: login.PageUnreadable, Err: failed}}, nil
	}
	slices.Sort(missing)
	return grant.Permission{
		Token: token.AccessToken, ExpiresAt: token.ExpiresAt, DataAccessExpiresAt: info.DataAccessExpiresAt, Scopes: granted, Missing: slices.Compact(missing),
	}, pages, warnings, err
}

// refused notes that Meta does not take the token of g, if err says so.
func (r *Renewer) refused(ctx context.Context, g grant.Grant, err error) error {
	if failed, ok := errors.AsType[*meta.Error](err); !ok || failed.Class != meta.Auth {
		return fmt.Errorf("renew grant %s: %w", g.Row.ID, err)
	}
	noted := r.Store.InTenant(ctx, g.Row.TenantID, func(q *db.Queries) error {
		_, err := grant.Refuse(ctx, q, g.Row, connection.TokenRefused)
		return err
	})
	if noted != nil {
		return noted
	}
	return fmt.Errorf("renew grant %s: %w: %w", g.Row.ID, grant.ErrReconnect, err)
}

// keep stores everything.
func (r *Renewer) keep(ctx context.Context, actor string, g grant.Grant, fresh grant.Permission, pages []login.Page) (row db.OauthGrant, err error) {
	tokens := make(map[string]string, len(pages))
	for _, page := range pages {
		tokens[page.ID] = page.AccessToken
	}
	err = r.Store.InTenant(ctx, g.Row.TenantID, func(q *db.Queries) (err error) {
		if row, err = grant.Renew(ctx, q, r.Vault, actor, g, fresh); err != nil {
			return err
		}
		rows, err := connection.OfGrant(ctx, q, row.TenantID, row.ID)
		if err != nil {
			return err
		}
		for _, c := range rows {
			token, read := tokens[connection.PageOf(c)]
			if !read {
				continue // the one it has may be good still
			}
			if _, err := connection.Renewed(ctx, q, r.Vault, actor, c, token, true); err != nil {
				return err
			}
		}
		return nil
	})
	return row, err
}

// replaced is what another one stored meanwhile.
func (r *Renewer) replaced(ctx context.Context, tenant, id uuid.UUID) (row db.OauthGrant, err error) {
	err = r.Store.InTenant(ctx, tenant, func(q *db.Queries) error {
		g, err := grant.Read(ctx, q, r.Vault, tenant, id)
		row = g.Row
		return err
	})
	return row, err
}
