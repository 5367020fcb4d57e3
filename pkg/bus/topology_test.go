package bus_test

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/testenv"
)

// versionKey is where streams and consumers keep the topology's version.
const versionKey = "primezap.version"

var names = []string{bus.ConsumerLive, bus.ConsumerBulk}

func TestApply_MakesTheTopology(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	for _, name := range []string{bus.StreamEvents, bus.StreamPoison} {
		if err := a.admin.DeleteStream(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := bus.Apply(t.Context(), a.admin, bus.Options{Replicas: 1, MaxBytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}

	events := info(t, a.admin).Config
	for rule, ok := range map[string]bool{
		"no event is discarded for a newer one":    events.Discard == jetstream.DiscardNew,
		"an ack removes no event":                  events.Retention == jetstream.LimitsPolicy,
		"age removes no event":                     events.MaxAge == 0 && events.MaxMsgs == -1 && events.MaxMsgsPerSubject == -1,
		"the bound is the one asked for":           events.MaxBytes == 1<<30,
		"the largest body and its headers fit":     events.MaxMsgSize >= 300<<10,
		"workers read bodies directly":             events.AllowDirect,
		"ids are remembered for two minutes":       events.Duplicates == 2*time.Minute,
		"events are on disk":                       events.Storage == jetstream.FileStorage,
		"every tenant and type of each class fits": slices.Equal(events.Subjects, []string{"events.*.*.>"}),
	} {
		if !ok {
			t.Errorf("not so: %s; %+v", rule, events)
		}
	}
	poison, err := a.admin.Stream(t.Context(), bus.StreamPoison)
	if err != nil {
		t.Fatal(err)
	}
	if got := poison.CachedInfo().Config; got.MaxAge != 30*24*time.Hour || got.Discard != jetstream.DiscardOld || got.MaxBytes <= 0 {
		t.Errorf("POISON is %+v, want 30 days and a bound", got)
	}
	for name, filter := range map[string]string{bus.ConsumerLive: "events.live.>", bus.ConsumerBulk: "events.bulk.>"} {
		got := consumer(t, a.admin, name).Config
		if got.FilterSubject != filter || got.AckPolicy != jetstream.AckExplicitPolicy || got.AckWait != bus.DefaultAckWait ||
			got.MaxDeliver != -1 || got.MaxAckPending != -1 || got.DeliverPolicy != jetstream.DeliverAllPolicy || got.Durable != name {
			t.Errorf("consumer %s is %+v", name, got)
		}
	}
}

func TestApply_AgainChangesNothing(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	options := bus.Options{Replicas: 1, MaxBytes: 64 << 20}
	if err := bus.Apply(t.Context(), a.admin, options); err != nil {
		t.Fatal(err)
	}
	publish(t, a.api, newEvent("a"), newEvent("b"))
	fetch(t, a.worker, bus.ConsumerLive, 1, true)
	before, consumers := info(t, a.admin), map[string]*jetstream.ConsumerInfo{}
	for _, name := range names {
		consumers[name] = consumer(t, a.admin, name)
	}

	for range 2 {
		if err := bus.Apply(t.Context(), a.admin, options); err != nil {
			t.Fatal(err)
		}
	}
	after := info(t, a.admin)
	if !after.Created.Equal(before.Created) || !reflect.DeepEqual(after.Config, before.Config) || after.State.Msgs != 2 {
		t.Errorf("EVENTS was %+v and is %+v", before, after)
	}
	for name, was := range consumers {
		is := consumer(t, a.admin, name)
		if !is.Created.Equal(was.Created) || !reflect.DeepEqual(is.Config, was.Config) || is.AckFloor.Stream != was.AckFloor.Stream {
			t.Errorf("%s was %+v and is %+v", name, was, is)
		}
	}
}

func TestApply_UpdatesInPlace(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	publish(t, a.api, newEvent("a"), newEvent("b"), newEvent("c"))
	fetch(t, a.worker, bus.ConsumerLive, 2, true)
	epoch, err := bus.Epoch(t.Context(), a.admin)
	if err != nil {
		t.Fatal(err)
	}
	// As from before there were versions.
	setVersion(t, a.admin, "")

	// Floors are for consumers that are lost: these are not.
	floors := map[string]bus.Floor{bus.ConsumerLive: {Epoch: epoch, Seq: 1}}
	if err := bus.Apply(t.Context(), a.admin, bus.Options{Replicas: 1, MaxBytes: 32 << 20, AckWait: 7 * time.Second, Floors: floors}); err != nil {
		t.Fatal(err)
	}
	events := info(t, a.admin)
	if events.Config.MaxBytes != 32<<20 || events.Config.Metadata[versionKey] != "1" || events.State.Msgs != 3 {
		t.Errorf("EVENTS is %+v", events)
	}
	for _, name := range names {
		if got := consumer(t, a.admin, name).Config; got.AckWait != 7*time.Second || got.Metadata[versionKey] != "1" {
			t.Errorf("%s is %+v", name, got)
		}
	}
	if got := fetch(t, a.worker, bus.ConsumerLive, 1, true); got[0] != "c" {
		t.Errorf("the consumer goes on with %s, want c", got[0])
	}
}

// setVersion marks EVENTS and deliver-live as of a version, "" for none.
func setVersion(t testing.TB, js jetstream.JetStream, version string) {
	t.Helper()
	metadata := map[string]string{}
	if version != "" {
		metadata[versionKey] = version
	}
	events := info(t, js).Config
	events.Metadata = metadata
	if _, err := js.UpdateStream(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	live := consumer(t, js, bus.ConsumerLive).Config
	live.Metadata = metadata
	if _, err := js.UpdateConsumer(t.Context(), bus.StreamEvents, live); err != nil {
		t.Fatal(err)
	}
}

func TestApply_LeavesANewerTopologyAlone(t *testing.T) {
	t.Parallel()
	for _, newer := range []string{bus.StreamEvents, bus.StreamPoison, bus.ConsumerLive, bus.ConsumerBulk} {
		t.Run(newer, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t)
			var config func() any
			if slices.Contains(names, newer) {
				c := consumer(t, a.admin, newer).Config
				c.Metadata, c.AckWait = map[string]string{versionKey: "1000"}, 99*time.Second
				if _, err := a.admin.UpdateConsumer(t.Context(), bus.StreamEvents, c); err != nil {
					t.Fatal(err)
				}
				config = func() any { return consumer(t, a.admin, newer).Config }
			} else {
				s, err := a.admin.Stream(t.Context(), newer)
				if err != nil {
					t.Fatal(err)
				}
				c := s.CachedInfo().Config
				c.Metadata, c.Description = map[string]string{versionKey: "1000"}, "from the future"
				if s, err = a.admin.UpdateStream(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				config = func() any {
					i, err := s.Info(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					return i.Config
				}
			}
			before := config()
			err := bus.Apply(t.Context(), a.admin, bus.Options{Replicas: 1, MaxBytes: 1 << 20})
			if err == nil || !strings.Contains(err.Error(), newer) || !strings.Contains(err.Error(), "1000") {
				t.Errorf("%v, want an error that names %s and its version", err, newer)
			}
			if after := config(); !reflect.DeepEqual(after, before) {
				t.Errorf("it was %+v and is %+v", before, after)
			}
		})
	}
}

func TestEnsureConsumer_StartsALostOneBehindItsFloor(t *testing.T) {
	t.Parallel()
	const last = 8 // of the stream: l1 b2 l3 b4 …
	for _, tc := range []struct {
		name  string
		floor *bus.Floor // its epoch is added to the stream's
		start uint64     // sequence
		next  string     // the first event that is delivered, of those and of l9, published later
	}{
		{name: "a floor of this stream", floor: &bus.Floor{Seq: 4}, start: 5, next: "l5"},
		{name: "a floor at the stream's end", floor: &bus.Floor{Seq: last}, start: 9, next: "l9"},
		{name: "a floor beyond the end, which a loss of power took away", floor: &bus.Floor{Seq: last + 100}, start: 9, next: "l9"},
		{name: "a floor of another stream", floor: &bus.Floor{Epoch: 1, Seq: 4}, next: "l1"},
		{name: "a floor of nothing", floor: &bus.Floor{}, next: "l1"},
		{name: "no floor", next: "l1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t)
			for i := 1; i <= last; i += 2 {
				publish(t, a.api, inClass(bus.Live, fmt.Sprintf("l%d", i)), inClass(bus.Bulk, fmt.Sprintf("b%d", i+1)))
			}
			if err := a.admin.DeleteConsumer(t.Context(), bus.StreamEvents, bus.ConsumerLive); err != nil {
				t.Fatal(err)
			}
			options := bus.Options{Replicas: 1, AckWait: 9 * time.Second}
			if tc.floor != nil {
				epoch, err := bus.Epoch(t.Context(), a.worker)
				if err != nil {
					t.Fatal(err)
				}
				options.Floors = map[string]bus.Floor{
					bus.ConsumerLive: {Epoch: epoch + tc.floor.Epoch, Seq: tc.floor.Seq},
					bus.ConsumerBulk: {Epoch: epoch, Seq: 1}, // another's
				}
			}
			made, err := bus.EnsureConsumer(t.Context(), a.worker, bus.ConsumerLive, options)
			if err != nil {
				t.Fatal(err)
			}
			got := made.CachedInfo().Config
			if got.OptStartSeq != tc.start || got.AckWait != 9*time.Second || got.FilterSubject != "events.live.>" {
				t.Errorf("made %+v, want a start at %d", got, tc.start)
			}
			publish(t, a.api, inClass(bus.Live, "l9"))
			if got := fetch(t, a.worker, bus.ConsumerLive, 1, true); got[0] != tc.next {
				t.Errorf("it begins with %s, want %s", got[0], tc.next)
			}
			// What it has done stands as if it had never been lost.
			if tc.start > 0 {
				stock, err := bus.TakeStock(t.Context(), a.worker)
				if err != nil || stock.Floors[bus.ConsumerLive].Seq < tc.start-1 {
					t.Errorf("its floor is %+v, %v, want at least %d", stock, err, tc.start-1)
				}
			}
			// Apply keeps the place where it began.
			if err := bus.Apply(t.Context(), a.admin, bus.Options{Replicas: 1, MaxBytes: 1 << 20}); err != nil {
				t.Errorf("apply to a consumer that begins at %d: %v", tc.start, err)
			}
			if got := consumer(t, a.admin, bus.ConsumerLive); got.Config.OptStartSeq != tc.start || got.Config.AckWait != bus.DefaultAckWait {
				t.Errorf("after apply it is %+v", got)
			}
		})
	}
}

func TestEnsureConsumer_LeavesOneThatExists(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	before := consumer(t, a.admin, bus.ConsumerLive)
	got, err := bus.EnsureConsumer(t.Context(), a.worker, bus.ConsumerLive, bus.Options{Replicas: 1, AckWait: 99 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if after := got.CachedInfo(); !after.Created.Equal(before.Created) || !reflect.DeepEqual(after.Config, before.Config) {
		t.Errorf("it was %+v and is %+v", before, after)
	}
}

func TestEnsureConsumer_WithoutAStream(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	if err := a.admin.DeleteStream(t.Context(), bus.StreamEvents); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.EnsureConsumer(t.Context(), a.worker, bus.ConsumerLive, bus.Options{}); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("%v, want that there is no stream", err)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	t.Run("passes on a topology of this version and of a newer one, for each service", func(t *testing.T) {
		t.Parallel()
		a := newAccount(t)
		for _, version := range []string{"1", "2"} {
			setVersion(t, a.admin, version)
			for user, js := range map[string]jetstream.JetStream{bus.UserAPI: a.api, bus.UserWorker: a.worker} {
				if err := bus.Check(t.Context(), js); err != nil {
					t.Errorf("%s, version %s: %v", user, version, err)
				}
			}
		}
	})
	t.Run("says that the stream is missing, and what to do", func(t *testing.T) {
		t.Parallel()
		a := newAccount(t)
		if err := a.admin.DeleteStream(t.Context(), bus.StreamEvents); err != nil {
			t.Fatal(err)
		}
		err := bus.Check(t.Context(), a.api)
		if !errors.Is(err, jetstream.ErrStreamNotFound) || !strings.Contains(err.Error(), "EVENTS") || !strings.Contains(err.Error(), "migration") {
			t.Errorf("%v", err)
		}
	})
	t.Run("says which version stands and which is needed", func(t *testing.T) {
		t.Parallel()
		a := newAccount(t)
		setVersion(t, a.admin, "")
		err := bus.Check(t.Context(), a.api)
		if err == nil || !strings.Contains(err.Error(), "version 0") || !strings.Contains(err.Error(), "needs 1") || !strings.Contains(err.Error(), "migration") {
			t.Errorf("%v", err)
		}
	})
}

func TestEpoch(t *testing.T) {
	t.Parallel()
	n := testenv.PrivateNATS(t)
	epoch := func() int64 {
		t.Helper()
		e, err := bus.Epoch(t.Context(), stream(t, n.Connect(t, testenv.Worker)))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	first := epoch()
	n.Kill()
	n.Restart()
	if got := epoch(); got != first {
		t.Errorf("%d after kill -9, want the %d from before", got, first)
	}
	admin := stream(t, n.Connect(t, testenv.Admin))
	if err := admin.DeleteStream(t.Context(), bus.StreamEvents); err != nil {
		t.Fatal(err)
	}
	if err := bus.Apply(t.Context(), admin, bus.Options{Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	if got := epoch(); got == first {
		t.Error("a recreated stream has the epoch of the old one")
	}
}

// Nobody may read another's answers: inboxes do not overlap.
func TestInbox(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, u := range bus.Users() {
		seen[bus.Inbox(u.Name)] = u.Name
		if strings.ContainsAny(bus.Inbox(u.Name), ".*>") {
			t.Errorf("%s is not one token", bus.Inbox(u.Name))
		}
	}
	if len(seen) != len(bus.Users()) {
		t.Errorf("inboxes %v are shared", slices.Collect(maps.Keys(seen)))
	}
}
