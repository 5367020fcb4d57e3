// Package jobs names the background jobs that services ask workers for, and
// inserts them.
//
// A job is inserted in the transaction that asks for it: neither stands without
// the other. Its arguments are ids alone; what is to be done stands in the row
// that the id names.
package jobs

import (
	"context"
	"fmt"
	"math"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// behindHouse is the priority of jobs that many may ask for: the periodic ones,
// with 1, do not wait for them.
const behindHouse = 2

// untilDone is for what must be done in the end. Errors use up no attempt, since
// these jobs pause after them; a worker that dies does.
var untilDone = river.InsertOpts{Priority: behindHouse, MaxAttempts: math.MaxInt16}

// Replay puts stored events into a webhook's queue: the row of replays with ID.
type Replay struct {
	ID uuid.UUID `json:"id"`
}

// Kind is what River calls the job.
func (Replay) Kind() string { return "replay" }

// QueueReplays is River's queue of replays: they are long, and must not keep other
// jobs waiting.
const QueueReplays = "replays"

// InsertOpts implements river.JobArgsWithInsertOpts. The worker gives a replay up by
// itself: River would leave the replay's row unfinished.
func (Replay) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: QueueReplays, MaxAttempts: math.MaxInt16}
}

// Erasure erases what is stored of a contact: the row of erasures with ID.
type Erasure struct {
	ID uuid.UUID `json:"id"`
}

// Kind is what River calls the job.
func (Erasure) Kind() string { return "erasure" }

// InsertOpts puts it behind what keeps house.
func (Erasure) InsertOpts() river.InsertOpts { return untilDone }

// TenantDeletion deletes a tenant: the row of tenant_deletions with ID.
type TenantDeletion struct {
	ID uuid.UUID `json:"id"`
}

// Kind is what River calls the job.
func (TenantDeletion) Kind() string { return "tenant_deletion" }

// InsertOpts puts it behind what keeps house.
func (TenantDeletion) InsertOpts() river.InsertOpts { return untilDone }

// ConnectionMoved tells the tenant of the connection with ID, which is deleted, that
// another one has it now: the tenant that claimed it sees nothing of the other.
type ConnectionMoved struct {
	ID uuid.UUID `json:"id"`
}

// Kind is what River calls the job.
func (ConnectionMoved) Kind() string { return "connection_moved" }

// InsertOpts puts it behind what keeps house.
func (ConnectionMoved) InsertOpts() river.InsertOpts { return untilDone }

// GrantWithdrawal ends what a user of Facebook had allowed, for whichever tenants: the
// row of oauth_withdrawals with ID.
type GrantWithdrawal struct {
	ID uuid.UUID `json:"id"`
}

// Kind is what River calls the job.
func (GrantWithdrawal) Kind() string { return "grant_withdrawal" }

// InsertOpts puts it behind what keeps house.
func (GrantWithdrawal) InsertOpts() river.InsertOpts { return untilDone }

// Inserter inserts jobs. It runs none.
type Inserter struct{ client *river.Client[pgx.Tx] }

// NewInserter returns an inserter for transactions of any role that may insert
// into River's table.
func NewInserter() (*Inserter, error) {
	client, err := river.NewClient(riverpgxv5.New(nil), &river.Config{})
	if err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	return &Inserter{client: client}, nil
}

// Insert asks for a job in tx. A worker takes it once tx has committed.
func (i *Inserter) Insert(ctx context.Context, tx pgx.Tx, job river.JobArgs) error {
	if _, err := i.client.InsertTx(ctx, tx, job, nil); err != nil {
		return fmt.Errorf("insert job %s: %w", job.Kind(), err)
	}
	return nil
}
