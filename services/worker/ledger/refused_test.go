package ledger

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// nul is text that Postgres refuses, where nothing takes it out.
const nul = "deal\x00moved"

func TestLedger_settle_DataRefused(t *testing.T) {
	t.Parallel()
	t.Run("stops nobody else in a batch of 256", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		webhook := newID()
		results := w.leased(webhook, 30)
		e := event()
		var all []*item
		for i := range 256 {
			name := strconv.Itoa(i)
			switch {
			case i%8 == 0 && i/8 < len(results):
				results[i/8].Done = w.verdicts.of(name)
				all = append(all, items(results[i/8])...)
			case i%8 == 1:
				log := attempted(&e, webhook, newID(), 1, 200)
				all = append(all, &item{log: &log, done: w.verdicts.of(name)})
			default:
				all = append(all, items(w.delivered(name, webhook))...)
			}
		}
		stripped, unreadable, result, log := all[2].entry, all[100].entry, all[0].result, all[1].log
		stripped.Logs[0].Outcome.RequestHeaders = []byte("no JSON")
		stripped.Logs[0].Outcome.Message = "said too much"
		stripped.Rows = []Row{{Delivery: newID(), Webhook: webhook, Attempt: 1, LastError: "said too much"}}
		unreadable.Event.Type = nul
		result.Log.Event = nul
		log.Event = nul
		w.ledger().settle(t.Context(), all)

		for i := range 256 {
			want := Committed
			if i == 100 || i == 0 || i == 1 {
				want = Poisoned
			}
			w.verdict(strconv.Itoa(i), want)
		}
		expect(w, "logs", []int64{256 - 3}, "SELECT count(*) FROM webhook_logs")
		expect(w, "what is left of the stripped log", []string{"t not recorded: the database refused it"},
			"SELECT concat_ws(' ', counted, request_headers, response_headers, response_body, error_message) FROM webhook_logs WHERE id = $1", stripped.Logs[0].ID)
		expect(w, "its row's error", []bool{true}, "SELECT last_error IS NULL FROM webhook_queue WHERE delivery_id = $1", stripped.Rows[0].Delivery)
		expect(w, "logs that kept the answer", []int64{256 - 4}, "SELECT count(*) FROM webhook_logs WHERE response_body = 'answer'")
		expect(w, "entries of the refused event", []int64{0}, "SELECT count(*) FROM events WHERE id = $1", unreadable.Event.ID)
		w.consistent()
	})

	t.Run("is refused for its size as well", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		large := w.delivered("large", newID())
		for range 500 { // more than an index takes, and nothing that could be compressed
			large.Event.ID += newID().String()
		}
		large.Logs[0].EventID = large.Event.ID
		w.ledger().settle(t.Context(), items(w.delivered("before", newID()), large, w.delivered("after", newID())))
		w.verdict("large", Poisoned)
		w.verdict("before", Committed)
		w.verdict("after", Committed)
		w.consistent()
	})

	t.Run("exhausts the row of a result that is refused without the answer too", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		results := w.leased(newID(), 3)
		results[0].Log.Event, results[0].Done = nul, w.verdicts.of("ended")
		results[1].Log.Event, results[1].Done = nul, w.verdicts.of("retried")
		results[1].Next = &Next{State: Retrying, Attempt: 2, LastStatus: 500, LastError: "status: 500"}
		results[1].Log.Outcome.Status = 500
		results[2].Log.Event, results[2].Lease, results[2].Done = nul, newID(), w.verdicts.of("late")
		w.ledger().settle(t.Context(), items(results[0], results[1], results[2]))
		w.all(Poisoned)
		expect(w, "rows", []string{"3 2 f 7 200 refused by the database", "3 2 f 7 500 refused by the database", "1 1 t 0"},
			`SELECT concat_ws(' ', state, attempt, lease_id IS NOT NULL, round(extract(epoch FROM due_at - created_at) / 86400)::int, last_status, last_error)
			FROM webhook_queue ORDER BY state DESC, last_status`)
		expect(w, "logs", []int64{0}, "SELECT count(*) FROM webhook_logs")
		w.consistent()
	})

	t.Run("that nothing explains is refused in the end", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		entry := w.delivered("twice the same delivery")
		row := Row{Delivery: newID(), Webhook: newID(), Attempt: 1}
		entry.Rows = []Row{row, row}
		w.ledger().settle(t.Context(), items(entry, w.delivered("other", newID())))
		w.verdict("twice the same delivery", Poisoned)
		w.verdict("other", Committed)
		w.consistent()
	})
}

func TestLedger_settle_PartitionMissing(t *testing.T) {
	t.Parallel()
	drop := func(w *world, day time.Time) {
		name := day.UTC().Format("20060102")
		w.sql("DROP TABLE events_" + name)
		w.sql("DROP TABLE webhook_logs_" + name)
	}
	t.Run("is made, by two ledgers at once", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		drop(w, time.Now())
		var ledgers sync.WaitGroup
		for i := range 2 {
			l, all := New(w.open(w.database.URL("worker")), quiet()), []*item(nil)
			for k := range 20 {
				all = append(all, items(w.delivered(strconv.Itoa(i)+"/"+strconv.Itoa(k), newID()))...)
			}
			ledgers.Go(func() { l.settle(context.WithoutCancel(t.Context()), all) })
		}
		ledgers.Wait()
		w.all(Committed)
		expect(w, "events", []int64{40}, "SELECT count(*) FROM events")
		w.consistent()
	})

	t.Run("is made for each day that is written to, however far apart", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		old := w.delivered("old", newID())
		old.Event.Day = time.Date(2020, 2, 29, 0, 0, 0, 0, time.UTC)
		old.Logs[0].Outcome.Start = time.Date(2023, 3, 1, 12, 0, 0, 0, time.UTC)
		w.ledger().settle(t.Context(), items(w.delivered("new", newID()), old))
		w.all(Committed)
		expect(w, "days of events", []string{"2020-02-29"}, "SELECT day::text FROM events WHERE day < current_date - 1")
		w.consistent()
	})

	t.Run("is made for an item that was refused for its data before", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		entry := w.delivered("entry", newID())
		entry.Logs[0].Outcome.Start = time.Now().Add(-7 * 24 * time.Hour)
		entry.Logs[0].Outcome.RequestHeaders = []byte("no JSON")
		w.ledger().settle(t.Context(), items(entry))
		w.verdict("entry", Committed)
		w.consistent()
	})
}

func TestLedger_settle_PostgresUnwilling(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, revoke, grant string }{
		{
			name:   "to take a row",
			revoke: "REVOKE INSERT ON webhook_logs FROM primezap_worker",
			grant:  "GRANT INSERT ON webhook_logs TO primezap_worker",
		},
		{
			name:   "to make a partition",
			revoke: "REVOKE EXECUTE ON FUNCTION ensure_partitions FROM primezap_worker",
			grant:  "GRANT EXECUTE ON FUNCTION ensure_partitions TO primezap_worker",
		},
	} {
		t.Run(tc.name+" is asked again, at growing intervals, until it is", func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.sql(tc.revoke)
			entry := w.delivered("entry", newID())
			entry.Event.Day = entry.Event.Day.AddDate(-1, 0, 0)
			w.exec("SELECT 1") // nothing else is wrong
			log, warnings := newWarnings()
			l := New(w.store, log)
			_, stop := w.run(l)
			l.SubmitEntry(entry)
			start := time.Now()
			for len(warnings.texts()) < 4 {
				if time.Since(start) > patience {
					t.Fatalf("complaints after %s: %q", patience, warnings.texts())
				}
				time.Sleep(time.Millisecond)
			}
			if took := time.Since(start); took < 50*time.Millisecond { // 4 tries are at least two warnings each
				t.Errorf("4 complaints within %s: it does not pause", took)
			}
			if len(w.verdicts.about("entry")) != 0 {
				t.Error("it is decided although it was not written")
			}
			w.sql(tc.grant)
			stop()
			w.verdict("entry", Committed)
			for _, text := range warnings.texts() {
				if strings.Contains(text, entry.Event.ID) || strings.Contains(text, "answer") {
					t.Errorf("logged %q", text)
				}
			}
		})
	}
}
