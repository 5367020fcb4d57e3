// Package outbox raises events in the transaction of what they tell of. The
// workers' relay publishes them, those of one order as they were inserted.
package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/store/db"
)

// Event is one to be raised.
type Event struct {
	Tenant uuid.UUID
	Type   event.Type
	At     time.Time
	// Order names what the event must keep its place among, empty for nothing:
	// events of one order reach the stream as they were inserted. Who inserts one
	// holds a lock on what it names, since ids are given before they commit.
	Order string
	Data  any // becomes JSON
}

// Of is an event of one of the tenant's contacts.
func Of(tenant uuid.UUID, at time.Time, e messaging.Event) Event {
	return Event{Tenant: tenant, Type: e.Type, At: at, Order: e.Order, Data: e.Data}
}

// Row is the event as the table has it, with an id of its own.
func (e Event) Row() (db.InsertOutboxParams, error) {
	data, err := json.Marshal(e.Data)
	if err != nil {
		return db.InsertOutboxParams{}, fmt.Errorf("encode %s: %w", e.Type, err)
	}
	body, err := event.Body(e.Type, e.At, data)
	if err != nil {
		return db.InsertOutboxParams{}, fmt.Errorf("make body of %s: %w", e.Type, err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return db.InsertOutboxParams{}, fmt.Errorf("make an id: %w", err)
	}
	row := db.InsertOutboxParams{TenantID: e.Tenant, EventID: id.String(), EventType: string(e.Type), Day: bus.Day(e.At), Body: body}
	if e.Order != "" {
		row.Conversation = &e.Order
	}
	return row, nil
}

// Raise inserts the event in q's transaction.
func Raise(ctx context.Context, q *db.Queries, e Event) error {
	row, err := e.Row()
	if err != nil {
		return err
	}
	if err := q.InsertOutbox(ctx, row); err != nil {
		return fmt.Errorf("raise %s: %w", e.Type, err)
	}
	return nil
}

// RaiseAll inserts events in q's transaction in one statement, in their order. In a
// round of statements it is one of them.
func RaiseAll(ctx context.Context, q *db.Queries, events []Event) error {
	if len(events) == 0 {
		return nil
	}
	var rows db.InsertOutboxRowsParams
	for _, e := range events {
		row, err := e.Row()
		if err != nil {
			return err
		}
		rows.Tenants, rows.EventIds, rows.EventTypes = append(rows.Tenants, row.TenantID), append(rows.EventIds, row.EventID), append(rows.EventTypes, row.EventType)
		rows.Days, rows.Bodies = append(rows.Days, row.Day), append(rows.Bodies, row.Body)
		rows.Conversations = append(rows.Conversations, e.Order)
	}
	if err := q.InsertOutboxRows(ctx, rows); err != nil {
		return fmt.Errorf("raise %d events: %w", len(events), err)
	}
	return nil
}
