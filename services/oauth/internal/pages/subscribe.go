package pages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/oauth/internal/account"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
)

// target is a page that Meta is to tell of.
type target struct {
	page     login.Page               // with the token that Meta is asked with
	row      *db.Connection           // the tenant's connection of it; nil: it is to be claimed
	stored   *connection.Usable       // where the token is that of the connection
	grant    *uuid.UUID               // by which the token was read, if it was
	accounts []login.InstagramAccount // that are claimed with it
	idle     bool                     // Meta tells nothing of it yet
}

// subscribe serves subscribe_webhook.
func (s *Service) subscribe(ctx context.Context, in openapi.SubscribeWebhookAction) (any, error) {
	var faults faults
	faults.page(in.PageID)
	faults.fields(in.Fields)
	if utf8.RuneCountInString(in.PageAccessToken) > maxToken {
		faults.add(fmt.Sprintf("must have at most %d characters", maxToken), "pageAccessToken")
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	p, _ := auth.FromContext(ctx)
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	t, err := s.target(ctx, p.Tenant, in)
	if err != nil {
		return nil, err
	}
	return s.tell(ctx, p, t, in.Fields)
}

// target finds the page, and proves that the tenant may have it.
func (s *Service) target(ctx context.Context, tenant uuid.UUID, in openapi.SubscribeWebhookAction) (*target, error) {
	t := &target{}
	err := s.Store.InTenant(ctx, tenant, func(q *db.Queries) error {
		row, err := ownPage(ctx, q, tenant, in.PageID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		t.row = &row
		return err
	})
	if err != nil {
		return nil, err
	}
	if t.row != nil {
		t.idle = t.row.SubscribedFields == nil
	}
	switch {
	case in.PageAccessToken != "":
		t.page, err = s.prove(ctx, in.PageID, in.PageAccessToken)
	case t.row != nil:
		u, opening := connection.Open(s.Vault, *t.row)
		if opening != nil {
			return nil, opening
		}
		t.stored, t.page = &u, login.Page{ID: in.PageID, AccessToken: u.Token}
	default:
		t.page, t.grant, err = s.search(ctx, tenant, in.PageID)
	}
	if err != nil || t.row != nil {
		return t, err
	}
	told, err := s.App.Subscriptions(ctx, t.page.ID, t.page.AccessToken)
	if err != nil {
		return nil, err
	}
	t.idle = len(told) == 0
	t.accounts, _ = s.App.InstagramAccounts(ctx, []login.Page{t.page}) // one that cannot be read can be connected later
	return t, nil
}

// tell has Meta tell of the page, and stores what it was told to.
func (s *Service) tell(ctx context.Context, p auth.Principal, t *target, fields []string) (any, error) {
	for round := range rounds {
		told, err := s.App.Subscribe(ctx, t.page.ID, t.page.AccessToken, fields)
		if err != nil {
			return nil, s.noted(ctx, t.stored, err)
		}
		row, all, err := s.keep(ctx, p, t, told, round == 0)
		if err != nil {
			s.untell(ctx, t)
			return nil, err
		}
		if slices.Equal(all, told) {
			return openapi.SubscribedWebhook{Success: true, SubscribedFields: all, ConnectionID: row}, nil
		}
		fields, t.idle = all, false
	}
	return nil, errBusy
}

// keep stores what Meta tells of a page; the first time, also what the page is connected
// by. It does so whether somebody waits or not. The answer is all that is stored.
func (s *Service) keep(ctx context.Context, p auth.Principal, t *target, told []string, first bool) (page uuid.UUID, all []string, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storing)
	defer cancel()
	err = s.Store.InTenantTx(ctx, p.Tenant, func(tx pgx.Tx, q *db.Queries) error {
		if first && t.row == nil {
			if err := s.claim(ctx, tx, q, p, t); err != nil {
				return err
			}
		}
		if all, err = connection.Subscribed(ctx, q, p.Tenant, t.page.ID, told); err != nil { // locks them in their order
			return err
		}
		row, err := ownPage(ctx, q, p.Tenant, t.page.ID)
		if err != nil {
			return err
		}
		page = row.ID
		if first && t.row != nil && t.stored == nil {
			_, err = connection.Renewed(ctx, q, s.Vault, p.Actor, row, t.page.AccessToken, false)
		}
		return err
	})
	if err != nil {
		return page, nil, fmt.Errorf("store what page %s is subscribed to: %w", t.page.ID, err)
	}
	return page, all, nil
}

// claim connects the page, and the Instagram accounts that are linked with it.
func (s *Service) claim(ctx context.Context, tx pgx.Tx, q *db.Queries, p auth.Principal, t *target) error {
	accounts := []connection.Account{account.OfPage(t.page, t.grant)}
	for _, linked := range t.accounts {
		accounts = append(accounts, account.OfInstagram(linked, t.page.AccessToken, t.grant))
	}
	if err := s.Connector.Lock(ctx, q, p.Tenant, accounts...); err != nil {
		return err
	}
	if err := connection.InOrder(ctx, q, accounts); err != nil {
		return err
	}
	for _, a := range accounts {
		if _, err := s.Connector.Claim(ctx, tx, q, p.Tenant, p.Actor, a); err != nil {
			return err
		}
	}
	return nil
}

// untell takes back what could not be stored, unless somebody has the page: then what
// Meta tells is theirs, too. It is done as well as can be.
func (s *Service) untell(ctx context.Context, t *target) {
	if !t.idle {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storing)
	defer cancel()
	rows, err := using(ctx, s.Store.Queries(), t.page.ID)
	if err == nil && len(rows) == 0 {
		_ = s.App.Unsubscribe(ctx, t.page.ID, t.page.AccessToken) // the error is that of what could not be stored
	}
}

// noted is err, which the connection keeps if Meta does not take its token.
func (s *Service) noted(ctx context.Context, u *connection.Usable, err error) error {
	failed, ok := errors.AsType[*meta.Error](err)
	if u == nil || !ok || failed.Class != meta.Auth {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storing)
	defer cancel()
	noting := s.Store.InTenant(ctx, u.Tenant, func(q *db.Queries) error { return connection.Refused(ctx, q, *u, failed.Message, true) })
	if noting != nil {
		return fmt.Errorf("keep that Meta refuses the token: %w", noting)
	}
	return err
}
