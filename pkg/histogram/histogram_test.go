package histogram_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/primezap/primezap/pkg/histogram"
)

// durations are all up to 100 s, then ever fewer up to the longest.
func durations(yield func(int32) bool) {
	for ms := int64(0); ms <= math.MaxInt32; ms += 1 + max(0, ms-100_000)/1000 {
		if !yield(int32(ms)) {
			return
		}
	}
	yield(math.MaxInt32)
}

func TestBucket_DoesNotChange(t *testing.T) {
	t.Parallel()
	// Stored histograms must be read by later versions.
	for ms, want := range map[int32]int16{
		-1: 0, 0: 0, 1: 8, 2: 13, 3: 16, 7: 24, 8: 26, 12: 30, 255: 64, 256: 65, 1000: 80, 30_000: 119, math.MaxInt32: 248,
	} {
		if got := histogram.Bucket(ms); got != want {
			t.Errorf("Bucket(%d) = %d, want %d", ms, got, want)
		}
	}
}

func TestMilliseconds_ErrorIsBounded(t *testing.T) {
	t.Parallel()
	worst, last := 0.0, int16(0)
	for ms := range durations {
		bucket := histogram.Bucket(ms)
		if bucket < last {
			t.Fatalf("%d ms are in bucket %d, below that of shorter ones", ms, bucket)
		}
		last = bucket
		off := math.Abs(histogram.Milliseconds(bucket)-float64(ms)) / max(float64(ms), 1)
		worst = max(worst, off)
		if off > 0.05 || ms <= 10 && off > 1e-9 {
			t.Fatalf("%d ms are in bucket %d, which stands for %g: off by %.2f %%", ms, bucket, histogram.Milliseconds(bucket), 100*off)
		}
	}
	t.Logf("at worst off by %.2f %%", 100*worst)
}

func TestCounts_Percentile(t *testing.T) {
	t.Parallel()
	if _, ok := (histogram.Counts{}).Percentile(0.5); ok {
		t.Error("there is a percentile of nothing")
	}
	random := rand.New(rand.NewPCG(1, 0)) //nolint:gosec // to be the same again
	for range 200 {
		all := make([]int32, 1+random.IntN(300))
		counts := histogram.Counts{}
		for i := range all {
			all[i] = int32(math.Exp(random.Float64() * 10))
			counts[histogram.Bucket(all[i])]++
		}
		slices.Sort(all)
		for _, part := range []float64{0.01, 0.5, 0.95, 1} {
			want := float64(all[int(math.Ceil(part*float64(len(all))))-1])
			if got, ok := counts.Percentile(part); !ok || math.Abs(got-want) > 0.05*want {
				t.Fatalf("the %g percentile of %v is %g, want %g within 5 %%", part, all, got, want)
			}
		}
	}
}
