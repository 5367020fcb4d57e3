package oauth_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/services/oauth"
)

const blank = "about:blank"

func TestActions_Invalid(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	get := func(more string) string {
		return `{"action":"get_auth_url","redirectUri":"` + callback + `"` + more + `}`
	}
	exchange := func(more string) string {
		return `{"action":"exchange_code","redirectUri":"` + callback + `"` + more + `}`
	}
	for _, tc := range []struct {
		name, body string
		status     int
		pointers   []string
	}{
		{name: "an action that nobody knows", body: `{"action":"get_auth"}`, status: 422, pointers: []string{"/action"}},
		{name: "no action", body: `{"redirectUri":"x"}`, status: 422, pointers: []string{"/action"}},
		{name: "an action that is null", body: `{"action":null}`, status: 422, pointers: []string{"/action"}},
		{name: "an action that is no text", body: `{"action":1}`, status: 422, pointers: []string{"/action"}},
		{name: "an action given twice", body: `{"action":"get_auth_url","action":"refresh"}`, status: 422, pointers: []string{"/action"}},
		{name: "an action in another case", body: `{"Action":"get_auth_url"}`, status: 422, pointers: []string{"/action"}},
		{name: "an array", body: `[]`, status: 422, pointers: []string{""}},
		{name: "null", body: `null`, status: 422, pointers: []string{""}},
		{name: "no JSON", body: `{"action":`, status: 400, pointers: []string{"/action"}},
		{name: "a field of another action", body: get(`,"code":"c"`), status: 422, pointers: []string{"/code"}},
		{name: "a required field that is absent", body: `{"action":"get_auth_url"}`, status: 422, pointers: []string{"/redirectUri"}},
		{name: "a required field that is null", body: exchange(`,"code":"c","state":null`), status: 422, pointers: []string{"/state"}},
		{name: "all that is required", body: `{"action":"exchange_code","code":"c"}`, status: 422, pointers: []string{"/redirectUri", "/state"}},
		{name: "a text that is a number", body: exchange(`,"code":1,"state":"s"`), status: 422, pointers: []string{"/code"}},
		{name: "scopes that are a text", body: get(`,"scopes":"pages_show_list"`), status: 422, pointers: []string{"/scopes"}},
		{name: "a scope that is a number", body: get(`,"scopes":["pages_show_list",1]`), status: 422, pointers: []string{"/scopes/1"}},
		{name: "scopes that may not be asked for", body: get(`,"scopes":["ads_management","pages_show_list","email"]`), status: 422, pointers: []string{"/scopes/0", "/scopes/2"}},
		{name: "too many scopes", body: get(`,"scopes":[` + strings.Repeat(`"pages_show_list",`, 50) + `"pages_show_list"]`), status: 422, pointers: []string{"/scopes"}},
		{name: "an authType that is none", body: get(`,"authType":"reauthenticate"`), status: 422, pointers: []string{"/authType"}},
		{name: "neither code nor error", body: exchange(`,"state":"s"`), status: 422, pointers: []string{"/code"}},
		{name: "both code and error", body: exchange(`,"state":"s","code":"c","error":"e"`), status: 422, pointers: []string{"/code"}},
		{name: "both code and error code", body: exchange(`,"state":"s","code":"c","errorCode":"901"`), status: 422, pointers: []string{"/code"}},
		{name: "fields that are too long", body: exchange(`,"state":"` + strings.Repeat("s", 4097) + `","code":"` + strings.Repeat("c", 4097) + `"`), status: 422, pointers: []string{"/code", "/state"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := *f
			f.T = t
			for _, path := range []string{actionPath, functionPath} {
				f.do(http.MethodPost, path, tc.body).refuses(tc.status, blank, tc.pointers...)
			}
		})
	}
}

// TestActions_Private looks at refusals of every stage: the answers of actions are
// looked at by every test that calls one.
func TestActions_Private(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *oauth.Config) { c.ActionsPerMinute = 1 })
	stranger := f.as(f.tenant, "pz_unknown")
	reader := f.as(f.tenant, f.newKey(f.tenant, auth.ScopeWebhooksRead))
	for _, path := range []string{actionPath, functionPath} {
		f := f.neighbour()
		for _, tc := range []struct {
			f          *fixture
			path, body string
			status     int
		}{
			{stranger, path, `{}`, 401},
			{reader, path, `{}`, 403},
			{f, path + "?x=1", `{}`, 422},
			{f, path, `{"action":"` + strings.Repeat("x", 2<<20) + `"}`, 413},
			{f, path, `{}`, 422},
			{f, path, `{}`, 429},
		} {
			a := tc.f.do(http.MethodPost, tc.path, tc.body).is(tc.status)
			if got := a.header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("%d: Cache-Control %q", tc.status, got)
			}
		}
	}
}

func TestActions_Limit(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *oauth.Config) { c.ActionsPerMinute = 2 })
	first := f.action("get_auth_url", map[string]any{"redirectUri": callback}).is(http.StatusOK)
	if policy, state := first.header.Get("RateLimit-Policy"), first.header.Get("RateLimit"); policy != `"actions";q=2;w=60` || state != `"actions";r=1;t=30` {
		t.Errorf("RateLimit %s of %s", state, policy)
	}
	f.do(http.MethodPost, functionPath, `{"action":"nobody knows it"}`).is(422) // counts too, and by either name
	a := f.action("get_auth_url", map[string]any{"redirectUri": callback})
	a.refuses(http.StatusTooManyRequests, problem.TypeOAuthLimit)
	if retry, state := a.header.Get("Retry-After"), a.header.Get("RateLimit"); retry != "30" || !strings.HasPrefix(state, `"actions";r=0;t=`) {
		t.Errorf("Retry-After %q, RateLimit %s", retry, state)
	}
	f.neighbour().begin() // has a limit of its own
}

func TestActions_NotConfigured(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *oauth.Config) { c.Login.AppID, c.Login.StateKey = "", "" })
	for name, members := range map[string]map[string]any{
		"get_auth_url":        {"redirectUri": callback},
		"exchange_code":       code("c", "s"),
		"subscribe_webhook":   {"pageId": "1"},
		"unsubscribe_webhook": {"pageId": "1"},
		"refresh":             {"grantId": "0198c0f2-0a1b-7c2d-8e3f-405162738490"},
		"disconnect":          {"grantId": "0198c0f2-0a1b-7c2d-8e3f-405162738490"},
	} {
		p := f.action(name, members).refuses(http.StatusServiceUnavailable, problem.TypeOAuthNotConfigured)
		if !strings.Contains(p.Detail, "FACEBOOK_APP_ID, OAUTH_STATE_KEY") {
			t.Errorf("%s: %s", name, p.Detail)
		}
	}
	f.do(http.MethodGet, "/readyz", "").refuses(http.StatusServiceUnavailable, problem.TypeOAuthNotConfigured)
	if !strings.Contains(f.logs.String(), `settings="FACEBOOK_APP_ID, OAUTH_STATE_KEY"`) {
		t.Error("the log does not say what is missing")
	}
}

func TestActions_Preflight(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	for _, path := range []string{actionPath, functionPath} {
		a := f.do(http.MethodOptions, path, "", "Origin", "https://app.example.com", "Access-Control-Request-Method", "POST",
			"Access-Control-Request-Headers", "authorization,apikey,x-client-info,content-type").is(http.StatusNoContent)
		allowed := strings.ToLower(a.header.Get("Access-Control-Allow-Headers"))
		for _, name := range []string{"authorization", "apikey", "x-client-info", "content-type"} {
			if !strings.Contains(","+strings.ReplaceAll(allowed, " ", "")+",", ","+name+",") {
				t.Errorf("%s: %s is not among %q", path, name, allowed)
			}
		}
		if got := a.header.Get("Access-Control-Allow-Origin"); got != "https://app.example.com" || !strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "POST") {
			t.Errorf("%s: allowed to %q: %v", path, got, a.header)
		}
		if got := f.do(http.MethodOptions, path, "", "Origin", "https://other.example.com", "Access-Control-Request-Method", "POST").header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("%s: allowed to %q", path, got)
		}
	}
}

func TestActions_AuthURL(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *oauth.Config) { c.Simulated, c.Login.PKCE = true, true })
	for _, path := range []string{actionPath, functionPath} {
		a := f.do(http.MethodPost, path, fmt.Sprintf(`{"action":"get_auth_url","redirectUri":%q,"scopes":["pages_show_list","instagram_basic"],"authType":"rerequest"}`, callback)).is(http.StatusOK)
		got := into[struct {
			AuthURL   string
			State     string
			ExpiresAt string
			Simulated *bool
		}](a)
		for _, part := range []string{"client_id=10001", "scope=pages_show_list%2Cinstagram_basic", "auth_type=rerequest", "code_challenge=", "state="} {
			if !strings.Contains(got.AuthURL, part) {
				t.Errorf("%s is not in %s", part, got.AuthURL)
			}
		}
		if got.State == "" || got.ExpiresAt == "" || got.Simulated == nil || !*got.Simulated || strings.Contains(string(a.body), `\u0026`) {
			t.Errorf("answer %s", a.body)
		}
	}
	f.action("get_auth_url", map[string]any{"redirectUri": callback + "/"}).refuses(422, problem.TypeOAuthRedirectMismatch, "/redirectUri")
	f.action("get_auth_url", map[string]any{"redirectUri": callback, "scopes": nil, "authType": nil}).is(http.StatusOK)
}
