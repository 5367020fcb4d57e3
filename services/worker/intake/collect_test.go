package intake

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
)

// message is one of which only the identity matters.
type message struct {
	jetstream.Msg
	bulk bool
}

func newIntake(t *testing.T) *Intake {
	return New(t.Context(), Config{Log: slog.New(slog.DiscardHandler)})
}

// holdEvents registers n events of a class.
func holdEvents(in *Intake, class bus.Class, n int) (all []*held) {
	for range n {
		h := &held{event: bus.Event{Tenant: uuid.New(), ID: uuid.NewString(), Class: class}, bulk: class == bus.Bulk}
		in.register(h)
		all = append(all, h)
	}
	return all
}

func TestIntake_collect(t *testing.T) {
	t.Parallel()
	collected := func(in *Intake) <-chan []jetstream.Msg {
		batches := make(chan []jetstream.Msg, 1)
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			defer cancel()
			batches <- in.collect(ctx)
		}()
		synctest.Wait()
		return batches
	}
	t.Run("bulk events go on when those held make room", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			in := newIntake(t)
			all := holdEvents(in, bus.Bulk, maxHeld/2)
			in.bulk <- message{bulk: true}
			batches := collected(in)
			select {
			case <-batches:
				t.Fatal("took a bulk event beyond their half of what is held")
			default:
			}
			in.release(all[0])
			if batch := <-batches; len(batch) != 1 {
				t.Errorf("collected %d messages, want the one", len(batch))
			}
		})
	})
	t.Run("live events are taken while bulk holds its half", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			in := newIntake(t)
			holdEvents(in, bus.Bulk, maxHeld/2)
			in.bulk <- message{bulk: true}
			in.live <- message{}
			if batch := <-collected(in); len(batch) != 1 || batch[0].(message).bulk {
				t.Errorf("collected %v, want the live one alone", batch)
			}
		})
	})
	t.Run("nothing is taken while all that may be is held", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			in := newIntake(t)
			all := holdEvents(in, bus.Live, maxHeld)
			in.live <- message{}
			batches := collected(in)
			select {
			case <-batches:
				t.Fatal("took an event beyond the bound")
			default:
			}
			in.release(all[0])
			<-batches
		})
	})
	t.Run("a tenth of a batch is bulk's while live waits", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			in := newIntake(t)
			for range maxBatch {
				in.live <- message{}
				in.bulk <- message{bulk: true}
			}
			bulk := 0
			batch := <-collected(in)
			for _, msg := range batch {
				if msg.(message).bulk {
					bulk++
				}
			}
			if len(batch) != maxBatch || bulk < maxBatch/10 || bulk > maxBatch/5 {
				t.Errorf("%d of %d are bulk, want about a tenth", bulk, len(batch))
			}
		})
	})
}
