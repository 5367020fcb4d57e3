// Package connection keeps what tenants send and receive through: numbers, pages and
// accounts of Meta's.
//
// An account has at most one live connection, whoever's it is. A connection's access
// token is sealed at rest, and nobody but this package opens it: a send reads it with
// ForUse, in its own transaction, so that nothing goes through a connection that is
// paused or deleted from the moment on that somebody is told so. States:
//
//	active    ForUse gives the token
//	reconnect Meta refused the token: Refused says so; another token ends it
//	paused    by the tenant, who makes it active again
//	deleted   its token is gone; the row stays, since conversations name it
//
// A second tenant cannot connect an account. It can claim one that it has proven by
// OAuth to be its own: then the first tenant's connection is deleted in the same
// transaction.
package connection

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/store/db"
)

// Status is whether messages can be sent.
type Status string

// The states of a live connection.
const (
	Active    Status = "active"
	Reconnect Status = "reconnect" // Meta refused the token
	Paused    Status = "paused"    // by the tenant
)

var (
	// ErrTaken says that the account is connected already, by whomever.
	ErrTaken = errors.New("the account is connected already")
	// ErrPaused says that nothing is sent until the tenant makes the connection active.
	ErrPaused = errors.New("the connection is paused")
	// ErrReconnect says that nothing is sent until the connection has another token.
	ErrReconnect = errors.New("the connection waits for another token: Meta refused the one it has")
)

// View is a connection as the API and the audit log show it.
type View struct {
	ID          uuid.UUID         `json:"id"`
	Channel     messaging.Channel `json:"channel"`
	Name        string            `json:"name"`
	ExternalID  string            `json:"externalId"`
	PageID      *string           `json:"pageId"`
	Status      Status            `json:"status"`
	AccountName *string           `json:"accountName"` // as Meta calls it
	LastError   *Error            `json:"lastError"`
	CreatedAt   time.Time         `json:"createdAt"`
	UpdatedAt   time.Time         `json:"updatedAt"`
}

// Error is what Meta last refused.
type Error struct {
	Message string    `json:"message"`
	At      time.Time `json:"at"`
}

// Show is a row as it may be seen. Of the token it does not even know whether there
// is one.
func Show(row db.Connection) View {
	v := View{
		ID: row.ID, Channel: messaging.Channel(row.Channel), Name: row.Name, ExternalID: row.ExternalID, PageID: row.PageID,
		Status: Status(row.Status), AccountName: row.AccountName, CreatedAt: row.CreatedAt.UTC(), UpdatedAt: row.UpdatedAt.UTC(),
	}
	if row.LastError != nil && row.LastErrorAt != nil {
		v.LastError = &Error{Message: *row.LastError, At: row.LastErrorAt.UTC()}
	}
	return v
}
