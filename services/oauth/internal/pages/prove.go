package pages

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/oauth/internal/refusal"
)

// tokenField is where a token is given.
const tokenField = "pageAccessToken"

// prove makes sure that a token is the page's and this app's: who has such a one acts for
// the page. Meta is asked what the token is, and, by the token itself, whose it is.
func (s *Service) prove(ctx context.Context, page, token string) (login.Page, error) {
	info, err := s.App.Debug(ctx, token)
	switch {
	case err != nil:
		return login.Page{}, err
	case !info.Valid:
		return login.Page{}, refusal.Dead(info, "Meta does not take the token: give another one, or log in again")
	case info.AppID != s.AppID:
		return login.Page{}, refusal.Field(tokenField, "is a token of another app")
	case info.Type != "PAGE":
		return login.Page{}, refusal.Field(tokenField, "is not the token of a page")
	case info.ProfileID != "" && info.ProfileID != page:
		return login.Page{}, refusal.Field(tokenField, "is the token of another page")
	}
	own, err := s.App.OwnPage(ctx, token)
	if err != nil {
		return login.Page{}, err
	}
	if own.ID != page {
		return login.Page{}, refusal.Field(tokenField, "is the token of another page")
	}
	return own, nil
}

// Of the grants of a tenant, so many are asked for a page, for so long each.
const (
	maxAsked = 10
	perGrant = 8 * time.Second
)

// search looks for a page among those of the users who have logged in for the tenant,
// the last of them first.
func (s *Service) search(ctx context.Context, tenant uuid.UUID, page string) (login.Page, *uuid.UUID, error) {
	var rows []db.OauthGrant
	err := s.Store.InTenant(ctx, tenant, func(q *db.Queries) (err error) {
		rows, err = grant.List(ctx, q, tenant)
		return err
	})
	if err != nil {
		return login.Page{}, nil, err
	}
	reason, asked := error(nil), 0
	for _, row := range rows {
		g, err := grant.Open(s.Vault, row)
		if errors.Is(err, grant.ErrReconnect) {
			continue
		}
		if err != nil {
			return login.Page{}, nil, err
		}
		if asked++; asked > maxAsked {
			break
		}
		found, err := s.pageOf(ctx, g, page)
		if err == nil {
			return found, &row.ID, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			reason = err
		}
	}
	if reason != nil {
		return login.Page{}, nil, reason
	}
	return login.Page{}, nil, fmt.Errorf("page %s, of nobody who has logged in: %w", page, store.ErrNotFound)
}

// pageOf looks for a page among those of one user. The error is store.ErrNotFound if it is
// not among them.
func (s *Service) pageOf(ctx context.Context, g grant.Grant, page string) (login.Page, error) {
	asking, cancel := context.WithTimeout(ctx, perGrant)
	defer cancel()
	pages, warnings, err := s.App.Pages(asking, g.Token())
	if failed, ok := errors.AsType[*meta.Error](err); ok && failed.Class == meta.Auth {
		noting := s.Store.InTenant(ctx, g.Row.TenantID, func(q *db.Queries) error {
			_, err := grant.Refuse(ctx, q, g.Row, connection.TokenRefused)
			return err
		})
		return login.Page{}, errors.Join(err, noting)
	}
	if err != nil {
		return login.Page{}, err
	}
	for _, one := range pages {
		if one.ID == page {
			return one, nil
		}
	}
	for _, w := range warnings {
		if w.Reason == login.PageWithoutToken && w.Page == page {
			return login.Page{}, refusal.Permission("the user who logged in may not act for page " + page)
		}
	}
	return login.Page{}, store.ErrNotFound
}
