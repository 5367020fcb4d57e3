package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
)

const replaysPath = "/api/replays/"

// replay is a replay as tests read it.
type replay struct {
	ID, WebhookID     uuid.UUID
	State, Status     string
	Since, Until      time.Time
	Events            []string
	Inserted, Skipped int
	Failure           *string
	CreatedAt         time.Time
	FinishedAt        *time.Time
}

// jobsOf are the states of the jobs that were asked for a replay.
func (f *fixture) jobsOf(id uuid.UUID) (count int) {
	f.Helper()
	f.scan("SELECT count(*) FROM river_job WHERE kind = 'replay' AND args->>'id' = $1 AND queue = 'replays'", []any{id.String()}, &count)
	return count
}

// endReplay ends a replay as a worker does.
func (f *fixture) endReplay(id uuid.UUID, state int16) {
	f.Helper()
	f.check(f.worker.Queries().EndReplay(f.Context(), state, nil, id))
}

func TestReplay_Create(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook("")
	path := hooksPath + "/" + h.ID.String() + "/replay"

	before := time.Now().Add(-time.Second)
	a := f.do("POST", path, `{"since":"2025-10-20T14:00:00+02:00"}`).is(http.StatusAccepted)
	r := into[replay](a)
	if r.WebhookID != h.ID || r.State != "pending" || r.Status != "all" || !slices.Equal(r.Events, h.Events) ||
		!r.Since.Equal(time.Date(2025, 10, 20, 12, 0, 0, 0, time.UTC)) || r.Until.Before(before) || r.Until.After(time.Now()) ||
		r.Inserted != 0 || r.Skipped != 0 || r.Failure != nil || r.FinishedAt != nil || time.Since(r.CreatedAt) > time.Minute {
		t.Errorf("by default a replay is %+v", r)
	}
	if location := a.header.Get("Location"); location != replaysPath+r.ID.String() {
		t.Errorf("Location %q", location)
	}
	if n := f.jobsOf(r.ID); n != 1 {
		t.Errorf("%d jobs were asked for, want 1", n)
	}
	got := f.do("GET", replaysPath+r.ID.String(), "").is(http.StatusOK)
	if string(got.body) != string(a.body) {
		t.Errorf("reading it gives %s, not %s", got.body, a.body)
	}

	// One at a time.
	f.do("POST", path, `{"since":"2025-10-20T12:00:00Z"}`).refuses(http.StatusConflict)
	var jobs int
	f.scan("SELECT count(*) FROM river_job WHERE kind = 'replay'", nil, &jobs)
	if jobs != 1 {
		t.Errorf("%d jobs after a refused replay, want 1", jobs)
	}
	other := f.newHook("")
	f.do("POST", hooksPath+"/"+other.ID.String()+"/replay", `{"since":"2025-10-20T12:00:00Z"}`).is(http.StatusAccepted)
	f.endReplay(r.ID, 2)

	future := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	all := `{"since":"2025-10-20T12:00:00Z","until":"2025-10-21T12:00:00.5Z","events":["deal.*","message.sent"],"status":"failed"}`
	r = into[replay](f.do("POST", path, all).is(http.StatusAccepted))
	if r.Status != "failed" || !slices.Equal(r.Events, []string{"deal.*", "message.sent"}) ||
		!r.Until.Equal(time.Date(2025, 10, 21, 12, 0, 0, 500_000_000, time.UTC)) {
		t.Errorf("a replay is %+v, asked for %s", r, all)
	}
	f.endReplay(r.ID, 2)
	r = into[replay](f.do("POST", path, `{"since":"0000-01-01T00:00:00+14:00","until":"`+future+`","events":null,"status":null}`).is(http.StatusAccepted))
	if r.Until.After(time.Now()) || r.Status != "all" || !slices.Equal(r.Events, h.Events) {
		t.Errorf("a replay into the future is %+v, want one that ends now", r)
	}
	var audited string
	f.scan("SELECT after::text FROM audit_log WHERE action = 'replay.created' AND subject_id = $1", []any{r.ID.String()}, &audited)
	if shown := string(f.do("GET", replaysPath+r.ID.String(), "").body); audited != strings.TrimSpace(shown) {
		t.Errorf("audit log has %s, want %s", audited, shown)
	}
	f.endReplay(r.ID, 2)

	many := `["` + strings.Repeat(`deal.moved","`, 50) + `deal.*"]`
	for body, pointers := range map[string][]string{
		`{}`: {"/since"},
		`{"since":"yesterday","until":"2025-13-01T00:00:00Z","events":["deal.*","*.moved","deal.lost"],"status":"broken"}`: {"/since", "/until", "/events/1", "/events/2", "/status"},
		`{"since":"` + future + `"}`:                                                 {"/since"},
		`{"since":"2025-10-20T12:00:00Z","until":"2025-10-20T12:00:00Z"}`:            {"/until"},
		`{"since":"2025-10-20T12:00:00Z","events":[]}`:                               {"/events"},
		fmt.Sprintf(`{"since":"2025-10-20T12:00:00Z","events":%s}`, many):            {"/events"},
		`{"since":"2025-10-20T12:00:00Z","types":["deal.moved"]}`:                    {"/types"},
		`{"since":1760961600}`:                                                       {"/since"},
		`{"since":"2025-10-20T12:00:00Z","status":""}`:                               {"/status"},
		`{"since":"2025-10-20T12:00:00"}`:                                            {"/since"},
		`{"since":"2025-10-20T12:00:00Z","until":"2025-10-19T12:00:00Z"}`:            {"/until"},
		`{"since":"2025-10-20T12:00:00Z","until":"2025-10-19T12:00:00Z","events":5}`: {"/events"},
	} {
		f.do("POST", path, body).refuses(422, pointers...)
	}
	f.do("POST", path, "").refuses(http.StatusBadRequest)
	f.do("POST", hooksPath+"/"+uuid.NewString()+"/replay", `{"since":"2025-10-20T12:00:00Z"}`).refuses(http.StatusNotFound)
	f.do("POST", hooksPath+"/x/replay", `{"since":"2025-10-20T12:00:00Z"}`).refuses(http.StatusNotFound)
}

func TestReplay_Cancel(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	path := hooksPath + "/" + f.newHook("").ID.String() + "/replay"
	begin := func() replay {
		return into[replay](f.do("POST", path, `{"since":"2025-10-20T12:00:00Z"}`).is(http.StatusAccepted))
	}
	r := begin()
	for range 2 {
		f.do("DELETE", replaysPath+r.ID.String(), "").is(http.StatusNoContent)
	}
	got := into[replay](f.do("GET", replaysPath+r.ID.String(), "").is(http.StatusOK))
	if got.State != "cancelled" || got.FinishedAt == nil {
		t.Errorf("cancelled it is %+v", got)
	}
	var audited int
	f.scan("SELECT count(*) FROM audit_log WHERE action = 'replay.cancelled' AND subject_id = $1", []any{r.ID.String()}, &audited)
	if audited != 1 {
		t.Errorf("%d entries in the audit log, want 1", audited)
	}
	for state, name := range map[int16]string{2: "completed", 4: "failed"} {
		r := begin()
		f.endReplay(r.ID, state)
		p := f.do("DELETE", replaysPath+r.ID.String(), "").refuses(http.StatusConflict)
		if !strings.Contains(p.Detail, name) {
			t.Errorf("cancelling one that has %s says %q", name, p.Detail)
		}
	}
	f.do("DELETE", replaysPath+uuid.NewString(), "").refuses(http.StatusNotFound)
	f.do("GET", replaysPath+"x", "").refuses(http.StatusNotFound)

	// Another tenant's is not there.
	r = begin()
	f.key = f.newKey(uuid.New(), auth.ScopeWebhooksRead, auth.ScopeWebhooksWrite)
	f.do("GET", replaysPath+r.ID.String(), "").refuses(http.StatusNotFound)
	f.do("DELETE", replaysPath+r.ID.String(), "").refuses(http.StatusNotFound)
	f.do("POST", path, `{"since":"2025-10-20T12:00:00Z"}`).refuses(http.StatusNotFound)
	var state int16
	f.scan("SELECT state FROM replays WHERE id = $1", []any{r.ID}, &state)
	if state != 0 {
		t.Errorf("another tenant's request left it in state %d", state)
	}
}
