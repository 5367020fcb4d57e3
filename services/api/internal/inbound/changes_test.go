package inbound_test

import (
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/messaging"
	updates "github.com/primezap/primezap/pkg/meta/inbound"
)

func edited(id, text string) updates.Edit {
	return updates.Edit{Person: ana, ExternalID: id, Type: messaging.Text, Text: &text}
}

func TestService_Take_Edit(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.take(f.whatsapp.says(ana, "wamid.1", "helo", 0))
	f.raises("contact.created", "conversation.created", "message.received")
	f.take(f.whatsapp.tells(edited("wamid.1", "hello"), 2*time.Second))
	e := f.raises("conversation.updated")[0]
	if m := e.Data["message"].(map[string]any); m["text"] != "hello" || m["editedAt"] == nil {
		t.Errorf("told is %v, want the text hello and when it was edited", m)
	}
	// Again, and one that is older and comes late.
	f.take(f.whatsapp.tells(edited("wamid.1", "hello"), 2*time.Second), f.whatsapp.tells(edited("wamid.1", "hallo"), time.Second))
	f.raises()
	is(f, []string{"hello"}, `SELECT text FROM messages WHERE edited_at = $1 AND raw IS NOT NULL`, noon.Add(2*time.Second))

	// Of a closed conversation, by nobody in particular.
	f.exec(`UPDATE conversations SET status = 'closed'`)
	late := edited("wamid.1", "hello!")
	late.Person = updates.Person{}
	f.take(f.whatsapp.tells(late, 3*time.Second))
	f.raises("conversation.updated")
	is(f, []string{"hello! closed"}, `SELECT text || ' ' || v.status FROM messages m JOIN conversations v ON v.id = conversation_id`)
}

func TestService_Take_Removal(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	removal := updates.Removal{Person: ana, ExternalID: "wamid.1"}
	m := updates.Message{Person: ana, ExternalID: "wamid.1", Type: messaging.Image, Text: new("look"), Content: messaging.Content{Media: &messaging.Media{ID: "7"}}}
	f.take(f.whatsapp.tells(m, 0))
	f.raises("contact.created", "conversation.created", "message.received")
	f.take(f.whatsapp.tells(removal, time.Second))
	f.raises("conversation.updated")
	f.take(f.whatsapp.tells(removal, 2*time.Second), f.whatsapp.tells(edited("wamid.1", "look again"), 3*time.Second), f.whatsapp.tells(m, 0))
	f.raises()
	is(f, []string{`image {"media":null}`}, `SELECT concat_ws(' ', type, text, content, raw) FROM messages WHERE deleted_at = $1`, noon.Add(time.Second))
}

// TestService_Take_ChangeBeforeItsMessage has an edit and a removal come first: what
// a person took back is never told.
func TestService_Take_ChangeBeforeItsMessage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.take(f.whatsapp.tells(edited("wamid.1", "hello"), time.Second), f.whatsapp.tells(updates.Removal{Person: ana, ExternalID: "wamid.2"}, time.Second))
	f.raises()
	is(f, []int{2}, `SELECT count(*)::int FROM channel_updates WHERE change IS NOT NULL`)
	f.take(f.whatsapp.says(ana, "wamid.1", "helo", 0), f.whatsapp.says(ana, "wamid.2", "secret", 0))
	is(f, []string{"hello", ""}, `SELECT coalesce(text, '') FROM messages WHERE (deleted_at IS NULL) = (raw IS NOT NULL) ORDER BY external_id`)
	is(f, []int{0}, `SELECT count(*)::int FROM outbox WHERE convert_from(body, 'UTF8') LIKE '%secret%'`)
}

func TestService_Take_Other(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	other := f.whatsapp.tells(updates.Other{}, 0)
	other.Field = "account_update"
	f.take(other, other)
	f.take(other)
	f.raises()
	is(f, []string{"account_update " + string(other.Raw)}, `SELECT field || ' ' || convert_from(raw, 'UTF8') FROM channel_updates`)
}
