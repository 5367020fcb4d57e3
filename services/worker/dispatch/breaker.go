package dispatch

import (
	"errors"

	"github.com/sony/gobreaker/v2"
)

var errFailed = errors.New("attempt failed")

// newBreaker opens when, of 20 attempts or more in 30 s, 90 % failed; after 10 s
// it lets one through.
func newBreaker() *gobreaker.TwoStepCircuitBreaker[any] {
	return gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		MaxRequests:  1,
		Interval:     breakerWindow,
		BucketPeriod: breakerBuckets,
		Timeout:      breakerOpenFor,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return c.Requests >= breakerAttempts && float64(c.TotalFailures) >= breakerFailures*float64(c.Requests)
		},
	})
}
