package auth

import "time"

// Pace makes t read the keys behind its URL every so often, and again at the
// soonest after a shorter time.
func (t *Tokens) Pace(every, again time.Duration) { t.keys.every, t.keys.again = every, again }
