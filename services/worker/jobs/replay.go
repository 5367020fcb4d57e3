package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/failpoint"
	asked "github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

const (
	// replayAhead bounds the deliveries that replays have put into a webhook's queue
	// and that are not done.
	replayAhead = 1000
	replayPage  = 250  // events of one transaction
	replayRead  = 2000 // entries that are looked at for it

	settlePause = 2 * time.Second // see ReplayToDo
	fullPause   = time.Second
	idlePause   = 30 * time.Second // the webhook is not active
	maxRetry    = 30 * time.Second

	// replayAttempts is after how many failures, and workers that died over it, a
	// replay is given up: about an hour. Snoozes are no attempts.
	replayAttempts = 120
)

// Of a row of the queue, as the ledger has them.
const (
	kindReplay   int16 = 2
	stateWaiting int16 = 0
)

// The states of a replay, as the column holds them.
const (
	replayCompleted int16 = iota + 2
	replayCancelled
	replayFailed
)

// replayer puts stored events into a webhook's queue, a page of the tenant's
// ledger at a time: from there its lane delivers them, after what is fresh. The
// place that it has come to commits together with the rows, so whoever goes on
// repeats nothing and leaves out nothing.
type replayer struct {
	river.WorkerDefaults[asked.Replay]
	store *store.Store
	js    jetstream.JetStream
	log   *slog.Logger
}

func newReplayer(s *store.Store, js jetstream.JetStream, log *slog.Logger) *replayer {
	return &replayer{store: s, js: js, log: log}
}

// Work goes on with a replay. Of one that has ended there is nothing to do.
func (r *replayer) Work(ctx context.Context, job *river.Job[asked.Replay]) error {
	id := job.Args.ID
	err := work(ctx, func(ctx context.Context) (more bool, err error) { return r.step(ctx, id) })
	if _, snoozed := errors.AsType[*river.JobSnoozeError](err); err == nil || snoozed {
		return err
	}
	r.log.Warn("jobs: replay", "replay", id, "attempt", job.Attempt, "error", err)
	if job.Attempt >= replayAttempts {
		err = errors.Join(err, r.end(ctx, id, replayFailed, "gave up after many errors"))
	}
	return err
}

// NextRetry is soon: what fails is Postgres or NATS being away.
func (r *replayer) NextRetry(job *river.Job[asked.Replay]) time.Time {
	return time.Now().Add(min(time.Duration(job.Attempt)*time.Second, maxRetry))
}

// step inserts a page, or says why none can be inserted now.
func (r *replayer) step(ctx context.Context, id uuid.UUID) (more bool, err error) {
	q := r.store.Queries()
	todo, err := q.ReplayToDo(ctx, id)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read replay: %w", err)
	case todo.Deleted:
		return false, r.end(ctx, id, replayCancelled, "the webhook was deleted")
	case !todo.Settled:
		return false, river.JobSnooze(settlePause)
	}
	ahead, err := q.ReplayedAhead(ctx, todo.Replay.WebhookID, replayAhead)
	switch {
	case err != nil:
		return false, fmt.Errorf("count what is ahead: %w", err)
	case ahead <= replayAhead-replayPage:
	case todo.Active:
		return false, river.JobSnooze(fullPause)
	default:
		return false, river.JobSnooze(idlePause)
	}
	p, err := r.read(ctx, &todo)
	if err != nil {
		return false, err
	}
	return true, r.insert(ctx, &todo.Replay, p)
}

func (r *replayer) end(ctx context.Context, id uuid.UUID, state int16, why string) error {
	if err := r.store.Queries().EndReplay(ctx, state, &why, id); err != nil {
		return fmt.Errorf("end replay: %w", err)
	}
	return nil
}

// insert puts a page into the queue and moves the replay behind it. Where the
// replay has ended or moved meanwhile, or the purge point has come to an event
// whose body was not read, nothing happens: the next step sees it.
func (r *replayer) insert(ctx context.Context, replay *db.Replay, p *page) error {
	err := r.store.InTx(ctx, func(q *db.Queries) error {
		if _, err := q.LockReplay(ctx, replay.ID, replay.NextDay, replay.AfterID); err != nil {
			return ignoreNoRows(err)
		}
		point, err := q.HoldPurgePoint(ctx)
		if err != nil {
			return err
		}
		if p.passedBy(point) {
			return nil
		}
		chosen, replaced, err := choose(ctx, q, replay, p)
		if err != nil {
			return err
		}
		if err := put(ctx, q, replay, p, chosen, replaced); err != nil {
			return err
		}
		failpoint.Hit("replay.inserted")
		err = q.AdvanceReplay(ctx, db.AdvanceReplayParams{
			ID: replay.ID, NextDay: p.nextDay, AfterID: p.afterID,
			Inserted: int64(len(chosen)), Skipped: int64(p.lost + len(p.events) - len(chosen)),
		})
		if err == nil && p.last {
			err = q.EndReplay(ctx, replayCompleted, nil, replay.ID)
		}
		failpoint.Hit("replay.commit")
		return err
	})
	if err != nil {
		return fmt.Errorf("insert page: %w", err)
	}
	failpoint.Hit("replay.committed")
	return nil
}

func ignoreNoRows(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}

// choose returns the events of a page that are to be delivered, and the
// exhausted deliveries whose place these take: left there, a recovery would
// deliver their events once more.
func choose(ctx context.Context, q *db.Queries, replay *db.Replay, p *page) (chosen []*stored, replaced []uuid.UUID, err error) {
	if len(p.events) == 0 {
		return nil, nil, nil
	}
	seqs, ids := make([]int64, len(p.events)), make([]string, len(p.events))
	for i, e := range p.events {
		seqs[i], ids[i] = e.seq, e.id
	}
	// In this order, each with a snapshot of its own: from here on nobody retries
	// an exhausted delivery; what was retried before is queued, unless it was
	// delivered, and then answered.
	exhausted, err := q.LockExhausted(ctx, seqs, p.epoch, replay.WebhookID)
	if err != nil {
		return nil, nil, fmt.Errorf("lock exhausted deliveries: %w", err)
	}
	erased, err := q.ErasedOfDay(ctx, ids, replay.NextDay, replay.TenantID)
	if err != nil {
		return nil, nil, fmt.Errorf("look for erased events: %w", err)
	}
	queued, err := q.QueuedEvents(ctx, seqs, p.epoch, replay.WebhookID)
	if err != nil {
		return nil, nil, fmt.Errorf("look for queued deliveries: %w", err)
	}
	skip := make(map[int64]bool, len(queued)+len(erased))
	for _, position := range erased {
		skip[seqs[position-1]] = true
	}
	for _, seq := range queued {
		skip[seq] = true
	}
	if replay.FailedOnly {
		answered, err := q.AnsweredEvents(ctx, db.AnsweredEventsParams{
			Ids: ids, TenantID: replay.TenantID, WebhookID: replay.WebhookID, Since: replay.NextDay.Add(-time.Hour),
		})
		if err != nil {
			return nil, nil, fmt.Errorf("look for answered events: %w", err)
		}
		for _, position := range answered {
			skip[seqs[position-1]] = true
		}
	}
	for _, e := range p.events {
		if !skip[e.seq] {
			chosen = append(chosen, e)
		}
	}
	for _, row := range exhausted {
		if !skip[row.StreamSeq] {
			replaced = append(replaced, row.DeliveryID)
		}
	}
	return chosen, replaced, nil
}

// put writes the rows of chosen events, the bodies that the event store is about
// to forget, and wakes the lane.
func put(ctx context.Context, q *db.Queries, replay *db.Replay, p *page, chosen []*stored, replaced []uuid.UUID) error {
	if len(chosen) == 0 {
		return nil
	}
	if err := q.RemoveDeliveries(ctx, replaced); err != nil {
		return fmt.Errorf("remove exhausted deliveries: %w", err)
	}
	var rows db.InsertQueueRowsParams
	kept := db.KeepBodiesParams{Epoch: p.epoch}
	for _, e := range chosen {
		rows.DeliveryIds = append(rows.DeliveryIds, uuid.Must(uuid.NewV7()))
		rows.WebhookIds = append(rows.WebhookIds, replay.WebhookID)
		rows.Tenants = append(rows.Tenants, replay.TenantID)
		rows.EventIds = append(rows.EventIds, e.id)
		rows.EventTypes = append(rows.EventTypes, e.eventType)
		rows.EventDays = append(rows.EventDays, replay.NextDay)
		rows.Epochs = append(rows.Epochs, p.epoch)
		rows.StreamSeqs = append(rows.StreamSeqs, e.seq)
		rows.Kinds = append(rows.Kinds, kindReplay)
		rows.States = append(rows.States, stateWaiting)
		rows.Attempts = append(rows.Attempts, 1)
		rows.DelayMs = append(rows.DelayMs, 0)
		rows.LeaseIds = append(rows.LeaseIds, uuid.Nil)
		rows.LastStatuses = append(rows.LastStatuses, 0)
		rows.LastErrors = append(rows.LastErrors, "")
		if e.body != nil {
			kept.StreamSeqs = append(kept.StreamSeqs, e.seq)
			kept.Tenants = append(kept.Tenants, replay.TenantID)
			kept.Days = append(kept.Days, replay.NextDay)
			kept.Ids = append(kept.Ids, e.id)
			kept.Bodies = append(kept.Bodies, e.body)
		}
	}
	if err := q.InsertQueueRows(ctx, rows); err != nil {
		return fmt.Errorf("insert deliveries: %w", err)
	}
	if len(kept.Ids) > 0 {
		if err := q.KeepBodies(ctx, kept); err != nil {
			return fmt.Errorf("keep bodies: %w", err)
		}
	}
	if err := q.WakeLanes(ctx, rows.WebhookIds[:1], rows.Tenants[:1], rows.DelayMs[:1]); err != nil {
		return fmt.Errorf("wake lane: %w", err)
	}
	return nil
}
