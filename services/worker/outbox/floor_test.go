package outbox

import (
	"testing"
	"time"
)

func TestFloor_Emptied(t *testing.T) {
	t.Parallel()
	// What is heard of each batch, and where the floor is then.
	type heard struct {
		last                int64
		more                bool
		oldest, transaction int64
		floor               int64
	}
	for name, batches := range map[string][]heard{
		"follows when all that were at work have ended": {
			{last: 10, oldest: 100, transaction: 120, floor: 0},
			{last: 20, oldest: 120, transaction: 130, floor: 10},
			{last: 30, oldest: 131, transaction: 140, floor: 20},
		},
		"stays while one of them is at work": {
			{last: 10, oldest: 100, transaction: 120, floor: 0},
			{last: 20, oldest: 119, transaction: 130, floor: 0},
			{last: 30, oldest: 119, transaction: 140, floor: 0},
			{last: 40, oldest: 150, transaction: 150, floor: 10},
		},
		"stays while there may be rows up to the next one": {
			{last: 10, oldest: 100, transaction: 120, floor: 0},
			{last: 8, more: true, oldest: 130, transaction: 131, floor: 0},
			{last: 9, oldest: 140, transaction: 141, floor: 10},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var f floor
			f.start(time.Hour)
			for i, b := range batches {
				f.emptied(b.last, b.more, b.oldest, b.transaction, 0)
				if got := f.start(time.Hour); got != b.floor {
					t.Fatalf("after batch %d it is at %d, want %d", i, got, b.floor)
				}
			}
		})
	}
}

func TestFloor_Start(t *testing.T) {
	t.Parallel()
	t.Run("is the very start now and then", func(t *testing.T) {
		t.Parallel()
		f := floor{id: 10, startAt: time.Now().Add(-time.Millisecond)}
		if at := f.start(time.Hour); at != 0 {
			t.Errorf("began at %d", at)
		}
	})
	t.Run("is it less often where that takes long", func(t *testing.T) {
		t.Parallel()
		var f floor
		f.start(time.Nanosecond)
		f.emptied(10, false, 1, 5, time.Minute)
		f.emptied(20, false, 6, 7, 0)
		if at := f.start(time.Nanosecond); at != 10 {
			t.Errorf("began at %d at once", at)
		}
	})
}
