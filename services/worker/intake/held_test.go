package intake

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/pkg/webhook"
	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/dispatch"
	"github.com/primezap/primezap/services/worker/endpoint"
	"github.com/primezap/primezap/services/worker/ledger"
	"github.com/primezap/primezap/services/worker/match"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const lease = 45 * time.Second

var tenant = uuid.MustParse("0198f000-0000-7000-8000-000000000001")

// fetched is a message as a consumer hands it out, with what became of it.
type fetched struct {
	jetstream.Msg // what is not told of panics
	subject       string
	header        nats.Header
	meta          jetstream.MsgMetadata

	mu    sync.Mutex
	fates []string
}

func fetch(id string) *fetched {
	m := &fetched{
		subject: "events.live." + tenant.String() + ".deal.moved",
		header:  nats.Header{"Primezap-Event-Id": {id}, "Primezap-Day": {"2026-11-24"}},
	}
	m.meta.Sequence.Stream, m.meta.NumDelivered = 7, 1
	return m
}

func (m *fetched) Metadata() (*jetstream.MsgMetadata, error) { return &m.meta, nil }
func (m *fetched) Subject() string                           { return m.subject }
func (m *fetched) Headers() nats.Header                      { return m.header }
func (m *fetched) Data() []byte                              { return []byte(`{}`) }
func (m *fetched) Ack() error                                { return m.end("ack") }
func (m *fetched) Nak() error                                { return m.end("nak") }
func (m *fetched) Term() error                               { return m.end("term") }
func (m *fetched) InProgress() error                         { return nil }

func (m *fetched) end(fate string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fates = append(m.fates, fate)
	return nil
}

func (m *fetched) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Equal(m.fates, want) {
		t.Errorf("%s: the message has %v, want %v", what, m.fates, want)
	}
}

// world is an intake with everything around it, in a bubble.
type world struct {
	t       *testing.T
	in      *Intake
	pool    *dispatch.Pool
	hooks   []*endpoint.Endpoint
	matches func() ([]match.Match, error) // of a batch
	took    time.Duration                 // an attempt
	outcome attempt.Outcome

	mu       sync.Mutex
	attempts int
	entries  []*ledger.Entry
	results  []*ledger.Result
}

// newWorld has events matched by n webhooks.
func newWorld(t *testing.T, n int) *world {
	t.Helper()
	w := &world{t: t, outcome: attempt.Outcome{Success: true, Status: 200}}
	signer, err := webhook.NewSigner(webhook.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		w.hooks = append(w.hooks, endpoint.New(newID(), tenant, "https://example.com", signer))
	}
	w.matches = func() ([]match.Match, error) { return []match.Match{{Endpoints: w.hooks}}, nil }
	w.pool = dispatch.New(w, 1000)
	w.in = New(t.Context(), Config{Matcher: w, Pool: w.pool, Ledger: w, Lease: lease, Log: newIntake(t).log})
	return w
}

func (w *world) Match(context.Context, []bus.Event) ([]match.Match, error) { return w.matches() }

func (w *world) Do(ctx context.Context, _ *attempt.Request) attempt.Outcome {
	w.mu.Lock()
	w.attempts++
	w.mu.Unlock()
	o := w.outcome
	o.Start, o.Duration = time.Now(), w.took
	select {
	case <-time.After(w.took):
	case <-ctx.Done():
		return attempt.Outcome{Start: o.Start, Class: attempt.ClassInterrupted}
	}
	return o
}

func (w *world) CloseIdle() {}

func (w *world) SubmitEntry(e *ledger.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.entries = append(w.entries, e)
}

func (w *world) SubmitResult(r *ledger.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.results = append(w.results, r)
}

// entry is the one that has been submitted, nil if none has.
func (w *world) entry() *ledger.Entry {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.entries) > 1 {
		w.t.Fatalf("%d entries of one event", len(w.entries))
	}
	if len(w.entries) == 0 {
		return nil
	}
	return w.entries[0]
}

func (w *world) submitted() []*ledger.Result {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.results)
}

// bubble runs a test with a world in it, and ends what it began.
func bubble(t *testing.T, name string, hooks int, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, hooks)
			ctx, cancel := context.WithCancel(t.Context())
			var watch sync.WaitGroup
			watch.Go(func() { w.in.Watch(ctx) })
			test(t, w)
			w.close()
			cancel()
			watch.Wait()
		})
	})
}

// close ends attempts at once.
func (w *world) close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w.pool.Close(ctx)
}

func TestIntake_Entry(t *testing.T) {
	t.Parallel()
	bubble(t, "is made when all attempts have ended, and the event is acked when it stands", 3, func(t *testing.T, w *world) {
		msg := fetch("e1")
		w.in.begin(t.Context(), []jetstream.Msg{msg})
		e := w.entry()
		if e == nil || len(e.Logs) != 3 || len(e.Rows) != 0 || e.Event.ID != "e1" || e.Event.Seq != 7 || e.Event.Tenant != tenant {
			t.Fatalf("entered %+v", e)
		}
		for i := range e.Logs {
			if log := &e.Logs[i]; !log.Counted || log.Attempt != 1 || log.Kind != ledger.Delivery || log.Webhook != w.hooks[i].ID || log.EventID != "e1" {
				t.Errorf("log %d is %+v", i, log)
			}
		}
		msg.expect(t, "before the entry stands")
		e.Done(ledger.Committed)
		msg.expect(t, "afterwards", "ack")
		if n := w.in.Held(); n != 0 {
			t.Errorf("%d events are held", n)
		}
		w.in.Wait()
	})
	bubble(t, "has a row for a delivery that failed", 1, func(t *testing.T, w *world) {
		w.outcome = attempt.Outcome{Status: 500, Class: attempt.ClassStatus, Message: "why"}
		w.in.begin(t.Context(), []jetstream.Msg{fetch("e1")})
		e := w.entry()
		if e == nil || len(e.Logs) != 1 || len(e.Rows) != 1 {
			t.Fatalf("entered %+v", e)
		}
		want := ledger.Row{
			Delivery: e.Logs[0].Delivery, Webhook: w.hooks[0].ID, State: ledger.Retrying, Attempt: 2, Delay: time.Second,
			LastStatus: 500, LastError: "status: why",
		}
		if e.Rows[0] != want {
			t.Errorf("its row is %+v, want %+v", e.Rows[0], want)
		}
	})
	bubble(t, "is made after a second, with a lease for what is in flight", 1, func(t *testing.T, w *world) {
		w.took = 5 * time.Second
		msg := fetch("e1")
		w.in.begin(t.Context(), []jetstream.Msg{msg})
		time.Sleep(time.Second - time.Millisecond)
		if e := w.entry(); e != nil {
			t.Fatal("entered before its time")
		}
		time.Sleep(50 * time.Millisecond)
		e := w.entry()
		if e == nil || len(e.Logs) != 0 || len(e.Rows) != 1 {
			t.Fatalf("entered %+v", e)
		}
		row := e.Rows[0]
		if row.State != ledger.InFlight || row.Attempt != 1 || row.Delay != lease || row.Lease == uuid.Nil {
			t.Errorf("its row is %+v", row)
		}
		e.Done(ledger.Committed)
		msg.expect(t, "with its attempt still under way", "ack")
		if n := len(w.submitted()); n != 0 {
			t.Fatalf("%d results before the attempt has ended", n)
		}
		time.Sleep(5 * time.Second)
		results := w.submitted()
		if len(results) != 1 {
			t.Fatalf("%d results", len(results))
		}
		r := results[0]
		if r.Delivery != row.Delivery || r.Lease != row.Lease || r.Attempt != 1 || r.Next != nil || r.Log == nil || r.Log.Delivery != row.Delivery {
			t.Errorf("the result is %+v, of row %+v", r, row)
		}
	})
	bubble(t, "must stand before a result that ended meanwhile is handed over", 1, func(t *testing.T, w *world) {
		w.took = 5 * time.Second
		w.in.begin(t.Context(), []jetstream.Msg{fetch("e1")})
		time.Sleep(10 * time.Second)
		e := w.entry()
		if e == nil || len(w.submitted()) != 0 {
			t.Fatalf("%d results before the entry is decided", len(w.submitted()))
		}
		e.Done(ledger.Committed)
		if results := w.submitted(); len(results) != 1 || results[0].Lease != e.Rows[0].Lease {
			t.Errorf("results %+v", results)
		}
		w.in.Wait()
	})
	bubble(t, "that is abandoned leaves the event to come again", 1, func(t *testing.T, w *world) {
		w.took = 5 * time.Second
		msg := fetch("e1")
		w.in.begin(t.Context(), []jetstream.Msg{msg})
		time.Sleep(2 * time.Second)
		w.entry().Done(ledger.Abandoned)
		time.Sleep(5 * time.Second)
		msg.expect(t, "an event without an entry")
		if n := w.in.Held(); n != 0 {
			t.Errorf("%d events are held", n)
		}
	})
	bubble(t, "is made sooner when half of what may be held is", 1, func(t *testing.T, w *world) {
		w.took = 5 * time.Second
		holdEvents(w.in, bus.Live, maxHeld/2)
		w.in.begin(t.Context(), []jetstream.Msg{fetch("e1")})
		time.Sleep(hurryAfter + 2*sweepEvery)
		if w.entry() == nil {
			t.Errorf("not entered after %s", hurryAfter+2*sweepEvery)
		}
	})
	bubble(t, "parks an event of more than a thousand endpoints at once", maxFanOut+1, func(t *testing.T, w *world) {
		w.in.begin(t.Context(), []jetstream.Msg{fetch("e1")})
		e := w.entry()
		if e == nil || len(e.Rows) != maxFanOut+1 || w.attempts != 0 {
			t.Fatalf("%d attempts were made", w.attempts)
		}
		for _, row := range e.Rows {
			if row.State != ledger.Waiting || row.Attempt != 1 || row.Delay != 0 {
				t.Fatalf("a row is %+v", row)
			}
		}
	})
	bubble(t, "attempts one of a thousand", maxFanOut, func(t *testing.T, w *world) {
		w.in.begin(t.Context(), []jetstream.Msg{fetch("e1")})
		time.Sleep(time.Second / 2)
		if e := w.entry(); e == nil || len(e.Rows) != 0 || w.attempts != maxFanOut {
			t.Errorf("%d attempts were made", w.attempts)
		}
	})
	bubble(t, "has rows for what the pool refuses", 2, func(t *testing.T, w *world) {
		w.close()
		w.in.begin(t.Context(), []jetstream.Msg{fetch("e1")})
		if e := w.entry(); e == nil || len(e.Rows) != 2 || e.Rows[0].State != ledger.Waiting || e.Rows[0].Attempt != 1 || e.Rows[0].Delay != 0 {
			t.Errorf("entered %+v", e)
		}
	})
	bubble(t, "has rows that wait for webhooks which cannot be opened", 1, func(t *testing.T, w *world) {
		sealed := newID()
		w.matches = func() ([]match.Match, error) {
			return []match.Match{{Endpoints: w.hooks, Sealed: []uuid.UUID{sealed}}}, nil
		}
		w.in.begin(t.Context(), []jetstream.Msg{fetch("e1")})
		e := w.entry()
		if e == nil || len(e.Logs) != 1 || len(e.Rows) != 1 {
			t.Fatalf("entered %+v", e)
		}
		if row := e.Rows[0]; row.Webhook != sealed || row.State != ledger.Waiting || row.Attempt != 1 || row.Delay != time.Minute || row.LastError == "" {
			t.Errorf("its row is %+v", row)
		}
	})
	bubble(t, "has rows for webhooks whose filters are still to be asked", 1, func(t *testing.T, w *world) {
		unfiltered := newID()
		w.matches = func() ([]match.Match, error) {
			return []match.Match{{Endpoints: w.hooks, Unfiltered: []uuid.UUID{unfiltered}}}, nil
		}
		w.in.begin(t.Context(), []jetstream.Msg{fetch("e1")})
		e := w.entry()
		if e == nil || len(e.Logs) != 1 || len(e.Rows) != 1 || e.Logs[0].Webhook == unfiltered {
			t.Fatalf("entered %+v", e)
		}
		if row := e.Rows[0]; row.Webhook != unfiltered || row.State != ledger.Waiting || row.Attempt != 1 || row.Delay != 0 || !row.Unfiltered {
			t.Errorf("its row is %+v", row)
		}
	})
	bubble(t, "leaves webhooks with a rate to their lanes", 3, func(t *testing.T, w *world) {
		w.took = time.Minute
		w.hooks[1].Rate = 5
		w.in.begin(t.Context(), []jetstream.Msg{fetch("e1")})
		synctest.Wait()
		if w.attempts != 2 {
			t.Errorf("%d attempts were made, want those at the other two", w.attempts)
		}
		time.Sleep(2 * leaseAfter)
		e := w.entry()
		if e == nil || len(e.Rows) != 3 {
			t.Fatalf("entered %+v", e)
		}
		for i, row := range e.Rows {
			lane := row.Webhook == w.hooks[1].ID
			if (row.State == ledger.Waiting) != lane || (row.Delay == 0) != lane || row.Unfiltered {
				t.Errorf("row %d is %+v, with a rate: %t", i, row, lane)
			}
		}
	})
	bubble(t, "is made at once where all have a rate", 2, func(t *testing.T, w *world) {
		for _, e := range w.hooks {
			e.Rate = 1
		}
		w.in.begin(t.Context(), []jetstream.Msg{fetch("e1")})
		if e := w.entry(); e == nil || len(e.Rows) != 2 || w.attempts != 0 {
			t.Errorf("entered %+v after %d attempts", e, w.attempts)
		}
	})
	bubble(t, "is made of an event that goes nowhere, too", 0, func(t *testing.T, w *world) {
		msg := fetch("e1")
		w.in.begin(t.Context(), []jetstream.Msg{msg})
		e := w.entry()
		if e == nil || len(e.Logs)+len(e.Rows) != 0 {
			t.Fatalf("entered %+v", e)
		}
		e.Done(ledger.Committed)
		msg.expect(t, "an event without deliveries", "ack")
	})
	bubble(t, "of an interrupted attempt has its log, not counted, and a row that is due", 1, func(t *testing.T, w *world) {
		w.took = time.Hour
		w.in.begin(t.Context(), []jetstream.Msg{fetch("e1")})
		synctest.Wait()
		w.close()
		w.in.Drain()
		e := w.entry()
		if e == nil || len(e.Logs) != 1 || e.Logs[0].Counted || len(e.Rows) != 1 || e.Rows[0].Attempt != 1 || e.Rows[0].Delay != 0 {
			t.Errorf("entered %+v", e)
		}
	})
}

func TestIntake_Drain(t *testing.T) {
	t.Parallel()
	bubble(t, "enters whatever is held", 1, func(t *testing.T, w *world) {
		w.in.register(&held{event: bus.Event{Tenant: tenant, ID: "e1"}, since: time.Now()})
		w.in.Drain()
		if e := w.entry(); e == nil || e.Event.ID != "e1" {
			t.Fatalf("entered %+v", e)
		}
		w.in.Drain() // once
		w.entry().Done(ledger.Committed)
		w.in.Wait()
	})
}

func TestIntake_begin(t *testing.T) {
	t.Parallel()
	bubble(t, "acks an event that the ledger holds, and attempts nothing", 1, func(t *testing.T, w *world) {
		w.matches = func() ([]match.Match, error) { return []match.Match{{Present: true}}, nil }
		msg := fetch("e1")
		w.in.begin(t.Context(), []jetstream.Msg{msg})
		msg.expect(t, "an event with an entry", "ack")
		if w.entry() != nil || w.attempts != 0 || w.in.Held() != 0 {
			t.Errorf("%d attempts were made", w.attempts)
		}
	})
	bubble(t, "holds one copy of an event at a time, and acks all of them", 1, func(t *testing.T, w *world) {
		w.took = 500 * time.Millisecond
		first, second, third := fetch("e1"), fetch("e1"), fetch("e1")
		third.meta.Sequence.Stream = 99 // whatever its sequence
		w.in.begin(t.Context(), []jetstream.Msg{first, second})
		synctest.Wait()
		w.in.begin(t.Context(), []jetstream.Msg{third})
		time.Sleep(time.Second / 2)
		e := w.entry()
		if e == nil || w.attempts != 1 {
			t.Fatalf("%d attempts were made", w.attempts)
		}
		e.Done(ledger.Committed)
		for _, msg := range []*fetched{first, second, third} {
			msg.expect(t, "each copy", "ack")
		}
	})
	bubble(t, "takes events of the same id of two tenants for two", 1, func(t *testing.T, w *world) {
		w.matches = func() ([]match.Match, error) { return make([]match.Match, 2), nil }
		other := fetch("e1")
		other.subject = "events.live." + uuid.NewString() + ".deal.moved"
		w.in.begin(t.Context(), []jetstream.Msg{fetch("e1"), other})
		synctest.Wait()
		if len(w.entries) != 2 {
			t.Errorf("%d entries, want 2", len(w.entries))
		}
	})
	bubble(t, "waits while nothing can be matched, and holds what it has", 1, func(t *testing.T, w *world) {
		tries := 0
		w.matches = func() ([]match.Match, error) {
			if tries++; tries <= 3 {
				return nil, errors.New("away")
			}
			return []match.Match{{Endpoints: w.hooks}}, nil
		}
		msg := fetch("e1")
		start := time.Now()
		w.in.begin(t.Context(), []jetstream.Msg{msg})
		if waited := time.Since(start); waited != 3*retryPause {
			t.Errorf("waited %s for four tries, want %s", waited, 3*retryPause)
		}
		msg.expect(t, "while it is held")
		if w.entry() == nil {
			t.Error("not entered")
		}
	})
	bubble(t, "leaves to others what it could not match before its end", 1, func(t *testing.T, w *world) {
		w.matches = func() ([]match.Match, error) { return nil, errors.New("away") }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		msg := fetch("e1")
		w.in.begin(ctx, []jetstream.Msg{msg})
		msg.expect(t, "at the end", "nak")
		if w.entry() != nil || w.in.Held() != 0 {
			t.Error("it is still held")
		}
		w.in.Wait()
	})
}

// What cannot be delivered goes to POISON, with the reason, and ends there.
func TestIntake_Poison(t *testing.T) {
	t.Parallel()
	account := testenv.NATS(t)
	publisher, err := bus.NewPublisher(account.Connect(t, testenv.Worker))
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(account.Connect(t, testenv.Admin))
	if err != nil {
		t.Fatal(err)
	}
	poison, err := js.Stream(t.Context(), bus.StreamPoison)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, 0)
	w.in.publisher = publisher
	refused, worn, broken, alive := fetch("refused"), fetch("worn"), fetch("broken"), fetch("alive")
	worn.meta.NumDelivered = maxDeliveries
	alive.meta.NumDelivered = maxDeliveries - 1
	delete(broken.header, "Primezap-Day")
	w.matches = func() ([]match.Match, error) { return make([]match.Match, 2), nil }
	w.in.begin(t.Context(), []jetstream.Msg{refused, worn, broken, alive})
	if len(w.entries) != 2 {
		t.Fatalf("%d entries, want those of the first and the last", len(w.entries))
	}
	w.entries[0].Done(ledger.Poisoned)
	w.entries[1].Done(ledger.Committed)
	w.in.Wait()
	for _, msg := range []*fetched{refused, worn, broken} {
		msg.expect(t, "a poisoned event", "term")
	}
	alive.expect(t, "one that was delivered almost as often", "ack")
	for subject, reason := range map[string]string{
		"poison." + tenant.String() + ".ledger":     "refused by the database",
		"poison." + tenant.String() + ".redelivery": "delivered 20 times",
		"poison." + tenant.String() + ".parse":      "",
	} {
		msg, err := poison.GetLastMsgForSubject(t.Context(), subject)
		if err != nil {
			t.Errorf("%s: %v", subject, err)
			continue
		}
		if got := msg.Header.Get("Primezap-Reason"); reason != "" && got != reason || got == "" {
			t.Errorf("%s: because %q, want %q", subject, got, reason)
		}
		if string(msg.Data) != "{}" {
			t.Errorf("%s: body %q", subject, msg.Data)
		}
	}
	w.close()
}
