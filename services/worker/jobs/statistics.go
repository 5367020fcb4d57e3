package jobs

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

const (
	statisticsDays  = 31 // kept: the last 30 days, and the one in which they begin
	statisticsChunk = 50 // webhooks of one step
	statisticsRows  = 500
)

// statisticsArgs is the job that sums up the statistics of days that are over.
type statisticsArgs struct{}

// Kind is what River calls the job.
func (statisticsArgs) Kind() string { return "statistics" }

type statistician struct {
	river.WorkerDefaults[statisticsArgs]
	store *store.Store

	// after is the last webhook of a walk that was broken off: the next goes on from
	// there, or with many webhooks none would reach the end.
	mu    sync.Mutex
	after uuid.UUID
}

func newStatistician(s *store.Store) *statistician { return &statistician{store: s} }

// Work goes through the webhooks with statistics, a chunk at a time: it gives
// each day that is over, and has no row of its own, one, and removes what is older
// than a month.
func (s *statistician) Work(ctx context.Context, _ *river.Job[statisticsArgs]) error {
	s.mu.Lock() // one of its kind works at a time
	defer s.mu.Unlock()
	return work(ctx, func(ctx context.Context) (more bool, err error) {
		webhooks, err := s.store.Queries().WebhooksWithStats(ctx, statisticsChunk, s.after)
		if err != nil {
			return false, fmt.Errorf("find webhooks with statistics: %w", err)
		}
		if len(webhooks) == 0 {
			s.after = uuid.Nil
			return false, nil
		}
		if err := SumUp(ctx, s.store, webhooks); err != nil {
			return false, err
		}
		if err := s.purge(ctx, webhooks); err != nil {
			return false, err
		}
		s.after = webhooks[len(webhooks)-1]
		return true, nil
	})
}

// SumUp makes the rows of the webhooks' days that are over and have none.
func SumUp(ctx context.Context, s *store.Store, webhooks []uuid.UUID) error {
	today := bus.Day(time.Now())
	found, err := s.Queries().DaysToSumUp(ctx, webhooks, today.AddDate(0, 0, -statisticsDays), today.AddDate(0, 0, -1))
	if err != nil {
		return fmt.Errorf("find days to sum up: %w", err)
	}
	// They come day by day: each is a transaction, under the day's lock.
	for len(found) > 0 {
		day := found[0].Day.UTC()
		n := slices.IndexFunc(found, func(r db.DaysToSumUpRow) bool { return !r.Day.Equal(day) })
		if n < 0 {
			n = len(found)
		}
		p := db.SumUpDayParams{Day: day, Begins: day, Ends: day.AddDate(0, 0, 1)}
		for _, r := range found[:n] {
			p.WebhookIds = append(p.WebhookIds, r.WebhookID)
		}
		found = found[n:]
		err := s.InTx(ctx, func(q *db.Queries) error {
			if err := q.LockDay(ctx, "statistics of "+day.Format(time.DateOnly)); err != nil {
				return err
			}
			return q.SumUpDay(ctx, p)
		})
		if err != nil {
			return fmt.Errorf("sum up %s: %w", day.Format(time.DateOnly), err)
		}
	}
	return nil
}

// purge removes rows of whole days past. The hours go last: a webhook without any
// is not looked for again.
func (s *statistician) purge(ctx context.Context, webhooks []uuid.UUID) error {
	before := bus.Day(time.Now()).AddDate(0, 0, -statisticsDays)
	q := s.store.Queries()
	for _, remove := range []func() (int64, error){
		func() (int64, error) { return q.PurgeDailyStats(ctx, webhooks, before) },
		func() (int64, error) { return q.PurgeDurations(ctx, webhooks, before, statisticsRows) },
		func() (int64, error) { return q.PurgeStats(ctx, webhooks, before, statisticsRows) },
	} {
		for {
			removed, err := remove()
			if err != nil {
				return fmt.Errorf("remove old statistics: %w", err)
			}
			if removed == 0 {
				break
			}
		}
	}
	return nil
}
