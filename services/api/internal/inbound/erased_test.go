package inbound_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store/db"
)

// An erasure removes a contact under its lock, with all that it is known by. Whoever
// waited for it is told of a person whom nobody knows.
func TestService_Take_ErasedMeanwhile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.take(f.whatsapp.says(ana, "wamid.0", "before", 0))
	before := rows[uuid.UUID](f, `SELECT id FROM contacts`)
	conversations := rows[uuid.UUID](f, `SELECT id FROM conversations`)
	erasing, err := f.worker.Pool().Begin(t.Context())
	f.check(err)
	defer erasing.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // committed below
	q := db.New(erasing)
	_, err = q.LockContactsOf(t.Context(), before)
	f.check(err)
	var requests sync.WaitGroup
	const posts = 4
	for n := range posts {
		requests.Go(func() {
			f.takeBeside(f.whatsapp.says(ana, fmt.Sprint("wamid.", n+1), "after", time.Duration(n+1)*time.Second))
		})
	}
	f.waiting(posts)
	_, err = q.RemoveMessagesOfConversations(t.Context(), conversations, 10)
	f.check(err)
	_, err = q.RemoveConversations(t.Context(), conversations)
	f.check(err)
	_, err = q.RemoveIdentitiesOfContacts(t.Context(), before)
	f.check(err)
	_, err = q.RemoveContacts(t.Context(), before)
	f.check(err)
	f.check(erasing.Commit(t.Context()))
	requests.Wait()
	is(f, []int{1}, `SELECT count(*)::int FROM contacts WHERE id <> $1`, before[0])
	is(f, []int{0}, `SELECT count(*)::int FROM contacts WHERE id = $1`, before[0])
	is(f, []int{posts}, `SELECT count(*)::int FROM messages m JOIN conversations v ON v.id = m.conversation_id JOIN contacts c ON c.id = v.contact_id AND c.id = m.contact_id
		WHERE m.text = 'after' AND c.id <> $1`, before[0])
	is(f, []int{posts}, `SELECT count(*)::int FROM messages`)
}
