// Package settle turns the outcome of an attempt into what the ledger writes.
package settle

import (
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/dispatch"
	"github.com/primezap/primezap/services/worker/ledger"
)

// unreadablePause is how long a row waits whose body could not be read.
const unreadablePause = time.Second

// Outcome returns the attempt's log row, nil if nothing was sent, and how the
// delivery goes on, nil if it is done.
func Outcome(d *dispatch.Delivery, kind ledger.Kind, o attempt.Outcome) (*ledger.Log, *ledger.Next) {
	switch o.Class {
	case dispatch.ClassNotBegun:
		return nil, Again(d.Attempt, 0)
	case dispatch.ClassFiltered:
		return nil, nil
	case dispatch.ClassUnreadable:
		return nil, Again(d.Attempt, unreadablePause)
	}
	log := &ledger.Log{
		ID: uuid.Must(uuid.NewV7()), Webhook: d.Endpoint.ID, Tenant: d.Endpoint.Tenant, Delivery: d.ID,
		EventID: d.Event.ID, Event: d.Event.Type, Attempt: d.Attempt, Kind: kind, Counted: true, Outcome: o,
		Generation: d.Endpoint.Generation,
	}
	if o.Success {
		return log, nil
	}
	if o.Class == attempt.ClassInterrupted {
		log.Counted = false
		return log, Again(d.Attempt, 0)
	}
	next := &ledger.Next{
		State: ledger.Retrying, Attempt: d.Attempt + 1, LastStatus: o.Status, LastError: string(o.Class) + ": " + o.Message,
	}
	var more bool
	next.Delay, more = d.Endpoint.Schedule.After(d.Attempt-d.Before, o.RetryAfter, rand.Float64)
	if !more || o.Class == attempt.ClassBodyLost || o.Status == http.StatusGone {
		next.State, next.Delay = ledger.Exhausted, ledger.KeepExhausted
	}
	return log, next
}

// Again is a row whose attempt has not been used up.
func Again(attempt int, delay time.Duration) *ledger.Next {
	next := &ledger.Next{State: ledger.Waiting, Attempt: attempt, Delay: delay}
	if attempt > 1 {
		next.State = ledger.Retrying
	}
	return next
}
