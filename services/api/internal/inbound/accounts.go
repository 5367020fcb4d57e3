package inbound

import (
	"context"
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
			s.seldom.Do(func() {
				s.log.InfoContext(ctx, "Meta told of an account that nobody has connected", "channel", u.Channel, "account", first(u.Accounts))
			})
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
type directory struct {
	byID, byPage map[account]db.FindConnectionsRow
}

// of finds the connection of an update by the likeliest of its accounts.
func (d directory) of(u *updates.Update) (row db.FindConnectionsRow, ok bool) {
	for _, id := range u.Accounts {
		at := account{u.Channel, id}
		if row, ok = d.byID[at]; ok {
			return row, true
		}
		if row, ok = d.byPage[at]; ok {
			return row, true
		}
	}
	return row, false
}

func (s *Service) find(ctx context.Context, all []updates.Update) (directory, error) {
	d := directory{map[account]db.FindConnectionsRow{}, map[account]db.FindConnectionsRow{}}
	asked := map[account]bool{}
	var channels, ids []string
	for i := range all {
		for _, id := range all[i].Accounts {
			at := account{all[i].Channel, id}
			if !asked[at] {
				asked[at] = true
				channels, ids = append(channels, string(at.channel)), append(ids, id)
			}
		}
	}
	if len(ids) == 0 {
		return d, nil
	}
	rows, err := s.store.Queries().FindConnections(ctx, channels, ids)
	if err != nil {
		return d, fmt.Errorf("find connections: %w", err)
	}
	for _, row := range rows {
		channel := messaging.Channel(row.Channel)
		d.byID[account{channel, row.ExternalID}] = row
		// A page has one account on Instagram. Of two that say so, the older one.
		page := account{channel, row.PageID}
		if other, ok := d.byPage[page]; row.PageID != "" && (!ok || row.ID.String() < other.ID.String()) {
			d.byPage[page] = row
		}
	}
	return d, nil
}
