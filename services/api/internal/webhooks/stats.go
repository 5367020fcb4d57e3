package webhooks

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/primezap/primezap/pkg/histogram"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/param"
	"github.com/primezap/primezap/services/api/internal/render"
)

const (
	statsPeriod = 30 * 24 * time.Hour
	day         = 24 * time.Hour
)

// GetWebhookStats serves GET /api/custom-webhooks/{id}/stats. Days that are summed
// up are read from their rows, the rest from the hours: that in which the period
// begins, today, and yesterday until it is summed up.
func (s *Service) GetWebhookStats(ctx context.Context, req openapi.GetWebhookStatsRequestObject) (openapi.GetWebhookStatsResponseObject, error) {
	now := time.Now().UTC()
	from := now.Add(-statsPeriod).Truncate(time.Hour)
	var sum statistics
	answer := openapi.GetWebhookStats200JSONResponse{}
	err := s.of(ctx, req.ID, func(q *db.Queries, hook db.Webhook) error {
		answer.WebhookID = hook.ID
		sum = newStatistics() // also when the transaction is repeated
		first := from.Add(day - 1).Truncate(day)
		days, err := q.DailyStats(ctx, hook.ID, first, now)
		if err != nil {
			return err
		}
		for _, row := range days {
			sum.addDay(row)
		}
		begins, ends := between(from, days)
		hours, err := q.HourlyStats(ctx, begins, ends, hook.ID)
		if err != nil {
			return err
		}
		for _, row := range hours {
			sum.add(row.Day, row.EventType, row.Status, row.Total, row.Successful, row.DurationMsSum)
		}
		durations, err := q.HourlyDurations(ctx, begins, ends, hook.ID)
		if err != nil {
			return err
		}
		for _, row := range durations {
			sum.durations[row.Bucket] += row.Total
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	answer.Period.From, answer.Period.To = from, now
	sum.show((*openapi.WebhookStats)(&answer))
	return answer, nil
}

// between are the ranges of time from from on that the days leave open.
func between(from time.Time, days []db.DailyStatsRow) (begins, ends []time.Time) {
	for _, row := range days {
		if row.Day.After(from) {
			begins, ends = append(begins, from), append(ends, row.Day)
		}
		from = row.Day.Add(day)
	}
	return append(begins, from), append(ends, param.FarFuture)
}

// calls are counted attempts.
type calls struct{ total, successful int64 }

// statistics adds up what was counted.
type statistics struct {
	all        calls
	durationMs int64
	byDay      map[string]calls
	byEvent    map[string]calls
	byStatus   map[int16]int64
	durations  histogram.Counts
}

func newStatistics() statistics {
	return statistics{
		byDay: make(map[string]calls), byEvent: make(map[string]calls), byStatus: make(map[int16]int64),
		durations: make(histogram.Counts),
	}
}

func (s *statistics) add(day time.Time, event string, status int16, total, successful, durationMs int64) {
	s.all = s.all.plus(total, successful)
	s.durationMs += durationMs
	date := day.UTC().Format(time.DateOnly)
	s.byDay[date] = s.byDay[date].plus(total, successful)
	s.byEvent[event] = s.byEvent[event].plus(total, successful)
	s.byStatus[status] += total
}

func (s *statistics) addDay(row db.DailyStatsRow) {
	for i := range row.Totals {
		s.add(row.Day, row.EventTypes[i], row.Statuses[i], row.Totals[i], row.Successful[i], row.DurationMsSums[i])
	}
	for i, bucket := range row.Buckets {
		s.durations[bucket] += row.BucketTotals[i]
	}
}

func (c calls) plus(total, successful int64) calls {
	return calls{c.total + total, c.successful + successful}
}

// show writes the sums as answers have them: by day, by event's name, by status,
// the attempts without an answer first.
func (s *statistics) show(answer *openapi.WebhookStats) {
	shown := &answer.Stats
	shown.TotalCalls, shown.SuccessfulCalls, shown.FailedCalls = s.all.total, s.all.successful, s.all.total-s.all.successful
	if total := float64(s.all.total); total > 0 {
		shown.SuccessRate = new(float64(s.all.successful) / total)
		shown.AverageDurationMs = new(float64(s.durationMs) / total)
	}
	if ms, ok := s.durations.Percentile(0.5); ok {
		shown.P50DurationMs = &ms
	}
	if ms, ok := s.durations.Percentile(0.95); ok {
		shown.P95DurationMs = &ms
	}
	shown.ByDay, shown.ByEvent, shown.ByStatus = []openapi.StatsByDay{}, []openapi.StatsByEvent{}, []openapi.StatsByStatus{}
	for _, date := range sorted(s.byDay) {
		c := s.byDay[date]
		shown.ByDay = append(shown.ByDay, openapi.StatsByDay{Date: date, Total: c.total, Successful: c.successful, Failed: c.total - c.successful})
	}
	for _, event := range sorted(s.byEvent) {
		c := s.byEvent[event]
		shown.ByEvent = append(shown.ByEvent, openapi.StatsByEvent{Event: event, Total: c.total, Successful: c.successful, Failed: c.total - c.successful})
	}
	for _, status := range sorted(s.byStatus) {
		shown.ByStatus = append(shown.ByStatus, openapi.StatsByStatus{Status: render.Status(status), Total: s.byStatus[status]})
	}
}

func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
