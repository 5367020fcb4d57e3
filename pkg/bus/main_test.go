package bus_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// account is a test's own NATS with the product's streams, seen by each user.
type account struct {
	*testenv.Account
	admin, api, worker jetstream.JetStream
}

func newAccount(t testing.TB) account {
	t.Helper()
	a := testenv.NATS(t)
	as := func(role testenv.Role) jetstream.JetStream { return stream(t, a.Connect(t, role)) }
	return account{Account: a, admin: as(testenv.Admin), api: as(testenv.API), worker: as(testenv.Worker)}
}

func stream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

var tenant = uuid.MustParse("0198c0de-0000-7000-8000-00000000000a")

func newEvent(id string) bus.Event {
	return bus.Event{
		Tenant: tenant, Class: bus.Live, Type: "deal.moved", ID: id, Day: bus.Day(time.Now()),
		Body: []byte(`{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{}}`),
	}
}

func inClass(class bus.Class, id string) bus.Event {
	e := newEvent(id)
	e.Class = class
	return e
}

// publish stores events as the api does.
func publish(t testing.TB, js jetstream.JetStream, events ...bus.Event) {
	t.Helper()
	for i, err := range publisher(t, js).Publish(t.Context(), events...) {
		if err != nil {
			t.Fatalf("publish event %s: %v", events[i].ID, err)
		}
	}
}

func publisher(t testing.TB, js jetstream.JetStream) *bus.Publisher {
	t.Helper()
	p, err := bus.NewPublisher(js.Conn())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// info is EVENTS as it is now.
func info(t testing.TB, js jetstream.JetStream) *jetstream.StreamInfo {
	t.Helper()
	s, err := js.Stream(t.Context(), bus.StreamEvents)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo()
}

func consumer(t testing.TB, js jetstream.JetStream, name string) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := js.Consumer(t.Context(), bus.StreamEvents, name)
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo()
}

// fetch takes n events from a consumer as the worker does, and acks each, with
// an answer, if asked to.
func fetch(t testing.TB, js jetstream.JetStream, name string, n int, ack bool) (ids []string) {
	t.Helper()
	c, err := js.Consumer(t.Context(), bus.StreamEvents, name)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for msg := range batch.Messages() {
		meta, err := msg.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		event, err := bus.Parse(msg.Subject(), msg.Headers(), msg.Data(), meta.Sequence.Stream, meta.Timestamp)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, event.ID)
		if ack {
			if err := msg.DoubleAck(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := batch.Error(); err != nil || len(ids) != n {
		t.Fatalf("fetched %v from %s, %v; want %d", ids, name, err, n)
	}
	return ids
}
