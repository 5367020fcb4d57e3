package metatest

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/primezap/primezap/pkg/messaging"
)

// Sent is a message that was accepted. It was, also where its sender never got the
// answer.
type Sent struct {
	ID       string            `json:"id"`
	At       time.Time         `json:"at"`
	Channel  messaging.Channel `json:"channel"`
	Account  string            `json:"account"` // that sent it
	To       string            `json:"to"`      // as the call named them
	Person   string            `json:"person"`  // who got it: wa_id, business-scoped or scoped id
	Type     string            `json:"type"`
	Opaque   string            `json:"opaque,omitempty"` // biz_opaque_callback_data
	Answered bool              `json:"answered"`         // false: the answer was lost on purpose
	Body     json.RawMessage   `json:"body"`             // of the call
}

// record is what was accepted, as far as it is kept.
type record struct {
	keep     int
	sent     []Sent // the oldest first
	total    int
	refused  map[int]int // by code
	moments  map[string][]time.Time
	nmoments int
}

// maxMoments bounds the moments of all accounts together.
const maxMoments = 1_000_000

func newRecord(keep int) record {
	return record{keep: keep, refused: make(map[int]int), moments: make(map[string][]time.Time)}
}

func (r *record) add(one Sent) {
	if len(r.sent) == r.keep {
		r.sent = slices.Delete(r.sent, 0, max(1, r.keep/10)) // many at once: each costs a move of all
	}
	r.sent = append(r.sent, one)
	r.total++
	if r.nmoments < maxMoments {
		r.moments[one.Account] = append(r.moments[one.Account], one.At)
		r.nmoments++
	}
}

// lost notes that the answer for a message never came.
func (r *record) lost(id string) {
	for i := len(r.sent) - 1; i >= 0; i-- {
		if r.sent[i].ID == id {
			r.sent[i].Answered = false
			return
		}
	}
}

// Sent is what was accepted, in that order: all that is kept, or that to one person,
// by any of the names that a call or a webhook has for them.
func (s *Server) Sent(to ...string) []Sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(to) == 0 {
		return slices.Clone(s.record.sent)
	}
	var found []Sent
	for _, one := range s.record.sent {
		if slices.Contains(to, one.To) || slices.Contains(to, one.Person) {
			found = append(found, one)
		}
	}
	return found
}

// Counts is how much was accepted and refused so far, which is more than is kept.
type Counts struct {
	Accepted int            `json:"accepted"`
	Refused  map[int]int    `json:"refused"` // by code
	Peaks    map[string]int `json:"peaks"`   // by account
}

// Count counts what happened so far. Peaks are the most that was accepted in any
// span of time, wherever it begins.
func (s *Server) Count(span time.Duration) Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := Counts{Accepted: s.record.total, Refused: maps.Clone(s.record.refused), Peaks: make(map[string]int)}
	for account, at := range s.record.moments {
		counts.Peaks[account] = peak(at, span)
	}
	return counts
}

// peak is the most moments of a half-open span. They are in order.
func peak(at []time.Time, span time.Duration) (most int) {
	first := 0
	for i, t := range at {
		for t.Sub(at[first]) >= span {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}
