// Package render writes stored values as the contract has them.
package render

import (
	"time"

	"github.com/primezap/primezap/services/api/internal/openapi"
)

var (
	kinds  = []openapi.Kind{openapi.KindDelivery, openapi.KindTest, openapi.KindReplay}
	states = []openapi.DeliveryState{openapi.Waiting, openapi.InFlight, openapi.Retrying, openapi.Exhausted}
)

// Kind is why a delivery is made, by its number in the log and the queue.
func Kind(n int16) openapi.Kind { return kinds[n] }

// State is a delivery's state, by its number in the queue.
func State(n int16) openapi.DeliveryState { return states[n] }

// States are all states, at the place of their number in the queue.
func States() []openapi.DeliveryState { return states }

// Status is null where there was no answer.
func Status[T ~int | ~int16](status T) *int {
	if status == 0 {
		return nil
	}
	return new(int(status))
}

// Time is t in UTC, null where there is none.
func Time(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	return new(t.UTC())
}
