package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	countEvery  = 20 * time.Millisecond // how often the sink is asked for its counts
	fillFor     = 20 * time.Second      // how long feeding may take to reach its bound
	stalledFor  = 30 * time.Second      // without a delivery, nothing more is waited for
	postTimeout = 30 * time.Second
)

var errNoNumbers = fmt.Errorf("the run is too long: it has used up %d events", maxEvents)

// driverSettings are those of the role drive.
type driverSettings struct {
	URL     string `json:"url"` // of the API
	Key     string `json:"key"`
	Plan    plan   `json:"plan"`
	Sink    string `json:"sink"` // its control port
	Feeders int    `json:"feeders"`
	Batch   int    `json:"batch"`
	Bound   int64  `json:"bound"` // events published and not yet delivered
}

// filled is the answer to feed.
type filled struct {
	Full bool `json:"full"` // the bound was reached: the API takes more than is delivered
	// How the API took events until then.
	Events int64         `json:"events"`
	Took   time.Duration `json:"took"`
}

// pace asks for single events, evenly spread over time.
type pace struct {
	PerSecond   float64       `json:"perSecond"`
	Duration    time.Duration `json:"duration"`
	Connections int           `json:"connections"`
}

// driver publishes events, and knows of the sink what became of them.
type driver struct {
	settings driverSettings
	client   *http.Client
	balance  *balance

	feeding sync.WaitGroup
	mu      sync.Mutex
	cancel  context.CancelFunc // ends feeding at once; nil before the first
	err     error              // of feeding
}

// startDriver is the role drive.
func startDriver(s driverSettings, mux *http.ServeMux) (nothing, func() error, error) {
	if err := s.Plan.prepare(); err != nil {
		return nothing{}, nil, err
	}
	d := &driver{
		settings: s,
		client:   &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: postTimeout},
		balance:  newBalance(s.Bound),
	}
	handle(mux, "/feed", func(ctx context.Context, _ nothing) (filled, error) { return d.feed(ctx) })
	handle(mux, "/drain", func(ctx context.Context, _ nothing) (nothing, error) { return nothing{}, d.drain(ctx) })
	handle(mux, "/pace", d.pace)
	return nothing{}, func() error { d.stopFeeding(); return nil }, nil
}

// watch brings the balance up to date, again and again, until done says so.
func (d *driver) watch(ctx context.Context, done func() (bool, error)) error {
	ticker := time.NewTicker(countEvery)
	defer ticker.Stop()
	for {
		seen, err := call[counts](ctx, d.settings.Sink, "/counts", nothing{})
		if err != nil {
			return err
		}
		d.balance.deliver(seen.Delivered)
		if end, err := done(); end || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// feed starts to publish in batches and returns once the bound is reached. It
// goes on, keeping to the bound, until drain.
func (d *driver) feed(ctx context.Context) (filled, error) {
	feeding, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.mu.Lock()
	d.cancel = cancel
	d.mu.Unlock()
	d.balance.open()
	began, first := time.Now(), d.balance.published()
	for range d.settings.Feeders {
		d.feeding.Go(func() { d.fail(d.publish(feeding)) })
	}
	d.feeding.Go(func() {
		d.fail(d.watch(feeding, func() (bool, error) { return d.balance.isClosed(), nil }))
	})
	limit := time.NewTimer(fillFor)
	defer limit.Stop()
	full := false
	select {
	case <-d.balance.full:
		full = true
	case <-limit.C:
	case <-feeding.Done():
	case <-ctx.Done():
	}
	return filled{full, d.balance.published() - first, time.Since(began)}, d.failure()
}

// publish publishes batches until the balance is closed.
func (d *driver) publish(ctx context.Context) error {
	batch := int64(d.settings.Batch)
	var body []byte
	for {
		n, ok := d.balance.take(batch)
		switch {
		case !ok && d.balance.isClosed():
			return nil
		case !ok:
			return errNoNumbers
		}
		body = append(body[:0], '[')
		for i := range batch {
			if i > 0 {
				body = append(body, ',')
			}
			body = d.settings.Plan.append(body, n+i)
		}
		if err := d.post(ctx, append(body, ']')); err != nil {
			return err
		}
	}
}

// fail keeps the first error of feeding, which ends it.
func (d *driver) fail(err error) {
	if err == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
	}
	d.balance.close()
	d.cancel()
}

func (d *driver) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

func (d *driver) stopFeeding() {
	d.balance.close()
	d.feeding.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cancel != nil {
		d.cancel()
	}
}

// drain ends feeding and waits until everything has been delivered.
func (d *driver) drain(ctx context.Context) error {
	d.stopFeeding()
	return errors.Join(d.failure(), d.settle(ctx))
}

// settle waits until everything has been delivered, as long as something moves.
func (d *driver) settle(ctx context.Context) error {
	last, moved := int64(-1), time.Now()
	return d.watch(ctx, func() (bool, error) {
		left := d.balance.outstanding()
		if left != last {
			last, moved = left, time.Now()
		}
		if time.Since(moved) > stalledFor {
			return false, fmt.Errorf("%d events are published and not delivered, and nothing has moved for %s", left, stalledFor)
		}
		return left == 0, nil
	})
}

// post publishes one event or an array of them, all of which must be accepted.
func (d *driver) post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.settings.URL+"/api/events", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+d.settings.Key)
	req.Header.Set("Content-Type", "application/json")
	_, err = do(d.client, req, http.StatusAccepted)
	return err
}

// pace publishes single events, each at its own moment, and says how long each
// was on its way once all have arrived.
func (d *driver) pace(ctx context.Context, p pace) (latencies, error) {
	count := int64(p.PerSecond * p.Duration.Seconds())
	first, ok := d.balance.number(count)
	if !ok {
		return latencies{}, errNoNumbers
	}
	sent, accepted := make([]int64, count), make([]int64, count)
	var next atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, p.Connections)
	began := time.Now()
	for range p.Connections {
		wg.Go(func() {
			var body []byte
			for i := next.Add(1) - 1; i < count; i = next.Add(1) - 1 {
				time.Sleep(time.Until(began.Add(time.Duration(float64(i) / p.PerSecond * float64(time.Second)))))
				body = d.settings.Plan.append(body[:0], first+i)
				sent[i] = time.Now().UnixNano()
				if err := d.post(ctx, body); err != nil {
					failed <- err
					return
				}
				accepted[i] = time.Now().UnixNano()
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	close(failed)
	for err := range failed {
		return latencies{}, err
	}
	if err := d.settle(ctx); err != nil {
		return latencies{}, err
	}
	arrived, err := call[[]int64](ctx, d.settings.Sink, "/arrivals", span{first, count})
	if err != nil {
		return latencies{}, err
	}
	return latencies{
		PerSecond:  float64(count) / took.Seconds(),
		FromAccept: between(accepted, arrived),
		FromSend:   between(sent, arrived),
		Accept:     between(sent, accepted),
	}, nil
}

// balance is the account of events: published and not yet delivered. Events are
// numbered from 1.
type balance struct {
	bound int64
	full  chan struct{} // receives, without blocking, when the bound is met

	mu        sync.Mutex
	room      *sync.Cond
	next      int64 // number of the next event
	delivered int64
	closed    bool
}

func newBalance(bound int64) *balance {
	b := &balance{bound: bound, full: make(chan struct{}, 1), next: 1, closed: true}
	b.room = sync.NewCond(&b.mu)
	return b
}

// open lets take give numbers, until close.
func (b *balance) open() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = false
	select {
	case <-b.full: // of an earlier feeding
	default:
	}
}

// close ends taking, also for who waits.
func (b *balance) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.room.Broadcast()
}

// take waits for room for count events and returns the number of the first;
// false after close, and at the end of all numbers.
func (b *balance) take(count int64) (first int64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.closed && b.next-1-b.delivered+count > b.bound {
		select {
		case b.full <- struct{}{}:
		default:
		}
		b.room.Wait()
	}
	if b.closed {
		return 0, false
	}
	return b.assign(count)
}

// number is take whatever the bound.
func (b *balance) number(count int64) (first int64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.assign(count)
}

func (b *balance) assign(count int64) (first int64, ok bool) {
	if b.next+count > maxEvents {
		return 0, false
	}
	first = b.next
	b.next += count
	return first, true
}

// deliver says how many events have arrived in all.
func (b *balance) deliver(total int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.delivered = total
	b.room.Broadcast()
}

func (b *balance) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

func (b *balance) published() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next - 1
}

func (b *balance) outstanding() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next - 1 - b.delivered
}
