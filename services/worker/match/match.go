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
	"unsafe"

	"github.com/google/uuid"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/failpoint"
	"github.com/primezap/primezap/pkg/filter"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/worker/endpoint"
)

// DefaultBytes bounds the copy, so that it leaves attempts and what is held the
// rest of the worker's soft memory limit of 256 MiB.
const DefaultBytes = 160 << 20

// maxTenants bounds those without webhooks, which are remembered too.
const maxTenants = 50_000

// What the copy takes in bytes, about, as TestMatcher_SizeIsWhatItTakes measures:
// of a tenant with a thousand webhooks 1.2 KB each, of one with a webhook for each
// event type 1.3 KB, of one with a single webhook, after events of every type, 5 KB.
// DefaultBytes are good for 140 000, 120 000 and 33 000 of them. Tenants beyond it
// are read anew when they come back.
const (
	tenantBytes  = 250
	hookBytes    = 1000
	typeBytes    = 245 // an event type that was asked for
	textBytes    = 16  // a string beside its letters
	filterFactor = 4   // for the text of a filter
)

// Match is what became of one event.
type Match struct {
	Present   bool // the ledger holds it already
	Endpoints []*endpoint.Endpoint
	// Sealed are webhooks that match but cannot be opened; their deliveries wait.
	Sealed []uuid.UUID
	// Unfiltered are webhooks of which it is not known whether their filters let the
	// event pass: this worker cannot read the filter, or it would cost too much here.
	// Their lanes bring the event to who will ask.
	Unfiltered []uuid.UUID
}

// maxSteps is what asking a filter may cost here, by its own reckoning: as much as
// the row does that it saves.
const maxSteps = 10_000

// maxEventSteps is what all filters of an event may come to, 4 ms or so: the
// events of others wait so long.
const maxEventSteps = 20 * maxSteps

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

	tenants *simplelru.LRU[uuid.UUID, *tenant]
	size    int             // of all of them, in bytes
	bound   int             // of size
	data    filter.Document // of the event that filters are asked about
}

// New returns a matcher with an empty copy, which may grow to about bound bytes;
// 0: DefaultBytes.
func New(q querier, opener endpoint.Opener, bound int, log *slog.Logger) *Matcher {
	if bound == 0 {
		bound = DefaultBytes
	}
	m := &Matcher{db: q, opener: opener, bound: bound, log: log}
	tenants, err := simplelru.NewLRU(maxTenants, func(_ uuid.UUID, t *tenant) { m.size -= t.size + t.typeSize })
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	m.tenants = tenants
	return m
}

// hook is a webhook in the copy.
type hook struct {
	id          uuid.UUID
	events      []string
	operational bool
	endpoint    *endpoint.Endpoint // nil: cannot be opened
	filter      *filter.Filter     // nil: everything passes
	unreadable  bool               // it has a filter that is none to us
	size        int                // in bytes
}

// tenant is the copy of one tenant's active webhooks.
type tenant struct {
	generation int64
	hooks      map[uuid.UUID]hook
	byType     map[string]*candidates // filled as asked, emptied by a change
	size       int                    // in bytes, of all but byType
	typeSize   int                    // of byType
}

// candidates are the webhooks that subscribe to a type.
type candidates struct {
	Match           // as far as the data does not matter
	filtered []hook // whose filters must be asked
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
		before := t.typeSize
		matches[i] = m.filter(&events[i], t.match(event.Type(events[i].Type)))
		if t.typeSize > before {
			// Unless others of the batch took its place.
			if kept, ok := m.tenants.Peek(events[i].Tenant); ok && kept == t {
				m.size += t.typeSize - before
			}
		}
	}
	m.trim()
	return matches, nil
}

// upToDate is the tenant's copy at row's generation or a later one.
func (m *Matcher) upToDate(ctx context.Context, row db.MatchBatchRow) (*tenant, error) {
	if t, ok := m.tenants.Get(row.TenantID); ok && (t.generation >= row.Generation || failpoint.Mutated("stale")) {
		return t, nil
	} else if !ok || t.generation < row.ReloadBelow {
		m.tenants.Remove(row.TenantID)
		m.tenants.Add(row.TenantID, &tenant{hooks: map[uuid.UUID]hook{}, size: tenantBytes})
		m.size += tenantBytes
	}
	t, _ := m.tenants.Get(row.TenantID)
	changed, err := m.db.ChangedWebhooks(ctx, t.generation, row.TenantID)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("match: read tenant's changes: %w", err)
	}
	m.size -= t.size + t.typeSize
	for _, w := range changed {
		t.size -= t.hooks[w.ID].size
		if w.Deleted || !w.Active {
			delete(t.hooks, w.ID)
			continue
		}
		h := m.open(row.TenantID, w)
		t.hooks[w.ID] = h
		t.size += h.size
	}
	m.size += t.size
	t.byType, t.typeSize = nil, 0
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
		RetryDelays: w.RetryDelays, RatePerSecond: w.RatePerSecond,
	})
	if err != nil {
		m.log.Error("match: webhook cannot be opened, its deliveries wait", "webhook", w.ID, "error", err)
	}
	h := hook{id: w.ID, events: w.Events, operational: w.Operational, endpoint: opened, size: sizeOf(w)}
	if w.Filter != nil {
		if h.filter, err = filter.Compile(w.Filter); err != nil {
			m.log.Error("match: filter cannot be read, the webhook's deliveries wait", "webhook", w.ID, "error", err)
			h.unreadable = true
		}
	}
	return h
}

// sizeOf is about what a webhook takes in the copy.
func sizeOf(w db.ChangedWebhooksRow) int {
	size := hookBytes + len(w.Url) + len(w.Headers) + filterFactor*len(w.Filter)
	for _, s := range w.Events {
		size += textBytes + len(s)
	}
	return size
}

// size is about what the candidates take in the copy.
func (c *candidates) size() int {
	return typeBytes + 8*cap(c.Endpoints) + 16*(cap(c.Sealed)+cap(c.Unfiltered)) + int(unsafe.Sizeof(hook{}))*cap(c.filtered)
}

// none is what a tenant without webhooks has for any type.
var none candidates

// match is the copy's answer for one type. It is shared: not to be changed.
func (t *tenant) match(eventType event.Type) *candidates {
	if len(t.hooks) == 0 {
		return &none
	}
	key := string(eventType)
	if found, ok := t.byType[key]; ok {
		return found
	}
	found := &candidates{}
	for _, h := range t.hooks {
		switch {
		case !slices.ContainsFunc(h.events, func(s string) bool { return event.Matches(s, eventType, h.operational) }):
		case h.unreadable:
			found.Unfiltered = append(found.Unfiltered, h.id)
		case h.filter != nil:
			found.filtered = append(found.filtered, h)
		default:
			found.add(h)
		}
	}
	if t.byType == nil {
		t.byType = map[string]*candidates{}
	}
	t.byType[strings.Clone(key)] = found
	t.typeSize += found.size()
	return found
}

// add adds a webhook that gets the event.
func (m *Match) add(h hook) {
	if h.endpoint == nil {
		m.Sealed = append(m.Sealed, h.id)
	} else {
		m.Endpoints = append(m.Endpoints, h.endpoint)
	}
}

// filter asks the candidates' filters, where there are any: only then the event's
// data is read, and once for all.
func (m *Matcher) filter(e *bus.Event, found *candidates) Match {
	if len(found.filtered) == 0 {
		return found.Match
	}
	match := Match{
		Endpoints: slices.Clip(found.Endpoints), Sealed: slices.Clip(found.Sealed), Unfiltered: slices.Clip(found.Unfiltered),
	}
	err := m.data.ReadBody(e.Body)
	if err != nil {
		m.log.Error("match: data of an event cannot be filtered, its deliveries wait", "event", e.ID, "error", err)
	}
	for _, h := range found.filtered {
		switch {
		case err != nil || m.data.Cost(h.filter) > maxSteps || m.data.Steps() > maxEventSteps:
			match.Unfiltered = append(match.Unfiltered, h.id)
		case m.data.Matches(h.filter):
			match.add(h)
		}
	}
	return match
}

// trim keeps the copy within its bound: tenants that were not asked for the
// longest go first, and are read whole when they come back.
func (m *Matcher) trim() {
	for m.size > m.bound && m.tenants.Len() > 1 {
		m.tenants.RemoveOldest()
	}
}
