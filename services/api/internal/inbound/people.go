package inbound

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/primezap/primezap/pkg/messaging"
	updates "github.com/primezap/primezap/pkg/meta/inbound"
)

const (
	maxName  = 200     // characters
	maxCount = 100_000 // of the messages of a conversation that is closed, as by the API
)

// meet returns the contact that a person is, made or changed by what was told of
// her now.
func (s *state) meet(ctx context.Context, t *told, p updates.Person) (*contact, error) {
	ids := identitiesOf(p, t)
	c, err := s.who(ctx, ids)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return s.welcome(t, p, ids)
	}
	if !s.news(t, c, p, ids) {
		return c, nil
	}
	if err := s.identify(ctx, c); err != nil {
		return nil, err
	}
	before := c.snapshot()
	if err := s.gather(ctx, c, ids); err != nil {
		return nil, err
	}
	s.learn(t, c, p, ids)
	if e, ok := messaging.ContactUpdated(before, c.Contact, messaging.By(c.Contact)); ok {
		s.raise(e)
	}
	return c, nil
}

// news says whether there is anything about a contact that is not stored.
func (s *state) news(t *told, c *contact, p updates.Person, ids []identity) bool {
	for _, id := range ids {
		if s.identities[id] != c.ID {
			return true
		}
	}
	name := messaging.Clean(p.Name, maxName)
	username := messaging.Clean(p.Username, maxName)
	return name != "" && name != c.profile || p.Phone != "" && c.Phone == nil ||
		username != "" && t.Channel == messaging.Instagram && username != text(c.Instagram)
}

// known is the contact of the first identity that is some contact's, nil if none is.
func (s *state) known(ids []identity) *contact {
	for _, id := range ids {
		if of, ok := s.identities[id]; ok {
			return s.contacts[of]
		}
	}
	return nil
}

// who is the contact that somebody is, nil if she is known by nothing. A number
// passes from one person to another in time, a user id of WhatsApp's does not: where
// they are of two contacts that both have a user id, the id says who it is.
func (s *state) who(ctx context.Context, ids []identity) (*contact, error) {
	c := s.known(ids)
	if c == nil {
		return nil, nil
	}
	for _, id := range ids {
		of, ok := s.identities[id]
		if !ok || of == c.ID || id.kind != userID {
			continue
		}
		if err := s.identify(ctx, c); err != nil {
			return nil, err
		}
		if c.hasUserID() {
			return s.contacts[of], nil
		}
	}
	return c, nil
}

// welcome makes a contact.
func (s *state) welcome(t *told, p updates.Person, ids []identity) (*contact, error) {
	id, err := newID()
	if err != nil {
		return nil, err
	}
	c := &contact{Contact: messaging.Contact{
		ID: id, Name: messaging.DisplayName(p.Name, p.Username, p.Phone, t.Channel, ids[0].value), Source: t.Channel,
		Identities: []messaging.Identity{}, CreatedAt: s.at, UpdatedAt: s.at,
	}, fresh: true}
	s.contacts[id] = c
	s.learn(t, c, p, ids)
	s.raise(messaging.ContactCreated(c.Contact))
	return c, nil
}

// snapshot is the contact as it is, for what changes in place later.
func (c *contact) snapshot() messaging.Contact {
	before := c.Contact
	before.Identities = slices.Clone(c.Identities)
	return before
}

// gather merges all contacts that identities are of into one of them, except those
// that only had a number before: they are somebody else.
func (s *state) gather(ctx context.Context, into *contact, ids []identity) error {
	for _, id := range ids {
		of, ok := s.identities[id]
		if !ok || of == into.ID {
			continue
		}
		from := s.contacts[of]
		if err := s.identify(ctx, from); err != nil {
			return err
		}
		if id.kind == phone && into.hasUserID() && from.hasUserID() {
			before := from.snapshot()
			s.drop(from, id)
			if e, ok := messaging.ContactUpdated(before, from.Contact, messaging.System); ok {
				s.raise(e)
			}
			continue
		}
		if err := s.merge(ctx, into, from); err != nil {
			return err
		}
	}
	return nil
}

// drop has a contact be known by an identity no more: it may become somebody else's.
func (s *state) drop(c *contact, id identity) {
	delete(s.identities, id)
	c.Identities = slices.DeleteFunc(c.Identities, func(shownID messaging.Identity) bool { return shownID == shown(id) })
	if id.kind == phone && text(c.Phone) == id.value {
		c.Phone = nil
	}
	c.touch(s)
}

func (c *contact) hasUserID() bool {
	return slices.ContainsFunc(c.Identities, func(id messaging.Identity) bool { return id.Kind == userID })
}

// learn adds what a contact was not known by, and what its profile says now.
func (s *state) learn(t *told, c *contact, p updates.Person, ids []identity) {
	changed := false
	unnamed := c.unnamed(p)
	if p.Phone != "" && (c.Phone == nil || *c.Phone != p.Phone && c.has(phone, *c.Phone) && !c.has(phone, p.Phone)) {
		c.Phone, changed = new(p.Phone), true
	}
	for _, id := range ids {
		if _, ok := s.identities[id]; !ok {
			s.identities[id], changed = c.ID, true
			c.Identities = append(c.Identities, shown(id))
		}
	}
	if username := messaging.Clean(p.Username, maxName); username != "" && t.Channel == messaging.Instagram && username != text(c.Instagram) {
		c.Instagram, changed = &username, true
	}
	// A name that differs from what the profile said was set by hand.
	if name := messaging.Clean(p.Name, maxName); name != "" && name != c.profile {
		if unnamed || c.Name == c.profile {
			c.Name = name
		}
		c.profile, changed = name, true
	}
	if changed {
		c.touch(s)
	}
}

func (c *contact) touch(s *state) { c.changed, c.UpdatedAt = true, s.at }

func (c *contact) has(kind, value string) bool {
	return slices.ContainsFunc(c.Identities, func(id messaging.Identity) bool { return id.Kind == kind && id.Value == value })
}

// unnamed says whether nobody gave the contact a name: no profile has told one, and
// it is called by what else is known of it.
func (c *contact) unnamed(p updates.Person) bool {
	if c.profile != "" {
		return false
	}
	if c.Name == messaging.DisplayName("", text(c.Instagram), text(c.Phone), c.Source, "") || c.Name == messaging.DisplayName("", p.Username, p.Phone, c.Source, "") {
		return true
	}
	return slices.ContainsFunc(c.Identities, func(id messaging.Identity) bool {
		return c.Name == id.Value || c.Name == messaging.DisplayName("", "", "", c.Source, id.Value)
	})
}

// merge makes one contact of two. Of two open conversations on a connection, the
// one that was silent for longer is closed.
func (s *state) merge(ctx context.Context, into, from *contact) error {
	if err := s.identify(ctx, from); err != nil {
		return err
	}
	for _, id := range from.Identities {
		s.identities[identity{id.Value, id.Kind, id.Account}] = into.ID
		into.Identities = append(into.Identities, id)
	}
	from.Identities = nil
	if !from.fresh {
		if err := s.adopt(ctx, from); err != nil {
			return err
		}
	}
	for _, v := range s.conversations {
		if v.contact != from {
			continue
		}
		v.contact, v.changed = into, true
		s.moved = append(s.moved, v)
		if v.Status == messaging.Closed {
			continue
		}
		delete(s.open, thread{from.ID, v.ConnectionID})
		at := thread{into.ID, v.ConnectionID}
		other := s.open[at]
		if other == nil {
			s.open[at] = v
			continue
		}
		older := v
		if v.after(other) {
			older, s.open[at] = other, v
		}
		if err := s.close(ctx, older, into); err != nil {
			return err
		}
	}
	for _, m := range s.messages {
		if m.contactID == from.ID {
			m.contactID, m.changed = into.ID, true
		}
	}
	into.inherit(from)
	into.touch(s)
	*from = contact{Contact: messaging.Contact{
		ID: from.ID, Name: from.Source.Title(), Source: from.Source, CreatedAt: from.CreatedAt,
	}, mergedInto: into.ID, fresh: from.fresh}
	from.touch(s)
	return nil
}

// adopt reads what of a contact's conversations is not in the state: the closed ones.
func (s *state) adopt(ctx context.Context, from *contact) error {
	rows, err := s.q.LockConversationsOf(ctx, from.ID, s.tenant)
	if err != nil {
		return fmt.Errorf("read the conversations of a contact: %w", err)
	}
	for _, row := range rows {
		if s.conversations[row.ID] == nil {
			s.conversations[row.ID] = conversationOf(row, from)
		}
	}
	return nil
}

// after says whether something was written in v later than in w.
func (v *conversation) after(w *conversation) bool {
	if v.LastMessageAt == nil || w.LastMessageAt == nil {
		return w.LastMessageAt == nil
	}
	return v.LastMessageAt.After(*w.LastMessageAt)
}

// close closes a conversation, whose contact is by now another one.
func (s *state) close(ctx context.Context, v *conversation, with *contact) error {
	var messages int64
	if !v.fresh {
		var err error
		if messages, err = s.q.CountMessages(ctx, v.ID, maxCount); err != nil {
			return fmt.Errorf("count messages: %w", err)
		}
	}
	for _, m := range s.newMessages {
		if m.conversationID == v.ID {
			messages++
		}
	}
	v.Status, v.ClosedAt, v.changed = messaging.Closed, &s.at, true
	s.raise(messaging.ConversationClosed(v.Conversation, with.Contact, messaging.System, "other", messages))
	return nil
}

// inherit fills in what the contact lacks and another one has, as far as there is room
// for it in an event.
func (c *contact) inherit(from *contact) {
	if c.Phone == nil {
		c.Phone = from.Phone
	}
	if c.Email == nil {
		c.Email = from.Email
	}
	if c.Instagram == nil {
		c.Instagram = from.Instagram
	}
	if c.Owner == nil {
		c.Owner = from.Owner
	}
	for _, tag := range from.Tags {
		if len(c.Tags) < messaging.MaxTags && !slices.Contains(c.Tags, tag) {
			c.Tags = append(slices.Clone(c.Tags), tag)
		}
	}
	if c.profile == "" && c.unnamed(updates.Person{}) && !from.unnamed(updates.Person{}) {
		c.Name, c.profile = from.Name, from.profile
	}
	var mine, theirs map[string]json.RawMessage
	if json.Unmarshal(from.CustomFields, &theirs) != nil || len(theirs) == 0 {
		return
	}
	if json.Unmarshal(c.CustomFields, &mine) != nil || mine == nil {
		mine = map[string]json.RawMessage{}
	}
	for name, value := range theirs {
		if _, ok := mine[name]; !ok {
			mine[name] = value
		}
	}
	if fields, err := json.Marshal(mine); err == nil && len(fields) <= messaging.MaxCustomFieldsBytes && !bytes.Equal(fields, c.CustomFields) {
		c.CustomFields = fields
	}
}

// rename lets a person be known by another number or id from now on.
func (s *state) rename(ctx context.Context, t *told, change updates.IdentityChange) error {
	was, is := identitiesOf(change.Old, t), identitiesOf(change.New, t)
	c := s.known(was)
	if c == nil || len(is) == 0 {
		s.keep(t)
		return nil
	}
	if err := s.identify(ctx, c); err != nil {
		return err
	}
	before := c.snapshot()
	if err := s.gather(ctx, c, is); err != nil {
		return err
	}
	for _, id := range was {
		if s.identities[id] != c.ID || slices.Contains(is, id) || !slices.ContainsFunc(is, func(n identity) bool { return n.kind == id.kind }) {
			continue
		}
		s.drop(c, id)
	}
	s.learn(t, c, change.New, is)
	if e, ok := messaging.ContactUpdated(before, c.Contact, messaging.By(c.Contact)); ok {
		s.raise(e)
	}
	return nil
}
