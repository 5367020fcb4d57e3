package dispatch

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/webhook"
	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/endpoint"
)

// endpoints stands for the network: each endpoint answers after a time, with an
// outcome. In a bubble waiting costs nothing.
type endpoints struct {
	mu      sync.Mutex
	takes   time.Duration
	outcome attempt.Outcome
	begun   int
	running int
	peak    int
}

func (e *endpoints) Do(ctx context.Context, _ *attempt.Request) attempt.Outcome {
	e.mu.Lock()
	e.begun++
	e.running++
	e.peak = max(e.peak, e.running)
	o, takes := e.outcome, e.takes
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.running--
		e.mu.Unlock()
	}()
	o.Start, o.Duration = time.Now(), takes
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		o = attempt.Outcome{Start: o.Start, Class: attempt.ClassInterrupted}
	}
	return o
}

func (e *endpoints) CloseIdle() {}

func (e *endpoints) answer(takes time.Duration, o attempt.Outcome) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.takes, e.outcome = takes, o
}

// seen settles the bubble and tells how many attempts began, and how many ran
// at once.
func (e *endpoints) seen() (begun, peak int) {
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.begun, e.peak
}

var (
	success = attempt.Outcome{Success: true, Status: 200}
	failure = attempt.Outcome{Status: 500, Class: attempt.ClassStatus}
	timeout = attempt.Outcome{Class: attempt.ClassTimeout}
)

// target is one endpoint, with what became of its deliveries.
type target struct {
	*endpoint.Endpoint
	mu    sync.Mutex
	ended []attempt.Class
}

func newTarget(t *testing.T) *target {
	t.Helper()
	signer, err := webhook.NewSigner(webhook.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	return &target{Endpoint: endpoint.New(uuid.New(), uuid.New(), "http://127.0.0.1", signer)}
}

func (tg *target) delivery(fromLane bool) *Delivery {
	return &Delivery{
		ID: uuid.New(), Endpoint: tg.Endpoint, Event: &bus.Event{}, Attempt: 1, FromLane: fromLane,
		Done: func(o attempt.Outcome) {
			tg.mu.Lock()
			defer tg.mu.Unlock()
			tg.ended = append(tg.ended, o.Class)
		},
	}
}

func (tg *target) offer(p *Pool, n int, fromLane bool) (admitted [3]int) {
	for range n {
		admitted[p.Offer(tg.delivery(fromLane))]++
	}
	return admitted
}

func (tg *target) count() int {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	return len(tg.ended)
}

// newPool is one of 100 attempts, as many of them young as may be.
func newPool(net *endpoints) *Pool {
	p := New(net, 100)
	p.young.max = 100
	return p
}

func TestPool_Offer(t *testing.T) {
	t.Parallel()
	bubble := func(name string, test func(t *testing.T, net *endpoints, p *Pool)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				net := &endpoints{takes: 10 * time.Millisecond, outcome: success}
				p := newPool(net)
				test(t, net, p)
				p.Close(t.Context())
			})
		})
	}

	bubble("a line moves as attempts end, and all of it is attempted", func(t *testing.T, net *endpoints, p *Pool) {
		tg := newTarget(t)
		if got, want := tg.offer(p, 40, false), [3]int{Running: firstPerEndpoint, InLine: 40 - firstPerEndpoint}; got != want {
			t.Errorf("admitted %v, want %v", got, want)
		}
		time.Sleep(time.Second)
		if tg.count() != 40 {
			t.Errorf("%d of 40 ended", tg.count())
		}
	})
	bubble("an endpoint that succeeds gets more attempts at once, up to the cap", func(t *testing.T, net *endpoints, p *Pool) {
		tg := newTarget(t)
		tg.offer(p, 20, false)
		time.Sleep(time.Second)
		tg.offer(p, 99, false)
		if _, peak := net.seen(); peak != maxPerEndpoint {
			t.Errorf("peak of %d at once, want %d", peak, maxPerEndpoint)
		}
		time.Sleep(time.Second)
	})
	bubble("an endpoint that does not answer is refused after a moment", func(t *testing.T, net *endpoints, p *Pool) {
		net.answer(30*time.Second, timeout)
		tg := newTarget(t)
		tg.offer(p, 10, false)
		time.Sleep(soon + time.Millisecond)
		if got := p.Offer(tg.delivery(false)); got != Refused {
			t.Errorf("admission %v, want Refused", got)
		}
		if got := len(p.Stalled()); got != 10-firstPerEndpoint {
			t.Errorf("%d taken out of line, want %d", got, 10-firstPerEndpoint)
		}
	})
	bubble("a slow endpoint's line is no longer than its pace serves soon", func(t *testing.T, net *endpoints, p *Pool) {
		tg := newTarget(t)
		tg.offer(p, 20, false)
		time.Sleep(time.Second)
		net.answer(400*time.Millisecond, success)
		tg.offer(p, 32, false)
		time.Sleep(time.Second) // the pace is learnt
		admitted := tg.offer(p, 98, false)
		if admitted[Running] != maxPerEndpoint || admitted[InLine] == 0 || admitted[Refused] == 0 {
			t.Errorf("admitted %v, want some of each", admitted)
		}
		time.Sleep(time.Second)
	})
	bubble("timeouts halve the cap, down to one", func(t *testing.T, net *endpoints, p *Pool) {
		net.answer(time.Second, timeout)
		tg := newTarget(t)
		tg.offer(p, firstPerEndpoint, false)
		time.Sleep(2 * time.Second)
		if got := tg.offer(p, 2, false); got[Running] != 1 {
			t.Errorf("admitted %v, want one attempt at once", got)
		}
	})
	bubble("another endpoint's attempts begin at once beside a sick one", func(t *testing.T, net *endpoints, p *Pool) {
		net.answer(30*time.Second, timeout)
		newTarget(t).offer(p, 50, false)
		if got := newTarget(t).offer(p, 1, false); got[Running] != 1 {
			t.Errorf("admitted %v, want Running", got)
		}
	})
	bubble("lanes leave a share of the attempts to fresh events", func(t *testing.T, net *endpoints, p *Pool) {
		net.answer(time.Minute, timeout)
		for p.Room() > 0 {
			if newTarget(t).offer(p, 1, true)[Running] != 1 {
				t.Fatal("refused although there was room")
			}
		}
		if p.Running() != 75 {
			t.Errorf("lanes took %d of 100", p.Running())
		}
		if got := newTarget(t).offer(p, 25, false); got[Running] != firstPerEndpoint {
			t.Errorf("fresh deliveries admitted %v", got)
		}
	})
}

func TestPool_Young(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		net := &endpoints{takes: time.Minute, outcome: success}
		p := New(net, 100)
		p.young.max = 10
		admitted := [3]int{}
		for range 20 {
			admitted[p.Offer(newTarget(t).delivery(false))]++
		}
		if want := [3]int{Running: 10, InLine: 10}; admitted != want {
			t.Errorf("admitted %v, want %v", admitted, want)
		}
		time.Sleep(youngFor)
		if begun, _ := net.seen(); begun != 20 {
			t.Errorf("%d begun once the first were young no longer, want 20", begun)
		}
		net.answer(time.Millisecond, success)
		time.Sleep(2 * youngFor)
		for range 30 {
			p.Offer(newTarget(t).delivery(false))
		}
		time.Sleep(2*time.Millisecond + time.Microsecond)
		if begun, _ := net.seen(); begun != 50 {
			t.Errorf("%d begun; the end of a young one lets another begin at once, want 50", begun)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p.Close(ctx)
	})
}

func TestPool_Breaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		net := &endpoints{takes: time.Millisecond, outcome: failure}
		p := newPool(net)
		tg := newTarget(t)
		for range breakerAttempts {
			tg.offer(p, 1, false)
			time.Sleep(10 * time.Millisecond)
		}
		before, _ := net.seen()
		if got := tg.offer(p, 1, false); got[Refused] != 1 {
			t.Errorf("behind an open breaker admitted %v", got)
		}
		if got := p.Full(); len(got) != 1 || got[0] != tg.ID {
			t.Errorf("Full() = %v, want the endpoint", got)
		}
		if begun, _ := net.seen(); p.RoomAt(tg.ID) != 0 || begun != before {
			t.Error("rows behind an open breaker used up an attempt")
		}
		time.Sleep(breakerOpenFor + time.Second)
		if room := p.RoomAt(tg.ID); room != 1 {
			t.Errorf("room for %d probes, want 1", room)
		}
		net.answer(time.Millisecond, success)
		tg.offer(p, 1, true)
		time.Sleep(time.Second)
		if got := tg.offer(p, 1, false); got[Running] != 1 {
			t.Errorf("after the probe succeeded admitted %v", got)
		}
		p.Close(t.Context())
	})
}

func TestPool_Withdraw(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		net := &endpoints{takes: time.Second, outcome: success}
		p := newPool(net)
		tg := newTarget(t)
		tg.offer(p, firstPerEndpoint-1, false)
		running, first, middle, last := tg.delivery(false), tg.delivery(false), tg.delivery(false), tg.delivery(false)
		for _, d := range []*Delivery{running, first, middle, last} {
			p.Offer(d)
		}
		if p.Withdraw(running) {
			t.Error("withdrew a delivery whose attempt had begun")
		}
		for _, d := range []*Delivery{middle, last, first} {
			if !p.Withdraw(d) || p.Withdraw(d) {
				t.Error("a delivery in line is withdrawn once")
			}
		}
		p.Offer(tg.delivery(false)) // the line is still sound
		time.Sleep(5 * time.Second)
		if begun, _ := net.seen(); begun != firstPerEndpoint+1 || tg.count() != firstPerEndpoint+1 {
			t.Errorf("%d begun and %d ended, want %d", begun, tg.count(), firstPerEndpoint+1)
		}
		p.Close(t.Context())
	})
}

func TestPool_Close(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		net := &endpoints{takes: 20 * time.Second, outcome: success}
		p := newPool(net)
		tg := newTarget(t)
		tg.offer(p, firstPerEndpoint+3, false)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		p.Close(ctx)
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("closed after %s, want the grace of 5s", took)
		}
		count := map[attempt.Class]int{}
		for _, class := range tg.ended {
			count[class]++
		}
		if count[attempt.ClassInterrupted] != firstPerEndpoint || count[ClassNotBegun] != 3 {
			t.Errorf("ended as %v, want every delivery once", count)
		}
		if got := p.Offer(tg.delivery(false)); got != Refused {
			t.Errorf("admission after Close: %v", got)
		}
	})
}
