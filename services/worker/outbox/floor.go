package outbox

import "time"

// startEvery is how often the table is read from its very start, at least.
const startEvery = 10 * time.Second

// floor is where the table begins to be of interest: no row at its id or below is
// left, nor will one come to light.
//
// The table empties as fast as it fills, and while anybody's snapshot is older its
// deleted rows cannot be removed: whoever reads from the very start goes through
// all of them, 100 000 in 40 ms. So the floor follows what was published. A
// transaction that was given an id up to there may still be at work, and its row
// come to light later. But it has begun to write before we deleted what we saw:
// once all transactions before ours have ended, whatever they inserted was seen.
//
// An insert gets its id a moment before its transaction has a number. Should the
// transaction be stopped there, and others overtake it, its row is below the floor.
// So now and then all is read from the very start.
type floor struct {
	id int64
	// The next floor, once all transactions before that one have ended.
	next        int64
	transaction int64
	startAt     time.Time // when to begin anew
}

// start is where a pass begins.
func (f *floor) start(every time.Duration) int64 {
	if now := time.Now(); now.After(f.startAt) {
		*f = floor{startAt: now.Add(every)}
	}
	return f.id
}

// emptied hears that all rows behind the floor up to last were deleted by a
// transaction, and that there was none between them; there may be more behind them.
// They were read, within took, when all transactions before oldest had ended.
func (f *floor) emptied(last int64, more bool, oldest, transaction int64, took time.Duration) {
	if f.id == 0 {
		// Where that takes long, it is not done so often.
		f.startAt = latest(f.startAt, time.Now().Add(50*took))
	}
	if f.next > 0 && oldest >= f.transaction && (last >= f.next || !more) {
		f.id, f.next = f.next, 0
	}
	if f.next == 0 && last > f.id {
		f.next, f.transaction = last, transaction
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
