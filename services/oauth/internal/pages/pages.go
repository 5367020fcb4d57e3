// Package pages serves what is done with pages and Instagram accounts once somebody has
// logged in: to be told of their messages and no longer, to see what is connected, to
// renew a permission, and to take it back.
//
// # Order
//
// No call of Meta is made within a transaction, and a crash may fall between the two, so
// each action says which of them comes first:
//
//   - subscribe_webhook: Meta, then what is stored. A crash between leaves Meta telling
//     more of a page than is stored, which does no harm and ends with the next call. Where
//     two subscribe at once the union is stored, and whoever finds that more is stored than
//     was sent sends all of it. What is stored and not at Meta, since that last call failed,
//     the worker restores at its next check of subscriptions.
//   - unsubscribe_webhook: Meta, then what is stored, then Meta is asked again, lest
//     somebody subscribed in between. A crash leaves a subscription stored that Meta has
//     not, which the worker restores: the call did not succeed, and may be made again.
//   - disconnect: Meta, then what is stored. A crash between leaves connections whose
//     tokens Meta takes no more: the next use of them says so, and the call may be made
//     again.
//   - refresh: see package renewal.
//
// # Who a page belongs to
//
// A page that another tenant has connected is moved by subscribe_webhook alone, and for
// a token alone of which Meta says that it is this app's and this page's. Such a token
// Meta gives to who acts for the page.
package pages

import (
	"context"
	"encoding/base64"
	"fmt"
	"regexp"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/grant/renewal"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/services/oauth/internal/facebook"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
)

// Service does the actions.
type Service struct {
	AppID     string
	App       *login.App
	Store     *store.Store
	Vault     *vault.Vault
	Connector *connection.Connector
	Renewer   *renewal.Renewer
}

// Actions are those of this package.
func (s *Service) Actions() []facebook.Action {
	return []facebook.Action{
		facebook.On("subscribe_webhook", s.subscribe),
		facebook.On("unsubscribe_webhook", s.unsubscribe),
		facebook.On("list_connections", s.list).Stored(),
		facebook.On("refresh", s.refresh),
		facebook.On("disconnect", s.disconnect),
	}
}

// Of a request, which may take 40 s, there is to be time left to store what Meta did.
const (
	asking  = 26 * time.Second // all that Meta is asked
	storing = 10 * time.Second // also to undo what cannot be stored
)

// rounds is how often something is begun anew that others changed at once.
const rounds = 5

var errBusy = problem.Conflict("others are changing the same at once: ask again")

// Bounds of the contract.
const (
	maxToken  = 4096 // characters
	maxFields = 50
	maxCursor = 200
	maxLimit  = 100
)

var (
	pagePattern  = regexp.MustCompile(`^[0-9]{1,32}$`)
	fieldPattern = regexp.MustCompile(`^[a-z][a-z_]{0,63}$`)
)

// faults are those of a request.
type faults []problem.FieldError

func (f *faults) add(detail string, at ...any) {
	*f = append(*f, problem.FieldError{Pointer: problem.Pointer(at...), Detail: detail})
}

func (f *faults) page(id string) {
	if !pagePattern.MatchString(id) {
		f.add("must be 1 to 32 digits", "pageId")
	}
}

func (f *faults) fields(names []string) {
	if len(names) > maxFields {
		f.add(fmt.Sprintf("must have at most %d items", maxFields), "fields")
		return
	}
	for i, name := range names {
		if !fieldPattern.MatchString(name) {
			f.add("must be lower case letters and underscores, 64 at most", "fields", i)
		}
	}
}

// oneOf asks for one of two ids.
func (f *faults) oneOf(connection, grant string) {
	if (connection == "") == (grant == "") {
		f.add("exactly one of connectionId and grantId is required")
	}
}

func (f *faults) err() error {
	if len(*f) > 0 {
		return problem.Invalid(*f...)
	}
	return nil
}

// id reads the id of a row. None has another form.
func id(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		return uuid.Nil, store.ErrNotFound
	}
	return id, nil
}

// byLogin says whether a connection is one that a login could have made.
func byLogin(row db.Connection) bool {
	channel := messaging.Channel(row.Channel)
	return channel == messaging.Facebook || channel == messaging.Instagram
}

// read finds a tenant's connection to a page or an Instagram account.
func read(ctx context.Context, q *db.Queries, tenant uuid.UUID, text string) (db.Connection, error) {
	at, err := id(text)
	if err != nil {
		return db.Connection{}, err
	}
	row, err := q.GetConnection(ctx, at, tenant)
	if err != nil {
		return db.Connection{}, fmt.Errorf("read connection %s: %w", at, store.Found(err))
	}
	if !byLogin(row) {
		return db.Connection{}, store.ErrNotFound
	}
	return row, nil
}

// using are the live connections that are used with a page, whoever's they are.
func using(ctx context.Context, q *db.Queries, page string) ([]db.FindConnectionsRow, error) {
	rows, err := q.FindConnections(ctx, []string{string(messaging.Facebook), string(messaging.Instagram)}, []string{page, page})
	if err != nil {
		return nil, fmt.Errorf("look for the connections of page %s: %w", page, err)
	}
	return rows, nil
}

// ownPage is the tenant's connection of a page. The error is store.ErrNotFound where it
// has none.
func ownPage(ctx context.Context, q *db.Queries, tenant uuid.UUID, page string) (db.Connection, error) {
	rows, err := using(ctx, q, page)
	if err != nil {
		return db.Connection{}, err
	}
	for _, row := range rows {
		if row.TenantID == tenant && row.ExternalID == page && row.Channel == string(messaging.Facebook) {
			return read(ctx, q, tenant, row.ID.String())
		}
	}
	return db.Connection{}, fmt.Errorf("connection of page %s: %w", page, store.ErrNotFound)
}

// list serves list_connections.
func (s *Service) list(ctx context.Context, in openapi.ListConnectionsAction) (any, error) {
	var faults faults
	limit := in.Limit.Or(maxLimit)
	if limit < 1 || limit > maxLimit {
		faults.add(fmt.Sprintf("must be 1 to %d", maxLimit), "limit")
	}
	var before *uuid.UUID
	if in.Cursor != "" {
		raw, err := base64.RawURLEncoding.DecodeString(in.Cursor)
		last, bad := uuid.FromBytes(raw)
		if err != nil || bad != nil || utf8.RuneCountInString(in.Cursor) > maxCursor {
			faults.add("must be a nextCursor of this list", "cursor")
		}
		before = &last
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	tenant := facebook.Tenant(ctx)
	var rows []db.Connection
	var grants []db.OauthGrant
	err := s.Store.InTenant(ctx, tenant, func(q *db.Queries) (err error) {
		if rows, err = connection.List(ctx, q, tenant, before, limit+1); err != nil {
			return err
		}
		grants, err = grant.List(ctx, q, tenant)
		return err
	})
	if err != nil {
		return nil, err
	}
	answer := openapi.GrantedConnections{Connections: []openapi.GrantedConnection{}, Grants: []openapi.Grant{}}
	if len(rows) > limit {
		rows = rows[:limit]
		answer.NextCursor = new(base64.RawURLEncoding.EncodeToString(rows[limit-1].ID[:]))
	}
	for _, row := range rows {
		one := openapi.GrantedConnection{Connection: connection.Show(row), GrantID: row.GrantID}
		if row.SubscribedFields != nil {
			one.SubscribedFields = &row.SubscribedFields
		}
		answer.Connections = append(answer.Connections, one)
	}
	for _, row := range grants {
		answer.Grants = append(answer.Grants, grant.Show(row))
	}
	return answer, nil
}
