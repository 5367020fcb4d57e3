package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
)

// world is an event store and the ledger beside it.
type world struct {
	t         *testing.T
	database  *testenv.Database
	store     *store.Store
	js, admin jetstream.JetStream
	publisher *bus.Publisher
	janitor   *janitor
	warnings  *records
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, database: testenv.DB(t)}
	account := testenv.NATS(t)
	w.store = open(t, w.database, testenv.Worker)
	w.js, w.admin = connect(t, account, testenv.Worker), connect(t, account, testenv.Admin)
	var err error
	if w.publisher, err = bus.NewPublisher(account.Connect(t, testenv.API)); err != nil {
		t.Fatal(err)
	}
	var log *slog.Logger
	log, w.warnings = counting(slog.LevelWarn)
	w.janitor = newJanitor(w.store, w.js, log)
	return w
}

// keepNothing makes the janitor trim whatever it may.
func (w *world) keepNothing() { w.janitor.keep = -time.Hour }

// publish stores n events of a class.
func (w *world) publish(class bus.Class, n, bytes int) {
	w.t.Helper()
	for range n {
		if err := w.publishOne(class, bytes); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) publishOne(class bus.Class, size int) error {
	id := fmt.Sprintf("e%d", w.state().LastSeq+1)
	body := append([]byte(id+" "), bytes.Repeat([]byte("x"), size)...)
	e := bus.Event{Tenant: tenant, Class: class, Type: "deal.moved", ID: id, Day: bus.Day(time.Now()), Body: body}
	return w.publisher.Publish(w.t.Context(), e)[0]
}

// deliver fetches n events of a consumer and acks them.
func (w *world) deliver(consumer string, n int) {
	w.t.Helper()
	for _, msg := range w.fetch(consumer, n) {
		if err := msg.DoubleAck(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) fetch(consumer string, n int) (messages []jetstream.Msg) {
	w.t.Helper()
	c, err := w.js.Consumer(w.t.Context(), bus.StreamEvents, consumer)
	if err != nil {
		w.t.Fatal(err)
	}
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(patience))
	if err != nil {
		w.t.Fatal(err)
	}
	for msg := range batch.Messages() {
		messages = append(messages, msg)
	}
	if len(messages) != n {
		w.t.Fatalf("%s had %d events, want %d", consumer, len(messages), n)
	}
	return messages
}

func (w *world) state() jetstream.StreamState {
	w.t.Helper()
	stream, err := w.js.Stream(w.t.Context(), bus.StreamEvents)
	if err != nil {
		w.t.Fatal(err)
	}
	return stream.CachedInfo().State
}

func (w *world) epoch() int64 {
	w.t.Helper()
	epoch, err := bus.Epoch(w.t.Context(), w.js)
	if err != nil {
		w.t.Fatal(err)
	}
	return epoch
}

// work runs the job.
func (w *world) work() {
	w.t.Helper()
	if err := w.janitor.Work(w.t.Context(), nil); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) expectFirst(want uint64) {
	w.t.Helper()
	if first := w.state().FirstSeq; first != want {
		w.t.Errorf("the first stored event is %d, want %d", first, want)
	}
}

func (w *world) expectBodies(want ...int64) {
	w.t.Helper()
	got := ask[[]int64](w.t, w.store, "SELECT coalesce(array_agg(stream_seq ORDER BY stream_seq), '{}') FROM event_bodies")
	if !slices.Equal(got, want) {
		w.t.Errorf("kept are the bodies of %v, want %v", got, want)
	}
}

func TestJanitor_Trim(t *testing.T) {
	t.Parallel()
	t.Run("goes up to the lowest ack floor, and no further", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.keepNothing()
		w.publish(bus.Live, 6, 10)
		w.publish(bus.Bulk, 6, 10)
		w.publish(bus.Live, 6, 10)
		w.deliver(bus.ConsumerLive, 12)
		w.work()
		w.expectFirst(1) // nothing is known of the bulk ones
		w.deliver(bus.ConsumerBulk, 3)
		w.work()
		w.expectFirst(9)
		held := w.fetch(bus.ConsumerBulk, 3) // delivered, but not acked
		w.work()
		w.expectFirst(9)
		for _, msg := range slices.Backward(held) {
			w.work()
			w.expectFirst(9) // acks with a gap before them count for nothing
			if err := msg.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		w.work()
		w.expectFirst(18) // both have nothing left: all that the stream held
	})

	t.Run("purges nothing of a store that nobody has read", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.keepNothing()
		w.work() // empty
		w.publish(bus.Live, 3, 10)
		w.work()
		if state := w.state(); state.Msgs != 3 {
			t.Errorf("%d events are left of 3", state.Msgs)
		}
	})

	t.Run("purges nothing while a consumer is missing", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.keepNothing()
		w.publish(bus.Live, 3, 10)
		w.deliver(bus.ConsumerLive, 3)
		if err := w.admin.DeleteConsumer(t.Context(), bus.StreamEvents, bus.ConsumerLive); err != nil {
			t.Fatal(err)
		}
		if err := w.janitor.Work(t.Context(), nil); !errors.Is(err, jetstream.ErrConsumerNotFound) {
			t.Errorf("Work = %v, want that the consumer was not found", err)
		}
		w.expectFirst(1)
	})

	t.Run("keeps delivered events for seven days", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.publish(bus.Live, 9, 10)
		w.deliver(bus.ConsumerLive, 9)
		stream, err := w.js.Stream(t.Context(), bus.StreamEvents)
		if err != nil {
			t.Fatal(err)
		}
		sixth, err := stream.GetMsg(t.Context(), 6)
		if err != nil {
			t.Fatal(err)
		}
		w.work()
		w.expectFirst(1)
		w.janitor.now = func() time.Time { return sixth.Time.Add(7 * 24 * time.Hour) }
		w.work()
		w.expectFirst(6)
		w.janitor.now = func() time.Time { return sixth.Time.Add(8 * 24 * time.Hour) }
		w.work()
		w.expectFirst(9)
	})

	t.Run("keeps the bodies that queue rows of any state still need", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.keepNothing()
		w.publish(bus.Live, 8, 10)
		epoch := w.epoch()
		for _, r := range []queueRow{
			{event: "e1", epoch: epoch, seq: 1, state: 0},
			{event: "e1", epoch: epoch, seq: 1, state: 1},
			{event: "e3", epoch: epoch, seq: 3, state: 2},
			{event: "e4", epoch: epoch, seq: 4, state: 3},
			{event: "e5", epoch: epoch - 1, seq: 5, state: 0},       // another stream's
			{event: "not e6", epoch: epoch, seq: 6, state: 0},       // nobody's
			{event: "e7", epoch: epoch, seq: 7, state: 0},           // above the point
			{event: "e9", epoch: epoch, seq: 9, state: 0, due: 1e9}, // not stored
		} {
			if err := insertRow(t.Context(), w.store.Queries(), r); err != nil {
				t.Fatal(err)
			}
		}
		w.deliver(bus.ConsumerLive, 7)
		w.work()
		w.expectFirst(7)
		w.expectBodies(1, 3, 4)
		point, err := w.store.Queries().PurgePoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if point.Epoch != epoch || point.PurgedBelow != 7 {
			t.Errorf("the purge point is %+v, want 7 of %d", point, epoch)
		}
		body, err := w.store.Queries().EventBody(t.Context(), tenant, bus.Day(time.Now()), "e3")
		if err != nil {
			t.Fatal(err)
		}
		if want := "e3 xxxxxxxxxx"; string(body) != want {
			t.Errorf("the body of e3 is %q, want %q", body, want)
		}
	})

	t.Run("keeps many bodies piece by piece, and purges no further than it has come", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.keepNothing()
		w.publish(bus.Live, 2*bodyChunk+2, 10)
		var want []int64
		for seq := range uint64(2*bodyChunk + 1) {
			r := queueRow{event: fmt.Sprintf("e%d", seq+1), epoch: w.epoch(), seq: seq + 1}
			if err := insertRow(t.Context(), w.store.Queries(), r); err != nil {
				t.Fatal(err)
			}
			want = append(want, int64(seq)+1)
		}
		w.deliver(bus.ConsumerLive, 2*bodyChunk+2)
		if more, err := w.janitor.trim(t.Context()); err != nil || !more {
			t.Fatalf("trim = %t, %v; want that there is more", more, err)
		}
		w.expectFirst(bodyChunk + 1)
		w.expectBodies(want[:bodyChunk]...)
		w.work()
		w.expectFirst(2*bodyChunk + 2)
		w.expectBodies(want...)
	})

	t.Run("sees the rows of those who have looked at the purge point before it", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.keepNothing()
		w.publish(bus.Live, 3, 10)
		w.deliver(bus.ConsumerLive, 3)
		// A replay that saw event 1 in the store, and has not committed its row yet.
		replay, err := w.store.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer replay.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // committed below
		if _, err := replay.Exec(t.Context(), "SELECT FROM event_store FOR SHARE"); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- w.janitor.Work(t.Context(), nil) }()
		super := open(t, w.database, testenv.Superuser)
		eventually(t, "the janitor waits for the replay", func() bool {
			return ask[bool](t, super, `SELECT EXISTS (SELECT FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%SavePurgePoint%')`)
		})
		if err := insertRow(t.Context(), db.New(replay), queueRow{event: "e1", epoch: w.epoch(), seq: 1}); err != nil {
			t.Fatal(err)
		}
		if err := replay.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		w.expectFirst(3)
		w.expectBodies(1)
	})
}

func TestJanitor_TrimShortOfSpace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	stream, err := w.admin.Stream(t.Context(), bus.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.MaxBytes = 128 << 10
	if _, err := w.admin.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	const size = 1 << 10
	var stored uint64
	for err = nil; err == nil; stored++ {
		err = w.publishOne(bus.Live, size)
	}
	stored-- // the last one was refused
	if !errors.Is(err, bus.ErrFull) {
		t.Fatalf("publish = %v, want that the store is full", err)
	}

	w.work()
	if state := w.state(); state.Msgs != stored {
		t.Fatalf("%d of %d undelivered events are left", state.Msgs, stored)
	}
	if w.warnings.count.Load() == 0 {
		t.Error("nobody was warned")
	}

	// A tenth is delivered: that can go, and nothing else.
	tenth := int(stored / 10)
	w.deliver(bus.ConsumerLive, tenth)
	w.work()
	w.expectFirst(uint64(tenth))

	// All is delivered: what goes is what must, not all that may.
	w.deliver(bus.ConsumerLive, int(stored)-tenth)
	w.work()
	state := w.state()
	if share := float64(state.Bytes) / float64(config.MaxBytes); share > trimTo || share < trimTo-0.05 {
		t.Errorf("the store is %.0f %% full after trimming, want %.0f", 100*share, 100*trimTo)
	}

	// No longer short, no longer trimmed.
	warned := w.warnings.count.Load()
	w.work()
	w.expectFirst(state.FirstSeq)
	if again := w.warnings.count.Load(); again != warned {
		t.Errorf("%d more warnings of a store that is not short of space", again-warned)
	}
	if err := w.publishOne(bus.Live, size); err != nil {
		t.Errorf("publish into the trimmed store: %v", err)
	}
}
