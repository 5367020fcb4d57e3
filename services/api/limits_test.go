package api_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/api"
)

// rateLimit is the state of a connection's windows as tests read it.
type rateLimit struct {
	ConnectionID uuid.UUID
	Windows      []struct {
		WindowType                   string
		MaxRequests, Used, Remaining int
		ResetsAt                     *time.Time
	}
}

func (r rateLimit) used() (used []int) {
	for _, w := range r.Windows {
		used = append(used, w.Used)
	}
	return used
}

func (r rateLimit) limits() (limits []int) {
	for _, w := range r.Windows {
		limits = append(limits, w.MaxRequests)
	}
	return limits
}

// limited is a fixture with a connection, whose limits are 5, 50 and 500.
type limited struct {
	*fixture
	connection ratelimit.Connection
	limiter    *ratelimit.Limiter
	path       string
}

func newLimited(t *testing.T) limited {
	t.Helper()
	settings := ratelimit.Config{PerMinute: 5, PerHour: 50, PerDay: 500}
	f := newFixture(t, func(c *api.Config) { c.RateLimits = settings })
	f.key = f.newKey(f.tenant, auth.ScopeChannelsWrite, auth.ScopeWebhooksRead)
	l := limited{
		fixture: f, connection: ratelimit.Connection{Tenant: f.tenant, ID: uuid.New()},
		limiter: ratelimit.New(f.worker, settings),
	}
	l.path = l.newConnection(l.connection)
	return l
}

// newConnection stores a connection, and returns the path of its rate limit.
func (f *fixture) newConnection(c ratelimit.Connection) string {
	f.Helper()
	super := f.open(testenv.Superuser)
	_, err := super.Pool().Exec(f.Context(), "INSERT INTO connections (id, tenant_id, channel, name, external_id) VALUES ($1, $2, 'whatsapp', 'Sales', $3)", c.ID, c.Tenant, c.ID.String())
	f.check(err)
	return "/api/connections/" + c.ID.String() + "/rate-limit"
}

func (l limited) take(n int64) {
	l.Helper()
	_, err := l.limiter.Take(l.Context(), l.connection, n)
	l.check(err)
}

func TestGetRateLimit(t *testing.T) {
	t.Parallel()
	l := newLimited(t)
	fresh := l.do("GET", l.path, "").is(http.StatusOK)
	state := into[rateLimit](fresh)
	if state.ConnectionID != l.connection.ID || !slices.Equal(state.limits(), []int{5, 50, 500}) || !slices.Equal(state.used(), []int{0, 0, 0}) {
		t.Errorf("a connection that has sent nothing: %s", fresh.body)
	}
	for i, w := range state.Windows {
		if w.WindowType != string(ratelimit.Windows()[i]) || w.Remaining != w.MaxRequests || w.ResetsAt != nil {
			t.Errorf("a window that has not begun: %+v", w)
		}
	}
	fresh.limited(`"per_minute";q=5;w=60, "per_hour";q=50;w=3600, "per_day";q=500;w=86400`, `"per_minute";r=5;t=0, "per_hour";r=50;t=0, "per_day";r=500;t=0`)

	l.take(3)
	used := l.do("GET", l.path, "").is(http.StatusOK)
	state = into[rateLimit](used)
	if w := state.Windows[0]; w.Used != 3 || w.Remaining != 2 || w.ResetsAt == nil || time.Until(*w.ResetsAt) > time.Minute {
		t.Errorf("after 3 messages: %+v", w)
	}
	left := regexp.MustCompile(`^"per_minute";r=2;t=(60|5\d), "per_hour";r=47;t=3[56]\d\d, "per_day";r=497;t=86[34]\d\d$`)
	if got := used.header.Get("RateLimit"); !left.MatchString(got) {
		t.Errorf("RateLimit: %s, want it to match %s", got, left)
	}
}

func TestRateLimit_Connections(t *testing.T) {
	t.Parallel()
	l := newLimited(t)
	others := l.newConnection(ratelimit.Connection{Tenant: uuid.New(), ID: uuid.New()})
	gone := ratelimit.Connection{Tenant: l.tenant, ID: uuid.New()}
	deleted := l.newConnection(gone)
	_, err := l.worker.Pool().Exec(t.Context(), "UPDATE connections SET deleted_at = now() WHERE id = $1", gone.ID)
	l.check(err)
	for what, path := range map[string]string{
		"another tenant's": others, "a deleted one": deleted,
		"an unknown one": "/api/connections/" + uuid.NewString() + "/rate-limit", "no id": "/api/connections/x/rate-limit",
	} {
		for _, a := range []answer{l.do("GET", path, ""), l.do("PUT", path, `{}`), l.do("POST", path+"/reset", "")} {
			if a.status != http.StatusNotFound {
				t.Errorf("%s: %d %s, want 404", what, a.status, a.body)
			}
		}
	}
	l.key = l.newKey(l.tenant, auth.ScopeWebhooksRead, auth.ScopeWebhooksWrite, auth.ScopeEventsWrite)
	l.do("GET", l.path, "").refuses(http.StatusForbidden)
	l.do("PUT", l.path, `{}`).refuses(http.StatusForbidden)
	l.do("POST", l.path+"/reset", "").refuses(http.StatusForbidden)
}

func TestSetRateLimit(t *testing.T) {
	t.Parallel()
	t.Run("sets what is given and takes the default for the rest", func(t *testing.T) {
		t.Parallel()
		l := newLimited(t)
		l.take(3)
		for _, tc := range []struct {
			body string
			want []int
		}{
			{`{"per_minute":2,"per_day":0}`, []int{2, 50, 0}},
			{`{"per_hour":1000000000,"per_day":null}`, []int{5, 1_000_000_000, 500}},
			{`{}`, []int{5, 50, 500}},
		} {
			a := l.do("PUT", l.path, tc.body).is(http.StatusOK)
			if got := into[rateLimit](a); !slices.Equal(got.limits(), tc.want) || !slices.Equal(got.used(), []int{3, 3, 3}) {
				t.Errorf("%s: %s, want limits %v and 3 used", tc.body, a.body, tc.want)
			}
			if read := l.do("GET", l.path, ""); string(read.body) != string(a.body) {
				t.Errorf("%s: answered %s, and reads %s", tc.body, a.body, read.body)
			}
		}
		a := l.do("PUT", l.path, `{"per_minute":2}`)
		if got := a.header.Get("RateLimit"); !regexp.MustCompile(`^"per_minute";r=0;t=\d+, `).MatchString(got) {
			t.Errorf("RateLimit: %s, want nothing left of the minute", got)
		}
	})
	t.Run("refuses what no limit is", func(t *testing.T) {
		t.Parallel()
		l := newLimited(t)
		l.do("PUT", l.path, `{"per_minute":-1,"per_day":1000000001}`).refuses(http.StatusUnprocessableEntity, "/per_minute", "/per_day")
		l.do("PUT", l.path, `{"per_minute":"5"}`).refuses(http.StatusUnprocessableEntity, "/per_minute")
		l.do("PUT", l.path, `{"per_year":5}`).refuses(http.StatusUnprocessableEntity, "/per_year")
		l.do("PUT", l.path, ``).refuses(http.StatusBadRequest)
	})
}

func TestResetRateLimit(t *testing.T) {
	t.Parallel()
	l := newLimited(t)
	l.take(5)
	one := l.do("POST", l.path+"/reset", `{"windowType":"per_minute"}`).is(http.StatusOK)
	if got := into[rateLimit](one); !slices.Equal(got.used(), []int{0, 5, 5}) || got.Windows[0].ResetsAt != nil {
		t.Errorf("after the minute was reset: %s", one.body)
	}
	for _, body := range []string{``, `{}`, `{"windowType":null}`} {
		l.take(1)
		all := l.do("POST", l.path+"/reset", body).is(http.StatusOK)
		if got := into[rateLimit](all); !slices.Equal(got.used(), []int{0, 0, 0}) {
			t.Errorf("after all was reset by %q: %s", body, all.body)
		}
		all.limited(`"per_minute";q=5;w=60, "per_hour";q=50;w=3600, "per_day";q=500;w=86400`, `"per_minute";r=5;t=0, "per_hour";r=50;t=0, "per_day";r=500;t=0`)
	}
	l.do("POST", l.path+"/reset", `{"windowType":"per_year"}`).refuses(http.StatusUnprocessableEntity, "/windowType")
	l.do("POST", l.path+"/reset", `{"windowtype":"per_day"}`).refuses(http.StatusUnprocessableEntity, "/windowtype")
}

func TestAudit_RateLimits(t *testing.T) {
	t.Parallel()
	l := newLimited(t)
	l.take(2)
	before := l.do("GET", l.path, "").body
	set := l.do("PUT", l.path, `{"per_hour":7}`).is(http.StatusOK).body
	reset := l.do("POST", l.path+"/reset", "").is(http.StatusOK).body
	l.do("PUT", l.path, `{"per_hour":-7}`).is(http.StatusUnprocessableEntity)
	entries := l.audit("")
	want := []struct {
		action        string
		before, after []byte
	}{{"rate_limit.reset", set, reset}, {"rate_limit.updated", before, set}}
	if len(entries) != len(want) {
		t.Fatalf("%d entries, want %d", len(entries), len(want))
	}
	same := func(a json.RawMessage, b []byte) bool {
		var x, y rateLimit
		l.check(json.Unmarshal(a, &x))
		l.check(json.Unmarshal(b, &y))
		one, err := json.Marshal(x)
		l.check(err)
		other, err := json.Marshal(y)
		l.check(err)
		return string(one) == string(other)
	}
	for i, w := range want {
		e := entries[i]
		if e.Action != w.action || e.SubjectType != "connection" || e.SubjectID != l.connection.ID.String() || !same(e.Before, w.before) || !same(e.After, w.after) {
			t.Errorf("entry %d: %s of %s %s from %s to %s; want %s from %s to %s", i, e.Action, e.SubjectType, e.SubjectID, e.Before, e.After, w.action, w.before, w.after)
		}
	}
}
