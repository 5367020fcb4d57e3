package pages

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
	"github.com/primezap/primezap/services/oauth/internal/refusal"
)

// disconnect serves disconnect.
func (s *Service) disconnect(ctx context.Context, in openapi.DisconnectAction) (any, error) {
	var faults faults
	faults.oneOf(in.ConnectionID, in.GrantID)
	if err := faults.err(); err != nil {
		return nil, err
	}
	p, _ := auth.FromContext(ctx)
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	answer := openapi.Disconnected{Success: true, ConnectionIds: []uuid.UUID{}, Warnings: []openapi.OAuthWarning{}}
	for range rounds {
		e, err := s.plan(ctx, p.Tenant, in)
		if err == nil {
			err = s.takeBack(ctx, e, in.Force)
		}
		if err == nil {
			err = s.forget(ctx, p, e)
		}
		switch {
		case errors.Is(err, errChanged):
			continue // Meta is asked again, of what there is now
		case err != nil && len(answer.ConnectionIds) > 0:
			// What was asked for is done. The grant is there still, to be disconnected.
			if !errors.Is(err, store.ErrNotFound) {
				answer.Warnings = append(answer.Warnings, notRevoked(err))
			}
			return answer, nil
		case err != nil:
			return nil, err
		}
		answer.Revoked = answer.Revoked || e.revoked
		answer.ConnectionIds = append(answer.ConnectionIds, e.deleted...)
		answer.Warnings = append(answer.Warnings, e.warnings...)
		if !e.left {
			return answer, nil
		}
		in = openapi.DisconnectAction{GrantID: e.grant.ID.String(), Force: in.Force} // it was the last one after all
	}
	return nil, errBusy
}

// errChanged says that what is to end is no longer as it was when Meta was asked.
var errChanged = errors.New("changed meanwhile")

// end is what a disconnect ends.
type end struct {
	rows  []db.Connection
	pages []release
	grant *db.OauthGrant // by which the rows came; nil: by none
	all   bool           // with all that came by it
	whole bool           // the grant ends, too
	other bool           // another tenant lives on what its user has allowed

	revoked  bool
	warnings []openapi.OAuthWarning
	deleted  []uuid.UUID
	left     bool // the grant is without connections, and was not to end
}

// release is a page that Meta is to tell nothing more of.
type release struct {
	id    string
	token string // empty where there is none that Meta takes
}

// plan reads what is to end.
func (s *Service) plan(ctx context.Context, tenant uuid.UUID, in openapi.DisconnectAction) (*end, error) {
	var e *end
	err := s.Store.InTenant(ctx, tenant, func(q *db.Queries) (err error) {
		e = &end{}
		if in.GrantID != "" {
			err = e.ofGrant(ctx, q, tenant, in.GrantID)
		} else {
			err = e.ofConnection(ctx, q, tenant, in.ConnectionID)
		}
		if err != nil {
			return err
		}
		if e.whole {
			if e.other, err = q.GrantedElsewhere(ctx, e.grant.UserID); err != nil {
				return fmt.Errorf("look for the user's other grants: %w", err)
			}
		}
		return e.findPages(ctx, q, s)
	})
	return e, err
}

func (e *end) ofGrant(ctx context.Context, q *db.Queries, tenant uuid.UUID, text string) error {
	at, err := id(text)
	if err != nil {
		return err
	}
	row, err := grant.Lock(ctx, q, tenant, at)
	if err != nil {
		return err
	}
	e.grant, e.all, e.whole = &row, true, true
	e.rows, err = connection.OfGrant(ctx, q, tenant, at)
	return err
}

func (e *end) ofConnection(ctx context.Context, q *db.Queries, tenant uuid.UUID, text string) error {
	row, err := read(ctx, q, tenant, text)
	if err != nil {
		return err
	}
	e.rows = []db.Connection{row}
	if row.GrantID == nil {
		return nil
	}
	g, err := grant.Lock(ctx, q, tenant, *row.GrantID)
	if errors.Is(err, store.ErrNotFound) {
		return errChanged
	}
	if err != nil {
		return err
	}
	siblings, err := connection.OfGrant(ctx, q, tenant, g.ID)
	if err != nil {
		return err
	}
	e.grant = &g
	e.whole = !slices.ContainsFunc(siblings, func(other db.Connection) bool { return other.ID != row.ID })
	return nil
}

// findPages finds the pages that nobody uses once the rows are gone: Meta has one
// subscription of a page, whoever lives on it.
func (e *end) findPages(ctx context.Context, q *db.Queries, s *Service) error {
	at := make(map[string]int)
	for _, row := range e.rows {
		page := connection.PageOf(row)
		if page == "" {
			continue
		}
		u, err := connection.Open(s.Vault, row)
		if err != nil && !errors.Is(err, connection.ErrReconnect) {
			return err
		}
		if i, known := at[page]; known {
			if e.pages[i].token == "" {
				e.pages[i].token = u.Token
			}
			continue
		}
		users, err := using(ctx, q, page)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(users, func(user db.FindConnectionsRow) bool {
			return !slices.ContainsFunc(e.rows, func(row db.Connection) bool { return row.ID == user.ID })
		}) {
			continue
		}
		at[page] = len(e.pages)
		e.pages = append(e.pages, release{page, u.Token})
	}
	return nil
}

// parallel is how many pages are released at a time.
const parallel = 8

// takeBack has Meta end what is to end. The error is of a Meta that cannot be reached, or
// that takes no calls for now, unless by force; what it refuses is a warning.
func (s *Service) takeBack(ctx context.Context, e *end, force bool) error {
	failures := make([]error, len(e.pages))
	var calls errgroup.Group
	calls.SetLimit(parallel)
	for i, page := range e.pages {
		calls.Go(func() error {
			if page.token == "" {
				failures[i] = connection.ErrReconnect
			} else {
				failures[i] = s.App.Unsubscribe(ctx, page.id, page.token)
			}
			return nil
		})
	}
	_ = calls.Wait() // the failures are in their places
	for i, err := range failures {
		if err == nil {
			continue
		}
		if !force && !final(err) {
			return err
		}
		page := e.pages[i].id
		e.warnings = append(e.warnings, refusal.Warning(refusal.NotUnsubscribed, "Meta may go on to tell of page "+page, page, "", err))
	}
	if !e.whole || e.other {
		return nil
	}
	g, err := grant.Open(s.Vault, *e.grant)
	if err == nil {
		err = s.App.Revoke(ctx, e.grant.UserID, g.Token())
	}
	switch {
	case err == nil:
		e.revoked = true
	case force || final(err):
		e.warnings = append(e.warnings, notRevoked(err))
	default:
		return err
	}
	return nil
}

// notRevoked is the warning that a permission stands.
func notRevoked(err error) openapi.OAuthWarning {
	return refusal.Warning(refusal.NotRevoked, "what the user has allowed may stand at Meta: they can remove the app in their settings", "", "", err)
}

// final says whether the same call would fail again: Meta was reached, and does not do it,
// or takes the token no more.
func final(err error) bool {
	if errors.Is(err, connection.ErrReconnect) || errors.Is(err, grant.ErrReconnect) {
		return true
	}
	if errors.Is(err, login.ErrApp) || errors.Is(err, meta.ErrOutcomeUnknown) {
		return false
	}
	failed, ok := errors.AsType[*meta.Error](err)
	return ok && failed.Class != meta.Retryable && !failed.Throttled()
}

// forget deletes what is to end, with its tokens, whether somebody waits or not.
func (s *Service) forget(ctx context.Context, p auth.Principal, e *end) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storing)
	defer cancel()
	return s.Store.InTenant(ctx, p.Tenant, func(q *db.Queries) error {
		e.deleted, e.left = nil, false
		rows, locked, err := e.lock(ctx, q, p.Tenant)
		if err != nil {
			return err
		}
		others := 0
		for _, row := range rows {
			if !e.all && row.ID != e.rows[0].ID {
				others++
				continue
			}
			if err := connection.Delete(ctx, q, p.Actor, row); err != nil {
				return err
			}
			e.deleted = append(e.deleted, row.ID)
		}
		switch {
		case len(e.deleted) == 0 && !e.all:
			return errChanged
		case locked == nil:
			return nil
		case others == 0 && e.whole:
			return grant.Remove(ctx, q, p.Actor, *locked)
		case others == 0:
			e.left = true
		case e.revoked:
			// What was connected by it meanwhile, Meta does not take any more.
			_, err := grant.Refuse(ctx, q, *e.grant, connection.Deauthorized)
			return err
		}
		return nil
	})
}

// lock locks what is to end as it is now: the grant, and all that came by it, or the one
// connection. The error is errChanged if Meta was asked of something else.
func (e *end) lock(ctx context.Context, q *db.Queries, tenant uuid.UUID) (rows []db.Connection, locked *db.OauthGrant, err error) {
	if e.grant == nil {
		row, err := q.LockConnection(ctx, e.rows[0].ID, tenant)
		if err != nil {
			return nil, nil, fmt.Errorf("lock connection %s: %w", e.rows[0].ID, store.Found(err))
		}
		if row.GrantID != nil {
			return nil, nil, errChanged
		}
		return []db.Connection{row}, nil, nil
	}
	row, err := grant.Lock(ctx, q, tenant, e.grant.ID)
	if err != nil {
		if errors.Is(err, store.ErrNotFound) && !e.all {
			err = errChanged
		}
		return nil, nil, err
	}
	if e.whole && !row.GrantedAt.Equal(e.grant.GrantedAt) {
		return nil, nil, errChanged // somebody logged in again: Meta is to take that back
	}
	rows, err = connection.OfGrant(ctx, q, tenant, row.ID)
	return rows, &row, err
}
