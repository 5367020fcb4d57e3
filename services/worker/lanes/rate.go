package lanes

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store/db"
)

// A webhook with a rate gets its rows a slice at a time: a tenth of a second's, or
// one. Its lane remembers the slices of the last second, whoever claimed them, and
// a claim takes no more than they leave of the rate; so no second, wherever it
// begins, has more. A slice that was claimed late is made up for: the pause
// between two is half of what the slice should last.
const slicesPerSecond = 10

func slice(rate int32) int32 { return (rate + slicesPerSecond - 1) / slicesPerSecond }

// pause is the least time between two slices, in seconds.
func pause(rate int32) float64 { return float64(slice(rate)) / float64(2*rate) }

// maxTurns bounds what a claimer remembers: beyond it, turns are found by polling.
const maxTurns = 1000

// allowed is how many rows a lane with a rate may have: no more than the rate
// leaves, nor than begin soon. What stands in line here would begin later, all at
// once.
func (c *Claimer) allowed(lane db.ClaimLanesRow) int {
	size := slice(lane.Rate)
	return min(int(size), int(lane.Rate-lane.Recent), c.Pool.IdleAt(lane.WebhookID)+int(size))
}

func (s *shares) addPaced(lane db.ClaimLanesRow) {
	if s.paced == nil {
		s.paced = map[uuid.UUID]int32{}
	}
	s.paced[lane.WebhookID] = lane.Rate
}

// unpaced are the lanes without a rate.
func (s *shares) unpaced() []uuid.UUID {
	if len(s.paced) == 0 {
		return s.ids
	}
	return slices.DeleteFunc(slices.Clone(s.ids), func(id uuid.UUID) bool { return s.paced[id] > 0 })
}

// pace is what the lanes with a rate have got.
func (s *shares) pace(rows []db.LeaseQueueRowsRow) (p db.PaceLanesParams) {
	took := make(map[uuid.UUID]int32, len(s.paced))
	for i := range rows {
		took[rows[i].WebhookID]++
	}
	for id, rate := range s.paced {
		p.WebhookIds = append(p.WebhookIds, id)
		p.Rates = append(p.Rates, rate)
		p.Took = append(p.Took, took[id])
		p.Pauses = append(p.Pauses, pause(rate))
	}
	return p
}

// remember keeps the turns of lanes that were just paced.
func (c *Claimer) remember(seconds []float64) {
	for _, s := range seconds {
		if len(c.turns) < maxTurns {
			c.turns = append(c.turns, time.Now().Add(time.Duration(s*float64(time.Second))))
		}
	}
}

// untilTurn is when to poll again if nothing is due: with the next turn of a lane
// with a rate, if that comes soon. A slice late by the usual interval would cost
// such a lane a tenth of its rate.
func (c *Claimer) untilTurn() time.Duration {
	now, wait := time.Now(), pollEvery
	c.turns = slices.DeleteFunc(c.turns, func(t time.Time) bool { return !t.After(now) })
	for _, t := range c.turns {
		wait = min(wait, t.Sub(now))
	}
	return max(wait, pollAgain)
}
