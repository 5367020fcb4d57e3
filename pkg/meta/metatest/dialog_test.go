package metatest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/primezap/primezap/pkg/meta/metatest"
)

func hexOf(b []byte) string { return hex.EncodeToString(b) }

// control is a request below /simulate.
func (s simulated) control(t *testing.T, method, path, body string) (int, map[string]any) {
	t.Helper()
	return s.call(t, method, path, "", body)
}

// form is what a browser would send of the dialog's form, and where.
func form(t *testing.T, page string) url.Values {
	t.Helper()
	values := url.Values{}
	tokens := html.NewTokenizer(strings.NewReader(page))
	for kind := tokens.Next(); kind != html.ErrorToken; kind = tokens.Next() {
		attributes := map[string]string{}
		token := tokens.Token()
		for _, a := range token.Attr {
			attributes[a.Key] = a.Val
		}
		_, checked := attributes["checked"]
		_, disabled := attributes["disabled"]
		if token.Data == "input" && checked && !disabled {
			values.Add(attributes["name"], attributes["value"])
		}
	}
	return values
}

func TestServer_Dialog(t *testing.T) {
	t.Parallel()
	s := start(t, metatest.Config{})
	open := func(t *testing.T, s simulated, parameters ...string) (page string, header http.Header) {
		t.Helper()
		status, header, body, err := s.do(t, http.MethodGet, dialogURL("", parameters...), "", "")
		if err != nil || status != http.StatusOK {
			t.Fatalf("answered %d %s (%v)", status, body, err)
		}
		return string(body), header
	}
	// press sends the form as a browser does that comes from an origin.
	press := func(t *testing.T, s simulated, values url.Values, button, site string) (status int, location *url.URL) {
		t.Helper()
		values.Set("do", button)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, dialogURL(s.url), strings.NewReader(values.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", site)
		c := *client
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		location, err = resp.Location()
		if err != nil {
			location = &url.URL{}
		}
		return resp.StatusCode, location
	}
	for lang, says := range map[string]string{"en": "SIMULATED: this is not Facebook", "pt-BR": "SIMULADO: isto não é o Facebook"} {
		t.Run("says in "+lang+" that it is simulated, and what can be chosen", func(t *testing.T) {
			t.Parallel()
			page, header := open(t, s, "locale", strings.ReplaceAll(lang, "-", "_"))
			for _, part := range []string{
				says, `<html lang="` + lang + `">`, metatest.DefaultUserID, metatest.DefaultManagerID, `name="scope" value="instagram_basic" checked>`,
				`name="page" value="` + metatest.DefaultManagerID + "/" + metatest.DefaultPageID + `"`, "127.0.0.1:8080",
			} {
				if !strings.Contains(page, part) {
					t.Errorf("lacks %q", part)
				}
			}
			if header.Get("Content-Language") != lang || strings.Contains(page, "no value") || strings.Contains(page, "<script") || strings.Contains(page, metatest.DefaultUserToken) {
				t.Errorf("is in %q: %s", header.Get("Content-Language"), page)
			}
		})
	}
	t.Run("takes nothing from elsewhere, and sends its form to itself and to the redirect", func(t *testing.T) {
		t.Parallel()
		page, header := open(t, s)
		_, rest, _ := strings.Cut(page, "<style>")
		style, _, _ := strings.Cut(rest, "</style>")
		sum := sha256.Sum256([]byte(style))
		want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; base-uri 'none'; form-action 'self' http://127.0.0.1:8080; frame-ancestors 'none'"
		if got := header.Get("Content-Security-Policy"); got != want {
			t.Errorf("the policy is %q, want %q", got, want)
		}
	})
	t.Run("its form does what was chosen", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		page, _ := open(t, s)
		values := form(t, page)
		status, location := press(t, s, values, "allow", "same-origin")
		if q := location.Query(); status != http.StatusSeeOther || q.Get("code") == "" || q.Get("state") != "state-1" || location.Fragment != "_=_" {
			t.Errorf("answered %d, to %s", status, location)
		}
		values.Set("user", metatest.DefaultManagerID)
		values["scope"] = []string{"pages_show_list"}
		values["page"] = []string{metatest.DefaultManagerID + "/" + metatest.DefaultPageID}
		if status, _ := press(t, s, values, "allow", "same-origin"); status != http.StatusSeeOther {
			t.Fatalf("answered %d", status)
		}
		for _, g := range s.Grants() {
			switch {
			case g.User == metatest.DefaultUserID && (len(g.Pages) != 1 || g.Permissions[0].Status != "granted"):
				t.Errorf("allowed %+v", g)
			case g.User == metatest.DefaultManagerID && (len(g.Pages) != 1 || g.Pages[0] != metatest.DefaultPageID || g.Permissions[0].Status != "declined"):
				t.Errorf("allowed %+v", g)
			}
		}
		if grants := s.Grants(); len(grants) != 2 {
			t.Errorf("allowed %+v", grants)
		}
		if again, _ := open(t, s); !strings.Contains(again, "Declined before") {
			t.Error("does not say what was declined before")
		}
		for button, want := range map[string]string{"deny": "access_denied", "fail": ""} {
			if status, location := press(t, s, values, button, "same-origin"); status != http.StatusSeeOther || location.Query().Get("error") != want || location.Query().Has("code") {
				t.Errorf("%s: answered %d, to %s", button, status, location)
			}
		}
	})
	t.Run("the form of another site, or one without a button, does nothing", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		page, _ := open(t, s)
		for button, site := range map[string]string{"allow": "cross-site", "": "same-origin"} {
			if status, location := press(t, s, form(t, page), button, site); status != http.StatusBadRequest || location.Host != "" || len(s.Grants()) != 0 {
				t.Errorf("answered %d, to %s", status, location)
			}
		}
	})
	t.Run("what it was opened with is shown as text", func(t *testing.T) {
		t.Parallel()
		_, _, body, err := s.do(t, http.MethodGet, dialogURL("", "scope", `"><script>alert(1)</script>`), "", "")
		if err != nil || strings.Contains(string(body), "<script") {
			t.Errorf("shows %s (%v)", body, err)
		}
	})
}

func TestServer_LoginControl(t *testing.T) {
	t.Parallel()
	a := newApp(t, http.StatusOK)
	s := start(t, metatest.Config{})
	do := func(method, path, body string) map[string]any {
		t.Helper()
		status, answer := s.control(t, method, "/simulate/"+path, body)
		if status != http.StatusOK {
			t.Fatalf("%s: answered %d %v", path, status, answer)
		}
		return answer
	}
	do(http.MethodPut, "app", `{"redirectUris": ["`+redirectURI+`"], "deauthorizeUrl": "`+a.url+`", "deletionUrl": "`+a.url+`"}`)
	do(http.MethodPut, "quirks", `{"pageSize": 2}`)
	do(http.MethodPost, "users/with-pages", `{"user": {"id": "555", "name": "Ana"}, "mix": {"pages": 3, "instagram": 1}}`)
	location, _ := do(http.MethodPost, "consent", `{"url": "`+dialogURL(s.url)+`", "user": "555", "decline": ["pages_messaging"]}`)["location"].(string)
	u, err := url.Parse(location)
	if err != nil {
		t.Fatal(err)
	}
	_, answer := s.exchange(t, "code", u.Query().Get("code"))
	token, _ := answer["access_token"].(string)
	if _, answer = s.get(t, "/me/accounts", token); len(answer["data"].([]any)) != 2 {
		t.Errorf("answered %v", answer)
	}
	if tries := do(http.MethodGet, "codes", ""); at(tries, "tries", u.Query().Get("code")) != 1.0 {
		t.Errorf("the tries are %v", tries)
	}
	if grants := do(http.MethodGet, "grants", ""); at(grants, "data", 0, "user") != "555" || at(grants, "data", 0, "pageIds", 2) == nil {
		t.Errorf("allowed %v", grants)
	}
	page := s.pageToken(t, "105550001", token)
	s.call(t, http.MethodPost, "/me/subscribed_apps?subscribed_fields=feed", page, "")
	if all := do(http.MethodGet, "subscriptions", ""); at(all, "data", "105550001", 0) != "feed" {
		t.Errorf("subscribed to %v", all)
	}
	for _, body := range []string{`{"page": "105550001"}`, `{}`} {
		if answer := do(http.MethodPost, "pages/unsubscribe", body); at(answer, "unsubscribed", 0) != "105550001" {
			t.Errorf("answered %v", answer)
		}
		if answer := do(http.MethodPost, "pages/unsubscribe", body); at(answer, "unsubscribed", 0) != nil {
			t.Errorf("answered %v", answer)
		}
		s.call(t, http.MethodPost, "/me/subscribed_apps?subscribed_fields=feed", page, "")
	}
	if answer := do(http.MethodPost, "users/expiry", `{"user": "555", "tokensInSeconds": 3600, "dataAccessInSeconds": 86400}`); answer["tokens"] != 3.0 { // of the user, and of two pages
		t.Errorf("answered %v", answer)
	}
	do(http.MethodPost, "users/expire-data-access", `{"user": "555"}`)
	if answer := do(http.MethodPost, "users/delete-data", `{"user": "555", "padded": true}`); at(answer, "answered", "status") != 200.0 {
		t.Errorf("answered %v", answer)
	}
	do(http.MethodPost, "users/deauthorize", `{"user": "555"}`)
	if answer := do(http.MethodPost, "users/invalidate", `{"user": "555", "subcode": 460}`); answer["tokens"] != 0.0 {
		t.Errorf("%v tokens outlived what allowed them", answer)
	}
	for path, body := range map[string]string{
		"consent": `{"url": "` + dialogURL(s.url, "client_id", "1") + `"}`, "users/expire-data-access": `{"user": "nobody"}`,
		"users/expiry":     `{"user": "555"}`,
		"users/with-pages": `{"user": {"id": "1"}, "mix": {"pages": 1, "instagram": 2}}`, "users/deauthorize": `{}`, "users/delete-data": `{"user": "x", "numericId": true}`,
	} {
		if status, answer := s.control(t, http.MethodPost, "/simulate/"+path, body); status != http.StatusUnprocessableEntity || answer["error"] == nil {
			t.Errorf("%s: answered %d %v", path, status, answer)
		}
	}
	for path, body := range map[string]string{"quirks": `{"pageSize": -1}`, "app": `{"deletionUrl": "x"}`} {
		if status, _ := s.control(t, http.MethodPut, "/simulate/"+path, body); status != http.StatusUnprocessableEntity {
			t.Errorf("%s: answered %d", path, status)
		}
	}
}

// The world to try things out with has somebody for every way to log in.
func TestDefaultWorld_Users(t *testing.T) {
	t.Parallel()
	s := start(t, metatest.Config{Quirks: metatest.Quirks{PageSize: 10}})
	for user, want := range map[string]struct{ pages, linked, silent, requests int }{
		metatest.DefaultUserID: {1, 1, 0, 1}, metatest.DefaultManagerID: {3, 1, 1, 1}, metatest.DefaultAgencyID: {32, 13, 2, 4}, metatest.DefaultGuestID: {0, 0, 0, 1},
	} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			token := s.login(t, metatest.Choice{User: user}, true)
			got := struct{ pages, linked, silent, requests int }{}
			for after, more := "", true; more; {
				_, answer := s.get(t, "/me/accounts?limit=100&fields=access_token,instagram_business_account&after="+after, token)
				data, _ := answer["data"].([]any)
				for _, page := range data {
					got.pages++
					if at(page, "instagram_business_account", "id") != nil {
						got.linked++
					}
					if at(page, "access_token") == nil {
						got.silent++
					}
				}
				got.requests++
				after, _ = at(answer, "paging", "cursors", "after").(string)
				more = at(answer, "paging", "next") != nil
			}
			if got != want {
				t.Errorf("has %+v, want %+v", got, want)
			}
		})
	}
}
