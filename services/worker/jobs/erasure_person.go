package jobs

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store/db"
)

const (
	conversationChunk = 100 // conversations that are looked through in one round
	searchChunk       = 200 // updates that are
	minWord           = 5   // characters: shorter ones are found anywhere
)

// forget removes what is kept of the person, if the contact is one of ours: a bounded
// part of it at a time, and there is more until nothing is. Those that turned out to
// be the same person go too, and this one's events with theirs.
//
// All of that happens under the contacts' locks, which whoever stores a message holds:
// it is found by the next round, or comes when there is no such contact any more, and
// makes a new one.
func (e *erasure) forget(ctx context.Context) (more bool, err error) {
	id, err := uuid.Parse(*e.row.ContactID)
	if err != nil {
		return false, nil //nolint:nilerr // it is none of ours: the CRM's ids may be anything
	}
	err = e.stay(ctx, 0, func(q *db.Queries) (t tally, err error) {
		more = false
		same, err := q.SamePerson(ctx, id, e.row.TenantID)
		if err != nil || len(same) == 0 {
			return t, err
		}
		more = true
		if _, err := q.LockContactsOf(ctx, same); err != nil {
			return t, fmt.Errorf("lock contacts: %w", err)
		}
		locked, err := q.SamePerson(ctx, id, e.row.TenantID)
		if err != nil || !slices.Equal(same, locked) {
			return t, err // somebody merged one of them before we had it
		}
		contacts := make([]string, len(same))
		for i, one := range same {
			contacts[i] = one.String()
		}
		if err := q.RememberPerson(ctx, contacts, same, e.row.ID); err != nil {
			return t, fmt.Errorf("remember the person: %w", err)
		}
		t.records, err = removePerson(ctx, q, same)
		return t, err
	})
	if err != nil {
		return false, fmt.Errorf("forget the person: %w", err)
	}
	return more, nil
}

// removePerson removes rows of contacts that are locked: a chunk of messages, or what
// is left when there are no more.
func removePerson(ctx context.Context, q *db.Queries, contacts []uuid.UUID) (removed int64, err error) {
	conversations, err := q.LockConversationsOfContacts(ctx, contacts, conversationChunk)
	if err != nil {
		return 0, fmt.Errorf("lock conversations: %w", err)
	}
	messages, err := q.RemoveMessagesOfConversations(ctx, conversations, rowChunk)
	if err != nil || messages == rowChunk {
		return messages, err
	}
	steps := []func() (int64, error){func() (int64, error) { return q.RemoveConversations(ctx, conversations) }}
	if len(conversations) < conversationChunk {
		steps = append(steps,
			func() (int64, error) { return q.RemoveIdentitiesOfContacts(ctx, contacts) },
			func() (int64, error) { return q.RemoveContacts(ctx, contacts) })
	}
	removed = messages
	for _, step := range steps {
		n, err := step()
		if err != nil {
			return 0, err
		}
		removed += n
	}
	return removed, nil
}

// ours says whether the contact was one of those that are kept here.
func (e *erasure) ours() bool { return len(e.row.Contacts) > 0 }

// contacts are whose events are erased: the one that was asked for, then those that
// are the same person.
func (e *erasure) contacts() []string {
	contacts := []string{*e.row.ContactID}
	for _, one := range e.row.Contacts {
		if !slices.Contains(contacts, one) {
			contacts = append(contacts, one)
		}
	}
	return contacts
}

// search removes what channels told of the person, up to when all else was erased: of
// whoever writes again it is not. It comes last, so that nothing is on its way any more.
func (e *erasure) search(ctx context.Context) (more bool, err error) {
	words := anyOf(e.row.KnownAs)
	if words == "" || e.row.ErasedAt == nil {
		return false, nil
	}
	page, err := e.store.Queries().SearchUpdates(ctx, db.SearchUpdatesParams{
		TenantID: e.row.TenantID, Until: *e.row.ErasedAt, Words: words, After: e.row.Searched, RowLimit: searchChunk,
	})
	if err != nil {
		return false, fmt.Errorf("search what channels told: %w", err)
	}
	if len(page) == 0 {
		return false, nil
	}
	var found []uuid.UUID
	for _, row := range page {
		if row.Found {
			found = append(found, row.ID)
		}
	}
	err = e.stay(ctx, 0, func(q *db.Queries) (t tally, err error) {
		if len(found) > 0 {
			if t.records, err = q.RemoveUpdates(ctx, found); err != nil {
				return t, fmt.Errorf("remove what channels told: %w", err)
			}
		}
		return t, q.SearchedUpdates(ctx, page[len(page)-1].ID, e.row.ID)
	})
	return true, err
}

// anyOf is a regular expression of Postgres's for text that holds one of the words,
// whole; empty if there is none. A number is whole between what are no digits, as
// numbers of telephones are written with and without a plus sign.
func anyOf(words []string) string {
	var numbers, others []string
	for _, word := range words {
		word = strings.TrimPrefix(word, "+")
		if len(word) < minWord {
			continue
		}
		// As the text is read: a byte is a character.
		characters := make([]rune, len(word))
		for i := range len(word) {
			characters[i] = rune(word[i])
		}
		quoted := regexp.QuoteMeta(string(characters))
		if strings.Trim(word, "0123456789") == "" {
			numbers = append(numbers, quoted)
		} else {
			others = append(others, quoted)
		}
	}
	var all []string
	if len(numbers) > 0 {
		all = append(all, "(^|[^0-9])("+strings.Join(numbers, "|")+")([^0-9]|$)")
	}
	if len(others) > 0 {
		all = append(all, "(^|[^0-9A-Za-z])("+strings.Join(others, "|")+")([^0-9A-Za-z]|$)")
	}
	return strings.Join(all, "|")
}
