package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/services/api"
)

func TestWebhooks_Create(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	a := f.do("POST", hooksPath, `{"name":"CRM","url":"https://hooks.example.com/crm?x=1","events":["deal.moved","message.*"],
		"description":"ours","headers":{"X-Token":"s3cret","Authorization":"Bearer x"},"retry":{"delaysSeconds":[1,86400]},"active":false}`).is(http.StatusCreated)
	created := into[hook](a)
	if got := a.header.Get("Location"); got != hooksPath+"/"+created.ID.String() {
		t.Errorf("Location %q", got)
	}
	if !strings.HasPrefix(created.Secret, "whsec_") || created.SecretHint != "whsec_…"+created.Secret[len(created.Secret)-4:] {
		t.Errorf("secret %q, hint %q", created.Secret, created.SecretHint)
	}
	if created.ID.Version() != 7 {
		t.Errorf("id %s is no UUIDv7", created.ID)
	}
	read := f.do("GET", a.header.Get("Location"), "").is(http.StatusOK)
	want := fmt.Sprintf(`{"active":false,"createdAt":%q,"description":"ours","disabledAt":null,"disabledReason":null,`+
		`"events":["deal.moved","message.*"],"filter":null,"headers":{"Authorization":"••••","X-Token":"••••"},"id":%q,"name":"CRM",`+
		`"operational":false,"rate":null,"retry":{"autoRecover":true,"delaysSeconds":[1,86400]},"secretHint":%q,"updatedAt":%q,"url":"https://hooks.example.com/crm?x=1"}`,
		created.CreatedAt.Format("2006-01-02T15:04:05.999999Z07:00"), created.ID, created.SecretHint, created.UpdatedAt.Format("2006-01-02T15:04:05.999999Z07:00"))
	if got := strings.TrimSpace(string(read.body)); got != want {
		t.Errorf("reads as\n%s\nwant\n%s", got, want)
	}

	// What a worker will read.
	row := f.row(created.ID)
	if got := f.unseal(row, row.Secret, "secret"); got != created.Secret {
		t.Errorf("sealed secret %q, want %q", got, created.Secret)
	}
	if got := f.unseal(row, row.Headers, "headers"); got != `[{"name":"Authorization","value":"Bearer x"},{"name":"X-Token","value":"s3cret"}]` {
		t.Errorf("sealed headers %s", got)
	}
}

func (f *fixture) row(id uuid.UUID) db.Webhook {
	f.Helper()
	row, err := f.worker.Queries().GetWebhook(f.Context(), id)
	f.check(err)
	return row
}

func (f *fixture) unseal(row db.Webhook, sealed []byte, purpose string) string {
	f.Helper()
	plain, err := f.vault.Unseal(sealed, vault.Binding{Tenant: row.TenantID, Table: "webhooks", Row: row.ID.String(), Purpose: purpose})
	f.check(err)
	return string(plain)
}

func TestWebhooks_Defaults(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	for _, fields := range []string{"", `,"active":null,"description":null,"headers":null,"retry":null,"secret":null`, `,"retry":{"delaysSeconds":null,"autoRecover":null}`, `,"retry":{}`} {
		h := f.newHook(fields)
		if !h.Active || h.Description != "" || len(h.Headers) > 0 || !slices.Equal(h.Retry.DelaysSeconds, []int{1, 5, 15}) || !h.Retry.AutoRecover {
			t.Errorf("with %s: %+v", fields, h)
		}
	}
	const custom = "a secret of our own"
	if h := f.newHook(`,"secret":"` + custom + `","retry":{"delaysSeconds":[]}`); h.Secret != custom || len(h.Retry.DelaysSeconds) != 0 {
		t.Errorf("got secret %q, delays %v", h.Secret, h.Retry.DelaysSeconds)
	}
}

func TestWebhooks_Replace(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook(`,"description":"x","headers":{"X-A":"1","X-B":"2"},"retry":{"delaysSeconds":[9],"autoRecover":false},"active":false`)
	path := hooksPath + "/" + h.ID.String()
	if h.Retry.AutoRecover {
		t.Error("autoRecover false was not kept")
	}
	got := into[hook](f.do("PUT", path, `{"name":"new","url":"https://other.example.com/","events":["*"]}`).is(http.StatusOK))
	if got.Name != "new" || got.URL != "https://other.example.com/" || !slices.Equal(got.Events, []string{"*"}) || got.Description != "" ||
		len(got.Headers) > 0 || !got.Active || !slices.Equal(got.Retry.DelaysSeconds, []int{1, 5, 15}) || !got.Retry.AutoRecover {
		t.Errorf("what was absent did not take its default: %+v", got)
	}
	if got.Secret != "" || got.SecretHint != h.SecretHint || !got.UpdatedAt.After(h.UpdatedAt) {
		t.Errorf("secret %q, hint %q, updated %s", got.Secret, got.SecretHint, got.UpdatedAt)
	}
	row := f.row(h.ID)
	if f.unseal(row, row.Secret, "secret") != h.Secret || row.Headers != nil {
		t.Error("the secret did not stay, or the headers did")
	}
}

func TestWebhooks_Merge(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook(`,"description":"x","headers":{"X-A":"1","X-B":"2"},"retry":{"delaysSeconds":[9]},"active":false`)
	path := hooksPath + "/" + h.ID.String()
	for _, tc := range []struct {
		name, patch string
		ok          func(before, after hook) bool
	}{
		{name: "nothing changes nothing", patch: `{}`, ok: func(b, a hook) bool {
			return a.Name == b.Name && a.URL == b.URL && slices.Equal(a.Events, b.Events) && a.Description == b.Description && a.Active == b.Active &&
				len(a.Headers) == 2 && a.Retry.DelaysSeconds[0] == 9
		}},
		{name: "one field alone", patch: `{"name":"n"}`, ok: func(b, a hook) bool { return a.Name == "n" && a.URL == b.URL && a.Description == "x" && !a.Active }},
		{name: "events", patch: `{"events":["message.*"]}`, ok: func(_, a hook) bool { return slices.Equal(a.Events, []string{"message.*"}) }},
		{name: "url", patch: `{"url":"http://127.0.0.1:9/x"}`, ok: func(_, a hook) bool { return a.URL == "http://127.0.0.1:9/x" }},
		{name: "null clears a description", patch: `{"description":null}`, ok: func(_, a hook) bool { return a.Description == "" }},
		{name: "null makes active the default", patch: `{"active":null}`, ok: func(_, a hook) bool { return a.Active }},
		{name: "false is a value", patch: `{"active":false}`, ok: func(_, a hook) bool { return !a.Active }},
		{name: "null makes the schedule the default", patch: `{"retry":null}`, ok: func(_, a hook) bool { return slices.Equal(a.Retry.DelaysSeconds, []int{1, 5, 15}) }},
		{name: "no recovery", patch: `{"retry":{"autoRecover":false}}`, ok: func(_, a hook) bool { return !a.Retry.AutoRecover }},
		{name: "null makes recovery the default", patch: `{"retry":{"autoRecover":null}}`, ok: func(_, a hook) bool { return a.Retry.AutoRecover }},
		{name: "a secret", patch: `{"secret":"0123456789abcdef"}`, ok: func(_, a hook) bool { return a.SecretHint == "…cdef" && a.Secret == "" }},
		{name: "null clears the headers", patch: `{"headers":null}`, ok: func(_, a hook) bool { return len(a.Headers) == 0 }},
	} {
		before := into[hook](f.do("GET", path, ""))
		if after := into[hook](f.do("PATCH", path, tc.patch).is(http.StatusOK)); !tc.ok(before, after) {
			t.Errorf("%s: %+v became %+v", tc.name, before, after)
		}
	}
	row := f.row(h.ID)
	if got := f.unseal(row, row.Secret, "secret"); got != "0123456789abcdef" {
		t.Errorf("sealed secret %q", got)
	}
}

func TestWebhooks_MaskedHeaders(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook(`,"headers":{"X-A":"1","X-B":"2"}`)
	path := hooksPath + "/" + h.ID.String()
	for _, tc := range []struct{ name, method, body, sealed string }{
		{name: "a mask keeps the value, what is left out goes", method: "PATCH", body: `{"headers":{"X-A":"••••","X-C":"3"}}`, sealed: `[{"name":"X-A","value":"1"},{"name":"X-C","value":"3"}]`},
		{name: "whatever the case of its name", method: "PATCH", body: `{"headers":{"x-a":"••••","X-C":"4"}}`, sealed: `[{"name":"X-C","value":"4"},{"name":"x-a","value":"1"}]`},
		{name: "PUT keeps by mask too", method: "PUT", body: `{"name":"n","url":"https://x.example","events":["*"],"headers":{"X-C":"••••"}}`, sealed: `[{"name":"X-C","value":"4"}]`},
		{name: "other fields leave them alone", method: "PATCH", body: `{"name":"m"}`, sealed: `[{"name":"X-C","value":"4"}]`},
	} {
		f.do(tc.method, path, tc.body).is(http.StatusOK)
		row := f.row(h.ID)
		if got := f.unseal(row, row.Headers, "headers"); got != tc.sealed {
			t.Errorf("%s: sealed %s, want %s", tc.name, got, tc.sealed)
		}
	}
	f.do("PATCH", path, `{"headers":{"X-New":"••••"}}`).refuses(422, "/headers/X-New")
	f.do("POST", hooksPath, `{"name":"n","url":"https://x.example","events":["*"],"headers":{"X-C":"••••"}}`).refuses(422, "/headers/X-C")
}

// disable does to a webhook what a worker does to one whose deliveries fail.
func (f *fixture) disable(h hook) {
	f.Helper()
	worker := f.open("worker").Pool()
	_, err := worker.Exec(f.Context(), "UPDATE webhooks SET active = false, disabled_at = now(), disabled_reason = 'failing' WHERE id = $1", h.ID)
	f.check(err)
	_, err = worker.Exec(f.Context(), `INSERT INTO webhook_health (webhook_id, tenant_id, exhausted, failing_since, level, told, gone_generation, down)
		VALUES ($1, $2, 20, now() - interval '1 day', 100, 100, 7, true)
		ON CONFLICT (webhook_id) DO UPDATE SET exhausted = 20, failing_since = excluded.failing_since, level = 100, told = 100, gone_generation = 7`, h.ID, f.tenant)
	f.check(err)
}

// streak is what stands of a webhook's health.
func (f *fixture) streak(h hook) (streak string) {
	f.Helper()
	f.check(f.open("worker").Pool().QueryRow(f.Context(), `SELECT concat_ws(' ', exhausted, failing_since IS NULL, level, told, gone_generation, down)
		FROM webhook_health WHERE webhook_id = $1`, h.ID).Scan(&streak))
	return streak
}

// newStreak is that of a webhook that was disabled and is active again.
const newStreak = "0 t 0 0 t"

func TestWebhooks_ActiveLiftsDisable(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook("")
	path := hooksPath + "/" + h.ID.String()
	for method, body := range map[string]string{
		"PATCH": `{"active":true}`, "PUT": `{"name":"n","url":"https://x.example","events":["*"]}`,
	} {
		f.disable(h)
		if got := into[hook](f.do("PATCH", path, `{"name":"before `+method+`"}`).is(http.StatusOK)); got.Active || got.DisabledAt == nil || *got.DisabledReason != "failing" {
			t.Errorf("another change lifted the disable: %+v", got)
		}
		if got := f.streak(h); got == newStreak {
			t.Error("another change started a new streak")
		}
		if got := into[hook](f.do(method, path, body).is(http.StatusOK)); !got.Active || got.DisabledAt != nil || got.DisabledReason != nil {
			t.Errorf("%s with active did not lift the disable: %+v", method, got)
		}
		if got := f.streak(h); got != newStreak {
			t.Errorf("%s with active leaves the streak %q, want %q", method, got, newStreak)
		}
	}
}

func TestWebhooks_Enable(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook("")
	path := hooksPath + "/" + h.ID.String()
	f.rows(h, 0)
	f.disable(h)
	open := func() (open bool) {
		f.check(f.open("worker").Pool().QueryRow(t.Context(), `INSERT INTO webhook_lanes (webhook_id, tenant_id, next_due_at, blocked_until)
			VALUES ($1, $2, now(), 'infinity') ON CONFLICT (webhook_id) DO UPDATE SET next_due_at = now() RETURNING blocked_until < now()`,
			h.ID, f.tenant).Scan(&open))
		return open
	}
	if open() {
		t.Fatal("the lane is open while the webhook is disabled: this test proves nothing")
	}
	before := f.row(h.ID)
	got := into[hook](f.do("POST", path+"/enable", "").is(http.StatusOK))
	if !got.Active || got.DisabledAt != nil || got.DisabledReason != nil || !got.UpdatedAt.After(before.UpdatedAt) {
		t.Errorf("enabled, it is %+v", got)
	}
	if after := f.row(h.ID); after.Generation <= before.Generation {
		t.Error("workers do not see that it is active again")
	}
	if got := f.streak(h); got != newStreak {
		t.Errorf("the streak is %q, want %q", got, newStreak)
	}
	if !open() {
		t.Error("its lane stays shut")
	}
	audited := f.audit("?action=webhook.enabled")
	if len(audited) != 1 || audited[0].SubjectID != h.ID.String() || !strings.HasPrefix(audited[0].Actor, "key:") {
		t.Fatalf("the audit log has %+v", audited)
	}
	for state, want := range map[*json.RawMessage]bool{&audited[0].Before: false, &audited[0].After: true} {
		var shown hook
		if err := json.Unmarshal(*state, &shown); err != nil || shown.Active != want || (shown.DisabledAt == nil) != want {
			t.Errorf("the audit log shows %s, want active %t", *state, want)
		}
	}

	// An active one stays as it is.
	row := f.row(h.ID)
	f.do("POST", path+"/enable", "").is(http.StatusOK)
	if again := f.row(h.ID); again.Generation != row.Generation || len(f.audit("?action=webhook.enabled")) != 1 {
		t.Error("enabling an active webhook changed it")
	}
	stranger := "Bearer " + f.newKey(uuid.Must(uuid.NewV7()), auth.ScopeWebhooksWrite)
	f.do("POST", path+"/enable", "", "Authorization", stranger).refuses(http.StatusNotFound)
	f.do("POST", hooksPath+"/not-an-id/enable", "").refuses(http.StatusNotFound)
	f.do("DELETE", path, "").is(http.StatusNoContent)
	f.do("POST", path+"/enable", "").refuses(http.StatusNotFound)
}

func TestWebhooks_Operational(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook(`,"operational":true`)
	path := hooksPath + "/" + h.ID.String()
	if !h.Operational || f.newHook("").Operational || f.newHook(`,"operational":null`).Operational {
		t.Error("operational is not as it was asked for")
	}
	for _, step := range []struct {
		method, body string
		want         bool
	}{
		{"GET", "", true},
		{"PATCH", `{"name":"n"}`, true},
		{"PATCH", `{"operational":false}`, false},
		{"PATCH", `{"operational":true}`, true},
		{"PATCH", `{"operational":null}`, false},
		{"PUT", `{"name":"n","url":"https://x.example","events":["*"],"operational":true}`, true},
		{"PUT", `{"name":"n","url":"https://x.example","events":["*"]}`, false},
	} {
		if got := into[hook](f.do(step.method, path, step.body).is(http.StatusOK)); got.Operational != step.want {
			t.Errorf("%s %s: operational %t, want %t", step.method, step.body, got.Operational, step.want)
		}
	}
	f.do("PATCH", path, `{"operational":"yes"}`).refuses(422, "/operational")

	// Their names may be subscribed to by any webhook, and it is found by them.
	f.do("PATCH", path, `{"name":"by name","events":["webhook.failing"]}`).is(http.StatusOK)
	f.do("PATCH", hooksPath+"/"+f.newHook(`,"operational":true`).ID.String(), `{"name":"operational","events":["*"]}`).is(http.StatusOK)
	f.do("PATCH", hooksPath+"/"+f.newHook("").ID.String(), `{"name":"not operational","events":["webhook.*","*"]}`).is(http.StatusOK)

	// One that would get nothing at all is a slip.
	f.do("POST", hooksPath, `{"name":"n","url":"https://x.example","events":["webhook.*"]}`).refuses(422, "/events")
	f.do("PATCH", path, `{"events":["webhook.*"]}`).refuses(422, "/events")
	f.do("PATCH", path, `{"events":["webhook.*"],"operational":true}`).is(http.StatusOK)
	f.do("PATCH", path, `{"operational":false}`).refuses(422, "/events")
	f.do("PATCH", path, `{"events":["webhook.failing"],"operational":false}`).is(http.StatusOK)

	var names []string
	for _, h := range into[list[hook]](f.do("GET", hooksPath+"?event=webhook.failing", "").is(http.StatusOK)).Data {
		names = append(names, h.Name)
	}
	if want := []string{"operational", "by name"}; !slices.Equal(names, want) {
		t.Errorf("event=webhook.failing lists %v, want %v", names, want)
	}
}

func TestWebhooks_SecretChangeEndsGrace(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook("")
	_, err := f.open("superuser").Pool().Exec(t.Context(), "UPDATE webhooks SET previous_secret = 'old', previous_secret_until = now() + interval '1 day' WHERE id = $1", h.ID)
	f.check(err)
	path := hooksPath + "/" + h.ID.String()
	f.do("PATCH", path, `{"name":"n"}`).is(http.StatusOK)
	if row := f.row(h.ID); row.PreviousSecret == nil || row.PreviousSecretUntil == nil {
		t.Error("another change ended the grace")
	}
	f.do("PATCH", path, `{"secret":"0123456789abcdef"}`).is(http.StatusOK)
	if row := f.row(h.ID); row.PreviousSecret != nil || row.PreviousSecretUntil != nil {
		t.Error("a new secret left the grace of an older one")
	}
}

func TestWebhooks_Delete(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	path := hooksPath + "/" + f.newHook("").ID.String()
	f.do("DELETE", path, "").is(http.StatusNoContent)
	for _, method := range []string{"GET", "DELETE", "PATCH"} {
		f.do(method, path, "{}").refuses(http.StatusNotFound)
	}
	f.do("GET", path+"/logs", "").refuses(http.StatusNotFound)
	if got := into[list[hook]](f.do("GET", hooksPath, "")); got.Pagination.Total != 0 {
		t.Errorf("a deleted webhook is listed: %+v", got)
	}
}

func TestWebhooks_List(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	var ids []uuid.UUID // newest first
	for i := range 5 {
		ids = slices.Insert(ids, 0, f.newHook(fmt.Sprintf(`,"active":%t`, i%2 == 0)).ID)
	}
	idsOf := func(a answer) []uuid.UUID {
		t.Helper()
		var got []uuid.UUID
		for _, h := range into[list[hook]](a.is(http.StatusOK)).Data {
			got = append(got, h.ID)
		}
		return got
	}
	if got := idsOf(f.do("GET", hooksPath, "")); !slices.Equal(got, ids) {
		t.Errorf("all: %v, want %v", got, ids)
	}
	second := into[list[hook]](f.do("GET", hooksPath+"?limit=2&page=2", ""))
	p := second.Pagination
	if second.Data[0].ID != ids[2] || p.Page != 2 || p.Limit != 2 || p.Total != 5 || p.TotalPages != 3 || p.TotalIsCapped || p.NextCursor == nil {
		t.Errorf("page 2: %+v", second)
	}
	f.newHook("") // the cursor is not moved by what comes before it
	last := into[list[hook]](f.do("GET", hooksPath+"?limit=2&cursor="+*p.NextCursor, ""))
	if len(last.Data) != 1 || last.Data[0].ID != ids[4] || last.Pagination.NextCursor != nil || last.Pagination.Page != 0 {
		t.Errorf("after the cursor: %+v", last)
	}
	if got := idsOf(f.do("GET", hooksPath+"?active=false", "")); !slices.Equal(got, []uuid.UUID{ids[1], ids[3]}) {
		t.Errorf("inactive: %v", got)
	}
	f.do("GET", hooksPath+"?limit=101&page=0&active=maybe&event=x", "").refuses(422, "/limit", "/page", "/active", "/event")
	f.do("GET", hooksPath+"?cursor=x", "").refuses(422, "/cursor")
	f.do("GET", hooksPath+"?actve=true", "").refuses(422, "/actve")
	f.do("GET", hooksPath+"?active=true&active=false", "").refuses(422, "/active")
	f.do("GET", hooksPath+"?active=%zz", "").refuses(400)
}

func TestWebhooks_ListByEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	for _, events := range []string{`"deal.moved"`, `"deal.*"`, `"*"`, `"deal.created"`, `"message.sent","deal.moved"`} {
		f.do("POST", hooksPath, `{"name":"`+strings.ReplaceAll(events, `"`, "")+`","url":"https://x.example","events":[`+events+`]}`).is(http.StatusCreated)
	}
	for filter, want := range map[string][]string{
		"deal.moved":   {"message.sent,deal.moved", "*", "deal.*", "deal.moved"},
		"deal.*":       {"*", "deal.*"},
		"*":            {"*"},
		"message.sent": {"message.sent,deal.moved", "*"},
	} {
		var got []string
		for _, h := range into[list[hook]](f.do("GET", hooksPath+"?event="+filter, "").is(http.StatusOK)).Data {
			got = append(got, h.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("event=%s lists %v, want %v", filter, got, want)
		}
	}
}

func TestWebhooks_Tenancy(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	id := f.newHook("").ID.String()
	stranger := uuid.Must(uuid.NewV7())
	strange := "Bearer " + f.newKey(stranger, auth.ScopeWebhooksRead, auth.ScopeWebhooksWrite)
	platform := "Bearer " + f.newKey(stranger, auth.ScopeWebhooksRead, auth.ScopeWebhooksWrite, auth.ScopePlatform)
	whole := `{"name":"n","url":"https://x.example","events":["*"]}`
	for _, r := range []struct{ method, path, body string }{
		{"GET", "", ""}, {"PUT", "", whole}, {"PATCH", "", `{}`}, {"DELETE", "", ""}, {"GET", "/logs", ""}, {"GET", "/queue", ""},
		{"POST", "/test", ""}, {"POST", "/queue/" + uuid.NewString() + "/retry", ""}, {"DELETE", "/queue/" + uuid.NewString(), ""},
	} {
		f.do(r.method, hooksPath+"/"+id+r.path, r.body, "Authorization", strange).refuses(http.StatusNotFound)
		f.do(r.method, hooksPath+"/"+uuid.NewString()+r.path, r.body).refuses(http.StatusNotFound)
		f.do(r.method, hooksPath+"/not-an-id"+r.path, r.body).refuses(http.StatusNotFound)
		f.do(r.method, hooksPath+"/urn:uuid:"+id+r.path, r.body).refuses(http.StatusNotFound)
	}
	if got := into[list[hook]](f.do("GET", hooksPath, "", "Authorization", strange)); got.Pagination.Total != 0 {
		t.Errorf("another tenant's webhooks are listed: %+v", got)
	}
	f.do("GET", hooksPath, "", "Authorization", strange, "X-Tenant-Id", f.tenant.String()).refuses(http.StatusForbidden)
	f.do("GET", hooksPath+"/"+id, "", "Authorization", platform).refuses(http.StatusNotFound)
	f.do("GET", hooksPath+"/"+id, "", "Authorization", platform, "X-Tenant-Id", f.tenant.String()).is(http.StatusOK)
	made := into[hook](f.do("POST", hooksPath, whole, "Authorization", platform, "X-Tenant-Id", f.tenant.String()).is(http.StatusCreated))
	f.do("GET", hooksPath+"/"+made.ID.String(), "").is(http.StatusOK)
}

func TestWebhooks_Refusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.AllowHTTP, c.AllowCIDRs = false, nil })
	id := f.newHook("").ID.String()
	with := func(fields string) string {
		whole := map[string]json.RawMessage{"name": json.RawMessage(`"n"`), "url": json.RawMessage(`"https://x.example"`), "events": json.RawMessage(`["*"]`)}
		var more map[string]json.RawMessage
		f.check(json.Unmarshal([]byte(fields), &more))
		maps.Copy(whole, more)
		body, err := json.Marshal(whole)
		f.check(err)
		return string(body)
	}
	many := func(n int, value string) string {
		var headers []string
		for i := range n {
			headers = append(headers, fmt.Sprintf(`"X-%d":%s`, i, value))
		}
		return "{" + strings.Join(headers, ",") + "}"
	}
	for _, tc := range []struct {
		name, body string
		status     int
		pointers   []string
	}{
		{name: "malformed JSON", body: `{"name":`, status: 400, pointers: []string{"/name"}},
		{name: "no JSON at all", body: `name=x`, status: 400},
		{name: "an empty body", body: ``, status: 400},
		{name: "two documents", body: with(`{}`) + with(`{}`), status: 400},
		{name: "an array", body: `[]`, status: 422, pointers: []string{""}},
		{name: "everything missing", body: `{}`, status: 422, pointers: []string{"/name", "/url", "/events"}},
		{name: "required fields null", body: `{"name":null,"url":null,"events":null}`, status: 422, pointers: []string{"/name", "/url", "/events"}},
		{name: "an unknown field", body: with(`{"nam":"x"}`), status: 422, pointers: []string{"/nam"}},
		{name: "a wrong type", body: with(`{"active":"yes"}`), status: 422, pointers: []string{"/active"}},
		{name: "an integer beyond 2^53", body: with(`{"retry":{"delaysSeconds":[9007199254740993]}}`), status: 422, pointers: []string{"/retry/delaysSeconds/0"}},
		{name: "1e400", body: with(`{"retry":{"delaysSeconds":[1e400]}}`), status: 422, pointers: []string{"/retry/delaysSeconds/0"}},
		{name: "100 000 levels", body: `{"name":` + strings.Repeat("[", 100_000), status: 422, pointers: []string{"/name" + strings.Repeat("/0", 15)}},
		{name: "more than 1 MiB", body: `{"name":"` + strings.Repeat("x", 1<<20) + `"}`, status: 413},
		{name: "an empty name", body: with(`{"name":" "}`), status: 422, pointers: []string{"/name"}},
		{name: "a name of 201 characters", body: with(`{"name":"` + strings.Repeat("ã", 201) + `"}`), status: 422, pointers: []string{"/name"}},
		{name: "a name with NUL", body: with(`{"name":"a\u0000b"}`), status: 422, pointers: []string{"/name"}},
		{name: "a description with NUL", body: with(`{"description":"a\u0000b"}`), status: 422, pointers: []string{"/description"}},
		{name: "a description too long", body: with(`{"description":"` + strings.Repeat("x", 2001) + `"}`), status: 422, pointers: []string{"/description"}},
		{name: "no events", body: with(`{"events":[]}`), status: 422, pointers: []string{"/events"}},
		{name: "unknown and repeated events", body: with(`{"events":["deal.moved","deal.lost","deal.moved","deals.*","","de*"]}`), status: 422, pointers: []string{"/events/1", "/events/2", "/events/3", "/events/4", "/events/5"}},
		{name: "an event that is no string", body: with(`{"events":["*",1]}`), status: 422, pointers: []string{"/events/1"}},
		{name: "ftp", body: with(`{"url":"ftp://x.example/"}`), status: 422, pointers: []string{"/url"}},
		{name: "file", body: with(`{"url":"file:///etc/passwd"}`), status: 422, pointers: []string{"/url"}},
		{name: "plain http", body: with(`{"url":"http://x.example/"}`), status: 422, pointers: []string{"/url"}},
		{name: "no host", body: with(`{"url":"https:///x"}`), status: 422, pointers: []string{"/url"}},
		{name: "no URL", body: with(`{"url":"x.example"}`), status: 422, pointers: []string{"/url"}},
		{name: "credentials", body: with(`{"url":"https://user:pass@x.example/"}`), status: 422, pointers: []string{"/url"}},
		{name: "a loopback address", body: with(`{"url":"https://127.0.0.1/"}`), status: 422, pointers: []string{"/url"}},
		{name: "a private address", body: with(`{"url":"https://10.1.2.3/"}`), status: 422, pointers: []string{"/url"}},
		{name: "the metadata address", body: with(`{"url":"https://169.254.169.254/latest"}`), status: 422, pointers: []string{"/url"}},
		{name: "a mapped address", body: with(`{"url":"https://[::ffff:10.0.0.1]/"}`), status: 422, pointers: []string{"/url"}},
		{name: "an address as one number", body: with(`{"url":"https://2130706433/"}`), status: 422, pointers: []string{"/url"}},
		{name: "localhost", body: with(`{"url":"https://localhost/"}`), status: 422, pointers: []string{"/url"}},
		{name: "a URL of more than 2048 bytes", body: with(`{"url":"https://x.example/` + strings.Repeat("x", 2048) + `"}`), status: 422, pointers: []string{"/url"}},
		{name: "a short secret", body: with(`{"secret":"short"}`), status: 422, pointers: []string{"/secret"}},
		{name: "a secret that is not ASCII", body: with(`{"secret":"çççççççççççççççç"}`), status: 422, pointers: []string{"/secret"}},
		{name: "whsec_ without base64", body: with(`{"secret":"whsec_not base64 at all"}`), status: 422, pointers: []string{"/secret"}},
		{name: "13 delays", body: with(`{"retry":{"delaysSeconds":[1,1,1,1,1,1,1,1,1,1,1,1,1]}}`), status: 422, pointers: []string{"/retry/delaysSeconds"}},
		{name: "delays out of range", body: with(`{"retry":{"delaysSeconds":[0,1,86401]}}`), status: 422, pointers: []string{"/retry/delaysSeconds/0", "/retry/delaysSeconds/2"}},
		{name: "21 headers", body: with(`{"headers":` + many(21, `"x"`) + `}`), status: 422, pointers: []string{"/headers"}},
		{name: "headers of ours and of the connection", body: with(`{"headers":{"webhook-id":"x","Connection":"x","Content-Type":"x","X-Ok":"x"}}`), status: 422, pointers: []string{"/headers/webhook-id", "/headers/Connection", "/headers/Content-Type"}},
		{name: "headers that say who sends and where to", body: with(`{"headers":{"Host":"x","User-Agent":"x","traceparent":"x","Content-Length":"1","Transfer-Encoding":"x","Proxy-Authorization":"x","TE":"x","Upgrade":"x"}}`), status: 422,
			pointers: []string{"/headers/Host", "/headers/User-Agent", "/headers/traceparent", "/headers/Content-Length", "/headers/Transfer-Encoding", "/headers/Proxy-Authorization", "/headers/TE", "/headers/Upgrade"}},
		{name: "signatures", body: with(`{"headers":{"x-webhook-signature":"x","Webhook-Signature":"x","X-WEBHOOK-EVENT":"x","webhook-timestamp":"x"}}`), status: 422,
			pointers: []string{"/headers/x-webhook-signature", "/headers/Webhook-Signature", "/headers/X-WEBHOOK-EVENT", "/headers/webhook-timestamp"}},
		{name: "a header's name with a line break", body: with(`{"headers":{"X-A\r\nX-B":"x"}}`), status: 422, pointers: []string{"/headers/X-A\r\nX-B"}},
		{name: "a header without a name", body: with(`{"headers":{"":"x"}}`), status: 422, pointers: []string{"/headers/"}},
		{name: "the very same header twice", body: with(`{"headers":{}}`)[:1] + `"headers":{"X-A":"1","X-A":"2"},` + with(`{}`)[1:], status: 422, pointers: []string{"/headers/X-A"}},
		{name: "a header's value that begins or ends with a space", body: with(`{"headers":{"X-A":" 1","X-B":"1 "}}`), status: 422, pointers: []string{"/headers/X-A", "/headers/X-B"}},
		{name: "a header's name that is none", body: with(`{"headers":{"a b":"x"}}`), status: 422, pointers: []string{"/headers/a b"}},
		{name: "a header twice", body: with(`{"headers":{"X-A":"1","x-a":"2"}}`), status: 422, pointers: []string{"/headers/x-a"}},
		{name: "a header's value with a line break", body: with(`{"headers":{"X-A":"1\r\nX-B: 2"}}`), status: 422, pointers: []string{"/headers/X-A"}},
		{name: "a header's value that is not ASCII", body: with(`{"headers":{"X-A":"ç"}}`), status: 422, pointers: []string{"/headers/X-A"}},
		{name: "a header's value of 1025 characters", body: with(`{"headers":{"X-A":"` + strings.Repeat("x", 1025) + `"}}`), status: 422, pointers: []string{"/headers/X-A"}},
		{name: "every fault at once", body: `{"name":"","url":"ftp://x","events":["x"],"secret":"s","headers":{"Host":"x"},"retry":{"delaysSeconds":[0]}}`, status: 422, pointers: []string{"/name", "/url", "/events/0", "/secret", "/headers/Host", "/retry/delaysSeconds/0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := *f
			g.T = t
			g.do("POST", hooksPath, tc.body).refuses(tc.status, tc.pointers...)
			g.do("PUT", hooksPath+"/"+id, tc.body).refuses(tc.status, tc.pointers...)
			if got := into[list[hook]](g.do("GET", hooksPath, "").is(http.StatusOK)); got.Pagination.Total != 1 {
				t.Error("what was refused was stored")
			}
		})
	}
	t.Run("PATCH refuses the same", func(t *testing.T) {
		t.Parallel()
		g := *f
		g.T = t
		path := hooksPath + "/" + id
		g.do("PATCH", path, `{"name":null,"url":null,"events":null,"secret":null}`).refuses(422, "/name", "/url", "/events", "/secret")
		g.do("PATCH", path, `{"name":"","url":"ftp://x","events":["x"],"secret":"s","headers":{"Host":"x"},"retry":{"delaysSeconds":[0]},"description":"\u0000"}`).
			refuses(422, "/name", "/url", "/events/0", "/secret", "/headers/Host", "/retry/delaysSeconds/0", "/description")
		g.do("PATCH", path, `{"retry":{"x":1}}`).refuses(422, "/retry/x")
		g.do("PATCH", path, `{"headers":{"X-A":1}}`).refuses(422, "/headers/X-A")
		g.do("PATCH", path, ``).refuses(400)
		g.do("PATCH", path, `null`).refuses(422, "")
	})
}

func TestWebhooks_AllowedByConfig(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.do("POST", hooksPath, `{"name":"n","url":"http://127.0.0.1:9999/x","events":["*"]}`).is(http.StatusCreated)
	f.do("POST", hooksPath, `{"name":"n","url":"http://10.0.0.1/x","events":["*"]}`).refuses(422, "/url")
}
