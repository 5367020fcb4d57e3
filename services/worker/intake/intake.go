// Package intake takes fresh events from the stream, has them matched and
// attempted, and acks each once the ledger has committed its entry.
//
// The stream owns an event until then: whatever happens to this process, an
// event without an entry is delivered again, and one with an entry is found in
// the ledger and not delivered again.
package intake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/failpoint"
	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/dispatch"
	"github.com/primezap/primezap/services/worker/ledger"
	"github.com/primezap/primezap/services/worker/match"
)

const (
	maxBatch      = 256 // events of one match
	liveShare     = 230 // of them live at most while bulk waits: a tenth is bulk's
	maxHeld       = 1024
	maxHeldBytes  = 64 << 20
	maxHeldFan    = 16384 // deliveries of held events
	maxFanOut     = 1000  // an event to more endpoints is parked in lanes at once
	maxDeliveries = 20    // of one message, then it is poison
	aliveShare    = 3     // in-progress acks come so often in an AckWait

	leaseAfter = time.Second            // an entry waits so long for its attempts
	hurryAfter = 100 * time.Millisecond // when the worker holds half of what it may
	sweepEvery = 25 * time.Millisecond
	floorEvery = 5 * time.Second
	retryPause = 250 * time.Millisecond
)

// Matcher finds an event's endpoints; called by one goroutine.
type Matcher interface {
	Match(context.Context, []bus.Event) ([]match.Match, error)
}

// Ledger takes entries and results.
type Ledger interface {
	SubmitEntry(*ledger.Entry)
	SubmitResult(*ledger.Result)
}

// Floors keeps how far each consumer has acked.
type Floors interface {
	Load(ctx context.Context) (map[string]bus.Floor, error)
	Save(ctx context.Context, consumer string, floor bus.Floor) error
}

// Config is an intake's parts.
type Config struct {
	JetStream jetstream.JetStream
	Publisher *bus.Publisher // for poison
	Matcher   Matcher
	Pool      *dispatch.Pool
	Ledger    Ledger
	Floors    Floors
	Lease     time.Duration // of a delivery that outlives its entry
	Topology  bus.Options   // of consumers that were lost
	Log       *slog.Logger
}

// Intake is one worker's.
type Intake struct {
	ctx       context.Context // of what must be said after Run has ended
	js        jetstream.JetStream
	publisher *bus.Publisher
	matcher   Matcher
	pool      *dispatch.Pool
	ledger    Ledger
	floors    Floors
	lease     time.Duration
	topology  bus.Options
	log       *slog.Logger

	live, bulk chan jetstream.Msg // sent by the pullers, received by the loop
	undecided  sync.WaitGroup     // of held events
	later      sync.WaitGroup     // of hand-overs that must not hold up the ledger
	epoch      atomic.Int64       // of the stream that is pulled from

	mu    sync.Mutex
	held  map[key]*held
	order []*held // by age; entries that were released are skipped
	bytes int
	fan   int
	bulks int
	room  chan struct{} // receives, without blocking, when something was released
}

// key identifies an event. Its day is the same in every copy.
type key struct {
	tenant uuid.UUID
	id     string
	day    time.Time
}

// New returns an intake; Run starts it. ctx must outlive Run and Drain.
func New(ctx context.Context, c Config) *Intake {
	return &Intake{
		ctx: ctx,
		js:  c.JetStream, publisher: c.Publisher, matcher: c.Matcher, pool: c.Pool, ledger: c.Ledger, floors: c.Floors,
		lease: c.Lease, topology: c.Topology, log: c.Log,
		// Room for a batch: it fills while the one before is matched.
		live: make(chan jetstream.Msg, maxBatch), bulk: make(chan jetstream.Msg, maxBatch),
		held: map[key]*held{}, room: make(chan struct{}, 1),
	}
}

// Run takes events until ctx ends. Then Drain must be called.
func (in *Intake) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { in.pull(ctx, bus.ConsumerLive, in.live) })
	wg.Go(func() { in.pull(ctx, bus.ConsumerBulk, in.bulk) })
	wg.Go(func() { in.keepFloors(ctx) })
	in.loop(ctx)
	wg.Wait()
	for _, from := range []chan jetstream.Msg{in.live, in.bulk} {
		for _, msg := range take(nil, from, maxBatch) {
			in.leave(msg)
		}
	}
}

// Watch leases what is slow and keeps alive what is held, until ctx ends. It
// outlives Run: what is held still has to be entered.
func (in *Intake) Watch(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { every(ctx, sweepEvery, in.sweep) })
	wg.Go(func() { every(ctx, in.ackWait()/aliveShare, in.keepAlive) })
	wg.Wait()
}

// Drain waits, after Run and after the pool was closed, until everything held
// has been handed to the ledger.
func (in *Intake) Drain() {
	in.mu.Lock()
	rest := in.holding()
	in.mu.Unlock()
	for _, h := range rest {
		h.mu.Lock()
		if !h.entered {
			in.enter(h)
		}
		h.mu.Unlock()
	}
}

// Wait waits, after Drain, until the ledger has decided everything and the last
// hand-over to it is done.
func (in *Intake) Wait() {
	in.undecided.Wait()
	in.later.Wait()
}

// Held is the number of events fetched and not yet acked.
func (in *Intake) Held() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.held)
}

func every(ctx context.Context, d time.Duration, do func()) {
	ticker := time.NewTicker(d)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			do()
		case <-ctx.Done():
			return
		}
	}
}

// loop collects batches, has them matched and started.
func (in *Intake) loop(ctx context.Context) {
	for {
		batch := in.collect(ctx)
		if len(batch) == 0 {
			return
		}
		failpoint.Hit("intake.fetched")
		in.begin(ctx, batch)
	}
}

// collect waits for room and a first message, then takes what else is there.
// Empty: ctx has ended.
func (in *Intake) collect(ctx context.Context) (batch []jetstream.Msg) {
	for len(batch) == 0 {
		live, bulk := in.live, in.bulk
		full, bulkFull := in.full()
		if full {
			live = nil
		}
		if full || bulkFull {
			bulk = nil
		}
		select {
		case msg := <-live:
			batch = append(batch, msg)
		case msg := <-bulk:
			batch = append(batch, msg)
		case <-in.room: // look again
			continue
		case <-ctx.Done():
			return nil
		}
		batch = take(batch, live, liveShare)
		batch = take(batch, bulk, maxBatch)
	}
	return batch
}

// take appends what can be had at once.
func take(batch []jetstream.Msg, from <-chan jetstream.Msg, upTo int) []jetstream.Msg {
	for len(batch) < upTo {
		select {
		case msg := <-from:
			batch = append(batch, msg)
		default:
			return batch
		}
	}
	return batch
}

// begin parses, matches and starts a batch. While Postgres is away it waits:
// the batch is held, and kept alive.
func (in *Intake) begin(ctx context.Context, batch []jetstream.Msg) {
	hold, events := make([]*held, 0, len(batch)), make([]bus.Event, 0, len(batch))
	for _, msg := range batch {
		if h := in.hold(msg); h != nil {
			hold = append(hold, h)
			events = append(events, h.event)
		}
	}
	if len(hold) == 0 {
		return
	}
	matches, err := in.matcher.Match(ctx, events)
	for err != nil {
		if ctx.Err() == nil {
			in.log.Warn("intake: match", "error", err)
			pause(ctx, retryPause)
		}
		if ctx.Err() != nil {
			for _, h := range hold {
				in.giveUp(h)
			}
			return
		}
		matches, err = in.matcher.Match(ctx, events)
	}
	failpoint.Hit("intake.matched")
	for i, h := range hold {
		if matches[i].Present {
			in.decided(h, ledger.Superseded)
			continue
		}
		in.widen(h, len(matches[i].Endpoints))
		in.start(h, matches[i])
	}
}

// hold registers a message's event. It returns nil for a further copy of an
// event that is held, and for one that cannot be delivered.
func (in *Intake) hold(msg jetstream.Msg) *held {
	meta, err := msg.Metadata()
	if err != nil {
		in.log.Error("intake: message without metadata", "error", err)
		return nil // not from a consumer: nothing can be acked
	}
	event, err := bus.Parse(msg.Subject(), msg.Headers(), msg.Data(), meta.Sequence.Stream, meta.Timestamp)
	switch {
	case err != nil:
		whose := "unknown"
		if tenant, ok := bus.TenantOf(msg.Subject()); ok {
			whose = tenant.String() // what is deleted of a tenant is found by it
		}
		in.poison(whose, "parse", err.Error(), []jetstream.Msg{msg})
		return nil
	case meta.NumDelivered >= maxDeliveries:
		in.poison(event.Tenant.String(), "redelivery", fmt.Sprintf("delivered %d times", meta.NumDelivered), []jetstream.Msg{msg})
		return nil
	}
	h := &held{event: event, epoch: in.epoch.Load(), since: time.Now(), bulk: event.Class == bus.Bulk, msgs: []jetstream.Msg{msg}}
	if other := in.register(h); other != nil {
		other.join(msg)
		return nil
	}
	return h
}

// register holds h, unless a copy of its event is held: then it returns that.
func (in *Intake) register(h *held) (other *held) {
	in.mu.Lock()
	defer in.mu.Unlock()
	k := key{h.event.Tenant, h.event.ID, h.event.Day}
	if other, ok := in.held[k]; ok {
		return other
	}
	in.undecided.Add(1)
	in.held[k] = h
	in.order = append(in.order, h)
	in.bytes += len(h.event.Body)
	if h.bulk {
		in.bulks++
	}
	return nil
}

// widen counts an event's deliveries against the bound.
func (in *Intake) widen(h *held, fan int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	h.fan = min(fan, maxFanOut)
	in.fan += h.fan
}

// release forgets an event.
func (in *Intake) release(h *held) {
	in.mu.Lock()
	k := key{h.event.Tenant, h.event.ID, h.event.Day}
	if in.held[k] == h {
		delete(in.held, k)
	}
	in.bytes -= len(h.event.Body)
	in.fan -= h.fan
	if h.bulk {
		in.bulks--
	}
	h.released = true
	in.mu.Unlock()
	in.undecided.Done()
	select {
	case in.room <- struct{}{}:
	default:
	}
}

// giveUp leaves an event to another worker, at once.
func (in *Intake) giveUp(h *held) {
	h.mu.Lock()
	h.entered, h.decided = true, true
	msgs := h.msgs
	h.mu.Unlock()
	for _, msg := range msgs {
		in.leave(msg)
	}
	in.release(h)
}

// full reports whether nothing, or no bulk event, can be taken.
func (in *Intake) full() (all, bulk bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	all = len(in.held) >= maxHeld || in.bytes >= maxHeldBytes || in.fan >= maxHeldFan
	return all, in.bulks >= maxHeld/2
}

// holding are the events that are held, oldest first. The caller holds in.mu.
func (in *Intake) holding() []*held {
	kept := in.order[:0]
	for _, h := range in.order {
		if !h.released {
			kept = append(kept, h)
		}
	}
	clear(in.order[len(kept):])
	in.order = kept
	return append([]*held(nil), kept...)
}

// sweep enters events that are old enough, with leases for what is in flight,
// and moves deliveries out of lines that do not move.
func (in *Intake) sweep() {
	now := time.Now()
	in.mu.Lock()
	rest := in.holding()
	age := leaseAfter
	if len(rest) >= maxHeld/2 || in.bytes >= maxHeldBytes/2 || in.fan >= maxHeldFan/2 {
		age = hurryAfter
	}
	in.mu.Unlock()
	for _, d := range in.pool.Stalled() {
		d.Done(attempt.Outcome{Start: now, Class: dispatch.ClassNotBegun})
	}
	for _, h := range rest {
		if now.Sub(h.since) < age {
			return
		}
		h.mu.Lock()
		if h.started && !h.entered {
			in.enter(h)
		}
		h.mu.Unlock()
	}
}

func (in *Intake) ackWait() time.Duration {
	return cmp.Or(in.topology.AckWait, bus.DefaultAckWait)
}

// keepAlive tells the server about events held for long: Postgres is away.
func (in *Intake) keepAlive() {
	in.mu.Lock()
	rest := in.holding()
	in.mu.Unlock()
	for _, h := range rest {
		if time.Since(h.since) < in.ackWait()/(2*aliveShare) {
			return // a sign of life comes in time with the next turn
		}
		h.mu.Lock()
		msgs := h.msgs
		h.mu.Unlock()
		for _, msg := range msgs {
			if err := msg.InProgress(); err != nil {
				in.log.Debug("intake: in progress", "error", err)
			}
		}
	}
}

// poison stores what cannot be delivered and ends it. If it cannot be stored,
// it is left to come again.
func (in *Intake) poison(tenant, source, reason string, msgs []jetstream.Msg) {
	ctx, cancel := context.WithTimeout(in.ctx, 5*time.Second)
	defer cancel()
	for _, msg := range msgs {
		in.log.Error("intake: poison", "tenant", tenant, "source", source, "reason", reason)
		var seq uint64
		if meta, err := msg.Metadata(); err == nil {
			seq = meta.Sequence.Stream
		}
		if err := in.publisher.Poison(ctx, tenant, source, reason, seq, msg.Headers(), msg.Data()); err != nil {
			in.log.Error("intake: poison", "error", err)
			continue
		}
		if err := msg.Term(); err != nil {
			in.log.Warn("intake: term", "error", err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// pull hands messages of one consumer over until ctx ends. A consumer that was
// lost is made again from its floor.
func (in *Intake) pull(ctx context.Context, name string, to chan<- jetstream.Msg) {
	for ctx.Err() == nil {
		if err := in.pullOnce(ctx, name, to); err != nil && ctx.Err() == nil {
			in.log.Warn("intake: pull", "consumer", name, "error", err)
			pause(ctx, retryPause)
		}
	}
}

func (in *Intake) pullOnce(ctx context.Context, name string, to chan<- jetstream.Msg) error {
	options := in.topology
	var err error
	if options.Floors, err = in.floors.Load(ctx); err != nil {
		return fmt.Errorf("read floors: %w", err)
	}
	consumer, err := bus.EnsureConsumer(ctx, in.js, name, options)
	if err != nil {
		return err
	}
	epoch, err := bus.Epoch(ctx, in.js)
	if err != nil {
		return err
	}
	in.epoch.Store(epoch)
	iter, err := consumer.Messages(jetstream.PullMaxMessages(maxBatch), jetstream.PullExpiry(5*time.Second),
		jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return err
	}
	defer iter.Stop()
	stop := context.AfterFunc(ctx, iter.Drain) // no new pulls; Next hands out what is buffered
	defer stop()
	for {
		msg, err := iter.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			in.leave(msg)
			continue
		}
		select {
		case to <- msg:
		case <-ctx.Done():
			in.leave(msg)
		}
	}
}

// leave gives a message that was not begun to another worker, at once.
func (in *Intake) leave(msg jetstream.Msg) {
	if err := msg.Nak(); err != nil {
		in.log.Debug("intake: nak", "error", err) // comes again after AckWait
	}
}
