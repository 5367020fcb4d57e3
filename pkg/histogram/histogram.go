// Package histogram keeps durations in log-scale buckets: those of any hours add
// up, and percentiles are read from the sum.
package histogram

import (
	"math"
	"slices"
)

// perDoubling is how many buckets a duration passes through until it has doubled.
const perDoubling = 8

// Bucket is the number of the bucket that holds a duration in milliseconds:
// ceil(8·log2(ms+1)), so 0 for less than one and 248 for the longest.
func Bucket(ms int32) int16 {
	return int16(math.Ceil(perDoubling * math.Log2(float64(max(ms, 0))+1)))
}

// Milliseconds is the duration that stands for all in a bucket: off by at most 5 %
// for each of them, and exact where the bucket holds one alone, as all do below
// 11 ms. It lies in the geometric middle of the bucket's shortest and longest.
func Milliseconds(bucket int16) float64 {
	shortest, longest := bounds(bucket)
	return math.Sqrt((shortest+1)*(longest+1)) - 1
}

// bounds are the shortest and longest whole milliseconds in a bucket. One that
// holds none, as some do below 11 ms, is taken for its upper end.
func bounds(bucket int16) (shortest, longest float64) {
	end := func(bucket int16) float64 { return math.Exp2(float64(bucket)/perDoubling) - 1 }
	// Rounding must not make a bound fall on the wrong side of a whole number.
	const hair = 1e-6
	longest = math.Floor(end(bucket) + hair)
	shortest = math.Floor(end(bucket-1)+hair) + 1
	if bucket <= 0 {
		return 0, 0
	}
	return min(shortest, longest), longest
}

// Counts are how many durations each bucket holds.
type Counts map[int16]int64

// Percentile is the duration, as Milliseconds has it, that the given part of all
// durations, above 0 and up to 1, does not exceed; false if there are none.
func (c Counts) Percentile(part float64) (ms float64, ok bool) {
	var total int64
	buckets := make([]int16, 0, len(c))
	for bucket, count := range c {
		if count > 0 {
			buckets = append(buckets, bucket)
			total += count
		}
	}
	if total == 0 {
		return 0, false
	}
	slices.Sort(buckets)
	wanted := int64(math.Ceil(part * float64(total)))
	for _, bucket := range buckets {
		if wanted -= c[bucket]; wanted <= 0 {
			return Milliseconds(bucket), true
		}
	}
	return Milliseconds(buckets[len(buckets)-1]), true
}
