package api_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"
)

type logPage = list[struct{ EventID string }]

func eventsOf(p logPage) (events []string) {
	for _, r := range p.Data {
		events = append(events, r.EventID)
	}
	return events
}

// A reader who goes on by cursor sees what there was when it began, each row once,
// whatever is written meanwhile; one who goes on by page does when it names the end
// of the time that it reads.
func TestLogs_StableUnderInsertion(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook("")
	path := hooksPath + "/" + h.ID.String() + "/logs"
	began := time.Now().UTC().Truncate(time.Millisecond)
	var rows []attempt
	var all, failed []string
	for n := range 12 {
		a := attempt{at: began.Add(-time.Duration(12-n/2) * time.Millisecond), event: "deal.moved", eventID: fmt.Sprintf("e%02d", n), status: 200}
		if n%3 == 0 {
			a.status, a.class = 500, "status"
			failed = append(failed, a.eventID)
		}
		rows, all = append(rows, a), append(all, a.eventID)
	}
	ids := f.log(h, rows...)
	// Newest first; two have the same time, and their ids decide.
	byID := func(events []string) []string {
		events = slices.Clone(events)
		slices.SortFunc(events, func(a, b string) int {
			i, j := slices.Index(all, a), slices.Index(all, b)
			if c := rows[j].at.Compare(rows[i].at); c != 0 {
				return c
			}
			return slices.Compare(ids[j][:], ids[i][:])
		})
		return events
	}
	inserted := 0
	insert := func() {
		inserted++
		for _, status := range []int16{200, 500} {
			f.log(h, attempt{at: began.Add(time.Duration(inserted) * time.Millisecond), event: "deal.moved", eventID: fmt.Sprint("later", inserted), status: status})
		}
	}
	for filter, want := range map[string][]string{"": byID(all), "success=false": byID(failed), "status=5xx": byID(failed), "event=deal.moved": byID(all)} {
		var byCursor, byPage []string
		upTo := filter + "&to=" + url.QueryEscape(began.Format(time.RFC3339Nano))
		for cursor, n := "", 1; ; n++ {
			query := "?" + filter + "&limit=2" + cursor
			if cursor == "" {
				query = "?" + upTo + "&limit=2" // where the reader begins
			}
			p := into[logPage](f.do("GET", path+query, "").is(http.StatusOK))
			byCursor = append(byCursor, eventsOf(p)...)
			byPage = append(byPage, eventsOf(into[logPage](f.do("GET", fmt.Sprintf("%s?%s&limit=2&page=%d", path, upTo, n), "").is(http.StatusOK)))...)
			if p.Pagination.NextCursor == nil {
				break
			}
			cursor = "&cursor=" + *p.Pagination.NextCursor
			insert()
		}
		if !slices.Equal(byCursor, want) {
			t.Errorf("%q by cursor: %v, want %v", filter, byCursor, want)
		}
		if !slices.Equal(byPage, want) {
			t.Errorf("%q by page: %v, want %v", filter, byPage, want)
		}
	}
}

// Totals stop at 10 000 in each of the ways that logs are looked for, pages do too,
// and the cursor goes on.
func TestLogs_CappedTotal(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook("")
	_, err := f.worker.Pool().Exec(t.Context(), `INSERT INTO webhook_logs (webhook_id, created_at, id, tenant_id, delivery_id, event_id, event_type,
			attempt, kind, counted, success, status, duration_ms)
		SELECT $1, now() - n * interval '1 microsecond', gen_random_uuid(), $2, gen_random_uuid(), 'one', 'deal.moved', 1, 0, true, false, 500, 1
		FROM generate_series(1, 10003) AS n`, h.ID, f.tenant)
	f.check(err)
	path := hooksPath + "/" + h.ID.String() + "/logs?limit=100"
	for _, filter := range []string{"", "&success=false", "&eventId=one", "&status=500", "&event=deal.moved"} {
		p := into[logPage](f.do("GET", path+filter+"&page=100", "").is(http.StatusOK)).Pagination
		if p.Total != 10_000 || p.TotalPages != 100 || !p.TotalIsCapped || p.NextCursor == nil {
			t.Fatalf("%s: %+v, want a capped total of 10 000 and a cursor", filter, p)
		}
		if rest := into[logPage](f.do("GET", path+filter+"&cursor="+*p.NextCursor, "").is(http.StatusOK)); len(rest.Data) != 3 || rest.Pagination.NextCursor != nil {
			t.Errorf("%s: %d rows after 10 000, want the last 3", filter, len(rest.Data))
		}
		f.do("GET", path+filter+"&page=101", "").refuses(422, "/page")
	}
	if p := into[logPage](f.do("GET", path+"&success=true&status=500", "").is(http.StatusOK)); p.Pagination.Total != 0 || len(p.Data) > 0 {
		t.Errorf("successes with the status 500: %+v", p.Pagination)
	}
	// An event reaches others too: theirs are not shown.
	other := f.newHook("")
	f.log(other, attempt{at: time.Now(), event: "deal.moved", eventID: "one", status: 200})
	if p := into[logPage](f.do("GET", hooksPath+"/"+other.ID.String()+"/logs?eventId=one", "").is(http.StatusOK)); p.Pagination.Total != 1 {
		t.Errorf("the other webhook's attempts at the event: %+v", p.Pagination)
	}
}
