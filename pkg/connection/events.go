package connection

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/outbox"
	"github.com/primezap/primezap/pkg/store/db"
)

// Reason is why an event of a connection was raised.
type Reason string

// Why a connection is gone.
const (
	Disconnected Reason = "disconnected" // by the tenant
	Moved        Reason = "moved"        // another tenant has proven that the account is its own
)

// Why a connection waits for another token.
const (
	TokenRefused Reason = "token_refused" // by Meta
	Deauthorized Reason = "deauthorized"  // the user removed the app
	DataDeleted  Reason = "data_deleted"  // the user asked for their data to be deleted
)

// What of a connection ends soon.
const (
	Token      Reason = "token"       // the user's, by which it came
	DataAccess Reason = "data_access" // the permission to read data, 90 days after the user's last login
)

// gone is the status of a connection that is deleted, in events.
const gone Status = "disconnected"

// told is a connection as events show it.
type told struct {
	ID         uuid.UUID         `json:"id"`
	Channel    messaging.Channel `json:"channel"`
	Name       string            `json:"name"`
	ExternalID string            `json:"externalId"`
	PageID     *string           `json:"pageId"`
	Status     Status            `json:"status"`
}

// data is what an event of a connection tells.
type data struct {
	Connection told       `json:"connection"`
	Reason     Reason     `json:"reason,omitempty"`
	ExpiresAt  *time.Time `json:"expiresAt,omitempty"`
}

// about is an event of a connection, among the others of it. Whoever raises it holds
// the row's lock.
func about(what event.Type, row db.Connection, at time.Time, reason Reason) outbox.Event {
	status := Status(row.Status)
	if row.DeletedAt != nil {
		status = gone
	}
	return outbox.Event{
		Tenant: row.TenantID, Type: what, At: at.UTC(), Order: row.ID.String(),
		Data: data{
			Connection: told{
				ID: row.ID, Channel: messaging.Channel(row.Channel), Name: row.Name, ExternalID: row.ExternalID, PageID: row.PageID, Status: status,
			},
			Reason: reason,
		},
	}
}

// connected tells of a connection that a login made or renewed.
func connected(row db.Connection) outbox.Event {
	return about(event.ConnectionConnected, row, row.UpdatedAt, "")
}

// disconnected tells of a connection that was deleted.
func disconnected(row db.Connection, reason Reason) outbox.Event {
	return about(event.ConnectionDisconnected, row, row.UpdatedAt, reason)
}

// waits tells of a connection that needs another token.
func waits(row db.Connection, reason Reason) outbox.Event {
	return about(event.ConnectionReconnectRequired, row, row.UpdatedAt, reason)
}

// RaiseExpiring raises connection.expiring, for Token or DataAccess, of rows that were
// locked in the same transaction (OfGrant): that until expires somebody has to log in.
// The time of the event is at, which is the database's.
func RaiseExpiring(ctx context.Context, q *db.Queries, rows []db.Connection, at time.Time, reason Reason, expires time.Time) error {
	events := make([]outbox.Event, len(rows))
	for i, row := range rows {
		events[i] = about(event.ConnectionExpiring, row, at, reason)
		tells, _ := events[i].Data.(data)
		tells.ExpiresAt = new(expires.UTC())
		events[i].Data = tells
	}
	return outbox.RaiseAll(ctx, q, events)
}
