package messaging

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/event"
)

// Event is an event of a contact, as outbox.Event takes it. Its data is as the
// catalog says, whatever people and Meta put into it.
type Event struct {
	Type  event.Type
	Order string // the contact's id: all events of a person keep their order
	Data  any
}

// ContactCreated tells of a new contact.
func ContactCreated(c Contact) Event {
	return Event{Type: event.ContactCreated, Order: c.ID.String(), Data: struct {
		Contact fullContact `json:"contact"`
	}{full(c)}}
}

// ContactUpdated tells what changed of a contact, false if it is nothing that events
// have. Identities count where both know them.
func ContactUpdated(before, after Contact, by Actor) (Event, bool) {
	previous := changed(before, after)
	if len(previous) == 0 {
		return Event{}, false
	}
	return Event{Type: event.ContactUpdated, Order: after.ID.String(), Data: struct {
		Contact   fullContact    `json:"contact"`
		Previous  map[string]any `json:"previous"`
		UpdatedBy Actor          `json:"updatedBy"`
	}{full(after), previous, by}}, true
}

// ChangedFields names the fields of a contact that ContactUpdated tells of, in the
// order of the alphabet.
func ChangedFields(before, after Contact) []string {
	return slices.Sorted(maps.Keys(changed(before, after)))
}

// changed is what the fields that changed held before.
func changed(before, after Contact) map[string]any {
	was, is := full(before), full(after)
	previous := map[string]any{}
	differ(previous, "name", was.Name, is.Name)
	differ(previous, "phone", was.Phone, is.Phone)
	differ(previous, "email", was.Email, is.Email)
	differ(previous, "tags", was.Tags, is.Tags)
	differ(previous, "instagram", was.Instagram, is.Instagram)
	differ(previous, "owner", was.Owner, is.Owner)
	differ(previous, "customFields", was.CustomFields, is.CustomFields)
	if before.Identities != nil && after.Identities != nil {
		differ(previous, "identities", was.Identities, is.Identities)
	}
	return previous
}

// ConversationCreated tells of a new conversation.
func ConversationCreated(c Conversation, with Contact, startedBy Actor) Event {
	return Event{Type: event.ConversationCreated, Order: with.ID.String(), Data: struct {
		Conversation Conversation `json:"conversation"`
		StartedBy    Actor        `json:"startedBy"`
		place
	}{utc(c), startedBy, placed(c, with)}}
}

// ConversationUpdated tells what changed of a conversation, false if it is nothing
// that events have.
func ConversationUpdated(before, after Conversation, with Contact, by Actor) (Event, bool) {
	was, is := utc(before), utc(after)
	previous := map[string]any{}
	differ(previous, "status", was.Status, is.Status)
	differ(previous, "assignee", was.Assignee, is.Assignee)
	differ(previous, "lastMessageAt", was.LastMessageAt, is.LastMessageAt)
	if len(previous) == 0 {
		return Event{}, false
	}
	return conversationUpdated(is, with, by, previous, nil), true
}

// MessageChanged tells of a message that its sender edited or took back, as
// conversation.updated; false if it is neither.
func MessageChanged(before, after Message, in Conversation, with Contact, by Actor) (Event, bool) {
	was := map[string]any{}
	differ(was, "editedAt", inUTC(before.EditedAt), inUTC(after.EditedAt))
	differ(was, "deletedAt", inUTC(before.DeletedAt), inUTC(after.DeletedAt))
	if len(was) == 0 {
		return Event{}, false
	}
	return conversationUpdated(utc(in), with, by, map[string]any{"message": was}, fit(after)), true
}

func conversationUpdated(c Conversation, with Contact, by Actor, previous map[string]any, message json.RawMessage) Event {
	return Event{Type: event.ConversationUpdated, Order: with.ID.String(), Data: struct {
		Conversation Conversation    `json:"conversation"`
		Previous     map[string]any  `json:"previous"`
		Message      json.RawMessage `json:"message,omitempty"`
		UpdatedBy    Actor           `json:"updatedBy"`
		place
	}{c, previous, message, by, placed(c, with)}}
}

// Resolved is why a conversation was closed where nobody says another reason.
const Resolved = "resolved"

// ConversationClosed tells that a conversation, which has its ClosedAt, was closed,
// and after how many messages.
func ConversationClosed(c Conversation, with Contact, by Actor, reason string, messages int64) Event {
	c = utc(c)
	return Event{Type: event.ConversationClosed, Order: with.ID.String(), Data: struct {
		Conversation    Conversation `json:"conversation"`
		ClosedBy        Actor        `json:"closedBy"`
		Reason          string       `json:"reason"`
		ClosedAt        *time.Time   `json:"closedAt"`
		DurationSeconds int64        `json:"durationSeconds"`
		MessageCount    int64        `json:"messageCount"`
		place
	}{c, by, reason, c.ClosedAt, max(0, int64(c.ClosedAt.Sub(c.CreatedAt).Seconds())), messages, placed(c, with)}}
}

// MessageReceived tells of a message from a contact.
func MessageReceived(m Message, in Conversation, from Contact) Event {
	return Event{Type: event.MessageReceived, Order: from.ID.String(), Data: struct {
		Message      json.RawMessage `json:"message"`
		Conversation Conversation    `json:"conversation"`
		place
	}{fit(m), utc(in), placed(in, from)}}
}

// MessageSent tells of a message to a contact that its channel accepted.
func MessageSent(m Message, in Conversation, to Contact, by Actor) Event {
	return Event{Type: event.MessageSent, Order: to.ID.String(), Data: struct {
		Message      json.RawMessage `json:"message"`
		SentBy       Actor           `json:"sentBy"`
		Conversation Conversation    `json:"conversation"`
		place
	}{fit(m), by, utc(in), placed(in, to)}}
}

// place is with whom and where something was said.
type place struct {
	Contact        briefContact `json:"contact"`
	ConversationID uuid.UUID    `json:"conversationId"`
	ConnectionID   uuid.UUID    `json:"connectionId"`
}

func placed(c Conversation, with Contact) place {
	return place{Contact: brief(with), ConversationID: c.ID, ConnectionID: c.ConnectionID}
}

type briefContact struct {
	ID    uuid.UUID `json:"id"`
	Name  string    `json:"name"`
	Phone *string   `json:"phone"`
	Email *string   `json:"email"`
	Tags  []string  `json:"tags"`
}

type fullContact struct {
	briefContact
	Instagram    *string         `json:"instagram"`
	Source       Channel         `json:"source"`
	Owner        *Agent          `json:"owner"`
	CustomFields json.RawMessage `json:"customFields"`
	Identities   []Identity      `json:"identities,omitempty"`
	CreatedAt    time.Time       `json:"createdAt"`
	UpdatedAt    time.Time       `json:"updatedAt"`
}

func brief(c Contact) briefContact {
	b := briefContact{ID: c.ID, Name: nameOf(c), Phone: c.Phone, Email: c.Email, Tags: c.Tags}
	if b.Phone != nil && !e164.MatchString(*b.Phone) {
		b.Phone = nil // Meta has numbers of its own, for tests
	}
	if b.Tags == nil {
		b.Tags = []string{}
	}
	return b
}

var e164 = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)

func nameOf(c Contact) string {
	if c.Name != "" {
		return c.Name
	}
	return DisplayName("", "", "", c.Source, "")
}

func full(c Contact) fullContact {
	f := fullContact{
		briefContact: brief(c), Instagram: c.Instagram, Source: c.Source, Owner: c.Owner, CustomFields: c.CustomFields,
		Identities: slices.Clone(c.Identities), CreatedAt: c.CreatedAt.UTC(), UpdatedAt: c.UpdatedAt.UTC(),
	}
	if len(f.CustomFields) == 0 {
		f.CustomFields = json.RawMessage(`{}`)
	}
	slices.SortFunc(f.Identities, func(a, b Identity) int {
		return slices.Compare([]string{a.Kind, a.Value, a.Account}, []string{b.Kind, b.Value, b.Account})
	})
	return f
}

func utc(c Conversation) Conversation {
	c.CreatedAt = c.CreatedAt.UTC()
	c.LastMessageAt, c.LastInboundAt, c.ClosedAt = inUTC(c.LastMessageAt), inUTC(c.LastInboundAt), inUTC(c.ClosedAt)
	return c
}

func inUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return new(t.UTC())
}

// differ puts what was into previous if something else is now. Both are compared as
// they are sent.
func differ(previous map[string]any, name string, was, is any) {
	if !bytes.Equal(stable(was), stable(is)) {
		previous[name] = was
	}
}

func stable(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	if normal, err := event.Normalise(text); err == nil {
		return normal
	}
	return text
}
