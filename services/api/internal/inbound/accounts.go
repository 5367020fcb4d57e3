package inbound

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/messaging"
	updates "github.com/primezap/primezap/pkg/meta/inbound"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store/db"
)

// connection is the connected account that an update is of.
type connection struct {
	ID         uuid.UUID
	ExternalID string // which ids of people hold for
}

// told is an update of a connected account.
type told struct {
	updates.Update
	connection connection
}

// batch is updates of a tenant that are stored in one transaction.
type batch struct {
	tenant uuid.UUID
	told   []told
}

// connections are those that the batch is of, each once.
func (b batch) connections() (ids []uuid.UUID) {
	for i := range b.told {
		if id := b.told[i].connection.ID; !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// maxBatch bounds what one transaction locks and holds in memory.
const maxBatch = 200

// account is one of Meta's.
type account struct {
	channel messaging.Channel
	id      string
}

// sort groups updates by tenant, in the order in which they happened. Those of
// accounts that nobody has connected are left out.
func (s *Service) sort(ctx context.Context, all []updates.Update) ([]batch, error) {
	connections, err := s.find(ctx, all)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var tenants []uuid.UUID
	of := map[uuid.UUID][]told{}
	for _, u := range all {
		row, ok := connections.of(&u)
		if !ok {
			s.metrics.unknown.WithLabelValues(string(u.Channel)).Inc()
			s.strange(ctx, account{u.Channel, first(u.Accounts)})
			continue
		}
		if u.At.Before(earliest) || u.At.After(now.Add(clockSkew)) {
			u.At = now // none is told, or none that can be meant
		}
		if of[row.TenantID] == nil {
			tenants = append(tenants, row.TenantID)
		}
		of[row.TenantID] = append(of[row.TenantID], told{u, connection{row.ID, row.ExternalID}})
	}
	var batches []batch
	for _, tenant := range tenants {
		switch deleted, err := s.deleted(ctx, tenant); {
		case err != nil:
			return nil, err
		case deleted:
			continue // its connections are about to go
		}
		// Meta does not say that a post is in order.
		slices.SortStableFunc(of[tenant], func(a, b told) int { return a.At.Compare(b.At) })
		for part := range slices.Chunk(of[tenant], maxBatch) {
			batches = append(batches, batch{tenant, part})
		}
	}
	return batches, nil
}

// strange logs that nobody has connected an account: each one once a minute, and of
// all of them no more than a few a second.
func (s *Service) strange(ctx context.Context, of account) {
	now := time.Now()
	s.unknownMu.Lock()
	last, logged := s.unknown.Get(of)
	may := (!logged || now.Sub(last) >= logEvery) && s.strangers.AllowN(now, 1)
	if may {
		s.unknown.Add(of, now)
	}
	s.unknownMu.Unlock()
	if may {
		s.log.InfoContext(ctx, "Meta told of an account that nobody has connected", "channel", of.channel, "account", of.id)
	}
}

// Times outside of these are taken for none.
var earliest = time.Date(2004, 1, 1, 0, 0, 0, 0, time.UTC)

const clockSkew = 24 * time.Hour

func first(accounts []string) string {
	if len(accounts) == 0 {
		return ""
	}
	return accounts[0]
}

// deleted says whether a tenant is no more.
func (s *Service) deleted(ctx context.Context, tenant uuid.UUID) (bool, error) {
	err := s.tenants.Refuse(ctx, tenant)
	if p, ok := err.(*problem.Problem); ok && p.Status == http.StatusForbidden { //nolint:errorlint // as it is returned
		return true, nil
	}
	return false, err
}

// directory is the connections of accounts.
type directory map[account]db.FindConnectionsRow

// of finds the connection of an update by the likeliest of its accounts.
func (d directory) of(u *updates.Update) (row db.FindConnectionsRow, ok bool) {
	for _, id := range u.Accounts {
		if row, ok = d[account{u.Channel, id}]; ok {
			return row, true
		}
	}
	return row, false
}

var errUnknown = errors.New("nobody has connected the account")

// find looks accounts up, those that were found in the last second excepted. That an
// account is unknown is not remembered: it may be connected at this moment.
func (s *Service) find(ctx context.Context, all []updates.Update) (directory, error) {
	d := directory{}
	asked := map[account]bool{}
	var channels, ids []string
	for i := range all {
		for _, id := range all[i].Accounts {
			at := account{all[i].Channel, id}
			if asked[at] {
				continue
			}
			asked[at] = true
			if row, err := s.known.Get(at, func() (row db.FindConnectionsRow, err error) { return row, errUnknown }); err == nil {
				d[at] = row
				continue
			}
			channels, ids = append(channels, string(at.channel)), append(ids, id)
		}
	}
	if len(ids) == 0 {
		return d, nil
	}
	rows, err := s.store.Queries().FindConnections(ctx, channels, ids)
	if err != nil {
		return d, fmt.Errorf("find connections: %w", err)
	}
	for at, row := range byAccount(rows) {
		if !asked[at] {
			continue
		}
		if d[at], err = s.known.Get(at, func() (db.FindConnectionsRow, error) { return row, nil }); err != nil {
			return d, err
		}
	}
	return d, nil
}

// byAccount are connections by the accounts that they are found by: their own, and the
// page of one on Instagram. A page has one account there; of two that say so, the
// older one is meant.
func byAccount(rows []db.FindConnectionsRow) directory {
	d := directory{}
	slices.SortFunc(rows, func(a, b db.FindConnectionsRow) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	for _, row := range slices.Backward(rows) {
		if row.PageID != "" {
			d[account{messaging.Channel(row.Channel), row.PageID}] = row
		}
	}
	for _, row := range rows {
		d[account{messaging.Channel(row.Channel), row.ExternalID}] = row
	}
	return d
}
