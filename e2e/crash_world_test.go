package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
)

// firstSeed is -seed. What a seed decides is repeated by it; how the processes
// interleave is not.
var firstSeed = flag.Uint64("seed", 0, "first seed of the tests that kill processes; 0: another one every time")

// newSeed is the seed of a test that needs one.
func newSeed() uint64 {
	if *firstSeed != 0 {
		return *firstSeed
	}
	return 1 + uint64(time.Now().UnixMilli())
}

// killable programs have failpoints and are as fast as what is shipped, but for
// the ledger, which sends its statements one by one.
var killable = newVariant("killable", "-tags=failpoint")

// impatient has what a killed worker held come back within seconds. A process
// has few connections: many systems share a Postgres.
var impatient = setup{
	APIs:      1,
	APIEnv:    []string{"API_DB_CONNECTIONS=2"},
	WorkerEnv: []string{"WORKER_ACK_WAIT=5s", "WORKER_ATTEMPT_TIMEOUT=2s", "WORKER_LEASE=7s", "WORKER_DB_CONNECTIONS=4"},
}

// world is a system under load from which something is taken away, and all that
// has to be true of it in the end.
type world struct {
	t        *testing.T
	seed     uint64
	rand     *rand.Rand // the test's goroutine's
	sys      *system
	tenant   *client
	receiver *receiver
	hooks    []*subscription

	mu       sync.Mutex
	numbers  int               // given to events
	accepted map[string]sample // by id
}

// subscription is a webhook and how its endpoint takes what it gets.
type subscription struct {
	temper
	*endpoint
	id     string // the webhook's
	events []string
}

// sample is an event that was published. Its number stands in its body: what
// arrives with it must have its id.
type sample struct {
	Number int
	Type   event.Type
}

// temper is how an endpoint behaves. What it does depends on the event, so that
// its circuit breaker stays closed.
type temper struct {
	name   string
	delays []int // between its attempts, in seconds
	answer func(seed uint64) answer
}

var (
	steady = temper{"steady", []int{1, 1, 1}, func(uint64) answer { return statuses(http.StatusOK) }}
	// Every other event fails at first.
	stumbling = temper{"stumbling", []int{1, 1, 1}, func(seed uint64) answer {
		return someEvents(seed, 2, firstAttempts(statuses(http.StatusServiceUnavailable)))
	}}
	// Every third event takes longer than its entry waits, so its delivery is leased.
	slow = temper{"slow", []int{1, 1, 1}, func(seed uint64) answer {
		return someEvents(seed, 3, after(1200*time.Millisecond, statuses(http.StatusOK)))
	}}
	// A few events get no answer at first.
	hanging = temper{"hanging", []int{1, 1, 1}, func(seed uint64) answer {
		return someEvents(seed, 12, firstAttempts(hang(nil, nil)))
	}}
	// Every fourth event is never taken.
	hopeless = temper{"hopeless", []int{1}, func(seed uint64) answer {
		return someEvents(seed, 4, statuses(http.StatusInternalServerError))
	}}
)

// someEvents answers one event in n as does says, the others with 200.
func someEvents(seed, n uint64, does answer) answer {
	return func(w http.ResponseWriter, r *http.Request, d *delivery, done <-chan struct{}) {
		hash := fnv.New64a()
		fmt.Fprint(hash, seed, d.ID)
		if hash.Sum64()%n == 0 {
			does(w, r, d, done)
		}
	}
}

// after goes on as then says after a time, unless the sender gives up.
func after(wait time.Duration, then answer) answer {
	return func(w http.ResponseWriter, r *http.Request, d *delivery, done <-chan struct{}) {
		select {
		case <-time.After(wait):
			then(w, r, d, done)
		case <-r.Context().Done():
		case <-done:
		}
	}
}

// newWorld starts a system without workers, and with a webhook for each temper,
// the first of them subscribed to everything.
func newWorld(t *testing.T, seed uint64, s setup, tempers ...temper) *world {
	t.Helper()
	t.Logf("seed %d; -seed %[1]d repeats it", seed)
	w := &world{
		t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 0)), sys: start(t, s), receiver: newReceiver(t),
		accepted: make(map[string]sample),
	}
	// The topology's is for machines that pause. A consumer that a worker makes
	// again has the worker's.
	for _, name := range []string{bus.ConsumerLive, bus.ConsumerBulk} {
		consumer, err := w.sys.js.Consumer(t.Context(), bus.StreamEvents, name)
		if err != nil {
			t.Fatal(err)
		}
		config := consumer.CachedInfo().Config
		config.AckWait = 5 * time.Second
		if _, err := w.sys.js.UpdateConsumer(t.Context(), bus.StreamEvents, config); err != nil {
			t.Fatal(err)
		}
	}
	w.tenant = w.sys.Tenant()
	for i, temper := range tempers {
		h := &subscription{temper: temper, endpoint: w.receiver.Endpoint(temper.answer(seed)), events: []string{"*"}}
		if i > 0 {
			h.events = [][]string{{"*"}, {"deal.moved"}, {"deal.*", "deal.moved"}}[w.rand.IntN(3)]
		}
		h.id = w.tenant.SubscribeWith(h.endpoint, webhookInput{
			Name: temper.name, Events: h.events,
			// With recovery, what is exhausted would be made again at any later moment.
			Retry: &retryPolicy{DelaysSeconds: temper.delays, AutoRecover: new(false)},
		}).ID
		w.hooks = append(w.hooks, h)
	}
	return w
}

// gets says whether a webhook is subscribed to a type.
func (h *subscription) gets(eventType event.Type) bool {
	return slices.ContainsFunc(h.events, func(s string) bool { return event.Matches(s, eventType, false) })
}

// Publish publishes n events in one request, which must be accepted.
func (w *world) Publish(n int) {
	w.t.Helper()
	if err := w.publish(w.t.Context(), w.newEvents(n, "")); err != nil {
		w.t.Fatal(err)
	}
}

// newEvents makes events: deals, and a contact here and there. With a prefix
// they have ids, so that publishing them again makes no others.
func (w *world) newEvents(n int, prefix string) []eventInput {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := make([]eventInput, n)
	for i := range events {
		w.numbers++
		e := eventInput{Event: "deal.moved", Data: fmt.Appendf(nil, `{"number":%d}`, w.numbers)}
		if w.numbers%5 == 0 {
			e.Event = "contact.created"
		}
		if prefix != "" {
			e.ID = fmt.Sprintf("%s%d", prefix, w.numbers)
		}
		events[i] = e
	}
	return events
}

// publish publishes events, from any goroutine, and takes down which of them
// were accepted: all, if there is no error.
func (w *world) publish(ctx context.Context, events []eventInput) error {
	var answer struct {
		Data []struct {
			Status int    `json:"status"`
			ID     string `json:"id"`
		} `json:"data"`
	}
	err := w.tenant.Do(ctx, http.MethodPost, eventsPath, events, http.StatusAccepted, &answer)
	if err != nil {
		return err
	}
	if len(answer.Data) != len(events) {
		return fmt.Errorf("%d answers to %d events", len(answer.Data), len(events))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, e := range events {
		var data struct{ Number int }
		if err := json.Unmarshal(e.Data, &data); err != nil {
			return err
		}
		w.accepted[answer.Data[i].ID] = sample{Number: data.Number, Type: event.Type(e.Event)}
	}
	return nil
}

// PublishUnderFailures publishes events with ids, a few in a request, each
// request repeated until it is accepted: until enough is closed, and atLeast so
// many. It may run beside the test's goroutine, and returns an error when ctx
// ends first.
func (w *world) PublishUnderFailures(ctx context.Context, enough <-chan struct{}, atLeast, perRequest int, pace time.Duration) error {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for n := 0; ; n += perRequest {
		events := w.newEvents(perRequest, fmt.Sprintf("evt_%d_", w.seed))
		for accepted := false; !accepted; {
			err := w.publish(ctx, events)
			accepted = err == nil
			select {
			case <-tick.C:
			case <-ctx.Done():
				return errors.Join(ctx.Err(), err)
			}
		}
		select {
		case <-enough:
			if n+perRequest >= atLeast {
				return nil
			}
		default:
		}
	}
}

// Deliveries is how many deliveries the accepted events are.
func (w *world) Deliveries() (n int) {
	for _, e := range w.accepted {
		for _, h := range w.hooks {
			if h.gets(e.Type) {
				n++
			}
		}
	}
	return n
}

// Arrived is how many requests the endpoints have got.
func (w *world) Arrived() (n int) {
	for _, h := range w.hooks {
		n += len(h.Deliveries())
	}
	return n
}

// AwaitArrivals waits until the endpoints have got n requests.
func (w *world) AwaitArrivals(n int, within time.Duration) {
	w.t.Helper()
	arrived := 0
	if !w.receiver.await(within, func() bool {
		arrived = 0
		for _, h := range w.hooks {
			arrived += len(h.deliveries)
		}
		return arrived >= n
	}) {
		w.t.Fatalf("%d requests arrived in %s, want %d", arrived, within, n)
	}
}

// address is one event's way to one webhook.
type address struct{ webhook, event string }

func (a address) String() string { return "event " + a.event + " to webhook " + a.webhook }

// story is what is known of a delivery in the end.
type story struct {
	arrivals int
	attempts []attemptRow // the counted ones, by number
	rows     []restRow
}

// attemptRow is a counted log row.
type attemptRow struct {
	WebhookID, EventID, DeliveryID string
	Attempt                        int
	Success                        bool
}

// restRow is what is left in the queue.
type restRow struct {
	WebhookID, EventID, DeliveryID string
	State, Attempt                 int
	Leased                         bool
}

// Faults checks, once the system is idle, all that no crash may change: every
// accepted event arrived at every webhook subscribed to it and at no other;
// every delivery has one id, and its attempts that count are numbered without
// gap or fork; it ended with a success or exhausted; nothing else is left; the
// statistics say what the logs say. It returns what is wrong, and how many
// requests came twice: more than the attempts that count.
func (w *world) Faults() (faults []string, again int) {
	w.t.Helper()
	stories := w.stories(&faults)
	published := make(map[int]string) // ids by number
	for id, e := range w.accepted {
		published[e.Number] = id
	}
	for _, h := range w.hooks {
		for _, d := range h.Deliveries() {
			var body struct{ Data struct{ Number int } }
			if err := json.Unmarshal(d.Body, &body); err != nil || published[body.Data.Number] != d.ID {
				faults = append(faults, fmt.Sprintf("stray: %s at %s, whose id was %q", d.ID, h.name, published[body.Data.Number]))
			}
		}
		for id, e := range w.accepted {
			at := address{h.id, id}
			s := stories[at]
			delete(stories, at)
			if !h.gets(e.Type) {
				if s != nil {
					faults = append(faults, fmt.Sprintf("stray: %s (%s) is not subscribed to %s", at, h.name, e.Type))
				}
				continue
			}
			if s == nil {
				faults = append(faults, fmt.Sprintf("lost: %s (%s): never arrived, and no trace of it", at, h.name))
				continue
			}
			for _, fault := range s.faults(len(h.delays) + 1) {
				faults = append(faults, fmt.Sprintf("%s: %s (%s): %+v", fault, at, h.name, *s))
			}
			again += s.arrivals - len(s.attempts)
		}
	}
	for at := range stories {
		faults = append(faults, fmt.Sprintf("stray: %s, of which nothing is known", at))
	}
	faults = append(faults, w.ledgerFaults()...)
	for _, h := range w.hooks {
		faults = append(faults, w.statisticsFaults(h)...)
	}
	slices.Sort(faults)
	return faults, again
}

// stories collects what the endpoints and the ledger have of each delivery.
func (w *world) stories(faults *[]string) map[address]*story {
	w.t.Helper()
	stories := make(map[address]*story)
	of := func(webhook, event string) *story {
		s := stories[address{webhook, event}]
		if s == nil {
			s = &story{}
			stories[address{webhook, event}] = s
		}
		return s
	}
	for _, h := range w.hooks {
		for id, n := range h.Events() {
			of(h.id, id).arrivals = n
		}
	}
	for _, row := range rowsOf[attemptRow](w.sys, `SELECT webhook_id::text, event_id, delivery_id::text, attempt::int, success
		FROM webhook_logs WHERE counted ORDER BY attempt, created_at`) {
		s := of(row.WebhookID, row.EventID)
		s.attempts = append(s.attempts, row)
	}
	for _, row := range rowsOf[restRow](w.sys, `SELECT webhook_id::text, event_id, delivery_id::text, state::int, attempt::int,
		lease_id IS NOT NULL AS leased FROM webhook_queue`) {
		s := of(row.WebhookID, row.EventID)
		s.rows = append(s.rows, row)
		if row.State != exhausted || row.Leased {
			*faults = append(*faults, fmt.Sprintf("left in the queue: %+v", row))
		}
	}
	return stories
}

// exhausted is the state of a row as the column holds it.
const exhausted = 3

// faults judges a delivery that may have so many attempts.
func (s *story) faults(allowed int) (faults []string) {
	if s.arrivals == 0 {
		faults = append(faults, "lost: never arrived")
	}
	if s.arrivals < len(s.attempts) {
		faults = append(faults, "more attempts counted than arrived")
	}
	ids := make(map[string]bool)
	for i, a := range s.attempts {
		ids[a.DeliveryID] = true
		if a.Attempt != i+1 {
			faults = append(faults, "attempt numbers have a gap or a fork")
		}
		if a.Success && i < len(s.attempts)-1 {
			faults = append(faults, "attempted again after a success")
		}
	}
	for _, row := range s.rows {
		ids[row.DeliveryID] = true
	}
	if len(ids) > 1 {
		faults = append(faults, "two delivery ids")
	}
	last := len(s.attempts) - 1
	switch succeeded := last >= 0 && s.attempts[last].Success; {
	case succeeded && len(s.rows) > 0:
		faults = append(faults, "in the queue after its success")
	case !succeeded && len(s.rows) == 0:
		faults = append(faults, "lost: neither succeeded nor exhausted")
	case !succeeded && (len(s.rows) > 1 || len(s.attempts) != allowed):
		faults = append(faults, "exhausted too early or too late")
	}
	return slices.Compact(faults)
}

// Entries says how many entries events have in the ledger.
func (w *world) Entries() map[string]int {
	w.t.Helper()
	entries := make(map[string]int)
	for _, row := range rowsOf[struct{ ID string }](w.sys, "SELECT id FROM events") {
		entries[row.ID]++
	}
	return entries
}

// rowsOf are a query's rows, whoever's they are, as structs with a field for
// each column.
func rowsOf[T any](s *system, query string, args ...any) []T {
	s.t.Helper()
	rows, err := s.database.Query(s.t.Context(), query, args...)
	if err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	if err != nil {
		s.t.Fatalf("%s: %v", query, err)
	}
	return list
}

// ledgerFaults checks what is not about one delivery.
func (w *world) ledgerFaults() (faults []string) {
	w.t.Helper()
	entries := w.Entries()
	for id := range w.accepted {
		if entries[id] != 1 {
			faults = append(faults, fmt.Sprintf("lost: event %s has %d entries in the ledger", id, entries[id]))
		}
		delete(entries, id)
	}
	for id := range entries {
		faults = append(faults, fmt.Sprintf("stray: event %s in the ledger was not accepted", id))
	}
	if n := w.sys.Count(`SELECT count(*) FROM (
			SELECT webhook_id, date_trunc('hour', created_at, 'UTC') AS hour, event_type, status, count(*) AS total,
				count(*) FILTER (WHERE success) AS successful, sum(duration_ms) AS duration
			FROM webhook_logs WHERE counted GROUP BY 1, 2, 3, 4) AS l
		FULL JOIN webhook_stats_hourly s USING (webhook_id, hour, event_type, status)
		WHERE (l.total, l.successful, l.duration) IS DISTINCT FROM (s.total, s.successful, s.duration_ms_sum)`); n > 0 {
		faults = append(faults, fmt.Sprintf("%d hours of the statistics are not what the logs say", n))
	}
	if n := w.sys.Count(`SELECT count(*) FROM (
			SELECT webhook_id, date_trunc('hour', created_at, 'UTC') AS hour, count(*) AS total
			FROM webhook_logs WHERE counted GROUP BY 1, 2) AS l
		FULL JOIN (SELECT webhook_id, hour, sum(total) AS total FROM webhook_durations_hourly GROUP BY 1, 2) AS d
			USING (webhook_id, hour)
		WHERE l.total IS DISTINCT FROM d.total`); n > 0 {
		faults = append(faults, fmt.Sprintf("%d hours of the durations are not as many as the logs", n))
	}
	poison, err := w.sys.js.Stream(w.t.Context(), bus.StreamPoison)
	if err != nil {
		w.t.Fatal(err)
	}
	if n := poison.CachedInfo().State.Msgs; n > 0 {
		faults = append(faults, fmt.Sprintf("lost: %d events are poison", n))
	}
	for _, p := range w.sys.Workers {
		if strings.Contains(p.log.tail(), "lost their wake-up") {
			faults = append(faults, p.name+" had to repair a lane")
		}
	}
	return faults
}

// report fails the test with faults, if there are any.
func (w *world) report(faults []string) {
	w.t.Helper()
	if len(faults) == 0 {
		return
	}
	const shown = 20
	w.t.Errorf("%d faults:\n%s", len(faults), strings.Join(faults[:min(shown, len(faults))], "\n"))
}
