package jobs

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

const (
	purgeChunk   = 1000 // rows of one transaction
	webhookChunk = 100
	keepKeys     = 24 * time.Hour // idempotency keys
	keepWebhooks = 30 * 24 * time.Hour
	keepReplays  = 30 * 24 * time.Hour  // after their end
	keepAudit    = 400 * 24 * time.Hour // unless configured
	// Whoever asked for their data to be deleted may see for long that it was.
	keepWithdrawals = 400 * 24 * time.Hour
	keepUpdates     = 30 * 24 * time.Hour // what channels told beside messages
)

// purgeArgs is the job that removes rows that have had their time.
type purgeArgs struct{}

// Kind is what River calls the job.
func (purgeArgs) Kind() string { return "purge" }

type purger struct {
	river.WorkerDefaults[purgeArgs]
	store        *store.Store
	keepAudit    time.Duration
	keepMessages time.Duration // 0: for ever
	log          *slog.Logger
}

func newPurger(s *store.Store, auditRetention, messageRetention time.Duration, log *slog.Logger) *purger {
	return &purger{store: s, keepAudit: cmp.Or(auditRetention, keepAudit), keepMessages: messageRetention, log: log}
}

// Work removes exhausted queue rows whose time is up, bodies that were kept for
// queue rows that are gone, old idempotency keys, deleted webhooks, replays that
// ended long ago, withdrawals that were done long ago, states of logins that have
// expired, what the audit log need not keep any longer, old messages, and what
// channels told beside them. Contacts and conversations stay.
func (p *purger) Work(ctx context.Context, _ *river.Job[purgeArgs]) error {
	q := p.store.Queries()
	now := time.Now()
	deletedBefore, finishedBefore, completedBefore := now.Add(-keepWebhooks), now.Add(-keepReplays), now.Add(-keepWithdrawals)
	all := []chunks{
		{"exhausted deliveries", purgeChunk, func(ctx context.Context) (int64, error) {
			return q.PurgeExhausted(ctx, purgeChunk)
		}},
		{"idempotency keys", purgeChunk, func(ctx context.Context) (int64, error) {
			return q.PurgeIdempotencyKeys(ctx, now.Add(-keepKeys), purgeChunk)
		}},
		{"deleted webhooks", webhookChunk, func(ctx context.Context) (int64, error) {
			return q.PurgeWebhooks(ctx, &deletedBefore, webhookChunk)
		}},
		{"replays", purgeChunk, func(ctx context.Context) (int64, error) {
			return q.PurgeReplays(ctx, &finishedBefore, purgeChunk)
		}},
		{"entries of the audit log", purgeChunk, func(ctx context.Context) (int64, error) {
			return q.PurgeAudit(ctx, now.Add(-p.keepAudit), purgeChunk)
		}},
		{"updates of channels", purgeChunk, func(ctx context.Context) (int64, error) {
			return q.PurgeUpdates(ctx, firstID(now.Add(-keepUpdates)), purgeChunk)
		}},
	}
	all = append(all, chunks{"withdrawals", purgeChunk, func(ctx context.Context) (int64, error) {
		return q.PurgeWithdrawals(ctx, &completedBefore, purgeChunk)
	}}, chunks{"states of logins", purgeChunk, func(ctx context.Context) (int64, error) {
		return q.PurgeStates(ctx, purgeChunk)
	}})
	if p.keepMessages > 0 {
		all = append(all, chunks{"messages", purgeChunk, func(ctx context.Context) (int64, error) {
			return q.PurgeMessages(ctx, firstID(now.Add(-p.keepMessages)), purgeChunk)
		}})
	}
	return p.sweep(ctx, all...)
}

// firstID is the lowest of the UUIDv7 that are made at a time or later.
func firstID(at time.Time) (id uuid.UUID) {
	binary.BigEndian.PutUint64(id[:], uint64(at.UnixMilli())<<16) //nolint:gosec // after 1970
	return id
}

// chunks are rows to be removed, so many at a time.
type chunks struct {
	name   string
	size   int64
	remove func(context.Context) (removed int64, err error)
}

// sweep removes all of them, then the bodies.
func (p *purger) sweep(ctx context.Context, all ...chunks) error {
	bodies := &bodyWalk{store: p.store, epoch: math.MinInt64}
	return work(ctx, func(ctx context.Context) (more bool, err error) {
		if len(all) == 0 {
			return bodies.step(ctx)
		}
		c := all[0]
		removed, err := c.remove(ctx)
		if err != nil {
			return false, fmt.Errorf("remove %s: %w", c.name, err)
		}
		if removed > 0 {
			p.log.Debug("jobs: removed", "what", c.name, "rows", removed)
		}
		if removed < c.size {
			all = all[1:]
		}
		return true, nil
	})
}

// bodyWalk goes through the bodies that were kept, from the oldest on.
type bodyWalk struct {
	store      *store.Store
	epoch, seq int64
}

func (w *bodyWalk) step(ctx context.Context) (more bool, err error) {
	err = w.store.InTx(ctx, func(q *db.Queries) error {
		if err := q.LockEventStore(ctx); err != nil {
			return err
		}
		at, err := q.PurgeBodies(ctx, w.epoch, w.seq, purgeChunk)
		if errors.Is(err, pgx.ErrNoRows) {
			more = false
			return nil
		}
		more = err == nil
		w.epoch, w.seq = at.Epoch, at.StreamSeq
		return err
	})
	if err != nil {
		return false, fmt.Errorf("remove kept bodies: %w", err)
	}
	return more, nil
}
