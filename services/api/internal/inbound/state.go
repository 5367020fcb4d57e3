package inbound

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/outbox"
	"github.com/primezap/primezap/pkg/store/db"
)

// state is what a transaction has locked, as its updates change it one after the
// other. It is written when all of them have.
type state struct {
	q      *db.Queries // of the transaction
	tenant uuid.UUID
	at     time.Time // of all that the transaction does

	contacts      map[uuid.UUID]*contact
	identities    map[identity]uuid.UUID // whose they are now,
	stored        map[identity]uuid.UUID // and in the table
	conversations map[uuid.UUID]*conversation
	open          map[thread]*conversation
	messages      map[messageKey]*message
	kept          map[messageKey][]change // told of messages before they came

	// In the order in which they came to be.
	newMessages []*message
	moved       []*conversation // whose messages are another contact's now
	keeping     []keeping
	events      []outbox.Event

	duplicates map[messaging.Channel]int
}

// identity is what a person is known by.
type identity struct{ value, kind, scope string }

// Kinds of identities that hold for a tenant as a whole. A user id is WhatsApp's.
const (
	phone  = "phone"
	userID = "user_id"
)

// thread is where a contact and an account write to each other.
type thread struct{ contact, connection uuid.UUID }

// messageKey is what a message is known by.
type messageKey struct {
	externalID string
	connection uuid.UUID
}

type contact struct {
	messaging.Contact
	profile        string // the name that the channel last told
	mergedInto     uuid.UUID
	fresh, changed bool
}

type conversation struct {
	messaging.Conversation
	contact        *contact
	fresh, changed bool
}

type message struct {
	messaging.Message
	connection     uuid.UUID
	conversationID uuid.UUID
	contactID      uuid.UUID
	statusAt       time.Time
	pricing        json.RawMessage
	fresh, changed bool
}

// keeping is an update that is kept as it came.
type keeping struct {
	connection uuid.UUID
	field      string
	raw        []byte
	externalID string // of the message that it tells of, where change is set
	change     json.RawMessage
}

// raise notes events of this moment.
func (s *state) raise(events ...messaging.Event) {
	for _, e := range events {
		s.events = append(s.events, outbox.Event{Tenant: s.tenant, Type: e.Type, At: s.at, Order: e.Order, Data: e.Data})
	}
}

func newID() (uuid.UUID, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return id, fmt.Errorf("make an id: %w", err)
	}
	return id, nil
}
