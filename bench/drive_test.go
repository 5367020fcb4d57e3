package main

import (
	"testing"
	"testing/synctest"
)

func TestBalance_Take(t *testing.T) {
	t.Parallel()
	t.Run("numbers begin with 1 and follow one another", func(t *testing.T) {
		t.Parallel()
		b := newBalance(10)
		b.open()
		for _, want := range []int64{1, 5} {
			if first, ok := b.take(4); first != want || !ok {
				t.Errorf("take = %d, %t; want %d", first, ok, want)
			}
		}
		if b.published() != 8 || b.outstanding() != 8 {
			t.Errorf("%d published, %d outstanding; want 8 of both", b.published(), b.outstanding())
		}
	})
	t.Run("at the bound it says so, and waits for deliveries", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBalance(8)
			b.open()
			b.take(4)
			b.take(4)
			var first int64
			go func() { first, _ = b.take(4) }()
			synctest.Wait()
			select {
			case <-b.full:
			default:
				t.Error("nobody was told that the bound is met")
			}
			b.deliver(3)
			synctest.Wait()
			if first != 0 {
				t.Errorf("took %d with 5 outstanding of 8", first)
			}
			b.deliver(4)
			synctest.Wait()
			if first != 9 {
				t.Errorf("took %d after 4 deliveries, want 9", first)
			}
		})
	})
	t.Run("close ends the wait", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := newBalance(4)
			b.open()
			b.take(4)
			ended := false
			go func() {
				_, ok := b.take(4)
				ended = !ok
			}()
			synctest.Wait()
			b.close()
			synctest.Wait()
			if !ended {
				t.Error("take goes on waiting")
			}
		})
	})
	t.Run("there are no more numbers than the sink has places", func(t *testing.T) {
		t.Parallel()
		b := newBalance(2 * maxEvents)
		b.open()
		if _, ok := b.number(maxEvents - 1); !ok {
			t.Error("the last number was not given")
		}
		if first, ok := b.take(1); ok {
			t.Errorf("took %d", first)
		}
	})
}
