package bus_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/testenv"
)

func TestParse(t *testing.T) {
	t.Parallel()
	const subject = "events.live.0198c0de-0000-7000-8000-00000000000a.deal.moved"
	// As they are on the wire: a header's case counts.
	header := nats.Header{
		"Primezap-Event-Id": {"e1"}, "Primezap-Day": {"2025-10-20"}, "Primezap-Contact": {"c1"}, "Primezap-Trace": {"00-ab-cd-01"},
	}
	stored := time.Date(2025, 10, 20, 12, 0, 0, 0, time.UTC)
	want := bus.Event{
		Tenant: tenant, Class: bus.Live, Type: "deal.moved", ID: "e1", Day: time.Date(2025, 10, 20, 0, 0, 0, 0, time.UTC),
		Contact: "c1", Traceparent: "00-ab-cd-01", Body: []byte("{}"), Seq: 7, AcceptedAt: stored,
	}
	with := func(change func(nats.Header)) nats.Header {
		h := maps.Clone(header)
		change(h)
		return h
	}
	without := func(name string) nats.Header { return with(func(h nats.Header) { delete(h, name) }) }
	event := func(change func(*bus.Event)) *bus.Event {
		e := want
		change(&e)
		return &e
	}
	for _, tc := range []struct {
		name    string
		subject string
		header  nats.Header
		want    *bus.Event // nil: refused
	}{
		{name: "a whole one", subject: subject, header: header, want: &want},
		{name: "of class bulk", subject: strings.Replace(subject, "live", "bulk", 1), header: header, want: event(func(e *bus.Event) { e.Class = bus.Bulk })},
		{name: "a type of one word", subject: strings.TrimSuffix(subject, ".moved"), header: header, want: event(func(e *bus.Event) { e.Type = "deal" })},
		{name: "about nobody", subject: subject, header: without("Primezap-Contact"), want: event(func(e *bus.Event) { e.Contact = "" })},
		{name: "without a trace", subject: subject, header: without("Primezap-Trace"), want: event(func(e *bus.Event) { e.Traceparent = "" })},

		{name: "no id", subject: subject, header: without("Primezap-Event-Id")},
		{name: "an empty id", subject: subject, header: with(func(h nats.Header) { h["Primezap-Event-Id"] = []string{""} })},
		{name: "an id's header without values", subject: subject, header: with(func(h nats.Header) { h["Primezap-Event-Id"] = nil })},
		{name: "no day", subject: subject, header: without("Primezap-Day")},
		{name: "a day that is none", subject: subject, header: with(func(h nats.Header) { h["Primezap-Day"] = []string{"2025-02-30"} })},
		{name: "a time for a day", subject: subject, header: with(func(h nats.Header) { h["Primezap-Day"] = []string{"2025-10-20T00:00:00Z"} })},
		{name: "no headers", subject: subject},
		{name: "no subject", header: header},
		{name: "another stream's subject", subject: strings.Replace(subject, "events", "poison", 1), header: header},
		{name: "a prefix that only begins alike", subject: "events" + strings.TrimPrefix(subject, "events."), header: header},
		{name: "no class", subject: "events", header: header},
		{name: "no tenant", subject: "events.live", header: header},
		{name: "no type", subject: strings.TrimSuffix(subject, ".deal.moved"), header: header},
		{name: "an empty type", subject: strings.TrimSuffix(subject, "deal.moved"), header: header},
		{name: "a tenant that is no id", subject: "events.live.acme.deal.moved", header: header},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := bus.Parse(tc.subject, tc.header, []byte("{}"), 7, stored)
			if tc.want == nil {
				if err == nil || !reflect.DeepEqual(got, bus.Event{}) {
					t.Errorf("parsed %+v, %v; want it refused", got, err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, *tc.want) {
				t.Errorf("parsed %+v, %v; want %+v", got, err, *tc.want)
			}
		})
	}
}

func TestDay_IsUTCs(t *testing.T) {
	t.Parallel()
	saoPaulo := time.FixedZone("-03", -3*60*60)
	got := bus.Day(time.Date(2025, 10, 20, 22, 30, 0, 0, saoPaulo))
	if want := time.Date(2025, 10, 21, 0, 0, 0, 0, time.UTC); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// reader reads as the worker does.
func reader(t testing.TB, js jetstream.JetStream) *bus.Reader {
	t.Helper()
	r, err := bus.NewReader(t.Context(), js)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPublisher_Publish_StoresWhatIsReadAgain(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	whole := bus.Event{
		Tenant: tenant, Class: bus.Bulk, Type: "message.received", ID: "e-1_A", Day: time.Date(2025, 1, 2, 0, 0, 0, 0, time.UTC),
		Contact: "c", Traceparent: "00-ab-cd-01", Body: []byte("{\"data\":\"\u2028 < é\"}\x00"),
	}
	bare := newEvent("e2")
	began := time.Now()
	publish(t, a.api, whole, bare)
	r := reader(t, a.worker)
	for i, want := range []bus.Event{whole, bare} {
		got, err := r.Event(t.Context(), r.Epoch(), uint64(i+1), tenant, want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if got.AcceptedAt.Before(began.Add(-time.Minute)) || got.AcceptedAt.After(time.Now().Add(time.Minute)) {
			t.Errorf("accepted at %s", got.AcceptedAt)
		}
		want.Seq, want.AcceptedAt = uint64(i+1), got.AcceptedAt
		if !reflect.DeepEqual(got, want) {
			t.Errorf("read %+v, want %+v", got, want)
		}
	}
}

func TestPublisher_Publish_KeepsTheirOrder(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	const n = 1000
	events := make([]bus.Event, n)
	for i := range events {
		events[i] = newEvent(fmt.Sprintf("e%d", i))
	}
	publish(t, a.api, events...)
	for i, id := range fetch(t, a.worker, bus.ConsumerLive, n, false) {
		if want := events[i].ID; id != want {
			t.Fatalf("event %d is %s, want %s", i, id, want)
		}
	}
	if errs := publisher(t, a.api).Publish(t.Context()); len(errs) != 0 {
		t.Errorf("no events: %v", errs)
	}
}

func TestPublisher_Publish_OneRefusalIsOneEvents(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	large := newEvent("large")
	large.Body = bytes.Repeat([]byte("a"), 600<<10)
	errs := publisher(t, a.api).Publish(t.Context(), newEvent("a"), large, newEvent("b"))
	if errs[0] != nil || errs[2] != nil {
		t.Errorf("the others: %v, %v", errs[0], errs[2])
	}
	if !errors.Is(errs[1], bus.ErrUnavailable) || !errors.Is(errs[1], jetstream.ErrStreamMessageExceedsMaximum) || errors.Is(errs[1], bus.ErrFull) {
		t.Errorf("an event that is too large: %v", errs[1])
	}
	if ids := fetch(t, a.worker, bus.ConsumerLive, 2, true); !slices.Equal(ids, []string{"a", "b"}) {
		t.Errorf("stored %v", ids)
	}
}

func TestPublisher_Publish_Deduplicates(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	repeated := newEvent("same")
	repeated.Deduplicate = true
	others := repeated
	others.Tenant = uuid.New()
	anew := newEvent("anew")
	for _, tc := range []struct {
		name   string
		events []bus.Event
		stored uint64 // in all
	}{
		{name: "an event", events: []bus.Event{repeated}, stored: 1},
		{name: "the same again, alone and twice at once", events: []bus.Event{repeated, repeated}, stored: 1},
		{name: "another tenant's of that id", events: []bus.Event{others}, stored: 2},
		{name: "events that do not ask for it", events: []bus.Event{anew, anew}, stored: 4},
	} {
		publish(t, a.api, tc.events...) // each is accepted
		if got := info(t, a.admin).State.Msgs; got != tc.stored {
			t.Errorf("after %s: %d stored, want %d", tc.name, got, tc.stored)
		}
	}
}

func TestPublisher_Publish_WhileNATSIsAway(t *testing.T) {
	t.Parallel()
	n := testenv.PrivateNATS(t)
	nc := n.Connect(t, testenv.API)
	p := publisher(t, stream(t, nc))
	accepted := func() bool { return p.Publish(t.Context(), newEvent("e"))[0] == nil }
	if !accepted() {
		t.Fatal("not accepted at first")
	}
	away, back := nc.StatusChanged(nats.RECONNECTING), nc.StatusChanged(nats.CONNECTED)
	n.Kill()
	await(t, away)
	began := time.Now()
	for i, err := range p.Publish(t.Context(), newEvent("a"), newEvent("b"), newEvent("c")) {
		if !errors.Is(err, bus.ErrUnavailable) || errors.Is(err, bus.ErrFull) {
			t.Errorf("event %d: %v, want the store unavailable", i, err)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %s to say so", took)
	}
	n.Restart()
	await(t, back)
	if !accepted() {
		t.Error("not accepted after NATS came back")
	}
	if got := info(t, stream(t, n.Connect(t, testenv.Admin))).State.Msgs; got != 2 {
		t.Errorf("%d events are stored, want the 2 that were accepted", got)
	}
}

func await(t testing.TB, status <-chan nats.Status) {
	t.Helper()
	select {
	case <-status:
	case <-time.After(20 * time.Second):
		t.Fatal("the connection's state did not change")
	}
}

func TestPublisher_Publish_WithoutAStream(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	if err := a.admin.DeleteStream(t.Context(), bus.StreamEvents); err != nil {
		t.Fatal(err)
	}
	p := publisher(t, a.api)
	if err := p.Publish(t.Context(), newEvent("a"))[0]; !errors.Is(err, bus.ErrUnavailable) || !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("%v, want the store unavailable", err)
	}
	// Longer than a caller waits, who learns so much and no more.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	for _, err := range p.Publish(ctx, newEvent("a"), newEvent("b")) {
		if !errors.Is(err, bus.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want the store unavailable in the caller's time", err)
		}
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Publish(cancelled, newEvent("a"))[0]; !errors.Is(err, bus.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the store unavailable to a caller who left", err)
	}
}

func TestPublisher_Publish_WhenTheStoreIsFull(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	if err := bus.Apply(t.Context(), a.admin, bus.Options{Replicas: 1, MaxBytes: 32 << 10}); err != nil {
		t.Fatal(err)
	}
	p := publisher(t, a.api)
	var events []bus.Event
	for i := range 60 {
		e := newEvent(fmt.Sprintf("e%d", i))
		e.Body = bytes.Repeat([]byte("a"), 1<<10)
		events = append(events, e)
	}
	var accepted uint64
	for _, err := range p.Publish(t.Context(), events...) {
		switch {
		case err == nil:
			accepted++
		case !errors.Is(err, bus.ErrFull) || !errors.Is(err, bus.ErrUnavailable):
			t.Fatalf("%v, want the store full", err)
		}
	}
	state := info(t, a.admin).State
	if accepted == 0 || accepted == 60 || state.Msgs != accepted || state.FirstSeq != 1 {
		t.Errorf("%d accepted, and stored are %d from %d on; want some, and all of them kept", accepted, state.Msgs, state.FirstSeq)
	}
	// Room again.
	if err := bus.PurgeBelow(t.Context(), a.worker, 11); err != nil {
		t.Fatal(err)
	}
	publish(t, a.api, events[0])
}

func TestPublisher_Poison(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	header := nats.Header{
		"Primezap-Event-Id": {"e1"}, "Primezap-Day": {"not a day"}, "Primezap-Contact": {"c"},
		jetstream.MsgIDHeader: {"tenant/e1"}, "Primezap-Trace": {"00-ab"},
	}
	p := publisher(t, a.worker)
	for range 2 { // an id for deduplication is not kept: each is stored
		if err := p.Poison(t.Context(), tenant.String(), "parse", "line one\r\nNats-Msg-Id: forged", 9, header, []byte("body")); err != nil {
			t.Fatal(err)
		}
	}
	s, err := a.admin.Stream(t.Context(), bus.StreamPoison)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().State.Msgs; got != 2 {
		t.Fatalf("%d are stored, want 2", got)
	}
	msg, err := s.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if msg.Subject != "poison."+tenant.String()+".parse" || string(msg.Data) != "body" {
		t.Errorf("stored %s %q", msg.Subject, msg.Data)
	}
	reason := msg.Header.Get("Primezap-Reason")
	if !strings.HasPrefix(reason, "line one") || strings.ContainsAny(reason, "\r\n") {
		t.Errorf("reason %q", reason)
	}
	delete(msg.Header, "Primezap-Reason")
	want := nats.Header{"Primezap-Event-Id": {"e1"}, "Primezap-Day": {"not a day"}, "Primezap-Contact": {"c"}, "Primezap-Seq": {"9"}}
	if !reflect.DeepEqual(msg.Header, want) {
		t.Errorf("headers %v, want %v", msg.Header, want)
	}
	if err := a.admin.DeleteStream(t.Context(), bus.StreamPoison); err != nil {
		t.Fatal(err)
	}
	if err := p.Poison(t.Context(), tenant.String(), "parse", "r", 9, header, nil); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("without a stream: %v", err)
	}
}

func TestReader_Event_NeverAnother(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	theirs := newEvent("theirs")
	theirs.Tenant = uuid.New()
	publish(t, a.api, newEvent("purged"), newEvent("mine"), theirs)
	if _, err := a.api.Publish(t.Context(), "events.live."+tenant.String()+".deal.moved", []byte("raw")); err != nil { // sequence 4
		t.Fatal(err)
	}
	if err := bus.PurgeBelow(t.Context(), a.worker, 2); err != nil {
		t.Fatal(err)
	}
	r := reader(t, a.worker)
	if got, err := r.Event(t.Context(), r.Epoch(), 2, tenant, "mine"); err != nil || got.ID != "mine" {
		t.Fatalf("the right one: %+v, %v", got, err)
	}
	for _, tc := range []struct {
		name   string
		epoch  int64
		seq    uint64
		tenant uuid.UUID
		id     string
	}{
		{name: "another stream's sequence", epoch: r.Epoch() - 1, seq: 2, tenant: tenant, id: "mine"},
		{name: "another tenant's event", epoch: r.Epoch(), seq: 3, tenant: tenant, id: "theirs"},
		{name: "another event of the tenant", epoch: r.Epoch(), seq: 2, tenant: tenant, id: "other"},
		{name: "one that was purged", epoch: r.Epoch(), seq: 1, tenant: tenant, id: "purged"},
		{name: "one that never was", epoch: r.Epoch(), seq: 99, tenant: tenant, id: "mine"},
		{name: "a message that is no event", epoch: r.Epoch(), seq: 4, tenant: tenant, id: ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := r.Event(t.Context(), tc.epoch, tc.seq, tc.tenant, tc.id)
			if !errors.Is(err, bus.ErrBodyLost) || !reflect.DeepEqual(got, bus.Event{}) {
				t.Errorf("%+v, %v; want no event and that its body is lost", got, err)
			}
		})
	}
	t.Run("the stream is recreated under the reader", func(t *testing.T) {
		if err := a.admin.DeleteStream(t.Context(), bus.StreamEvents); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Event(t.Context(), r.Epoch(), 2, tenant, "mine"); err == nil || errors.Is(err, bus.ErrBodyLost) {
			t.Errorf("while it is gone: %v; want an error that settles nothing", err)
		}
		if err := bus.Apply(t.Context(), a.admin, bus.Options{Replicas: 1}); err != nil {
			t.Fatal(err)
		}
		publish(t, a.api, newEvent("x"), theirs)
		if got, err := r.Event(t.Context(), r.Epoch(), 2, tenant, "mine"); !errors.Is(err, bus.ErrBodyLost) {
			t.Errorf("%+v, %v; want that its body is lost", got, err)
		}
	})
}

// A body that cannot be read now is not lost.
func TestReader_Event_WhileNATSIsAway(t *testing.T) {
	t.Parallel()
	n := testenv.PrivateNATS(t)
	publish(t, stream(t, n.Connect(t, testenv.API)), newEvent("e"))
	nc := n.Connect(t, testenv.Worker)
	r := reader(t, stream(t, nc))
	away, back := nc.StatusChanged(nats.RECONNECTING), nc.StatusChanged(nats.CONNECTED)
	n.Kill()
	await(t, away)
	began := time.Now()
	if _, err := r.Event(t.Context(), r.Epoch(), 1, tenant, "e"); err == nil || errors.Is(err, bus.ErrBodyLost) {
		t.Errorf("%v, want an error that settles nothing", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	n.Restart()
	await(t, back)
	if got, err := r.Event(t.Context(), r.Epoch(), 1, tenant, "e"); err != nil || got.ID != "e" {
		t.Errorf("after NATS came back: %+v, %v", got, err)
	}
}

func TestNewReader_WithoutAStream(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	if err := a.admin.DeleteStream(t.Context(), bus.StreamEvents); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.NewReader(t.Context(), a.worker); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("%v, want that there is no stream", err)
	}
}
