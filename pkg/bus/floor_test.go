package bus_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
)

func stock(t testing.TB, js jetstream.JetStream) *bus.Stock {
	t.Helper()
	s, err := bus.TakeStock(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTakeStock(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	if s := stock(t, a.worker); s.Floor() != 0 || s.Messages != 0 || s.Last != 0 {
		t.Errorf("an empty store: %+v", s)
	}
	publish(t, a.api, inClass(bus.Live, "l1"), inClass(bus.Bulk, "b2"), inClass(bus.Live, "l3"), inClass(bus.Live, "l4"), inClass(bus.Bulk, "b5"), inClass(bus.Live, "l6"))
	for _, step := range []struct {
		name       string
		do         func()
		live, bulk uint64 // floors
	}{
		{name: "nothing is delivered", do: func() {}},
		{name: "two of bulk are delivered, none acked", do: func() { fetch(t, a.worker, bus.ConsumerBulk, 2, false) }},
		{name: "one of live is acked", do: func() { fetch(t, a.worker, bus.ConsumerLive, 1, true) }, live: 1},
		{name: "all of live are acked: the last of the store is done, too", do: func() { fetch(t, a.worker, bus.ConsumerLive, 3, true) }, live: 6},
		{name: "one of bulk comes behind it", do: func() { publish(t, a.api, inClass(bus.Bulk, "b7")) }, live: 7},
	} {
		step.do()
		s := stock(t, a.worker)
		if s.Floors[bus.ConsumerLive].Seq != step.live || s.Floors[bus.ConsumerBulk].Seq != step.bulk {
			t.Errorf("%s: floors %+v, want live %d and bulk %d", step.name, s.Floors, step.live, step.bulk)
		}
		if want := min(step.live, step.bulk); s.Floor() != want {
			t.Errorf("%s: the lowest is %d, want %d", step.name, s.Floor(), want)
		}
	}
	s, state := stock(t, a.worker), info(t, a.admin)
	if s.First != 1 || s.Last != 7 || s.Messages != 7 || s.Bytes != state.State.Bytes || s.MaxBytes != state.Config.MaxBytes ||
		!s.FirstTime.Equal(state.State.FirstTime) || s.Epoch != state.Created.UnixNano() {
		t.Errorf("%+v of %+v", s, state)
	}
	for name, floor := range s.Floors {
		if floor.Epoch != s.Epoch {
			t.Errorf("the floor of %s is of stream %d, want %d", name, floor.Epoch, s.Epoch)
		}
	}
}

// A consumer may not have heard of an event that is stored and acknowledged.
func TestFloorOf_AsksTheStore(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	publish(t, a.api, inClass(bus.Live, "l1"), inClass(bus.Bulk, "b2"), inClass(bus.Live, "l3"), inClass(bus.Bulk, "b4"))
	idle := func(filter string, acked uint64) *jetstream.ConsumerInfo {
		return &jetstream.ConsumerInfo{Config: jetstream.ConsumerConfig{FilterSubject: filter}, AckFloor: jetstream.SequenceInfo{Stream: acked}}
	}
	for _, tc := range []struct {
		name  string
		info  *jetstream.ConsumerInfo
		last  uint64
		floor uint64
	}{
		{name: "an event that the consumer does not know of is not done", info: idle("events.live.>", 1), last: 4, floor: 1},
		{name: "nor is the first one", info: idle("events.bulk.>", 0), last: 4, floor: 0},
		{name: "others' events are no business of a consumer", info: idle("events.live.>", 3), last: 4, floor: 4},
		{name: "nor are those that came after the look at the stream", info: idle("events.bulk.>", 2), last: 3, floor: 3},
		{name: "all is done", info: idle("events.bulk.>", 4), last: 4, floor: 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if floor, err := bus.FloorOf(t.Context(), a.worker, tc.info, tc.last); err != nil || floor != tc.floor {
				t.Errorf("floor %d (%v), want %d", floor, err, tc.floor)
			}
		})
	}
}

func TestStock_Floor(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		live, bulk uint64
		want       uint64
	}{
		{name: "the lower of both", live: 7, bulk: 5, want: 5},
		{name: "zero where a consumer has acked nothing", live: 7, bulk: 0, want: 0},
		{name: "never beyond what the stream held", live: 12, bulk: 11, want: 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			stock := bus.Stock{Last: 10, Floors: map[string]bus.Floor{bus.ConsumerLive: {Seq: tc.live}, bus.ConsumerBulk: {Seq: tc.bulk}}}
			if got := stock.Floor(); got != tc.want {
				t.Errorf("Floor() = %d, want %d", got, tc.want)
			}
		})
	}
}

func TestTakeStock_OfLessThanAllIsAnError(t *testing.T) {
	t.Parallel()
	for _, name := range names {
		a := newAccount(t)
		if err := a.admin.DeleteConsumer(t.Context(), bus.StreamEvents, name); err != nil {
			t.Fatal(err)
		}
		if s, err := bus.TakeStock(t.Context(), a.worker); !errors.Is(err, jetstream.ErrConsumerNotFound) || s != nil {
			t.Errorf("without %s: %+v, %v", name, s, err)
		}
	}
	a := newAccount(t)
	if err := a.admin.DeleteStream(t.Context(), bus.StreamEvents); err != nil {
		t.Fatal(err)
	}
	if s, err := bus.TakeStock(t.Context(), a.worker); !errors.Is(err, jetstream.ErrStreamNotFound) || s != nil {
		t.Errorf("without a stream: %+v, %v", s, err)
	}
}

func TestPurgeBelow(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	publish(t, a.api, newEvent("a"), newEvent("b"), newEvent("c"))
	for _, step := range []struct{ below, first, left uint64 }{
		{below: 1, first: 1, left: 3},
		{below: 3, first: 3, left: 1},
		{below: 2, first: 3, left: 1}, // gone already
		{below: 4, first: 4, left: 0}, // all; numbers go on
	} {
		if err := bus.PurgeBelow(t.Context(), a.worker, step.below); err != nil {
			t.Fatal(err)
		}
		if s := stock(t, a.worker); s.First != step.first || s.Messages != step.left || s.Last != 3 {
			t.Errorf("purged below %d: %+v, want %d from %d on", step.below, s, step.left, step.first)
		}
	}
	publish(t, a.api, newEvent("d"))
	if err := bus.PurgeBelow(t.Context(), a.worker, 0); err == nil {
		t.Error("purged below 0, which is everything to the server")
	}
	if s := stock(t, a.worker); s.Messages != 1 || s.Last != 4 {
		t.Errorf("%+v, want the one event kept", s)
	}
}

func TestFirstSince(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	first := func(js jetstream.JetStream, at time.Time) uint64 {
		t.Helper()
		seq, found, err := bus.FirstSince(t.Context(), js, at)
		if err != nil {
			t.Fatal(err)
		}
		if found != (seq > 0) {
			t.Errorf("sequence %d, found %t", seq, found)
		}
		return seq
	}
	if got := first(a.api, time.Unix(0, 0)); got != 0 {
		t.Errorf("of an empty store: %d", got)
	}
	publish(t, a.api, newEvent("a"))
	publish(t, a.api, newEvent("b"))
	publish(t, a.api, newEvent("c"))
	r := reader(t, a.worker)
	var stored []time.Time
	for i, id := range []string{"a", "b", "c"} {
		e, err := r.Event(t.Context(), r.Epoch(), uint64(i+1), tenant, id)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, e.AcceptedAt)
	}
	saoPaulo := time.FixedZone("-03", -3*60*60)
	for name, js := range map[string]jetstream.JetStream{bus.UserAPI: a.api, bus.UserWorker: a.worker} {
		for at, want := range map[time.Time]uint64{
			time.Unix(0, 0): 1, stored[0]: 1, stored[0].Add(1): 2, stored[1].In(saoPaulo): 2, stored[2]: 3, stored[2].Add(1): 0,
		} {
			if got := first(js, at); got != want {
				t.Errorf("%s: the first since %s is %d, want %d", name, at, got, want)
			}
		}
	}
	if err := bus.PurgeBelow(t.Context(), a.worker, 2); err != nil {
		t.Fatal(err)
	}
	if got := first(a.api, stored[0]); got != 2 {
		t.Errorf("after a purge the first is %d, want 2", got)
	}
	if err := a.admin.DeleteStream(t.Context(), bus.StreamEvents); err != nil {
		t.Fatal(err)
	}
	if _, found, err := bus.FirstSince(t.Context(), a.api, stored[0]); !errors.Is(err, nats.ErrNoResponders) || found {
		t.Errorf("without a stream: %v", err)
	}
}
