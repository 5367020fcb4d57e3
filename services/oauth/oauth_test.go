package oauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/meta/metatest"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/services/oauth"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const (
	actionPath   = "/api/oauth/facebook"
	functionPath = "/functions/v1/facebook-oauth"

	callback = "http://localhost:5173/integracoes/facebook/callback"
	stateKey = "a key for states of thirty-two bytes"
)

// fixture is a server over a database of its own, at a simulated Meta.
type fixture struct {
	*testing.T
	database interface{ URL(testenv.Role) string }
	graph    *metatest.Server
	vault    *vault.Vault
	api      *store.Store
	owner    *store.Store // makes keys
	worker   *store.Store // sees all tenants
	config   oauth.Config
	server   *httptest.Server
	logs     *logs

	tenant uuid.UUID
	key    string // of tenant, which may connect channels
}

// newFixture starts a server, with the settings changed by adjust if that is not nil.
func newFixture(t *testing.T, adjust func(*oauth.Config)) *fixture {
	t.Helper()
	f := &fixture{T: t, database: testenv.DB(t), tenant: uuid.Must(uuid.NewV7()), logs: new(logs)}
	f.api, f.owner, f.worker = f.open(testenv.API), f.open(testenv.Owner), f.open(testenv.Worker)
	keyset, err := vault.NewKeyset()
	f.check(err)
	f.vault, err = vault.Open(keyset)
	f.check(err)
	f.graph = metatest.New(metatest.Config{RequireProof: true, App: metatest.App{RedirectURIs: []string{callback, callback + "/2"}}})
	base := f.graph.Start(t)
	f.config = oauth.Config{
		RateLimits:  ratelimit.Config{PerMinute: 60, PerHour: 1000, PerDay: 10_000},
		Meta:        meta.Config{GraphURL: base, AppSecret: metatest.DefaultAppSecret, Timeout: 10 * time.Second},
		Login:       login.Config{AppID: metatest.DefaultAppID, DialogURL: base, Redirects: config.List{callback, callback + "/2"}, StateKey: stateKey},
		CORSOrigins: config.List{"https://app.example.com"},
	}
	if adjust != nil {
		adjust(&f.config)
	}
	f.server = f.serve(f.config)
	f.key = f.newKey(f.tenant, auth.ScopeChannelsWrite)
	return f
}

// serve starts one more server.
func (f *fixture) serve(cfg oauth.Config) *httptest.Server {
	f.Helper()
	server, err := oauth.New(cfg, oauth.Deps{
		Store: f.api, Vault: f.vault, Metrics: prometheus.NewRegistry(),
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(f.Output(), f.logs), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	f.check(err)
	served := httptest.NewServer(server)
	f.Cleanup(func() {
		served.Close()
		server.Close()
	})
	return served
}

// logs are what was logged.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(line)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (f *fixture) open(role testenv.Role) *store.Store {
	f.Helper()
	s, err := store.Open(f.Context(), f.database.URL(role), 4)
	f.check(err)
	f.Cleanup(s.Close)
	return s
}

func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// newKey stores a key.
func (f *fixture) newKey(tenant uuid.UUID, scopes ...string) string {
	f.Helper()
	key := auth.NewKey()
	hash := auth.HashKey(key)
	f.check(f.owner.Queries().InsertAPIKey(f.Context(), db.InsertAPIKeyParams{
		ID: uuid.Must(uuid.NewV7()), TenantID: tenant, Name: "test", Hint: key[len(key)-4:], Hash: hash[:], Scopes: scopes,
	}))
	return key
}

// as is the fixture with another key and its tenant.
func (f *fixture) as(tenant uuid.UUID, key string) *fixture {
	other := *f
	other.tenant, other.key = tenant, key
	return &other
}

// neighbour is the fixture as another tenant.
func (f *fixture) neighbour() *fixture {
	f.Helper()
	tenant := uuid.Must(uuid.NewV7())
	return f.as(tenant, f.newKey(tenant, auth.ScopeChannelsWrite))
}

// answer is what a request got.
type answer struct {
	*fixture
	status int
	header http.Header
	body   []byte
}

// do makes a request with the fixture's key. headers are names and values in turn.
func (f *fixture) do(method, path, body string, headers ...string) answer {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), 45*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, f.server.URL+path, strings.NewReader(body))
	f.check(err)
	req.Header.Set("Authorization", "Bearer "+f.key)
	req.Header.Set("Content-Type", "application/json")
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	res, err := f.server.Client().Do(req)
	f.check(err)
	defer res.Body.Close()
	read, err := io.ReadAll(res.Body)
	f.check(err)
	return answer{fixture: f, status: res.StatusCode, header: res.Header, body: read}
}

// action calls an action with its members.
func (f *fixture) action(name string, members map[string]any) answer {
	f.Helper()
	body := map[string]any{"action": name}
	maps.Copy(body, members)
	raw, err := json.Marshal(body)
	f.check(err)
	a := f.do(http.MethodPost, actionPath, string(raw))
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		f.Errorf("%s: Cache-Control %q", name, got)
	}
	return a
}

// is fails the test unless the answer has the status.
func (a answer) is(status int) answer {
	a.Helper()
	if a.status != status {
		a.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	return a
}

// into decodes the answer.
func into[T any](a answer) T {
	a.Helper()
	var value T
	if err := json.Unmarshal(a.body, &value); err != nil {
		a.Fatalf("%s: %v", a.body, err)
	}
	return value
}

// refuses fails the test unless the answer is a problem of the type that points to each
// of the pointers, and to nothing else.
func (a answer) refuses(status int, kind string, pointers ...string) problem.Problem {
	a.Helper()
	a.is(status)
	p := into[problem.Problem](a)
	var got []string
	for _, fault := range p.Errors {
		got = append(got, fault.Pointer)
	}
	slices.Sort(got)
	slices.Sort(pointers)
	if a.header.Get("Content-Type") != problem.ContentType || p.Type != kind || !slices.Equal(got, pointers) {
		a.Errorf("%s, want %s pointing to %q", a.body, kind, pointers)
	}
	return p
}

// begun is a login that somebody was sent to.
type begun struct{ AuthURL, State string }

// begin asks where to send somebody to.
func (f *fixture) begin() begun {
	f.Helper()
	return into[begun](f.action("get_auth_url", map[string]any{"redirectUri": callback}).is(http.StatusOK))
}

// consent has somebody answer the dialog of a login, and returns what came back.
func (f *fixture) consent(at begun, choice metatest.Choice) url.Values {
	f.Helper()
	back, err := f.graph.Consent(at.AuthURL, choice)
	f.check(err)
	u, err := url.Parse(back)
	f.check(err)
	if got := u.Query().Get("state"); got != at.State {
		f.Fatalf("came back with the state %q, want %q", got, at.State)
	}
	return u.Query()
}

// code is what an exchange is asked for.
func code(code, state string) map[string]any {
	return map[string]any{"code": code, "redirectUri": callback, "state": state}
}

// logIn is a whole login, up to the answer of its exchange.
func (f *fixture) logIn(choice metatest.Choice) answer {
	f.Helper()
	at := f.begin()
	return f.action("exchange_code", code(f.consent(at, choice).Get("code"), at.State))
}

// count counts rows, of all tenants.
func (f *fixture) count(query string, args ...any) (n int) {
	f.Helper()
	f.check(f.worker.Pool().QueryRow(f.Context(), "SELECT count(*) FROM "+query, args...).Scan(&n))
	return n
}

// behind is one more server, whose Meta answers some paths as told instead.
func (f *fixture) behind(instead func(path string) (body string, ok bool)) *httptest.Server {
	f.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, ok := instead(r.URL.Path); ok {
			_, _ = io.WriteString(w, body)
			return
		}
		f.graph.ServeHTTP(w, r)
	}))
	f.Cleanup(proxy.Close)
	cfg := f.config
	cfg.Meta.GraphURL = proxy.URL
	return f.serve(cfg)
}
