package metatest

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

// Ms is a duration that is a number of milliseconds in JSON.
type Ms time.Duration

// MarshalJSON writes the milliseconds.
func (d Ms) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).Milliseconds()) }

// UnmarshalJSON reads the milliseconds.
func (d *Ms) UnmarshalJSON(text []byte) error {
	var ms int64
	if err := json.Unmarshal(text, &ms); err != nil {
		return fmt.Errorf("milliseconds: %w", err)
	}
	*d = Ms(time.Duration(ms) * time.Millisecond)
	return nil
}

// Limits are how much Meta takes. A limit of zero is none. What is refused counts
// towards no limit.
type Limits struct {
	NumberPerSecond int `json:"numberPerSecond"` // sends of a phone number: 130429
	WABAPerMinute   int `json:"wabaPerMinute"`   // calls for a WhatsApp Business account: 80007
	AppPerMinute    int `json:"appPerMinute"`    // calls of the app: 4
	UserPerMinute   int `json:"userPerMinute"`   // calls with the tokens of a user: 17
	PagePerMinute   int `json:"pagePerMinute"`   // calls with the tokens of a page: 32
	// From a phone number to a person one send each PairEvery, of which PairBurst may
	// be taken ahead: 131056.
	PairEvery Ms  `json:"pairEveryMs"`
	PairBurst int `json:"pairBurst"`
}

// DocumentedLimits are Meta's for sends by WhatsApp.
func DocumentedLimits() Limits {
	return Limits{NumberPerSecond: 80, PairEvery: Ms(6 * time.Second), PairBurst: 45}
}

// SetLimits changes the limits. What was sent before counts.
func (s *Server) SetLimits(l Limits) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits = l
}

// usage is what has been taken of limits.
type usage struct {
	windows map[string]*window // by what is limited
	pairs   map[pair]time.Time // until when each has borrowed
}

type pair struct{ number, person string }

func newUsage() usage {
	return usage{windows: make(map[string]*window), pairs: make(map[pair]time.Time)}
}

// window is when the last calls were, no more of them than the limit: any span of
// time is held against it, wherever it begins.
type window struct{ at []time.Time }

// full reports whether limit calls were within span before now.
func (w *window) full(now time.Time, span time.Duration, limit int) bool {
	for len(w.at) > 0 && now.Sub(w.at[0]) >= span {
		w.at = w.at[1:]
	}
	return len(w.at) >= limit
}

// percent is how much of the limit is taken.
func (w *window) percent(limit int) int {
	if w == nil || limit == 0 {
		return 0
	}
	return min(100, 100*len(w.at)/limit)
}

func (u *usage) window(name string) *window {
	w := u.windows[name]
	if w == nil {
		w = &window{}
		u.windows[name] = w
	}
	return w
}

// Names of windows, with the id of what is limited behind them.
const (
	appWindow    = "app"
	userWindow   = "user "
	pageWindow   = "page "
	wabaWindow   = "waba "
	numberWindow = "number "
)

// maxPairs is from when on pairs that owe nothing are forgotten.
const maxPairs = 100_000

// taken is one limit that a call is counted against.
type taken struct {
	name  string
	limit int
	span  time.Duration
	code  int
}

// take counts a call, or says which limit refuses it; then it counts nowhere. The
// caller holds mu.
func (s *Server) take(c *call) *GraphError {
	now := s.now()
	windows := []taken{{appWindow, s.limits.AppPerMinute, time.Minute, 4}}
	switch c.holder.kind {
	case holderUser:
		windows = append(windows, taken{userWindow + c.holder.id, s.limits.UserPerMinute, time.Minute, 17})
	case holderPage:
		windows = append(windows, taken{pageWindow + c.holder.id, s.limits.PagePerMinute, time.Minute, 32})
	}
	if c.number.ID != "" {
		windows = append(windows, taken{wabaWindow + c.number.WABA, s.limits.WABAPerMinute, time.Minute, 80007})
		if c.kind == callSend {
			windows = append(windows, taken{numberWindow + c.number.ID, s.limits.NumberPerSecond, time.Second, 130429})
		}
	}
	for _, t := range windows {
		if t.limit > 0 && s.used.window(t.name).full(now, t.span, t.limit) {
			return ErrorOf(t.code)
		}
	}
	if every := time.Duration(s.limits.PairEvery); c.number.ID != "" && c.kind == callSend && every > 0 {
		between := pair{c.number.ID, c.to}
		until := s.used.pairs[between]
		if until.Before(now) {
			until = now
		}
		until = until.Add(every)
		if until.Sub(now) > every*time.Duration(max(1, s.limits.PairBurst)) {
			return ErrorOf(131056)
		}
		s.used.pairs[between] = until
		if len(s.used.pairs) > maxPairs {
			maps.DeleteFunc(s.used.pairs, func(_ pair, until time.Time) bool { return until.Before(now) })
		}
	}
	for _, t := range windows {
		if t.limit > 0 {
			w := s.used.window(t.name)
			w.at = append(w.at, now)
		}
	}
	return nil
}
