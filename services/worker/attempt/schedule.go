package attempt

import "time"

const (
	maxRetryAfter = time.Hour        // longer waits asked for by a receiver are cut to it
	jitterOver    = 30 * time.Second // shorter delays are kept to the letter
	jitterShare   = 0.1
)

// Schedule holds the delays between the attempts of a delivery: with n delays
// there are n+1 attempts.
type Schedule []time.Duration

// DefaultSchedule is that of a webhook that brings none. It is not modified.
var DefaultSchedule = Schedule{time.Second, 5 * time.Second, 15 * time.Second}

// After returns how long to wait after the failure of attempt, the first being
// 1, and whether there is another attempt at all. A retryAfter longer than the
// schedule's delay wins, up to an hour. Delays over 30 s grow by jitter, in
// [0, 1), of a tenth: endpoints that failed together do not return together.
func (s Schedule) After(attempt int, retryAfter time.Duration, jitter func() float64) (delay time.Duration, more bool) {
	if attempt > len(s) {
		return 0, false
	}
	delay = max(s[attempt-1], min(retryAfter, maxRetryAfter))
	if delay > jitterOver {
		delay += time.Duration(jitter() * jitterShare * float64(delay))
	}
	return delay, true
}
