package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta/metatest"
)

// connected is what is read of list_connections.
type connected struct {
	Connections []struct {
		Connection struct{ ID, Channel, ExternalID, Status string }
		GrantID    string
	}
	Grants []struct{ ID, UserID, Status string }
}

func (c connected) statuses() (statuses []string) {
	for _, one := range c.Connections {
		statuses = append(statuses, one.Connection.Status)
	}
	return statuses
}

// act has an action of Facebook Login done.
func (i *instance) act(t testing.TB, body map[string]any, status int, to any) {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	i.call(t, http.MethodPost, "/api/oauth/facebook", string(encoded), status, to)
}

// simulate has the simulated Meta do something.
func (i *instance) simulate(t testing.TB, what string, body, to any) {
	t.Helper()
	if err := i.trySimulate(t.Context(), what, body, to); err != nil {
		t.Fatal(err)
	}
}

func (i *instance) trySimulate(ctx context.Context, what string, body, to any) error {
	encoded, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.ready.MetaSimulator+"/simulate/"+what, bytes.NewReader(encoded))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", what, resp.Status, answer)
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(answer, to)
}

// consent begins a login and plays a user at the simulated Meta's dialog. It returns
// what exchange_code takes, and where the dialog came back to.
func (i *instance) consent(t testing.TB, callback, user string) (exchange map[string]any, location string) {
	t.Helper()
	var begun struct {
		AuthURL, State string
		Simulated      bool
	}
	i.act(t, map[string]any{"action": "get_auth_url", "redirectUri": callback}, http.StatusOK, &begun)
	if !begun.Simulated || !strings.HasPrefix(begun.AuthURL, i.ready.MetaSimulator+"/") {
		t.Errorf("the dialog is %s, simulated: %t", begun.AuthURL, begun.Simulated)
	}
	var consented struct{ Location string }
	i.simulate(t, "consent", map[string]any{"url": begun.AuthURL, "user": user}, &consented)
	back, err := url.Parse(consented.Location)
	if err != nil || !strings.HasPrefix(consented.Location, callback+"?") || back.Query().Get("state") != begun.State {
		t.Fatalf("the dialog comes back to %s (%v)", consented.Location, err)
	}
	return map[string]any{
		"action": "exchange_code", "redirectUri": callback, "state": begun.State, "code": back.Query().Get("code"),
	}, consented.Location
}

// Somebody logs in at the URL of the ready line, with nothing set up.
func TestStandalone_LogsIn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, dir)
	callback := first.ready.URL + callbackPaths()[0]
	r := newReceiver(t)

	t.Run("from click to the first message", func(t *testing.T) {
		exchange, location := first.consent(t, callback, metatest.DefaultManagerID)
		if page := get(t, location); !strings.Contains(page, "<html") {
			t.Errorf("the callback page is %s", page)
		}
		var made struct {
			Pages []struct {
				ID           string
				ConnectionID *string
			}
			InstagramAccounts []struct{ ID string }
		}
		first.act(t, exchange, http.StatusOK, &made)
		page := slices.IndexFunc(made.Pages, func(p struct {
			ID           string
			ConnectionID *string
		}) bool {
			return p.ID == metatest.DefaultPageID && p.ConnectionID != nil
		})
		if page < 0 || len(made.InstagramAccounts) == 0 {
			t.Fatalf("logging in connects %+v", made)
		}
		var subscribed struct{ Success bool }
		first.act(t, map[string]any{"action": "subscribe_webhook", "pageId": metatest.DefaultPageID}, http.StatusOK, &subscribed)
		if !subscribed.Success {
			t.Error("the page is not subscribed")
		}
		hook := first.subscribe(t, r.URL("/ok"), "message.received", "1")
		first.simulate(t, "message", map[string]any{"channel": "facebook", "from": "5001000000000001", "kind": "text", "text": "Oi!"}, nil)
		got := r.Await(t, "/ok", 1)[0]
		verify(t, got, hook.Secret)
		if !strings.Contains(string(got.Body), `"Oi!"`) {
			t.Errorf("received %s", got.Body)
		}
	})
	t.Run("every name of the callback page may be come back to, and nothing else", func(t *testing.T) {
		u, err := url.Parse(first.ready.URL)
		if err != nil {
			t.Fatal(err)
		}
		for _, host := range []string{u.Host, "localhost:" + u.Port()} {
			for _, path := range callbackPaths() {
				first.act(t, map[string]any{"action": "get_auth_url", "redirectUri": "http://" + host + path}, http.StatusOK, nil)
			}
		}
		first.act(t, map[string]any{"action": "get_auth_url", "redirectUri": callback + "/"}, http.StatusUnprocessableEntity, nil)
	})

	begun, _ := first.consent(t, callback, metatest.DefaultUserID)
	var before connected
	first.act(t, map[string]any{"action": "list_connections"}, http.StatusOK, &before)
	first.kill(t)
	second := start(t, dir, "HTTP_ADDR="+strings.TrimPrefix(first.ready.URL, "http://"))

	t.Run("after kill -9 what was connected is", func(t *testing.T) {
		var after connected
		second.act(t, map[string]any{"action": "list_connections"}, http.StatusOK, &after)
		if len(before.Connections) < 2 || len(after.Connections) != len(before.Connections) || len(before.Grants) != 1 || len(after.Grants) != 1 || after.Grants[0].ID != before.Grants[0].ID {
			t.Errorf("%+v, were %+v", after, before)
		}
	})
	t.Run("a login that it interrupted began here: Meta alone has forgotten it", func(t *testing.T) {
		var refused struct{ Type string }
		second.act(t, begun, http.StatusUnprocessableEntity, &refused)
		if refused.Type != "urn:primezap:problem:oauth-code-invalid" {
			t.Errorf("refused as %s", refused.Type)
		}
	})
	t.Run("another login is as good as the first", func(t *testing.T) {
		exchange, _ := second.consent(t, callback, metatest.DefaultManagerID)
		second.act(t, exchange, http.StatusOK, nil)
	})
	t.Run("who takes it all back is heard", func(t *testing.T) {
		second.simulate(t, "users/deauthorize", map[string]any{"user": metatest.DefaultManagerID}, nil)
		eventually(t, soon, func() error {
			var all connected
			second.act(t, map[string]any{"action": "list_connections"}, http.StatusOK, &all)
			if statuses := all.statuses(); slices.ContainsFunc(statuses, func(s string) bool { return s != "reconnect" }) {
				return fmt.Errorf("the connections are %v", statuses)
			}
			return nil
		})
	})
	t.Run("who wants their data deleted gets a page that says how far it is", func(t *testing.T) {
		var told struct{ Answered struct{ Body string } }
		second.simulate(t, "users/delete-data", map[string]any{"user": metatest.DefaultManagerID}, &told)
		var answer struct{ URL string }
		if err := json.Unmarshal([]byte(told.Answered.Body), &answer); err != nil || !strings.HasPrefix(answer.URL, second.ready.URL+deletionPath+"/") {
			t.Fatalf("the answer is %s (%v)", told.Answered.Body, err)
		}
		if page := get(t, answer.URL); !strings.Contains(page, "<html") {
			t.Errorf("the page is %s", page)
		}
	})
	second.terminate(t)
	for _, i := range []*instance{first, second} {
		showsNoSecret(t, i, dir, begun["code"].(string), begun["state"].(string))
	}
}

func TestConfig_CompleteLogin(t *testing.T) {
	t.Parallel()
	for ours, want := range map[string]int{
		"http://127.0.0.1:8080": 4, "http://localhost:8080": 4, "http://[::1]:8080": 6,
		"http://192.0.2.1:8080": 0, // codes would pass in the clear
	} {
		t.Run(ours+" is where logins come back to, if that is safe", func(t *testing.T) {
			t.Parallel()
			var cfg Config
			cfg.completeLogin(keys{OAuthStateKey: "made"}, ours)
			if urls := cfg.OAuth.Login.Redirects; len(urls) != want || want > 0 && !slices.Contains(urls, ours+callbackPaths()[1]) {
				t.Errorf("they come back to %v", urls)
			}
			if cfg.OAuth.Login.StateKey != "made" {
				t.Error("no key is set")
			}
		})
	}
	t.Run("what was set stays", func(t *testing.T) {
		t.Parallel()
		var cfg Config
		cfg.OAuth.Login.StateKey, cfg.OAuth.Login.Redirects = "set", config.List{"https://app.example.com/"}
		cfg.completeLogin(keys{OAuthStateKey: "made"}, "http://127.0.0.1:8080")
		if cfg.OAuth.Login.StateKey != "set" || !slices.Equal(cfg.OAuth.Login.Redirects, config.List{"https://app.example.com/"}) {
			t.Errorf("became %+v", cfg.OAuth.Login)
		}
	})
}
