package settle

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/dispatch"
	"github.com/primezap/primezap/services/worker/endpoint"
	"github.com/primezap/primezap/services/worker/ledger"
)

// delivery is one to an endpoint with two retries, after a second and a minute.
func delivery(number int) *dispatch.Delivery {
	return &dispatch.Delivery{
		ID: uuid.New(), Attempt: number, Event: &bus.Event{ID: "e1", Type: "deal.moved"},
		Endpoint: &endpoint.Endpoint{ID: uuid.New(), Tenant: uuid.New(), Generation: 7, Schedule: attempt.Schedule{time.Second, time.Minute}},
	}
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	failure := func(class attempt.Class, status int) attempt.Outcome {
		return attempt.Outcome{Class: class, Status: status, Message: "why"}
	}
	asked := func(after time.Duration) attempt.Outcome {
		o := failure(attempt.ClassStatus, 503)
		o.RetryAfter = after
		return o
	}
	const (
		unlogged = iota
		uncounted
		counted
	)
	retried := func(number int, delay time.Duration, status int, lastError string) *ledger.Next {
		return &ledger.Next{State: ledger.Retrying, Attempt: number, Delay: delay, LastStatus: status, LastError: lastError}
	}
	exhausted := func(number, status int, lastError string) *ledger.Next {
		return &ledger.Next{State: ledger.Exhausted, Attempt: number, Delay: ledger.KeepExhausted, LastStatus: status, LastError: lastError}
	}
	type test struct {
		name    string
		attempt int
		before  int
		outcome attempt.Outcome
		log     int
		next    *ledger.Next // nil: done
		jitter  time.Duration
	}
	tests := []test{
		{name: "a success is done", attempt: 1, outcome: attempt.Outcome{Success: true, Status: 204}, log: counted},
		{name: "a success of the last attempt is done", attempt: 3, outcome: attempt.Outcome{Success: true, Status: 200}, log: counted},
		{name: "the second failure waits for the schedule's second delay", attempt: 2, outcome: failure(attempt.ClassReset, 0), log: counted,
			next: retried(3, time.Minute, 0, "reset: why"), jitter: 6 * time.Second},
		{name: "the failure after the last delay exhausts", attempt: 3, outcome: failure(attempt.ClassStatus, 502), log: counted,
			next: exhausted(4, 502, "status: why")},
		{name: "one retried by hand after that exhausts again", attempt: 4, outcome: failure(attempt.ClassStatus, 502), log: counted,
			next: exhausted(5, 502, "status: why")},
		{name: "a longer Retry-After wins", attempt: 1, outcome: asked(20 * time.Second), log: counted,
			next: retried(2, 20*time.Second, 503, "status: why")},
		{name: "a shorter Retry-After does not", attempt: 2, outcome: asked(20 * time.Second), log: counted,
			next: retried(3, time.Minute, 503, "status: why"), jitter: 6 * time.Second},
		{name: "Retry-After gives no further attempt", attempt: 3, outcome: asked(20 * time.Second), log: counted,
			next: exhausted(4, 503, "status: why")},
		{name: "a lost body exhausts at once", attempt: 1, outcome: failure(attempt.ClassBodyLost, 0), log: counted,
			next: exhausted(2, 0, "body_lost: why")},
		{name: "an endpoint that is gone is not tried again", attempt: 1, outcome: failure(attempt.ClassStatus, 410), log: counted,
			next: exhausted(2, 410, "status: why")},
		{name: "a recovered delivery has its schedule from the start", attempt: 4, before: 3, outcome: failure(attempt.ClassStatus, 502), log: counted,
			next: retried(5, time.Second, 502, "status: why")},
		{name: "and is exhausted at the end of it", attempt: 6, before: 3, outcome: failure(attempt.ClassStatus, 502), log: counted,
			next: exhausted(7, 502, "status: why")},
		{name: "an interrupted attempt is logged, not counted, and made again at once", attempt: 1,
			outcome: failure(attempt.ClassInterrupted, 0), log: uncounted, next: &ledger.Next{State: ledger.Waiting, Attempt: 1}},
		{name: "an interrupted retry stays one", attempt: 2,
			outcome: failure(attempt.ClassInterrupted, 0), log: uncounted, next: &ledger.Next{State: ledger.Retrying, Attempt: 2}},
		{name: "an interrupted last attempt is not the last", attempt: 3,
			outcome: failure(attempt.ClassInterrupted, 0), log: uncounted, next: &ledger.Next{State: ledger.Retrying, Attempt: 3}},
		{name: "a body that cannot be read now waits, and no attempt is used", attempt: 2,
			outcome: failure(dispatch.ClassUnreadable, 0), log: unlogged, next: &ledger.Next{State: ledger.Retrying, Attempt: 2, Delay: time.Second}},
		{name: "what has not begun is due at once, and no attempt is used", attempt: 1,
			outcome: failure(dispatch.ClassNotBegun, 0), log: unlogged, next: &ledger.Next{State: ledger.Waiting, Attempt: 1}},
	}
	for _, class := range []attempt.Class{
		attempt.ClassDNS, attempt.ClassRefused, attempt.ClassBlocked, attempt.ClassTLS, attempt.ClassTimeout,
		attempt.ClassReset, attempt.ClassStatus, attempt.ClassRedirect, attempt.ClassBody,
	} {
		tests = append(tests, test{
			name: "a failure of class " + string(class) + " is retried", attempt: 1, outcome: failure(class, 0), log: counted,
			next: retried(2, time.Second, 0, string(class)+": why"),
		})
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := delivery(tc.attempt)
			d.Before = tc.before
			log, next := Outcome(d, ledger.Replay, tc.outcome)
			switch {
			case tc.log == unlogged:
				if log != nil {
					t.Errorf("logged %+v", log)
				}
			case log == nil:
				t.Error("not logged")
			default:
				want := ledger.Log{
					ID: log.ID, Webhook: d.Endpoint.ID, Tenant: d.Endpoint.Tenant, Delivery: d.ID, EventID: "e1", Event: "deal.moved",
					Attempt: tc.attempt, Kind: ledger.Replay, Counted: tc.log == counted, Outcome: tc.outcome, Generation: 7,
				}
				if !reflect.DeepEqual(*log, want) || log.ID == uuid.Nil {
					t.Errorf("logged %+v, want %+v", log, want)
				}
			}
			if next != nil && tc.next != nil {
				if over := next.Delay - tc.next.Delay; over < 0 || over > tc.jitter {
					t.Errorf("waits %s, want %s and at most %s more", next.Delay, tc.next.Delay, tc.jitter)
				}
				next.Delay = tc.next.Delay
			}
			if (next == nil) != (tc.next == nil) || next != nil && *next != *tc.next {
				t.Errorf("goes on as %+v, want %+v", next, tc.next)
			}
		})
	}
}
