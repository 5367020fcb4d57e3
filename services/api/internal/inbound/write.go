package inbound

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/outbox"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

// write writes what has changed, in one round trip.
func (s *state) write(ctx context.Context, tx pgx.Tx) error {
	var round store.Round
	for _, queue := range []func(context.Context, *db.Queries) error{
		s.writeContacts, s.writeIdentities, s.writeConversations, s.writeMessages, s.writeKept, s.writeEvents,
	} {
		if err := round.Do(func(q *db.Queries) error { return queue(ctx, q) }); err != nil {
			return err
		}
	}
	return round.Send(ctx, tx)
}

var noTime = time.Unix(0, 0).UTC() // stands for null

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return noTime
	}
	return *t
}

func (s *state) writeContacts(ctx context.Context, q *db.Queries) error {
	p := db.SaveContactsParams{TenantID: s.tenant, At: s.at}
	for _, c := range s.contacts {
		if !c.changed && !c.fresh {
			continue
		}
		tags, err := json.Marshal(append([]string{}, c.Tags...))
		if err != nil {
			return fmt.Errorf("encode tags: %w", err)
		}
		var owner messaging.Agent
		if c.Owner != nil {
			owner = *c.Owner
		}
		p.Ids, p.Names, p.ProfileNames = append(p.Ids, c.ID), append(p.Names, c.Name), append(p.ProfileNames, c.profile)
		p.Phones, p.Emails, p.Instagrams = append(p.Phones, text(c.Phone)), append(p.Emails, text(c.Email)), append(p.Instagrams, text(c.Instagram))
		p.Tags, p.Sources = append(p.Tags, string(tags)), append(p.Sources, string(c.Source))
		p.OwnerIds, p.OwnerNames = append(p.OwnerIds, owner.ID), append(p.OwnerNames, owner.Name)
		p.CustomFields, p.MergedInto = append(p.CustomFields, cmp.Or(string(c.CustomFields), "{}")), append(p.MergedInto, c.mergedInto)
	}
	if len(p.Ids) == 0 {
		return nil
	}
	return q.SaveContacts(ctx, p)
}

// writeIdentities writes those that are another contact's than in the table.
func (s *state) writeIdentities(ctx context.Context, q *db.Queries) error {
	for id := range s.stored {
		if _, ok := s.identities[id]; !ok {
			if err := q.DeleteIdentity(ctx, db.DeleteIdentityParams{Identity: id.value, Kind: id.kind, Scope: id.scope, TenantID: s.tenant}); err != nil {
				return err
			}
		}
	}
	fresh, moved := db.InsertIdentitiesParams{TenantID: s.tenant}, db.SaveIdentitiesParams{TenantID: s.tenant}
	for id, is := range s.identities {
		switch was, ok := s.stored[id]; {
		case !ok:
			fresh.Identities, fresh.Kinds, fresh.Scopes = append(fresh.Identities, id.value), append(fresh.Kinds, id.kind), append(fresh.Scopes, id.scope)
			fresh.ContactIds = append(fresh.ContactIds, is)
		case was != is:
			moved.Identities, moved.Kinds, moved.Scopes = append(moved.Identities, id.value), append(moved.Kinds, id.kind), append(moved.Scopes, id.scope)
			moved.ContactIds = append(moved.ContactIds, is)
		}
	}
	if len(moved.Identities) > 0 {
		if err := q.SaveIdentities(ctx, moved); err != nil {
			return err
		}
	}
	if len(fresh.Identities) == 0 {
		return nil
	}
	return q.InsertIdentities(ctx, fresh)
}

func (s *state) writeConversations(ctx context.Context, q *db.Queries) error {
	var changed []*conversation
	for _, v := range s.conversations {
		if v.changed || v.fresh {
			changed = append(changed, v)
		}
	}
	// A contact has one on a connection that is not closed.
	slices.SortFunc(changed, func(a, b *conversation) int { return cmp.Compare(a.rank(), b.rank()) })
	p := db.SaveConversationsParams{TenantID: s.tenant, At: s.at}
	for _, v := range changed {
		p.Ids, p.ConnectionIds, p.ContactIds = append(p.Ids, v.ID), append(p.ConnectionIds, v.ConnectionID), append(p.ContactIds, v.contact.ID)
		p.Channels, p.Statuses = append(p.Channels, string(v.Channel)), append(p.Statuses, string(v.Status))
		p.LastMessageAt, p.LastInboundAt = append(p.LastMessageAt, timeOf(v.LastMessageAt)), append(p.LastInboundAt, timeOf(v.LastInboundAt))
		p.ClosedAt = append(p.ClosedAt, timeOf(v.ClosedAt))
	}
	if len(p.Ids) == 0 {
		return nil
	}
	if err := q.SaveConversations(ctx, p); err != nil {
		return err
	}
	for _, v := range s.moved {
		if v.fresh {
			continue
		}
		if err := q.MoveMessages(ctx, v.contact.ID, v.ID, s.tenant); err != nil {
			return err
		}
	}
	return nil
}

// rank has what is closed written before what is open.
func (v *conversation) rank() int {
	if v.Status == messaging.Closed {
		return 0
	}
	return 1
}

func (s *state) writeMessages(ctx context.Context, q *db.Queries) error {
	changed := s.newMessages // in their order
	for _, m := range s.messages {
		if m.changed && !m.fresh {
			changed = append(changed, m)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	p := db.SaveMessagesParams{TenantID: s.tenant, At: s.at}
	for _, m := range changed {
		content, err := json.Marshal(m.Content)
		if err != nil {
			return fmt.Errorf("encode content: %w", err)
		}
		p.Ids, p.ConnectionIds, p.ConversationIds = append(p.Ids, m.ID), append(p.ConnectionIds, m.connection), append(p.ConversationIds, m.conversationID)
		p.ContactIds, p.Channels = append(p.ContactIds, m.contactID), append(p.Channels, string(m.Channel))
		p.Directions, p.ExternalIds = append(p.Directions, string(m.Direction)), append(p.ExternalIds, m.ExternalID)
		p.Types, p.Texts, p.Contents = append(p.Types, string(m.Type)), append(p.Texts, text(m.Text)), append(p.Contents, string(content))
		p.Raws, p.Statuses, p.StatusAt = append(p.Raws, nonNil(m.Raw)), append(p.Statuses, string(m.Status)), append(p.StatusAt, orNoTime(m.statusAt))
		p.Errors, p.Pricings, p.Standbys = append(p.Errors, string(m.Error)), append(p.Pricings, string(m.pricing)), append(p.Standbys, m.Standby)
		p.SentAt, p.EditedAt, p.DeletedAt = append(p.SentAt, m.SentAt), append(p.EditedAt, timeOf(m.EditedAt)), append(p.DeletedAt, timeOf(m.DeletedAt))
	}
	return q.SaveMessages(ctx, p)
}

func orNoTime(t time.Time) time.Time {
	if t.IsZero() {
		return noTime
	}
	return t
}

func nonNil(raw []byte) []byte {
	if raw == nil {
		return []byte{}
	}
	return raw
}

func (s *state) writeKept(ctx context.Context, q *db.Queries) error {
	if len(s.keeping) == 0 {
		return nil
	}
	p := db.KeepUpdatesParams{TenantID: s.tenant, At: s.at}
	for _, k := range s.keeping {
		id, err := newID()
		if err != nil {
			return err
		}
		p.Ids, p.ConnectionIds, p.Fields = append(p.Ids, id), append(p.ConnectionIds, k.connection), append(p.Fields, k.field)
		p.Digests, p.Raws = append(p.Digests, k.digest()), append(p.Raws, nonNil(k.raw))
		p.ExternalIds, p.Changes = append(p.ExternalIds, k.externalID), append(p.Changes, string(k.change))
	}
	return q.KeepUpdates(ctx, p)
}

// writeEvents puts the first event of every person before the second of any: the relay
// waits before the next event of a contact, and not between those of others.
func (s *state) writeEvents(ctx context.Context, q *db.Queries) error {
	turns := make([]int, len(s.events))
	places := make([]int, len(s.events))
	seen := map[string]int{}
	for i := range s.events {
		e := &s.events[i]
		person, fresh := s.person(e.Order)
		if fresh {
			e.Order = person
		}
		turns[i], places[i] = seen[person], i
		seen[person]++
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(turns[a], turns[b]) })
	events := make([]outbox.Event, len(places))
	for i, place := range places {
		events[i] = s.events[place]
	}
	return outbox.RaiseAll(ctx, q, events)
}

// person is the contact that another turned out to be, or itself, and whether all that
// was ever told of it is of this transaction, which may tell it in her order then.
func (s *state) person(contact string) (is string, fresh bool) {
	id, err := uuid.Parse(contact)
	if err != nil {
		return contact, false
	}
	c := s.contacts[id]
	fresh = c != nil && c.fresh
	for c != nil && c.mergedInto != uuid.Nil {
		contact, c = c.mergedInto.String(), s.contacts[c.mergedInto]
	}
	return contact, fresh
}
