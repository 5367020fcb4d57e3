// Package eventlog shows the events of a tenant, once workers have entered them
// into the ledger: which there were, and of each its body and what became of its
// deliveries.
package eventlog

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/page"
	"github.com/primezap/primezap/services/api/internal/param"
)

// Service implements the reading of events.
type Service struct {
	Store     *store.Store
	JetStream jetstream.JetStream // for bodies
}

const (
	day = 24 * time.Hour

	// defaultPeriod is how far a list goes back that does not say from when.
	defaultPeriod = 7 * day

	// An event belongs to the day on which its id was given. It is accepted within
	// a day of it, or when the event store comes back.
	earlier = 7 * day
)

// ListEvents serves GET /api/events.
func (s *Service) ListEvents(ctx context.Context, req openapi.ListEventsRequestObject) (openapi.ListEventsResponseObject, error) {
	principal, _ := auth.FromContext(ctx)
	pages, faults := page.ParseText(req.Params.Page, req.Params.Limit, req.Params.Cursor, event.ValidID)
	// Clocks differ: what was accepted just now may be of the future.
	from, to := param.Period(req.Params.From, req.Params.To, param.Beginning, time.Now().Add(day), &faults)
	if req.Params.From == nil {
		from = to.Add(-defaultPeriod)
	}
	types := typesOf(req.Params.Event, &faults)
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	filter := db.ListEventsParams{
		Types: types, TenantID: principal.Tenant, FromTime: from, ToTime: to,
		FirstDay: bus.Day(from.Add(-earlier)), LastDay: bus.Day(to.Add(day)),
		TypeLimit: pages.Offset() + pages.Limit(), RowOffset: pages.Offset(), RowLimit: pages.Limit(),
	}
	filter.BeforeTime, filter.BeforeID = pages.AfterTimeText()
	var total int64
	var rows []db.ListEventsRow
	err := s.Store.InTenant(ctx, principal.Tenant, func(q *db.Queries) (err error) {
		total, err = q.CountEvents(ctx, db.CountEventsParams{
			Types: filter.Types, TenantID: filter.TenantID, FromTime: filter.FromTime, ToTime: filter.ToTime,
			FirstDay: filter.FirstDay, LastDay: filter.LastDay, Cap: page.CountLimit,
		})
		if err != nil {
			return err
		}
		rows, err = q.ListEvents(ctx, filter)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	rows, pagination := page.Show(pages, rows, total, func(row db.ListEventsRow) []byte { return page.TimeTextKey(row.CreatedAt, row.ID) })
	events := make([]openapi.Event, len(rows))
	for i, row := range rows {
		events[i] = openapi.Event{ID: row.ID, Event: row.Type, ContactID: event.ContactID(row.ContactID), CreatedAt: row.CreatedAt.UTC()}
	}
	return openapi.ListEvents200JSONResponse{Data: events, Pagination: pagination}, nil
}

// typesOf are the types that a list shows: the index has them one by one.
func typesOf(name *string, faults *[]problem.FieldError) []string {
	if name != nil {
		if _, ok := event.Lookup(event.Type(*name)); !ok {
			param.Fault(faults, "event", event.NoType)
		}
		return []string{*name}
	}
	return event.Names()
}
