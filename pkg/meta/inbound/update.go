// Package inbound reads what Meta posts to a webhook: updates of WhatsApp,
// Messenger and Instagram, in one model. It reads leniently, and loses nothing:
// what it does not understand is kept as it came.
//
// Whatever it returns can be stored and sent: texts and JSON are valid UTF-8
// without NUL, ids are short enough for an index, and a message's text, content
// and errors together leave room in the body of an event (see MaxTextBytes,
// MaxContentBytes). Update.Raw alone is not made for events: event.Embed makes it.
package inbound

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/primezap/primezap/pkg/messaging"
)

// Bounds of what is returned.
const (
	// MaxUpdates is how many updates of one body are read, ten times what Meta says
	// it ever sends.
	MaxUpdates = 10_000
	// MaxIDBytes bounds every id. A message's longer id becomes its hash.
	MaxIDBytes = 512
	// MaxTextBytes bounds a text as JSON has it, quotation marks included. WhatsApp
	// lets people write 65 536 characters.
	MaxTextBytes = 96 << 10
	// MaxContentBytes bounds messaging.Content, and the errors of a receipt, as JSON.
	MaxContentBytes = 32 << 10
)

// Errors of Parse.
var (
	// ErrMalformed says that the body is no JSON: Meta did not send it.
	ErrMalformed = errors.New("inbound: no JSON")
	// ErrTooMany comes with the first MaxUpdates updates of a body that has more.
	// They are to be stored and the body acknowledged: Meta would send the same one
	// for days.
	ErrTooMany = errors.New("inbound: more updates than are read")
)

// Update is one thing that happened.
type Update struct {
	Channel messaging.Channel // empty where the body is of no channel
	// Accounts are the ids that the connection may be known by, the likeliest first:
	// a phone number id (of WhatsApp's account where there is no number); a page; an
	// Instagram account or its page. May be empty.
	Accounts []string
	Field    string          // Meta's name of it, such as messages or message_reads
	At       time.Time       // when it happened; zero where Meta does not say
	Standby  bool            // another app holds the thread
	Raw      json.RawMessage // its own part of the body as it came, made valid UTF-8 without NUL; shares the body's memory
	Payload  Payload         // never nil
}

// Payload is what happened: one of the types below.
type Payload interface{ payload() }

// Person is who wrote, or was written to. Any of it may be missing, and all of it
// where a message is known by its id anyway: in Receipt, Edit and Removal.
type Person struct {
	Phone        string // E.164 with its plus sign
	UserID       string // WhatsApp: business-scoped
	ParentUserID string // WhatsApp: of the portfolio above, where there is one
	// ScopedID is page-scoped on Messenger, scoped to the account on Instagram.
	// "user_ref:" and a website's own name for a visitor of whom no id is known yet.
	ScopedID       string
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
	Person       Person
	ExternalIDs  []string
	Watermark    time.Time // zero: ExternalIDs alone
	Status       messaging.Status
	Opaque       string // WhatsApp: what the sender gave to be handed back
	Errors       []messaging.Fault
	Pricing      json.RawMessage // nil where not told
	Conversation json.RawMessage // WhatsApp's window of pricing; nil where not told
	Failure      json.RawMessage // Meta's errors, fit for an event; nil where there are none
}

// Edit replaces what a message holds: all of it, or where Type is empty the text
// alone.
type Edit struct {
	Person     Person
	Echo       bool
	ExternalID string // of the message that is edited
	Type       messaging.Type
	Text       *string
	Content    messaging.Content
}

// Removal is a message that its sender took back.
type Removal struct {
	Person     Person
	Echo       bool
	ExternalID string // of the message that is gone
}

// IdentityChange is a person who is known by another number or id from now on. New
// has only what is new.
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
