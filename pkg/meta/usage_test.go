package meta_test

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/meta"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name          string
		app, business string // headers
		want          meta.Usage
		regain        time.Duration
	}{
		{name: "no headers"},
		{
			name: "both", app: `{"call_count":28,"total_time":25,"total_cputime":24}`,
			business: `{"1002":[{"type":"messenger","call_count":100,"total_cputime":1,"total_time":2,"estimated_time_to_regain_access":19}],
				"1001":[{"type":"pages","call_count":5},{"type":"whatsapp","estimated_time_to_regain_access":3}]}`,
			want: meta.Usage{App: &meta.Load{Calls: 28, Time: 25, CPUTime: 24}, Business: []meta.BusinessLoad{
				{ID: "1001", Type: "pages", Load: meta.Load{Calls: 5}},
				{ID: "1001", Type: "whatsapp", RegainAccess: 3 * time.Minute},
				{ID: "1002", Type: "messenger", Load: meta.Load{Calls: 100, Time: 2, CPUTime: 1}, RegainAccess: 19 * time.Minute},
			}},
			regain: 19 * time.Minute, // minutes, not seconds
		},
		{
			name: "numbers may be strings or broken numbers, never negative", app: `{"call_count":"28","total_time":25.2,"total_cputime":-1}`,
			want: meta.Usage{App: &meta.Load{Calls: 28, Time: 26}},
		},
		{name: "broken JSON is passed over", app: `{"call_count":`, business: `{"1":[{"type":`},
		{name: "other JSON is passed over", app: `[]`, business: `{"1":{"type":"x"}}`},
		{
			name: "a broken one does not take the others along", app: `null`, business: `{"1":[null,5,{"type":7,"call_count":{}}]}`,
			want: meta.Usage{Business: []meta.BusinessLoad{{ID: "1", Type: "7"}}},
		},
		{
			name: "a time beyond reason is cut", business: `{"1":[{"estimated_time_to_regain_access":1e300}]}`,
			want:   meta.Usage{Business: []meta.BusinessLoad{{ID: "1", RegainAccess: 720 * time.Hour}}},
			regain: 720 * time.Hour,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			header := http.Header{}
			header.Set("X-App-Usage", tc.app)
			header.Set("X-Business-Use-Case-Usage", tc.business)
			got := meta.UsageOf(header)
			if !reflect.DeepEqual(got, tc.want) || got.RegainAccess() != tc.regain {
				t.Errorf("usage %+v, access after %s; want %+v, %s", got, got.RegainAccess(), tc.want, tc.regain)
			}
		})
	}
	t.Run("at most 100 accounts are kept", func(t *testing.T) {
		t.Parallel()
		many := make([]string, 1000)
		for i := range many {
			many[i] = fmt.Sprintf(`"%d":[{"type":"pages"}]`, i)
		}
		got := meta.UsageOf(http.Header{"X-Business-Use-Case-Usage": {"{" + strings.Join(many, ",") + "}"}})
		if len(got.Business) != 100 {
			t.Errorf("%d kept", len(got.Business))
		}
	})
}
