package lanes

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/ledger"
)

// stream is a NATS with events in it.
type stream struct {
	publisher *bus.Publisher
	admin     jetstream.Stream
	worker    *nats.Conn
	reader    *bus.Reader // the worker's
}

func newStream(t *testing.T) *stream {
	t.Helper()
	account := testenv.NATS(t)
	s := &stream{worker: account.Connect(t, testenv.Worker)}
	var err error
	if s.publisher, err = bus.NewPublisher(account.Connect(t, testenv.API)); err != nil {
		t.Fatal(err)
	}
	admin, err := jetstream.New(account.Connect(t, testenv.Admin))
	if err != nil {
		t.Fatal(err)
	}
	if s.admin, err = admin.Stream(t.Context(), bus.StreamEvents); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(s.worker)
	if err != nil {
		t.Fatal(err)
	}
	if s.reader, err = bus.NewReader(t.Context(), js); err != nil {
		t.Fatal(err)
	}
	return s
}

// publish stores an event with a body of its own, and returns it as it is read.
func (s *stream) publish(t *testing.T, tenant uuid.UUID, id string) bus.Event {
	t.Helper()
	e := bus.Event{Tenant: tenant, Class: bus.Live, Type: "deal.moved", ID: id, Day: bus.Day(time.Now()), Body: []byte(`{"of":"` + id + `"}`)}
	if err := s.publisher.Publish(t.Context(), e)[0]; err != nil {
		t.Fatal(err)
	}
	info, err := s.admin.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e.Seq = info.State.LastSeq
	return e
}

func TestClaimer_load(t *testing.T) {
	t.Parallel()
	// begin has a row of event e claimed, in its second attempt of three.
	begin := func(t *testing.T, w *world, s *stream, e bus.Event) *claimer {
		t.Helper()
		w.queue(w.webhook(), row{attempt: 2, due: -time.Second, event: e, epoch: s.reader.Epoch()})
		c := w.claimer(100)
		c.Bodies = s.reader
		w.once(c)
		eventually(t, "a result", func() bool { return len(c.results.seen()) == 1 })
		return c
	}
	sent := func(t *testing.T, c *claimer, want string) {
		t.Helper()
		requests := c.net.seen()
		if len(requests) != 1 || string(requests[0].Body) != want {
			t.Errorf("%d requests, want one with body %s", len(requests), want)
		}
	}
	lost := func(t *testing.T, c *claimer) {
		t.Helper()
		if n := len(c.net.seen()); n > 0 {
			t.Errorf("%d requests were made without the body", n)
		}
		r := c.results.seen()[0]
		if r.Log == nil || r.Log.Outcome.Class != attempt.ClassBodyLost || !r.Log.Counted || r.Next == nil || r.Next.State != ledger.Exhausted {
			t.Errorf("the result is %+v, want the delivery given up with class body_lost", r)
		}
	}
	// keep puts a body aside, as the janitor does.
	keep := func(t *testing.T, w *world, s *stream, e bus.Event, body string) {
		t.Helper()
		err := w.store.Queries().KeepBodies(t.Context(), db.KeepBodiesParams{
			Epoch: s.reader.Epoch(), StreamSeqs: []int64{int64(e.Seq)}, Tenants: []uuid.UUID{e.Tenant}, Days: []time.Time{e.Day},
			Ids: []string{e.ID}, Bodies: [][]byte{[]byte(body)},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	purge := func(t *testing.T, s *stream, e bus.Event) {
		t.Helper()
		if err := s.admin.Purge(t.Context(), jetstream.WithPurgeSequence(e.Seq+1)); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("reads the body from the event store", func(t *testing.T) {
		t.Parallel()
		w, s := newWorld(t), newStream(t)
		s.publish(t, tenant, "before")
		e := s.publish(t, tenant, "e1")
		s.publish(t, tenant, "after")
		sent(t, begin(t, w, s, e), string(e.Body))
	})
	t.Run("reads one that was purged from where it is kept", func(t *testing.T) {
		t.Parallel()
		w, s := newWorld(t), newStream(t)
		e := s.publish(t, tenant, "e1")
		keep(t, w, s, e, `{"kept":1}`)
		purge(t, s, e)
		sent(t, begin(t, w, s, e), `{"kept":1}`)
	})
	t.Run("gives a delivery up whose body is gone for good", func(t *testing.T) {
		t.Parallel()
		w, s := newWorld(t), newStream(t)
		e := s.publish(t, tenant, "e1")
		purge(t, s, e)
		lost(t, begin(t, w, s, e))
	})
	t.Run("never sends what another tenant has at this place", func(t *testing.T) {
		t.Parallel()
		w, s := newWorld(t), newStream(t)
		other := uuid.MustParse("0198f000-0000-7000-8000-000000000002")
		e := s.publish(t, other, "e1")
		keep(t, w, s, e, `{"of":"another tenant"}`)
		e.Tenant = tenant
		lost(t, begin(t, w, s, e))
	})
	t.Run("never sends another event that stands at this place", func(t *testing.T) {
		t.Parallel()
		w, s := newWorld(t), newStream(t)
		e := s.publish(t, tenant, "e1")
		e.ID = "e2"
		lost(t, begin(t, w, s, e))
	})
	t.Run("never sends what stands at this place in a stream made anew", func(t *testing.T) {
		t.Parallel()
		w, s := newWorld(t), newStream(t)
		e := s.publish(t, tenant, "e1")
		w.queue(w.webhook(), row{due: -time.Second, event: e, epoch: s.reader.Epoch() - 1})
		c := w.claimer(100)
		c.Bodies = s.reader
		w.once(c)
		eventually(t, "a result", func() bool { return len(c.results.seen()) == 1 })
		lost(t, c)
	})
	t.Run("has a row wait while NATS is away, and uses up no attempt", func(t *testing.T) {
		t.Parallel()
		w, s := newWorld(t), newStream(t)
		e := s.publish(t, tenant, "e1")
		s.worker.Close()
		c := begin(t, w, s, e)
		r := c.results.seen()[0]
		if r.Log != nil || r.Next == nil || r.Next.Attempt != 2 || r.Next.State != ledger.Retrying || r.Next.Delay < 500*time.Millisecond {
			t.Errorf("the result is %+v, want the row to wait with no attempt used", r)
		}
		if n := len(c.net.seen()); n > 0 {
			t.Errorf("%d requests were made without the body", n)
		}
		if slices.Contains(c.Pool.Full(), r.Webhook) {
			t.Error("it is held against the endpoint")
		}
	})
	t.Run("has a row wait while the kept bodies cannot be read", func(t *testing.T) {
		t.Parallel()
		w, s := newWorld(t), newStream(t)
		e := s.publish(t, tenant, "e1")
		purge(t, s, e)
		w.super("REVOKE SELECT ON event_bodies FROM primezap_worker")
		c := begin(t, w, s, e)
		if r := c.results.seen()[0]; r.Log != nil || r.Next == nil || r.Next.Attempt != 2 {
			t.Errorf("the result is %+v, want the row to wait with no attempt used", r)
		}
	})
}
