package dispatch

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/sony/gobreaker/v2"

	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/internal/failpoint"
)

const (
	// DefaultAttempts is how many attempts a worker makes at once.
	DefaultAttempts = 4096

	maxPerEndpoint   = 32 // attempts at one endpoint at once
	firstPerEndpoint = 8  // until its first success
	laneFloor        = 4  // rows a lane may hold here while fresh deliveries keep the endpoint busy

	// soon is how long a delivery may expect to wait in its endpoint's line, by
	// the endpoint's recent pace. Beyond it the queue is the better place.
	soon = 500 * time.Millisecond
	// maxLine bounds a line whatever its pace; newLine while there is none yet.
	maxLine = 4096
	newLine = 256
	// maxLaneLine bounds what a lane may have in line here: enough to keep the
	// endpoint busy between two claims.
	maxLaneLine = 256

	breakerWindow   = 30 * time.Second
	breakerBuckets  = 3 * time.Second
	breakerAttempts = 20
	breakerFailures = 0.9
	breakerOpenFor  = 10 * time.Second

	forgetAfter = 10 * time.Minute // an endpoint without attempts
)

// client makes attempts; an *attempt.Client.
type client interface {
	Do(context.Context, *attempt.Request) attempt.Outcome
	CloseIdle()
}

// Pool runs attempts.
type Pool struct {
	client client
	max    int // attempts at once
	lanes  int // of them, at most so many from lanes: a share is kept for fresh events
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // of attempts

	mu        sync.Mutex
	endpoints map[uuid.UUID]*state
	running   int
	fromLanes int // running or in line, that came from lanes
	closed    bool
	freed     chan struct{} // sent to without blocking: a wanted endpoint has room
}

// state is what the pool knows of an endpoint. The pool's lock guards it.
type state struct {
	cap        int
	running    int
	lane       int // running or in line, that came from its lane
	line       int
	head, tail *Delivery
	lastBegan  time.Time
	lastEnded  time.Time
	took       time.Duration // an attempt, as a moving average
	wanted     bool          // its lane has more than there was room for
	breaker    *gobreaker.TwoStepCircuitBreaker[any]
}

// New returns a pool that makes at most attempts at once with client.
func New(c client, attempts int) *Pool {
	ctx, cancel := context.WithCancel(context.Background())
	return &Pool{
		client: c, max: attempts, lanes: max(1, attempts*3/4), ctx: ctx, cancel: cancel,
		endpoints: map[uuid.UUID]*state{}, freed: make(chan struct{}, 1),
	}
}

// Offer begins d's attempt, puts d into its endpoint's line, or refuses it.
func (p *Pool) Offer(d *Delivery) Admission {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.state(d.Endpoint.ID)
	switch {
	case p.closed, p.running >= p.max, s.breaker.State() == gobreaker.StateOpen:
		return Refused
	case s.line == 0 && s.running < s.cap:
		if !p.begin(s, d) {
			return Refused
		}
		return Running
	case !d.FromLane && !s.soon(time.Now()):
		return Refused
	}
	d.place = inLine
	if s.tail == nil {
		s.head = d
	} else {
		s.tail.next = d
	}
	s.tail = d
	s.line++
	p.count(s, d, 1)
	return InLine
}

// Withdraw takes back a delivery that waits in line, and reports whether it did:
// if not, its attempt has begun.
func (p *Pool) Withdraw(d *Delivery) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.place != inLine {
		return false
	}
	s := p.endpoints[d.Endpoint.ID]
	for at, before := s.head, (*Delivery)(nil); at != nil; before, at = at, at.next {
		if at != d {
			continue
		}
		if before == nil {
			s.head = d.next
		} else {
			before.next = d.next
		}
		if s.tail == d {
			s.tail = before
		}
		break
	}
	p.leaveLine(s, d)
	p.count(s, d, -1)
	return true
}

func (p *Pool) leaveLine(s *state, d *Delivery) {
	d.place, d.next = outside, nil
	s.line--
}

// count keeps the numbers of deliveries that came from lanes.
func (p *Pool) count(s *state, d *Delivery, n int) {
	if d.FromLane {
		s.lane += n
		p.fromLanes += n
	}
}

// begin starts d's attempt, unless the breaker forbids it.
func (p *Pool) begin(s *state, d *Delivery) bool {
	done, err := s.breaker.Allow()
	if err != nil {
		return false
	}
	d.place = running
	s.running++
	s.lastBegan = time.Now()
	p.running++
	p.count(s, d, 1)
	p.wg.Go(func() { p.attempt(s, d, done) })
	return true
}

func (p *Pool) attempt(s *state, d *Delivery, done func(error)) {
	failpoint.Hit("attempt.begin")
	o := d.run(p.ctx, p.client)
	failpoint.Hit("attempt.end")
	done(verdict(o))
	p.end(s, d, o)
	d.Done(o)
}

// verdict is the outcome as the breaker counts it.
func verdict(o attempt.Outcome) error {
	switch o.Class {
	case attempt.ClassNone, attempt.ClassInterrupted, attempt.ClassBodyLost, ClassUnreadable, ClassNotBegun:
		return nil // nothing is known against the endpoint
	}
	return errFailed
}

// end makes room and lets the next in line begin.
func (p *Pool) end(s *state, d *Delivery, o attempt.Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.place = outside
	s.running--
	p.running--
	p.count(s, d, -1)
	s.lastEnded = time.Now()
	if s.took == 0 {
		s.took = o.Duration
	} else {
		s.took += (o.Duration - s.took) / 8
	}
	switch {
	case o.Success:
		s.cap = min(maxPerEndpoint, 2*s.cap)
	case o.Class == attempt.ClassTimeout:
		s.cap = max(1, s.cap/2)
	}
	for s.head != nil && s.running < s.cap && p.running < p.max && !p.closed {
		next := s.head
		s.head = next.next
		if s.head == nil {
			s.tail = nil
		}
		p.leaveLine(s, next)
		p.count(s, next, -1)
		if !p.begin(s, next) {
			p.giveBack(next)
		}
	}
	if s.wanted && s.room() > 0 {
		s.wanted = false
		select {
		case p.freed <- struct{}{}:
		default:
		}
	}
}

// giveBack ends a delivery that stands in line and may not begin: the breaker
// opened, or the pool closes. Its Done may not run under the lock.
func (p *Pool) giveBack(d *Delivery) {
	p.wg.Go(func() {
		d.Done(attempt.Outcome{Start: time.Now(), Class: ClassNotBegun})
	})
}

// soon reports whether a delivery at the end of the line can expect to begin
// soon.
func (s *state) soon(now time.Time) bool {
	return s.line < s.allowance(now)
}

// allowance is how long the line may be for its end to begin soon.
func (s *state) allowance(now time.Time) int {
	switch {
	case now.Sub(s.lastEnded) > soon && now.Sub(s.lastBegan) > soon && s.running >= s.cap:
		return 0 // full, and nothing has moved for a while
	case s.took == 0:
		return newLine
	}
	return min(maxLine, int(soon*time.Duration(s.cap)/s.took))
}

// Stalled takes out of line, and returns, the deliveries whose endpoint has not
// finished an attempt for a while.
func (p *Pool) Stalled() (out []*Delivery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for id, s := range p.endpoints {
		if s.line == 0 {
			if s.running == 0 && now.Sub(s.lastEnded) > forgetAfter {
				delete(p.endpoints, id)
			}
			continue
		}
		if now.Sub(s.lastEnded) <= soon || now.Sub(s.lastBegan) <= soon {
			continue
		}
		for d := s.head; d != nil; {
			next := d.next
			p.leaveLine(s, d)
			p.count(s, d, -1)
			out = append(out, d)
			d = next
		}
		s.head, s.tail = nil, nil
	}
	return out
}

// Room is how many deliveries from lanes the pool would take now.
func (p *Pool) Room() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0
	}
	return max(0, min(p.lanes-p.fromLanes, p.max-p.running))
}

// RoomAt is how many of them for one endpoint.
func (p *Pool) RoomAt(webhook uuid.UUID) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.endpoints[webhook]
	if s == nil {
		return firstPerEndpoint
	}
	return s.room()
}

func (s *state) room() int {
	switch s.breaker.State() {
	case gobreaker.StateOpen:
		return 0
	case gobreaker.StateHalfOpen:
		return max(0, 1-s.running-s.line) // the probe
	case gobreaker.StateClosed:
	}
	allowed := min(maxLaneLine, s.allowance(time.Now())/2)
	return max(0, s.cap+allowed-s.running-s.line, min(laneFloor, allowed)-s.lane)
}

// Full lists the endpoints that could take nothing from their lanes.
func (p *Pool) Full() []uuid.UUID {
	p.mu.Lock()
	defer p.mu.Unlock()
	full := []uuid.UUID{}
	for id, s := range p.endpoints {
		if (s.running > 0 || s.breaker.State() != gobreaker.StateClosed) && s.room() == 0 {
			full = append(full, id)
		}
	}
	return full
}

// Want asks for a word, by Freed, when webhook could take more from its lane.
func (p *Pool) Want(webhook uuid.UUID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state(webhook).wanted = true
}

// Freed receives when an endpoint that was wanted has room.
func (p *Pool) Freed() <-chan struct{} { return p.freed }

// Running is the number of attempts being made.
func (p *Pool) Running() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

// Try makes one attempt at once, outside every bound: a test call's. Its caller
// bounds how many there are.
func (p *Pool) Try(ctx context.Context, d *Delivery) attempt.Outcome { return d.run(ctx, p.client) }

// Close admits nothing any more, gives back what stands in line, lets attempts
// go on until ctx ends, then interrupts them. It returns when the last Done has.
func (p *Pool) Close(ctx context.Context) {
	p.mu.Lock()
	p.closed = true
	for _, s := range p.endpoints {
		for d := s.head; d != nil; {
			next := d.next
			p.leaveLine(s, d)
			p.count(s, d, -1)
			p.giveBack(d)
			d = next
		}
		s.head, s.tail = nil, nil
	}
	p.mu.Unlock()
	stop := context.AfterFunc(ctx, p.cancel)
	p.wg.Wait()
	stop()
	p.cancel()
	p.client.CloseIdle()
}

func (p *Pool) state(webhook uuid.UUID) *state {
	s := p.endpoints[webhook]
	if s == nil {
		s = &state{cap: firstPerEndpoint, breaker: newBreaker()}
		p.endpoints[webhook] = s
	}
	return s
}
