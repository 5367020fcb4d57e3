package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/services/api"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const hooksPath = "/api/custom-webhooks"

// fixture is a server over a database and a NATS account of its own.
type fixture struct {
	*testing.T
	database interface{ URL(testenv.Role) string }
	account  *testenv.Account
	vault    *vault.Vault
	server   *httptest.Server
	metrics  *prometheus.Registry
	owner    *store.Store // makes keys
	worker   *store.Store // writes what workers write

	tenant uuid.UUID
	key    string // of tenant, with every scope but platform
}

// newFixture starts a server with a development machine's settings, changed by
// adjust if that is not nil.
func newFixture(t *testing.T, adjust func(*api.Config)) *fixture {
	t.Helper()
	return newFixtureOn(t, testenv.DB(t), adjust)
}

func newFixtureOn(t *testing.T, database interface{ URL(testenv.Role) string }, adjust func(*api.Config)) *fixture {
	t.Helper()
	f := &fixture{T: t, database: database, account: testenv.NATS(t), tenant: uuid.Must(uuid.NewV7())}
	f.owner, f.worker = f.open(testenv.Owner), f.open(testenv.Worker)
	keyset, err := vault.NewKeyset()
	f.check(err)
	f.vault, err = vault.Open(keyset)
	f.check(err)
	f.server, f.metrics = f.serve(f.open(testenv.API), f.account.Connect(t, testenv.API), adjust)
	f.key = f.newKey(f.tenant, auth.ScopeEventsWrite, auth.ScopeWebhooksRead, auth.ScopeWebhooksWrite)
	return f
}

// serve starts one more server.
func (f *fixture) serve(database *store.Store, nc *nats.Conn, adjust func(*api.Config)) (*httptest.Server, *prometheus.Registry) {
	f.Helper()
	cfg := api.Config{
		AllowHTTP: true, AllowCIDRs: config.CIDRs{netip.MustParsePrefix("127.0.0.0/8")}, LiveRate: 200, LiveBurst: 1000,
		RateLimits: ratelimit.Config{PerMinute: 60, PerHour: 1000, PerDay: 10_000},
	}
	if adjust != nil {
		adjust(&cfg)
	}
	metrics := prometheus.NewRegistry()
	server, err := api.New(cfg, api.Deps{
		Store: database, Vault: f.vault, NATS: nc, Metrics: metrics, Log: slog.New(slog.NewTextHandler(f.Output(), nil)),
	})
	f.check(err)
	served := httptest.NewServer(server)
	f.Cleanup(served.Close)
	return served, metrics
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
	return f.send(f.server.URL, method, path, strings.NewReader(body), headers...)
}

func (f *fixture) send(base, method, path string, body io.Reader, headers ...string) answer {
	f.Helper()
	ctx, cancel := context.WithTimeout(f.Context(), 45*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
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

// refuses fails the test unless the answer is a problem with the status that
// points to each of the pointers, and to nothing else.
func (a answer) refuses(status int, pointers ...string) problem.Problem {
	a.Helper()
	a.is(status)
	p := into[problem.Problem](a)
	var got []string
	for _, fault := range p.Errors {
		got = append(got, fault.Pointer)
	}
	slices.Sort(got)
	slices.Sort(pointers)
	if a.header.Get("Content-Type") != problem.ContentType || p.Status != status || !slices.Equal(got, pointers) {
		a.Errorf("%s %s, want a problem pointing to %q", a.header.Get("Content-Type"), a.body, pointers)
	}
	return p
}

// hook is a webhook as tests read it.
type hook struct {
	ID          uuid.UUID         `json:"id"`
	Name        string            `json:"name"`
	URL         string            `json:"url"`
	Description string            `json:"description"`
	Events      []string          `json:"events"`
	Active      bool              `json:"active"`
	Headers     map[string]string `json:"headers"`
	Retry       struct {
		DelaysSeconds []int
		AutoRecover   bool
	}
	Operational    bool       `json:"operational"`
	Secret         string     `json:"secret"`
	SecretHint     string     `json:"secretHint"`
	DisabledAt     *time.Time `json:"disabledAt"`
	DisabledReason *string    `json:"disabledReason"`
	CreatedAt      time.Time  `json:"createdAt"`
	UpdatedAt      time.Time  `json:"updatedAt"`
}

type pagination struct {
	Page, Limit, Total, TotalPages int
	TotalIsCapped                  bool
	NextCursor                     *string
}

type list[T any] struct {
	Data       []T
	Pagination pagination
}

// newHook creates a webhook with more fields beside those that it must have.
func (f *fixture) newHook(fields string) hook {
	f.Helper()
	body := `{"name":"CRM","url":"https://hooks.example.com/crm","events":["deal.moved"]` + fields + `}`
	return into[hook](f.do("POST", hooksPath, body).is(http.StatusCreated))
}

func TestServer_Contract(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]json.RawMessage
	}
	a := f.do("GET", "/openapi.json", "", "Authorization", "").is(http.StatusOK)
	doc = into[struct {
		OpenAPI string
		Paths   map[string]map[string]json.RawMessage
	}](a)
	var described []string
	for path, methods := range doc.Paths {
		for method, operation := range methods {
			if method != "parameters" && !bytes.Contains(operation, []byte(`"tags":["oauth"]`)) { // another service's
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	slices.Sort(described)
	want := []string{
		"DELETE /api/api-keys/{id}",
		"DELETE /api/connections/{id}",
		"DELETE /api/custom-webhooks/{id}",
		"DELETE /api/custom-webhooks/{id}/queue",
		"DELETE /api/custom-webhooks/{id}/queue/{deliveryId}",
		"DELETE /api/replays/{id}",
		"GET /api/api-keys",
		"GET /api/audit-log",
		"GET /api/connections",
		"GET /api/connections/{id}",
		"GET /api/connections/{id}/rate-limit",
		"GET /api/contacts",
		"GET /api/contacts/{id}",
		"GET /api/conversations",
		"GET /api/conversations/{id}",
		"GET /api/conversations/{id}/messages",
		"GET /api/custom-webhooks",
		"GET /api/custom-webhooks/{id}",
		"GET /api/custom-webhooks/{id}/logs",
		"GET /api/custom-webhooks/{id}/queue",
		"GET /api/custom-webhooks/{id}/stats",
		"GET /api/erasures/{id}",
		"GET /api/event-types",
		"GET /api/events",
		"GET /api/events/{id}",
		"GET /api/replays/{id}",
		"GET /api/tenant-deletions/{id}",
		"GET /healthz",
		"GET /openapi.json",
		"GET /readyz",
		"GET /webhooks/meta",
		"PATCH /api/connections/{id}",
		"PATCH /api/contacts/{id}",
		"PATCH /api/conversations/{id}",
		"PATCH /api/custom-webhooks/{id}",
		"POST /api/api-keys",
		"POST /api/connections",
		"POST /api/connections/{id}/rate-limit/reset",
		"POST /api/conversations/{id}/close",
		"POST /api/conversations/{id}/reopen",
		"POST /api/custom-webhooks",
		"POST /api/custom-webhooks/filter/preview",
		"POST /api/custom-webhooks/{id}/enable",
		"POST /api/custom-webhooks/{id}/queue/retry",
		"POST /api/custom-webhooks/{id}/queue/{deliveryId}/retry",
		"POST /api/custom-webhooks/{id}/regenerate-secret",
		"POST /api/custom-webhooks/{id}/replay",
		"POST /api/custom-webhooks/{id}/test",
		"POST /api/erasures",
		"POST /api/events",
		"POST /api/tenant-deletions",
		"POST /webhooks/meta",
		"PUT /api/connections/{id}/rate-limit",
		"PUT /api/custom-webhooks/{id}",
	}
	if doc.OpenAPI != "3.1.0" || !slices.Equal(described, want) {
		t.Errorf("OpenAPI %s describes\n%s\nwant\n%s", doc.OpenAPI, strings.Join(described, "\n"), strings.Join(want, "\n"))
	}
	// Each is served: what has no route answers 404 without asking for a key.
	for _, operation := range described {
		method, path, _ := strings.Cut(operation, " ")
		if strings.HasPrefix(path, "/api/") {
			f.do(method, path, "{}", "Authorization", "").is(http.StatusUnauthorized)
		}
	}
	f.do("GET", "/api/nothing", "").refuses(http.StatusNotFound)
	f.do("POST", "/healthz", "").refuses(http.StatusMethodNotAllowed)
}

func TestServer_Probes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	for _, path := range []string{"/healthz", "/readyz"} {
		if got := string(bytes.TrimSpace(f.do("GET", path, "", "Authorization", "").is(http.StatusOK).body)); got != `{"status":"ok"}` {
			t.Errorf("%s answers %s", path, got)
		}
	}
	nc := f.account.Connect(t, testenv.API)
	cut, _ := f.serve(f.open(testenv.API), nc, nil)
	nc.Close()
	f.send(cut.URL, "GET", "/healthz", nil).is(http.StatusOK)
	if a := f.send(cut.URL, "GET", "/readyz", nil); a.refuses(http.StatusServiceUnavailable).Detail != "the service is not ready" {
		t.Errorf("without NATS: %s", a.body)
	}
}

func TestServer_ReadyWithoutTopology(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	admin := f.account.Connect(t, testenv.Admin)
	if _, err := admin.Request("$JS.API.STREAM.DELETE.EVENTS", nil, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	f.do("GET", "/readyz", "").refuses(http.StatusServiceUnavailable)
}

func TestServer_Access(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	id := f.newHook("").ID.String()
	reader := f.newKey(f.tenant, auth.ScopeWebhooksRead)
	writer := f.newKey(f.tenant, auth.ScopeWebhooksWrite)
	publisher := f.newKey(f.tenant, auth.ScopeEventsWrite)
	const event = `{"event":"deal.moved","data":{}}`
	for _, tc := range []struct {
		name, method, path, body, key string
		status                        int
	}{
		{name: "no key", method: "GET", path: hooksPath, status: 401},
		{name: "an unknown key", method: "GET", path: hooksPath, key: auth.NewKey(), status: 401},
		{name: "webhooks:read lists", method: "GET", path: hooksPath, key: reader, status: 200},
		{name: "webhooks:read does not create", method: "POST", path: hooksPath, body: `{}`, key: reader, status: 403},
		{name: "webhooks:read does not delete", method: "DELETE", path: hooksPath + "/" + id, key: reader, status: 403},
		{name: "webhooks:write does not list", method: "GET", path: hooksPath, key: writer, status: 403},
		{name: "webhooks:write changes", method: "PATCH", path: hooksPath + "/" + id, body: `{}`, key: writer, status: 200},
		{name: "webhooks:write does not publish", method: "POST", path: eventsPath, body: event, key: writer, status: 403},
		{name: "events:write publishes", method: "POST", path: eventsPath, body: event, key: publisher, status: 202},
		{name: "events:write does not read webhooks", method: "GET", path: hooksPath + "/" + id, key: publisher, status: 403},
		{name: "any key reads event types", method: "GET", path: "/api/event-types", key: publisher, status: 200},
		{name: "but no key does not", method: "GET", path: "/api/event-types", status: 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			authorization := ""
			if tc.key != "" {
				authorization = "Bearer " + tc.key
			}
			g := *f
			g.T = t
			a := g.do(tc.method, tc.path, tc.body, "Authorization", authorization).is(tc.status)
			if tc.status == 401 && a.header.Get("WWW-Authenticate") == "" {
				t.Error("a 401 without WWW-Authenticate")
			}
		})
	}
}

func TestServer_CORS(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.CORSOrigins = config.List{"https://app.example.com"} })
	preflight := func(base, origin string) answer {
		return f.send(base, "OPTIONS", hooksPath, nil, "Origin", origin, "Authorization", "",
			"Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "authorization,idempotency-key")
	}
	a := preflight(f.server.URL, "https://app.example.com").is(http.StatusNoContent)
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin":  "https://app.example.com",
		"Access-Control-Allow-Methods": "PATCH",
		"Access-Control-Allow-Headers": "Idempotency-Key",
	} {
		if got := a.header.Get(name); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q in it", name, got, want)
		}
	}
	for _, origin := range []string{"https://app.example.com.evil.example", "http://app.example.com", "null"} {
		if got := preflight(f.server.URL, origin).header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("origin %s was allowed: %q", origin, got)
		}
	}
	a = f.do("GET", hooksPath, "", "Origin", "https://app.example.com").is(http.StatusOK)
	for _, name := range []string{"RateLimit", "Retry-After", "X-Request-Id", "Location"} {
		if got := a.header.Get("Access-Control-Expose-Headers"); !strings.Contains(strings.ToLower(got), strings.ToLower(name)) {
			t.Errorf("%q exposes no %s", got, name)
		}
	}
	f.do("GET", hooksPath, "", "Origin", "https://app.example.com", "Authorization", "").is(http.StatusUnauthorized)

	anyone, _ := f.serve(f.open(testenv.API), f.account.Connect(t, testenv.API), func(c *api.Config) { c.CORSOrigins = config.List{"*"} })
	if got := preflight(anyone.URL, "https://x.example").header.Get("Access-Control-Allow-Origin"); got == "" {
		t.Error("* allows no origin")
	}
	nobody, _ := f.serve(f.open(testenv.API), f.account.Connect(t, testenv.API), nil)
	if got := preflight(nobody.URL, "https://x.example").header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("without CORS_ORIGINS %q is allowed", got)
	}
}

func TestServer_RequestID(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	if got := f.do("GET", "/healthz", "", "X-Request-Id", "trace-7").header.Get("X-Request-Id"); got != "trace-7" {
		t.Errorf("the client's id became %q", got)
	}
	for _, id := range []string{"", "a b", strings.Repeat("x", 129), `"quoted"`} {
		got := f.do("GET", hooksPath+"/x", "", "X-Request-Id", id)
		p := got.refuses(http.StatusNotFound)
		if made, err := uuid.Parse(got.header.Get("X-Request-Id")); err != nil || p.RequestID != made.String() {
			t.Errorf("id %q became %q, in the problem %q", id, got.header.Get("X-Request-Id"), p.RequestID)
		}
	}
}

// Postgres goes away and comes back: a 503 each time meanwhile, never a 500.
func TestServer_DatabaseAway(t *testing.T) {
	t.Parallel()
	database := testenv.PrivatePostgres(t)
	f := newFixtureOn(t, database, nil)
	h := f.newHook("")
	database.Kill()
	for _, r := range []struct{ method, path, body string }{
		{"GET", "/readyz", ""},
		{"GET", hooksPath, ""},
		{"GET", hooksPath + "/" + h.ID.String(), ""},
		{"PATCH", hooksPath + "/" + h.ID.String(), "{}"},
		{"POST", eventsPath, `{"event":"deal.moved","data":{},"id":"x"}`},
		{"GET", hooksPath, ""},
	} {
		a := f.do(r.method, r.path, r.body)
		a.refuses(http.StatusServiceUnavailable)
		if a.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: no Retry-After", r.method, r.path)
		}
	}
	f.do("GET", "/healthz", "").is(http.StatusOK)
	database.Restart()
	if got := into[list[hook]](f.do("GET", hooksPath, "").is(http.StatusOK)); got.Pagination.Total != 1 {
		t.Errorf("after the restart: %+v", got)
	}
}

func TestServer_Metrics(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.LiveRate, c.LiveBurst = 0.001, 1 })
	f.do("POST", eventsPath, `[{"event":"deal.moved","data":{}},{"event":"deal.moved","data":{}},{"event":"x","data":{}}]`).is(http.StatusMultiStatus)
	f.do("GET", hooksPath+"/x", "").is(http.StatusNotFound)
	f.do("GET", "/invented/path", "").is(http.StatusNotFound)
	gathered, err := f.metrics.Gather()
	f.check(err)
	got := make(map[string]float64)
	for _, family := range gathered {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, label := range m.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			got[family.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue()
		}
	}
	for _, want := range []string{
		"primezap_events_accepted_total{live}",
		"primezap_events_accepted_total{bulk}",
		"primezap_events_refused_total{422}",
		"primezap_http_requests_total{POST,/api/events,api,207}",
		"primezap_http_requests_total{GET,/api/custom-webhooks/:id,api,404}",
		"primezap_http_requests_total{,none,api,404}",
	} {
		if got[want] != 1 {
			t.Errorf("%s is %v, want 1: %v", want, got[want], got)
		}
	}
}
