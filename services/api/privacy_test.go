package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/testenv"
)

const (
	erasuresPath  = "/api/erasures"
	deletionsPath = "/api/tenant-deletions"
)

// erasure is one as tests read it.
type erasure struct {
	ID                               uuid.UUID
	State                            string
	Events, Bodies, Logs, Deliveries int64
	CreatedAt                        time.Time
	FinishedAt                       *time.Time
}

// deletion is a tenant's as tests read it.
type deletion struct {
	ID, TenantID uuid.UUID
	State, Step  string
	Rows         int64
	CreatedAt    time.Time
	FinishedAt   *time.Time
}

// unseen reads one row past row level security.
func (f *fixture) unseen(sql string, args []any, into ...any) {
	f.Helper()
	conn, err := pgx.Connect(f.Context(), f.database.URL(testenv.Superuser))
	f.check(err)
	defer conn.Close(f.Context())
	if err := conn.QueryRow(f.Context(), sql, args...).Scan(into...); err != nil {
		f.Fatalf("%s: %v", sql, err)
	}
}

func TestErasures_Create(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const contact = "ana@example.com"
	f.do("POST", eventsPath, `{"event":"deal.moved","data":{"contact":{"id":"`+contact+`"}}}`).is(http.StatusAccepted)
	if got := f.stored(); len(got) != 1 || got[0].Contact != event.ContactKey(contact) {
		t.Fatalf("stored %+v, want one event about the contact", got)
	}
	a := f.do("POST", erasuresPath, `{"contactId":"`+contact+`"}`).is(http.StatusAccepted)
	made := into[erasure](a)
	if made.State != "pending" || made.FinishedAt != nil || a.header.Get("Location") != erasuresPath+"/"+made.ID.String() {
		t.Errorf("made %s at %s", a.body, a.header.Get("Location"))
	}
	if got := into[erasure](f.do("GET", a.header.Get("Location"), "").is(http.StatusOK)); got != made {
		t.Errorf("read %+v, made %+v", got, made)
	}

	var kept string
	var last int64
	f.unseen("SELECT contact_id, last_seq FROM erasures WHERE id = $1", []any{made.ID}, &kept, &last)
	if kept != event.ContactKey(contact) || last != 1 {
		t.Errorf("it is about %q up to %d, want the key that events are found by, up to the last one", kept, last)
	}
	var args, logged string
	f.unseen("SELECT args::text FROM river_job WHERE kind = 'erasure'", nil, &args)
	if args != `{"id": "`+made.ID.String()+`"}` {
		t.Errorf("the job's arguments are %s, want the id alone", args)
	}
	f.unseen("SELECT concat_ws(' ', action, subject_type, subject_id, before, after) FROM audit_log WHERE tenant_id = $1", []any{f.tenant}, &logged)
	if !strings.HasPrefix(logged, "erasure.created erasure "+made.ID.String()) || strings.Contains(logged, "ana") || strings.Contains(logged, kept) {
		t.Errorf("the audit log says %s", logged)
	}

	t.Run("is the tenant's own", func(t *testing.T) {
		other := *f
		other.T, other.key = t, f.newKey(uuid.New(), auth.ScopeWebhooksRead)
		other.do("GET", a.header.Get("Location"), "").refuses(http.StatusNotFound)
	})
	t.Run("refuses what is no contact", func(t *testing.T) {
		g := *f
		g.T = t
		g.do("POST", erasuresPath, `{"contactId":""}`).refuses(http.StatusUnprocessableEntity, "/contactId")
		g.do("POST", erasuresPath, `{"contactId":"`+strings.Repeat("é", 257)+`"}`).refuses(http.StatusUnprocessableEntity, "/contactId")
		g.do("POST", erasuresPath, `{"contactId":"`+strings.Repeat("é", 256)+`"}`).is(http.StatusAccepted)
		g.do("GET", erasuresPath+"/nothing", "").refuses(http.StatusNotFound)
	})
	t.Run("needs to know what is accepted by now", func(t *testing.T) {
		g := *f
		g.T = t
		nc := f.account.Connect(t, testenv.API)
		cut, _ := g.serve(g.open(testenv.API), nc, nil)
		nc.Close()
		g.send(cut.URL, "POST", erasuresPath, strings.NewReader(`{"contactId":"c"}`)).refuses(http.StatusServiceUnavailable)
	})
}

func TestTenantDeletions_Create(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withTokens)
	theirs := f.key
	platform, other := uuid.New(), uuid.New()
	f.key = f.newKey(platform, auth.ScopePlatform, auth.ScopeEventsWrite, auth.ScopeWebhooksRead)
	const event = `{"event":"deal.moved","data":{},"tenantId":"`
	token := "Bearer " + f.token(f.tenant, "maria")
	authorised := func(credential string) int { return f.do("GET", hooksPath, "", "Authorization", credential).status }
	publish := func() int { return f.do("POST", eventsPath, event+f.tenant.String()+`"}`).status }
	acting := func() int { return f.do("GET", hooksPath, "", "X-Tenant-Id", f.tenant.String()).status }
	if a, b, c, d := authorised("Bearer "+theirs), authorised(token), publish(), acting(); a != 200 || b != 200 || c != 202 || d != 200 {
		t.Fatalf("before: %d, %d, %d, %d", a, b, c, d)
	}

	a := f.do("POST", deletionsPath, `{"tenantId":"`+f.tenant.String()+`"}`).is(http.StatusAccepted)
	made := into[deletion](a)
	if made.State != "pending" || made.TenantID != f.tenant || a.header.Get("Location") != deletionsPath+"/"+made.ID.String() {
		t.Errorf("made %s at %s", a.body, a.header.Get("Location"))
	}
	if got := into[deletion](f.do("GET", a.header.Get("Location"), "").is(http.StatusOK)); got != made {
		t.Errorf("read %+v, made %+v", got, made)
	}
	// All of it was found valid a moment ago.
	for name, c := range map[string]struct {
		status int
		ask    func() int
	}{
		"its key":                      {401, func() int { return authorised("Bearer " + theirs) }},
		"its users' tokens":            {403, func() int { return authorised(token) }},
		"the platform's events for it": {403, publish},
		"the platform acting for it":   {403, acting},
		"the platform's events, in a row": {207, func() int {
			return f.do("POST", eventsPath, `[`+event+f.tenant.String()+`"},`+event+other.String()+`"}]`).status
		}},
	} {
		if got := c.ask(); got != c.status {
			t.Errorf("%s: answered %d, want %d", name, got, c.status)
		}
	}
	// Other servers ask the database, within a second.
	var found int
	f.unseen("SELECT count(*) FROM api_keys k, find_api_key(k.hash) WHERE k.tenant_id = $1", []any{f.tenant}, &found)
	if found != 0 {
		t.Error("its key is still found")
	}

	var args, logged string
	f.unseen("SELECT args::text FROM river_job WHERE kind = 'tenant_deletion'", nil, &args)
	if args != `{"id": "`+made.ID.String()+`"}` {
		t.Errorf("the job's arguments are %s", args)
	}
	f.unseen("SELECT concat_ws(' ', action, subject_type, subject_id) FROM audit_log WHERE tenant_id = $1", []any{platform}, &logged)
	if logged != "tenant.deleted tenant "+f.tenant.String() {
		t.Errorf("the audit log says %q", logged)
	}

	t.Run("asked for again is the same", func(t *testing.T) {
		g := *f
		g.T = t
		if again := into[deletion](g.do("POST", deletionsPath, `{"tenantId":"`+f.tenant.String()+`"}`).is(http.StatusAccepted)); again != made {
			t.Errorf("made %+v", again)
		}
		var n int
		g.unseen("SELECT count(*) FROM river_job WHERE kind = 'tenant_deletion'", nil, &n)
		if n != 1 {
			t.Errorf("%d jobs", n)
		}
		g.key = g.newKey(other, auth.ScopePlatform)
		g.do("POST", deletionsPath, `{"tenantId":"`+f.tenant.String()+`"}`).refuses(http.StatusConflict)
		g.do("GET", a.header.Get("Location"), "").refuses(http.StatusNotFound)
	})
	t.Run("is the platform's alone", func(t *testing.T) {
		g := *f
		g.T = t
		g.key = g.newKey(other, auth.ScopeWebhooksRead, auth.ScopeWebhooksWrite)
		g.do("POST", deletionsPath, `{"tenantId":"`+other.String()+`"}`).refuses(http.StatusForbidden)
		g.do("GET", a.header.Get("Location"), "").refuses(http.StatusForbidden)
	})
	t.Run("refuses what is no other tenant", func(t *testing.T) {
		g := *f
		g.T = t
		for _, id := range []string{"", "acme", uuid.Nil.String(), platform.String()} {
			g.do("POST", deletionsPath, `{"tenantId":"`+id+`"}`).refuses(http.StatusUnprocessableEntity, "/tenantId")
		}
		g.do("POST", deletionsPath, `{"tenantId":"`+other.String()+`"}`, "X-Tenant-Id", other.String()).refuses(http.StatusUnprocessableEntity, "/tenantId")
	})
}
