package inbound_test

import (
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/messaging"
	updates "github.com/primezap/primezap/pkg/meta/inbound"
)

func TestService_Take_KnowsPeople(t *testing.T) {
	t.Parallel()
	t.Run("by phone or user id, whichever is told, and learns the other", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(f.whatsapp.says(updates.Person{UserID: "BR.1"}, "wamid.1", "1", 0))
		f.raises("contact.created", "conversation.created", "message.received")
		f.take(f.whatsapp.says(updates.Person{UserID: "BR.1", Phone: "+5511900000001"}, "wamid.2", "2", 1))
		learnt := f.raises("contact.updated", "conversation.updated", "message.received")[0]
		if was, ok := learnt.Data["previous"].(map[string]any)["phone"]; !ok || was != nil {
			t.Errorf("previous is %v, want phone null", learnt.Data["previous"])
		}
		f.take(f.whatsapp.says(updates.Person{Phone: "+5511900000001"}, "wamid.3", "3", 2))
		f.raises("conversation.updated", "message.received")
		is(f, []string{"+5511900000001"}, `SELECT phone FROM contacts`)
		is(f, []int{3}, `SELECT count(*)::int FROM messages JOIN contacts c ON c.id = contact_id`)
	})
	t.Run("by an id that holds for one page or account", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		second := f.connect(f.tenant, messaging.Facebook, "100000000000002", "")
		guest := updates.Person{ScopedID: "77"}
		f.take(f.facebook.says(guest, "m_1", "1", 0), second.says(guest, "m_2", "2", 0), f.instagram.says(guest, "m_3", "3", 0), f.facebook.says(guest, "m_4", "4", 1))
		is(f, []string{"77 psid 100000000000001", "77 psid 100000000000002", "77 igsid 17841400000000011"},
			`SELECT value || ' ' || kind || ' ' || scope FROM contact_identities ORDER BY kind DESC, scope`)
		is(f, []int{3}, `SELECT count(DISTINCT contact_id)::int FROM messages`)
	})
	t.Run("without any id a message is kept as it came", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(f.whatsapp.says(updates.Person{Name: "Nobody"}, "wamid.1", "1", 0))
		f.raises()
		is(f, []string{"messages"}, `SELECT field FROM channel_updates`)
	})
}

func TestService_Take_Names(t *testing.T) {
	t.Parallel()
	named := func(name string) updates.Person { return updates.Person{Phone: "+5511900000001", Name: name} }
	t.Run("a contact without a profile is called by what is known, until there is one", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(f.whatsapp.says(named(""), "wamid.1", "1", 0))
		is(f, []string{"+5511900000001"}, `SELECT name FROM contacts`)
		f.raises("contact.created", "conversation.created", "message.received")
		f.take(f.whatsapp.says(named("Ana"), "wamid.2", "2", 1))
		is(f, []string{"Ana"}, `SELECT name FROM contacts`)
		f.raises("contact.updated", "conversation.updated", "message.received")
	})
	t.Run("the name follows the profile", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(f.whatsapp.says(named("Ana"), "wamid.1", "1", 0), f.whatsapp.says(named("Ana Prado"), "wamid.2", "2", 1))
		is(f, []string{"Ana Prado"}, `SELECT name FROM contacts`)
		f.take(f.whatsapp.says(named(""), "wamid.3", "3", 2))
		is(f, []string{"Ana Prado"}, `SELECT name FROM contacts`)
	})
	t.Run("a name that was set by hand stays, and nothing is raised", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(f.whatsapp.says(named("Ana"), "wamid.1", "1", 0))
		f.exec(`UPDATE contacts SET name = 'Client 7'`)
		f.exec(`DELETE FROM outbox`)
		f.take(f.whatsapp.says(named("Ana Prado"), "wamid.2", "2", 1))
		is(f, []string{"Client 7 Ana Prado"}, `SELECT name || ' ' || profile_name FROM contacts`)
		f.raises("conversation.updated", "message.received")
	})
	t.Run("a user name on Instagram is kept as it is now", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(f.instagram.says(updates.Person{ScopedID: "7", Username: "ana"}, "m_1", "1", 0), f.instagram.says(updates.Person{ScopedID: "7", Username: "ana.prado"}, "m_2", "2", 1))
		is(f, []string{"ana.prado"}, `SELECT instagram FROM contacts`)
	})
	t.Run("what people put into names is stored", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(f.whatsapp.says(named("\x00 \n"), "wamid.1", "1", 0), f.whatsapp.says(named("A\x00n\xffa"), "wamid.2", "2", 1))
		is(f, []string{"A na"}, `SELECT name FROM contacts`)
	})
}

func TestService_Take_MergesContacts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	second := f.connect(f.tenant, messaging.WhatsApp, "800002", "")
	byPhone, byUser := updates.Person{Phone: "+5511900000001"}, updates.Person{UserID: "BR.1", Name: "Ana"}
	f.take(f.whatsapp.says(byPhone, "wamid.p1", "p1", 0), f.whatsapp.says(byUser, "wamid.u1", "u1", time.Minute), second.says(byUser, "wamid.u2", "u2", time.Minute))
	old := f.connect(f.tenant, messaging.WhatsApp, "800003", "")
	f.take(old.says(byUser, "wamid.u0", "u0", 0))
	f.exec(`UPDATE conversations SET status = 'closed' WHERE connection_id = $1`, old.id)
	f.exec(`UPDATE contacts SET email = 'ana@example.com', tags = '{lead}', custom_fields = '{"plan":"gold"}' WHERE phone IS NULL`)
	kept := rows[string](f, `SELECT id::text FROM contacts WHERE phone IS NOT NULL`)
	f.exec(`DELETE FROM outbox`)

	both := updates.Person{Phone: byPhone.Phone, UserID: byUser.UserID, Name: "Ana"}
	f.take(f.whatsapp.says(both, "wamid.b", "b", 2*time.Minute))
	events := f.raises("conversation.closed", "contact.updated", "conversation.updated", "message.received")
	for _, e := range events {
		if e.Order != kept[0] {
			t.Errorf("%s is of %s, want %s, who has the phone", e.Type, e.Order, kept[0])
		}
	}
	is(f, []string{kept[0], kept[0]}, `SELECT contact_id::text FROM contact_identities`)
	is(f, []int{5}, `SELECT count(*)::int FROM messages WHERE contact_id = $1`, kept[0])
	is(f, []int{4}, `SELECT count(*)::int FROM conversations WHERE contact_id = $1`, kept[0])
	// Of the two on one number the one that was silent for longer is closed.
	is(f, []string{"p1 closed", "u1 open", "u2 open", "u0 closed", "b open"},
		`SELECT text || ' ' || v.status FROM messages m JOIN conversations v ON v.id = conversation_id ORDER BY m.id`)
	is(f, []string{`Ana ana@example.com {lead} {"plan":"gold"}`}, `SELECT concat_ws(' ', name, email, tags::text, custom_fields) FROM contacts WHERE merged_into IS NULL`)
	is(f, []string{"WhatsApp {} {}"}, `SELECT concat_ws(' ', name, email, phone, tags::text, custom_fields) FROM contacts WHERE merged_into = $1`, kept[0])
	f.take(f.whatsapp.says(byUser, "wamid.u3", "u3", 3*time.Minute))
	f.raises("conversation.updated", "message.received")
	is(f, []int{6}, `SELECT count(*)::int FROM messages WHERE contact_id = $1`, kept[0])
}

// A number is given to somebody else in time. Whoever wrote from it before stays
// apart.
func TestService_Take_NumberOfSomebodyElse(t *testing.T) {
	t.Parallel()
	bruno := updates.Person{Phone: "+5511900000009", UserID: "BR.9", Name: "Bruno"}
	whose := `SELECT m.text || ' ' || c.name FROM messages m JOIN contacts c ON c.id = m.contact_id ORDER BY m.id`
	t.Run("goes from one contact to the other", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(f.whatsapp.says(ana, "wamid.1", "1", 0), f.whatsapp.says(bruno, "wamid.2", "2", 1))
		f.exec(`DELETE FROM outbox`)
		f.take(f.whatsapp.says(updates.Person{Phone: ana.Phone, UserID: bruno.UserID}, "wamid.3", "3", 2))
		events := f.raises("contact.updated", "contact.updated", "conversation.updated", "message.received")
		if was := events[0].Data["previous"].(map[string]any)["phone"]; was != ana.Phone || events[0].Order == events[1].Order {
			t.Errorf("%v is told of first, want Ana, who had the number", events[0].Data)
		}
		is(f, []string{"1 " + ana.Name, "2 Bruno", "3 Bruno"}, whose)
		is(f, []string{ana.Name + " -", "Bruno " + ana.Phone}, `SELECT name || ' ' || coalesce(phone, '-') FROM contacts ORDER BY name`)
		f.take(f.whatsapp.says(updates.Person{Phone: ana.Phone}, "wamid.4", "4", 3), f.whatsapp.says(updates.Person{UserID: ana.UserID}, "wamid.5", "5", 4))
		is(f, []string{"1 " + ana.Name, "2 Bruno", "3 Bruno", "4 Bruno", "5 " + ana.Name}, whose)
		is(f, []int{0}, `SELECT count(*)::int FROM contacts WHERE merged_into IS NOT NULL`)
	})
	t.Run("also when Meta tells that the number has changed", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(f.whatsapp.says(ana, "wamid.1", "1", 0), f.whatsapp.says(bruno, "wamid.2", "2", 1))
		f.take(f.whatsapp.tells(updates.IdentityChange{Old: updates.Person{Phone: bruno.Phone}, New: updates.Person{Phone: ana.Phone}}, 2))
		f.take(f.whatsapp.says(updates.Person{Phone: ana.Phone}, "wamid.3", "3", 3))
		is(f, []string{"1 " + ana.Name, "2 Bruno", "3 Bruno"}, whose)
		is(f, []string{ana.Phone + " Bruno", "BR.1 " + ana.Name, "BR.9 Bruno"},
			`SELECT i.value || ' ' || c.name FROM contact_identities i JOIN contacts c ON c.id = contact_id ORDER BY i.value`)
	})
}

// The fullest contacts must not become one that no event has room for.
func TestService_Take_MergesAsMuchAsEventsHold(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	wa := f.whatsapp
	f.take(wa.says(updates.Person{Phone: "+5511900000001"}, "a", "Oi", 0), wa.says(updates.Person{UserID: "BR.1"}, "b", "Oi", time.Second))
	f.exec(`UPDATE contacts SET tags = (SELECT array_agg(repeat(CASE WHEN phone IS NULL THEN '😀' ELSE '😊' END, 97) || n) FROM generate_series(100, 199) AS n),
		custom_fields = (SELECT json_object_agg(left(name, 2) || n, repeat('😀', 500)) FROM generate_series(1, 30) AS n)`)
	f.take(wa.says(updates.Person{Phone: "+5511900000001", UserID: "BR.1", Name: "Ana"}, "c", "Oi", time.Minute))
	is(f, []string{"100 true"}, `SELECT cardinality(tags) || ' ' || (octet_length(custom_fields::text) < 65536) FROM contacts WHERE merged_into IS NULL`)
	is(f, []int{0}, `SELECT count(*)::int FROM channel_updates`)
	is(f, []int{3}, `SELECT count(*)::int FROM messages WHERE type = 'text'`)
}

func TestService_Take_MergesInOneBatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.take(
		f.whatsapp.says(updates.Person{UserID: "BR.1"}, "wamid.1", "1", 0), f.whatsapp.says(updates.Person{Phone: "+5511900000001"}, "wamid.2", "2", 1),
		f.whatsapp.says(updates.Person{Phone: "+5511900000001", UserID: "BR.1"}, "wamid.3", "3", 2),
	)
	is(f, []int{3}, `SELECT count(*)::int FROM messages m JOIN contacts c ON c.id = m.contact_id AND phone IS NOT NULL JOIN conversations v ON v.id = conversation_id AND v.contact_id = c.id`)
	is(f, []string{"closed", "open"}, `SELECT status FROM conversations ORDER BY status`)
	is(f, []int{1}, `SELECT count(*)::int FROM contacts WHERE merged_into IS NOT NULL`)
}

func TestService_Take_IdentityChange(t *testing.T) {
	t.Parallel()
	changed := updates.IdentityChange{Old: updates.Person{Phone: "+5511900000001"}, New: updates.Person{Phone: "+5511900000002"}}
	t.Run("the contact is known by the new number, and by the old one no more", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(f.whatsapp.says(ana, "wamid.1", "1", 0))
		f.raises("contact.created", "conversation.created", "message.received")
		f.take(f.whatsapp.tells(changed, 1))
		f.raises("contact.updated")
		is(f, []string{"+5511900000002"}, `SELECT phone FROM contacts`)
		is(f, []string{"+5511900000002", "BR.1"}, `SELECT value FROM contact_identities ORDER BY value`)
		f.take(f.whatsapp.says(updates.Person{Phone: "+5511900000002"}, "wamid.2", "2", 2), f.whatsapp.says(updates.Person{Phone: "+5511900000001"}, "wamid.3", "3", 3))
		is(f, []int{2}, `SELECT count(*)::int FROM contacts`)
	})
	t.Run("a user id changes too", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(f.whatsapp.says(ana, "wamid.1", "1", 0), f.whatsapp.tells(updates.IdentityChange{Old: updates.Person{UserID: "BR.1"}, New: updates.Person{UserID: "BR.2"}}, 1))
		is(f, []string{"+5511900000001", "BR.2"}, `SELECT value FROM contact_identities ORDER BY value`)
	})
	t.Run("whoever wrote from the new number already is the same person", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(f.whatsapp.says(ana, "wamid.1", "1", 0), f.whatsapp.says(updates.Person{Phone: "+5511900000002"}, "wamid.2", "2", 1), f.whatsapp.tells(changed, 2))
		is(f, []int{2}, `SELECT count(*)::int FROM messages m JOIN contacts c ON c.id = m.contact_id AND c.merged_into IS NULL AND phone = '+5511900000002'`)
	})
	t.Run("of somebody unknown it is kept, once", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t)
		f.take(f.whatsapp.tells(changed, 1))
		f.take(f.whatsapp.tells(changed, 1))
		f.raises()
		is(f, []int{1}, `SELECT count(*)::int FROM channel_updates`)
	})
}
