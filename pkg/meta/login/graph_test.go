package login_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
)

const (
	appID     = "10001"
	appSecret = "the-secret-of-the-app"
	userToken = "EAABtheusertoken0123456789"
	pageToken = "EAAPthepagetoken0123456789"
	code      = "AQDthecode0123456789"
	verifier  = "the-code-verifier-0123456789-0123456789-0123"
	stateKey  = "0123456789abcdef0123456789abcdef"
	redirect  = "https://app.example.com/oauth/facebook/callback"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// call is a request as it came.
type call struct {
	method, path, token string
	params              url.Values // of the query and the form
	uri                 string
}

// graph answers as it is told and keeps what it was asked.
type graph struct {
	*httptest.Server

	mu    sync.Mutex
	calls []call
}

// answer is told the call and how many came before it.
type answer func(w http.ResponseWriter, c call, before int)

func serve(t *testing.T, with answer) *graph {
	t.Helper()
	g := new(graph)
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		c := call{r.Method, r.URL.Path, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), r.Form, r.RequestURI}
		g.mu.Lock()
		before := len(g.calls)
		g.calls = append(g.calls, c)
		g.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		with(w, c, before)
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *graph) asked() []call {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls
}

// says gives one answer after the other, the last one for ever.
func says(bodies ...string) answer {
	return func(w http.ResponseWriter, _ call, before int) {
		_, _ = io.WriteString(w, bodies[min(before, len(bodies)-1)])
	}
}

// refuses answers with an error of Meta's.
func refuses(w http.ResponseWriter, status, code, subcode int, message string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
		"message": message, "type": "OAuthException", "code": code, "error_subcode": subcode, "fbtrace_id": "AbC",
	}})
}

var settings = login.Config{AppID: appID, Redirects: config.List{redirect}, StateKey: stateKey}

func app(t *testing.T, cfg login.Config, at string) *login.App {
	t.Helper()
	platform := meta.Config{AppSecret: appSecret, GraphURL: at, Timeout: 5 * time.Second}
	client, err := meta.NewClient(platform)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	a, err := login.New(cfg, platform, client, func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	a.Hurry()
	return a
}

// hides fails if anything in err shows what is secret.
func hides(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
	}
	for _, text := range texts(err) {
		for _, secret := range []string{appSecret, userToken, pageToken, code, verifier, stateKey, meta.Proof(appSecret, userToken), meta.Proof(appSecret, pageToken)} {
			if strings.Contains(text, secret) {
				t.Errorf("%s is shown by %s", secret, text)
			}
		}
	}
}

// texts are all ways to print err and what it wraps.
func texts(err error) []string {
	if err == nil {
		return nil
	}
	all := []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)}
	if raw, err := json.Marshal(err); err == nil {
		all = append(all, string(raw))
	}
	switch e := err.(type) { //nolint:errorlint // the tree is walked by hand
	case interface{ Unwrap() error }:
		all = append(all, texts(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			all = append(all, texts(err)...)
		}
	}
	return all
}
