package e2e

import (
	"fmt"
	"net/http"
	"reflect"
)

// statistics are a webhook's, as the API shows them.
type statistics struct {
	TotalCalls      int
	SuccessfulCalls int
	FailedCalls     int
	ByDay           []callsOfDay
	ByEvent         []callsOfEvent
	ByStatus        []callsOfStatus
}

type callsOfDay struct {
	Date                      string
	Total, Successful, Failed int
}

type callsOfEvent struct {
	Event                     string
	Total, Successful, Failed int
}

type callsOfStatus struct {
	Status *int // nil without an answer
	Total  int
}

// statisticsFaults checks that what the API tells of a webhook is what its log says,
// day by day, type by type, status by status.
func (w *world) statisticsFaults(h *subscription) []string {
	w.t.Helper()
	const counts = "count(*)::int, (count(*) FILTER (WHERE success))::int, (count(*) FILTER (WHERE NOT success))::int"
	const counted = " FROM webhook_logs WHERE counted AND webhook_id = $1"
	want := statistics{
		ByDay:    rowsOf[callsOfDay](w.sys, "SELECT (created_at AT TIME ZONE 'UTC')::date::text, "+counts+counted+" GROUP BY 1 ORDER BY 1", h.id),
		ByEvent:  rowsOf[callsOfEvent](w.sys, `SELECT event_type COLLATE "C", `+counts+counted+" GROUP BY 1 ORDER BY 1", h.id),
		ByStatus: rowsOf[callsOfStatus](w.sys, "SELECT nullif(status, 0)::int, count(*)::int"+counted+" GROUP BY 1 ORDER BY 1 NULLS FIRST", h.id),
	}
	for _, day := range want.ByDay {
		want.TotalCalls += day.Total
		want.SuccessfulCalls += day.Successful
		want.FailedCalls += day.Failed
	}
	var got struct{ Stats statistics }
	w.tenant.call(http.MethodGet, "/api/custom-webhooks/"+h.id+"/stats", nil, http.StatusOK, &got)
	if !reflect.DeepEqual(got.Stats, want) {
		return []string{fmt.Sprintf("the statistics of %s are %+v, the log says %+v", h.name, got.Stats, want)}
	}
	return nil
}
