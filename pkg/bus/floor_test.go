package bus_test

import (
	"testing"

	"github.com/primezap/primezap/pkg/bus"
)

func TestPurgeBelow_Zero(t *testing.T) {
	t.Parallel()
	if err := bus.PurgeBelow(t.Context(), nil, 0); err == nil {
		t.Error("0, which to the server means everything, was accepted")
	}
}

func TestStock_Floor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		live, bulk uint64
		want       uint64
	}{
		{name: "the lower of both", live: 7, bulk: 5, want: 5},
		{name: "zero where a consumer has acked nothing", live: 7, bulk: 0, want: 0},
		{name: "never beyond what the stream held", live: 12, bulk: 11, want: 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			stock := bus.Stock{Last: 10, Floors: map[string]bus.Floor{bus.ConsumerLive: {Seq: tc.live}, bus.ConsumerBulk: {Seq: tc.bulk}}}
			if got := stock.Floor(); got != tc.want {
				t.Errorf("Floor() = %d, want %d", got, tc.want)
			}
		})
	}
}
