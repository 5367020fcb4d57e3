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
		s.writeContacts, s.writeIdentities, s.writeConversations, s.writeMessages, s.writeReceipts, s.writeKept, s.writeEvents,
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
	if len(s.newContacts) > 0 {
		p := db.InsertContactsParams{TenantID: s.tenant, At: s.at}
		for _, c := range s.newContacts {
			p.Ids, p.Names, p.ProfileNames = append(p.Ids, c.ID), append(p.Names, c.Name), append(p.ProfileNames, c.profile)
			p.Phones, p.Instagrams = append(p.Phones, text(c.Phone)), append(p.Instagrams, text(c.Instagram))
			p.Sources = append(p.Sources, string(c.Source))
		}
		if err := q.InsertContacts(ctx, p); err != nil {
			return err
		}
	}
	p := db.UpdateContactsParams{At: s.at}
	for _, c := range s.contacts {
		if !c.changed || c.fresh && len(c.Tags) == 0 && c.mergedInto == uuid.Nil && len(c.CustomFields) == 0 {
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
		fields := string(c.CustomFields)
		p.Ids, p.Names, p.ProfileNames = append(p.Ids, c.ID), append(p.Names, c.Name), append(p.ProfileNames, c.profile)
		p.Phones, p.Emails, p.Instagrams = append(p.Phones, text(c.Phone)), append(p.Emails, text(c.Email)), append(p.Instagrams, text(c.Instagram))
		p.Tags, p.CustomFields = append(p.Tags, string(tags)), append(p.CustomFields, cmp.Or(fields, "{}"))
		p.OwnerIds, p.OwnerNames, p.MergedInto = append(p.OwnerIds, owner.ID), append(p.OwnerNames, owner.Name), append(p.MergedInto, c.mergedInto)
	}
	if len(p.Ids) == 0 {
		return nil
	}
	return q.UpdateContacts(ctx, p)
}

// writeIdentities writes whose identities are others' than in the table.
func (s *state) writeIdentities(ctx context.Context, q *db.Queries) error {
	gone := db.DeleteIdentitiesParams{TenantID: s.tenant}
	for id, was := range s.stored {
		if s.identities[id] != was {
			gone.Identities, gone.Kinds, gone.Scopes = append(gone.Identities, id.value), append(gone.Kinds, id.kind), append(gone.Scopes, id.scope)
		}
	}
	if len(gone.Identities) > 0 {
		if err := q.DeleteIdentities(ctx, gone); err != nil {
			return err
		}
	}
	p := db.InsertIdentitiesParams{TenantID: s.tenant}
	for id, is := range s.identities {
		if s.stored[id] != is {
			p.Identities, p.Kinds, p.Scopes = append(p.Identities, id.value), append(p.Kinds, id.kind), append(p.Scopes, id.scope)
			p.ContactIds = append(p.ContactIds, is)
		}
	}
	if len(p.Identities) == 0 {
		return nil
	}
	return q.InsertIdentities(ctx, p)
}

// writeConversations closes before it moves, and moves before it opens: a contact
// has one open conversation on a connection.
func (s *state) writeConversations(ctx context.Context, q *db.Queries) error {
	p := db.UpdateConversationsParams{At: s.at}
	for _, v := range s.conversations {
		if v.changed && !v.fresh {
			p.Ids, p.Statuses = append(p.Ids, v.ID), append(p.Statuses, string(v.Status))
			p.LastMessageAt, p.LastInboundAt = append(p.LastMessageAt, timeOf(v.LastMessageAt)), append(p.LastInboundAt, timeOf(v.LastInboundAt))
		}
	}
	if len(p.Ids) > 0 {
		if err := q.UpdateConversations(ctx, p); err != nil {
			return err
		}
	}
	var from, into []uuid.UUID
	for _, m := range s.merged {
		from, into = append(from, m.from.ID), append(into, s.last(m.into).ID)
	}
	if len(from) > 0 {
		if err := q.MoveConversations(ctx, s.at, from, into); err != nil {
			return err
		}
	}
	if len(s.newConversations) > 0 {
		n := db.InsertConversationsParams{TenantID: s.tenant, At: s.at}
		for _, v := range s.newConversations {
			n.Ids, n.ConnectionIds, n.ContactIds = append(n.Ids, v.ID), append(n.ConnectionIds, v.ConnectionID), append(n.ContactIds, v.contact.ID)
			n.Channels, n.Statuses = append(n.Channels, string(v.Channel)), append(n.Statuses, string(v.Status))
			n.LastMessageAt, n.LastInboundAt = append(n.LastMessageAt, timeOf(v.LastMessageAt)), append(n.LastInboundAt, timeOf(v.LastInboundAt))
			n.ClosedAt = append(n.ClosedAt, timeOf(v.ClosedAt))
		}
		if err := q.InsertConversations(ctx, n); err != nil {
			return err
		}
	}
	if len(from) > 0 {
		return q.MoveMessages(ctx, into)
	}
	return nil
}

// last is the contact that one has become, through however many mergers.
func (s *state) last(c *contact) *contact {
	for c.mergedInto != uuid.Nil {
		c = s.contacts[c.mergedInto]
	}
	return c
}

func (s *state) writeMessages(ctx context.Context, q *db.Queries) error {
	if len(s.newMessages) > 0 {
		p := db.InsertMessagesParams{TenantID: s.tenant, At: s.at}
		for _, m := range s.newMessages {
			content, err := json.Marshal(m.Content)
			if err != nil {
				return fmt.Errorf("encode content: %w", err)
			}
			p.Ids, p.ConnectionIds, p.ConversationIds = append(p.Ids, m.ID), append(p.ConnectionIds, m.connection), append(p.ConversationIds, m.conversation.ID)
			p.ContactIds, p.Channels = append(p.ContactIds, m.contact.ID), append(p.Channels, string(m.Channel))
			p.Directions, p.ExternalIds = append(p.Directions, string(m.Direction)), append(p.ExternalIds, m.ExternalID)
			p.Types, p.Texts, p.Contents = append(p.Types, string(m.Type)), append(p.Texts, text(m.Text)), append(p.Contents, string(content))
			p.Raws, p.Statuses, p.StatusAt = append(p.Raws, nonNil(m.Raw)), append(p.Statuses, string(m.Status)), append(p.StatusAt, m.statusAt)
			p.Errors, p.Pricings, p.Standbys = append(p.Errors, string(m.Error)), append(p.Pricings, string(m.pricing)), append(p.Standbys, m.Standby)
			p.SentAt, p.EditedAt, p.DeletedAt = append(p.SentAt, m.SentAt), append(p.EditedAt, timeOf(m.EditedAt)), append(p.DeletedAt, timeOf(m.DeletedAt))
		}
		if err := q.InsertMessages(ctx, p); err != nil {
			return err
		}
	}
	p := db.UpdateMessagesParams{At: s.at}
	for _, m := range s.messages {
		if !m.changed || m.fresh {
			continue
		}
		content, err := json.Marshal(m.Content)
		if err != nil {
			return fmt.Errorf("encode content: %w", err)
		}
		p.Ids, p.Types, p.Texts, p.Contents = append(p.Ids, m.ID), append(p.Types, string(m.Type)), append(p.Texts, text(m.Text)), append(p.Contents, string(content))
		p.Statuses, p.StatusAt = append(p.Statuses, string(m.Status)), append(p.StatusAt, timeOf(&m.statusAt))
		p.Errors, p.Pricings = append(p.Errors, string(m.Error)), append(p.Pricings, string(m.pricing))
		p.EditedAt, p.DeletedAt = append(p.EditedAt, timeOf(m.EditedAt)), append(p.DeletedAt, timeOf(m.DeletedAt))
	}
	if len(p.Ids) == 0 {
		return nil
	}
	return q.UpdateMessages(ctx, p)
}

func nonNil(raw []byte) []byte {
	if raw == nil {
		return []byte{}
	}
	return raw
}

// writeReceipts comes after new messages: these are meant too.
func (s *state) writeReceipts(ctx context.Context, q *db.Queries) error {
	for _, status := range []messaging.Status{messaging.Sent, messaging.Delivered, messaging.Read} {
		p := db.ReceiptsUpToParams{At: s.at, Status: string(status)}
		for earlier, rank := range progress {
			if rank < progress[status] {
				p.Earlier = append(p.Earlier, string(earlier))
			}
		}
		for _, r := range s.reached {
			if r.status == status {
				p.ContactIds, p.ConnectionIds = append(p.ContactIds, s.last(s.contacts[r.contact]).ID), append(p.ConnectionIds, r.connection)
				p.Until, p.ToldAt = append(p.Until, r.until), append(p.ToldAt, r.at)
			}
		}
		if len(p.ContactIds) == 0 {
			continue
		}
		if err := q.ReceiptsUpTo(ctx, p); err != nil {
			return err
		}
	}
	return nil
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

// writeEvents puts the first event of every contact before the second of any: the
// relay waits before the next event of a contact, and not between those of others.
func (s *state) writeEvents(ctx context.Context, q *db.Queries) error {
	turns := make([]int, len(s.events))
	places := make([]int, len(s.events))
	seen := map[string]int{}
	for i, e := range s.events {
		turns[i], places[i] = seen[e.Order], i
		seen[e.Order]++
	}
	slices.SortStableFunc(places, func(a, b int) int { return cmp.Compare(turns[a], turns[b]) })
	events := make([]outbox.Event, len(places))
	for i, place := range places {
		events[i] = s.events[place]
	}
	return outbox.RaiseAll(ctx, q, events)
}
