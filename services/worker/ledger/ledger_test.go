package ledger

import (
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

func TestLedger_SubmitEntry(t *testing.T) {
	t.Parallel()
	t.Run("writes the event, its logs, rows, lanes and statistics in one transaction", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		ok, failing, slow, down := newID(), newID(), newID(), newID()
		entry := w.delivered("entry", ok)
		e := &entry.Event
		failed := attempted(e, failing, newID(), 1, 503)
		interrupted := attempted(e, failing, newID(), 1, 0)
		interrupted.Counted, interrupted.Outcome.Timing.FirstByte = false, 0
		entry.Logs = append(entry.Logs, failed, interrupted)
		lease := newID()
		entry.Rows = []Row{
			{Delivery: failed.Delivery, Webhook: failing, State: Retrying, Attempt: 2, Delay: 5 * time.Second, LastStatus: 503, LastError: "status: it answered 503"},
			{Delivery: interrupted.Delivery, Webhook: failing, State: Waiting, Attempt: 1, Delay: time.Hour, Unfiltered: true},
			{Delivery: newID(), Webhook: slow, State: InFlight, Attempt: 1, Delay: 45 * time.Second, Lease: lease, Kind: Replay},
			{Delivery: newID(), Webhook: down, State: Exhausted, Attempt: 5, Delay: KeepExhausted},
		}
		l := w.ledger()
		_, stop := w.run(l)
		l.SubmitEntry(entry)
		stop()
		w.verdict("entry", Committed)

		expect(w, "the event", []string{e.Type + " " + strconv.FormatUint(e.Seq, 10) + " c1"},
			"SELECT concat_ws(' ', type, stream_seq, contact_id) FROM events WHERE day = $1 AND tenant_id = $2 AND id = $3 AND created_at = $4",
			e.Day, tenant, e.ID, e.AcceptedAt)
		expect(w, "the logs", []string{
			"1 0 f f 0 12 - - status",
			"1 0 t t 200 12 2 11 -",
			"1 0 t f 503 12 2 11 status",
		}, `SELECT concat_ws(' ', attempt, kind, counted, success, status, duration_ms,
				CASE WHEN first_byte_ms IS NULL THEN '-' ELSE connect_ms::text END, coalesce(first_byte_ms::text, '-'), coalesce(error_class, '-'))
			FROM webhook_logs WHERE event_id = $1 AND event_type = $2 ORDER BY status`, e.ID, e.Type)
		expect(w, "what was said", []string{`{"a":"b"} {"c":"d"} answer`},
			"SELECT concat_ws(' ', request_headers, response_headers, response_body) FROM webhook_logs WHERE webhook_id = $1", ok)
		expect(w, "the rows", []string{
			"2 2 5 - 503 status: it answered 503 0 f",
			"1 1 45 " + lease.String() + " - - 2 f",
			"0 1 3600 - - - 0 t",
			"3 5 604800 - - - 0 f",
		}, `SELECT concat_ws(' ', state, attempt, extract(epoch FROM due_at - created_at)::int, coalesce(lease_id::text, '-'),
				coalesce(last_status::text, '-'), coalesce(last_error, '-'), kind, unfiltered)
			FROM webhook_queue WHERE event_id = $1 AND event_type = $2 AND event_day = $3 AND epoch = $4 AND stream_seq = $5
			ORDER BY due_at`, e.ID, e.Type, e.Day, int64(epoch), int64(e.Seq))
		expect(w, "lanes of the webhooks with rows that will be due, at the earliest of them", []string{
			failing.String() + " 5", slow.String() + " 45",
		}, `SELECT concat_ws(' ', l.webhook_id, extract(epoch FROM l.next_due_at - q.created_at)::int)
			FROM webhook_lanes l JOIN (SELECT DISTINCT webhook_id, created_at FROM webhook_queue) q USING (webhook_id)
			WHERE l.tenant_id = $1 ORDER BY l.webhook_id`, tenant)
		expect(w, "transactions that wrote it", []int64{1}, `SELECT count(DISTINCT xmin::text) FROM (
			SELECT xmin FROM events UNION ALL SELECT xmin FROM webhook_logs UNION ALL SELECT xmin FROM webhook_queue
			UNION ALL SELECT xmin FROM webhook_lanes UNION ALL SELECT xmin FROM webhook_stats_hourly
			UNION ALL SELECT xmin FROM webhook_durations_hourly) AS rows`)
		expect(w, "counted calls", []int64{2}, "SELECT sum(total)::bigint FROM webhook_stats_hourly")
		w.consistent()
	})

	t.Run("wakes a lane earlier and never later", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		early, late := newID(), newID()
		w.exec(`INSERT INTO webhook_lanes (webhook_id, tenant_id, next_due_at)
			VALUES ($1, $3, now() - interval '1 hour'), ($2, $3, 'infinity')`, early, late, tenant)
		entry := w.delivered("entry")
		for _, webhook := range []uuid.UUID{early, late} {
			entry.Rows = append(entry.Rows, Row{Delivery: newID(), Webhook: webhook, Attempt: 1, Delay: time.Minute})
		}
		w.ledger().settle(t.Context(), items(entry))
		expect(w, "lanes due", []bool{true, false}, "SELECT next_due_at < now() FROM webhook_lanes ORDER BY webhook_id")
		expect(w, "lanes that wake for the row", []bool{false, true},
			"SELECT l.next_due_at = q.due_at FROM webhook_lanes l JOIN webhook_queue q USING (webhook_id) ORDER BY webhook_id")
	})

	t.Run("keeps the logs of an event that has its entry already, not counted, and nothing else", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		webhook, other := newID(), newID()
		first := w.delivered("first", webhook)
		second := w.delivered("second", webhook, other)
		second.Event.ID, second.Event.Seq = first.Event.ID, first.Event.Seq+1 // whatever its sequence
		second.Rows = []Row{{Delivery: newID(), Webhook: other, Attempt: 1}}
		unrelated := w.delivered("unrelated", webhook) // in the same commit
		l := w.ledger()
		l.settle(t.Context(), items(first))
		l.settle(t.Context(), items(second, unrelated))
		w.verdict("first", Committed)
		w.verdict("second", Superseded)
		w.verdict("unrelated", Committed)
		expect(w, "events", []int64{2}, "SELECT count(*) FROM events")
		expect(w, "rows", []int64{0}, "SELECT count(*) FROM webhook_queue")
		expect(w, "lanes", []int64{0}, "SELECT count(*) FROM webhook_lanes")
		expect(w, "logs of the second", []bool{false, false},
			"SELECT counted FROM webhook_logs WHERE id = ANY($1)", []uuid.UUID{second.Logs[0].ID, second.Logs[1].ID})
		// Its entry may be there because somebody had its contact erased.
		expect(w, "what the logs of the second keep of the answers", []string{"200", "200"},
			"SELECT concat_ws(' ', status, response_headers, response_body) FROM webhook_logs WHERE id = ANY($1)", []uuid.UUID{second.Logs[0].ID, second.Logs[1].ID})
		expect(w, "counted calls", []int64{2}, "SELECT sum(total)::bigint FROM webhook_stats_hourly")
		w.consistent()
	})

	t.Run("takes the same event twice in one commit once", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		webhook := newID()
		all := []any{w.delivered("a", webhook), w.delivered("b", webhook), w.delivered("c", webhook)}
		all[2].(*Entry).Event.ID = all[0].(*Entry).Event.ID
		w.ledger().settle(t.Context(), items(all...))
		w.verdict("a", Committed)
		w.verdict("b", Committed)
		w.verdict("c", Superseded)
		w.consistent()
	})

	t.Run("is one transaction at a fan-out of 10 000", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		entry := w.delivered("entry")
		for i := range 10_000 {
			webhook, delivery := newID(), newID()
			if i%4 == 0 {
				entry.Logs = append(entry.Logs, attempted(&entry.Event, webhook, delivery, 1, 200))
			}
			entry.Rows = append(entry.Rows, Row{Delivery: delivery, Webhook: webhook, Attempt: 1})
		}
		l := w.ledger()
		_, stop := w.run(l)
		l.SubmitEntry(entry)
		stop()
		w.verdict("entry", Committed)
		expect(w, "rows", []int64{10_000}, "SELECT count(*) FROM webhook_queue")
		expect(w, "lanes", []int64{10_000}, "SELECT count(*) FROM webhook_lanes")
		expect(w, "logs", []int64{2_500}, "SELECT count(*) FROM webhook_logs")
		expect(w, "transactions that wrote it", []int64{1}, `SELECT count(DISTINCT xmin::text) FROM (
			SELECT xmin FROM events UNION ALL SELECT xmin FROM webhook_logs UNION ALL SELECT xmin FROM webhook_queue
			UNION ALL SELECT xmin FROM webhook_lanes UNION ALL SELECT xmin FROM webhook_stats_hourly) AS rows`)
		w.consistent()
	})
}

func TestLedger_SubmitResult(t *testing.T) {
	t.Parallel()
	t.Run("removes the row of a delivery that is done", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		result := w.leased(newID(), 1)[0]
		result.Done = w.verdicts.of("result")
		l := w.ledger()
		_, stop := w.run(l)
		l.SubmitResult(result)
		stop()
		w.verdict("result", Committed)
		expect(w, "rows", []int64{0}, "SELECT count(*) FROM webhook_queue")
		expect(w, "counted", []bool{true}, "SELECT counted FROM webhook_logs")
		w.consistent()
	})

	t.Run("moves the row of one that goes on, and wakes its lane", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		webhook := newID()
		results := w.leased(webhook, 4)
		results[0].Next = &Next{State: Retrying, Attempt: 2, Delay: 5 * time.Second, LastStatus: 500, LastError: "status: 500"}
		results[1].Next = &Next{State: Retrying, Attempt: 2, Delay: 15 * time.Second, LastError: "timeout: 30s"}
		results[2].Next = &Next{State: Exhausted, Attempt: 5, Delay: KeepExhausted, LastStatus: 410}
		results[3].Next, results[3].Log = &Next{State: Waiting, Attempt: 1, Delay: 20 * time.Second}, nil // given back
		var all []any
		for i, result := range results {
			result.Done = w.verdicts.of(strconv.Itoa(i))
			all = append(all, result)
		}
		w.ledger().settle(t.Context(), items(all...))
		w.all(Committed)
		expect(w, "rows", []string{"2 2 5 - 500 status: 500", "2 2 15 - - timeout: 30s", "0 1 20 - - -", "3 5 604800 - 410 -"},
			`SELECT concat_ws(' ', state, attempt, round(extract(epoch FROM due_at - l.created_at))::int, coalesce(lease_id::text, '-'),
				coalesce(last_status::text, '-'), coalesce(last_error, '-'))
			FROM webhook_queue, (SELECT max(created_at) AS created_at FROM webhook_logs) AS l ORDER BY due_at`)
		expect(w, "lanes that wake for their earliest row", []bool{true},
			"SELECT next_due_at = (SELECT min(due_at) FROM webhook_queue WHERE state < 3) FROM webhook_lanes")
		expect(w, "counted calls", []int64{3}, "SELECT sum(total)::bigint FROM webhook_stats_hourly")
		w.consistent()
	})

	t.Run("given back, keeps what is known of the attempt before", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		result := w.leased(newID(), 1)[0]
		w.exec("UPDATE webhook_queue SET last_status = 502, last_error = 'status: 502'")
		result.Log, result.Next = nil, &Next{State: Retrying, Attempt: 1}
		w.ledger().settle(t.Context(), items(result))
		expect(w, "last outcome", []string{"502 status: 502"}, "SELECT concat_ws(' ', last_status, last_error) FROM webhook_queue")
	})

	shared := newWorld(t)
	for _, tc := range []struct {
		name   string
		change func(w *world, r *Result)
	}{
		{name: "under another lease", change: func(_ *world, r *Result) { r.Lease = newID() }},
		{name: "of another attempt", change: func(_ *world, r *Result) { r.Attempt, r.Log.Attempt = 2, 2 }},
		{name: "of a row that another worker has claimed", change: func(w *world, r *Result) {
			w.exec("UPDATE webhook_queue SET lease_id = gen_random_uuid() WHERE delivery_id = $1", r.Delivery)
		}},
		{name: "of a row that has moved on", change: func(w *world, r *Result) {
			w.exec("UPDATE webhook_queue SET attempt = 2, lease_id = NULL, state = 2 WHERE delivery_id = $1", r.Delivery)
		}},
		{name: "of a row that is gone", change: func(w *world, r *Result) {
			w.exec("DELETE FROM webhook_queue WHERE delivery_id = $1", r.Delivery)
		}},
	} {
		t.Run(tc.name+" is logged, not counted, and changes nothing", func(t *testing.T) {
			t.Parallel()
			w := shared.of(t)
			results := w.leased(newID(), 4)
			done, retried := results[0], results[1]
			retried.Next = &Next{State: Retrying, Attempt: 2}
			var late []uuid.UUID
			for _, result := range results[:2] {
				tc.change(w, result)
				late = append(late, result.Log.ID)
			}
			done.Done, retried.Done = w.verdicts.of("done"), w.verdicts.of("retried")
			results[2].Done, results[3].Done = w.verdicts.of("beside it"), w.verdicts.of("beside that")
			rows := func() []string {
				return ask[string](w, "SELECT q::text FROM webhook_queue q WHERE delivery_id IN ($1, $2) ORDER BY 1", done.Delivery, retried.Delivery)
			}
			before := rows()
			w.ledger().settle(t.Context(), items(done, results[2]))
			w.ledger().settle(t.Context(), items(results[3], retried))
			w.verdict("done", Superseded)
			w.verdict("retried", Superseded)
			w.verdict("beside it", Committed)
			w.verdict("beside that", Committed)
			if after := rows(); !slices.Equal(before, after) {
				t.Errorf("the rows are %v, were %v", after, before)
			}
			expect(w, "late logs that count", []bool{false, false}, "SELECT counted FROM webhook_logs WHERE id = ANY($1)", late)
			expect(w, "late logs that keep an answer", []int64{0},
				"SELECT count(*) FROM webhook_logs WHERE id = ANY($1) AND (response_body IS NOT NULL OR response_headers IS NOT NULL)", late)
			w.consistent()
		})
	}

	t.Run("is accepted after its lease has run out, while nobody else claimed the row", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		result := w.leased(newID(), 1)[0]
		result.Done = w.verdicts.of("result")
		w.exec("UPDATE webhook_queue SET due_at = now() - interval '1 minute'")
		w.ledger().settle(t.Context(), items(result))
		w.verdict("result", Committed)
		expect(w, "rows", []int64{0}, "SELECT count(*) FROM webhook_queue")
	})

	t.Run("twice in one commit is accepted once", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		first := w.leased(newID(), 1)[0]
		second, log := *first, *first.Log
		log.ID = newID()
		second.Log = &log
		first.Done, second.Done = w.verdicts.of("first"), w.verdicts.of("second")
		w.ledger().settle(t.Context(), items(first, &second))
		w.verdict("first", Committed)
		w.verdict("second", Superseded)
		expect(w, "counted", []int64{1}, "SELECT count(*) FROM webhook_logs WHERE counted")
		w.consistent()
	})
}

func TestLedger_SubmitLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e := event()
	log := attempted(&e, newID(), newID(), 1, 500)
	log.Kind = Test
	l := w.ledger()
	_, stop := w.run(l)
	l.SubmitLog(&log, w.verdicts.of("log"))
	stop()
	w.verdict("log", Committed)
	expect(w, "kind", []int16{int16(Test)}, "SELECT kind FROM webhook_logs")
	expect(w, "counted calls", []int64{1}, "SELECT sum(total)::bigint FROM webhook_stats_hourly")
	w.consistent()
}

// gathered is what one commit would take, and when.
type gathered struct {
	items int
	more  bool
	after time.Duration
}

func TestLedger_gather(t *testing.T) {
	t.Parallel()
	// A bubble's ledger has no database: nothing is written.
	bubble := func(name string, submit func(l *Ledger), want ...gathered) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := New(nil, slog.New(slog.DiscardHandler))
				var got []gathered
				start := time.Now()
				done := make(chan struct{})
				go func() {
					defer close(done)
					for range want {
						items, more := l.gather(t.Context())
						got = append(got, gathered{len(items), more, time.Since(start)})
					}
				}()
				submit(l)
				<-done
				if !slices.Equal(got, want) {
					t.Errorf("commits of %+v, want %+v", got, want)
				}
			})
		})
	}
	log := func(l *Ledger, n int) {
		for range n {
			l.SubmitLog(&Log{}, nil)
		}
	}
	bubble("waits for 20 ms from the first item on", func(l *Ledger) {
		time.Sleep(time.Minute) // nothing to wait for yet
		log(l, 1)
		time.Sleep(15 * time.Millisecond)
		log(l, 1) // does not start the clock again
		time.Sleep(10 * time.Millisecond)
		log(l, 1)
	}, gathered{2, true, time.Minute + 20*time.Millisecond}, gathered{1, true, time.Minute + 45*time.Millisecond})
	bubble("takes at most 256 items, at once", func(l *Ledger) { log(l, 300) },
		gathered{256, true, 0}, gathered{44, true, 20 * time.Millisecond})
	bubble("takes no more beside an entry of a large fan-out", func(l *Ledger) {
		log(l, 1)
		l.SubmitEntry(&Entry{Rows: make([]Row, 10_000)})
		log(l, 1)
	}, gathered{2, true, 0}, gathered{1, true, 20 * time.Millisecond})
	t.Run("does not wait once it is closed, and leaves nothing", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			l := New(nil, slog.New(slog.DiscardHandler))
			start, total := time.Now(), 0
			log(l, 300)
			l.Close()
			for more := true; more; {
				var items []*item
				items, more = l.gather(t.Context())
				total += len(items)
			}
			if total != 300 || time.Since(start) != 0 {
				t.Errorf("%d items after %s, want 300 at once", total, time.Since(start))
			}
		})
	})
}
