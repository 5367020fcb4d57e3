package inbound_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/messaging"
	updates "github.com/primezap/primezap/pkg/meta/inbound"
)

const patience = 20 * time.Second

// heldAtCommit has every transaction that raises an event with word in it wait,
// before it commits, for the lock that the test has from now until release.
func (f *fixture) heldAtCommit(word string) (release func()) {
	f.Helper()
	f.exec(`CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF convert_from(NEW.body, 'UTF8') LIKE '%` + word + `%' THEN PERFORM pg_advisory_xact_lock(42); END IF;
			RETURN NULL;
		END $$`)
	f.exec(`CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hold()`)
	conn, err := f.owner.Pool().Acquire(f.Context())
	f.check(err)
	_, err = conn.Exec(f.Context(), `SELECT pg_advisory_lock(42)`)
	f.check(err)
	return sync.OnceFunc(func() {
		_, err := conn.Exec(f.Context(), `SELECT pg_advisory_unlock(42)`)
		f.check(err)
		conn.Release()
	})
}

// waiting returns when so many of the api's transactions wait for locks.
func (f *fixture) waiting(n int) {
	f.Helper()
	deadline := time.Now().Add(patience)
	for {
		got := rows[int](f, `SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND usename = 'primezap_api' AND wait_event_type = 'Lock'`)[0]
		if got == n {
			return
		}
		if time.Now().After(deadline) {
			f.Fatalf("%d transactions wait for locks, want %d", got, n)
		}
		time.Sleep(5 * time.Millisecond) // between looks
	}
}

// TestService_Take_FirstInsertedIsFirstCommitted has a transaction insert its events
// first and commit last, but for the lock: nothing of the contact that was inserted
// later may be seen before it.
func TestService_Take_FirstInsertedIsFirstCommitted(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("of a contact that is known: %t", known), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			second := f.connect(f.tenant, messaging.WhatsApp, "800002", "") // in another conversation
			if known {
				f.take(f.whatsapp.says(ana, "wamid.0", "0", 0))
				f.exec(`UPDATE conversations SET status = 'closed'`)
				f.exec(`DELETE FROM outbox`)
			}
			release := f.heldAtCommit("slow")
			defer release()
			var requests sync.WaitGroup
			requests.Go(func() { f.takeBeside(f.whatsapp.says(ana, "wamid.1", "slow", time.Second)) })
			f.waiting(1)
			requests.Go(func() { f.takeBeside(second.says(ana, "wamid.2", "quick", 2*time.Second)) })
			f.waiting(2)
			if events := f.outbox(); len(events) > 0 {
				t.Errorf("%d events are seen before those that were inserted first", len(events))
			}
			release()
			requests.Wait()
			is(f, []string{"slow", "quick"}, `SELECT convert_from(body, 'UTF8')::json->'data'->'message'->>'text' FROM outbox WHERE event_type = 'message.received' ORDER BY id`)
			is(f, []int{1}, `SELECT count(*)::int FROM contacts`)
			is(f, []int{2}, `SELECT count(*)::int FROM conversations WHERE status = 'open'`)
		})
	}
}

// takeBeside is take from another goroutine than the test's.
func (f *fixture) takeBeside(told ...updates.Update) {
	if err := f.service.Take(f.Context(), told); err != nil {
		f.Error(err)
	}
}

func TestService_Take_RacingCopies(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	copies := func(told ...updates.Update) {
		var requests sync.WaitGroup
		for range 6 {
			requests.Go(func() { f.takeBeside(told...) })
		}
		requests.Wait()
	}
	copies(f.whatsapp.says(ana, "wamid.1", "1", 0), f.whatsapp.says(ana, "wamid.1", "1", 0))
	f.raises("contact.created", "conversation.created", "message.received")
	copies(f.whatsapp.says(ana, "wamid.2", "2", 1))
	f.raises("conversation.updated", "message.received")
	is(f, []string{"1", "2"}, `SELECT text FROM messages ORDER BY id`)
	if got := f.metric("primezap_inbound_duplicates_total"); got != 11+5 {
		t.Errorf("%v duplicates are counted, want 16", got)
	}
	// A copy that says something else of the person has no effect either.
	changed := ana
	changed.Name = "Another"
	f.take(f.whatsapp.says(changed, "wamid.2", "2", 9))
	f.raises()
	is(f, []string{"Ana"}, `SELECT name FROM contacts`)
}

func TestService_Take_RacingFirstMessages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	second := f.connect(f.tenant, messaging.WhatsApp, "800002", "")
	for n := range 10 {
		p := updates.Person{Phone: fmt.Sprintf("+55119000001%02d", n), UserID: fmt.Sprintf("BR.%d", n)}
		var requests sync.WaitGroup
		requests.Go(func() { f.takeBeside(f.whatsapp.says(p, fmt.Sprint("wamid.a", n), "a", 0)) })
		requests.Go(func() { f.takeBeside(second.says(p, fmt.Sprint("wamid.b", n), "b", 0)) })
		requests.Go(func() { f.takeBeside(second.says(updates.Person{UserID: p.UserID}, fmt.Sprint("wamid.c", n), "c", 0)) })
		requests.Wait()
	}
	is(f, []int{10}, `SELECT count(*)::int FROM contacts WHERE merged_into IS NULL`)
	is(f, []int{10}, `SELECT count(DISTINCT contact_id)::int FROM messages HAVING count(*) = 30`)
	is(f, []int{20}, `SELECT count(*)::int FROM conversations`)
}

// TestService_Take_OppositeOrders has posts lock the same people, some of whom are
// merged meanwhile, in every order.
func TestService_Take_OppositeOrders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const people, posts = 12, 8
	var requests sync.WaitGroup
	for n := range posts {
		requests.Go(func() {
			var told []updates.Update
			for i := range people {
				k := i
				if n%2 == 0 {
					k = people - 1 - i
				}
				p := updates.Person{Phone: fmt.Sprintf("+55119000002%02d", k)}
				switch n % 3 {
				case 1:
					p.UserID = fmt.Sprintf("BR.%d", k)
				case 2:
					p = updates.Person{UserID: fmt.Sprintf("BR.%d", k)}
				}
				// Later ones are told first: sorting by time gives each post its own order.
				told = append(told, f.whatsapp.says(p, fmt.Sprintf("wamid.%d.%d", n, k), "x", time.Duration(i)*time.Second))
			}
			f.takeBeside(told...)
		})
	}
	requests.Wait()
	is(f, []int{posts * people}, `SELECT count(*)::int FROM messages m JOIN conversations v ON v.id = conversation_id AND v.contact_id = m.contact_id`)
	is(f, []int{people}, `SELECT count(*)::int FROM contacts WHERE merged_into IS NULL`)
}

func TestService_Take_MergedMeanwhile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	guest := updates.Person{UserID: "BR.1"}
	f.take(f.whatsapp.says(updates.Person{Phone: ana.Phone}, "wamid.1", "1", 0), f.whatsapp.says(guest, "wamid.2", "2", 0))
	release := f.heldAtCommit("slow")
	defer release()
	var requests sync.WaitGroup
	requests.Go(func() { f.takeBeside(f.whatsapp.says(ana, "wamid.3", "slow, and merges", 1)) })
	f.waiting(1)
	requests.Go(func() { f.takeBeside(f.whatsapp.says(guest, "wamid.4", "4", 2)) }) // finds the one that goes
	f.waiting(2)
	release()
	requests.Wait()
	is(f, []string{"1", "2", "slow, and merges", "4"}, `SELECT text FROM messages m JOIN contacts c ON c.id = m.contact_id AND c.merged_into IS NULL ORDER BY m.id`)
}

func TestService_Take_PostgresAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.take(f.whatsapp.says(ana, "wamid.0", "0", 0))
	f.exec(`CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'out of disk' USING errcode = '53100'; END $$`)
	f.exec(`CREATE TRIGGER away BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION away()`)
	if err := f.service.Take(t.Context(), []updates.Update{f.whatsapp.says(ana, "wamid.1", "1", 1)}); err == nil {
		t.Error("it was told that all is stored")
	} else if errors.Is(err, t.Context().Err()) {
		t.Error(err)
	}
	is(f, []int{0}, `SELECT count(*)::int FROM channel_updates`)
	f.exec(`DROP TRIGGER away ON messages`)
	f.take(f.whatsapp.says(ana, "wamid.1", "1", 1))
	is(f, []string{"0", "1"}, `SELECT text FROM messages ORDER BY id`)
}

// TestService_Take_OneTenantFails has what is told of a tenant fail at each try: what
// the post tells of others is stored, and nothing later of the tenant itself.
func TestService_Take_OneTenantFails(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	other := f.connect(uuid.Must(uuid.NewV7()), messaging.WhatsApp, "800002", "")
	f.exec(`CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.text = 'slow' THEN RAISE EXCEPTION 'canceling statement due to statement timeout' USING errcode = '57014'; END IF; RETURN NEW; END $$`)
	f.exec(`CREATE TRIGGER slow BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION slow()`)
	post := []updates.Update{f.whatsapp.says(ana, "wamid.0", "slow", 0)}
	for n := range 300 { // more than are stored in one transaction
		post = append(post, f.whatsapp.says(ana, fmt.Sprint("wamid.later", n), "later", time.Second))
	}
	if err := f.service.Take(t.Context(), append(post, other.says(ana, "wamid.1", "other", 0))); err == nil {
		t.Error("it was told that all is stored")
	}
	is(f, []string{"other"}, `SELECT text FROM messages`)
}
