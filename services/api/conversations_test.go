package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

const conversationsPath = "/api/conversations"

// conversation is one as tests read it.
type conversation struct {
	ID, ConnectionID, ContactID uuid.UUID
	Channel, Status             string
	Assignee                    *agent
	LastMessageAt, ClosedAt     *time.Time
	CreatedAt, UpdatedAt        time.Time
}

func idsOf(conversations []conversation) (all []uuid.UUID) {
	for _, c := range conversations {
		all = append(all, c.ID)
	}
	return all
}

func TestConversations_List(t *testing.T) {
	t.Parallel()
	f := newInboxed(t)
	sales, support := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	ana, bia := f.newContact(f.tenant, "", ""), f.newContact(f.tenant, "", "")
	was := f.newContact(f.tenant, ", merged_into", ", $3", ana)
	theirs := f.newConversation(f.newContact(uuid.Must(uuid.NewV7()), "", ""), sales, "open")
	a := f.newConversation(ana, sales, "closed")
	b := f.newConversation(bia, sales, "open")
	c := f.newConversation(ana, support, "pending")
	d := f.newConversation(ana, sales, "open")
	for _, tc := range []struct {
		name, query string
		want        []uuid.UUID
	}{
		{name: "newest first, whatever their state", want: []uuid.UUID{d, c, b, a}},
		{name: "by state", query: "?status=open", want: []uuid.UUID{d, b}},
		{name: "by connection", query: "?connectionId=" + sales.String(), want: []uuid.UUID{d, b, a}},
		{name: "by connection and state", query: "?status=closed&connectionId=" + sales.String(), want: []uuid.UUID{a}},
		{name: "by contact", query: "?contactId=" + ana.String(), want: []uuid.UUID{d, c, a}},
		{name: "by one that the contact was", query: "?contactId=" + was.String(), want: []uuid.UUID{d, c, a}},
		{name: "by contact, connection and state", query: "?status=open&contactId=" + ana.String() + "&connectionId=" + sales.String(), want: []uuid.UUID{d}},
		{name: "by a contact that is not there", query: "?contactId=" + uuid.NewString()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := into[list[conversation]](f.do("GET", conversationsPath+tc.query, "").is(http.StatusOK))
			if !slices.Equal(idsOf(got.Data), tc.want) || got.Pagination.Total != len(tc.want) {
				t.Errorf("lists %v of %d, want %v; %s is another tenant's", idsOf(got.Data), got.Pagination.Total, tc.want, theirs)
			}
		})
	}
	t.Run("pages go on after the last row that was seen", func(t *testing.T) {
		for _, query := range []string{"", "&connectionId=" + sales.String(), "&contactId=" + ana.String()} {
			whole := idsOf(into[list[conversation]](f.do("GET", conversationsPath+"?limit=100"+query, "")).Data)
			var got []uuid.UUID
			for cursor := ""; ; {
				page := into[list[conversation]](f.do("GET", conversationsPath+"?limit=1"+query+cursor, "").is(http.StatusOK))
				got = append(got, idsOf(page.Data)...)
				if page.Pagination.NextCursor == nil {
					break
				}
				cursor = "&cursor=" + *page.Pagination.NextCursor
			}
			second := idsOf(into[list[conversation]](f.do("GET", conversationsPath+"?limit=1&page=2"+query, "")).Data)
			if !slices.Equal(got, whole) || second[0] != whole[1] {
				t.Errorf("%q: by pages %v, at once %v; the second page %v", query, got, whole, second)
			}
		}
	})
	t.Run("a parameter that cannot be is refused", func(t *testing.T) {
		for query, pointer := range map[string]string{"?status=won": "/status", "?connectionId=x": "/connectionId", "?contactId=": "/contactId", "?cursor=x": "/cursor"} {
			f.do("GET", conversationsPath+query, "").refuses(http.StatusUnprocessableEntity, pointer)
		}
	})
}

func TestConversations_NotFound(t *testing.T) {
	t.Parallel()
	f := newInboxed(t)
	theirs := f.newConversation(f.newContact(uuid.Must(uuid.NewV7()), "", ""), uuid.New(), "open")
	for _, id := range []string{theirs.String(), uuid.NewString(), "x"} {
		f.do("GET", conversationsPath+"/"+id, "").refuses(http.StatusNotFound)
		f.do("GET", conversationsPath+"/"+id+"/messages", "").refuses(http.StatusNotFound)
		f.do("PATCH", conversationsPath+"/"+id, `{"status":"pending"}`).refuses(http.StatusNotFound)
		f.do("POST", conversationsPath+"/"+id+"/close", "").refuses(http.StatusNotFound)
		f.do("POST", conversationsPath+"/"+id+"/reopen", "").refuses(http.StatusNotFound)
	}
	f.untouched()
}

// changed is what a change of the last conversation left.
func (f *inboxed) changed(typ, action string) map[string]any {
	f.Helper()
	events, entries := f.raised(), f.audit("")
	if len(events) == 0 || events[len(events)-1].Type != typ || len(entries) != len(events) || entries[0].Action != action || entries[0].SubjectType != "conversation" {
		f.Fatalf("raised %+v, audited %+v; want %s and %s", events, entries, typ, action)
	}
	return events[len(events)-1].Data
}

func TestConversations_Change(t *testing.T) {
	t.Parallel()
	f := newInboxed(t)
	with, connection, rafaela := f.newContact(f.tenant, "", ""), uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	id := f.newConversation(with, connection, "open")
	path := conversationsPath + "/" + id.String()
	f.exec(`INSERT INTO messages (id, tenant_id, connection_id, conversation_id, contact_id, channel, direction, type, status, sent_at)
		SELECT gen_random_uuid(), $1, $2, $3, $4, 'whatsapp', 'inbound', 'text', 'received', now() FROM generate_series(1, 3)`, f.tenant, connection, id, with)

	// In turn: each goes on from where the one before left the conversation.
	t.Run("a status and an assignee are taken", func(t *testing.T) {
		got := into[conversation](f.do("PATCH", path, `{"status":"pending","assignee":{"id":"`+rafaela.String()+`","name":"Rafaela"}}`).is(http.StatusOK))
		if got.Status != "pending" || *got.Assignee != (agent{rafaela, "Rafaela"}) || got.ContactID != with || got.ConnectionID != connection {
			t.Errorf("answers %+v", got)
		}
		data := f.changed("conversation.updated", "conversation.updated")
		previous := data["previous"].(map[string]any)
		if len(previous) != 2 || previous["status"] != "open" || previous["assignee"] != nil || data["conversationId"] != id.String() || data["connectionId"] != connection.String() ||
			data["contact"].(map[string]any)["id"] != with.String() || data["updatedBy"].(map[string]any)["type"] != "api" {
			t.Errorf("the event is %v", data)
		}
	})
	t.Run("closing it tells how long it was and how many messages it had", func(t *testing.T) {
		got := into[conversation](f.do("POST", path+"/close", "").is(http.StatusOK))
		if got.Status != "closed" || got.ClosedAt == nil || !got.ClosedAt.After(got.CreatedAt) {
			t.Errorf("answers %+v", got)
		}
		data := f.changed("conversation.closed", "conversation.closed")
		if data["messageCount"] != 3.0 || data["reason"] != "resolved" || data["closedBy"].(map[string]any)["type"] != "api" || data["conversation"].(map[string]any)["status"] != "closed" {
			t.Errorf("the event is %v", data)
		}
	})
	t.Run("an assignee alone leaves it closed", func(t *testing.T) {
		before := into[conversation](f.do("GET", path, ""))
		got := into[conversation](f.do("PATCH", path, `{"assignee":null}`).is(http.StatusOK))
		if got.Status != "closed" || got.Assignee != nil || !got.ClosedAt.Equal(*before.ClosedAt) {
			t.Errorf("answers %+v", got)
		}
		f.changed("conversation.updated", "conversation.updated")
	})
	t.Run("it is not reopened beside another", func(t *testing.T) {
		other := f.newConversation(with, connection, "pending")
		before := len(f.raised())
		for _, a := range []answer{f.do("POST", path+"/reopen", ""), f.do("PATCH", path, `{"status":"open"}`), f.do("PATCH", path, `{"status":"pending"}`)} {
			if p := a.refuses(http.StatusConflict); !strings.Contains(p.Detail, other.String()) {
				t.Errorf("refused with %q", p.Detail)
			}
		}
		if after := len(f.raised()); after != before || len(f.audit("")) != before {
			t.Errorf("%d events after, %d before", after, before)
		}
		f.exec("UPDATE conversations SET status = 'closed' WHERE id = $1", other)
		f.newConversation(with, uuid.New(), "open") // on another connection
	})
	t.Run("it is reopened", func(t *testing.T) {
		got := into[conversation](f.do("POST", path+"/reopen", "").is(http.StatusOK))
		if got.Status != "open" || got.ClosedAt != nil {
			t.Errorf("answers %+v", got)
		}
		if data := f.changed("conversation.updated", "conversation.reopened"); data["previous"].(map[string]any)["status"] != "closed" {
			t.Errorf("the event is %v", data)
		}
	})
	t.Run("a status reopens it", func(t *testing.T) {
		f.do("POST", path+"/close", "").is(http.StatusOK)
		if got := into[conversation](f.do("PATCH", path, `{"status":"pending"}`).is(http.StatusOK)); got.Status != "pending" || got.ClosedAt != nil {
			t.Errorf("answers %+v", got)
		}
		f.changed("conversation.updated", "conversation.reopened")
	})
	t.Run("what changes nothing leaves no trace", func(t *testing.T) {
		before, n := f.do("GET", path, "").body, len(f.raised())
		for _, a := range []answer{f.do("PATCH", path, `{}`), f.do("PATCH", path, `{"status":"pending","assignee":null}`), f.do("POST", path+"/reopen", "")} {
			if string(a.is(http.StatusOK).body) != string(before) {
				t.Errorf("answers %s, before %s", a.body, before)
			}
		}
		f.do("POST", path+"/close", "").is(http.StatusOK)
		closed := f.do("GET", path, "").body
		if again := f.do("POST", path+"/close", "").is(http.StatusOK).body; string(again) != string(closed) {
			t.Errorf("closed again: %s, before %s", again, closed)
		}
		if after := len(f.raised()); after != n+1 || len(f.audit("")) != after {
			t.Errorf("raised %d events, audited %d", after-n, len(f.audit("")))
		}
	})
	t.Run("what cannot be is refused, with a pointer", func(t *testing.T) {
		n := len(f.raised())
		for body, pointer := range map[string]string{
			`{"status":"closed"}`: "/status", `{"status":"won"}`: "/status", `{"status":null}`: "/status", `{"status":1}`: "/status", `{"channel":"whatsapp"}`: "/channel",
			`{"assignee":{"id":"` + uuid.NewString() + `","name":"R"}}`: "/assignee/id", `{"assignee":{"id":"` + rafaela.String() + `","name":""}}`: "/assignee/name",
			`{"assignee":"Rafaela"}`: "/assignee",
		} {
			f.do("PATCH", path, body).refuses(http.StatusUnprocessableEntity, pointer)
		}
		if len(f.raised()) != n {
			t.Error("raised something")
		}
	})
	t.Run("its contact is the one that remained", func(t *testing.T) {
		merged := f.newContact(f.tenant, ", merged_into", ", $3", with)
		id := f.newConversation(merged, uuid.Must(uuid.NewV7()), "open")
		f.exec("UPDATE conversations SET contact_id = $2 WHERE id = $1", id, with)
		f.do("POST", conversationsPath+"/"+id.String()+"/close", "").is(http.StatusOK)
		if data := f.changed("conversation.closed", "conversation.closed"); data["contact"].(map[string]any)["id"] != with.String() {
			t.Errorf("the event is %v", data)
		}
	})
}

func TestConversations_Messages(t *testing.T) {
	t.Parallel()
	f := newInboxed(t)
	with, connection := f.newContact(f.tenant, "", ""), uuid.Must(uuid.NewV7())
	id, other := f.newConversation(with, connection, "open"), f.newConversation(with, uuid.New(), "open")
	path := conversationsPath + "/" + id.String() + "/messages"
	var all []uuid.UUID
	for i, row := range []struct{ of, typ, text, content, raw string }{
		{of: id.String(), typ: "text", text: "Oi", content: "{}", raw: `{"id":17841400000000011,"text":{"body":"Oi"}}`},
		{of: id.String(), typ: "image", content: `{"media":{"id":"1","mimeType":"image/jpeg"},"forwarded":true}`, raw: `{}`},
		{of: other.String(), typ: "text", content: "{}", raw: `{}`},
	} {
		message := uuid.Must(uuid.NewV7())
		if row.of == id.String() {
			all = slices.Insert(all, 0, message)
		}
		f.exec(`INSERT INTO messages (id, tenant_id, connection_id, conversation_id, contact_id, channel, direction, external_id, type, text, content, raw, status, sent_at)
			VALUES ($1, $2, $3, $4, $5, 'whatsapp', 'inbound', $6, $7, NULLIF($8, ''), $9::text::json, $10, 'received', '2026-11-24T10:00:00-03')`,
			message, f.tenant, connection, row.of, with, "wamid."+string(rune('A'+i)), row.typ, row.text, row.content, []byte(row.raw))
	}
	type message struct {
		ID               uuid.UUID
		ExternalID, Type string
		Text             *string
		Media            *struct{ ID string }
		Forwarded        bool
		SentAt           string
		Raw              json.RawMessage
	}
	got := into[list[message]](f.do("GET", path, "").is(http.StatusOK))
	if len(got.Data) != 2 || got.Pagination.Total != 2 || got.Data[0].ID != all[0] || got.Data[1].ID != all[1] {
		t.Fatalf("lists %+v", got)
	}
	if m := got.Data[0]; m.Media.ID != "1" || !m.Forwarded || m.Text != nil || m.Type != "image" {
		t.Errorf("the newest is %+v", m)
	}
	if m := got.Data[1]; *m.Text != "Oi" || m.ExternalID != "wamid.A" || m.SentAt != "2026-11-24T13:00:00Z" || string(m.Raw) != `{"id":17841400000000011,"text":{"body":"Oi"}}` {
		t.Errorf("the oldest is %+v, raw %s", m, m.Raw)
	}
	first := into[list[message]](f.do("GET", path+"?limit=1", "").is(http.StatusOK))
	second := into[list[message]](f.do("GET", path+"?limit=1&cursor="+*first.Pagination.NextCursor, "").is(http.StatusOK))
	if second.Data[0].ID != all[1] || second.Pagination.NextCursor != nil {
		t.Errorf("the second page is %+v", second)
	}
	f.do("GET", path+"?limit=x", "").refuses(http.StatusUnprocessableEntity, "/limit")
}
