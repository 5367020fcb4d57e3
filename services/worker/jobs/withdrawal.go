package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

const (
	withdrawalPage = 50 // grants that are read together
	// clocksDiffer is how much later than Meta says that something was taken back a
	// login may have been stored and be meant: Meta's clock is another one, and tells
	// whole seconds. Of a removal Meta is then asked whether it was meant: who disconnects
	// and logs in anew at once goes on. A deletion spares no login that may be meant.
	clocksDiffer = 15 * time.Second
)

// withdrawer ends what a user of Facebook had allowed, when Meta says that they took it
// back or want their data deleted: for each tenant that they logged in for. Later logins
// stand.
type withdrawer struct {
	river.WorkerDefaults[jobs.GrantWithdrawal]
	store *store.Store
	log   *slog.Logger
}

func newWithdrawer(s *store.Store, log *slog.Logger) *withdrawer {
	return &withdrawer{store: s, log: log}
}

// Work goes on with a withdrawal where it stands.
func (w *withdrawer) Work(ctx context.Context, job *river.Job[jobs.GrantWithdrawal]) error {
	row, err := w.store.Queries().GetWithdrawal(ctx, job.Args.ID)
	if err == nil && row.UserID != nil {
		err = work(ctx, (&withdrawal{withdrawer: w, row: row}).step)
	}
	return persist(w.log, err, "grant_withdrawal", job.Args.ID)
}

// withdrawal is one at work.
type withdrawal struct {
	*withdrawer
	row  db.OauthWithdrawal
	page []db.OauthGrant
}

// step ends one grant, in a transaction of its tenant, or completes the withdrawal once
// there is none.
func (w *withdrawal) step(ctx context.Context) (more bool, err error) {
	q := w.store.Queries()
	if len(w.page) == 0 {
		w.page, err = q.WithdrawnGrants(ctx, db.WithdrawnGrantsParams{
			UserID: *w.row.UserID, After: w.row.Place, Until: w.row.IssuedAt.Add(clocksDiffer), RowLimit: withdrawalPage,
		})
		if err != nil {
			return false, fmt.Errorf("look for grants: %w", err)
		}
	}
	if len(w.page) == 0 {
		if err := q.CompleteWithdrawal(ctx, w.row.ID); err != nil {
			return false, fmt.Errorf("complete: %w", err)
		}
		w.log.Info("jobs: a withdrawal is done", "withdrawal", w.row.ID, "kind", w.row.Kind)
		return false, nil
	}
	next := w.page[0]
	reason := connection.Deauthorized
	if w.row.Kind == "deletion" {
		reason = connection.DataDeleted
	}
	doubtful := reason == connection.Deauthorized && next.GrantedAt.Sub(w.row.IssuedAt) >= time.Second
	err = w.store.InTenant(ctx, next.TenantID, func(q *db.Queries) error {
		if doubtful {
			err = q.LookAtGrant(ctx, next.ID, next.TenantID)
		} else {
			_, err = grant.Refuse(ctx, q, next, reason)
		}
		if err != nil {
			return err
		}
		return q.AdvanceWithdrawal(ctx, next.ID, w.row.ID)
	})
	if err != nil {
		return false, fmt.Errorf("end grant %s: %w", next.ID, err)
	}
	w.row.Place, w.page = next.ID, w.page[1:]
	return true, nil
}
