package health

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/worker/ledger"
)

// The pace of a recovery: an endpoint that has just come up gets so many
// deliveries back, spread over the pause that follows, and no more while as many
// still are due.
const (
	recoverRows  = 1000
	recoverPause = lookEvery
	recoverSince = 24 * time.Hour // before the success
)

// recover gives each webhook that is to recover its next chunk. Those that have
// waited longest come first; a turn that fails is made again at the next look.
func (k *Keeper) recover(ctx context.Context, over func() bool) error {
	var failures []error
	for !over() {
		due, err := k.store.Queries().DueRecoveries(ctx, chunk)
		if err != nil {
			return errors.Join(append(failures, fmt.Errorf("look for recoveries: %w", err))...)
		}
		failed := len(failures)
		for i := 0; i < len(due) && !over(); i++ {
			if err := k.recoverSome(ctx, &due[i]); err != nil {
				failures = append(failures, fmt.Errorf("recover webhook %s: %w", due[i].WebhookID, err))
			}
		}
		if len(due) < chunk || len(failures) > failed {
			break
		}
	}
	return errors.Join(failures...)
}

// errTaken undoes a turn that another worker has taken, or that a further success
// has moved.
var errTaken = errors.New("the turn is taken")

// recoverSome moves a chunk of rows, in one transaction with the note of how the
// recovery stands. Locks come in everybody's order: rows, lane, health.
func (k *Keeper) recoverSome(ctx context.Context, r *db.DueRecoveriesRow) error {
	moved := int64(0)
	err := k.store.InTx(ctx, func(q *db.Queries) (err error) {
		moved = 0
		more := false
		if r.Wanted {
			moved, more, err = move(ctx, q, r)
		}
		if err != nil {
			return err
		}
		return note(ctx, q, r, more)
	})
	if errors.Is(err, errTaken) {
		return nil
	}
	if err == nil && moved > 0 {
		k.log.Info("health: exhausted deliveries are made again", "webhook", r.WebhookID, "deliveries", moved)
	}
	return err
}

// move puts rows back into the lane, unless the endpoint is behind already, and
// says whether there may be more.
func move(ctx context.Context, q *db.Queries, r *db.DueRecoveriesRow) (moved int64, more bool, err error) {
	waiting, err := q.CountDue(ctx, r.WebhookID, recoverRows)
	if err != nil {
		return 0, false, fmt.Errorf("count what is due: %w", err)
	}
	if waiting == recoverRows {
		return 0, true, nil
	}
	// An exhausted row's due_at is when it was exhausted, and how long it is kept.
	until := r.SucceededAt.Add(ledger.KeepExhausted)
	moved, err = q.RecoverQueueRows(ctx, db.RecoverQueueRowsParams{
		WebhookID: r.WebhookID, DueAfter: until.Add(-recoverSince), DueUntil: until, RowLimit: recoverRows,
		SpacingSeconds: (recoverPause / recoverRows).Seconds(),
	})
	if err != nil {
		return 0, false, fmt.Errorf("move rows: %w", err)
	}
	if moved > 0 {
		if err := q.WakeLanes(ctx, []uuid.UUID{r.WebhookID}, []uuid.UUID{r.TenantID}, []int64{0}); err != nil {
			return 0, false, fmt.Errorf("wake lane: %w", err)
		}
	}
	return moved, moved == recoverRows, nil
}

// note says when the next turn is, or that there is none: a webhook that has
// recovered is forgotten, one that has failed again keeps its streak.
func note(ctx context.Context, q *db.Queries, r *db.DueRecoveriesRow, more bool) (err error) {
	var noted int64
	if more {
		noted, err = q.PostponeRecovery(ctx, recoverPause.Seconds(), r.WebhookID, r.RecoverAt)
	} else {
		noted, err = q.ForgetRecovered(ctx, r.WebhookID, r.RecoverAt)
		if err == nil && noted == 0 {
			noted, err = q.EndRecovery(ctx, r.WebhookID, r.RecoverAt)
		}
	}
	if err != nil {
		return fmt.Errorf("note how it stands: %w", err)
	}
	if noted == 0 {
		return errTaken
	}
	return nil
}
