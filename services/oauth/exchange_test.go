package oauth_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/meta/metatest"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/oauth"
)

// exchanged is the answer of an exchange as tests read it.
type exchanged struct {
	AccessToken         string
	ExpiresAt           *time.Time
	DataAccessExpiresAt *time.Time
	User                struct{ ID, Name, Email, PictureURL string }
	Pages               []struct {
		ID, Name, Category, AccessToken string
		Tasks                           []string
		InstagramBusinessAccountID      string
		ConnectionID                    *uuid.UUID
	}
	InstagramAccounts []struct {
		ID, Username, Name string
		ProfilePictureURL  *string
		FollowersCount     *int
		PageID             string
		ConnectionID       *uuid.UUID
	}
	GrantedScopes, MissingScopes []string
	Warnings                     []warning
	GrantID                      uuid.UUID
}

type warning struct {
	Reason, Message, PageID, AccountID string
	MetaCode                           int
	FbtraceID                          string
}

func (e exchanged) reasons() (all []string) {
	for _, w := range e.Warnings {
		all = append(all, w.Reason)
	}
	return all
}

// row is a live connection.
func (f *fixture) row(channel, externalID string) (row db.Connection) {
	f.Helper()
	f.check(f.worker.Pool().QueryRow(f.Context(), `SELECT id, tenant_id, name, page_id, status, account_name, credentials, grant_id
		FROM connections WHERE channel = $1 AND external_id = $2 AND deleted_at IS NULL`, channel, externalID).
		Scan(&row.ID, &row.TenantID, &row.Name, &row.PageID, &row.Status, &row.AccountName, &row.Credentials, &row.GrantID))
	return row
}

// token is what a send through a connection uses.
func (f *fixture) token(id uuid.UUID) (token string) {
	f.Helper()
	f.check(f.api.InTenant(f.Context(), f.tenant, func(q *db.Queries) error {
		u, err := connection.ForUse(f.Context(), q, f.vault, f.tenant, id)
		token = u.Token
		return err
	}))
	return token
}

// trail is all that the audit log and the outbox hold of all tenants.
func (f *fixture) trail() string {
	f.Helper()
	var all string
	f.check(f.worker.Pool().QueryRow(f.Context(), `SELECT concat(
		(SELECT string_agg(concat(action, ' ', subject_id, ' ', before, ' ', after), E'\n') FROM audit_log),
		(SELECT string_agg(concat(event_type, ' ', convert_from(body, 'UTF8')), E'\n') FROM outbox))`).Scan(&all))
	return all
}

func TestExchange(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.graph.SetQuirks(metatest.Quirks{PageSize: 2, EmptyPages: 1, Next: "http://127.0.0.1:1/elsewhere"})
	user := f.graph.AddUserWithPages(metatest.User{ID: "778", Name: "Rita", Email: "rita@example.com"}, metatest.Mix{Pages: 7, Instagram: 3, NoToken: 1})
	user.Tasks[user.Pages[1]] = []string{"MODERATE", "ANALYZE"} // no MESSAGING
	f.graph.AddUser(user)
	account := func(i int) string {
		w := f.graph.World()
		return w.Accounts[slices.IndexFunc(w.Accounts, func(a metatest.Account) bool { return a.Page == user.Pages[i] })].ID
	}
	sparse := metatest.Account{ID: account(1), Username: "so.isto", Sparse: true, Page: user.Pages[1]}
	f.graph.AddAccount(sparse)
	if _, err := f.graph.Inject(metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(10), Object: account(2), Next: 1}); err != nil {
		t.Fatal(err)
	}

	at := f.begin()
	back := f.consent(at, metatest.Choice{User: user.ID, Decline: []string{"instagram_manage_messages"}})
	raw := f.action("exchange_code", code(back.Get("code"), at.State)).is(http.StatusOK)
	got := into[exchanged](raw)

	if left := time.Until(*got.ExpiresAt); left < 59*24*time.Hour || left > 61*24*time.Hour || got.DataAccessExpiresAt == nil {
		t.Errorf("good until %s, data until %v", got.ExpiresAt, got.DataAccessExpiresAt)
	}
	if got.User.ID != user.ID || got.User.Name != "Rita" {
		t.Errorf("user %+v", got.User)
	}
	if !slices.Contains(got.GrantedScopes, "pages_show_list") || !slices.Equal(got.MissingScopes, []string{"instagram_manage_messages"}) {
		t.Errorf("granted %q, missing %q", got.GrantedScopes, got.MissingScopes)
	}
	if len(got.Pages) != 6 || len(got.InstagramAccounts) != 2 {
		t.Fatalf("%d pages, %d accounts: %s", len(got.Pages), len(got.InstagramAccounts), raw.body)
	}
	wantWarnings := []warning{
		{Reason: "page_without_token", PageID: user.Pages[6]},
		{Reason: "page_without_messaging", PageID: user.Pages[1]},
		{Reason: "instagram_unreadable", PageID: user.Pages[2], AccountID: account(2), MetaCode: 10},
	}
	for i, w := range got.Warnings {
		if w.Message == "" || w.Reason == "instagram_unreadable" && w.FbtraceID == "" {
			t.Errorf("warning %+v", w)
		}
		w.Message, w.FbtraceID = "", ""
		if i >= len(wantWarnings) || w != wantWarnings[i] {
			t.Errorf("warning %d: %+v", i, w)
		}
	}
	if len(got.Warnings) != len(wantWarnings) {
		t.Errorf("%d warnings, want %d", len(got.Warnings), len(wantWarnings))
	}

	for i, page := range got.Pages {
		row := f.row("facebook", page.ID)
		if page.ID != user.Pages[i] || page.ConnectionID == nil || row.ID != *page.ConnectionID || row.TenantID != f.tenant || row.Name != page.Name ||
			row.AccountName == nil || *row.AccountName != page.Name || row.PageID != nil || row.Status != "active" || row.GrantID == nil || *row.GrantID != got.GrantID {
			t.Errorf("page %+v is %+v", page, row)
		}
		if f.token(row.ID) != page.AccessToken || strings.Contains(string(row.Credentials), "EAAP") {
			t.Errorf("page %s does not send with its token, or it is stored as it is", page.ID)
		}
	}
	for i, a := range got.InstagramAccounts {
		row := f.row("instagram", a.ID)
		if a.PageID != user.Pages[i] || a.ConnectionID == nil || row.ID != *a.ConnectionID || row.PageID == nil || *row.PageID != a.PageID || row.Name != a.Username ||
			row.AccountName == nil || *row.AccountName != a.Username || f.token(row.ID) != got.Pages[i].AccessToken {
			t.Errorf("account %+v is %+v", a, row)
		}
	}
	if a := got.InstagramAccounts[1]; a.ProfilePictureURL != nil || a.FollowersCount != nil || a.Name != "" {
		t.Errorf("what Meta does not say is %+v", a)
	}
	for _, part := range []string{`"profilePictureUrl":null`, `"followersCount":null`} {
		if !strings.Contains(string(raw.body), part) {
			t.Errorf("%s is not in %s", part, raw.body)
		}
	}
	if tries := f.graph.CodeTries(); tries[back.Get("code")] != 1 {
		t.Errorf("Meta got the code %d times", tries[back.Get("code")])
	}
	if n := f.count("integration_rate_limits"); n != 3*8 {
		t.Errorf("%d windows of limits", n)
	}
	if n := f.count("outbox WHERE event_type = 'connection.connected' AND tenant_id = $1", f.tenant); n != 8 {
		t.Errorf("%d connections are told of", n)
	}
	if n := f.count("audit_log WHERE action = 'connection.created' AND tenant_id = $1 AND actor LIKE 'key:%'", f.tenant); n != 8 {
		t.Errorf("%d connections are in the audit log", n)
	}
	trail, logged := f.trail(), f.logs.String()
	secrets := []string{got.AccessToken, back.Get("code"), metatest.DefaultAppSecret, stateKey}
	for _, page := range got.Pages {
		secrets = append(secrets, page.AccessToken)
	}
	for _, secret := range secrets {
		for _, form := range []string{secret, url.QueryEscape(secret)} {
			if strings.Contains(trail, form) || strings.Contains(logged, form) {
				t.Errorf("a secret is in the audit log, the outbox or the logs: %s", form)
			}
		}
	}

	// Its own token is what a refresh is done with.
	f.check(f.api.InTenant(t.Context(), f.tenant, func(q *db.Queries) error {
		g, err := grant.Read(t.Context(), q, f.vault, f.tenant, got.GrantID)
		if err == nil && (g.Token() != got.AccessToken || g.Row.UserName != "Rita" || !slices.Equal(g.Row.MissingScopes, got.MissingScopes) || !slices.Equal(g.Row.Scopes, got.GrantedScopes)) {
			t.Errorf("grant %+v", grant.Show(g.Row))
		}
		return err
	}))
}

func TestExchange_NothingIsNull(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	raw := f.logIn(metatest.Choice{User: metatest.DefaultGuestID}).is(http.StatusOK)
	for _, name := range []string{"pages", "instagramAccounts", "missingScopes", "warnings"} {
		if !strings.Contains(string(raw.body), `"`+name+`":[]`) {
			t.Errorf("%s is no empty array: %s", name, raw.body)
		}
	}
	for _, name := range []string{"email", "pictureUrl"} {
		if strings.Contains(string(raw.body), `"`+name+`":""`) || strings.Contains(string(raw.body), `"`+name+`":null`) {
			t.Errorf("%s is there without a value: %s", name, raw.body)
		}
	}
}

// refusedBefore makes sure that Meta got no code and nothing is stored.
func (f *fixture) refusedBefore() {
	f.Helper()
	for _, tries := range f.graph.CodeTries() {
		if tries > 0 {
			f.Error("Meta got the code")
		}
	}
	f.empty()
}

// empty makes sure that nothing of a login is stored.
func (f *fixture) empty() {
	f.Helper()
	for _, table := range []string{"oauth_grants", "connections", "audit_log", "outbox"} {
		if n := f.count(table); n > 0 {
			f.Errorf("%d rows of %s", n, table)
		}
	}
}

func TestExchange_State(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	at := f.begin()
	given := f.consent(at, metatest.Choice{}).Get("code")
	f.action("exchange_code", code(given, at.State+"x")).refuses(422, problem.TypeOAuthStateInvalid, "/state")
	f.action("exchange_code", code(given, "")).refuses(422, problem.TypeOAuthStateInvalid, "/state")
	f.neighbour().action("exchange_code", code(given, at.State)).refuses(422, problem.TypeOAuthStateInvalid, "/state")
	colleague := f.as(f.tenant, f.newKey(f.tenant, auth.ScopeChannelsWrite))
	colleague.action("exchange_code", code(given, at.State)).refuses(422, problem.TypeOAuthStateInvalid, "/state")
	elsewhere := code(given, at.State)
	for uri, detail := range map[string]string{
		callback + "/2": "/redirectUri: is not the one that the login began with", "https://evil.example.com/": "/redirectUri: is not on the list of those that are allowed",
	} {
		elsewhere["redirectUri"] = uri
		if p := f.action("exchange_code", elsewhere).refuses(422, problem.TypeOAuthRedirectMismatch, "/redirectUri"); p.Detail != detail {
			t.Errorf("%s: %s", uri, p.Detail)
		}
	}
	if n := f.count("oauth_states"); n > 0 {
		t.Errorf("%d states are used up", n)
	}
	f.refusedBefore()
	f.action("exchange_code", code(given, at.State)).is(http.StatusOK) // none of it used the state up
	f.action("exchange_code", code(given, at.State)).refuses(http.StatusConflict, problem.TypeOAuthStateUsed)
	if tries := f.graph.CodeTries()[given]; tries != 1 {
		t.Errorf("Meta got the code %d times", tries)
	}
}

// TestExchange_StateOfTenant has the platform act for two tenants by one key.
func TestExchange_StateOfTenant(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.key = f.newKey(f.tenant, auth.ScopeChannelsWrite, auth.ScopePlatform)
	at := f.begin()
	body := fmt.Sprintf(`{"action":"exchange_code","code":"AQ","redirectUri":%q,"state":%q}`, callback, at.State)
	f.do(http.MethodPost, actionPath, body, auth.TenantHeader, uuid.NewString()).refuses(422, problem.TypeOAuthStateInvalid, "/state")
	f.do(http.MethodPost, actionPath, body).refuses(422, problem.TypeOAuthCodeInvalid, "/code")
}

func TestExchange_Denied(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	for _, tc := range []struct {
		name   string
		choice metatest.Choice
		want   map[string]any
	}{
		{name: "whoever logged in did not allow it", choice: metatest.Choice{Deny: true},
			want: map[string]any{"metaError": "access_denied", "metaErrorReason": "user_denied", "metaCode": 200.0, "detail": "the login was not allowed: Permissions error"}},
		{name: "the dialog failed, and has a code alone", choice: metatest.Choice{Error: 901},
			want: map[string]any{"metaError": nil, "metaErrorReason": nil, "metaCode": 901.0, "detail": "the login was not allowed: Simulated failure of the dialog"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := *f
			f.T = t
			at := f.begin()
			back := f.consent(at, tc.choice)
			in := map[string]any{"redirectUri": callback, "state": at.State, "code": nil}
			for from, to := range map[string]string{"error": "error", "error_code": "errorCode", "error_reason": "errorReason", "error_description": "errorDescription", "error_message": "errorDescription"} {
				if text := back.Get(from); text != "" {
					in[to] = text
				}
			}
			a := f.action("exchange_code", in)
			a.refuses(http.StatusForbidden, problem.TypeOAuthDenied)
			members := into[map[string]any](a)
			for name, want := range tc.want {
				if !reflect.DeepEqual(members[name], want) {
					t.Errorf("%s is %v, want %v", name, members[name], want)
				}
			}
			f.action("exchange_code", in).refuses(http.StatusConflict, problem.TypeOAuthStateUsed)
			f.refusedBefore()
		})
	}
}

// codes are what a problem says of Meta's.
type codes struct {
	MetaCode, MetaSubcode int
	FbtraceID             string
}

func TestExchange_Code(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	used := func() string {
		at := f.begin()
		given := f.consent(at, metatest.Choice{}).Get("code")
		f.action("exchange_code", code(given, at.State)).is(http.StatusOK)
		return given
	}()
	for _, tc := range []struct {
		name, code string
		fault      *metatest.GraphError
		status     int
		kind       string
		pointers   []string
		want       codes
	}{
		{name: "one that Meta did not give", code: "AQ-invented", status: 422, kind: problem.TypeOAuthCodeInvalid, pointers: []string{"/code"}, want: codes{MetaCode: 100}},
		{name: "one that was used", code: used, status: 409, kind: problem.TypeOAuthCodeUsed, want: codes{MetaCode: 100, MetaSubcode: 36009}},
		{name: "one that has expired", fault: &metatest.GraphError{Code: 100, Subcode: 36007, Message: "This authorization code has expired."},
			status: 422, kind: problem.TypeOAuthCodeExpired, pointers: []string{"/code"}, want: codes{MetaCode: 100, MetaSubcode: 36007}},
		{name: "one for another redirect URI", fault: &metatest.GraphError{Code: 100, Subcode: 36008, Message: "Error validating verification code."},
			status: 422, kind: problem.TypeOAuthRedirectMismatch, pointers: []string{"/redirectUri"}, want: codes{MetaCode: 100, MetaSubcode: 36008}},
		{name: "Meta throttles", fault: metatest.ErrorOf(4), status: 429, kind: problem.TypeMetaThrottled, want: codes{MetaCode: 4}},
		{name: "Meta is away", fault: metatest.ErrorOf(2), status: 502, kind: problem.TypeMetaUnreachable, want: codes{MetaCode: 2}},
		{name: "the app's secret is wrong", fault: &metatest.GraphError{Code: 1, Message: "Error validating client secret."},
			status: 503, kind: problem.TypeOAuthNotConfigured, want: codes{MetaCode: 1}},
		{name: "Meta refuses it for some reason", fault: metatest.ErrorOf(368), status: 422, kind: problem.TypeMetaRefused, want: codes{MetaCode: 368}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := *f
			f.T = t
			at := f.begin()
			given := tc.code
			if given == "" {
				given = f.consent(at, metatest.Choice{}).Get("code")
				_, err := f.graph.Inject(metatest.Fault{Kind: metatest.FaultError, Error: tc.fault, Call: "access_token", Next: 1})
				f.check(err)
			}
			before := f.graph.CodeTries()[given]
			a := f.action("exchange_code", code(given, at.State))
			a.refuses(tc.status, tc.kind, tc.pointers...)
			got := into[codes](a)
			if got.FbtraceID == "" {
				t.Errorf("no fbtraceId: %s", a.body)
			}
			got.FbtraceID = ""
			if got != tc.want {
				t.Errorf("codes %+v, want %+v", got, tc.want)
			}
			if tries, known := f.graph.CodeTries()[given]; known && tries != before+1 {
				t.Errorf("Meta got the code %d times", tries-before)
			}
			f.action("exchange_code", code(given, at.State)).refuses(http.StatusConflict, problem.TypeOAuthStateUsed)
		})
	}
}

// TestExchange_Reading has Meta fail after it took the code.
func TestExchange_Reading(t *testing.T) {
	t.Parallel()
	failing := func(call string, e *metatest.GraphError) []metatest.Fault {
		return []metatest.Fault{{Kind: metatest.FaultError, Error: e, Call: call, Next: 3}} // it is asked again
	}
	for _, tc := range []struct {
		name   string
		faults []metatest.Fault
		status int
		kind   string
		detail string
		want   codes
	}{
		{name: "throttling is told, with no further call", faults: failing("accounts", metatest.ErrorOf(4)), status: 429, kind: problem.TypeMetaThrottled, detail: "begin the login anew", want: codes{MetaCode: 4}},
		{name: "the user cannot be read", faults: failing("get", metatest.ErrorOf(2)), status: 502, kind: problem.TypeMetaUnreachable, detail: "begin the login anew", want: codes{MetaCode: 2}},
		{name: "permissions cannot be read", faults: failing("permissions", metatest.ErrorOf(10)), status: 403, kind: problem.TypeOAuthPermissionMissing, want: codes{MetaCode: 10}},
		{name: "the token is refused", faults: failing("debug_token", &metatest.GraphError{Code: 368}), status: 422, kind: problem.TypeMetaRefused, detail: "begin the login anew", want: codes{MetaCode: 368}},
		{name: "the token is worth nothing already", faults: failing("accounts", &metatest.GraphError{Code: 190, Subcode: 460}), status: 409, kind: problem.TypeReconnectRequired, detail: "log in again", want: codes{MetaCode: 190, MetaSubcode: 460}},
		{name: "the token is not made one that lives long", status: 502, kind: problem.TypeMetaUnreachable, detail: "begin the login anew", want: codes{MetaCode: 2},
			faults: append([]metatest.Fault{{Kind: metatest.FaultLatency, Call: "access_token", Next: 1}}, failing("access_token", metatest.ErrorOf(2))...)},
		{name: "answers are no JSON", status: 502, kind: problem.TypeMetaUnreachable, detail: "begin the login anew",
			faults: []metatest.Fault{{Kind: metatest.FaultMalformed, Call: "accounts", Next: 3}}},
		{name: "answers are a page", status: 502, kind: problem.TypeMetaUnreachable, detail: "begin the login anew",
			faults: []metatest.Fault{{Kind: metatest.FaultHTML, Call: "accounts", Next: 3}}},
		{name: "the answer to the code is lost", status: 502, kind: problem.TypeMetaUnreachable, detail: "begin the login anew",
			faults: []metatest.Fault{{Kind: metatest.FaultLostAnswer, Call: "access_token", Next: 1}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, nil)
			for _, fault := range tc.faults {
				_, err := f.graph.Inject(fault)
				f.check(err)
			}
			at := f.begin()
			given := f.consent(at, metatest.Choice{}).Get("code")
			a := f.action("exchange_code", code(given, at.State))
			p := a.refuses(tc.status, tc.kind)
			got := into[codes](a)
			got.FbtraceID = ""
			if !strings.Contains(p.Detail, tc.detail) || got != tc.want {
				t.Errorf("detail %q, codes %+v", p.Detail, got)
			}
			if tries := f.graph.CodeTries()[given]; tries != 1 {
				t.Errorf("Meta got the code %d times", tries)
			}
			f.empty()
			f.graph.ClearFaults()
			f.logIn(metatest.Choice{}).is(http.StatusOK)
		})
	}
	t.Run("what passes quickly is asked again", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, nil)
		for _, call := range []string{"get", "permissions", "debug_token", "accounts"} {
			_, err := f.graph.Inject(metatest.Fault{Kind: metatest.FaultReset, Call: call, Next: 1})
			f.check(err)
		}
		f.logIn(metatest.Choice{}).is(http.StatusOK)
	})
}

func TestExchange_PermissionMissing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	a := f.logIn(metatest.Choice{User: metatest.DefaultManagerID, Decline: []string{"pages_show_list", "instagram_basic"}})
	p := a.refuses(http.StatusForbidden, problem.TypeOAuthPermissionMissing)
	got := into[struct{ MissingScopes []string }](a)
	slices.Sort(got.MissingScopes)
	if !slices.Equal(got.MissingScopes, []string{"instagram_basic", "pages_show_list"}) || !strings.Contains(p.Detail, "rerequest") {
		t.Errorf("missing %q: %s", got.MissingScopes, p.Detail)
	}
	f.empty()
	again := into[begun](f.action("get_auth_url", map[string]any{"redirectUri": callback, "authType": "rerequest"}).is(http.StatusOK))
	all := f.consent(again, metatest.Choice{User: metatest.DefaultManagerID})
	if got := into[exchanged](f.action("exchange_code", code(all.Get("code"), again.State)).is(http.StatusOK)); len(got.Pages) != 2 {
		t.Errorf("%d pages", len(got.Pages))
	}
}

func TestExchange_Racing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	at := f.begin()
	given := f.consent(at, metatest.Choice{}).Get("code")
	answers := make([]answer, 8)
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = f.action("exchange_code", code(given, at.State)) })
	}
	all.Wait()
	won := 0
	for _, a := range answers {
		if a.status == http.StatusOK {
			won++
			continue
		}
		a.refuses(http.StatusConflict, problem.TypeOAuthStateUsed)
	}
	if won != 1 || f.graph.CodeTries()[given] != 1 {
		t.Errorf("%d exchanges won, and Meta got the code %d times", won, f.graph.CodeTries()[given])
	}
	if n := f.count("oauth_grants"); n != 1 {
		t.Errorf("%d grants", n)
	}
}

func TestExchange_ConnectedElsewhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	first := into[exchanged](f.logIn(metatest.Choice{}).is(http.StatusOK)) // the page and its Instagram account
	other := f.neighbour()
	got := into[exchanged](other.logIn(metatest.Choice{User: metatest.DefaultManagerID}).is(http.StatusOK))
	for _, page := range got.Pages {
		if taken := page.ID == metatest.DefaultPageID; taken != (page.ConnectionID == nil) {
			t.Errorf("page %s is connected as %v", page.ID, page.ConnectionID)
		}
	}
	if len(got.Pages) != 2 || len(got.InstagramAccounts) != 1 || got.InstagramAccounts[0].ConnectionID != nil {
		t.Errorf("%+v", got)
	}
	if want := []string{"page_without_token", "connected_elsewhere", "connected_elsewhere"}; !slices.Equal(got.reasons(), want) ||
		got.Warnings[1].PageID != metatest.DefaultPageID || got.Warnings[2].AccountID != metatest.DefaultAccountID || got.Warnings[2].PageID != metatest.DefaultPageID {
		t.Errorf("warnings %+v", got.Warnings)
	}
	if row := f.row("facebook", metatest.DefaultPageID); row.TenantID != f.tenant || row.ID != *first.Pages[0].ConnectionID || f.token(row.ID) != first.Pages[0].AccessToken {
		t.Errorf("the page is %+v now", row)
	}
}

func TestExchange_Again(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	first := into[exchanged](f.logIn(metatest.Choice{}).is(http.StatusOK))
	page := *first.Pages[0].ConnectionID
	_, err := f.worker.Pool().Exec(t.Context(), "UPDATE connections SET name = 'Ours', status = 'reconnect', token_refused = true WHERE id = $1", page)
	f.check(err)
	second := into[exchanged](f.logIn(metatest.Choice{}).is(http.StatusOK))
	if second.GrantID != first.GrantID || second.AccessToken == first.AccessToken || *second.Pages[0].ConnectionID != page {
		t.Errorf("first %+v, then %+v", first, second)
	}
	row := f.row("facebook", metatest.DefaultPageID)
	if row.Name != "Ours" || row.Status != "active" || f.token(page) != second.Pages[0].AccessToken {
		t.Errorf("the connection is %+v", row)
	}
	var all sync.WaitGroup // at once, too
	for range 4 {
		at := f.begin()
		given := f.consent(at, metatest.Choice{}).Get("code")
		all.Go(func() {
			if a := f.action("exchange_code", code(given, at.State)); a.status != http.StatusOK {
				t.Errorf("status %d: %s", a.status, a.body)
			}
		})
	}
	all.Wait()
	if n := f.count("oauth_grants"); n != 1 {
		t.Errorf("%d grants", n)
	}
	if n := f.count("connections"); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestExchange_Limit(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *oauth.Config) { c.MaxConnections = 2 })
	got := into[exchanged](f.logIn(metatest.Choice{User: metatest.DefaultManagerID}).is(http.StatusOK))
	if got.Pages[0].ConnectionID == nil || got.Pages[1].ConnectionID == nil || got.InstagramAccounts[0].ConnectionID != nil ||
		!slices.Equal(got.reasons(), []string{"page_without_token", "connection_limit"}) || got.Warnings[1].AccountID != metatest.DefaultAccountID {
		t.Errorf("%+v", got)
	}
	if n := f.count("connections"); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestExchange_Lost(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	_, err := f.owner.Pool().Exec(t.Context(), "REVOKE INSERT ON connections FROM primezap_api") // the last that is stored
	f.check(err)
	at := f.begin()
	given := f.consent(at, metatest.Choice{}).Get("code")
	p := f.action("exchange_code", code(given, at.State)).refuses(http.StatusServiceUnavailable, blank)
	if !strings.Contains(p.Detail, "begin the login anew") {
		t.Errorf("detail %q", p.Detail)
	}
	f.empty()
	f.action("exchange_code", code(given, at.State)).refuses(http.StatusConflict, problem.TypeOAuthStateUsed)
	if tries := f.graph.CodeTries()[given]; tries != 1 {
		t.Errorf("Meta got the code %d times", tries)
	}
}

// TestExchange_Alone is about a token that Meta gives, and says to be another's.
func TestExchange_Alone(t *testing.T) {
	t.Parallel()
	for name, told := range map[string]string{
		"another app's":  `{"data":{"app_id":"10002","is_valid":true,"user_id":"` + metatest.DefaultUserID + `"}}`,
		"another user's": `{"data":{"app_id":"10001","is_valid":true,"user_id":"1"}}`,
		"not valid":      `{"data":{"app_id":"10001","is_valid":false,"user_id":"` + metatest.DefaultUserID + `","error":{"code":190,"subcode":458}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, nil)
			f.server = f.behind(func(path string) (string, bool) { return told, strings.HasSuffix(path, "/debug_token") })
			a := f.logIn(metatest.Choice{})
			if name == "not valid" {
				a.refuses(http.StatusConflict, problem.TypeReconnectRequired)
				if got := into[codes](a); got.MetaCode != 190 || got.MetaSubcode != 458 {
					t.Errorf("codes %+v", got)
				}
			} else {
				a.refuses(http.StatusBadGateway, problem.TypeMetaUnreachable)
			}
			f.empty()
		})
	}
}

func TestExchange_Unreadable(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	list, err := json.Marshal(map[string]any{"data": []any{
		"no page", map[string]any{"id": "../x", "access_token": "EAAPx"}, map[string]any{"id": "41", "name": strings.Repeat("n", 3000), "access_token": "EAAPy", "tasks": "all"},
	}})
	f.check(err)
	f.server = f.behind(func(path string) (string, bool) { return string(list), strings.HasSuffix(path, "/accounts") })
	got := into[exchanged](f.logIn(metatest.Choice{}).is(http.StatusOK))
	if len(got.Pages) != 1 || got.Pages[0].ConnectionID == nil || got.Pages[0].Tasks == nil || !slices.Equal(got.reasons(), []string{"page_unreadable", "page_unreadable"}) {
		t.Errorf("%+v", got)
	}
}
