// Package outbox publishes the events that were committed together with what
// they tell of.
//
// Whoever commits something and must raise an event inserts it into the table
// outbox in that transaction. One relay of the fleet, the holder of an advisory
// lock, publishes the rows and deletes each after its PubAck. So an event is never
// lost. It may be published twice, by a relay that dies between PubAck and delete;
// JetStream knows its message id for two minutes, and after that the ledger knows
// the event.
//
// Ids are given before they commit, so a row may come to light behind others. The
// relay reads from the start again and again, the start being where nothing can
// come to light any more (see floor).
//
// A conversation's events keep the order of their ids: of a batch, the first rows
// of all conversations are published together, then the second ones, and so on, a
// conversation's next row only after the PubAck of the one before it. A failure
// holds back the later rows of its conversation, and no others.
package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

const (
	batchRows  = 1000
	batchBytes = 8 << 20 // and the one event more that crosses it
	minWaves   = 64      // of a conversation, rows of a pass, for each batch that the last pass read,
	maxWaves   = 512     // and in all
	maxHeld    = 10_000  // conversations held back at once

	// Postgres does not tell of new rows: NOTIFY in the transactions that insert
	// them takes their commits one after another, a quarter of them in the same time.
	busyEvery = 5 * time.Millisecond  // after something was published
	idleEvery = 40 * time.Millisecond // when nothing has been for some passes

	lockEvery    = time.Second      // how often the others ask for the lock
	failurePause = time.Second      // before what failed is tried again
	batchFor     = 10 * time.Second // one batch, both servers healthy or not
	stopFor      = time.Second      // what a batch may go on for after the end
)

// Relay is one worker's; of a fleet's relays one works at a time.
type Relay struct {
	store      *store.Store
	publisher  *bus.Publisher
	log        *slog.Logger
	startEvery time.Duration // see floor

	published prometheus.Counter
	failed    prometheus.Counter
	waited    prometheus.Gauge
}

// New returns a relay over the worker's role.
func New(s *store.Store, publisher *bus.Publisher, log *slog.Logger) *Relay {
	return &Relay{
		store: s, publisher: publisher, log: log, startEvery: startEvery,
		published: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "primezap_outbox_published_total", Help: "Events of the outbox that this worker has published.",
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "primezap_outbox_failures_total", Help: "Attempts to publish an event of the outbox that failed.",
		}),
		waited: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "primezap_outbox_wait_seconds", Help: "How long the oldest event that this worker found in the outbox last had been there; 0 when it found none.",
		}),
	}
}

// Metrics are what the relay counts.
func (r *Relay) Metrics() []prometheus.Collector {
	return []prometheus.Collector{r.published, r.failed, r.waited}
}

// Run relays, or waits to be the one that does, until ctx ends; then it finishes
// its batch, within a second.
func (r *Relay) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.lead(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("outbox: relay", "error", err)
		}
		r.waited.Set(0) // whoever leads now says it
		sleep(ctx, lockEvery)
	}
}

// lead relays for as long as it holds the lock. It returns nil at once if
// another relay holds it.
func (r *Relay) lead(ctx context.Context) error {
	conn, err := r.lock(ctx)
	if err != nil || conn == nil {
		return err
	}
	// The lock ends with the connection. All statements go over it: who has lost
	// it has lost the lock, and finds out with the next one.
	defer closeNow(ctx, conn)
	work, cancel := withGrace(ctx, stopFor)
	defer cancel()
	turn := &turn{Relay: r, q: db.New(conn), held: map[conversation]bool{}}
	pause := busyEvery
	for ctx.Err() == nil {
		sent, err := turn.pass(ctx, work)
		switch {
		case err != nil:
			return err
		case turn.away:
			pause = failurePause
		case sent > 0:
			pause = busyEvery
		default:
			pause = min(2*pause, idleEvery)
		}
		sleep(ctx, pause)
	}
	return nil
}

// lock returns the connection that holds the lock, out of the pool, or nil.
func (r *Relay) lock(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, batchFor)
	defer cancel()
	pooled, err := r.store.Pool().Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	mine, err := db.New(pooled).TryRelayLock(ctx)
	if err != nil || !mine {
		pooled.Release()
		if err != nil {
			return nil, fmt.Errorf("ask for the lock: %w", err)
		}
		return nil, nil
	}
	return pooled.Hijack(), nil
}

// withGrace returns a context that ends grace after ctx does.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		sleep(work, grace)
		cancel()
	})
	return work, func() {
		stop()
		cancel()
	}
}

// closeNow closes conn, within a second although ctx may have ended.
func closeNow(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // whatever it says, the connection is closed
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
