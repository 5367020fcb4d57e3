package dispatch

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/sony/gobreaker/v2"

	"github.com/primezap/primezap/pkg/failpoint"
	"github.com/primezap/primezap/services/worker/attempt"
)

const (
	maxPerEndpoint   = 32 // attempts at one endpoint at once
	firstPerEndpoint = 8  // until its first success
	laneFloor        = 4  // rows a lane may hold here while fresh deliveries keep the endpoint busy

	// youngPerCore bounds attempts that began less than youngFor ago, for each
	// core: more of them at once only wait for one another, and cost a quarter
	// more CPU each. An attempt that takes longer waits for its endpoint, and no
	// longer counts.
	youngPerCore = 16
	youngFor     = 3 * time.Millisecond

	maxIdle = 128 // runners that wait for a job; further ones end

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
	wg     sync.WaitGroup // of runners
	jobs   chan job       // from begin to an idle runner; closed by Close
	idle   atomic.Int32   // runners that wait for a job

	mu        sync.Mutex
	endpoints map[uuid.UUID]*state
	running   int
	fromLanes int // running or in line, that came from lanes
	young     youth
	ready     []*state // endpoints with a line and room, in turn
	pumping   *time.Timer
	armed     bool // pumping is going to fire
	closed    bool
	freed     chan struct{} // sent to without blocking: a wanted endpoint has room
}

// state is what the pool knows of an endpoint. The pool's lock guards it.
type state struct {
	cap       int
	running   int
	lane      int // running or in line, that came from its lane
	line      line
	ready     bool // in the pool's ready
	lastBegan time.Time
	lastEnded time.Time
	took      time.Duration // an attempt, as a moving average
	wanted    bool          // its lane has more than there was room for
	breaker   *gobreaker.TwoStepCircuitBreaker[any]
}

// New returns a pool that makes at most attempts at once with client.
func New(c client, attempts int) *Pool {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Pool{
		client: c, max: attempts, lanes: max(1, attempts*3/4), ctx: ctx, cancel: cancel,
		endpoints: map[uuid.UUID]*state{}, freed: make(chan struct{}, 1),
		young: youth{max: youngPerCore * runtime.GOMAXPROCS(0)}, jobs: make(chan job),
	}
	p.pumping = time.AfterFunc(time.Hour, p.pumpLater)
	p.pumping.Stop()
	return p
}

// Offer begins d's attempt, puts d into its endpoint's line, or refuses it.
func (p *Pool) Offer(d *Delivery) Admission {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	s := p.state(d.Endpoint.ID)
	switch {
	case p.closed, p.running >= p.max, s.breaker.State() == gobreaker.StateOpen:
		return Refused
	case s.line.len == 0 && s.running < s.cap && p.young.room(now):
		if !p.begin(s, d, now) {
			return Refused
		}
		return Running
	case !d.FromLane && s.line.len >= s.allowance(now):
		return Refused
	}
	s.line.push(d)
	p.count(s, d, 1)
	p.makeReady(s)
	p.pump(now)
	if d.place == running {
		return Running
	}
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
	s.line.remove(d)
	p.count(s, d, -1)
	return true
}

// count keeps the numbers of deliveries that came from lanes.
func (p *Pool) count(s *state, d *Delivery, n int) {
	if d.FromLane {
		s.lane += n
		p.fromLanes += n
	}
}

// begin starts d's attempt, unless the breaker forbids it.
func (p *Pool) begin(s *state, d *Delivery, now time.Time) bool {
	done, err := s.breaker.Allow()
	if err != nil {
		return false
	}
	d.place = running
	s.running++
	s.lastBegan = now
	p.running++
	p.young.add(d, now)
	p.count(s, d, 1)
	j := job{s, d, done}
	select {
	case p.jobs <- j: // an idle runner takes it: its stack has grown already
	default:
		p.wg.Go(func() { p.run(j) })
	}
	return true
}

// job is an attempt to make.
type job struct {
	s    *state
	d    *Delivery
	done func(error) // of the breaker
}

// run makes an attempt, and those that come while it is idle.
func (p *Pool) run(j job) {
	p.attempt(j)
	if p.idle.Add(1) <= maxIdle {
		for j := range p.jobs {
			p.idle.Add(-1)
			p.attempt(j)
			if p.idle.Add(1) > maxIdle {
				break
			}
		}
	}
	p.idle.Add(-1)
}

// makeReady gives s a turn if it has a line and room.
func (p *Pool) makeReady(s *state) {
	if !s.ready && s.line.len > 0 && s.running < s.cap {
		s.ready = true
		p.ready = append(p.ready, s)
	}
}

// pump lets those in line begin, an endpoint at a time, as far as there is room.
func (p *Pool) pump(now time.Time) {
	for len(p.ready) > 0 && p.running < p.max && p.young.room(now) && !p.closed {
		s := p.ready[0]
		p.ready = p.ready[1:]
		s.ready = false
		if s.line.len == 0 || s.running >= s.cap {
			continue
		}
		next := s.line.pop()
		p.count(s, next, -1)
		if !p.begin(s, next, now) {
			p.giveBack(next)
		}
		p.makeReady(s)
	}
	if len(p.ready) > 0 && !p.armed && !p.closed {
		p.armed = true
		p.pumping.Reset(youngFor) // those that are young now no longer are
	}
}

func (p *Pool) pumpLater() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = false
	p.pump(time.Now())
}

func (p *Pool) attempt(j job) {
	failpoint.Hit("attempt.begin")
	o := j.d.run(p.ctx, p.client)
	failpoint.Hit("attempt.end")
	j.done(verdict(o))
	p.end(j.s, j.d, o)
	j.d.Done(o)
}

// verdict is the outcome as the breaker counts it.
func verdict(o attempt.Outcome) error {
	switch o.Class {
	case attempt.ClassNone, attempt.ClassInterrupted, attempt.ClassBodyLost, ClassUnreadable, ClassNotBegun, ClassFiltered:
		return nil // nothing is known against the endpoint
	}
	return errFailed
}

// end makes room and lets the next in line begin.
func (p *Pool) end(s *state, d *Delivery, o attempt.Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	d.place = outside
	s.running--
	p.running--
	p.young.end(d)
	p.count(s, d, -1)
	s.lastEnded = now
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
	p.makeReady(s)
	p.pump(now)
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
		switch {
		case s.line.len == 0 && s.running == 0 && now.Sub(s.lastEnded) > forgetAfter:
			delete(p.endpoints, id)
		case s.line.len > 0 && now.Sub(s.lastEnded) > soon && now.Sub(s.lastBegan) > soon:
			out = p.empty(s, out)
		}
	}
	return out
}

// empty appends to out all that stands in s's line.
func (p *Pool) empty(s *state, out []*Delivery) []*Delivery {
	for s.line.len > 0 {
		d := s.line.pop()
		p.count(s, d, -1)
		out = append(out, d)
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

// IdleAt is how many attempts at an endpoint could begin at once; where it is
// negative, so many deliveries stand in line.
func (p *Pool) IdleAt(webhook uuid.UUID) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.endpoints[webhook]
	if s == nil {
		return firstPerEndpoint
	}
	return s.cap - s.running - s.line.len
}

func (s *state) room() int {
	switch s.breaker.State() {
	case gobreaker.StateOpen:
		return 0
	case gobreaker.StateHalfOpen:
		return max(0, 1-s.running-s.line.len) // the probe
	case gobreaker.StateClosed:
	}
	allowed := min(maxLaneLine, s.allowance(time.Now())/2)
	return max(0, s.cap+allowed-s.running-s.line.len, min(laneFloor, allowed)-s.lane)
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
	if !p.closed {
		p.closed = true
		close(p.jobs) // begin is behind closed now
	}
	for _, s := range p.endpoints {
		for _, d := range p.empty(s, nil) {
			p.giveBack(d)
		}
	}
	p.pumping.Stop()
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
