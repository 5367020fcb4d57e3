package outbox

import "time"

// SetStartEvery says how often the relay reads the table from its very start.
func (r *Relay) SetStartEvery(every time.Duration) { r.startEvery = every }
