// Package people reads the rows of contacts, conversations and messages as the
// events have them, and locks them in the order that all who raise such events do.
package people

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
)

// maxMerges bounds how often a person turned out to be another.
const maxMerges = 16

var errMerges = errors.New("the contact was merged too often")

// Find is the contact with an id: the one that remained, where it turned out to be
// the same person as another.
func Find(ctx context.Context, q *db.Queries, id uuid.UUID) (db.Contact, error) {
	for range maxMerges {
		row, err := q.GetContact(ctx, id)
		if err != nil {
			return db.Contact{}, store.Found(err)
		}
		if row.MergedInto == nil {
			return row, nil
		}
		id = *row.MergedInto
	}
	return db.Contact{}, errMerges
}

// Lock is Find, with the lock that whoever raises an event of the contact holds
// until it commits.
func Lock(ctx context.Context, q *db.Queries, id uuid.UUID) (db.Contact, error) {
	for range maxMerges {
		// Only the one that remains is locked: two at once have an order.
		row, err := Find(ctx, q, id)
		if err != nil {
			return db.Contact{}, err
		}
		if row, err = q.LockContact(ctx, row.ID); err != nil {
			return db.Contact{}, store.Found(err)
		}
		if row.MergedInto == nil {
			return row, nil
		}
		id = *row.MergedInto
	}
	return db.Contact{}, errMerges
}

// LockConversation locks a conversation and, before it, its contact.
func LockConversation(ctx context.Context, q *db.Queries, id uuid.UUID) (db.Contact, db.Conversation, error) {
	for range maxMerges {
		row, err := q.GetConversation(ctx, id)
		if err != nil {
			return db.Contact{}, db.Conversation{}, store.Found(err)
		}
		contact, err := Lock(ctx, q, row.ContactID)
		if err != nil {
			return db.Contact{}, db.Conversation{}, err
		}
		if row, err = q.LockConversation(ctx, id); err != nil {
			return db.Contact{}, db.Conversation{}, store.Found(err)
		}
		if row.ContactID == contact.ID { // else it was handed over meanwhile
			return contact, row, nil
		}
	}
	return db.Contact{}, db.Conversation{}, errMerges
}

// Contact is a row as events have it, without identities.
func Contact(row db.Contact) messaging.Contact {
	return messaging.Contact{
		ID: row.ID, Name: row.Name, Phone: row.Phone, Email: row.Email, Tags: row.Tags, Instagram: row.Instagram,
		Source: messaging.Channel(row.Source), Owner: agent(row.OwnerID, row.OwnerName), CustomFields: row.CustomFields,
		CreatedAt: row.CreatedAt.UTC(), UpdatedAt: row.UpdatedAt.UTC(),
	}
}

// Identities are what the channels know a contact by.
func Identities(ctx context.Context, q *db.Queries, of db.Contact) ([]messaging.Identity, error) {
	rows, err := q.IdentitiesOf(ctx, of.ID, of.TenantID)
	if err != nil {
		return nil, fmt.Errorf("read what a contact is known by: %w", err)
	}
	all := make([]messaging.Identity, len(rows))
	for i, row := range rows {
		all[i] = messaging.Identity{Kind: row.Kind, Value: row.Value, Account: row.Scope}
	}
	return all, nil
}

// Conversation is a row as events have it.
func Conversation(row db.Conversation) messaging.Conversation {
	return messaging.Conversation{
		ID: row.ID, Channel: messaging.Channel(row.Channel), ConnectionID: row.ConnectionID,
		Status: messaging.ConversationStatus(row.Status), Assignee: agent(row.AssigneeID, row.AssigneeName),
		LastMessageAt: row.LastMessageAt, LastInboundAt: row.LastInboundAt, CreatedAt: row.CreatedAt, ClosedAt: row.ClosedAt,
	}
}

// Message is a row as the API shows it.
func Message(row db.Message) (messaging.Message, error) {
	m := messaging.Message{
		ID: row.ID, Channel: messaging.Channel(row.Channel), Direction: messaging.Direction(row.Direction),
		Type: messaging.Type(row.Type), Text: row.Text, Status: messaging.Status(row.Status), Error: row.Error,
		Standby: row.Standby, SentAt: row.SentAt.UTC(), Raw: row.Raw,
	}
	if row.ExternalID != nil {
		m.ExternalID = *row.ExternalID
	}
	if row.EditedAt != nil {
		m.EditedAt = new(row.EditedAt.UTC())
	}
	if row.DeletedAt != nil {
		m.DeletedAt = new(row.DeletedAt.UTC())
	}
	if err := json.Unmarshal(row.Content, &m.Content); err != nil {
		return messaging.Message{}, fmt.Errorf("read content of message %s: %w", row.ID, err)
	}
	return m, nil
}

func agent(id *uuid.UUID, name *string) *messaging.Agent {
	if id == nil || name == nil {
		return nil
	}
	return &messaging.Agent{ID: *id, Name: *name}
}

// ShowAgent is an agent as answers have it.
func ShowAgent(a *messaging.Agent) *openapi.Agent {
	if a == nil {
		return nil
	}
	return &openapi.Agent{ID: a.ID, Name: a.Name}
}

// maxName is how many characters a name has.
const maxName = 200

// CheckAgent says what is wrong with an agent that a client names, at a place of
// the body. Nil, nobody, is right.
func CheckAgent(a *openapi.Agent, at string) []problem.FieldError {
	if a == nil {
		return nil
	}
	var faults []problem.FieldError
	if a.ID.Version() != 7 || a.ID.Variant() != uuid.RFC4122 {
		faults = append(faults, problem.FieldError{Pointer: problem.Pointer(at, "id"), Detail: "must be a UUIDv7, as ids of events are"})
	}
	return append(faults, CheckText(a.Name, maxName, at, "name")...)
}

// CheckText says what is wrong with a text of one line.
func CheckText(text string, most int, at ...any) []problem.FieldError {
	switch {
	case strings.TrimSpace(text) == "" || utf8.RuneCountInString(text) > most:
		return []problem.FieldError{{Pointer: problem.Pointer(at...), Detail: fmt.Sprintf("must have 1 to %d characters", most)}}
	case !Line(text):
		return []problem.FieldError{{Pointer: problem.Pointer(at...), Detail: "must not have control characters"}}
	}
	return nil
}

// Line says whether a text can be shown, and stored, as one line.
func Line(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// Actor is who makes the request, as events name them.
func Actor(ctx context.Context) messaging.Actor {
	p, _ := auth.FromContext(ctx)
	if p.KeyID != uuid.Nil {
		return messaging.Actor{Type: "api"}
	}
	actor := messaging.Actor{Type: "user"}
	subject := strings.TrimPrefix(p.Actor, "user:")
	if id, err := uuid.Parse(subject); err == nil && id.Version() == 7 && id.Variant() == uuid.RFC4122 && id.String() == strings.ToLower(subject) {
		actor.ID = &id // who issues tokens names users by what they like
	}
	return actor
}
