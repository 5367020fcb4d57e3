package inbound

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/primezap/primezap/pkg/messaging"
	updates "github.com/primezap/primezap/pkg/meta/inbound"
)

// apply changes the state as an update says.
func (s *state) apply(ctx context.Context, t *told) error {
	switch p := t.Payload.(type) {
	case updates.Message:
		return s.arrive(ctx, t, p)
	case updates.Receipt:
		return s.confirm(t, p)
	case updates.Edit:
		return s.amend(ctx, t, p.ExternalID, change{At: t.At, Edit: &p})
	case updates.Removal:
		return s.amend(ctx, t, p.ExternalID, change{At: t.At, Removal: &p})
	case updates.IdentityChange:
		return s.rename(ctx, t, p)
	default:
		s.keep(t)
		return nil
	}
}

// arrive stores a message, unless it is stored.
func (s *state) arrive(ctx context.Context, t *told, p updates.Message) error {
	key := t.key(p.ExternalID)
	if s.messages[key] != nil {
		s.duplicates[t.Channel]++
		return nil
	}
	if len(identitiesOf(p.Person, t)) == 0 {
		s.keep(t) // nobody's
		return nil
	}
	c, err := s.meet(ctx, t, p.Person)
	if err != nil {
		return err
	}
	by := messaging.By(c.Contact)
	if p.Echo {
		by = messaging.System
	}
	v, err := s.converse(t, c, !p.Echo, by)
	if err != nil {
		return err
	}
	id, err := newID()
	if err != nil {
		return err
	}
	m := &message{Message: messaging.Message{
		ID: id, ExternalID: p.ExternalID, Channel: t.Channel, Direction: messaging.Inbound, Type: p.Type, Text: p.Text, Content: p.Content,
		Status: messaging.Received, Standby: t.Standby, SentAt: t.At, Raw: t.Raw,
	}, connection: t.connection.ID, conversationID: v.ID, contactID: c.ID, statusAt: t.At, fresh: true}
	if p.Echo {
		m.Direction, m.Status = messaging.Outbound, messaging.Sent
	}
	s.messages[key], s.newMessages = m, append(s.newMessages, m)
	for _, change := range s.kept[key] {
		change.apply(m)
	}
	if p.Echo {
		s.raise(messaging.MessageSent(m.Message, v.Conversation, c.Contact, by))
	} else {
		s.raise(messaging.MessageReceived(m.Message, v.Conversation, c.Contact))
	}
	return nil
}

// converse returns the conversation that a message belongs to, opened if there is
// none.
func (s *state) converse(t *told, c *contact, inbound bool, by messaging.Actor) (*conversation, error) {
	at := thread{c.ID, t.connection.ID}
	v := s.open[at]
	if v == nil {
		id, err := newID()
		if err != nil {
			return nil, err
		}
		v = &conversation{Conversation: messaging.Conversation{
			ID: id, Channel: t.Channel, ConnectionID: t.connection.ID, Status: messaging.Open, CreatedAt: s.at,
		}, contact: c, fresh: true}
		v.advance(t.At, inbound)
		s.conversations[id], s.open[at] = v, v
		s.raise(messaging.ConversationCreated(v.Conversation, c.Contact, by))
		return v, nil
	}
	before := v.Conversation
	v.advance(t.At, inbound)
	v.changed = true
	if inbound {
		s.raise(messaging.ConversationAdvanced(before, v.Conversation, c.Contact, by))
	}
	return v, nil
}

// advance notes a message: one that is told late moves nothing back.
func (v *conversation) advance(at time.Time, inbound bool) {
	v.LastMessageAt = later(v.LastMessageAt, at)
	if inbound {
		v.LastInboundAt = later(v.LastInboundAt, at)
	}
}

func later(was *time.Time, at time.Time) *time.Time {
	if was != nil && !at.After(*was) {
		return was
	}
	return &at
}

// confirm notes how far messages have come.
func (s *state) confirm(t *told, p updates.Receipt) error {
	for _, id := range p.ExternalIDs {
		m := s.messages[t.key(id)]
		if m == nil {
			if err := s.keepChange(t, id, change{At: t.At, Receipt: &p}); err != nil {
				return err
			}
			continue
		}
		change{At: t.At, Receipt: &p}.apply(m)
	}
	if p.Watermark.IsZero() {
		if len(p.ExternalIDs) == 0 {
			s.keep(t)
		}
		return nil
	}
	c := s.known(identitiesOf(p.Person, t))
	if c == nil {
		s.keep(t)
		return nil
	}
	receipt := change{At: t.At, Receipt: &p}
	for _, m := range s.messages {
		if m.contactID == c.ID && m.connection == t.connection.ID && m.Status != messaging.Failed && !m.SentAt.After(p.Watermark) {
			receipt.apply(m)
		}
	}
	return nil
}

// amend edits or removes a message.
func (s *state) amend(ctx context.Context, t *told, externalID string, c change) error {
	m := s.messages[t.key(externalID)]
	if m == nil {
		return s.keepChange(t, externalID, c)
	}
	v, with, err := s.where(ctx, m)
	if err != nil {
		return err
	}
	before := m.Message
	c.apply(m)
	by := messaging.By(with.Contact)
	if m.Direction == messaging.Outbound {
		by = messaging.System
	}
	if e, ok := messaging.MessageChanged(before, m.Message, v.Conversation, with.Contact, by); ok {
		s.raise(e)
	}
	return nil
}

// change is what is to be done to a message: one of its fields.
type change struct {
	At      time.Time        `json:"at"`
	Receipt *updates.Receipt `json:"receipt,omitempty"`
	Edit    *updates.Edit    `json:"edit,omitempty"`
	Removal *updates.Removal `json:"removal,omitempty"`
}

// progress is the order of statuses. What was delivered has not failed, whatever is
// told first; so the same receipts in any order end the same.
var progress = map[messaging.Status]int{
	messaging.Accepted: 1, messaging.Sent: 2, messaging.Failed: 3, messaging.Delivered: 4, messaging.Read: 5, messaging.Played: 6,
}

// apply changes a message.
func (c change) apply(m *message) {
	switch {
	case c.Receipt != nil:
		c.receive(m)
	case c.Removal != nil:
		if m.DeletedAt == nil {
			m.DeletedAt, m.changed = &c.At, true
			m.Text, m.Content, m.Raw = nil, messaging.Content{}, nil
		}
	case c.Edit != nil:
		if m.DeletedAt != nil || m.EditedAt != nil && !c.At.After(*m.EditedAt) {
			return
		}
		m.EditedAt, m.changed = &c.At, true
		m.Type, m.Text = cmp.Or(c.Edit.Type, m.Type), c.Edit.Text
		if content, err := json.Marshal(c.Edit.Content); err == nil && string(content) != emptyContent {
			m.Content = c.Edit.Content
		}
	}
}

// receive notes how far the message has come.
func (c change) receive(m *message) {
	if m.Direction != messaging.Outbound {
		return
	}
	if len(c.Receipt.Pricing) > 0 && string(c.Receipt.Pricing) != "null" {
		m.pricing, m.changed = c.Receipt.Pricing, true
	}
	if progress[c.Receipt.Status] <= progress[m.Status] {
		return
	}
	m.Status, m.statusAt, m.changed = c.Receipt.Status, c.At, true
	m.Error = nil
	if m.Status == messaging.Failed && len(c.Receipt.Failure) > 0 && string(c.Receipt.Failure) != "null" {
		m.Error = c.Receipt.Failure
	}
}

// emptyContent is the JSON of content that holds nothing.
var emptyContent = func() string {
	text, err := json.Marshal(messaging.Content{})
	if err != nil {
		panic(err)
	}
	return string(text)
}()

// changeOf reads a change that was kept.
func changeOf(text []byte) (c change, err error) {
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("a change that was kept: %w", err)
	}
	return c, nil
}

// keep keeps an update as it came.
func (s *state) keep(t *told) {
	s.keeping = append(s.keeping, keeping{connection: t.connection.ID, field: t.Field, raw: t.Raw})
}

// keepChange keeps an update of a message that is not stored, and applies it when
// the message comes. Of the person no more is kept than the update itself says.
func (s *state) keepChange(t *told, externalID string, c change) error {
	text, err := c.encode()
	if err != nil {
		return err
	}
	s.keeping = append(s.keeping, keeping{t.connection.ID, t.Field, t.Raw, externalID, text})
	key := t.key(externalID)
	s.kept[key] = append(s.kept[key], c)
	return nil
}

func (c change) encode() (json.RawMessage, error) {
	switch {
	case c.Receipt != nil:
		r := *c.Receipt
		r.Person, r.ExternalIDs = updates.Person{}, nil
		c.Receipt = &r
	case c.Edit != nil:
		e := *c.Edit
		e.Person = updates.Person{}
		c.Edit = &e
	case c.Removal != nil:
		c.Removal = &updates.Removal{Echo: c.Removal.Echo, ExternalID: c.Removal.ExternalID}
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode a change: %w", err)
	}
	return text, nil
}

// digest tells updates apart that are kept: one of several messages is kept for each.
func (k *keeping) digest() []byte {
	hash := sha256.New()
	hash.Write(k.raw)
	hash.Write([]byte(k.externalID))
	return hash.Sum(nil)
}
