// Package inbound reads what Meta posts to a webhook: updates of WhatsApp,
// Messenger and Instagram, in one model. It reads leniently, and loses nothing:
// what it does not understand is kept as it came.
package inbound

import (
	"encoding/json"
	"time"

	"github.com/primezap/primezap/pkg/messaging"
)

// Update is one thing that happened.
type Update struct {
	Channel messaging.Channel
	// Accounts are the ids that the connection may be known by, the likeliest first:
	// a phone number id; a page; an Instagram account or its page.
	Accounts []string
	Field    string          // Meta's name of it, such as messages or message_reads
	At       time.Time       // when it happened; zero where Meta does not say
	Standby  bool            // another app holds the thread
	Raw      json.RawMessage // as it came, made valid UTF-8 without NUL
	Payload  Payload
}

// Payload is what happened: one of the types below.
type Payload interface{ payload() }

// Person is who wrote, or was written to. Any of it may be missing, but not all.
type Person struct {
	Phone          string // E.164 with its plus sign
	UserID         string // WhatsApp: business-scoped
	ParentUserID   string // WhatsApp: of the portfolio above, where there is one
	ScopedID       string // Messenger: page-scoped; Instagram: scoped to the account
	Name, Username string // as the profile says
}

// Message is a message of a person, or to one (Echo).
type Message struct {
	Person     Person
	Echo       bool   // the account wrote it, by whatever app
	ExternalID string // Meta's id, or "~" and a hash that is the same whenever it is told
	Type       messaging.Type
	Text       *string
	Content    messaging.Content
}

// Receipt says how far messages have come that the account sent: one by its id, or
// with a Watermark all of a person's up to a time.
type Receipt struct {
	Person      Person
	ExternalIDs []string
	Watermark   time.Time // zero: ExternalIDs alone
	Status      messaging.Status
	Opaque      string // WhatsApp: what the sender gave to be handed back
	Errors      []messaging.Fault
	Pricing     json.RawMessage // nil where not told
	Failure     json.RawMessage // Meta's errors as they came, nil where there are none
}

// Edit replaces what a message holds.
type Edit struct {
	Person     Person
	ExternalID string // of the message that is edited
	Type       messaging.Type
	Text       *string
	Content    messaging.Content
}

// Removal is a message that its sender took back.
type Removal struct {
	Person     Person
	ExternalID string // of the message that is gone
}

// IdentityChange is a person who is known by another number or id from now on.
type IdentityChange struct {
	Old, New Person
}

// Other is whatever else Meta tells, and what cannot be read.
type Other struct{}

func (Message) payload()        {}
func (Receipt) payload()        {}
func (Edit) payload()           {}
func (Removal) payload()        {}
func (IdentityChange) payload() {}
func (Other) payload()          {}
