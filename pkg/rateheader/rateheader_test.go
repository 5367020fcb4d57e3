package rateheader_test

import (
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/rateheader"
)

func TestHeader(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name          string
		limits        []rateheader.Limit
		policy, state string
	}{
		{
			name:   "seconds are rounded up",
			limits: []rateheader.Limit{{Name: "ingest", Quota: 500, Window: time.Second, Left: 437, Whole: 3*time.Second + 1}},
			policy: `"ingest";q=500;w=1`, state: `"ingest";r=437;t=4`,
		},
		{
			name:   "a quota for no time has none",
			limits: []rateheader.Limit{{Name: "webhooks", Quota: 1000}},
			policy: `"webhooks";q=1000`, state: `"webhooks";r=0`,
		},
		{
			name:   "several are a list",
			limits: []rateheader.Limit{{Name: "a", Quota: 5, Window: time.Minute, Left: 5}, {Name: "b", Quota: 9, Window: time.Hour, Left: 1, Whole: time.Minute}},
			policy: `"a";q=5;w=60, "b";q=9;w=3600`, state: `"a";r=5;t=0, "b";r=1;t=60`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			header := rateheader.Header(tc.limits...)
			if got := header.Get("RateLimit-Policy"); got != tc.policy {
				t.Errorf("RateLimit-Policy: %s, want %s", got, tc.policy)
			}
			if got := header.Get("RateLimit"); got != tc.state {
				t.Errorf("RateLimit: %s, want %s", got, tc.state)
			}
		})
	}
}
