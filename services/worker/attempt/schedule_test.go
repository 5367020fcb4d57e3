package attempt

import (
	"testing"
	"time"
)

func TestSchedule_After(t *testing.T) {
	t.Parallel()
	long := Schedule{10 * time.Second, 30 * time.Second, 31 * time.Second, 24 * time.Hour}
	for _, tc := range []struct {
		name       string
		schedule   Schedule
		attempt    int
		retryAfter time.Duration
		jitter     float64
		delay      time.Duration
		more       bool
	}{
		{name: "first failure waits the first delay", schedule: DefaultSchedule, attempt: 1, delay: time.Second, more: true},
		{name: "second failure waits the second", schedule: DefaultSchedule, attempt: 2, delay: 5 * time.Second, more: true},
		{name: "third failure waits the last delay", schedule: DefaultSchedule, attempt: 3, delay: 15 * time.Second, more: true},
		{name: "fourth exhausts, whatever Retry-After says", schedule: DefaultSchedule, attempt: 4, retryAfter: time.Minute},
		{name: "an empty schedule has one attempt", attempt: 1},
		{name: "a longer Retry-After wins", schedule: DefaultSchedule, attempt: 1, retryAfter: 20 * time.Second, delay: 20 * time.Second, more: true},
		{name: "a shorter Retry-After does not", schedule: DefaultSchedule, attempt: 3, retryAfter: 5 * time.Second, delay: 15 * time.Second, more: true},
		{name: "Retry-After is capped", schedule: DefaultSchedule, attempt: 1, retryAfter: 24 * time.Hour, delay: time.Hour, more: true},
		{name: "the schedule's own delay is not", schedule: long, attempt: 4, delay: 24 * time.Hour, more: true},
		{name: "delays up to 30 s have no jitter", schedule: long, attempt: 2, jitter: 0.5, delay: 30 * time.Second, more: true},
		{name: "longer ones grow by up to a tenth", schedule: long, attempt: 3, jitter: 0.5, delay: 32*time.Second + 550*time.Millisecond, more: true},
		{name: "a long Retry-After as well", schedule: long, attempt: 1, retryAfter: time.Minute, jitter: 0.5, delay: 63 * time.Second, more: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			jitter := func() float64 { return tc.jitter }
			if delay, more := tc.schedule.After(tc.attempt, tc.retryAfter, jitter); delay != tc.delay || more != tc.more {
				t.Errorf("After(%d, %s) = %s, %t; want %s, %t", tc.attempt, tc.retryAfter, delay, more, tc.delay, tc.more)
			}
		})
	}
}
