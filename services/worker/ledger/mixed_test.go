package ledger

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/worker/attempt"
)

// mix makes items of every kind at random, from a seed.
type mix struct {
	*rand.Rand
	w        *world
	webhooks []uuid.UUID
	refused  int // one log in so many has headers that Postgres refuses; 0: none
}

func (w *world) mix(seed uint64, webhooks int) *mix {
	m := &mix{Rand: rand.New(rand.NewPCG(seed, 0)), w: w} //nolint:gosec // to be the same again
	for range webhooks {
		m.webhooks = append(m.webhooks, newID())
	}
	return m
}

func (m *mix) webhook() uuid.UUID { return m.webhooks[m.IntN(len(m.webhooks))] }

// log is of an attempt within the last hours.
func (m *mix) log(entry *Entry, delivery uuid.UUID) Log {
	log := attempted(&entry.Event, m.webhook(), delivery, 1, []int{200, 204, 404, 503, 0}[m.IntN(5)])
	log.Outcome.Start = log.Outcome.Start.Add(-time.Duration(m.IntN(3*60)) * time.Minute)
	log.Outcome.Duration = time.Duration(m.IntN(30_000)) * time.Millisecond
	if m.IntN(20) == 0 {
		log.Counted, log.Outcome.Class = false, attempt.ClassInterrupted
	}
	if m.refused > 0 && m.IntN(m.refused) == 0 {
		log.Outcome.RequestHeaders = []byte("no JSON")
	}
	return log
}

func (m *mix) entry(name string) *Entry {
	entry := &Entry{Event: event(), Epoch: epoch, Done: m.w.verdicts.of(name)}
	entry.Event.Type = []string{"deal.moved", "message.received", "deal.created"}[m.IntN(3)]
	for range m.IntN(5) {
		delivery := newID()
		log := m.log(entry, delivery)
		entry.Logs = append(entry.Logs, log)
		if !log.Outcome.Success {
			entry.Rows = append(entry.Rows, Row{Delivery: delivery, Webhook: log.Webhook, State: Retrying, Attempt: 2, Delay: time.Second})
		}
	}
	for range m.IntN(4) {
		entry.Rows = append(entry.Rows, Row{Delivery: newID(), Webhook: m.webhook(), State: InFlight, Attempt: 1, Delay: time.Minute, Lease: newID()})
	}
	return entry
}

// again is another worker's entry of the same event.
func (m *mix) again(entry *Entry, name string) *Entry {
	other := m.entry(name)
	day, id := entry.Event.Day, entry.Event.ID
	other.Event.Day, other.Event.ID = day, id
	for i := range other.Logs {
		other.Logs[i].EventID = id
	}
	return other
}

// result is of a leased row: right, or late.
func (m *mix) result(entry *Entry, row *Row, right bool, name string) *Result {
	log := m.log(entry, row.Delivery)
	log.Webhook, log.Attempt = row.Webhook, row.Attempt
	r := &Result{
		Delivery: row.Delivery, Webhook: row.Webhook, Tenant: tenant, Lease: row.Lease, Attempt: row.Attempt, Log: &log,
		Done: m.w.verdicts.of(name),
	}
	if !log.Outcome.Success {
		r.Next = &Next{State: Retrying, Attempt: row.Attempt + 1, Delay: time.Second}
	}
	if !right {
		r.Lease = newID()
	}
	return r
}

// Whatever is submitted, by whichever worker, however often connections break:
// each event has one entry, and statistics equal the logs.
func TestLedger_Run_CountsOnceWhateverHappens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mix(1, 12)
	m.refused = 150
	var (
		mu     sync.Mutex
		random = rand.New(rand.NewPCG(2, 0)) //nolint:gosec // to be the same again
	)
	url, relay := w.relayed(func() cut {
		mu.Lock()
		defer mu.Unlock()
		if random.IntN(16) == 0 {
			return []cut{before, during, after}[random.IntN(3)]
		}
		return pass
	})
	var ledgers []*Ledger
	var stops []func()
	for range 2 {
		l := New(w.open(url), quiet())
		_, stop := w.run(l)
		ledgers, stops = append(ledgers, l), append(stops, stop)
	}
	const events = 120
	var (
		submitted int
		logs      = map[string][]uuid.UUID{} // of the event, by the copy
		copies    = map[string][]string{}    // names of entries, by event
		rows      = map[string][]*Row{}
		entries   = map[string]*Entry{}
	)
	submit := func(entry *Entry, name string) {
		id := entry.Event.ID
		copies[id] = append(copies[id], name)
		for i := range entry.Logs {
			if entry.Logs[i].Counted {
				logs[name] = append(logs[name], entry.Logs[i].ID)
			}
		}
		for i := range entry.Rows {
			row := entry.Rows[i]
			rows[name] = append(rows[name], &row)
		}
		kept := *entry
		entries[name] = &kept
		submitted++
		ledgers[m.IntN(2)].SubmitEntry(entry)
	}
	for i := range events {
		entry := m.entry(fmt.Sprintf("event %d", i))
		var second *Entry
		if m.IntN(4) == 0 {
			second = m.again(entry, fmt.Sprintf("event %d again", i))
		}
		submit(entry, fmt.Sprintf("event %d", i))
		if second != nil {
			submit(second, fmt.Sprintf("event %d again", i))
		}
	}
	w.decided(submitted)

	// Which of the copies won stands in the database.
	counted := map[uuid.UUID]bool{}
	for _, id := range ask[uuid.UUID](w, "SELECT id FROM webhook_logs WHERE counted") {
		counted[id] = true
	}
	leased := map[uuid.UUID]bool{}
	for _, id := range ask[uuid.UUID](w, "SELECT lease_id FROM webhook_queue WHERE lease_id IS NOT NULL") {
		leased[id] = true
	}
	results := 0
	for event, names := range copies {
		winners := 0
		for _, name := range names {
			all := 0
			for _, id := range logs[name] {
				if counted[id] {
					all++
				}
			}
			if all != 0 && all != len(logs[name]) {
				t.Errorf("%s: %d of %d logs count", name, all, len(logs[name]))
			}
			if all != 0 {
				winners++
			}
			for _, row := range rows[name] {
				if row.State != InFlight {
					continue
				}
				// A late result, and the right one, in any order and by either ledger.
				for _, right := range []bool{m.IntN(20) == 0, true} {
					result := fmt.Sprintf("result %d", results)
					results++
					ledgers[m.IntN(2)].SubmitResult(m.result(entries[name], row, right && leased[row.Lease], result))
				}
			}
		}
		if winners > 1 {
			t.Errorf("event %s counts for %v", event, names)
		}
	}
	for i := range 50 {
		log := m.log(entries["event 0"], newID())
		log.Kind = Test
		ledgers[i%2].SubmitLog(&log, w.verdicts.of(fmt.Sprintf("log %d", i)))
		submitted++
	}
	submitted += results
	w.decided(submitted)
	for _, stop := range stops {
		stop()
	}

	w.verdicts.mu.Lock()
	for name, got := range w.verdicts.got {
		if len(got) != 1 || got[0] != Committed && got[0] != Superseded {
			t.Errorf("%s: decided %v", name, got)
		}
	}
	w.verdicts.mu.Unlock()
	for _, how := range []cut{before, during, after} {
		if relay.count(how) == 0 {
			t.Errorf("no connection was cut in way %d", how)
		}
	}
	expect(w, "events", []int64{events}, "SELECT count(*) FROM events")
	expect(w, "rows that still are leased", []int64{0}, "SELECT count(*) FROM webhook_queue WHERE state = 1")
	expect(w, "deliveries that are neither done nor in the queue, or both", []int64{0}, `
		SELECT count(*) FROM (SELECT delivery_id, bool_or(success) AS done FROM webhook_logs WHERE counted AND event_id IN (SELECT id FROM events)
			AND kind = 0 GROUP BY delivery_id) AS d LEFT JOIN webhook_queue q USING (delivery_id) WHERE d.done = (q.delivery_id IS NOT NULL)`)
	w.consistent()
}

func TestLedger_Run_TwoDoNotDeadlock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.mix(3, 60)
	log, warnings := newWarnings()
	var stops []func()
	var ledgers []*Ledger
	for range 2 {
		s := w.open(w.database.URL(testenv.Worker))
		l := New(s, log)
		_, stop := w.run(l)
		ledgers = append(ledgers, l)
		stops = append(stops, stop, s.Close)
	}
	// Batch by batch, both get entries: of the same events, in opposite order, or
	// of others for the same webhooks.
	const batches, size = 8, 200
	n := 0
	events := 0
	for batch := range batches {
		var first, second []*Entry
		for range size {
			entry := m.entry(fmt.Sprint(n))
			first = append(first, entry)
			events++
			if name := fmt.Sprint(n + 1); batch%2 == 0 {
				second = append(second, m.again(entry, name))
			} else {
				second = append(second, m.entry(name))
				events++
			}
			n += 2
		}
		var submitters sync.WaitGroup
		submitters.Go(func() {
			for _, entry := range first {
				ledgers[0].SubmitEntry(entry)
			}
		})
		submitters.Go(func() {
			for i := range second {
				ledgers[1].SubmitEntry(second[len(second)-1-i])
			}
		})
		submitters.Wait()
	}
	w.decided(n)
	for _, stop := range stops {
		stop() // sessions hand in their figures when they end
	}
	if texts := warnings.texts(); len(texts) > 0 {
		t.Errorf("complaints: %s", strings.Join(texts, "\n"))
	}
	expect(w, "events", []int64{int64(events)}, "SELECT count(*) FROM events")
	expect(w, "deadlocks", []int64{0}, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
	w.consistent()
}
