// Package outbox publishes the events that were committed together with what
// they tell of.
//
// Whoever commits something and must raise an event inserts it into the table
// outbox in that transaction. One relay of the fleet, the holder of an advisory
// lock, publishes the rows in the order of their ids and deletes each after its
// PubAck. So an event is never lost. It may be published twice, by a relay that
// dies between PubAck and delete; JetStream knows its message id for two
// minutes, and after that the ledger knows the event.
//
// Ids are given before they commit. The relay keeps no place in the table: it
// reads from the start again and again, so a row that commits behind others is
// found like any other.
//
// A conversation's events keep their order: a row is published only after the
// PubAck of the one before it, and a failure holds back the later rows of its
// conversation, and no others.
package outbox

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

const (
	batchRows    = 200
	pollEvery    = 150 * time.Millisecond
	lockEvery    = time.Second      // how often the others ask for the lock
	failurePause = time.Second      // after a pass that held something back
	batchFor     = 10 * time.Second // one batch, both servers healthy or not
	stopFor      = time.Second      // what a batch may go on for after the end
	maxHeld      = 10_000           // conversations held back in one pass
)

// Relay is one worker's; of a fleet's relays one works at a time.
type Relay struct {
	store     *store.Store
	publisher *bus.Publisher
	log       *slog.Logger
}

// New returns a relay over the worker's role.
func New(s *store.Store, publisher *bus.Publisher, log *slog.Logger) *Relay {
	return &Relay{store: s, publisher: publisher, log: log}
}

// Run relays, or waits to be the one that does, until ctx ends; then it finishes
// its batch, within a second.
func (r *Relay) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := r.lead(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("outbox: relay", "error", err)
		}
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
	q := db.New(conn)
	for ctx.Err() == nil {
		clean, err := r.pass(ctx, work, q)
		if err != nil {
			return err
		}
		pause := pollEvery
		if !clean {
			pause = failurePause
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

// conversation is a tenant's: only within one do events have an order.
type conversation struct {
	tenant uuid.UUID
	id     string
}

// pass publishes the table from its start to its end. It is clean if nothing
// was held back. Between batches it heeds ctx; work bounds a batch.
func (r *Relay) pass(ctx, work context.Context, q *db.Queries) (clean bool, err error) {
	held := map[conversation]bool{}
	failures := 0
	var cause error
	after := int64(0)
	for more := true; more && len(held) < maxHeld && ctx.Err() == nil; {
		var t tally
		after, more, t, err = r.batch(work, q, after, held)
		if err != nil {
			return false, err
		}
		failures += t.failed
		if cause == nil {
			cause = t.cause
		}
		if t.failed > 0 && t.sent == 0 {
			break // it is not the events: NATS is away, or full
		}
		if failures == 0 {
			after = 0 // all is deleted up to here; somebody may have committed behind it
		}
	}
	if failures > 0 {
		r.log.Warn("outbox: not published, will be tried again", "events", failures, "error", cause)
	}
	return failures == 0, nil
}

// tally is what became of a batch.
type tally struct {
	sent, failed int
	cause        error // of the first failure
}

// batch publishes the rows after an id and deletes those that JetStream has. It
// returns the id that it came to, and whether there may be more.
func (r *Relay) batch(ctx context.Context, q *db.Queries, after int64, held map[conversation]bool) (last int64, more bool, t tally, err error) {
	ctx, cancel := context.WithTimeout(ctx, batchFor)
	defer cancel()
	rows, err := q.OutboxBatch(ctx, after, batchRows)
	if err != nil {
		return after, false, t, fmt.Errorf("read the outbox: %w", err)
	}
	if len(rows) == 0 {
		return after, false, t, nil
	}
	sent, failed, cause := r.publish(ctx, rows, held)
	t = tally{sent: len(sent), failed: failed, cause: cause}
	if len(sent) > 0 {
		if err := q.DeleteOutbox(ctx, sent); err != nil {
			return after, false, t, fmt.Errorf("delete what was published: %w", err)
		}
	}
	return rows[len(rows)-1].ID, len(rows) == batchRows, t, nil
}

// publish publishes rows in their order, except those of conversations held
// back, and returns the ids of those that JetStream has. Rows are sent without
// waiting for one another up to the second one of a conversation: that one waits
// for the PubAcks of all before it.
func (r *Relay) publish(ctx context.Context, rows []db.OutboxBatchRow, held map[conversation]bool) (sent []int64, failed int, cause error) {
	var run []*db.OutboxBatchRow
	inRun := map[conversation]bool{}
	flush := func() {
		events := make([]bus.Event, len(run))
		for i, row := range run {
			events[i] = bus.Event{
				Tenant: row.TenantID, Class: bus.Live, Type: row.EventType, ID: row.EventID, Day: row.Day,
				Contact: event.ContactKey(event.ContactOf(row.Body)), Body: row.Body, Deduplicate: true,
			}
		}
		for i, err := range r.publisher.Publish(ctx, events...) {
			if err == nil {
				sent = append(sent, run[i].ID)
				continue
			}
			failed++
			if cause == nil {
				cause = err
			}
			if c, ok := conversationOf(run[i]); ok {
				held[c] = true
			}
		}
		run = run[:0]
		clear(inRun)
	}
	for i := range rows {
		c, ok := conversationOf(&rows[i])
		if ok && inRun[c] {
			flush()
		}
		if ok && held[c] {
			continue
		}
		run = append(run, &rows[i])
		if ok {
			inRun[c] = true
		}
	}
	flush()
	return sent, failed, cause
}

func conversationOf(row *db.OutboxBatchRow) (c conversation, ok bool) {
	if row.Conversation == nil {
		return c, false
	}
	return conversation{row.TenantID, *row.Conversation}, true
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
