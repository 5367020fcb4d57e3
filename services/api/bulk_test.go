package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// bulkResult is what a bulk verb answers.
type bulkResult struct {
	Count    int
	Complete bool
}

// states are those of rows of the queue, in the order of ids; -1 for one that is gone.
func (f *fixture) states(ids []uuid.UUID) []int16 {
	f.Helper()
	rows, err := f.worker.Pool().Query(f.Context(), `
		SELECT coalesce(q.state, -1) FROM unnest($1::uuid[]) WITH ORDINALITY AS k (id, n)
		LEFT JOIN webhook_queue q ON q.delivery_id = k.id ORDER BY k.n`, ids)
	f.check(err)
	got, err := pgx.CollectRows(rows, pgx.RowTo[int16])
	f.check(err)
	return got
}

// audited is what the audit log tells of an action on a webhook.
func (f *fixture) audited(h hook, action string) (after []string) {
	f.Helper()
	rows, err := f.worker.Pool().Query(f.Context(), `
		SELECT after::text FROM audit_log WHERE action = $1 AND subject_id = $2 ORDER BY id`, action, h.ID.String())
	f.check(err)
	after, err = pgx.CollectRows(rows, pgx.RowTo[string])
	f.check(err)
	return after
}

// locked holds a row's lock, as a worker's claim does, until release is called.
func (f *fixture) locked(id uuid.UUID) (release func()) {
	f.Helper()
	tx, err := f.worker.Pool().Begin(f.Context())
	f.check(err)
	_, err = tx.Exec(f.Context(), "SELECT FROM webhook_queue WHERE delivery_id = $1 FOR UPDATE", id)
	f.check(err)
	f.Cleanup(func() { _ = tx.Rollback(context.Background()) }) // if it comes to that: the pool waits for it
	return func() {
		f.Helper()
		f.check(tx.Rollback(f.Context()))
	}
}

// eventually waits until condition holds.
func (f *fixture) eventually(what string, condition func() bool) {
	f.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestQueue_RetryAll(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h, other := f.newHook(""), f.newHook("")
	path := hooksPath + "/" + h.ID.String() + "/queue/retry"
	others := f.rows(other, 3)

	if got := into[bulkResult](f.do("POST", path, "").is(http.StatusAccepted)); got != (bulkResult{Complete: true}) {
		t.Errorf("of an empty queue: %+v", got)
	}
	ids := f.rows(h, append([]int16{0, 1, 2}, slices.Repeat([]int16{3}, 2500)...)...)
	_, err := f.worker.Pool().Exec(t.Context(), "DELETE FROM webhook_lanes")
	f.check(err)
	if got := into[bulkResult](f.do("POST", path, "").is(http.StatusAccepted)); got != (bulkResult{Count: 2500, Complete: true}) {
		t.Errorf("got %+v, want all 2500", got)
	}
	if got, want := f.states(ids), append([]int16{0, 1, 2}, slices.Repeat([]int16{2}, 2500)...); !slices.Equal(got, want) {
		t.Errorf("states %v..., want those that are not exhausted as they were", got[:5])
	}
	var due, transactions int
	var awake bool
	f.scan("SELECT count(*) FROM webhook_queue WHERE webhook_id = $1 AND due_at <= now()", []any{h.ID}, &due)
	f.scan("SELECT count(DISTINCT xmin::text) FROM webhook_queue WHERE webhook_id = $1 AND due_at <= now()", []any{h.ID}, &transactions)
	f.scan("SELECT wake_at <= now() FROM webhook_lanes WHERE webhook_id = $1", []any{h.ID}, &awake)
	if due != 2500 || transactions != 3 || !awake {
		t.Errorf("%d rows are due, by %d transactions, the lane is awake: %t; want 2500 by 3, awake", due, transactions, awake)
	}
	if got := f.states(others); got[0] != 3 {
		t.Error("another webhook's row was retried")
	}
	if got, want := f.audited(h, "delivery.retried_all"), []string{`{"count":2500,"complete":true}`}; !slices.Equal(got, want) {
		t.Errorf("audit log has %q, want %q", got, want)
	}
	f.do("POST", hooksPath+"/"+uuid.NewString()+"/queue/retry", "").refuses(http.StatusNotFound)
}

func TestQueue_CancelAll(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h, other := f.newHook(""), f.newHook("")
	path := hooksPath + "/" + h.ID.String() + "/queue"
	others := f.rows(other, 0)
	ids := f.rows(h, 0, 1, 2, 3, 3)
	f.do("DELETE", path+"?state=done", "").refuses(422, "/state")
	if got := into[bulkResult](f.do("DELETE", path+"?state=exhausted", "").is(http.StatusOK)); got != (bulkResult{Count: 2, Complete: true}) {
		t.Errorf("exhausted: %+v", got)
	}
	if got := f.states(ids); !slices.Equal(got, []int16{0, 1, 2, -1, -1}) {
		t.Errorf("states %v after those exhausted were cancelled", got)
	}
	f.rows(h, slices.Repeat([]int16{0}, 1200)...)
	if got := into[bulkResult](f.do("DELETE", path, "").is(http.StatusOK)); got != (bulkResult{Count: 1203, Complete: true}) {
		t.Errorf("all, in flight among them: %+v", got)
	}
	var left int
	f.scan("SELECT count(*) FROM webhook_queue WHERE webhook_id = $1", []any{h.ID}, &left)
	if got := f.states(others); left != 0 || got[0] != 0 {
		t.Errorf("%d rows are left, another webhook's is %v", left, got)
	}
	want := []string{`{"state":"exhausted","count":2,"complete":true}`, `{"count":1203,"complete":true}`}
	if got := f.audited(h, "delivery.cancelled_all"); !slices.Equal(got, want) {
		t.Errorf("audit log has %q, want %q", got, want)
	}
	f.do("DELETE", hooksPath+"/"+uuid.NewString()+"/queue", "").refuses(http.StatusNotFound)
}

// TestQueue_BulkComesBack shows that a bulk waits for no row while it holds
// others, comes back for what it passed over, and does not go after what comes
// later.
func TestQueue_BulkComesBack(t *testing.T) {
	t.Parallel()
	for name, verb := range map[string]struct {
		method, path string
		status       int
		done         int16
	}{
		"retry":  {"POST", "/queue/retry", http.StatusAccepted, 2},
		"cancel": {"DELETE", "/queue?state=exhausted", http.StatusOK, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, nil)
			h := f.newHook("")
			ids := f.rows(h, 3, 3, 3)
			release := f.locked(ids[1])
			answered := make(chan answer, 1) // sent once, received once
			go func() { answered <- f.do(verb.method, hooksPath+"/"+h.ID.String()+verb.path, "") }()
			f.eventually("the rows that nobody has locked are dealt with", func() bool {
				return slices.Equal(f.states(ids), []int16{verb.done, 3, verb.done})
			})
			later := f.rows(h, 3)
			release()
			a := (<-answered).is(verb.status)
			var got bulkResult
			f.check(json.Unmarshal(a.body, &got))
			if got != (bulkResult{Count: 3, Complete: true}) {
				t.Errorf("got %+v, want all three", got)
			}
			if got := f.states(append(ids, later...)); !slices.Equal(got, []int16{verb.done, verb.done, verb.done, 3}) {
				t.Errorf("states %v, want the last as it was", got)
			}
		})
	}
}
