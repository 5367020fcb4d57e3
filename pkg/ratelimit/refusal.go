package ratelimit

import (
	"fmt"
	"time"
)

// Refusal is the error of what a window does not let through. Nothing was taken.
type Refusal struct {
	Connection Connection
	Requested  int64
	// State is the tightest window: of those that refuse the one that refuses for
	// longest.
	State
	// Never says that Requested is more than the whole limit: no wait will do.
	Never bool
	// Windows are all of the connection's windows.
	Windows []State
}

// Error says which window refused.
func (r *Refusal) Error() string {
	if r.Never {
		return fmt.Sprintf("rate limit: %d messages are more than the limit %s of connection %s, %d", r.Requested, r.Window, r.Connection.ID, r.Limit)
	}
	return fmt.Sprintf("rate limit: %d of %d messages remain %s for connection %s, and %d are asked for; more from %s",
		r.Remaining(), r.Limit, r.Window, r.Connection.ID, r.Requested, r.ResetsAt.UTC().Format(time.RFC3339))
}

// refusal is nil where all windows let n more through.
func refusal(connection Connection, n int64, windows []State, asked []State) *Refusal {
	var tightest *Refusal
	for _, s := range asked {
		if s.Used+n <= s.Limit {
			continue
		}
		r := &Refusal{Connection: connection, Requested: n, State: s, Never: n > s.Limit, Windows: windows}
		switch {
		case tightest == nil, r.Never && !tightest.Never:
			tightest = r
		case r.Never != tightest.Never:
		case r.Never && r.Limit < tightest.Limit, !r.Never && r.ResetsIn > tightest.ResetsIn:
			tightest = r
		}
	}
	return tightest
}
