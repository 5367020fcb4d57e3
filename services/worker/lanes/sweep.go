package lanes

import (
	"context"
	"fmt"
	"time"

	"github.com/primezap/primezap/pkg/store/db"
)

// sweepEvery repairs, each minute and in one worker, lanes that no longer would
// wake for their earliest row. There should be none: each is counted.
func (c *Claimer) sweepEvery(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		repaired, err := c.Sweep(ctx)
		if err != nil && ctx.Err() == nil {
			c.Log.Warn("lanes: sweep", "error", err)
		}
		if repaired > 0 {
			c.Log.Error("lanes: repaired lanes that had lost their wake-up", "lanes", repaired)
		}
		c.repaired(repaired)
	}
}

// Sweep repairs once and returns how many lanes needed it. While another worker
// sweeps it does nothing.
func (c *Claimer) Sweep(ctx context.Context) (repaired int, err error) {
	err = c.Store.InTx(ctx, func(q *db.Queries) error {
		repaired = 0
		mine, err := q.TrySweepLock(ctx)
		if err != nil || !mine {
			return err
		}
		stray, err := q.StrayLanes(ctx, sweepLanes)
		if err != nil {
			return fmt.Errorf("look for stray lanes: %w", err)
		}
		for _, lane := range stray {
			// The lane's lock first, so that what a claimer is about to write
			// counts; then look again.
			if err := q.LockLane(ctx, lane.WebhookID); err != nil {
				return fmt.Errorf("lock lane: %w", err)
			}
			rows, err := q.RepairLane(ctx, lane.WebhookID)
			if err != nil {
				return fmt.Errorf("repair lane: %w", err)
			}
			repaired += int(rows)
		}
		return nil
	})
	return repaired, err
}
