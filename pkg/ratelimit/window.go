package ratelimit

import (
	"time"

	"github.com/google/uuid"
)

// Window is a kind of window.
type Window string

// The windows of every connection.
const (
	PerMinute Window = "per_minute"
	PerHour   Window = "per_hour"
	PerDay    Window = "per_day"
)

// Windows are all kinds, the shortest first: the order of every list of them here.
func Windows() []Window { return []Window{PerMinute, PerHour, PerDay} }

// Connection is one of a tenant's connections.
type Connection struct {
	Tenant uuid.UUID
	ID     uuid.UUID
}

// State is one window of a connection at one moment of the database's clock.
type State struct {
	Window     Window
	Limit      int64
	Overridden bool // the limit is the connection's own
	Used       int64
	Length     time.Duration
	// Start and ResetsAt are zero where no window has begun: the next message begins
	// one.
	Start, ResetsAt time.Time
	// ResetsIn is the time from that moment to ResetsAt.
	ResetsIn time.Duration
}

// Remaining is how many messages the window still lets through.
func (s State) Remaining() int64 { return max(s.Limit-s.Used, 0) }

// Receipt is what Take granted: the windows that it was taken from, by their starts.
// It may be stored, as JSON.
type Receipt struct {
	Connection Connection
	N          int64
	Starts     map[Window]time.Time
	// Windows are the connection's windows just after.
	Windows []State `json:"-"`
}
