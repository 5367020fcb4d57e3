package outbox

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/store/db"
)

// conversation is a tenant's: only within one do events have an order. An event of
// none is one by itself.
type conversation struct {
	tenant uuid.UUID
	id     string
	row    int64
}

func conversationOf(row *db.OutboxBatchRow) conversation {
	if row.Conversation == nil {
		return conversation{row: row.ID}
	}
	return conversation{tenant: row.TenantID, id: *row.Conversation}
}

// turn is what a relay knows while it leads.
type turn struct {
	*Relay
	q     *db.Queries
	floor floor
	held  map[conversation]bool // something of it failed
	until time.Time             // held back until then
	away  bool                  // the last pass could publish nothing at all
	reads int                   // batches that the last pass read
}

// tally is what became of a batch.
type tally struct {
	read   int
	sent   []int64
	last   int64 // the highest id that was read
	failed int
	cause  error // of the first failure
	more   bool  // there may be rows behind it
}

// pass publishes the table from its start to its end, except what is held back.
// Between batches it heeds ctx; work bounds a batch.
func (t *turn) pass(ctx, work context.Context) (sent int, err error) {
	if time.Now().After(t.until) {
		clear(t.held)
	}
	t.away = false
	var failed int
	var cause error
	after, clean := t.floor.start(t.startEvery), true
	enough := map[conversation]bool{} // in this pass
	reads := 0
	for more := true; more && !t.away && len(t.held) < maxHeld && ctx.Err() == nil; {
		reads++
		b, err := t.batch(work, after, enough)
		if err != nil {
			return sent, err
		}
		if cause == nil {
			cause = b.cause
		}
		sent, failed, more = sent+len(b.sent), failed+b.failed, b.more
		t.away = b.failed > 0 && len(b.sent) == 0 // it is not the events: NATS is away, or full
		if clean = clean && len(b.sent) == b.read; clean {
			after = t.floor.start(t.startEvery) // all is deleted up to here; somebody may have committed behind it
		} else {
			after = b.last
		}
	}
	t.reads = reads
	if failed > 0 {
		t.until = time.Now().Add(failurePause)
		t.log.Warn("outbox: not published, will be tried again", "events", failed, "error", cause)
	}
	return sent, nil
}

// batch publishes the rows after an id and deletes those that JetStream has.
func (t *turn) batch(ctx context.Context, after int64, enough map[conversation]bool) (b tally, err error) {
	ctx, cancel := context.WithTimeout(ctx, batchFor)
	defer cancel()
	started := time.Now()
	rows, err := t.q.OutboxBatch(ctx, after, batchRows, batchBytes)
	if err != nil {
		return b, fmt.Errorf("read the outbox: %w", err)
	}
	took := time.Since(started)
	if len(rows) == 0 {
		if after == t.floor.id {
			t.waited.Set(0)
		}
		return tally{last: after}, nil
	}
	if after == t.floor.id {
		t.waited.Set(rows[0].Waited)
	}
	var bytes int
	for i := range rows {
		bytes += len(rows[i].Body)
	}
	b = tally{read: len(rows), last: rows[len(rows)-1].ID, more: len(rows) == batchRows || bytes >= batchBytes}
	t.publish(ctx, t.waves(rows, enough), &b)
	if len(b.sent) == 0 {
		return b, nil
	}
	transaction, err := t.q.DeleteOutbox(ctx, b.sent)
	if err != nil {
		return b, fmt.Errorf("delete what was published: %w", err)
	}
	if after == t.floor.id && len(b.sent) == b.read {
		t.floor.emptied(b.last, b.more, rows[0].Oldest, transaction, took)
	}
	return b, nil
}

// waves are the rows in the order in which they may be published: together those
// that are the first of their conversation, then the second ones. Not among them
// are those held back, and those of a conversation that has had its share: it is
// not to keep the others waiting. The longer the table is, the larger is the share: or
// what a single one left would be read again and again.
func (t *turn) waves(rows []db.OutboxBatchRow, enough map[conversation]bool) (waves [][]*db.OutboxBatchRow) {
	next := make(map[conversation]int, len(rows))
	share := min(max(1, t.reads)*minWaves, maxWaves)
	for i := range rows {
		c := conversationOf(&rows[i])
		if t.held[c] || enough[c] {
			continue
		}
		n := next[c]
		if n == share {
			enough[c] = true
			continue
		}
		next[c]++
		if n == len(waves) {
			waves = append(waves, nil)
		}
		waves[n] = append(waves[n], &rows[i])
	}
	return waves
}

// publish publishes wave after wave. What fails is held back with all that follows
// it in its conversation.
func (t *turn) publish(ctx context.Context, waves [][]*db.OutboxBatchRow, b *tally) {
	for _, wave := range waves {
		run := make([]*db.OutboxBatchRow, 0, len(wave))
		events := make([]bus.Event, 0, len(wave))
		for _, row := range wave {
			if t.held[conversationOf(row)] {
				continue
			}
			run = append(run, row)
			events = append(events, bus.Event{
				Tenant: row.TenantID, Class: bus.Live, Type: row.EventType, ID: row.EventID, Day: row.Day,
				Contact: event.ContactKey(event.ContactOf(row.Body)), Body: row.Body, Deduplicate: true,
			})
		}
		for i, err := range t.publisher.Publish(ctx, events...) {
			if err == nil {
				b.sent = append(b.sent, run[i].ID)
				t.published.Inc()
				continue
			}
			b.failed++
			t.failed.Inc()
			t.held[conversationOf(run[i])] = true
			if b.cause == nil {
				b.cause = err
			}
		}
	}
}
