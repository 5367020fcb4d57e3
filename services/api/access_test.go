package api_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/api"
)

const jwtSecret = "the secret that tokens of tests are signed with"

// withTokens makes a server take tokens.
func withTokens(c *api.Config) { c.JWT.Secret = jwtSecret }

// token makes one of a tenant's user, valid for an hour.
func (f *fixture) token(tenant uuid.UUID, user string) string {
	f.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(jwtSecret)}, nil)
	f.check(err)
	token, err := jwt.Signed(signer).Claims(map[string]any{
		"sub": user, "org_id": tenant, "exp": time.Now().Add(time.Hour).Unix(),
	}).Serialize()
	f.check(err)
	return token
}

func TestTokens_ActForTheirTenant(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens)
	other := uuid.Must(uuid.NewV7())
	theirs := f.newHook("")
	f.key = f.token(other, "joana")
	mine := f.newHook("")
	if got := into[list[hook]](f.do("GET", hooksPath, "").is(http.StatusOK)); len(got.Data) != 1 || got.Data[0].ID != mine.ID {
		t.Errorf("a user lists %+v, want their tenant's webhook", got.Data)
	}
	f.do("GET", hooksPath+"/"+theirs.ID.String(), "").refuses(http.StatusNotFound)
	f.do("GET", hooksPath, "", "X-Tenant-Id", f.tenant.String()).refuses(http.StatusForbidden)
	f.do("GET", hooksPath, "", "X-Tenant-Id", other.String()).is(http.StatusOK)
	f.do("POST", eventsPath, `{"event":"deal.moved","data":{},"tenantId":"`+f.tenant.String()+`"}`).refuses(http.StatusForbidden)
	f.do("POST", eventsPath, `{"event":"deal.moved","data":{}}`).is(http.StatusAccepted)
	if events := f.stored(); len(events) != 1 || events[0].Tenant != other {
		t.Errorf("stored %+v, want one event of tenant %s", events, other)
	}
}

func TestTokens_NotConfigured(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	f.do("GET", hooksPath, "", "Authorization", "Bearer "+f.token(f.tenant, "maria")).refuses(http.StatusUnauthorized)
}

const keysPath = "/api/api-keys"

// apiKey is a key as tests read it.
type apiKey struct {
	ID         uuid.UUID
	Name       string
	Hint       string
	Key        string
	Scopes     []string
	CreatedAt  time.Time
	LastUsedAt *time.Time
}

func (f *fixture) createKey(name string, scopes ...string) apiKey {
	f.Helper()
	body, err := json.Marshal(map[string]any{"name": name, "scopes": scopes})
	f.check(err)
	return into[apiKey](f.do("POST", keysPath, string(body)).is(http.StatusCreated))
}

func TestAPIKeys_LifeOfAKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	a := f.do("POST", keysPath, `{"name":"front end","scopes":["webhooks:read","events:write"]}`).is(http.StatusCreated)
	made := into[apiKey](a)
	if !strings.HasPrefix(made.Key, auth.KeyPrefix) || !strings.HasSuffix(made.Key, made.Hint) || len(made.Hint) != 4 ||
		made.Name != "front end" || !slices.Equal(made.Scopes, []string{"webhooks:read", "events:write"}) ||
		made.LastUsedAt != nil || a.header.Get("Location") != keysPath+"/"+made.ID.String() {
		t.Errorf("created %+v at %s", made, a.header.Get("Location"))
	}
	with := func(key string) []string { return []string{"Authorization", "Bearer " + key} }
	f.do("GET", hooksPath, "", with(made.Key)...).is(http.StatusOK)
	f.do("POST", hooksPath, `{}`, with(made.Key)...).refuses(http.StatusForbidden)

	listed := f.do("GET", keysPath, "").is(http.StatusOK)
	all := into[list[apiKey]](listed)
	if len(all.Data) != 2 || all.Data[0].ID != made.ID || all.Data[0].Name != "front end" || all.Pagination.Total != 2 {
		t.Fatalf("listed %s", listed.body)
	}
	if used := all.Data[0].LastUsedAt; used == nil || !used.Equal(used.Truncate(time.Minute)) || time.Since(*used) > 2*time.Minute {
		t.Errorf("last used at %v, want now to the minute", used)
	}
	hash := auth.HashKey(made.Key)
	for _, secret := range []string{made.Key, hex.EncodeToString(hash[:]), base64.StdEncoding.EncodeToString(hash[:])} {
		if strings.Contains(string(listed.body), secret) {
			t.Error("the list shows a key or its hash")
		}
	}

	other, _ := f.serve(f.open(testenv.API), f.account.Connect(t, testenv.API), nil)
	f.send(other.URL, "GET", hooksPath, nil, with(made.Key)...).is(http.StatusOK)
	f.do("DELETE", keysPath+"/"+made.ID.String(), "").is(http.StatusNoContent)
	revoked := time.Now()
	f.do("GET", hooksPath, "", with(made.Key)...).refuses(http.StatusUnauthorized)
	for {
		asked := time.Now()
		if f.send(other.URL, "GET", hooksPath, nil, with(made.Key)...).status == http.StatusUnauthorized {
			break
		}
		if asked.Sub(revoked) > time.Second {
			t.Fatalf("another server took the key %s after it was revoked", asked.Sub(revoked))
		}
	}
	f.do("DELETE", keysPath+"/"+made.ID.String(), "").refuses(http.StatusNotFound)
	if all := into[list[apiKey]](f.do("GET", keysPath, "").is(http.StatusOK)); len(all.Data) != 1 || all.Data[0].ID == made.ID {
		t.Errorf("a revoked key is listed: %+v", all.Data)
	}

	audited := f.do("GET", "/api/audit-log?subjectId="+made.ID.String(), "").is(http.StatusOK)
	entries := into[list[struct {
		Action, Actor, SubjectType string
		Before, After              *apiKey
	}]](audited).Data
	if len(entries) != 2 || entries[0].Action != "api_key.revoked" || entries[0].Before == nil || entries[0].After != nil ||
		entries[1].Action != "api_key.created" || entries[1].Before != nil || entries[1].After == nil ||
		entries[1].After.Name != "front end" || entries[1].SubjectType != "api_key" || !strings.HasPrefix(entries[1].Actor, "key:") {
		t.Errorf("audited %s", audited.body)
	}
	if strings.Contains(string(audited.body), made.Key) || strings.Contains(string(audited.body), "hash") {
		t.Errorf("the audit log shows the key or its hash: %s", audited.body)
	}
}

func TestAPIKeys_Pages(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	var want []string
	for _, name := range []string{"c", "b", "a"} {
		f.createKey(name, auth.ScopeWebhooksRead)
		want = append([]string{name}, want...)
	}
	want = append(want, "test") // the fixture's own
	var got []string
	path := keysPath + "?limit=2"
	for path != "" {
		page := into[list[apiKey]](f.do("GET", path, "").is(http.StatusOK))
		for _, key := range page.Data {
			got = append(got, key.Name)
		}
		path = ""
		if next := page.Pagination.NextCursor; next != nil {
			path = keysPath + "?limit=2&cursor=" + *next
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages show %v, want %v", got, want)
	}
	f.do("GET", keysPath+"?limit=0", "").refuses(http.StatusUnprocessableEntity, "/limit")
}

func TestAPIKeys_Refusals(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens)
	other := f.newKey(uuid.Must(uuid.NewV7()), auth.Scopes()...)
	foreign := into[apiKey](f.do("POST", keysPath, `{"name":"x","scopes":["events:write"]}`, "Authorization", "Bearer "+other).is(http.StatusCreated))
	writer := "Bearer " + f.newKey(f.tenant, auth.ScopeWebhooksWrite)
	reader := "Bearer " + f.newKey(f.tenant, auth.ScopeWebhooksRead)
	for _, tc := range []struct {
		name, method, path, body, as string
		status                       int
		pointers                     []string
	}{
		{name: "no name", method: "POST", body: `{"scopes":["events:write"]}`, status: 422, pointers: []string{"/name"}},
		{name: "a blank name", method: "POST", body: `{"name":"  ","scopes":["events:write"]}`, status: 422, pointers: []string{"/name"}},
		{name: "a long name", method: "POST", body: `{"name":"` + strings.Repeat("ä", 201) + `","scopes":["events:write"]}`, status: 422, pointers: []string{"/name"}},
		{name: "control characters", method: "POST", body: `{"name":"a\tb","scopes":["events:write"]}`, status: 422, pointers: []string{"/name"}},
		{name: "no scopes", method: "POST", body: `{"name":"x","scopes":[]}`, status: 422, pointers: []string{"/scopes"}},
		{name: "an unknown and a repeated scope", method: "POST", body: `{"name":"x","scopes":["events:write","all","events:write"]}`, status: 422, pointers: []string{"/scopes/1", "/scopes/2"}},
		{name: "an unknown field", method: "POST", body: `{"name":"x","scopes":["events:write"],"key":"pz_mine"}`, status: 422, pointers: []string{"/key"}},
		{name: "a scope that the key lacks", method: "POST", as: writer, body: `{"name":"x","scopes":["webhooks:write","webhooks:read"]}`, status: 403},
		{name: "platform from a tenant's key", method: "POST", body: `{"name":"x","scopes":["platform"]}`, status: 403},
		{name: "platform from a user", method: "POST", as: "Bearer " + f.token(f.tenant, "maria"), body: `{"name":"x","scopes":["platform"]}`, status: 403},
		{name: "a reader creates none", method: "POST", as: reader, body: `{"name":"x","scopes":["webhooks:read"]}`, status: 403},
		{name: "a reader revokes none", method: "DELETE", as: reader, path: "/" + foreign.ID.String(), status: 403},
		{name: "another tenant's key is not there", method: "DELETE", path: "/" + foreign.ID.String(), status: 404},
		{name: "an unknown key", method: "DELETE", path: "/" + uuid.NewString(), status: 404},
		{name: "no id", method: "DELETE", path: "/x", status: 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := *f
			g.T = t
			var as []string
			if tc.as != "" {
				as = []string{"Authorization", tc.as}
			}
			g.do(tc.method, keysPath+tc.path, tc.body, as...).refuses(tc.status, tc.pointers...)
		})
	}
	t.Run("the writer gives what it has", func(t *testing.T) {
		t.Parallel()
		g := *f
		g.T = t
		g.do("POST", keysPath, `{"name":"x","scopes":["webhooks:write"]}`, "Authorization", writer).is(http.StatusCreated)
	})
}

func TestAPIKeys_PlatformMakesThoseOfATenant(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	platform := f.newKey(f.tenant, auth.Scopes()...)
	other := uuid.Must(uuid.NewV7())
	made := into[apiKey](f.do("POST", keysPath, `{"name":"x","scopes":["webhooks:read","webhooks:write"]}`,
		"Authorization", "Bearer "+platform, "X-Tenant-Id", other.String()).is(http.StatusCreated))
	f.do("DELETE", keysPath+"/"+made.ID.String(), "").refuses(http.StatusNotFound)
	f.key = made.Key
	f.newHook("")
	f.do("GET", hooksPath, "", "X-Tenant-Id", other.String()).is(http.StatusOK)
	f.do("GET", hooksPath, "", "X-Tenant-Id", f.tenant.String()).refuses(http.StatusForbidden)
}

// atOnce makes the same request from several clients and counts the answers by
// status.
func (f *fixture) atOnce(n int, method, path, body string) map[int]int {
	f.Helper()
	statuses := make(chan int, n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() { statuses <- f.do(method, path, body).status })
	}
	wg.Wait()
	close(statuses)
	count := make(map[int]int)
	for status := range statuses {
		count[status]++
	}
	return count
}

// limited checks what an answer tells of a limit.
func (a answer) limited(policy, left string) {
	a.Helper()
	if p, l := a.header.Get("RateLimit-Policy"), a.header.Get("RateLimit"); p != policy || l != left {
		a.Errorf("RateLimit-Policy: %s, RateLimit: %s; want %s and %s", p, l, policy, left)
	}
}

func TestLimits_Webhooks(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.MaxWebhooks = 3 })
	const body = `{"name":"CRM","url":"https://hooks.example.com/crm","events":["deal.moved"]}`
	first := f.newHook(`,"active":false`)
	if got := f.atOnce(8, "POST", hooksPath, body); got[201] != 2 || got[403] != 6 {
		t.Errorf("8 at once with room for 2 are answered %v", got)
	}
	refused := f.do("POST", hooksPath, body)
	refused.limited(`"webhooks";q=3`, `"webhooks";r=0`)
	p := refused.refuses(http.StatusForbidden)
	if p.Type != problem.TypeWebhookLimit || p.Title != "Too many webhooks" || !strings.Contains(p.Detail, "3") {
		t.Errorf("refused with %+v", p)
	}
	f.do("PUT", hooksPath+"/"+first.ID.String(), body).is(http.StatusOK) // no one more
	f.key = f.newKey(uuid.Must(uuid.NewV7()), auth.ScopeWebhooksWrite)
	f.newHook("")
	f.key = f.newKey(f.tenant, auth.ScopeWebhooksRead, auth.ScopeWebhooksWrite)
	f.do("DELETE", hooksPath+"/"+first.ID.String(), "").is(http.StatusNoContent)
	f.newHook("")
	f.do("POST", hooksPath, body).refuses(http.StatusForbidden)
}

func TestLimits_APIKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.MaxAPIKeys = 3 }) // the fixture's is one
	const body = `{"name":"x","scopes":["webhooks:read"]}`
	if got := f.atOnce(8, "POST", keysPath, body); got[201] != 2 || got[403] != 6 {
		t.Errorf("8 at once with room for 2 are answered %v", got)
	}
	refused := f.do("POST", keysPath, body)
	refused.limited(`"api-keys";q=3`, `"api-keys";r=0`)
	if p := refused.refuses(http.StatusForbidden); p.Type != problem.TypeAPIKeyLimit || p.Title != "Too many API keys" {
		t.Errorf("refused with %+v", p)
	}
	last := into[list[apiKey]](f.do("GET", keysPath, "").is(http.StatusOK)).Data[0]
	f.do("DELETE", keysPath+"/"+last.ID.String(), "").is(http.StatusNoContent)
	f.createKey("x", auth.ScopeWebhooksRead)
}

// With this limit a bucket is filled again within a second: tests empty it with
// more than any machine publishes one by one in that time.
func TestLimits_Events(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.LiveRate, c.LiveBurst, c.MaxRate = 1, 1, 2 })
	const one, policy = `{"event":"message.sent","data":{}}`, `"ingest";q=2;w=1`
	array := func(events ...string) string { return "[" + strings.Join(events, ",") + "]" }

	a := f.do("POST", eventsPath, array(`{"event":"x","data":{}}`, one, one, one, one)).is(http.StatusMultiStatus)
	got := into[results](a)
	var statuses []int
	for _, item := range got.Data {
		statuses = append(statuses, item.Status)
	}
	if !slices.Equal(statuses, []int{422, 202, 202, 429, 429}) {
		t.Fatalf("answered %s", a.body)
	}
	if p := got.Data[4].Error; p.Type != problem.TypeIngestLimit || p.Status != 429 {
		t.Errorf("the last event's problem is %+v", p)
	}
	a.limited(policy, `"ingest";r=0;t=1`)
	if after := a.header.Get("Retry-After"); after != "1" {
		t.Errorf("Retry-After: %q", after)
	}
	if events := f.stored(); len(events) != 2 {
		t.Errorf("stored %d events, want 2", len(events))
	}

	// A hundred times what a second gives: some is refused whatever it took.
	var whole *answer
	for range 200 {
		if a := f.do("POST", eventsPath, one); a.status == http.StatusTooManyRequests {
			whole = &a
			break
		}
	}
	if whole == nil {
		t.Fatal("200 events were accepted, of 2 a second")
	}
	if p := whole.refuses(http.StatusTooManyRequests); p.Type != problem.TypeIngestLimit || p.Title != "Too many events" || whole.header.Get("Retry-After") != "1" {
		t.Errorf("refused with %s", whole.body)
	}
	whole.limited(policy, `"ingest";r=0;t=1`)

	// Another tenant has a bucket of its own.
	f.key = f.newKey(uuid.Must(uuid.NewV7()), auth.ScopeEventsWrite)
	f.do("POST", eventsPath, one).is(http.StatusAccepted).limited(policy, `"ingest";r=1;t=1`)
}

// What was accepted of a request is not charged again when it is repeated, so that
// an array of more than a second's events gets through in the end.
func TestLimits_EventsOfARepeatedRequest(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *api.Config) { c.LiveRate, c.LiveBurst, c.MaxRate = 1, 1, 4 })
	const one = `{"event":"message.sent","data":{}}`
	body := "[" + strings.Repeat(one+",", 9) + one + "]"
	var ids [10]string
	repeat := func() (accepted int) {
		t.Helper()
		a := f.do("POST", eventsPath, body, "Idempotency-Key", "k")
		for i, item := range into[results](a).Data {
			if item.Status != http.StatusAccepted {
				continue
			}
			if accepted++; ids[i] != "" && item.ID != ids[i] {
				t.Fatalf("event %d became %s, and %s", i, ids[i], item.ID)
			}
			ids[i] = item.ID
		}
		if (a.status == http.StatusAccepted) != (accepted == len(ids)) {
			t.Fatalf("answered %s", a.body)
		}
		return accepted
	}
	last := 0
	for deadline := time.Now().Add(30 * time.Second); last < len(ids); {
		accepted := repeat()
		if accepted < last {
			t.Fatalf("%d events are accepted, %d were before", accepted, last)
		}
		if last = accepted; time.Now().After(deadline) {
			t.Fatalf("only %d events were accepted in half a minute", last)
		}
	}
	if events := f.stored(); len(events) != len(ids) {
		t.Errorf("stored %d events, want each once", len(events))
	}
}

func TestConfig_Limits(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		set  func(*api.Config)
		want string // in the error; "" for none
	}{
		{name: "none of them", set: func(c *api.Config) { c.MaxWebhooks, c.MaxAPIKeys, c.MaxRate = 0, 0, 0 }},
		{name: "an ingest limit above the fair share", set: func(c *api.Config) { c.MaxRate = 201 }},
		{name: "one that events never reach class bulk under", set: func(c *api.Config) { c.MaxRate = 200 }, want: "EVENTS_MAX_RATE"},
		{name: "a negative one", set: func(c *api.Config) { c.MaxRate = -1 }, want: "EVENTS_MAX_RATE"},
		{name: "fewer than no webhooks", set: func(c *api.Config) { c.MaxWebhooks = -1 }, want: "TENANT_MAX_WEBHOOKS"},
		{name: "more API keys than are counted", set: func(c *api.Config) { c.MaxAPIKeys = 1_000_001 }, want: "TENANT_MAX_API_KEYS"},
		{name: "fewer than no connections", set: func(c *api.Config) { c.MaxConnections = -1 }, want: "TENANT_MAX_CONNECTIONS"},
		{name: "a Graph API in the clear", set: func(c *api.Config) { c.Meta.GraphURL = "http://graph.example.com" }, want: "META_GRAPH_URL"},
		{name: "a short JWT secret", set: func(c *api.Config) { c.JWT.Secret = "short" }, want: "JWT_HS256_SECRET"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := api.Config{LiveRate: 200, LiveBurst: 1000, Connections: 8}
			tc.set(&cfg)
			if err := cfg.Validate(); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q in it", err, tc.want)
			}
		})
	}
}
