package health

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/worker/ledger"
)

// state of a webhook, in words.
func (w *world) state(hook uuid.UUID) string {
	w.t.Helper()
	return ask[string](w, `SELECT concat_ws(' ', CASE WHEN active THEN 'active' ELSE 'inactive' END, disabled_reason,
		CASE WHEN (disabled_at IS NULL) <> (disabled_reason IS NULL) THEN 'half disabled' END) FROM webhooks WHERE id = $1`, hook)[0]
}

func TestKeeper_Look_Streak(t *testing.T) {
	t.Parallel()
	t.Run("is warned of at each level, and disables at the last, each once", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook, other := w.webhook(), w.webhook()
		w.fail(other, 30, 11*time.Hour)
		var want []string
		for _, step := range []struct {
			since  time.Duration
			raises string
		}{
			{since: 11 * time.Hour},
			{since: 12 * time.Hour, raises: "webhook.failing"},
			{since: 17 * time.Hour},
			{since: 18 * time.Hour, raises: "webhook.failing"},
			{since: 22 * time.Hour, raises: "webhook.failing"},
			{since: 23 * time.Hour},
			{since: 24 * time.Hour, raises: "webhook.disabled"},
			{since: 25 * time.Hour},
		} {
			w.fail(hook, 5, step.since)
			if step.raises != "" {
				want = append(want, step.raises)
			}
			for range 2 {
				w.look()
			}
			if got := w.raised(); !slices.Equal(got, want) {
				t.Fatalf("after %s: raised %v, want %v", step.since, got, want)
			}
			inactive := "active"
			if step.since >= 24*time.Hour {
				inactive = "inactive failing"
			}
			if got := w.state(hook); got != inactive {
				t.Fatalf("after %s: it is %s", step.since, got)
			}
		}
		if got := w.state(other); got != "active" {
			t.Errorf("the other one is %s", got)
		}
		expect(w, "audit rows", []string{"system webhook.disabled webhook " + hook.String()},
			"SELECT concat_ws(' ', actor, action, subject_type, subject_id) FROM audit_log WHERE tenant_id = $1", tenant)
	})

	t.Run("tells of the webhook and of what comes", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.fail(hook, 3, 13*time.Hour)
		w.look()
		since := ask[time.Time](w, "SELECT failing_since FROM webhook_health")[0]
		subject := map[string]any{"id": hook.String(), "name": `Pedidos "ERP" <1>`, "url": "https://example.com/hook?a=1&b=2"}
		same(t, w.told(), map[string]any{
			"webhook": subject, "failingSince": stamp(since), "exhaustedCount": 3.0, "disableAt": stamp(since.Add(24 * time.Hour)),
		})
		w.fail(hook, 18, 25*time.Hour)
		w.look()
		since = ask[time.Time](w, "SELECT failing_since FROM webhook_health")[0]
		at := ask[time.Time](w, "SELECT disabled_at FROM webhooks")[0]
		same(t, w.told(), map[string]any{
			"webhook": subject, "reason": "failing", "failingSince": stamp(since), "exhaustedCount": 21.0, "disabledAt": stamp(at),
		})
		audit := ask[string](w, "SELECT before || ' ' || after FROM audit_log")[0]
		want := fmt.Sprintf(`{"active":true,"disabledAt":null,"disabledReason":null} {"active":false,"disabledAt":%q,"disabledReason":"failing"}`,
			at.UTC().Format(time.RFC3339Nano))
		if audit != want {
			t.Errorf("the audit row says %s, want %s", audit, want)
		}
	})

	t.Run("disables as a change that matchers and lanes see", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		before := w.generation(hook)
		w.exec("INSERT INTO webhook_lanes (webhook_id, tenant_id, next_due_at) VALUES ($1, $2, now())", hook, tenant)
		w.fail(hook, 20, 24*time.Hour)
		w.look()
		if after := w.generation(hook); after <= before {
			t.Errorf("the generation is %d, was %d", after, before)
		}
		expect(w, "lanes that are shut", []bool{true}, "SELECT blocked_until = 'infinity' FROM webhook_lanes")
		w.enable(hook)
		expect(w, "lanes that are shut after it was enabled", []bool{false}, "SELECT blocked_until = 'infinity' FROM webhook_lanes")
	})

	t.Run("starts anew when the webhook is enabled, and is told of again", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.fail(hook, 20, 24*time.Hour)
		w.look()
		w.enable(hook)
		expect(w, "health", []string{"0 0 0 t"}, "SELECT concat_ws(' ', exhausted, failing_since, level, told, down) FROM webhook_health")
		w.fail(hook, 19, 24*time.Hour)
		w.look()
		w.fail(hook, 1, 24*time.Hour)
		w.look()
		if got, want := w.raised(), []string{"webhook.disabled", "webhook.failing", "webhook.disabled"}; !slices.Equal(got, want) {
			t.Errorf("raised %v, want %v", got, want)
		}
		w.exec("UPDATE webhook_health SET gone_generation = 1")
		// Changes that do not make it active leave the streak.
		w.asAPI(func(q *db.Queries) error { _, err := q.DeleteWebhook(t.Context(), hook); return err })
		expect(w, "the streak", []int32{20}, "SELECT exhausted FROM webhook_health")
	})

	t.Run("tells nobody of an inactive webhook", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.exec("UPDATE webhooks SET active = false WHERE id = $1", hook) // as its owner does
		w.fail(hook, 20, 12*time.Hour)
		w.look()
		w.fail(hook, 1, 24*time.Hour)
		w.look()
		if got, state := w.raised(), w.state(hook); len(got) > 0 || state != "inactive" {
			t.Errorf("raised %v, it is %s", got, state)
		}
		expect(w, "streaks to act on", []int64{0}, "SELECT count(*) FROM webhook_health WHERE level > told")
	})

	t.Run("that has ended since it was seen is not acted on", func(t *testing.T) {
		t.Parallel()
		for _, since := range []time.Duration{12 * time.Hour, 24 * time.Hour} {
			w := newWorld(t)
			hook := w.webhook()
			w.fail(hook, 20, since)
			seen, err := w.store.Queries().UntoldHealth(t.Context(), uuid.Nil, 10)
			if err != nil || len(seen) != 1 {
				t.Fatalf("%d streaks, %v", len(seen), err)
			}
			w.succeed(hook)
			if err := w.keeper().act(t.Context(), &seen[0]); err != nil {
				t.Error(err)
			}
			if got, state := w.raised(), w.state(hook); len(got) > 0 || state != "active" {
				t.Errorf("after %s: raised %v, it is %s", since, got, state)
			}
			expect(w, "audit rows", []int64{0}, "SELECT count(*) FROM audit_log")
		}
	})

	t.Run("raises one event however many ledgers and keepers come upon it", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.fail(hook, 18, 24*time.Hour)
		var fleet sync.WaitGroup
		for range 2 {
			k := w.keeper()
			fleet.Go(func() {
				for range 5 {
					w.commit(entry(hook, 500, 0))
					if err := k.Look(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		fleet.Wait()
		events := w.raised()
		if n := len(events); n == 0 || events[n-1] != "webhook.disabled" || n > 2 || n == 2 && events[0] != "webhook.failing" {
			t.Errorf("raised %v, want one disable, after one warning at most", events)
		}
		expect(w, "audit rows", []int64{1}, "SELECT count(*) FROM audit_log")
		expect(w, "the streak", []int32{28}, "SELECT exhausted FROM webhook_health")
	})
}

func same(t *testing.T, got, want any) {
	t.Helper()
	g, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	v, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if string(g) != string(v) {
		t.Errorf("tells %s, want %s", g, v)
	}
}

func TestKeeper_Look_Gone(t *testing.T) {
	t.Parallel()
	t.Run("disables the webhook at once, and once", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.commit(entry(hook, 410, w.generation(hook)))
		for range 2 {
			w.look()
		}
		if got, state := w.raised(), w.state(hook); !slices.Equal(got, []string{"webhook.disabled"}) || state != "inactive gone" {
			t.Errorf("raised %v, it is %s", got, state)
		}
		if data := w.told(); data["reason"] != "gone" || data["exhaustedCount"] != 1.0 || data["failingSince"] == nil {
			t.Errorf("tells %v", data)
		}
		expect(w, "audit rows", []string{"system webhook.disabled"}, "SELECT concat_ws(' ', actor, action) FROM audit_log")
		expect(w, "answers to act on", []int64{0}, "SELECT count(*) FROM webhook_health WHERE gone_generation IS NOT NULL")
	})

	t.Run("disables none that was changed since the attempt", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		old := w.generation(hook)
		w.asAPI(func(q *db.Queries) error {
			row, err := q.LockWebhook(t.Context(), hook)
			if err != nil {
				return err
			}
			_, err = q.UpdateWebhook(t.Context(), db.UpdateWebhookParams{
				ID: hook, Name: row.Name, Url: "https://example.com/new", Events: row.Events, Active: true, Secret: row.Secret,
				HeaderNames: row.HeaderNames, RetryDelays: row.RetryDelays,
			})
			return err
		})
		w.commit(entry(hook, 410, old))
		w.look()
		if got, state := w.raised(), w.state(hook); len(got) > 0 || state != "active" {
			t.Errorf("raised %v, it is %s", got, state)
		}
		expect(w, "answers to act on", []int64{0}, "SELECT count(*) FROM webhook_health WHERE gone_generation IS NOT NULL")
		w.commit(entry(hook, 410, w.generation(hook)))
		w.look()
		if got := w.state(hook); got != "inactive gone" {
			t.Errorf("it is %s after a further answer", got)
		}
	})

	t.Run("is forgotten when the webhook is enabled", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		w.exec("UPDATE webhooks SET active = false WHERE id = $1", hook)
		w.commit(entry(hook, 410, w.generation(hook)))
		w.enable(hook)
		w.look()
		if got := w.state(hook); got != "active" {
			t.Errorf("it is %s", got)
		}
	})

	t.Run("is acted on as soon as the ledger has it", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		hook := w.webhook()
		k := w.keeper()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { k.Run(ctx) })
		l := ledger.New(w.store, quiet())
		l.Gone = k.Wake
		running.Go(func() { l.Run(ctx) })
		defer func() {
			l.Close()
			cancel()
			running.Wait()
		}()
		started := time.Now()
		l.SubmitEntry(entry(hook, 410, w.generation(hook)))
		for w.state(hook) != "inactive gone" {
			if time.Since(started) > patience {
				t.Fatal("it is still active")
			}
			time.Sleep(time.Millisecond)
		}
		if took := time.Since(started); took > lookEvery/2 {
			t.Errorf("disabled after %s: it was found by chance", took)
		}
	})
}

func TestKeeper_Run_Stops(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	testenv.StressStop(t, func(ctx context.Context) error {
		w.keeper().Run(ctx)
		return nil
	})
}
