package lanes

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/worker/attempt"
)

// won gives any event a body of which some filters think well.
type won struct{}

func (won) Event(_ context.Context, _ int64, seq uint64, tenant uuid.UUID, id string) (bus.Event, error) {
	return bus.Event{Tenant: tenant, Type: "deal.moved", ID: id, Seq: seq,
		Body: []byte(`{"event":"deal.moved","timestamp":"2026-11-24T12:00:00Z","data":{"stage":{"name":"won"}}}`)}, nil
}

func TestClaimer_offer_AsksTheFilter(t *testing.T) {
	t.Parallel()
	const rowsAndLogs = "SELECT concat_ws(' ', state, attempt, unfiltered, last_error) FROM webhook_queue UNION ALL SELECT concat_ws(' ', 'log', attempt, status) FROM webhook_logs ORDER BY 1"
	for _, tc := range []struct {
		rule     string
		filter   string
		row      row
		attempts int
		left     []string
	}{
		{"and delivers what passes", `{"stage.name":"won"}`, row{ask: true}, 1, []string{"log 1 200"}},
		{"and has nothing left of what does not", `{"stage.name":"lost"}`, row{ask: true}, 0, []string{}},
		{"and has what it cannot ask wait", `{"stage.name":{"$later":1}}`, row{ask: true}, 0, []string{"0 1 t the webhook's filter cannot be read by the worker"}},
		{"unless it has been asked", `{"stage.name":"lost"}`, row{}, 1, []string{"log 1 200"}},
		{"unless it can be read and has been asked", `{"stage.name":{"$later":1}}`, row{}, 1, []string{"log 1 200"}},
		{"unless an attempt was made", `{"stage.name":"lost"}`, row{ask: true, attempt: 2}, 1, []string{"log 2 200"}},
		{"unless there is none any more", ``, row{ask: true}, 1, []string{"log 1 200"}},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			hook := w.webhook()
			w.change(hook, func(p *db.UpdateWebhookParams) {
				if tc.filter != "" {
					p.Filter = []byte(tc.filter)
				}
			})
			c := w.claimer(100)
			c.Bodies = won{}
			c.Results, _ = w.ledger()
			tc.row.due = -time.Second
			w.queue(hook, tc.row)
			if got := w.once(c); len(got) != 1 {
				t.Fatalf("leased %d rows", len(got))
			}
			eventually(t, "the row to be settled", func() bool {
				return len(ask[string](w, "SELECT delivery_id::text FROM webhook_queue WHERE lease_id IS NOT NULL")) == 0
			})
			expect(w, "rows and logs", tc.left, rowsAndLogs)
			if got := len(c.net.seen()); got != tc.attempts {
				t.Errorf("%d attempts, want %d", got, tc.attempts)
			}
		})
	}

	t.Run("again after an attempt that was interrupted, as it is then", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		filtered := func(filter string) {
			w.change(hook, func(p *db.UpdateWebhookParams) { p.Filter = []byte(filter) })
		}
		filtered(`{"stage.name":{"$later":1}}`)
		c := w.claimer(100)
		c.Bodies = won{}
		c.Results, _ = w.ledger()
		w.queue(hook, row{ask: true, due: -time.Second})
		for _, step := range []struct {
			filter string
			waits  bool
		}{{`{"stage.name":{"$later":1}}`, true}, {`{"stage.name":"lost"}`, false}} {
			filtered(step.filter)
			w.exec("UPDATE webhook_queue SET due_at = now()")
			w.exec("UPDATE webhook_lanes SET next_due_at = now(), turn_at = now()")
			w.once(c)
			eventually(t, "the row to be settled", func() bool {
				return len(ask[string](w, "SELECT delivery_id::text FROM webhook_queue WHERE lease_id IS NOT NULL")) == 0
			})
			if waits := len(ask[string](w, "SELECT delivery_id::text FROM webhook_queue")) == 1; waits != step.waits {
				t.Errorf("with %s the row waits: %t, want %t", step.filter, waits, step.waits)
			}
		}
		if len(c.net.seen()) > 0 {
			t.Error("an attempt was made")
		}
	})
}

// A filter that lets nothing pass is no failure of the endpoint.
func TestClaimer_offer_FilteredIsNoFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hook := w.webhook()
	w.change(hook, func(p *db.UpdateWebhookParams) { p.Filter = []byte(`{"stage.name":"lost"}`) })
	c := w.claimer(1000)
	c.Bodies = won{}
	c.Results, _ = w.ledger()
	for range 3 {
		rows := due(20)
		for i := range rows {
			rows[i].ask = true
		}
		w.queue(hook, rows...)
	}
	eventually(t, "the queue to be empty", func() bool {
		w.once(c)
		return len(ask[string](w, "SELECT delivery_id::text FROM webhook_queue")) == 0
	})
	c.net.answer = func(context.Context, *attempt.Request) attempt.Outcome {
		return attempt.Outcome{Success: true, Status: 200, Start: time.Now(), Duration: time.Millisecond}
	}
	if len(c.Pool.Full()) > 0 {
		t.Error("the breaker has opened, or the cap is used up")
	}
	w.queue(hook, due(1)...)
	w.once(c)
	eventually(t, "an attempt", func() bool { return len(c.net.seen()) == 1 })
}
