package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/riverqueue/river"

	schema "github.com/primezap/primezap/db"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
)

// keepDays is how many days of events and logs there are to be seen. An event's
// row must outlive every copy of its message: it is what keeps a copy from being
// delivered again.
const keepDays = 30

// dropPause is between tries to drop a partition that somebody reads or writes.
// Each try stops the writers for at most 50 ms: few tries, little harm.
const dropPause = 2 * time.Second

// partitionsArgs is the job that makes and drops the partitions of events and webhook_logs.
type partitionsArgs struct{}

// Kind is what River calls the job.
func (partitionsArgs) Kind() string { return "partitions" }

type partitioner struct {
	river.WorkerDefaults[partitionsArgs]
	store *store.Store
	log   *slog.Logger
	pause time.Duration
}

func newPartitioner(s *store.Store, log *slog.Logger) *partitioner {
	return &partitioner{store: s, log: log, pause: dropPause}
}

// Work makes partitions, then drops old ones.
func (p *partitioner) Work(ctx context.Context, _ *river.Job[partitionsArgs]) error {
	today := bus.Day(time.Now())
	q := p.store.Queries()
	if _, err := q.EnsurePartitions(ctx, today.AddDate(0, 0, -1), today.AddDate(0, 0, schema.PartitionDaysAhead)); err != nil {
		return fmt.Errorf("make partitions: %w", err)
	}
	return work(ctx, func(ctx context.Context) (more bool, err error) {
		dropped, err := q.DropPartition(ctx, today.AddDate(0, 0, -keepDays))
		if isLockTimeout(err) {
			p.log.Info("jobs: a partition to be dropped is in use, will be tried again")
			sleep(ctx, p.pause)
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("drop partitions: %w", err)
		}
		if dropped != "" {
			p.log.Info("jobs: partition dropped", "partition", dropped)
		}
		return dropped != "", nil
	})
}

// isLockTimeout reports whether a lock was waited for in vain (SQLSTATE 55P03).
func isLockTimeout(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pg.Code == "55P03"
}
