// Package match finds the webhooks that an event goes to.
//
// It keeps a copy of the webhooks of the tenants it met. The copy is never
// trusted by its age: each batch of events asks Postgres once, after its last
// event arrived, where its tenants stand, and tenants that moved are read anew.
// An event published after a change was answered therefore always meets the
// change.
package match

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/failpoint"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/worker/endpoint"
)

// Bounds of the copy.
const (
	maxTenants   = 50_000
	maxEndpoints = 500_000
)

// Match is what became of one event.
type Match struct {
	Present   bool // the ledger holds it already
	Endpoints []*endpoint.Endpoint
	// Sealed are webhooks that match but cannot be opened; their deliveries wait.
	Sealed []uuid.UUID
}

// querier is what matching asks of the database.
type querier interface {
	MatchBatch(context.Context, db.MatchBatchParams) ([]db.MatchBatchRow, error)
	ChangedWebhooks(ctx context.Context, since int64, tenant uuid.UUID) ([]db.ChangedWebhooksRow, error)
}

// Matcher matches one batch at a time.
type Matcher struct {
	db     querier
	opener endpoint.Opener
	log    *slog.Logger

	// TrustGenerations makes the copy be trusted by its age: the mutation that the
	// test of reading one's writes must catch.
	TrustGenerations bool

	tenants   *simplelru.LRU[uuid.UUID, *tenant]
	endpoints int // in all of them
}

// New returns a matcher with an empty copy.
func New(q querier, opener endpoint.Opener, log *slog.Logger) *Matcher {
	m := &Matcher{db: q, opener: opener, log: log}
	tenants, err := simplelru.NewLRU(maxTenants, func(_ uuid.UUID, t *tenant) { m.endpoints -= len(t.hooks) })
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	m.tenants = tenants
	return m
}

// hook is a webhook in the copy.
type hook struct {
	events      []string
	operational bool
	endpoint    *endpoint.Endpoint // nil: cannot be opened
}

// tenant is the copy of one tenant's active webhooks.
type tenant struct {
	generation int64
	hooks      map[uuid.UUID]hook
	byType     map[string]Match // filled as asked, emptied by a change
}

// Match answers for each event of a batch. It asks the database when it is
// called, so it must be called after the last event of the batch arrived.
func (m *Matcher) Match(ctx context.Context, events []bus.Event) ([]Match, error) {
	p := db.MatchBatchParams{FirstDay: events[0].Day, LastDay: events[0].Day}
	for i := range events {
		e := &events[i]
		p.Days = append(p.Days, e.Day)
		p.Tenants = append(p.Tenants, e.Tenant)
		p.Ids = append(p.Ids, e.ID)
		if e.Day.Before(p.FirstDay) {
			p.FirstDay = e.Day
		}
		if e.Day.After(p.LastDay) {
			p.LastDay = e.Day
		}
		if !slices.Contains(p.DistinctTenants, e.Tenant) {
			p.DistinctTenants = append(p.DistinctTenants, e.Tenant)
		}
	}
	rows, err := m.db.MatchBatch(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("match: %w", err)
	}
	matches := make([]Match, len(events))
	stands := make(map[uuid.UUID]*tenant, len(p.DistinctTenants))
	for _, row := range rows {
		if row.Position > 0 {
			matches[row.Position-1].Present = !failpoint.Mutated("forget")
			continue
		}
		if stands[row.TenantID], err = m.upToDate(ctx, row); err != nil {
			return nil, err
		}
	}
	for i := range events {
		t := stands[events[i].Tenant]
		if t == nil || matches[i].Present {
			continue // a tenant without a row never had a webhook
		}
		matches[i] = t.match(event.Type(events[i].Type))
	}
	m.trim()
	return matches, nil
}

// upToDate is the tenant's copy at row's generation or a later one.
func (m *Matcher) upToDate(ctx context.Context, row db.MatchBatchRow) (*tenant, error) {
	if t, ok := m.tenants.Get(row.TenantID); ok && (t.generation >= row.Generation || m.TrustGenerations) {
		return t, nil
	} else if !ok || t.generation < row.ReloadBelow {
		m.tenants.Remove(row.TenantID)
		m.tenants.Add(row.TenantID, &tenant{hooks: map[uuid.UUID]hook{}})
	}
	t, _ := m.tenants.Get(row.TenantID)
	changed, err := m.db.ChangedWebhooks(ctx, t.generation, row.TenantID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("match: read tenant's changes: %w", err)
	}
	m.endpoints -= len(t.hooks)
	for _, w := range changed {
		if w.Deleted || !w.Active {
			delete(t.hooks, w.ID)
			continue
		}
		t.hooks[w.ID] = m.open(row.TenantID, w)
	}
	m.endpoints += len(t.hooks)
	t.byType = map[string]Match{}
	t.generation = row.Generation
	if len(changed) > 0 {
		t.generation = max(t.generation, changed[0].TenantGeneration)
	}
	return t, nil
}

func (m *Matcher) open(tenant uuid.UUID, w db.ChangedWebhooksRow) hook {
	opened, err := m.opener.Open(endpoint.Sealed{
		ID: w.ID, Tenant: tenant, Generation: w.Generation, URL: w.Url, Events: w.Events, Secret: w.Secret,
		PreviousSecret: w.PreviousSecret, PreviousSecretUntil: w.PreviousSecretUntil, Headers: w.Headers,
		RetryDelays: w.RetryDelays,
	})
	if err != nil {
		m.log.Error("match: webhook cannot be opened, its deliveries wait", "webhook", w.ID, "error", err)
	}
	return hook{events: w.Events, operational: w.Operational, endpoint: opened}
}

// match is the copy's answer for one type. It is shared: not to be changed.
func (t *tenant) match(eventType event.Type) Match {
	key := string(eventType)
	if found, ok := t.byType[key]; ok {
		return found
	}
	var found Match
	for id, h := range t.hooks {
		if !slices.ContainsFunc(h.events, func(s string) bool { return event.Matches(s, eventType, h.operational) }) {
			continue
		}
		if h.endpoint == nil {
			found.Sealed = append(found.Sealed, id)
		} else {
			found.Endpoints = append(found.Endpoints, h.endpoint)
		}
	}
	t.byType[strings.Clone(key)] = found
	return found
}

// trim keeps the copy within its bound: tenants that were not asked for the
// longest go first, and are read whole when they come back.
func (m *Matcher) trim() {
	for m.endpoints > maxEndpoints && m.tenants.Len() > 1 {
		m.tenants.RemoveOldest()
	}
}
