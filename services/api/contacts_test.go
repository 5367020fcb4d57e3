package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/testenv"
)

const contactsPath = "/api/contacts"

// contact is one as tests read it.
type contact struct {
	ID           uuid.UUID
	Name         string
	Phone        *string
	Email        *string
	Instagram    *string
	Tags         []string
	Source       string
	Owner        *agent
	CustomFields map[string]any
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

type agent struct {
	ID   uuid.UUID
	Name string
}

// inboxed is a fixture with rows as inbound messages leave them.
type inboxed struct {
	*fixture
	super *store.Store
}

func newInboxed(t *testing.T) *inboxed {
	t.Helper()
	f := newFixture(t, withTokens)
	f.key = f.newKey(f.tenant, auth.ScopeChannelsWrite, auth.ScopeWebhooksRead)
	return &inboxed{fixture: f, super: f.open(testenv.Superuser)}
}

func (f *inboxed) exec(sql string, args ...any) {
	f.Helper()
	_, err := f.super.Pool().Exec(f.Context(), sql, args...)
	f.check(err)
}

// newContact stores one with further columns, written as SQL.
func (f *inboxed) newContact(tenant uuid.UUID, columns, values string, args ...any) uuid.UUID {
	f.Helper()
	id := uuid.Must(uuid.NewV7())
	f.exec("INSERT INTO contacts (id, tenant_id, name, profile_name, source"+columns+") VALUES ($1, $2, 'Juliana', 'Juliana', 'whatsapp'"+values+")", append([]any{id, tenant}, args...)...)
	return id
}

// newConversation stores one.
func (f *inboxed) newConversation(with, connection uuid.UUID, status string) uuid.UUID {
	f.Helper()
	id := uuid.Must(uuid.NewV7())
	f.exec(`INSERT INTO conversations (id, tenant_id, connection_id, contact_id, channel, status, last_message_at, closed_at)
		SELECT $1, tenant_id, $2, id, 'whatsapp', $4, now(), CASE WHEN $4 = 'closed' THEN now() END FROM contacts WHERE id = $3`, id, connection, with, status)
	return id
}

// raised are the events in the outbox, each held against its schema.
func (f *inboxed) raised() []raised {
	f.Helper()
	rows, err := f.super.Pool().Query(f.Context(), "SELECT event_type, coalesce(conversation, ''), tenant_id, body FROM outbox ORDER BY id")
	f.check(err)
	defer rows.Close()
	var all []raised
	for rows.Next() {
		var r raised
		var body []byte
		f.check(rows.Scan(&r.Type, &r.Order, &r.Tenant, &body))
		for _, fault := range event.Validate(event.Type(r.Type), body) {
			f.Errorf("%s: %v in %s", r.Type, fault, body)
		}
		var read struct {
			Timestamp time.Time
			Data      map[string]any
		}
		f.check(json.Unmarshal(body, &read))
		r.Data, r.At = read.Data, read.Timestamp
		all = append(all, r)
	}
	f.check(rows.Err())
	return all
}

type raised struct {
	Type, Order string
	Tenant      uuid.UUID
	At          time.Time
	Data        map[string]any
}

// untouched requires that nothing was raised and nothing audited.
func (f *inboxed) untouched() {
	f.Helper()
	if got := f.raised(); len(got) > 0 {
		f.Errorf("raised %+v", got)
	}
	if got := f.audit(""); len(got) > 0 {
		f.Errorf("audited %+v", got)
	}
}

func ids(contacts []contact) (all []uuid.UUID) {
	for _, c := range contacts {
		all = append(all, c.ID)
	}
	return all
}

func TestContacts_List(t *testing.T) {
	t.Parallel()
	f := newInboxed(t)
	other := f.newContact(uuid.Must(uuid.NewV7()), ", phone, tags", ", '+5511900000001', '{lead}'")
	first := f.newContact(f.tenant, ", phone, tags", ", '+5511900000001', '{lead,vip}'")
	second := f.newContact(f.tenant, ", tags", ", '{lead}'")
	third := f.newContact(f.tenant, ", phone", ", '+5511900000003'")
	f.newContact(f.tenant, ", merged_into, tags", ", $3, '{lead}'", first)
	for _, tc := range []struct {
		name, query string
		want        []uuid.UUID
	}{
		{name: "newest first, without those that are another's", want: []uuid.UUID{third, second, first}},
		{name: "by phone", query: "?phone=%2B5511900000001", want: []uuid.UUID{first}},
		{name: "by a phone whose plus sign was not escaped", query: "?phone=+5511900000003", want: []uuid.UUID{third}},
		{name: "by tag", query: "?tag=lead", want: []uuid.UUID{second, first}},
		{name: "by phone and tag", query: "?tag=vip&phone=%2B5511900000001", want: []uuid.UUID{first}},
		{name: "by phone and a tag that she lacks", query: "?tag=novo&phone=%2B5511900000001"},
		{name: "by a tag that nobody has", query: "?tag=novo"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := into[list[contact]](f.do("GET", contactsPath+tc.query, "").is(http.StatusOK))
			if !slices.Equal(ids(got.Data), tc.want) || got.Pagination.Total != len(tc.want) {
				t.Errorf("lists %v of %d, want %v; %s is another tenant's", ids(got.Data), got.Pagination.Total, tc.want, other)
			}
		})
	}
	t.Run("pages go on after the last row that was seen", func(t *testing.T) {
		for _, query := range []string{"", "&tag=lead", "&tag=vip&phone=%2B5511900000001"} {
			whole := ids(into[list[contact]](f.do("GET", contactsPath+"?limit=100"+query, "")).Data)
			var got []uuid.UUID
			for cursor := ""; ; {
				page := into[list[contact]](f.do("GET", contactsPath+"?limit=1"+query+cursor, "").is(http.StatusOK))
				got = append(got, ids(page.Data)...)
				if page.Pagination.NextCursor == nil {
					break
				}
				cursor = "&cursor=" + *page.Pagination.NextCursor
			}
			if !slices.Equal(got, whole) {
				t.Errorf("%q: by pages %v, at once %v", query, got, whole)
			}
		}
		if got := ids(into[list[contact]](f.do("GET", contactsPath+"?limit=1&page=2&tag=lead", "")).Data); !slices.Equal(got, []uuid.UUID{first}) {
			t.Errorf("the second page is %v", got)
		}
	})
	t.Run("a parameter that cannot be is refused", func(t *testing.T) {
		for query, pointer := range map[string]string{
			"?phone=11900000001234567": "/phone", "?phone=": "/phone", "?tag=": "/tag", "?tag=%00": "/tag", "?tag=%ff": "/tag",
			"?tag=" + strings.Repeat("a", 101): "/tag", "?limit=0": "/limit",
		} {
			f.do("GET", contactsPath+query, "").refuses(http.StatusUnprocessableEntity, pointer)
		}
	})
	t.Run("a tag follows its contact", func(t *testing.T) {
		f.do("PATCH", contactsPath+"/"+third.String(), `{"tags":["lead"]}`).is(http.StatusOK)
		f.do("PATCH", contactsPath+"/"+second.String(), `{"tags":null}`).is(http.StatusOK)
		f.exec("UPDATE contacts SET merged_into = $2 WHERE id = $1", first, third)
		if got := ids(into[list[contact]](f.do("GET", contactsPath+"?tag=lead", "")).Data); !slices.Equal(got, []uuid.UUID{third}) {
			t.Errorf("the tag has %v, want %v", got, third)
		}
		f.exec("DELETE FROM contacts WHERE id = $1", third)
		if got := into[list[contact]](f.do("GET", contactsPath+"?tag=lead", "")); got.Pagination.Total != 0 {
			t.Errorf("the tag has %v", ids(got.Data))
		}
	})
}

func TestContacts_Get(t *testing.T) {
	t.Parallel()
	f := newInboxed(t)
	id := f.newContact(f.tenant, ", phone, custom_fields, owner_id, owner_name", `, '+5511900000001', '{"plano":"ouro"}', $3, 'Rafaela'`, uuid.Must(uuid.NewV7()))
	got := into[contact](f.do("GET", contactsPath+"/"+id.String(), "").is(http.StatusOK))
	if got.ID != id || got.Name != "Juliana" || *got.Phone != "+5511900000001" || got.CustomFields["plano"] != "ouro" || got.Owner.Name != "Rafaela" || got.Tags == nil {
		t.Errorf("is %+v", got)
	}
	t.Run("whoever turned out to be another is that other", func(t *testing.T) {
		second := f.newContact(f.tenant, ", merged_into", ", $3", id)
		first := f.newContact(f.tenant, ", merged_into", ", $3", second)
		if got := into[contact](f.do("GET", contactsPath+"/"+first.String(), "").is(http.StatusOK)); got.ID != id {
			t.Errorf("is %s, want %s", got.ID, id)
		}
		if got := into[contact](f.do("PATCH", contactsPath+"/"+first.String(), `{"name":"Ju"}`).is(http.StatusOK)); got.ID != id || got.Name != "Ju" {
			t.Errorf("changed %+v, want %s", got, id)
		}
	})
	t.Run("a contact of nobody, of another tenant, and what is no id are not found", func(t *testing.T) {
		theirs := f.newContact(uuid.Must(uuid.NewV7()), "", "")
		for _, id := range []string{theirs.String(), uuid.NewString(), "x", strings.ToUpper(theirs.String())} {
			f.do("GET", contactsPath+"/"+id, "").refuses(http.StatusNotFound)
			f.do("PATCH", contactsPath+"/"+id, `{"name":"Ju"}`).refuses(http.StatusNotFound)
		}
	})
	t.Run("another scope does not do", func(t *testing.T) {
		key := f.newKey(f.tenant, auth.ScopeWebhooksWrite, auth.ScopeWebhooksRead, auth.ScopeEventsWrite)
		for _, path := range []string{contactsPath, contactsPath + "/" + id.String(), conversationsPath, conversationsPath + "/" + id.String()} {
			f.do("GET", path, "", "Authorization", "Bearer "+key).refuses(http.StatusForbidden)
		}
	})
}

func TestContacts_Update(t *testing.T) {
	t.Parallel()
	t.Run("what changes is stored, audited and raised", func(t *testing.T) {
		t.Parallel()
		f := newInboxed(t)
		id := f.newContact(f.tenant, ", phone, tags", ", '+5511900000001', '{lead}'")
		f.exec("INSERT INTO contact_identities (value, kind, tenant_id, contact_id) VALUES ('BR.1', 'user_id', $1, $2)", f.tenant, id)
		owner := uuid.Must(uuid.NewV7())
		path := contactsPath + "/" + id.String()
		body := fmt.Sprintf(`{"name":"Ju","email":"ju@example.com","instagram":"ju","tags":["lead","vip"],"owner":{"id":"%s","name":"Rafaela"},
			"customFields":{"n":1.50,"plano":"ouro","ativo":true,"nada":null}}`, owner)
		got := into[contact](f.do("PATCH", path, body).is(http.StatusOK))
		if got.Name != "Ju" || *got.Email != "ju@example.com" || *got.Instagram != "ju" || !slices.Equal(got.Tags, []string{"lead", "vip"}) ||
			*got.Owner != (agent{owner, "Rafaela"}) || got.CustomFields["n"] != 1.5 || len(got.CustomFields) != 4 || *got.Phone != "+5511900000001" {
			t.Errorf("answers %+v", got)
		}
		if read := into[contact](f.do("GET", path, "")); read.Name != "Ju" || !read.UpdatedAt.Equal(got.UpdatedAt) || !read.UpdatedAt.After(read.CreatedAt) {
			t.Errorf("stored %+v", read)
		}
		events := f.raised()
		if len(events) != 1 || events[0].Type != "contact.updated" || events[0].Order != id.String() || events[0].Tenant != f.tenant {
			t.Fatalf("raised %+v", events)
		}
		e := events[0]
		previous, shown := e.Data["previous"].(map[string]any), e.Data["contact"].(map[string]any)
		if len(previous) != 6 || previous["name"] != "Juliana" || previous["owner"] != nil || shown["name"] != "Ju" || shown["id"] != id.String() {
			t.Errorf("the event is %v", e.Data)
		}
		if known, ok := shown["identities"].([]any); !ok || len(known) != 1 || known[0].(map[string]any)["value"] != "BR.1" {
			t.Errorf("she is known by %v", shown["identities"])
		}
		if by := e.Data["updatedBy"].(map[string]any); len(by) != 1 || by["type"] != "api" {
			t.Errorf("updated by %v", by)
		}
		if !e.At.Equal(got.UpdatedAt.Truncate(time.Millisecond)) {
			t.Errorf("the event is of %s, the change of %s", e.At, got.UpdatedAt)
		}
		entries := f.audit("")
		if len(entries) != 1 || entries[0].Action != "contact.updated" || entries[0].SubjectID != id.String() || entries[0].SubjectType != "contact" {
			t.Fatalf("audited %+v", entries)
		}
		// It outlives the erasure of the contact.
		for _, personal := range []string{"Ju", "ju@", "+55", "ouro"} {
			if text := string(entries[0].Before) + string(entries[0].After); strings.Contains(text, personal) {
				t.Errorf("the audit log has %q in %s", personal, text)
			}
		}
		if !strings.Contains(string(entries[0].After), `"changed":["customFields","email","instagram","name","owner","tags"]`) {
			t.Errorf("audited %s", entries[0].After)
		}
	})
	t.Run("null takes away, and gives the profile's name back", func(t *testing.T) {
		t.Parallel()
		f := newInboxed(t)
		for _, tc := range []struct{ columns, values, identity, want string }{
			{want: "Juliana"},
			{columns: ", instagram", values: ", 'ju.prado'", want: "ju.prado"},
			{columns: ", phone", values: ", '+5511900000001'", want: "+5511900000001"},
			{identity: "BR.123456", want: "WhatsApp 3456"},
			{want: "WhatsApp"},
		} {
			id := f.newContact(f.tenant, ", email, tags, owner_id, owner_name, custom_fields"+tc.columns, `, 'a@b.c', '{a}', gen_random_uuid(), 'R', '{"a":1}'`+tc.values)
			if tc.want != "Juliana" {
				f.exec("UPDATE contacts SET profile_name = NULL, name = 'By hand' WHERE id = $1", id)
			}
			if tc.identity != "" {
				f.exec("INSERT INTO contact_identities (value, kind, tenant_id, contact_id) VALUES ($1, 'user_id', $2, $3)", tc.identity, f.tenant, id)
			}
			body := `{"name":null,"email":null,"tags":null,"owner":null,"customFields":null}`
			got := into[contact](f.do("PATCH", contactsPath+"/"+id.String(), body).is(http.StatusOK))
			if got.Name != tc.want || got.Email != nil || len(got.Tags) != 0 || got.Tags == nil || got.Owner != nil || got.CustomFields == nil || len(got.CustomFields) != 0 {
				t.Errorf("answers %+v, want the name %q", got, tc.want)
			}
		}
	})
	t.Run("what changes nothing leaves no trace", func(t *testing.T) {
		t.Parallel()
		f := newInboxed(t)
		id := f.newContact(f.tenant, ", tags, custom_fields", `, '{lead}', '{"a":1.5}'`)
		path := contactsPath + "/" + id.String()
		before := f.do("GET", path, "").body
		for _, body := range []string{`{}`, `{"name":"Juliana"}`, `{"name":null}`, `{"email":null,"owner":null}`, `{"tags":["lead"]}`, `{"customFields":{"a": 1.50}}`} {
			if after := f.do("PATCH", path, body).is(http.StatusOK).body; string(after) != string(before) {
				t.Errorf("%s: %s, before %s", body, after, before)
			}
		}
		f.untouched()
	})
	t.Run("what cannot be is refused, with a pointer", func(t *testing.T) {
		t.Parallel()
		f := newInboxed(t)
		path := contactsPath + "/" + f.newContact(f.tenant, "", "").String()
		many := func(n int, of string) string {
			var all []string
			for i := range n {
				all = append(all, fmt.Sprintf(of, i))
			}
			return strings.Join(all, ",")
		}
		v7 := uuid.Must(uuid.NewV7()).String()
		for body, pointer := range map[string]string{
			`{"name":""}`: "/name", `{"name":" \t"}`: "/name", `{"name":"a\u0000"}`: "/name", `{"name":"` + strings.Repeat("ç", 201) + `"}`: "/name",
			`{"phone":"+5511900000001"}`: "/phone", `{"source":"whatsapp"}`: "/source", `{"name":1}`: "/name",
			`{"email":"ana"}`: "/email", `{"email":"@b"}`: "/email", `{"email":"a b@c"}`: "/email", `{"email":""}`: "/email", `{"email":"a@` + strings.Repeat("b", 254) + `"}`: "/email",
			`{"instagram":"@ju"}`: "/instagram", `{"instagram":"j u"}`: "/instagram", `{"instagram":""}`: "/instagram",
			`{"tags":["a","a"]}`: "/tags/1", `{"tags":["a",""]}`: "/tags/1", `{"tags":["a\n"]}`: "/tags/0", `{"tags":[` + many(101, `"t%d"`) + `]}`: "/tags",
			`{"tags":["` + strings.Repeat("a", 101) + `"]}`:          "/tags/0",
			`{"owner":{"id":"` + uuid.NewString() + `","name":"R"}}`: "/owner/id", `{"owner":{"name":"R"}}`: "/owner/id", `{"owner":{"id":"` + v7 + `"}}`: "/owner/name",
			`{"owner":{"id":"` + v7 + `","name":"R","x":1}}`: "/owner/x", `{"owner":{"id":"x","name":"R"}}`: "/owner/id",
			`{"customFields":[]}`: "/customFields", `{"customFields":1}`: "/customFields", `{"customFields":{"id":9007199254740993}}`: "/customFields/id",
			`{"customFields":{"n":1e999}}`: "/customFields/n", `{"customFields":{"a":{}}}`: "/customFields/a", `{"customFields":{"a":[]}}`: "/customFields/a",
			`{"customFields":{"":1}}`: "/customFields", `{"customFields":{"` + strings.Repeat("k", 65) + `":1}}`: "/customFields", `{"customFields":{"a\u0000":1}}`: "/customFields",
			`{"customFields":{"a":"` + strings.Repeat("ç", 1001) + `"}}`: "/customFields/a", `{"customFields":{"a":"\u0000"}}`: "/customFields/a",
			`{"customFields":{` + many(101, `"k%d":1`) + `}}`:                                  "/customFields",
			`{"customFields":{` + many(90, `"k%d":"`+strings.Repeat("ç", 500)+`"`) + `}}`:      "/customFields",
			`{"customFields":{"` + strings.Repeat("k", 2000) + `":{}}}`:                        "/customFields",
			`{"customFields":{"a":` + strings.Repeat(`[`, 70) + strings.Repeat(`]`, 70) + `}}`: "/customFields/a" + strings.Repeat("/0", 14),
		} {
			f.do("PATCH", path, body).refuses(http.StatusUnprocessableEntity, pointer)
		}
		f.do("PATCH", path, `{"customFields":{"a\tb":1,"c":{},"d":[]}}`).refuses(http.StatusUnprocessableEntity, "/customFields", "/customFields/c", "/customFields/d")
		f.untouched()
	})
	t.Run("the fullest contact has room in an event", func(t *testing.T) {
		t.Parallel()
		f := newInboxed(t)
		path := contactsPath + "/" + f.newContact(f.tenant, "", "").String()
		full := func(letter string) string {
			var tags []string
			fields := map[string]string{}
			for i := range 100 {
				tags = append(tags, fmt.Sprintf("%s%03d", strings.Repeat(letter, 97), i))
			}
			for i := range 30 {
				fields[fmt.Sprintf("k%d", i)] = strings.Repeat(letter, 500)
			}
			text, err := json.Marshal(map[string]any{
				"name": strings.Repeat(letter, 200), "email": strings.Repeat(letter, 250) + "@b", "instagram": strings.Repeat(letter, 100), "tags": tags, "customFields": fields,
			})
			f.check(err)
			return string(text)
		}
		f.do("PATCH", path, full("😀")).is(http.StatusOK)
		f.do("PATCH", path, full("😊")).is(http.StatusOK)
		if got := f.raised(); len(got) != 2 {
			t.Errorf("raised %d events", len(got))
		}
	})
	t.Run("a user is named as one, by an id only where it is as ids of events are", func(t *testing.T) {
		t.Parallel()
		f := newInboxed(t)
		user := uuid.Must(uuid.NewV7()).String()
		for name, subject := range map[string]string{"Ana": user, "Bia": uuid.NewString(), "Eva": "joana"} {
			id := f.newContact(f.tenant, "", "")
			f.do("PATCH", contactsPath+"/"+id.String(), `{"name":"`+name+`"}`, "Authorization", "Bearer "+f.token(f.tenant, subject)).is(http.StatusOK)
		}
		for _, e := range f.raised() {
			by := e.Data["updatedBy"].(map[string]any)
			want := any(nil)
			if e.Data["contact"].(map[string]any)["name"] == "Ana" {
				want = user
			}
			if by["type"] != "user" || by["id"] != want {
				t.Errorf("%v is updated by %v", e.Data["contact"], by)
			}
		}
	})
	t.Run("two changes at once lose neither's", func(t *testing.T) {
		t.Parallel()
		f := newInboxed(t)
		id := f.newContact(f.tenant, "", "")
		path := contactsPath + "/" + id.String()
		done := make(chan answer, 2)
		for _, body := range []string{`{"email":"ju@example.com"}`, `{"instagram":"ju"}`} {
			go func() { done <- f.do("PATCH", path, body) }()
		}
		(<-done).is(http.StatusOK)
		(<-done).is(http.StatusOK)
		if got := into[contact](f.do("GET", path, "")); got.Email == nil || got.Instagram == nil {
			t.Errorf("is %+v", got)
		}
		events := f.raised()
		if len(events) != 2 || events[1].Data["contact"].(map[string]any)["email"] == nil || events[1].Data["contact"].(map[string]any)["instagram"] == nil || events[1].At.Before(events[0].At) {
			t.Errorf("raised %+v", events)
		}
	})
}

// ahead is a transaction that holds a contact's lock and has raised an event of it,
// as an inbound message does, and is not done.
func (f *inboxed) ahead(id uuid.UUID) (commit func()) {
	f.Helper()
	tx, err := f.super.Pool().Begin(f.Context())
	f.check(err)
	f.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(f.Context())) }) // where the test ends before
	_, err = tx.Exec(f.Context(), "SELECT FROM contacts WHERE id = $1 FOR UPDATE", id)
	f.check(err)
	_, err = tx.Exec(f.Context(), `INSERT INTO outbox (tenant_id, event_id, event_type, day, body, conversation)
		VALUES ($1, 'ahead', 'contact.updated', current_date, $2, $3)`, f.tenant, aheadBody(f.T), id.String())
	f.check(err)
	return func() { f.Helper(); f.check(tx.Commit(f.Context())) }
}

// aheadBody is the catalog's example.
func aheadBody(t *testing.T) []byte {
	t.Helper()
	definition, _ := event.Lookup(event.ContactUpdated)
	return definition.Example
}

// waiting waits until a session waits for a lock.
func (f *inboxed) waiting(answered <-chan answer) {
	f.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		var n int
		f.check(f.super.Pool().QueryRow(f.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'").Scan(&n))
		if n > 0 {
			return
		}
		select {
		case a := <-answered:
			f.Fatalf("answered %d before the transaction ahead of it was done", a.status)
		default:
			if time.Now().After(deadline) {
				f.Fatal("no session waits for a lock")
			}
		}
	}
}

// TestCRM_OrderOfEvents shows that an event which another transaction inserted first
// and commits last stays the first: ids of the outbox are given at once, and rows are
// published as they commit.
func TestCRM_OrderOfEvents(t *testing.T) {
	t.Parallel()
	f := newInboxed(t)
	for _, tc := range []struct{ name, method, path, body, typ string }{
		{"of a changed contact", "PATCH", contactsPath + "/{contact}", `{"name":"Ju"}`, "contact.updated"},
		{"of a changed conversation", "PATCH", conversationsPath + "/{conversation}", `{"status":"pending"}`, "conversation.updated"},
		{"of a closed conversation", "POST", conversationsPath + "/{conversation}/close", ``, "conversation.closed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f.exec("DELETE FROM outbox")
			with := f.newContact(f.tenant, "", "")
			conversation := f.newConversation(with, uuid.Must(uuid.NewV7()), "open")
			path := strings.NewReplacer("{contact}", with.String(), "{conversation}", conversation.String()).Replace(tc.path)
			commit := f.ahead(with)
			answered := make(chan answer, 1)
			go func() { answered <- f.do(tc.method, path, tc.body) }()
			f.waiting(answered)
			if got := f.raised(); len(got) > 0 {
				t.Errorf("raised ahead of its turn: %+v", got)
			}
			commit()
			(<-answered).is(http.StatusOK)
			got := f.raised()
			if len(got) != 2 || got[1].Type != tc.typ || got[1].Order != with.String() {
				t.Errorf("raised %+v", got)
			}
		})
	}
}
