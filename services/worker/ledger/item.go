package ledger

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/services/worker/attempt"
)

// Kind says why a delivery is made.
type Kind int16

// The kinds, as the column holds them.
const (
	Delivery Kind = iota
	Test
	Replay
)

// State is a queue row's.
type State int16

// The states, as the column holds them.
const (
	Waiting State = iota
	InFlight
	Retrying
	Exhausted
)

// KeepExhausted is how long an exhausted row stays in the queue, to be retried by
// hand or by a recovery.
const KeepExhausted = 7 * 24 * time.Hour

// Log is one attempt.
type Log struct {
	ID       uuid.UUID // the caller's, new for each attempt
	Webhook  uuid.UUID
	Tenant   uuid.UUID
	Delivery uuid.UUID
	EventID  string
	Event    string // its type
	Attempt  int
	Kind     Kind
	Counted  bool // in the statistics, and as the delivery's attempt
	Outcome  attempt.Outcome
	// Generation is the webhook's that was attempted.
	Generation int64
}

// Row is a delivery that is not done, to be put into the queue.
type Row struct {
	Delivery   uuid.UUID
	Webhook    uuid.UUID
	Kind       Kind
	State      State
	Attempt    int // the one that is due or in flight
	Delay      time.Duration
	Lease      uuid.UUID // of a row in flight
	LastStatus int
	LastError  string
	Unfiltered bool // the webhook's filter is still to be asked
}

// Entry is an event and all of its deliveries.
type Entry struct {
	Event bus.Event
	Epoch int64 // of the stream that the event's sequence counts in
	Logs  []Log
	Rows  []Row
	// Done is called once, when it is decided; from the ledger's goroutine.
	Done func(Verdict)
}

// Result is what an attempt at a queue row came to.
type Result struct {
	Delivery uuid.UUID
	Webhook  uuid.UUID
	Tenant   uuid.UUID
	Lease    uuid.UUID // under which it was attempted
	Attempt  int       // the number it had
	Log      *Log      // nil: nothing was attempted, the row is given back
	Next     *Next     // nil: done with, the row goes
	Done     func(Verdict)
}

// Next is how a queue row goes on.
type Next struct {
	State      State
	Attempt    int
	Delay      time.Duration
	LastStatus int
	LastError  string
}

// Verdict is what became of an item.
type Verdict int

// The verdicts.
const (
	Committed  Verdict = iota // it stands
	Superseded                // its origin no longer stood: logged at most
	Poisoned                  // Postgres refuses it for its data
	Abandoned                 // the ledger ended before it could be written
)

// item is what waits to be committed: exactly one of the three is set.
type item struct {
	entry  *Entry
	result *Result
	log    *Log
	done   func(Verdict)

	written  Verdict // what it is once it is written: Committed, or what it was reduced from
	stripped bool
}

func (it *item) logs() []*Log {
	switch {
	case it.entry != nil:
		logs := make([]*Log, len(it.entry.Logs))
		for i := range it.entry.Logs {
			logs[i] = &it.entry.Logs[i]
		}
		return logs
	case it.result != nil && it.result.Log != nil:
		return []*Log{it.result.Log}
	case it.log != nil:
		return []*Log{it.log}
	}
	return nil
}

// size is how many rows the item writes, more or less.
func (it *item) size() int {
	if it.entry != nil {
		return 1 + len(it.entry.Logs) + len(it.entry.Rows)
	}
	return 1
}

func (it *item) finish(v Verdict) {
	if it.done != nil {
		it.done(v)
	}
}

// strip takes the endpoint's words out: what Postgres may have refused.
func (it *item) strip() {
	it.stripped = true
	for _, log := range it.logs() {
		o := &log.Outcome
		o.ResponseBody, o.ResponseHeaders, o.RequestHeaders = "", nil, nil
		if o.Message != "" {
			o.Message = "not recorded: the database refused it"
		}
	}
	if it.entry != nil {
		for i := range it.entry.Rows {
			it.entry.Rows[i].LastError = ""
		}
	}
	if it.result != nil && it.result.Next != nil {
		it.result.Next.LastError = ""
	}
}

// giveUp leaves of a result that its row is exhausted, without a log row. It is
// poisoned all the same.
func (it *item) giveUp() {
	r := it.result
	r.Next = &Next{State: Exhausted, Attempt: r.Attempt + 1, Delay: KeepExhausted, LastError: "refused by the database"}
	if r.Log != nil {
		r.Next.LastStatus = r.Log.Outcome.Status
	}
	r.Log = nil
	it.written = Poisoned
}

// late turns the item into its logs, not counted: its origin is gone. They keep
// no word of the endpoint's answer. An erasure may be why the origin is gone, and
// what it removed must not come back, however late this is.
func (it *item) late() []*Log {
	logs := it.logs()
	for _, log := range logs {
		log.Counted = false
		log.Outcome.ResponseBody, log.Outcome.ResponseHeaders = "", nil
	}
	return logs
}

// clean is text as Postgres takes it: the attempt has cleaned the endpoint's
// words already, this is the last line.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}
