package connection

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/outbox"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/quota"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
)

var (
	// ErrLimit says that the tenant has as many connections as it may have. What wraps
	// it is a *problem.Problem, too.
	ErrLimit = errors.New("the tenant has as many connections as it may have")
	// ErrGrant says that what an account was to be connected by is worth nothing any more:
	// it was refused or removed meanwhile.
	ErrGrant = errors.New("the grant is worth nothing any more")
)

// Quota is how many live connections a tenant may have; 0: as many as it likes.
func Quota(most int) quota.Kind {
	return quota.Kind{Name: "connections", Policy: "connections", Type: problem.TypeConnectionLimit, Max: most}
}

// Room makes sure that the tenant may have one more connection, in the transaction that
// then makes it. The error is one of [quota.Kind.Take].
func Room(ctx context.Context, q *db.Queries, tenant uuid.UUID, most int) error {
	return Quota(most).Take(ctx, q, tenant, func(ctx context.Context, tenant uuid.UUID, most int32) (int64, error) {
		return q.CountConnections(ctx, db.CountConnectionsParams{TenantID: tenant, Cap: most})
	})
}

// Connector connects the accounts of people who have logged in: with the rows of their
// rate limits, within what the tenant may have, with events and audit rows. All of it is
// in the caller's transaction, which is one of the tenant.
//
// The locks of such a transaction, in their order: the tenant's quota and the accounts
// (Lock), the grant (grant.Save, or held by Connect and Claim), connections by their ids,
// their rate limits. Whoever saves a grant in it calls Lock before.
type Connector struct {
	Vault   *vault.Vault
	Limiter *ratelimit.Limiter
	Jobs    *jobs.Inserter
	Max     int // live connections of a tenant; 0: as many as it likes
}

// Outcome is what became of an account.
type Outcome struct {
	Connection db.Connection
	Err        error // ErrTaken or ErrLimit: it is as it was, and Connection is empty
}

// Lock lets no one else connect one of the accounts until the transaction ends. Connect
// and Claim do it for theirs.
func (c *Connector) Lock(ctx context.Context, q *db.Queries, tenant uuid.UUID, accounts ...Account) error {
	if err := Quota(c.Max).Lock(ctx, q, tenant); err != nil {
		return err
	}
	return lock(ctx, q, accounts...)
}

// Connect connects the accounts that a login brought, each that is free or the tenant's
// own; outcomes are in the order of accounts. A connection that the tenant has gets the
// token and keeps its name, and one that is paused stays so. What another tenant has is
// ErrTaken: somebody who acts for several of them logs in once. An error that is none of
// an outcome is the transaction's; it is ErrGrant if the accounts' grant is gone.
func (c *Connector) Connect(ctx context.Context, q *db.Queries, tenant uuid.UUID, actor string, accounts []Account) ([]Outcome, error) {
	w, err := c.begin(ctx, q, tenant, actor, accounts...)
	if err != nil {
		return nil, err
	}
	outcomes := make([]Outcome, len(accounts))
	for i, a := range accounts {
		row, err := w.connect(ctx, a)
		switch {
		case errors.Is(err, ErrTaken), errors.Is(err, ErrLimit):
			outcomes[i].Err = err
		case err != nil:
			return nil, err
		default:
			outcomes[i].Connection = row
		}
	}
	return outcomes, w.end(ctx)
}

// InOrder sorts accounts for one Claim after the other, once they are locked (Lock): by the
// connections that there are of them, whoever's, which everybody locks in the order of their
// ids.
func InOrder(ctx context.Context, q *db.Queries, accounts []Account) error {
	found, err := find(ctx, q, accounts...)
	if err != nil {
		return err
	}
	ids := make(map[account]uuid.UUID, len(found))
	for _, f := range found {
		ids[account{messaging.Channel(f.Channel), f.ExternalID}] = f.ID
	}
	slices.SortStableFunc(accounts, func(a, b Account) int {
		x, y := ids[account{a.Channel, a.ExternalID}], ids[account{b.Channel, b.ExternalID}]
		return bytes.Compare(x[:], y[:])
	})
	return nil
}

// Claim connects an account for a tenant that has proven that it is its own: a connection
// that another tenant has of it is deleted, and the audit logs and events of both say that
// it moved. A connection that the tenant has of it itself gets the token and keeps its
// name. tx is the transaction of q, which must not commit after an error; that is ErrLimit
// or ErrGrant, or none that the tenant could mend.
func (c *Connector) Claim(ctx context.Context, tx pgx.Tx, q *db.Queries, tenant uuid.UUID, actor string, a Account) (db.Connection, error) {
	w, err := c.begin(ctx, q, tenant, actor, a)
	if err != nil {
		return db.Connection{}, err
	}
	w.moved = func(id uuid.UUID) error { return c.Jobs.Insert(ctx, tx, jobs.ConnectionMoved{ID: id}) }
	clear(w.taken)
	row, err := w.connect(ctx, a)
	if err != nil {
		return db.Connection{}, err
	}
	return row, w.end(ctx)
}

// account is what connections are found by.
type account struct {
	channel messaging.Channel
	id      string
}

// connecting is a Connect or a Claim at work.
type connecting struct {
	*Connector
	q      *db.Queries
	tenant uuid.UUID
	actor  string

	taken  map[account]bool      // by which another tenant's connection is found
	own    map[account]uuid.UUID // the tenant's connections, locked
	full   error                 // once there is no room
	moved  func(uuid.UUID) error // tells of a connection that was another tenant's; nil: nobody
	fresh  []uuid.UUID           // connections that were made
	events []outbox.Event
}

// begin takes the locks, and finds who has the accounts.
func (c *Connector) begin(ctx context.Context, q *db.Queries, tenant uuid.UUID, actor string, accounts ...Account) (*connecting, error) {
	if err := c.Lock(ctx, q, tenant, accounts...); err != nil {
		return nil, err
	}
	w := &connecting{Connector: c, q: q, tenant: tenant, actor: actor, taken: map[account]bool{}, own: map[account]uuid.UUID{}}
	if err := w.hold(ctx, accounts); err != nil {
		return nil, err
	}
	found, err := find(ctx, q, accounts...)
	if err != nil {
		return nil, err
	}
	var locked []uuid.UUID
	for _, f := range found {
		by := account{messaging.Channel(f.Channel), f.ExternalID}
		if f.TenantID == tenant {
			w.own[by], locked = f.ID, append(locked, f.ID)
			continue
		}
		w.taken[by] = true
		if f.PageID != "" {
			w.taken[account{by.channel, f.PageID}] = true
		}
	}
	if _, err := q.LockConnections(ctx, locked, tenant); err != nil {
		return nil, fmt.Errorf("lock the tenant's connections: %w", err)
	}
	return w, nil
}

// hold keeps the accounts' grants as they are.
func (w *connecting) hold(ctx context.Context, accounts []Account) error {
	held := map[uuid.UUID]bool{}
	for _, a := range accounts {
		if a.GrantID == nil || held[*a.GrantID] {
			continue
		}
		held[*a.GrantID] = true
		_, err := w.q.HoldGrant(ctx, *a.GrantID, w.tenant)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrGrant
		}
		if err != nil {
			return fmt.Errorf("hold grant %s: %w", *a.GrantID, err)
		}
	}
	return nil
}

func (w *connecting) connect(ctx context.Context, a Account) (db.Connection, error) {
	by := account{a.Channel, a.ExternalID}
	pageTaken := a.PageID != nil && w.taken[account{a.Channel, *a.PageID}]
	if id, own := w.own[by]; own {
		if pageTaken { // the account is the tenant's all the same
			a.PageID = nil
		}
		row, err := w.renew(ctx, id, a)
		if !errors.Is(err, store.ErrNotFound) { // else somebody deleted it just now
			return row, err
		}
	}
	if w.taken[by] || pageTaken {
		return db.Connection{}, ErrTaken
	}
	return w.create(ctx, a)
}

func (w *connecting) create(ctx context.Context, a Account) (db.Connection, error) {
	if err := w.room(ctx); err != nil {
		return db.Connection{}, err
	}
	// Whose tenants are deleted, and what of the tenant's own has the account's ids.
	others, err := w.release(ctx, a)
	if err != nil {
		return db.Connection{}, err
	}
	a.Name = fit(a.Name, a.ExternalID)
	row, err := insert(ctx, w.q, w.Vault, w.tenant, a)
	if err != nil {
		return db.Connection{}, err
	}
	action := "connection.created"
	if others > 0 {
		action = "connection.moved_here"
	}
	w.own[account{a.Channel, a.ExternalID}] = row.ID
	w.fresh, w.events = append(w.fresh, row.ID), append(w.events, connected(row))
	return row, record(ctx, w.q, w.actor, action, nil, &row)
}

// renew gives a tenant's own connection what it has proven again. What is so already
// leaves no trace.
func (w *connecting) renew(ctx context.Context, id uuid.UUID, a Account) (db.Connection, error) {
	before, err := w.q.LockConnection(ctx, id, w.tenant)
	if err != nil {
		return db.Connection{}, fmt.Errorf("lock connection %s: %w", id, store.Found(err))
	}
	row := before
	if a.PageID != nil && (row.PageID == nil || *row.PageID != *a.PageID) {
		if _, err := w.release(ctx, a); err != nil {
			return db.Connection{}, err
		}
		row.PageID = a.PageID
	}
	if a.AccountName != nil {
		row.AccountName = a.AccountName
	}
	same := Holds(w.Vault, row, a.Token)
	if !same || row.TokenRefused || row.LastError != nil {
		if err := SetToken(w.Vault, &row, a.Token); err != nil {
			return db.Connection{}, err
		}
	}
	if a.GrantID != nil || same { // a token that it has already came by the grant that it has
		row.GrantID = before.GrantID
	}
	if a.GrantID != nil {
		row.GrantID = a.GrantID
	}
	if reflect.DeepEqual(before, row) {
		return before, nil
	}
	after, err := Update(ctx, w.q, row)
	if err != nil {
		return db.Connection{}, err
	}
	if !same || before.TokenRefused {
		w.events = append(w.events, connected(after))
	}
	return after, record(ctx, w.q, w.actor, "connection.updated", &before, &after)
}

func (w *connecting) room(ctx context.Context) error {
	if w.full != nil {
		return w.full
	}
	err := Room(ctx, w.q, w.tenant, w.Max)
	if _, full := errors.AsType[*problem.Problem](err); full {
		w.full = fmt.Errorf("%w: %w", ErrLimit, err)
		return w.full
	}
	return err
}

// release takes the account away from whoever has it, and returns how many others had.
func (w *connecting) release(ctx context.Context, a Account) (others int, err error) {
	released, err := w.q.ReleaseConnections(ctx, string(a.Channel), a.ExternalID, a.PageID)
	if err != nil {
		return 0, fmt.Errorf("release the account: %w", err)
	}
	for _, r := range released {
		if !r.Own {
			others++
			if w.moved != nil {
				if err := w.moved(r.ID); err != nil {
					return 0, err
				}
			}
			continue
		}
		row, err := w.q.LockReleasedConnection(ctx, r.ID)
		if err != nil {
			return 0, fmt.Errorf("read connection %s: %w", r.ID, err)
		}
		w.events = append(w.events, disconnected(row, Disconnected))
	}
	return others, nil
}

// end makes the rate limits of what was made, for whoever looks at them there, and
// raises the events.
func (w *connecting) end(ctx context.Context) error {
	for _, id := range w.fresh {
		if _, err := w.Limiter.In(w.q).Lock(ctx, ratelimit.Connection{Tenant: w.tenant, ID: id}); err != nil {
			return fmt.Errorf("make the rate limits of connection %s: %w", id, err)
		}
	}
	return outbox.RaiseAll(ctx, w.q, w.events)
}

// maxName is how many characters a connection's name has.
const maxName = 200

// fit makes a connection's name of what Meta calls an account.
func fit(name, id string) string {
	name = strings.TrimSpace(strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, name))
	if runes := []rune(name); len(runes) > maxName {
		name = strings.TrimSpace(string(runes[:maxName]))
	}
	if name == "" {
		return id
	}
	return name
}
