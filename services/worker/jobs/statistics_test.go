package jobs

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
)

// count adds calls to a webhook's statistics, as the ledger does.
func count(t *testing.T, q *db.Queries, webhook uuid.UUID, at time.Time, event string, status int16, total, successful int64) {
	t.Helper()
	hour := at.Truncate(time.Hour)
	err := q.AddStats(t.Context(), db.AddStatsParams{
		WebhookIds: []uuid.UUID{webhook}, Hours: []time.Time{hour}, EventTypes: []string{event}, Statuses: []int16{status},
		Tenants: []uuid.UUID{tenant}, Totals: []int64{total}, Successful: []int64{successful}, DurationMsSums: []int64{12 * total},
	})
	if err == nil {
		err = q.AddDurations(t.Context(), db.AddDurationsParams{
			WebhookIds: []uuid.UUID{webhook}, Hours: []time.Time{hour}, Buckets: []int16{30}, Tenants: []uuid.UUID{tenant}, Totals: []int64{total},
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func workOut(t *testing.T, s *store.Store) {
	t.Helper()
	if err := newStatistician(s).Work(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// summedUp are a webhook's days with a row of their own, and how many calls each has.
func summedUp(t *testing.T, s *store.Store, webhook uuid.UUID) map[string]int64 {
	t.Helper()
	days, err := s.Queries().DailyStats(t.Context(), webhook, time.Unix(0, 0).UTC(), time.Now().UTC().AddDate(1, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	calls := make(map[string]int64)
	for _, row := range days {
		for i := range row.Totals {
			calls[row.Day.Format(time.DateOnly)] += row.Totals[i]
		}
	}
	return calls
}

func TestStatistician_Work(t *testing.T) {
	t.Parallel()
	today := bus.Day(time.Now())
	past := func(days int) time.Time { return today.AddDate(0, 0, -days) }
	date := func(days int) string { return past(days).Format(time.DateOnly) }

	t.Run("sums up each day that is over", func(t *testing.T) {
		t.Parallel()
		s := open(t, testenv.DB(t), testenv.Worker)
		q := s.Queries()
		webhook := uuid.Must(uuid.NewV7())
		count(t, q, webhook, past(3), "deal.moved", 200, 5, 5)
		count(t, q, webhook, past(3).Add(23*time.Hour+59*time.Minute), "deal.moved", 200, 2, 2)
		count(t, q, webhook, past(3).Add(12*time.Hour), "deal.moved", 500, 3, 0)
		count(t, q, webhook, past(3).Add(12*time.Hour), "message.sent", 200, 1, 1)
		count(t, q, webhook, past(2), "deal.moved", 200, 40, 40)
		count(t, q, webhook, time.Now(), "deal.moved", 200, 100, 100)
		var others []uuid.UUID
		for range statisticsChunk + 3 { // more than are looked at at a time
			other := uuid.Must(uuid.NewV7())
			count(t, q, other, past(5), "deal.moved", 200, 1, 1)
			others = append(others, other)
		}
		for range 2 { // twice is as good
			workOut(t, s)
		}
		if got := summedUp(t, s, webhook); len(got) != 2 || got[date(3)] != 11 || got[date(2)] != 40 {
			t.Errorf("summed up are %v, want 11 calls on %s and 40 on %s", got, date(3), date(2))
		}
		days, err := q.DailyStats(t.Context(), webhook, past(3), past(3))
		if err != nil || len(days) != 1 {
			t.Fatalf("%v, %v", days, err)
		}
		for i, want := range map[string][]int64{"deal.moved 200": {7, 7, 84}, "deal.moved 500": {3, 0, 36}, "message.sent 200": {1, 1, 12}} {
			found := false
			for k := range days[0].Totals {
				if key := days[0].EventTypes[k] + " " + map[int16]string{200: "200", 500: "500"}[days[0].Statuses[k]]; key == i {
					found = slices.Equal([]int64{days[0].Totals[k], days[0].Successful[k], days[0].DurationMsSums[k]}, want)
				}
			}
			if !found {
				t.Errorf("%s is not %v in %+v", i, want, days[0])
			}
		}
		if !slices.Equal(days[0].Buckets, []int16{30}) || !slices.Equal(days[0].BucketTotals, []int64{11}) {
			t.Errorf("durations %v, %v", days[0].Buckets, days[0].BucketTotals)
		}
		for _, other := range others {
			if got := summedUp(t, s, other); len(got) != 1 || got[date(5)] != 1 {
				t.Fatalf("summed up of another webhook are %v", got)
			}
		}
	})

	t.Run("a day that is not over for an hour, by the server's clock, has no row", func(t *testing.T) {
		t.Parallel()
		s := open(t, testenv.DB(t), testenv.Worker)
		webhook := uuid.Must(uuid.NewV7())
		count(t, s.Queries(), webhook, time.Now(), "deal.moved", 200, 1, 1)
		err := s.Queries().SumUpDay(t.Context(), db.SumUpDayParams{Day: today, WebhookIds: []uuid.UUID{webhook}, Begins: today, Ends: today.AddDate(0, 0, 1)})
		if got := summedUp(t, s, webhook); err != nil || len(got) != 0 {
			t.Errorf("summed up are %v, %v", got, err)
		}
	})

	t.Run("a late result takes its day's row away until it is summed up again", func(t *testing.T) {
		t.Parallel()
		s := open(t, testenv.DB(t), testenv.Worker)
		webhook, other := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
		for _, id := range []uuid.UUID{webhook, other} {
			count(t, s.Queries(), id, past(2), "deal.moved", 200, 1, 1)
			count(t, s.Queries(), id, past(3), "deal.moved", 200, 1, 1)
		}
		workOut(t, s)
		for name, late := range map[string]time.Time{"in an hour that has a row": past(2), "in one that has none": past(2).Add(time.Hour)} {
			before := summedUp(t, s, webhook)[date(2)]
			count(t, s.Queries(), webhook, late, "deal.moved", 200, 1, 1)
			if got := summedUp(t, s, webhook); len(got) != 1 || got[date(3)] != 1 {
				t.Errorf("%s: left are %v, want %s alone", name, got, date(3))
			}
			workOut(t, s)
			if got := summedUp(t, s, webhook)[date(2)]; got != before+1 {
				t.Errorf("%s: summed up again are %d calls, want %d", name, got, before+1)
			}
		}
		if got := summedUp(t, s, other); len(got) != 2 {
			t.Errorf("of another webhook are left %v", got)
		}
	})

	t.Run("waits for a late result that is not committed yet", func(t *testing.T) {
		t.Parallel()
		database := testenv.DB(t)
		s, super := open(t, database, testenv.Worker), open(t, database, testenv.Superuser)
		webhook := uuid.Must(uuid.NewV7())
		count(t, s.Queries(), webhook, past(2), "deal.moved", 200, 1, 1)
		late, err := s.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer late.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // committed below
		count(t, db.New(late), webhook, past(2), "deal.moved", 200, 1, 1)
		ended := make(chan error, 1)
		go func() { ended <- newStatistician(s).Work(t.Context(), nil) }()
		eventually(t, "the job waits for the result", func() bool { return waiting(t, super, "%LockDay%") })
		if err := late.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if got := summedUp(t, s, webhook)[date(2)]; got != 2 {
			t.Errorf("summed up are %d calls, want both", got)
		}
	})

	t.Run("is waited for by a late result that it did not see", func(t *testing.T) {
		t.Parallel()
		database := testenv.DB(t)
		s, super := open(t, database, testenv.Worker), open(t, database, testenv.Superuser)
		webhook := uuid.Must(uuid.NewV7())
		count(t, s.Queries(), webhook, past(2), "deal.moved", 200, 1, 1)
		job, err := s.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer job.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // committed below
		q := db.New(job)
		if err := q.LockDay(t.Context(), "statistics of "+date(2)); err != nil {
			t.Fatal(err)
		}
		if err := q.SumUpDay(t.Context(), db.SumUpDayParams{Day: past(2), WebhookIds: []uuid.UUID{webhook}, Begins: past(2), Ends: past(1)}); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			count(t, s.Queries(), webhook, past(2), "deal.moved", 200, 1, 1)
		}()
		eventually(t, "the result waits for the job", func() bool { return waiting(t, super, "%AddStats%") })
		if err := job.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-ended
		if got := summedUp(t, s, webhook); len(got) != 0 {
			t.Errorf("summed up is still %v", got)
		}
	})

	t.Run("removes what is older than a month, of webhooks without calls since too", func(t *testing.T) {
		t.Parallel()
		s := open(t, testenv.DB(t), testenv.Worker)
		active, quiet := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
		for days := range 35 {
			count(t, s.Queries(), active, past(days), "deal.moved", 200, 1, 1)
		}
		count(t, s.Queries(), quiet, past(32), "deal.moved", 200, 1, 1)
		exec(t, s, `INSERT INTO webhook_stats_daily SELECT w, current_date - d, $1, '{}', '{}', '{}', '{}', '{}', '{}', '{}'
			FROM unnest(ARRAY[$2, $3]::uuid[]) AS w, generate_series(32, 34) AS d`, tenant, active, quiet)
		workOut(t, s)
		for _, table := range []string{"webhook_stats_hourly", "webhook_durations_hourly"} {
			oldest := ask[time.Time](t, s, "SELECT min(hour) FROM "+table)
			if left := ask[int](t, s, "SELECT count(*) FROM "+table); left != 32 || !oldest.Equal(past(31)) {
				t.Errorf("%s: left are %d rows from %s on, want those of 32 days from %s on", table, left, oldest, past(31))
			}
		}
		if oldest := ask[time.Time](t, s, "SELECT min(day) FROM webhook_stats_daily"); oldest.Before(past(31)) {
			t.Errorf("the oldest day that is left is %s", oldest)
		}
	})

	t.Run("goes on where it was broken off", func(t *testing.T) {
		t.Parallel()
		s := open(t, testenv.DB(t), testenv.Worker)
		var webhooks []uuid.UUID
		for range 3 {
			webhooks = append(webhooks, uuid.Must(uuid.NewV7()))
			count(t, s.Queries(), webhooks[len(webhooks)-1], past(2), "deal.moved", 200, 1, 1)
		}
		job := newStatistician(s)
		job.after = webhooks[1]
		if err := job.Work(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if len(summedUp(t, s, webhooks[1])) != 0 || len(summedUp(t, s, webhooks[2])) != 1 {
			t.Error("it did not go on after the webhook that it had come to")
		}
		if err := job.Work(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if len(summedUp(t, s, webhooks[0])) != 1 || len(summedUp(t, s, webhooks[1])) != 1 {
			t.Error("the next walk did not begin with the first webhook")
		}
	})
}

// waiting says whether a statement like this waits for a lock.
func waiting(t *testing.T, super *store.Store, like string) bool {
	t.Helper()
	return ask[bool](t, super, `SELECT EXISTS (SELECT FROM pg_stat_activity
		WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE $1)`, like)
}
