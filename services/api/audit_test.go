package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
)

const auditPath = "/api/audit-log"

// entry is a row of the audit log as tests read it.
type entry struct {
	ID            uuid.UUID
	Action, Actor string
	SubjectType   string
	SubjectID     string
	Before, After json.RawMessage
	CreatedAt     time.Time
}

// audit reads the audit log, newest first.
func (f *fixture) audit(query string) []entry {
	f.Helper()
	return into[list[entry]](f.do("GET", auditPath+query, "").is(http.StatusOK)).Data
}

func TestAudit_WebhookChanges(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	plain := func(a answer) string { return strings.TrimSpace(string(a.body)) }
	h := f.newHook(`,"headers":{"X-Token":"s3cret value"},"secret":"the secret of the first"`)
	path := hooksPath + "/" + h.ID.String()
	created := plain(f.do("GET", path, ""))
	updated := plain(f.do("PATCH", path, `{"name":"renamed","active":false}`).is(http.StatusOK))
	secret := plain(f.do("PATCH", path, `{"secret":"the secret of the second"}`).is(http.StatusOK))
	header := plain(f.do("PATCH", path, `{"headers":{"X-Token":"another value"}}`).is(http.StatusOK))
	replaced := plain(f.do("PUT", path, `{"name":"put","url":"https://x.example/","events":["*"]}`).is(http.StatusOK))
	f.do("POST", path+"/regenerate-secret", "").is(http.StatusOK)
	regenerated := plain(f.do("GET", path, ""))
	f.do("DELETE", path, "").is(http.StatusNoContent)

	var actor string
	f.check(f.owner.Pool().QueryRow(t.Context(), "SELECT 'key:' || id FROM api_keys WHERE tenant_id = $1", f.tenant).Scan(&actor))
	want := []struct{ action, before, after string }{ // newest first
		{"webhook.deleted", regenerated, "null"},
		{"webhook.secret_regenerated", replaced, regenerated},
		{"webhook.updated", header, replaced},
		{"webhook.updated", secret, header},
		{"webhook.updated", updated, secret},
		{"webhook.updated", created, updated},
		{"webhook.created", "null", created},
	}
	got := f.audit("")
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d: %+v", len(got), len(want), got)
	}
	for i, e := range got {
		if e.Action != want[i].action || string(e.Before) != want[i].before || string(e.After) != want[i].after {
			t.Errorf("entry %d: %s\nbefore %s\nafter  %s\nwant %s\nbefore %s\nafter  %s", i, e.Action, e.Before, e.After, want[i].action, want[i].before, want[i].after)
		}
		if e.SubjectType != "webhook" || e.SubjectID != h.ID.String() || e.Actor != actor || time.Since(e.CreatedAt) > time.Minute {
			t.Errorf("entry %d is %+v", i, e)
		}
	}
	// Neither what is stored nor what is shown has a secret or a header's value in it.
	var stored string
	f.scan("SELECT string_agg(a::text, '') FROM audit_log a", nil, &stored)
	shown := string(f.do("GET", auditPath, "").body)
	for _, text := range []string{stored, shown} {
		for _, hidden := range []string{"the secret of", "s3cret value", "another value", `"secret"`} {
			if strings.Contains(text, hidden) {
				t.Errorf("the audit log has %q in it", hidden)
			}
		}
	}
	if !strings.Contains(secret, `"secretHint":"…cond"`) {
		t.Errorf("a replaced secret does not show by its hint: %s", secret)
	}
}

func TestAudit_WhatChangesNothingIsNotWritten(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook(`,"headers":{"X-A":"1","X-B":"2"},"secret":"0123456789abcdef","retry":{"delaysSeconds":[]}`)
	path := hooksPath + "/" + h.ID.String()
	before := f.row(h.ID)
	for _, patch := range []string{
		`{}`, `{"name":"CRM"}`, `{"events":["deal.moved"]}`, `{"active":true}`, `{"secret":"0123456789abcdef"}`, `{"retry":{"delaysSeconds":[]}}`,
		`{"headers":{"X-A":"••••","X-B":"••••"}}`, `{"headers":{"X-B":"2","X-A":"1"}}`, `{"description":null}`,
	} {
		f.do("PATCH", path, patch).is(http.StatusOK)
	}
	f.do("PUT", path, `{"name":"CRM","url":"https://hooks.example.com/crm","events":["deal.moved"],"headers":{"X-A":"••••","X-B":"2"},"retry":{"delaysSeconds":[]}}`).is(http.StatusOK)
	if got := f.audit("?action=webhook.updated"); len(got) > 0 {
		t.Errorf("%d entries of changes that changed nothing: %s became %s", len(got), got[0].Before, got[0].After)
	}
	if after := f.row(h.ID); after.Generation != before.Generation || !after.UpdatedAt.Equal(before.UpdatedAt) {
		t.Errorf("generation %d became %d, updated %s became %s", before.Generation, after.Generation, before.UpdatedAt, after.UpdatedAt)
	}
	// What was refused, and what is not there, is no change either.
	f.do("PATCH", path, `{"name":""}`).is(http.StatusUnprocessableEntity)
	f.do("DELETE", hooksPath+"/"+uuid.NewString(), "").is(http.StatusNotFound)
	if got := f.audit(""); len(got) != 1 || got[0].Action != "webhook.created" {
		t.Errorf("entries %+v, want the creation alone", got)
	}
}

func TestAudit_List(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	start := time.Now().UTC().Truncate(time.Second).Add(-time.Hour)
	at := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }
	insert := func(n, seconds int, action, subject string) {
		_, err := f.worker.Pool().Exec(t.Context(), `INSERT INTO audit_log (id, tenant_id, created_at, actor, action, subject_type, subject_id)
			VALUES ($1, $2, $3, $4, $5, 'thing', $6)`, uuid.Must(uuid.NewV7()), f.tenant, at(seconds), fmt.Sprint("n", n), action, subject)
		f.check(err)
	}
	insert(1, 1, "thing.created", "a")
	insert(2, 2, "thing.updated", "a")
	insert(3, 2, "thing.created", "b") // of the same time
	insert(4, 3, "thing.updated", "b")
	insert(5, 4, "thing.deleted", "a")
	actors := func(entries []entry) (actors []string) {
		for _, e := range entries {
			actors = append(actors, e.Actor)
		}
		return actors
	}
	order := []string{"n5", "n4", "n3", "n2", "n1"}
	from, to := "from="+url.QueryEscape(at(2).Format(time.RFC3339)), "to="+url.QueryEscape(at(3).Format(time.RFC3339))
	for query, want := range map[string][]string{
		"":                                     order,
		"?action=thing.created":                {"n3", "n1"},
		"?subjectId=a":                         {"n5", "n2", "n1"},
		"?subjectId=a&action=thing.updated":    {"n2"},
		"?subjectId=c":                         nil,
		"?" + from:                             {"n5", "n4", "n3", "n2"},
		"?" + to:                               {"n3", "n2", "n1"},
		"?subjectId=b&" + from + "&" + to:      {"n3"},
		"?limit=2&page=2":                      {"n3", "n2"},
		"?limit=1&page=2&subjectId=a":          {"n2"},
		"?action=thing.created&limit=1&page=2": {"n1"},
	} {
		if got := actors(f.audit(query)); !slices.Equal(got, want) {
			t.Errorf("%s lists %v, want %v", query, got, want)
		}
	}
	if p := into[list[entry]](f.do("GET", auditPath+"?subjectId=a&limit=2", "")).Pagination; p.Total != 3 || p.TotalPages != 2 || p.TotalIsCapped {
		t.Errorf("pagination %+v", p)
	}
	for _, subject := range []string{"", "&subjectId=a"} {
		want := order
		if subject != "" {
			want = []string{"n5", "n2", "n1"}
		}
		var walked []string
		for cursor, n := "", 6; ; n++ {
			p := into[list[entry]](f.do("GET", auditPath+"?limit=1"+subject+cursor, "").is(http.StatusOK))
			walked = append(walked, actors(p.Data)...)
			if p.Pagination.NextCursor == nil {
				break
			}
			cursor = "&cursor=" + *p.Pagination.NextCursor
			insert(n, n, "thing.updated", "a") // what comes meanwhile neither repeats nor hides a row
		}
		if !slices.Equal(walked, want) {
			t.Errorf("with %q the cursor walks %v, want %v", subject, walked, want)
		}
		_, err := f.worker.Pool().Exec(t.Context(), "DELETE FROM audit_log WHERE created_at > $1", at(4))
		f.check(err)
	}
	f.do("GET", auditPath+"?from=x&to=y&action=a%20b&subjectId=%00&limit=0", "").refuses(422, "/from", "/to", "/action", "/subjectId", "/limit")
	f.do("GET", auditPath+"?actor=x", "").refuses(422, "/actor")

	stranger := "Bearer " + f.newKey(uuid.Must(uuid.NewV7()), auth.ScopeWebhooksRead)
	if got := into[list[entry]](f.do("GET", auditPath, "", "Authorization", stranger).is(http.StatusOK)); len(got.Data) > 0 || got.Pagination.Total > 0 {
		t.Errorf("another tenant reads %+v", got)
	}
	f.do("GET", auditPath, "", "Authorization", "Bearer "+f.newKey(f.tenant, auth.ScopeWebhooksWrite)).refuses(http.StatusForbidden)
}

// A total stops at 10 000, and the cursor goes on.
func TestAudit_CappedTotal(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	_, err := f.worker.Pool().Exec(t.Context(), `INSERT INTO audit_log (id, tenant_id, created_at, actor, action, subject_type, subject_id)
		SELECT gen_random_uuid(), $1, now() - n * interval '1 s', 'system', 'a', 's', 'one' FROM generate_series(1, 10001) AS n`, f.tenant)
	f.check(err)
	for _, query := range []string{"?", "?subjectId=one&"} {
		p := into[list[entry]](f.do("GET", auditPath+query+"limit=100&page=100", "").is(http.StatusOK)).Pagination
		if p.Total != 10_000 || !p.TotalIsCapped || p.NextCursor == nil {
			t.Fatalf("%+v, want a capped total of 10 000 and a cursor", p)
		}
		if rest := f.audit(query + "limit=100&cursor=" + *p.NextCursor); len(rest) != 1 {
			t.Errorf("%d entries after 10 000, want the last one", len(rest))
		}
	}
}

// A change and its entry stand or fall together.
func TestAudit_InTheTransactionOfTheChange(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook("")
	_, err := f.owner.Pool().Exec(t.Context(), "ALTER TABLE audit_log ADD CONSTRAINT full_up CHECK (action = 'webhook.created') NOT VALID")
	f.check(err)
	path := hooksPath + "/" + h.ID.String()
	for _, r := range []struct{ method, path, body string }{
		{"PATCH", path, `{"name":"x"}`},
		{"PUT", path, `{"name":"x","url":"https://x.example/","events":["*"]}`},
		{"DELETE", path, ""},
		{"POST", path + "/regenerate-secret", ""},
	} {
		f.do(r.method, r.path, r.body).is(http.StatusInternalServerError)
		if row := f.row(h.ID); row.Name != "CRM" || row.SecretHint != h.SecretHint {
			t.Fatalf("%s %s changed the webhook although nothing was written down", r.method, r.path)
		}
	}
}
