package metatest_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/metatest"
)

const (
	redirectURI = "http://127.0.0.1:8080/oauth/facebook/callback"
	sixScopes   = "pages_messaging,pages_manage_metadata,pages_read_engagement,pages_show_list,instagram_basic,instagram_manage_messages"
	appToken    = metatest.DefaultAppID + "|" + metatest.DefaultAppSecret
)

// dialogURL is the dialog's with names and values in turn; an empty value takes a
// parameter away.
func dialogURL(base string, parameters ...string) string {
	query := url.Values{
		"client_id": {metatest.DefaultAppID}, "redirect_uri": {redirectURI}, "state": {"state-1"}, "response_type": {"code"}, "scope": {sixScopes},
	}
	for i := 0; i < len(parameters); i += 2 {
		query.Set(parameters[i], parameters[i+1])
		if parameters[i+1] == "" {
			query.Del(parameters[i])
		}
	}
	return base + "/v25.0/dialog/oauth?" + query.Encode()
}

// consent is where a user is redirected to, as its parameters.
func (s simulated) consent(t *testing.T, choice metatest.Choice, parameters ...string) url.Values {
	t.Helper()
	location, err := s.Consent(dialogURL(s.url, parameters...), choice)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(location)
	if err != nil || !strings.HasPrefix(location, redirectURI+"?") || u.Fragment != "_=_" {
		t.Fatalf("redirects to %s (%v)", location, err)
	}
	return u.Query()
}

// exchange is what /oauth/access_token answers, the code or the token of a call among
// the parameters.
func (s simulated) exchange(t *testing.T, parameters ...string) (status int, answer map[string]any) {
	t.Helper()
	query := url.Values{"client_id": {metatest.DefaultAppID}, "client_secret": {metatest.DefaultAppSecret}, "redirect_uri": {redirectURI}}
	for i := 0; i < len(parameters); i += 2 {
		query.Set(parameters[i], parameters[i+1])
	}
	return s.call(t, http.MethodGet, "/v25.0/oauth/access_token?"+query.Encode(), "", "")
}

// login is the token of a user after a login: one of an hour, or one of 60 days.
func (s simulated) login(t *testing.T, choice metatest.Choice, long bool, parameters ...string) string {
	t.Helper()
	_, answer := s.exchange(t, "code", s.consent(t, choice, parameters...).Get("code"))
	token, _ := answer["access_token"].(string)
	if long {
		_, answer = s.exchange(t, "grant_type", "fb_exchange_token", "fb_exchange_token", token)
		token, _ = answer["access_token"].(string)
	}
	if token == "" {
		t.Fatalf("no token: %v", answer)
	}
	return token
}

// get reads with a token and its proof.
func (s simulated) get(t *testing.T, path, token string) (status int, answer map[string]any) {
	t.Helper()
	return s.call(t, http.MethodGet, proven(path, token), token, "")
}

func proven(path, token string) string {
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	return path + separator + "appsecret_proof=" + meta.Proof(metatest.DefaultAppSecret, token)
}

// pageToken is the token of a page that a user's token gets.
func (s simulated) pageToken(t *testing.T, page, token string) string {
	t.Helper()
	_, answer := s.get(t, "/"+page+"?fields=access_token", token)
	got, _ := answer["access_token"].(string)
	if got == "" {
		t.Fatalf("no token: %v", answer)
	}
	return got
}

// clock is a time that a test moves.
type clock struct{ now time.Time }

func (c *clock) config() metatest.Config {
	c.now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	return metatest.Config{RequireProof: true, Now: func() time.Time { return c.now }}
}

func wantCode(t *testing.T, answer map[string]any, wantCode, wantSubcode int) {
	t.Helper()
	if got, sub := code(answer); got != wantCode || sub != wantSubcode {
		t.Errorf("answered %v, want code %d/%d", answer, wantCode, wantSubcode)
	}
}

func TestServer_Consent(t *testing.T) {
	t.Parallel()
	s := start(t, metatest.Config{App: metatest.App{Configurations: map[string][]string{"30001": {"pages_show_list", "pages_messaging"}}}})
	t.Run("ends with a code and the state", func(t *testing.T) {
		t.Parallel()
		if got := s.consent(t, metatest.Choice{}); got.Get("code") == "" || got.Get("state") != "state-1" || len(got) != 2 {
			t.Errorf("redirects with %v", got)
		}
	})
	t.Run("keeps the redirect's own parameters", func(t *testing.T) {
		t.Parallel()
		if got := s.consent(t, metatest.Choice{}, "redirect_uri", redirectURI+"?tenant=a+b"); got.Get("tenant") != "a b" || got.Get("code") == "" {
			t.Errorf("redirects with %v", got)
		}
	})
	t.Run("a denial says so, and Meta's own failure is told otherwise", func(t *testing.T) {
		t.Parallel()
		denied := s.consent(t, metatest.Choice{Deny: true}).Encode()
		if denied != "error=access_denied&error_code=200&error_description=Permissions+error&error_reason=user_denied&state=state-1" {
			t.Errorf("redirects with %s", denied)
		}
		if got := s.consent(t, metatest.Choice{Error: 901}); got.Get("error_code") != "901" || got.Get("error_message") == "" || got.Has("error") || got.Has("code") {
			t.Errorf("redirects with %v", got)
		}
	})
	t.Run("a configuration is allowed whole or not at all", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{App: metatest.App{Configurations: map[string][]string{"30001": {"pages_show_list", "pages_messaging"}}}})
		if got := s.consent(t, metatest.Choice{Decline: []string{"pages_messaging"}}, "config_id", "30001", "scope", ""); got.Get("error") != "access_denied" {
			t.Errorf("redirects with %v", got)
		}
		token := s.login(t, metatest.Choice{}, false, "config_id", "30001", "scope", "")
		if got := statuses(t, s, token); got != "pages_messaging=granted pages_show_list=granted public_profile=granted" {
			t.Errorf("the permissions are %s", got)
		}
	})
	t.Run("shows an error, and redirects nobody, where it cannot ask", func(t *testing.T) {
		t.Parallel()
		const policyEnd = "http://app.example.com;script-src/"
		strict := start(t, metatest.Config{App: metatest.App{RedirectURIs: []string{"https://app.example.com/callback", redirectURI, policyEnd}}})
		if _, err := strict.Consent(dialogURL("https://www.facebook.com", "redirect_uri", "https://app.example.com/callback"), metatest.Choice{}); err != nil {
			t.Error(err)
		}
		for name, tc := range map[string]struct {
			s          simulated
			parameters []string
			reason     string
		}{
			"no client_id":                  {s, []string{"client_id", ""}, "noApp"},
			"another app":                   {s, []string{"client_id", "10002"}, "badApp"},
			"no redirect_uri":               {s, []string{"redirect_uri", ""}, "noUri"},
			"a redirect that leaves":        {s, []string{"redirect_uri", "https://app.example.com/callback"}, "badUri"},
			"a redirect of no page":         {s, []string{"redirect_uri", "javascript:alert(1)"}, "badUri"},
			"a redirect with a fragment":    {s, []string{"redirect_uri", redirectURI + "#a"}, "badUri"},
			"a host that ends a policy":     {strict, []string{"redirect_uri", policyEnd}, "badUri"},
			"a redirect that is not listed": {strict, []string{"redirect_uri", redirectURI + "/"}, "badUri"},
			"loopback that is not listed":   {strict, []string{"redirect_uri", "http://127.0.0.1/"}, "badUri"},
			"a token instead of a code":     {s, []string{"response_type", "token"}, "badType"},
			"a permission that is none":     {s, []string{"scope", "pages_dance"}, "badScope"},
			"another configuration":         {s, []string{"config_id", "30002"}, "badConfig"},
			"another auth_type":             {s, []string{"auth_type", "ask"}, "badAuthType"},
			"another challenge":             {s, []string{"code_challenge", "x", "code_challenge_method", "S512"}, "badChallenge"},
		} {
			_, err := tc.s.Consent(dialogURL(s.url, tc.parameters...), metatest.Choice{})
			if failed, ok := errors.AsType[*metatest.DialogError](err); !ok || failed.Reason != tc.reason {
				t.Errorf("%s: %v, want %s", name, err, tc.reason)
			}
			status, header, body, err := tc.s.do(t, http.MethodGet, dialogURL("", tc.parameters...), "", "")
			if err != nil || status != http.StatusBadRequest || header.Get("Location") != "" || !strings.Contains(string(body), "SIMULATED") || strings.Contains(string(body), "<form") {
				t.Errorf("%s: the page is %d %s (%v)", name, status, body, err)
			}
		}
	})
	t.Run("a choice that nobody could make is an error", func(t *testing.T) {
		t.Parallel()
		for _, choice := range []metatest.Choice{
			{User: "nobody"}, {Decline: []string{"email"}}, {Without: []string{"1"}}, {Decline: []string{"public_profile"}},
		} {
			if location, err := s.Consent(dialogURL(s.url), choice); err == nil {
				t.Errorf("%+v redirects to %s", choice, location)
			}
		}
	})
}

// statuses are a user's permissions in one line.
func statuses(t *testing.T, s simulated, token string) string {
	t.Helper()
	_, answer := s.get(t, "/me/permissions", token)
	data, _ := answer["data"].([]any)
	var all []string
	for _, one := range data {
		name, _ := at(one, "permission").(string)
		status, _ := at(one, "status").(string)
		all = append(all, name+"="+status)
	}
	return strings.Join(all, " ")
}

func TestServer_Exchange(t *testing.T) {
	t.Parallel()
	t.Run("a code is good once, and only with what it was asked with", func(t *testing.T) {
		t.Parallel()
		var clock clock
		s := start(t, clock.config())
		c := s.consent(t, metatest.Choice{}).Get("code")
		for _, tc := range []struct {
			name          string
			parameters    []string
			code, subcode int
		}{
			{"another redirect", []string{"redirect_uri", redirectURI + "/"}, 100, 36008},
			{"no redirect", []string{"redirect_uri", ""}, 191, 0},
			{"another app", []string{"client_id", "1"}, 101, 0},
			{"no app", []string{"client_id", ""}, 101, 0},
			{"a wrong secret", []string{"client_secret", "x"}, 1, 0},
			{"no secret", []string{"client_secret", ""}, 1, 0},
			{"no code of ours", []string{"code", "AQx"}, 100, 0},
			{"another grant", []string{"grant_type", "password"}, 100, 0},
			{"all that it needs", nil, 0, 0},
			{"once more", nil, 100, 36009},
		} {
			status, answer := s.exchange(t, append([]string{"code", c}, tc.parameters...)...)
			if got, sub := code(answer); got != tc.code || sub != tc.subcode || (status == http.StatusOK) != (tc.code == 0) || status != http.StatusOK && status != http.StatusBadRequest {
				t.Errorf("%s: answered %d %v", tc.name, status, answer)
			}
			if tc.code == 0 && (answer["token_type"] != "bearer" || answer["expires_in"] != 5108.0) {
				t.Errorf("%s: answered %v", tc.name, answer)
			}
		}
		if tries := s.CodeTries(); len(tries) != 1 || tries[c] != 9 {
			t.Errorf("the tries are %v", tries)
		}
	})
	t.Run("a code is good for ten minutes", func(t *testing.T) {
		t.Parallel()
		var clock clock
		s := start(t, clock.config())
		in, late := s.consent(t, metatest.Choice{}).Get("code"), s.consent(t, metatest.Choice{}).Get("code")
		clock.now = clock.now.Add(10*time.Minute - 1)
		if status, answer := s.exchange(t, "code", in); status != http.StatusOK {
			t.Errorf("answered %v", answer)
		}
		clock.now = clock.now.Add(1)
		_, answer := s.exchange(t, "code", late)
		wantCode(t, answer, 100, 36007)
	})
	t.Run("tries count also where the call fails or its answer is lost", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		c := s.consent(t, metatest.Choice{}).Get("code")
		for _, kind := range []metatest.FaultKind{metatest.FaultReset, metatest.FaultHTML, metatest.FaultLostAnswer} {
			if _, err := s.Inject(metatest.Fault{Kind: kind, Next: 1, Call: "access_token"}); err != nil {
				t.Fatal(err)
			}
			query := url.Values{"client_id": {metatest.DefaultAppID}, "client_secret": {metatest.DefaultAppSecret}, "redirect_uri": {redirectURI}, "code": {c}}
			_, _, _, _ = s.do(t, http.MethodGet, "/oauth/access_token?"+query.Encode(), "", "") // it fails
		}
		_, answer := s.exchange(t, "code", c)
		wantCode(t, answer, 100, 36009) // the lost answer had the token
		if tries := s.CodeTries()[c]; tries != 4 {
			t.Errorf("%d tries", tries)
		}
	})
	t.Run("a challenge is proven by its verifier", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		verifier := oauth2.GenerateVerifier()
		c := s.consent(t, metatest.Choice{}, "code_challenge", oauth2.S256ChallengeFromVerifier(verifier), "code_challenge_method", "S256").Get("code")
		for _, wrong := range []string{"", oauth2.S256ChallengeFromVerifier(verifier)} {
			_, answer := s.exchange(t, "code", c, "code_verifier", wrong)
			wantCode(t, answer, 100, 0)
		}
		if status, answer := s.exchange(t, "code", c, "code_verifier", verifier); status != http.StatusOK {
			t.Errorf("answered %v", answer)
		}
	})
	t.Run("a token is exchanged for another one of 60 days, unless it has expired", func(t *testing.T) {
		t.Parallel()
		var clock clock
		s := start(t, clock.config())
		short := s.login(t, metatest.Choice{}, false)
		_, answer := s.exchange(t, "grant_type", "fb_exchange_token", "fb_exchange_token", short)
		long, _ := answer["access_token"].(string)
		if long == "" || long == short || answer["expires_in"] != 5184000.0 {
			t.Fatalf("answered %v", answer)
		}
		clock.now = clock.now.Add(5108 * time.Second)
		status, answer := s.exchange(t, "grant_type", "fb_exchange_token", "fb_exchange_token", short)
		if status != http.StatusBadRequest {
			t.Errorf("answered %d", status)
		}
		wantCode(t, answer, 190, 463)
		_, answer = s.get(t, "/me", short)
		wantCode(t, answer, 190, 463)
		clock.now = clock.now.Add(60*24*time.Hour - 5108*time.Second - 1)
		if _, answer = s.get(t, "/me", long); answer["id"] != metatest.DefaultUserID {
			t.Errorf("answered %v", answer)
		}
		clock.now = clock.now.Add(1)
		_, answer = s.get(t, "/me", long)
		wantCode(t, answer, 190, 463)
	})
	t.Run("type and life can be missing", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		s.SetQuirks(metatest.Quirks{BareToken: true})
		if _, answer := s.exchange(t, "code", s.consent(t, metatest.Choice{}).Get("code")); len(answer) != 1 || answer["access_token"] == nil {
			t.Errorf("answered %v", answer)
		}
	})
}

// golang.org/x/oauth2 as the product is to use it, and as it is not to.
func TestServer_OAuth2(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		style oauth2.AuthStyle
		tries int
	}{
		"sends a code once":                           {oauth2.AuthStyleInParams, 1},
		"sends it twice where it finds the style out": {oauth2.AuthStyleAutoDetect, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, metatest.Config{})
			cfg := oauth2.Config{
				ClientID: metatest.DefaultAppID, ClientSecret: metatest.DefaultAppSecret, RedirectURL: redirectURI, Scopes: []string{sixScopes},
				Endpoint: oauth2.Endpoint{AuthURL: s.url + "/v25.0/dialog/oauth", TokenURL: s.url + "/v25.0/oauth/access_token", AuthStyle: tc.style},
			}
			location, err := s.Consent(cfg.AuthCodeURL("state-1"), metatest.Choice{})
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(location)
			if err != nil {
				t.Fatal(err)
			}
			ctx := context.WithValue(t.Context(), oauth2.HTTPClient, client)
			c := u.Query().Get("code")
			token, err := cfg.Exchange(ctx, c)
			if err != nil || token.AccessToken == "" || token.TokenType != "bearer" || time.Until(token.Expiry) < time.Hour {
				t.Errorf("exchanged for %+v (%v)", token, err)
			}
			if tries := s.CodeTries()[c]; tries != tc.tries {
				t.Errorf("the code came %d times, want %d", tries, tc.tries)
			}
			_, err = cfg.Exchange(ctx, c)
			failed, ok := errors.AsType[*oauth2.RetrieveError](err)
			if !ok {
				t.Fatalf("once more: %v", err)
			}
			wantCode(t, decode(t, failed.Body), 100, 36009)
		})
	}
}

func TestServer_DebugToken(t *testing.T) {
	t.Parallel()
	var clock clock
	s := start(t, clock.config())
	short := s.login(t, metatest.Choice{User: metatest.DefaultManagerID, Decline: []string{"pages_messaging"}, Without: []string{metatest.DefaultPageID}}, false)
	long := s.login(t, metatest.Choice{}, true)
	page := s.pageToken(t, metatest.DefaultPageID, long)
	debug := func(t *testing.T, s simulated, token string) map[string]any {
		t.Helper()
		status, answer := s.call(t, http.MethodGet, "/debug_token?input_token="+url.QueryEscape(token)+"&access_token="+url.QueryEscape(appToken), "", "")
		data, _ := answer["data"].(map[string]any)
		if status != http.StatusOK || data == nil {
			t.Fatalf("answered %d %v", status, answer)
		}
		return data
	}
	now := float64(time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC).Unix())
	t.Run("tells of a user's token what it may do, for what and how long", func(t *testing.T) {
		t.Parallel()
		data := debug(t, s, short)
		scopes, _ := data["scopes"].([]any)
		if data["is_valid"] != true || data["type"] != "USER" || data["app_id"] != metatest.DefaultAppID || data["user_id"] != metatest.DefaultManagerID ||
			data["expires_at"] != now+5108 || data["data_access_expires_at"] != now+90*24*3600 || len(scopes) != 6 || slices.Contains(scopes, any("pages_messaging")) {
			t.Errorf("told %v", data)
		}
		granular, _ := data["granular_scopes"].([]any)
		for _, one := range granular {
			if at(one, "scope") == "pages_show_list" && (at(one, "target_ids", 0) != "100000000000002" || at(one, "target_ids", 2) != nil) {
				t.Errorf("granular %v", one)
			}
		}
		if len(granular) != 5 {
			t.Errorf("granular %v", granular)
		}
	})
	t.Run("the token of a page from one that lives long never expires", func(t *testing.T) {
		t.Parallel()
		if data := debug(t, s, page); data["type"] != "PAGE" || data["expires_at"] != 0.0 || data["profile_id"] != metatest.DefaultPageID || data["user_id"] != metatest.DefaultUserID {
			t.Errorf("told %v", data)
		}
		if data := debug(t, s, s.pageToken(t, "100000000000002", short)); data["expires_at"] != now+5108 {
			t.Errorf("told %v", data)
		}
	})
	t.Run("an invalid token is told of with 200", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		token := s.login(t, metatest.Choice{}, true)
		s.InvalidateUser(metatest.DefaultUserID, 460)
		if data := debug(t, s, token); data["is_valid"] != false || at(data, "error", "code") != 190.0 || at(data, "error", "subcode") != 460.0 || data["user_id"] != metatest.DefaultUserID {
			t.Errorf("told %v", data)
		}
		if data := debug(t, s, "EAAnobodys"); data["is_valid"] != false || at(data, "error", "code") != 190.0 {
			t.Errorf("told %v", data)
		}
	})
	t.Run("ids may be numbers, times texts, targets missing", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		token := s.login(t, metatest.Choice{}, true)
		s.SetQuirks(metatest.Quirks{NumericIDs: true, TextNumbers: true, NoTargets: true})
		data := debug(t, s, token)
		if _, ok := data["expires_at"].(string); !ok || data["user_id"] != 777000000000001.0 || at(data, "granular_scopes", 0, "target_ids") != nil {
			t.Errorf("told %v", data)
		}
	})
	t.Run("only who has the app's token is told", func(t *testing.T) {
		t.Parallel()
		status, answer := s.get(t, "/debug_token?input_token="+long, long)
		if c, _ := code(answer); status != http.StatusBadRequest || c != 100 {
			t.Errorf("answered %d %v", status, answer)
		}
		_, answer = s.call(t, http.MethodGet, "/debug_token?input_token="+long, metatest.DefaultAppID+"|wrong", "")
		wantCode(t, answer, 190, 0)
	})
}

func TestServer_Accounts(t *testing.T) {
	t.Parallel()
	const user = "555000000000001"
	begin := func(t *testing.T, mix metatest.Mix, choice metatest.Choice) (simulated, string) {
		t.Helper()
		s := start(t, metatest.Config{RequireProof: true})
		s.AddUserWithPages(metatest.User{ID: user, Name: "Ana"}, mix)
		choice.User = user
		return s, s.login(t, choice, true)
	}
	// walk reads all pages of the list by their cursors, 50 at most.
	walk := func(t *testing.T, s simulated, token, query string) (ids []string, sizes []int) {
		t.Helper()
		after := ""
		for range 50 {
			_, answer := s.get(t, "/v25.0/me/accounts?fields=id,name,access_token,tasks,instagram_business_account"+query+after, token)
			data, ok := answer["data"].([]any)
			if !ok {
				t.Fatalf("answered %v", answer)
			}
			sizes = append(sizes, len(data))
			for _, one := range data {
				id, _ := at(one, "id").(string)
				ids = append(ids, id)
			}
			if at(answer, "paging", "next") == nil {
				return ids, sizes
			}
			cursor, _ := at(answer, "paging", "cursors", "after").(string)
			after = "&after=" + url.QueryEscape(cursor)
		}
		return ids, sizes
	}
	t.Run("every page is listed once, by cursors", func(t *testing.T) {
		t.Parallel()
		s, token := begin(t, metatest.Mix{Pages: 60}, metatest.Choice{})
		for query, want := range map[string][]int{"": {25, 25, 10}, "&limit=100": {60}, "&limit=30": {30, 30}} {
			ids, sizes := walk(t, s, token, query)
			slices.Sort(ids)
			if !slices.Equal(sizes, want) || len(slices.Compact(ids)) != 60 {
				t.Errorf("%s: the sizes are %v, %d pages", query, sizes, len(ids))
			}
		}
	})
	t.Run("pages of the list may be small, and empty with a next", func(t *testing.T) {
		t.Parallel()
		s, token := begin(t, metatest.Mix{Pages: 5}, metatest.Choice{})
		s.SetQuirks(metatest.Quirks{PageSize: 2, EmptyPages: 2})
		if ids, sizes := walk(t, s, token, "&limit=100"); !slices.Equal(sizes, []int{2, 0, 0, 2, 0, 0, 1}) || len(ids) != 5 {
			t.Errorf("the sizes are %v, %d pages", sizes, len(ids))
		}
	})
	t.Run("next has the token in it, and leads on", func(t *testing.T) {
		t.Parallel()
		s, token := begin(t, metatest.Mix{Pages: 3}, metatest.Choice{})
		_, answer := s.get(t, "/me/accounts?limit=2&fields=id", token)
		next, _ := at(answer, "paging", "next").(string)
		if !strings.HasPrefix(next, s.url+"/v25.0/"+user+"/accounts?") || !strings.Contains(next, "access_token="+token) {
			t.Fatalf("next is %q", next)
		}
		if _, answer = s.get(t, strings.TrimPrefix(next, s.url), token); len(answer["data"].([]any)) != 1 {
			t.Errorf("next answers %v", answer)
		}
		s.SetQuirks(metatest.Quirks{Next: "https://evil.example.com/"})
		if _, answer = s.get(t, "/me/accounts?limit=2", token); at(answer, "paging", "next") != "https://evil.example.com/" {
			t.Errorf("answered %v", answer)
		}
		_, answer = s.get(t, "/me/accounts?after=x", token)
		wantCode(t, answer, 100, 0)
	})
	t.Run("some have Instagram, and some no token", func(t *testing.T) {
		t.Parallel()
		s, token := begin(t, metatest.Mix{Pages: 3, Instagram: 1, NoToken: 1}, metatest.Choice{})
		_, answer := s.get(t, "/me/accounts?fields=id,access_token,tasks,instagram_business_account{id,username}", token)
		for i, want := range []struct{ token, instagram bool }{{true, true}, {true, false}, {false, false}} {
			one := at(answer, "data", i)
			if (at(one, "access_token") != nil) != want.token || (at(one, "instagram_business_account", "username") != nil) != want.instagram {
				t.Errorf("page %d is %v", i, one)
			}
		}
		again, _ := at(answer, "data", 0, "access_token").(string)
		if got := s.pageToken(t, "10"+user+"0001", token); got != again {
			t.Errorf("the page's token is %q, and then %q", again, got)
		}
	})
	t.Run("what was left out or declined is not there", func(t *testing.T) {
		t.Parallel()
		s, token := begin(t, metatest.Mix{Pages: 2, Instagram: 2}, metatest.Choice{Without: []string{"10" + user + "0001"}, Decline: []string{"instagram_basic"}})
		_, answer := s.get(t, "/me/accounts?fields=id,instagram_business_account", token)
		data, _ := answer["data"].([]any)
		if len(data) != 1 || at(data, 0, "id") != "10"+user+"0002" || at(data, 0, "instagram_business_account") != nil {
			t.Errorf("answered %v", answer)
		}
		_, answer = s.get(t, "/10"+user+"0001", token)
		wantCode(t, answer, 100, 33)
	})
	t.Run("none are listed without the permission", func(t *testing.T) {
		t.Parallel()
		s, token := begin(t, metatest.Mix{Pages: 2}, metatest.Choice{Decline: []string{"pages_show_list"}})
		if status, answer := s.get(t, "/me/accounts", token); status != http.StatusOK || len(answer["data"].([]any)) != 0 || answer["paging"] != nil {
			t.Errorf("answered %d %v", status, answer)
		}
	})
	t.Run("an Instagram account tells its numbers, or nothing but its name", func(t *testing.T) {
		t.Parallel()
		s, token := begin(t, metatest.Mix{Pages: 1, Instagram: 1}, metatest.Choice{})
		path := "/1784" + user + "0001?fields=id,username,name,profile_picture_url,followers_count"
		page := s.pageToken(t, "10"+user+"0001", token)
		for _, token := range []string{token, page} {
			if _, answer := s.get(t, path, token); len(answer) != 5 || answer["followers_count"] != 100.0 {
				t.Errorf("answered %v", answer)
			}
		}
		s.AddAccount(metatest.Account{ID: "1784" + user + "0001", Username: "loja.1", Page: "10" + user + "0001", Sparse: true})
		if _, answer := s.get(t, path, page); len(answer) != 2 || answer["username"] != "loja.1" {
			t.Errorf("answered %v", answer)
		}
	})
}

func TestServer_Permissions(t *testing.T) {
	t.Parallel()
	t.Run("what was declined stays so until it is asked for again", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		for _, step := range []struct {
			authType, want string
			choice         metatest.Choice
		}{
			{"", "email=declined pages_messaging=granted public_profile=granted", metatest.Choice{Decline: []string{"email"}}},
			{"", "email=declined pages_messaging=granted public_profile=granted", metatest.Choice{}},
			{"rerequest", "email=granted pages_messaging=granted public_profile=granted", metatest.Choice{}},
		} {
			token := s.login(t, step.choice, false, "scope", "pages_messaging email", "auth_type", step.authType)
			if got := statuses(t, s, token); got != step.want {
				t.Errorf("%q: %s, want %s", step.authType, got, step.want)
			}
		}
	})
	t.Run("the email address is told with its permission alone", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		with, without := s.login(t, metatest.Choice{User: metatest.DefaultManagerID}, false, "scope", "email"), s.login(t, metatest.Choice{}, false)
		for token, want := range map[string]any{with: "rui@example.com", without: nil} {
			if _, me := s.get(t, "/me?fields=id,name,email,picture", token); me["email"] != want || at(me, "picture", "data", "url") == nil {
				t.Errorf("answered %v", me)
			}
		}
	})
	t.Run("one that is taken back is missing at once", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		token := s.login(t, metatest.Choice{}, true)
		page := s.pageToken(t, metatest.DefaultPageID, token)
		s.SetQuirks(metatest.Quirks{TextSuccess: true})
		if _, answer := s.call(t, http.MethodDelete, "/me/permissions/instagram_basic", token, ""); answer["success"] != "true" {
			t.Errorf("answered %v", answer)
		}
		status, answer := s.get(t, "/"+metatest.DefaultAccountID+"?fields=username", page)
		if c, _ := code(answer); status != http.StatusForbidden || c != 10 {
			t.Errorf("answered %d %v", status, answer)
		}
		if got := statuses(t, s, token); !strings.Contains(got, "instagram_basic=declined") {
			t.Errorf("the permissions are %s", got)
		}
	})
	t.Run("all taken back ends the tokens of the user and their pages, and a new login begins anew", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		token := s.login(t, metatest.Choice{}, true)
		page := s.pageToken(t, metatest.DefaultPageID, token)
		other := s.login(t, metatest.Choice{User: metatest.DefaultManagerID}, true)
		otherPage := s.pageToken(t, metatest.DefaultPageID, other)
		if _, answer := s.call(t, http.MethodDelete, "/"+metatest.DefaultUserID+"/permissions", token, ""); answer["success"] != true {
			t.Errorf("answered %v", answer)
		}
		for _, dead := range []string{token, page, metatest.DefaultUserToken} {
			_, answer := s.get(t, "/me", dead)
			wantCode(t, answer, 190, 458)
		}
		fresh := s.login(t, metatest.Choice{}, true, "scope", "email")
		if got := statuses(t, s, fresh); got != "email=granted public_profile=granted" {
			t.Errorf("the new login allows %s", got)
		}
		for _, good := range []string{other, otherPage, metatest.DefaultPageToken, fresh} {
			if status, answer := s.get(t, "/me", good); status != http.StatusOK {
				t.Errorf("answered %v", answer)
			}
		}
		_, answer := s.get(t, "/me", page)
		wantCode(t, answer, 190, 458)
		if status, _ := s.call(t, http.MethodDelete, "/"+metatest.DefaultManagerID+"/permissions", appToken, ""); status != http.StatusOK {
			t.Errorf("with the app's token: answered %d", status)
		}
		_, answer = s.get(t, "/me", otherPage)
		wantCode(t, answer, 190, 458)
	})
	t.Run("Instagram's lapse with the access to data, pages' do not", func(t *testing.T) {
		t.Parallel()
		var clock clock
		s := start(t, clock.config())
		token := s.login(t, metatest.Choice{}, true)
		page := s.pageToken(t, metatest.DefaultPageID, token)
		if !s.ExpireDataAccess(metatest.DefaultUserID) || s.ExpireDataAccess("nobody") {
			t.Error("whether there was anything to expire is wrong")
		}
		if got := statuses(t, s, token); !strings.Contains(got, "instagram_basic=expired instagram_manage_messages=expired") || !strings.Contains(got, "pages_messaging=granted") {
			t.Errorf("the permissions are %s", got)
		}
		_, answer := s.get(t, "/"+metatest.DefaultAccountID, page)
		wantCode(t, answer, 10, 0)
		token = s.login(t, metatest.Choice{}, true)
		if got := statuses(t, s, token); !strings.Contains(got, "instagram_basic=expired") {
			t.Errorf("after a login: %s", got)
		}
		token = s.login(t, metatest.Choice{}, true, "auth_type", "reauthorize")
		if got := statuses(t, s, token); strings.Contains(got, "expired") {
			t.Errorf("after a new authorisation: %s", got)
		}
		clock.now = clock.now.Add(90*24*time.Hour - 1)
		if got := statuses(t, s, metatest.DefaultUserToken); strings.Contains(got, "expired") {
			t.Errorf("before 90 days: %s", got)
		}
		clock.now = clock.now.Add(1)
		if got := statuses(t, s, metatest.DefaultUserToken); !strings.Contains(got, "expired") {
			t.Errorf("after 90 days: %s", got)
		}
	})
	t.Run("a send needs its permission", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		token := s.login(t, metatest.Choice{User: metatest.DefaultManagerID, Decline: []string{"pages_messaging"}}, true)
		send := func(token string) map[string]any {
			_, answer := s.call(t, http.MethodPost, "/me/messages", token, `{"recipient": {"id": "5001000000000001"}, "message": {"text": "oi"}}`)
			return answer
		}
		wantCode(t, send(s.pageToken(t, metatest.DefaultPageID, token)), 200, 0)
		if answer := send(s.pageToken(t, metatest.DefaultPageID, s.login(t, metatest.Choice{}, true))); answer["message_id"] == nil {
			t.Errorf("answered %v", answer)
		}
	})
	t.Run("a page's token ends with the user's role", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		page := s.pageToken(t, metatest.DefaultPageID, s.login(t, metatest.Choice{User: metatest.DefaultManagerID}, true))
		s.AddUser(metatest.User{ID: metatest.DefaultManagerID, Name: "Rui Barros"})
		_, answer := s.get(t, "/me", page)
		wantCode(t, answer, 190, 492)
	})
}

// What is to end soon ends then, and says so before.
func TestServer_Expiry(t *testing.T) {
	t.Parallel()
	var clock clock
	s := start(t, clock.config())
	token := s.login(t, metatest.Choice{User: metatest.DefaultManagerID}, true)
	page := s.pageToken(t, metatest.DefaultPageID, token)
	tokenEnd, accessEnd := clock.now.Add(6*24*time.Hour), clock.now.Add(3*24*time.Hour)
	if n := s.ExpireTokens(metatest.DefaultManagerID, tokenEnd); n != 2 || !s.EndDataAccess(metatest.DefaultManagerID, accessEnd) {
		t.Errorf("%d tokens end, want that of an hour and that of 60 days", n)
	}
	_, answer := s.call(t, http.MethodGet, "/debug_token?input_token="+token, appToken, "")
	if at(answer, "data", "expires_at") != float64(tokenEnd.Unix()) || at(answer, "data", "data_access_expires_at") != float64(accessEnd.Unix()) {
		t.Errorf("answered %v", answer)
	}
	clock.now = tokenEnd.Add(-1)
	if got := statuses(t, s, token); !strings.Contains(got, "instagram_basic=expired") || !strings.Contains(got, "pages_messaging=granted") {
		t.Errorf("the permissions are %s", got)
	}
	clock.now = tokenEnd
	_, answer = s.get(t, "/me", token)
	wantCode(t, answer, 190, 463)
	if status, _ := s.get(t, "/me", page); status != http.StatusOK {
		t.Errorf("the page's token, which has no end: answered %d", status)
	}
}

func TestServer_InvalidateUser(t *testing.T) {
	t.Parallel()
	for subcode, pageToo := range map[int]bool{458: true, 459: true, 460: true, 467: true, 463: false} {
		t.Run("subcode "+strconv.Itoa(subcode), func(t *testing.T) {
			t.Parallel()
			s := start(t, metatest.Config{})
			token := s.login(t, metatest.Choice{User: metatest.DefaultManagerID}, true)
			page := s.pageToken(t, metatest.DefaultPageID, token)
			s.InvalidateUser(metatest.DefaultManagerID, subcode)
			status, answer := s.get(t, "/me", token)
			if wantCode(t, answer, 190, subcode); status != http.StatusUnauthorized {
				t.Errorf("answered %d", status)
			}
			_, answer = s.get(t, "/me", page)
			if got, _ := code(answer); (got == 190) != pageToo {
				t.Errorf("the page's token: answered %v", answer)
			}
			if status, _ := s.get(t, "/me", s.login(t, metatest.Choice{User: metatest.DefaultManagerID}, true)); status != http.StatusOK {
				t.Errorf("a new login's token: answered %d", status)
			}
		})
	}
}

func TestServer_Proof(t *testing.T) {
	t.Parallel()
	s := start(t, metatest.Config{RequireProof: true})
	token := s.login(t, metatest.Choice{}, true)
	page := s.pageToken(t, metatest.DefaultPageID, token)
	for path, token := range map[string]string{
		"/me": token, "/me/accounts": token, "/me/permissions": token, "/" + metatest.DefaultPageID + "/subscribed_apps": page, "/" + metatest.DefaultAccountID: page,
	} {
		status, _ := s.get(t, path, token)
		if status != http.StatusOK {
			t.Errorf("%s: answered %d", path, status)
		}
		_, answer := s.call(t, http.MethodGet, path, token, "")
		wantCode(t, answer, 100, 0)
		_, answer = s.call(t, http.MethodGet, path+"?appsecret_proof="+meta.Proof(metatest.DefaultAppSecret, "another token"), token, "")
		wantCode(t, answer, 100, 0)
	}
}

func TestServer_SubscribedApps(t *testing.T) {
	t.Parallel()
	const path = "/" + metatest.DefaultPageID + "/subscribed_apps"
	begin := func(t *testing.T, choice metatest.Choice) (s simulated, page string) {
		t.Helper()
		s = start(t, metatest.Config{})
		choice.User = metatest.DefaultManagerID
		return s, s.pageToken(t, metatest.DefaultPageID, s.login(t, choice, true))
	}
	fields := func(t *testing.T, s simulated, page string) string {
		t.Helper()
		_, answer := s.get(t, path, page)
		list, _ := at(answer, "data", 0, "subscribed_fields").([]any)
		text, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	t.Run("a subscription replaces the one before, in whatever form it comes", func(t *testing.T) {
		t.Parallel()
		s, page := begin(t, metatest.Choice{})
		if got := fields(t, s, page); got != "null" {
			t.Errorf("the fields are %s", got)
		}
		for _, step := range []struct{ query, body, want string }{
			{"?subscribed_fields=messages,messaging_postbacks", "", `["messages","messaging_postbacks"]`},
			{"", `{"subscribed_fields": ["feed", "feed"]}`, `["feed"]`},
			{"", `{"subscribed_fields": "messages"}`, `["messages"]`},
			{`?subscribed_fields=%5B%22feed%22%5D`, "", `["feed"]`},
		} {
			if status, answer := s.call(t, http.MethodPost, path+step.query, page, step.body); status != http.StatusOK || answer["success"] != true {
				t.Errorf("answered %d %v", status, answer)
			}
			if got := fields(t, s, page); got != step.want {
				t.Errorf("the fields are %s, want %s", got, step.want)
			}
		}
		s.SetQuirks(metatest.Quirks{TextSuccess: true})
		if _, answer := s.call(t, http.MethodDelete, path, page, ""); answer["success"] != "true" {
			t.Errorf("answered %v", answer)
		}
		if got, ok := s.Subscriptions(metatest.DefaultPageID); ok {
			t.Errorf("still subscribed to %v", got)
		}
	})
	t.Run("Meta unsubscribes the app from a page", func(t *testing.T) {
		t.Parallel()
		s, page := begin(t, metatest.Choice{})
		s.call(t, http.MethodPost, path+"?subscribed_fields=messages", page, "")
		if !s.Unsubscribe(metatest.DefaultPageID) || s.Unsubscribe(metatest.DefaultPageID) || fields(t, s, page) != "null" {
			t.Error("still subscribed")
		}
	})
	t.Run("what is wrong or not allowed is refused as Meta refuses it", func(t *testing.T) {
		t.Parallel()
		s, page := begin(t, metatest.Choice{})
		user := s.login(t, metatest.Choice{}, true)
		for name, tc := range map[string]struct {
			path, token string
			code        int
			message     string
		}{
			"no fields":          {path, page, 100, "(#100) The parameter subscribed_fields is required."},
			"no field of a page": {path + "?subscribed_fields=messages,dance", page, 100, ""},
			"a user's token":     {path + "?subscribed_fields=messages", user, 210, ""},
			"another page":       {"/100000000000002/subscribed_apps?subscribed_fields=messages", page, 100, ""},
		} {
			_, answer := s.call(t, http.MethodPost, tc.path, tc.token, "")
			if c, _ := code(answer); c != tc.code || tc.message != "" && at(answer, "error", "message") != tc.message {
				t.Errorf("%s: answered %v", name, answer)
			}
		}
		for _, scope := range []string{"pages_manage_metadata", "pages_messaging"} {
			s, page := begin(t, metatest.Choice{Decline: []string{scope}})
			status, answer := s.call(t, http.MethodPost, path+"?subscribed_fields=messages", page, "")
			if c, _ := code(answer); status != http.StatusForbidden || c != 200 || !strings.Contains(at(answer, "error", "message").(string), scope) {
				t.Errorf("%s: answered %d %v", scope, status, answer)
			}
		}
		s, page = begin(t, metatest.Choice{})
		s.AddUser(metatest.User{ID: metatest.DefaultManagerID, Pages: []string{metatest.DefaultPageID}, Tasks: map[string][]string{metatest.DefaultPageID: {"MESSAGING"}}})
		_, answer := s.call(t, http.MethodPost, path+"?subscribed_fields=messages", page, "")
		wantCode(t, answer, 200, 0)
	})
}

func TestServer_TokenLimits(t *testing.T) {
	t.Parallel()
	s := start(t, metatest.Config{Limits: metatest.Limits{UserPerMinute: 2, PagePerMinute: 1}})
	token := s.login(t, metatest.Choice{}, true)
	page := s.pageToken(t, metatest.DefaultPageID, token)
	for _, tc := range []struct {
		token string
		code  int
	}{{token, 0}, {token, 17}, {page, 0}, {page, 32}} {
		_, answer := s.get(t, "/me", tc.token)
		wantCode(t, answer, tc.code, 0)
	}
}

// app is the app's callbacks for notices.
type app struct {
	url string
	got chan string // signed requests, in the order in which they came
}

func newApp(t *testing.T, status int) app {
	a := app{got: make(chan string, 10)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.got <- r.PostFormValue("signed_request")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"url": "https://app.example.com/deletion/abc", "confirmation_code": "abc"}`)
	}))
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

func TestServer_Notices(t *testing.T) {
	t.Parallel()
	t.Run("are signed over the text as it is sent, padded or not", func(t *testing.T) {
		t.Parallel()
		a := newApp(t, http.StatusOK)
		s := start(t, metatest.Config{App: metatest.App{DeauthorizeURL: a.url, DeletionURL: a.url}})
		for name, tc := range map[string]struct {
			notice metatest.Notice
			coding *base64.Encoding
			user   any
		}{
			"plain":  {metatest.Notice{User: metatest.DefaultUserID}, base64.RawURLEncoding, metatest.DefaultUserID},
			"padded": {metatest.Notice{User: metatest.DefaultUserID, Padded: true}, base64.URLEncoding, metatest.DefaultUserID},
			"number": {metatest.Notice{User: metatest.DefaultUserID, NumericID: true}, base64.RawURLEncoding, 777000000000001.0},
		} {
			answered, err := s.RequestDeletion(t.Context(), tc.notice)
			if err != nil || answered.Status != http.StatusOK || !strings.Contains(answered.Body, "confirmation_code") {
				t.Fatalf("%s: answered %+v (%v)", name, answered, err)
			}
			signed, payload, _ := strings.Cut(<-a.got, ".")
			signature, err := tc.coding.DecodeString(signed)
			text, also := tc.coding.DecodeString(payload)
			if err != nil || also != nil || meta.Sign(metatest.DefaultAppSecret, []byte(payload)) != "sha256="+hexOf(signature) {
				t.Errorf("%s: %s.%s is not signed (%v, %v)", name, signed, payload, err, also)
			}
			if got := decode(t, text); got["user_id"] != tc.user || got["algorithm"] != "HMAC-SHA256" || got["issued_at"] == nil {
				t.Errorf("%s: the payload is %s", name, text)
			}
		}
	})
	t.Run("a user who takes all back is told of, whichever way they do", func(t *testing.T) {
		t.Parallel()
		a := newApp(t, http.StatusInternalServerError)
		s := start(t, metatest.Config{App: metatest.App{DeauthorizeURL: a.url}})
		token := s.login(t, metatest.Choice{}, true)
		s.call(t, http.MethodDelete, "/me/permissions", token, "")
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := s.Settle(ctx); err != nil || len(a.got) != 1 {
			t.Fatalf("%d notices came (%v)", len(a.got), err)
		}
		token = s.login(t, metatest.Choice{}, true)
		answered, err := s.Deauthorize(t.Context(), metatest.Notice{User: metatest.DefaultUserID})
		if err != nil || answered.Status != http.StatusInternalServerError || len(a.got) != 2 {
			t.Errorf("answered %+v (%v)", answered, err)
		}
		_, answer := s.get(t, "/me", token)
		wantCode(t, answer, 190, 458)
	})
	t.Run("Close does not wait for a callback that does not answer", func(t *testing.T) {
		t.Parallel()
		reached := make(chan struct{})
		slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // so that the end of the connection is seen
			close(reached)
			<-r.Context().Done()
		}))
		defer slow.Close()
		s := start(t, metatest.Config{App: metatest.App{DeauthorizeURL: slow.URL}})
		token := s.login(t, metatest.Choice{}, true)
		s.call(t, http.MethodDelete, "/me/permissions", token, "")
		<-reached
		s.Close()
	})
}
