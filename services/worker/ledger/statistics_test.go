package ledger

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/services/worker/jobs"
)

// Statistics equal the logs, by the hour and by the day, after any mix of
// successes, failures, tests, replays, late results and redeliveries, whatever day
// they are of, while days are being summed up. What is done is drawn from a seed.
func TestLedger_StatisticsEqualTheLogs(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			m := w.mix(100+seed, 4)
			today := bus.Day(time.Now())
			if _, err := w.store.Queries().EnsurePartitions(t.Context(), today.AddDate(0, 0, -5), today); err != nil {
				t.Fatal(err)
			}
			summing, stop := context.WithCancel(t.Context())
			var summer sync.WaitGroup
			summer.Go(func() {
				for summing.Err() == nil {
					if err := jobs.SumUp(summing, w.store, m.webhooks); err != nil && summing.Err() == nil {
						t.Error(err)
						return
					}
				}
			})
			defer summer.Wait()
			defer stop()
			var ledgers []*Ledger
			var stops []func()
			for range 2 {
				l := w.ledger()
				_, stop := w.run(l)
				ledgers, stops = append(ledgers, l), append(stops, stop)
			}

			submitted := 0
			name := func() string {
				submitted++
				return fmt.Sprint(submitted)
			}
			someday := func(log *Log) { log.Outcome.Start = log.Outcome.Start.AddDate(0, 0, -m.IntN(4)) }
			submit := func(e *Entry) {
				kept := *e // the ledger takes out what it has written
				ledgers[m.IntN(2)].SubmitEntry(&kept)
			}
			for range 60 {
				entry := m.entry(name())
				for i := range entry.Logs {
					someday(&entry.Logs[i])
				}
				for i := range entry.Rows {
					if m.IntN(3) == 0 {
						entry.Rows[i].Kind = Replay
					}
				}
				submit(entry)
				if m.IntN(3) == 0 { // delivered again, and attempted anew
					again := m.again(entry, name())
					for i := range again.Logs {
						someday(&again.Logs[i])
					}
					submit(again)
				}
				if m.IntN(4) == 0 { // written again, its commit having got no answer
					again := *entry
					again.Done = w.verdicts.of(name())
					submit(&again)
				}
				w.decided(submitted) // its rows are there, or another copy's
				for i := range entry.Rows {
					row := &entry.Rows[i]
					if row.State != InFlight {
						continue
					}
					for _, right := range []bool{m.IntN(4) > 0, true} {
						result := m.result(entry, row, right, name())
						result.Log.Kind = row.Kind
						someday(result.Log)
						ledgers[m.IntN(2)].SubmitResult(result)
					}
				}
				if m.IntN(2) == 0 {
					log := m.log(entry, newID())
					log.Kind = Test
					someday(&log)
					ledgers[m.IntN(2)].SubmitLog(&log, w.verdicts.of(name()))
				}
			}
			w.decided(submitted)
			for _, stop := range stops {
				stop()
			}
			w.consistent()
			stop()
			summer.Wait()
			if err := jobs.SumUp(t.Context(), w.store, m.webhooks); err != nil {
				t.Fatal(err)
			}
			w.consistent()
			expect(w, "days that are over and have no row", []int64{0}, `
				SELECT count(*) FROM (SELECT DISTINCT webhook_id, (hour AT TIME ZONE 'UTC')::date AS day FROM webhook_stats_hourly
				WHERE hour < $1) AS h LEFT JOIN webhook_stats_daily d USING (webhook_id, day) WHERE d.day IS NULL`, today.AddDate(0, 0, -1))
			if n := ask[int64](w, "SELECT count(*) FROM webhook_stats_daily")[0]; n < int64(len(m.webhooks)) {
				t.Errorf("only %d days were summed up", n)
			}
			for _, kind := range []Kind{Delivery, Test, Replay} {
				if n := ask[int64](w, "SELECT count(*) FROM webhook_logs WHERE counted AND kind = $1", int16(kind))[0]; n == 0 {
					t.Errorf("no attempt of kind %d was counted", kind)
				}
			}
		})
	}
}
