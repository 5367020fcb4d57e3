package intake

import (
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/failpoint"
	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/dispatch"
	"github.com/primezap/primezap/services/worker/ledger"
	"github.com/primezap/primezap/services/worker/match"
	"github.com/primezap/primezap/services/worker/settle"
)

// held is one event that the worker holds: fetched, not yet acked.
type held struct {
	event bus.Event
	epoch int64
	since time.Time
	bulk  bool

	// Guarded by the intake's lock:
	fan      int // deliveries counted against the bound
	released bool

	mu   sync.Mutex
	msgs []jetstream.Msg // the event's copies, all acked together
	// deliveries are fixed before the first is offered.
	deliveries []flight
	sealed     []uuid.UUID // matching webhooks that cannot be opened
	unfiltered []uuid.UUID // webhooks that match if their filters say so
	started    bool        // every delivery has been offered
	open       int         // deliveries without an outcome
	entered    bool        // the entry is with the ledger, or beyond
	decided    bool        // the ledger has answered
	stands     bool        // and the event has its entry
}

// flight is one of an event's deliveries.
type flight struct {
	dispatch.Delivery
	refused bool
	leased  bool
	ended   bool
	outcome attempt.Outcome
	lease   uuid.UUID
}

// sealedPause is how long the deliveries of a webhook wait that cannot be
// opened: an operator has to mend the keyset.
const sealedPause = time.Minute

// join adds a further copy of the event. One that comes after the entry is
// acked; after anything else it is left to come again.
func (h *held) join(msg jetstream.Msg) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.decided {
		h.msgs = append(h.msgs, msg)
	} else if h.stands {
		_ = msg.Ack() // a lost ack comes again and finds the entry
	}
}

// start offers the event's deliveries. A large fan-out is parked in lanes at
// once: it would hold the worker's attempts for too long. So are deliveries to
// endpoints with a rate, which only their lanes can keep.
func (in *Intake) start(h *held, m match.Match) {
	h.mu.Lock()
	h.deliveries = make([]flight, len(m.Endpoints))
	h.sealed, h.unfiltered = m.Sealed, m.Unfiltered
	h.open = len(m.Endpoints)
	park := len(m.Endpoints) > maxFanOut
	for i, e := range m.Endpoints {
		f := &h.deliveries[i]
		f.Delivery = dispatch.Delivery{ID: newID(), Endpoint: e, Event: &h.event, Attempt: 1}
		f.Done = func(o attempt.Outcome) { in.ended(h, f, o) }
		if park || e.Rate > 0 {
			f.refused = true
			h.open--
		}
	}
	h.mu.Unlock()
	for i := range h.deliveries {
		if f := &h.deliveries[i]; !f.refused && in.pool.Offer(&f.Delivery) == dispatch.Refused {
			h.mu.Lock()
			f.refused = true
			h.open--
			h.mu.Unlock()
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.started = true
	if h.open == 0 && !h.entered {
		in.enter(h)
	}
}

// ended takes a delivery's outcome, from its attempt's goroutine.
func (in *Intake) ended(h *held, f *flight, o attempt.Outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.ended, f.outcome = true, o
	if f.leased {
		if h.decided {
			in.submitResult(h, f)
		}
		return // until then its row does not stand
	}
	if h.open--; h.open == 0 && !h.entered {
		in.enter(h)
	}
}

// enter makes the event's entry: what has ended is logged, what has not gets a
// row. The caller holds h.mu.
func (in *Intake) enter(h *held) {
	h.entered = true
	entry := &ledger.Entry{Event: h.event, Epoch: h.epoch, Done: func(v ledger.Verdict) { in.decided(h, v) }}
	for i := range h.deliveries {
		f := &h.deliveries[i]
		row := ledger.Row{Delivery: f.ID, Webhook: f.Endpoint.ID, Kind: ledger.Delivery, State: ledger.Waiting, Attempt: f.Attempt}
		switch {
		case f.ended:
			log, next := settle.Outcome(&f.Delivery, ledger.Delivery, f.outcome)
			if log != nil {
				entry.Logs = append(entry.Logs, *log)
			}
			if next == nil {
				continue
			}
			row.State, row.Attempt, row.Delay = next.State, next.Attempt, next.Delay
			row.LastStatus, row.LastError = next.LastStatus, next.LastError
		case !f.refused && !in.pool.Withdraw(&f.Delivery):
			f.leased, f.lease = true, newID()
			row.State, row.Lease, row.Delay = ledger.InFlight, f.lease, in.lease
		}
		entry.Rows = append(entry.Rows, row)
	}
	for _, webhook := range h.sealed {
		entry.Rows = append(entry.Rows, ledger.Row{
			Delivery: newID(), Webhook: webhook, State: ledger.Waiting, Attempt: 1, Delay: sealedPause,
			LastError: "the webhook's secret cannot be opened with the configured keyset",
		})
	}
	for _, webhook := range h.unfiltered {
		entry.Rows = append(entry.Rows, ledger.Row{Delivery: newID(), Webhook: webhook, State: ledger.Waiting, Attempt: 1, Unfiltered: true})
	}
	if failpoint.Mutated("ack-early") {
		for _, msg := range h.msgs {
			_ = msg.Ack()
		}
	}
	in.ledger.SubmitEntry(entry)
}

// decided takes the ledger's answer, from its goroutine.
func (in *Intake) decided(h *held, v ledger.Verdict) {
	h.mu.Lock()
	h.entered, h.decided = true, true
	h.stands = v == ledger.Committed || v == ledger.Superseded
	if h.stands {
		for i := range h.deliveries {
			// The ledger itself waits for nobody: hand it over from elsewhere.
			if f := &h.deliveries[i]; f.leased && f.ended {
				in.later.Go(func() { in.submitResult(h, f) })
			}
		}
	}
	msgs := h.msgs
	h.mu.Unlock()
	switch v {
	case ledger.Committed, ledger.Superseded:
		for _, msg := range msgs {
			if err := msg.Ack(); err != nil {
				in.log.Debug("intake: ack", "error", err) // it comes again, and is found in the ledger
			}
		}
	case ledger.Poisoned:
		in.later.Go(func() { in.poison(h.event.Tenant.String(), "ledger", "refused by the database", msgs) })
	case ledger.Abandoned: // comes again
	}
	in.release(h)
}

// submitResult hands a leased delivery's outcome to the ledger, which accepts it
// only if the row that the entry made still stands.
func (in *Intake) submitResult(h *held, f *flight) {
	log, next := settle.Outcome(&f.Delivery, ledger.Delivery, f.outcome)
	in.ledger.SubmitResult(&ledger.Result{
		Delivery: f.ID, Webhook: f.Endpoint.ID, Tenant: h.event.Tenant, Lease: f.lease, Attempt: f.Attempt,
		Log: log, Next: next,
	})
}
