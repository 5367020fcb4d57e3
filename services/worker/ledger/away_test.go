package ledger

import (
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/testenv"
)

func TestLedger_Run_PostgresAway(t *testing.T) {
	t.Parallel()
	server := testenv.PrivatePostgres(t)
	w := &world{t: t, database: server, verdicts: &verdicts{}}
	w.store = w.open(server.URL(testenv.Worker))

	t.Run("goes on when it is back, and nothing is lost or doubled", func(t *testing.T) {
		w := w.of(t)
		l := w.ledger()
		_, stop := w.run(l)
		webhook := newID()
		results := w.leased(webhook, 400)
		submitted := atomic.Int64{}
		done := make(chan struct{})
		go func() { // waited for below
			defer close(done)
			for i, result := range results {
				result.Done = w.verdicts.of("result " + strconv.Itoa(i))
				l.SubmitResult(result)
				l.SubmitEntry(w.delivered("entry "+strconv.Itoa(i), webhook))
				submitted.Add(2)
				time.Sleep(time.Millisecond) // commits of many sizes, before, during and after
			}
		}()
		w.decided(100)
		server.Kill()
		server.Restart()
		w.decided(300)
		server.Stop()
		server.Restart()
		<-done
		w.decided(800)
		stop()
		w.all(Committed)
		expect(w, "rows", []int64{0}, "SELECT count(*) FROM webhook_queue")
		expect(w, "counted calls", []int64{800}, "SELECT sum(total)::bigint FROM webhook_stats_hourly")
		w.consistent()
	})

	t.Run("and the end of the context abandon what is not written, and what comes later", func(t *testing.T) {
		w := w.of(t)
		l := w.ledger()
		cancel, stop := w.run(l)
		server.Stop()
		for i := range 300 {
			l.SubmitEntry(w.delivered(strconv.Itoa(i), newID()))
		}
		if n := w.verdicts.count(); n > 0 {
			t.Errorf("%d entries are decided without Postgres", n)
		}
		cancel()
		w.decided(300)
		for i := range 600 { // more than the queue holds: nobody waits in vain
			l.SubmitEntry(w.delivered("later "+strconv.Itoa(i), newID()))
		}
		stop()
		if n := w.verdicts.count(); n != 900 {
			t.Errorf("%d of 900 entries are decided", n)
		}
		w.all(Abandoned)
	})
}
