package inbound

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/messaging"
	updates "github.com/primezap/primezap/pkg/meta/inbound"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/people"
)

// wanted is what a batch is about.
type wanted struct {
	people   map[identity]bool
	messages map[messageKey]bool // that it tells of
	arriving map[messageKey]bool // those that may be new
	reached  []reach
}

// reach is up to when a person has got what an account wrote.
type reach struct {
	identity
	connection uuid.UUID
	until      time.Time
}

func want(b batch) wanted {
	w := wanted{people: map[identity]bool{}, messages: map[messageKey]bool{}, arriving: map[messageKey]bool{}}
	person := func(t *told, p updates.Person) {
		for _, id := range identitiesOf(p, t) {
			w.people[id] = true
		}
	}
	for i := range b.told {
		t := &b.told[i]
		switch p := t.Payload.(type) {
		case updates.Message:
			person(t, p.Person)
			w.messages[t.key(p.ExternalID)], w.arriving[t.key(p.ExternalID)] = true, true
		case updates.Edit:
			person(t, p.Person) // whose conversation hears of it
			w.messages[t.key(p.ExternalID)] = true
		case updates.Removal:
			person(t, p.Person)
			w.messages[t.key(p.ExternalID)] = true
		case updates.Receipt:
			for _, id := range p.ExternalIDs {
				w.messages[t.key(id)] = true
			}
			if !p.Watermark.IsZero() {
				person(t, p.Person)
				for _, id := range identitiesOf(p.Person, t) {
					w.reached = append(w.reached, reach{id, t.connection.ID, p.Watermark})
				}
			}
		case updates.IdentityChange:
			person(t, p.Old)
			person(t, p.New)
		}
	}
	return w
}

// key is what the message is known by; of one that has no id of Meta's yet, ours.
func (m *message) key() messageKey {
	if m.ExternalID == "" {
		return messageKey{m.ID.String(), uuid.Nil}
	}
	return messageKey{m.ExternalID, m.connection}
}

func (t *told) key(externalID string) messageKey { return messageKey{externalID, t.connection.ID} }

// identitiesOf is what a person is known by, the surest first. Pages and accounts
// give a person ids of their own.
func identitiesOf(p updates.Person, t *told) (ids []identity) {
	if p.Phone != "" {
		ids = append(ids, identity{p.Phone, phone, ""})
	}
	if p.UserID != "" {
		ids = append(ids, identity{p.UserID, userID, ""})
	}
	if p.ScopedID != "" {
		kind := "psid"
		if t.Channel == messaging.Instagram {
			kind = "igsid"
		}
		ids = append(ids, identity{p.ScopedID, kind, t.connection.ExternalID})
	}
	return ids
}

// load locks all that a batch is about, and reads it.
func load(ctx context.Context, tx pgx.Tx, q *db.Queries, b batch) (*state, error) {
	w := want(b)
	var (
		round         store.Round
		contacts      []db.Contact
		identities    []db.WhoIsRow
		conversations []db.Conversation
		messages      []db.LockMessagesRow
		unread        []db.LockUnreadRow
		kept          []db.KeptChangesRow
		live          []uuid.UUID
	)
	if err := round.Do(func(q *db.Queries) error { return q.PlanOnce(ctx) }); err != nil {
		return nil, err
	}
	asked := peopleOf(b.tenant, w.people)
	if len(w.people) > 0 {
		if err := errors.Join(
			round.Do(func(q *db.Queries) error {
				return q.LockStrangers(ctx, db.LockStrangersParams{
					Keys: asked.keys, Identities: asked.values, Kinds: asked.kinds, Scopes: asked.scopes, TenantID: b.tenant,
				})
			}),
			store.Ask(&round, &contacts, func(q *db.Queries) ([]db.Contact, error) {
				return q.LockContacts(ctx, db.LockContactsParams{
					Identities: asked.values, Kinds: asked.kinds, Scopes: asked.scopes, TenantID: b.tenant,
				})
			}),
			store.Ask(&round, &identities, func(q *db.Queries) ([]db.WhoIsRow, error) {
				return q.WhoIs(ctx, db.WhoIsParams{
					Identities: asked.values, Kinds: asked.kinds, Scopes: asked.scopes, TenantID: b.tenant,
				})
			}),
			store.Ask(&round, &conversations, func(q *db.Queries) ([]db.Conversation, error) {
				return q.LockConversations(ctx, db.LockConversationsParams{
					Identities: asked.values, Kinds: asked.kinds, Scopes: asked.scopes, TenantID: b.tenant,
				})
			}),
		); err != nil {
			return nil, err
		}
	}
	if len(w.messages) > 0 {
		ids, connections := columns(w.messages)
		if err := store.Ask(&round, &messages, func(q *db.Queries) ([]db.LockMessagesRow, error) {
			return q.LockMessages(ctx, ids, connections)
		}); err != nil {
			return nil, err
		}
	}
	if len(w.reached) > 0 {
		p := db.LockUnreadParams{TenantID: b.tenant}
		for _, r := range w.reached {
			p.Identities, p.Kinds, p.Scopes = append(p.Identities, r.value), append(p.Kinds, r.kind), append(p.Scopes, r.scope)
			p.ConnectionIds, p.Until = append(p.ConnectionIds, r.connection), append(p.Until, r.until)
		}
		if err := store.Ask(&round, &unread, func(q *db.Queries) ([]db.LockUnreadRow, error) { return q.LockUnread(ctx, p) }); err != nil {
			return nil, err
		}
	}
	if len(w.arriving) > 0 {
		ids, connections := columns(w.arriving)
		if err := store.Ask(&round, &kept, func(q *db.Queries) ([]db.KeptChangesRow, error) {
			return q.KeptChanges(ctx, ids, connections, b.tenant)
		}); err != nil {
			return nil, err
		}
	}
	// Last, since locks may have been waited for.
	connections := b.connections()
	if err := store.Ask(&round, &live, func(q *db.Queries) ([]uuid.UUID, error) {
		return q.LiveConnections(ctx, connections, b.tenant)
	}); err != nil {
		return nil, err
	}
	if err := round.Send(ctx, tx); err != nil {
		return nil, err
	}
	if len(live) < len(connections) {
		return nil, errGone
	}
	for _, row := range unread {
		messages = append(messages, db.LockMessagesRow(row))
	}
	s := &state{
		q: q, tenant: b.tenant, at: time.Now().Truncate(time.Millisecond),
		contacts: make(map[uuid.UUID]*contact, len(contacts)), identities: make(map[identity]uuid.UUID, len(identities)),
		conversations: make(map[uuid.UUID]*conversation, len(conversations)), open: make(map[thread]*conversation, len(conversations)),
		messages: make(map[messageKey]*message, len(messages)), kept: map[messageKey][]change{}, duplicates: map[messaging.Channel]int{},
	}
	return s, s.fill(contacts, identities, conversations, messages, kept)
}

// fill puts rows into the state.
func (s *state) fill(contacts []db.Contact, identities []db.WhoIsRow, conversations []db.Conversation, messages []db.LockMessagesRow, kept []db.KeptChangesRow) error {
	for _, row := range contacts {
		s.contacts[row.ID] = contactOf(row)
	}
	for _, row := range identities {
		c := s.contacts[row.ContactID]
		if c == nil {
			return errOvertaken // merged, for one
		}
		id := identity{row.Value, row.Kind, row.Scope}
		s.identities[id] = c.ID
	}
	s.stored = maps.Clone(s.identities)
	for _, row := range conversations {
		c := s.contacts[row.ContactID]
		if c == nil {
			return errOvertaken
		}
		v := conversationOf(row, c)
		s.conversations[v.ID] = v
		if v.Status != messaging.Closed {
			s.open[thread{c.ID, v.ConnectionID}] = v
		}
	}
	for _, row := range messages {
		m, err := messageOf(row)
		if err != nil {
			return err
		}
		m.conversationID, m.contactID = row.ConversationID, row.ContactID
		s.messages[m.key()] = m
	}
	for _, row := range kept {
		c, err := changeOf(row.Change)
		if err != nil {
			return err
		}
		key := messageKey{row.ExternalID, row.ConnectionID}
		s.kept[key] = append(s.kept[key], c)
	}
	return nil
}

func shown(id identity) messaging.Identity {
	return messaging.Identity{Kind: id.kind, Value: id.value, Account: id.scope}
}

func contactOf(row db.Contact) *contact {
	return &contact{Contact: people.Contact(row), profile: text(row.ProfileName)}
}

func conversationOf(row db.Conversation, c *contact) *conversation {
	return &conversation{Conversation: people.Conversation(row), contact: c}
}

func messageOf(row db.LockMessagesRow) (*message, error) {
	m := &message{Message: messaging.Message{
		ID: row.ID, ExternalID: text(row.ExternalID), Channel: messaging.Channel(row.Channel), Direction: messaging.Direction(row.Direction),
		Type: messaging.Type(row.Type), Text: row.Text, Status: messaging.Status(row.Status), Error: row.Error, Standby: row.Standby,
		SentAt: row.SentAt, EditedAt: row.EditedAt, DeletedAt: row.DeletedAt,
	}, connection: row.ConnectionID, pricing: row.Pricing}
	if row.StatusAt != nil {
		m.statusAt = *row.StatusAt
	}
	if err := json.Unmarshal(row.Content, &m.Content); err != nil {
		return nil, fmt.Errorf("content of message %s: %w", row.ID, err)
	}
	return m, nil
}

// identify reads all that a contact is known by, once.
func (s *state) identify(ctx context.Context, c *contact) error {
	if c.Identities != nil {
		return nil
	}
	rows, err := s.q.IdentitiesOf(ctx, c.ID, s.tenant)
	if err != nil {
		return fmt.Errorf("read what a contact is known by: %w", err)
	}
	c.Identities = []messaging.Identity{}
	for _, row := range rows {
		id := identity{row.Value, row.Kind, row.Scope}
		s.stored[id], s.identities[id] = c.ID, c.ID
		c.Identities = append(c.Identities, shown(id))
	}
	return nil
}

// where is the conversation and the contact of a message that is to be changed. They
// are locked already unless the conversation is closed, or Meta does not say whose
// message it is.
func (s *state) where(ctx context.Context, m *message) (*conversation, *contact, error) {
	c := s.contacts[m.contactID]
	if c == nil {
		row, err := s.q.LockContact(ctx, m.contactID)
		if err != nil {
			return nil, nil, fmt.Errorf("lock the contact of a message: %w", err)
		}
		c = contactOf(row)
		s.contacts[c.ID] = c
	}
	v := s.conversations[m.conversationID]
	if v == nil {
		row, err := s.q.LockConversation(ctx, m.conversationID)
		if err != nil {
			return nil, nil, fmt.Errorf("lock the conversation of a message: %w", err)
		}
		v = conversationOf(row, c)
		s.conversations[v.ID] = v
	}
	return v, c, nil
}

// persons are identities, a column each, in the order in which they are locked.
type persons struct {
	keys                  []int64
	values, kinds, scopes []string
}

func peopleOf(tenant uuid.UUID, ids map[identity]bool) persons {
	type keyed struct {
		identity
		key int64
	}
	all := make([]keyed, 0, len(ids))
	for id := range ids {
		all = append(all, keyed{id, id.lockKey(tenant)})
	}
	slices.SortFunc(all, func(a, b keyed) int { return cmp.Compare(a.key, b.key) })
	p := persons{keys: []int64{}, values: []string{}, kinds: []string{}, scopes: []string{}}
	for _, id := range all {
		p.keys, p.values = append(p.keys, id.key), append(p.values, id.value)
		p.kinds, p.scopes = append(p.kinds, id.kind), append(p.scopes, id.scope)
	}
	return p
}

// lockKey is the advisory lock of an identity.
func (id identity) lockKey(tenant uuid.UUID) int64 {
	hash := sha256.New()
	fmt.Fprintf(hash, "%s|%s|%s|%s", tenant, id.kind, id.scope, id.value)
	return int64(binary.BigEndian.Uint64(hash.Sum(nil))) //nolint:gosec // any number will do
}

func columns(keys map[messageKey]bool) (externalIDs []string, connections []uuid.UUID) {
	externalIDs, connections = make([]string, 0, len(keys)), make([]uuid.UUID, 0, len(keys))
	for key := range keys {
		externalIDs, connections = append(externalIDs, key.externalID), append(connections, key.connection)
	}
	return externalIDs, connections
}
