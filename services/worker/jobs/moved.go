package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

// moveTeller tells a tenant by an event that another one has claimed an account that it
// had connected.
type moveTeller struct {
	river.WorkerDefaults[jobs.ConnectionMoved]
	store *store.Store
}

func newMoveTeller(s *store.Store) *moveTeller { return &moveTeller{store: s} }

// Work raises the event and completes the job in one transaction: it is told once,
// wherever a worker dies.
func (m *moveTeller) Work(ctx context.Context, job *river.Job[jobs.ConnectionMoved]) error {
	err := pgx.BeginFunc(ctx, m.store.Pool(), func(tx pgx.Tx) error {
		if err := connection.RaiseMoved(ctx, db.New(tx), job.Args.ID); err != nil {
			return err
		}
		_, err := river.JobCompleteTx[*riverpgxv5.Driver](ctx, tx, job)
		return err
	})
	if err != nil {
		return fmt.Errorf("tell that connection %s moved: %w", job.Args.ID, err)
	}
	return nil
}

// NextRetry is soon: there is nothing wrong with the job itself.
func (m *moveTeller) NextRetry(*river.Job[jobs.ConnectionMoved]) time.Time {
	return time.Now().Add(failurePause)
}
