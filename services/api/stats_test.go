package api_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/histogram"
	"github.com/primezap/primezap/pkg/store/db"
)

// stats is an answer as tests read it.
type stats struct {
	WebhookID uuid.UUID
	Period    struct{ From, To time.Time }
	Stats     struct {
		TotalCalls, SuccessfulCalls, FailedCalls int64
		SuccessRate, AverageDurationMs           *float64
		P50DurationMs, P95DurationMs             *float64
		ByDay                                    []statsPart
		ByEvent                                  []statsPart
		ByStatus                                 []statsPart
	}
}

type statsPart struct {
	Date, Event               string
	Status                    *int
	Total, Successful, Failed int64
}

// attempted is a log row.
type attempted struct {
	at         time.Time
	event      string
	status     int16
	durationMs int32
	counted    bool
}

func (a attempted) success() bool { return a.status/100 == 2 }

// record writes log rows and counts them, as the ledger does.
func (f *fixture) record(webhook uuid.UUID, logs []attempted) {
	f.Helper()
	first, last := time.Now().UTC().AddDate(0, 0, -32), time.Now().UTC()
	_, err := f.worker.Queries().EnsurePartitions(f.Context(), first, last)
	f.check(err)
	var (
		p db.InsertLogsParams
		s db.AddStatsParams
		d db.AddDurationsParams
	)
	type hourKey struct {
		hour   time.Time
		event  string
		status int16
	}
	type bucketKey struct {
		hour   time.Time
		bucket int16
	}
	sums, buckets := map[hourKey][3]int64{}, map[bucketKey]int64{}
	for _, l := range logs {
		p.WebhookIds, p.Created, p.Ids = append(p.WebhookIds, webhook), append(p.Created, l.at), append(p.Ids, uuid.New())
		p.Tenants, p.DeliveryIds, p.EventIds = append(p.Tenants, f.tenant), append(p.DeliveryIds, uuid.New()), append(p.EventIds, "e")
		p.EventTypes, p.Attempts, p.Kinds = append(p.EventTypes, l.event), append(p.Attempts, 1), append(p.Kinds, int16(len(p.Kinds)%3))
		p.Counted, p.Success, p.Statuses = append(p.Counted, l.counted), append(p.Success, l.success()), append(p.Statuses, l.status)
		p.DurationMs, p.DnsMs, p.ConnectMs = append(p.DurationMs, l.durationMs), append(p.DnsMs, -1), append(p.ConnectMs, -1)
		p.TlsMs, p.FirstByteMs = append(p.TlsMs, -1), append(p.FirstByteMs, -1)
		p.RequestHeaders, p.ResponseHeaders = append(p.RequestHeaders, ""), append(p.ResponseHeaders, "")
		p.ResponseBodies, p.ErrorClasses, p.ErrorMessages = append(p.ResponseBodies, ""), append(p.ErrorClasses, ""), append(p.ErrorMessages, "")
		if !l.counted {
			continue
		}
		key := hourKey{l.at.Truncate(time.Hour), l.event, l.status}
		sum := sums[key]
		sum[0]++
		if l.success() {
			sum[1]++
		}
		sum[2] += int64(l.durationMs)
		sums[key] = sum
		buckets[bucketKey{key.hour, histogram.Bucket(l.durationMs)}]++
	}
	for key, sum := range sums {
		s.WebhookIds, s.Hours, s.EventTypes = append(s.WebhookIds, webhook), append(s.Hours, key.hour), append(s.EventTypes, key.event)
		s.Statuses, s.Tenants = append(s.Statuses, key.status), append(s.Tenants, f.tenant)
		s.Totals, s.Successful, s.DurationMsSums = append(s.Totals, sum[0]), append(s.Successful, sum[1]), append(s.DurationMsSums, sum[2])
	}
	for key, total := range buckets {
		d.WebhookIds, d.Hours, d.Buckets = append(d.WebhookIds, webhook), append(d.Hours, key.hour), append(d.Buckets, key.bucket)
		d.Tenants, d.Totals = append(d.Tenants, f.tenant), append(d.Totals, total)
	}
	f.check(f.worker.InTx(f.Context(), func(q *db.Queries) error {
		if err := q.InsertLogs(f.Context(), p); err != nil {
			return err
		}
		if err := q.AddStats(f.Context(), s); err != nil {
			return err
		}
		return q.AddDurations(f.Context(), d)
	}))
}

// sumUp gives a webhook's day a row of its own, as a job does.
func (f *fixture) sumUp(webhook uuid.UUID, day time.Time) {
	f.Helper()
	f.check(f.worker.Queries().SumUpDay(f.Context(), db.SumUpDayParams{
		Day: day, WebhookIds: []uuid.UUID{webhook}, Begins: day, Ends: day.AddDate(0, 0, 1),
	}))
}

// Whichever days are summed up, the answer equals the counted log rows of the
// period in every part.
func TestStats_EqualTheLogs(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	random := rand.New(rand.NewPCG(7, 0)) //nolint:gosec // to be the same again
	statuses := []int16{200, 204, 404, 500, 0}
	events := []string{"deal.moved", "message.received", "contact.created"}
	now := time.Now().UTC()
	begins := now.AddDate(0, 0, -30).Truncate(time.Hour)
	attempt := func() attempted {
		return attempted{
			at: now.Add(-time.Duration(random.Int64N(int64(31 * 24 * time.Hour)))).Truncate(time.Microsecond), event: events[random.IntN(3)],
			status: statuses[random.IntN(5)], durationMs: int32(math.Exp(random.Float64() * 10)), counted: random.IntN(20) > 0,
		}
	}
	var logs []attempted
	for range 3000 {
		logs = append(logs, attempt())
	}
	// On the edges: of the period, of a day that is summed up.
	for _, edge := range []time.Time{begins, begins.AddDate(0, 0, 1).Truncate(24 * time.Hour), now.Truncate(24 * time.Hour)} {
		for _, at := range []time.Time{edge.Add(-time.Microsecond), edge, edge.Add(time.Microsecond)} {
			if at.Before(now) {
				logs = append(logs, attempted{at: at, event: "deal.moved", status: 200, durationMs: 10, counted: true})
			}
		}
	}
	h, other := f.newHook(""), f.newHook("")
	f.record(h.ID, logs)
	f.record(other.ID, logs[:100])

	check := func(name string) {
		t.Helper()
		got := into[stats](f.do("GET", hooksPath+"/"+h.ID.String()+"/stats", "").is(http.StatusOK))
		from := got.Period.From
		if !from.Equal(from.Truncate(time.Hour)) || now.Sub(from) < 30*24*time.Hour || now.Sub(from) > 30*24*time.Hour+2*time.Hour {
			t.Fatalf("%s: the period begins at %s", name, from)
		}
		want := stats{WebhookID: h.ID, Period: got.Period}
		days, types, codes := map[string]statsPart{}, map[string]statsPart{}, map[int]statsPart{}
		var durations []int32
		sum := 0.0
		for _, l := range logs {
			if !l.counted || l.at.Before(from) {
				continue
			}
			part := statsPart{Total: 1}
			if l.success() {
				part.Successful = 1
			}
			part.Failed = 1 - part.Successful
			add := func(to statsPart) statsPart {
				return statsPart{Total: to.Total + part.Total, Successful: to.Successful + part.Successful, Failed: to.Failed + part.Failed}
			}
			days[l.at.Format(time.DateOnly)] = add(days[l.at.Format(time.DateOnly)])
			types[l.event] = add(types[l.event])
			codes[int(l.status)] = add(codes[int(l.status)])
			want.Stats.TotalCalls++
			want.Stats.SuccessfulCalls += part.Successful
			want.Stats.FailedCalls += part.Failed
			durations = append(durations, l.durationMs)
			sum += float64(l.durationMs)
		}
		for date, part := range days {
			part.Date = date
			want.Stats.ByDay = append(want.Stats.ByDay, part)
		}
		for event, part := range types {
			part.Event = event
			want.Stats.ByEvent = append(want.Stats.ByEvent, part)
		}
		for status, part := range codes {
			part := statsPart{Total: part.Total}
			if status != 0 {
				part.Status = &status
			}
			want.Stats.ByStatus = append(want.Stats.ByStatus, part)
		}
		slices.SortFunc(want.Stats.ByDay, func(a, b statsPart) int { return cmp.Compare(a.Date, b.Date) })
		slices.SortFunc(want.Stats.ByEvent, func(a, b statsPart) int { return cmp.Compare(a.Event, b.Event) })
		slices.SortFunc(want.Stats.ByStatus, func(a, b statsPart) int {
			number := func(p statsPart) int {
				if p.Status == nil {
					return 0
				}
				return *p.Status
			}
			return cmp.Compare(number(a), number(b))
		})
		want.Stats.SuccessRate = new(float64(want.Stats.SuccessfulCalls) / float64(want.Stats.TotalCalls))
		want.Stats.AverageDurationMs = new(sum / float64(want.Stats.TotalCalls))
		slices.Sort(durations)
		for _, p := range []struct {
			part float64
			got  *float64
		}{{0.5, got.Stats.P50DurationMs}, {0.95, got.Stats.P95DurationMs}} {
			exact := float64(durations[int(math.Ceil(p.part*float64(len(durations))))-1])
			if p.got == nil || math.Abs(*p.got-exact) > 0.05*exact {
				t.Errorf("%s: percentile %g is %v, want %g within 5 %%", name, p.part, p.got, exact)
			}
		}
		want.Stats.P50DurationMs, want.Stats.P95DurationMs = got.Stats.P50DurationMs, got.Stats.P95DurationMs
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%+v\nwant\n%+v", name, got, want)
		}
	}
	check("nothing is summed up")
	today := now.Truncate(24 * time.Hour)
	for _, days := range random.Perm(31) {
		if random.IntN(2) == 0 {
			f.sumUp(h.ID, today.AddDate(0, 0, -days))
		}
	}
	check("some days are summed up")
	for days := range 32 {
		f.sumUp(h.ID, today.AddDate(0, 0, -days))
	}
	check("all days that are over are summed up")
	var late []attempted
	for range 30 {
		late = append(late, attempt())
	}
	f.record(h.ID, late)
	logs = append(logs, late...)
	check("some results came late")
}

func TestStats_Nothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook("")
	a := f.do("GET", hooksPath+"/"+h.ID.String()+"/stats", "").is(http.StatusOK)
	got := into[stats](a).Stats
	if got.TotalCalls != 0 || got.SuccessRate != nil || got.AverageDurationMs != nil || got.P50DurationMs != nil || got.P95DurationMs != nil ||
		got.ByDay == nil || got.ByEvent == nil || got.ByStatus == nil {
		t.Errorf("without calls: %s", a.body)
	}
	f.do("GET", hooksPath+"/"+uuid.NewString()+"/stats", "").refuses(http.StatusNotFound)
	f.record(h.ID, []attempted{{at: time.Now().UTC(), event: "deal.moved", status: 200, durationMs: 7, counted: true}})
	if got := into[stats](f.do("GET", hooksPath+"/"+h.ID.String()+"/stats", "").is(http.StatusOK)).Stats; got.TotalCalls != 1 || *got.P50DurationMs != 7 {
		t.Errorf("after a call: %+v", got)
	}
	f.key = f.newKey(uuid.Must(uuid.NewV7()), "webhooks:read")
	f.do("GET", hooksPath+"/"+h.ID.String()+"/stats", "").refuses(http.StatusNotFound)
}
