// Package dispatch decides when an attempt may begin, and runs it.
//
// A worker makes a bounded number of attempts at once, and of those a bounded
// number at one endpoint, so that a sick endpoint can hold up nobody but itself.
// What cannot begin soon is refused: its place is the queue in Postgres.
package dispatch

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/telemetry"
	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/endpoint"
)

// Delivery is one event on its way to one endpoint, for one attempt.
type Delivery struct {
	ID       uuid.UUID
	Endpoint *endpoint.Endpoint
	Event    *bus.Event
	Attempt  int
	Before   int  // attempts before its schedule began anew; 0 if it has not
	FromLane bool // from the queue in Postgres, not fresh from the stream

	// Load fetches the event where Event lacks its body. ErrUnreadable: the body
	// cannot be read now. ErrFiltered: the endpoint does not want it.
	Load func(context.Context) (*bus.Event, error)
	// Done is called once after an attempt, from the attempt's goroutine.
	Done func(attempt.Outcome)

	// The pool's, guarded by its lock:
	place place
	next  *Delivery // in its endpoint's line
	began time.Time
	young bool // counted by youth
}

// place is where a delivery is; the pool's lock guards it.
type place int

const (
	outside place = iota
	inLine
	running
)

// ErrUnreadable says that a body could not be read for a reason that may pass.
var ErrUnreadable = errors.New("event body cannot be read now")

// ErrFiltered says that an event does not pass its endpoint's filter.
var ErrFiltered = errors.New("event does not pass the filter")

// Classes of deliveries of which nothing was sent and no attempt is used up. They
// never stand in a log.
const (
	ClassUnreadable attempt.Class = "unreadable" // the body could not be read
	ClassNotBegun   attempt.Class = "not_begun"  // given back out of the line
	ClassFiltered   attempt.Class = "filtered"   // it does not pass the filter: there is no delivery
)

// Admission is the pool's answer to an offer.
type Admission int

// The answers.
const (
	Running Admission = iota // the attempt has begun
	InLine                   // it begins soon; it may be withdrawn until then
	Refused                  // it would have to wait
)

// run makes the attempt.
func (d *Delivery) run(ctx context.Context, c client) attempt.Outcome {
	e := d.Event
	if d.Load != nil {
		start := time.Now()
		loaded, err := d.Load(ctx)
		switch {
		case errors.Is(err, bus.ErrBodyLost):
			return attempt.Outcome{Start: start, Class: attempt.ClassBodyLost, Message: "the event's body is past its retention"}
		case errors.Is(err, ErrFiltered):
			return attempt.Outcome{Start: start, Class: ClassFiltered}
		case err != nil:
			return attempt.Outcome{Start: start, Class: ClassUnreadable, Message: err.Error()}
		}
		e = loaded
	}
	now := time.Now()
	return c.Do(ctx, &attempt.Request{
		URL: d.Endpoint.URL, EventType: e.Type, EventID: e.ID, Body: e.Body,
		Signer: d.Endpoint.Signer(now), Headers: d.Endpoint.Headers,
		Traceparent: telemetry.ChildTraceparent(e.Traceparent), // a span of its own for each attempt
	})
}
