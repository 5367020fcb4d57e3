package bus_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
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

var otherTenant = uuid.MustParse("0198c0de-0000-7000-8000-00000000000b")

// about is an event about a contact.
func about(contact, id string) bus.Event {
	e := newEvent(id)
	e.Contact = contact
	return e
}

func eraser(t testing.TB, js jetstream.JetStream, stream string) *bus.Eraser {
	t.Helper()
	e, err := bus.NewEraser(t.Context(), js, stream)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEraser_Next_WalksATenantsMessages(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	others := about("c1", "theirs")
	others.Tenant = otherTenant
	inBulk := inClass(bus.Bulk, "b4")
	publish(t, a.api, about("c1", "e1"), others, newEvent("e3"), inBulk)
	walk := func(e *bus.Eraser, tenant uuid.UUID) (seen []string) {
		for seq := uint64(0); ; seq++ {
			m, found, err := e.Next(t.Context(), seq, tenant)
			if err != nil {
				t.Fatal(err)
			}
			if !found {
				return seen
			}
			seen = append(seen, strings.TrimSuffix(fmt.Sprint(m.ID, " ", m.Contact, " ", m.Type, " ", m.Day.Format(time.DateOnly), " ", m.Source), " 0"))
			seq = m.Seq
		}
	}
	day := newEvent("").Day.Format(time.DateOnly)
	if got, want := walk(eraser(t, a.worker, bus.StreamEvents), tenant), []string{
		"e1 c1 deal.moved " + day, "e3  deal.moved " + day, "b4  deal.moved " + day,
	}; !slices.Equal(got, want) {
		t.Errorf("walked over %q, want %q", got, want)
	}
	header := nats.Header{"Primezap-Event-Id": {"p1"}, "Primezap-Day": {day}, "Primezap-Contact": {"c1"}}
	for _, whose := range []uuid.UUID{otherTenant, tenant} {
		if err := publisher(t, a.worker).Poison(t.Context(), whose.String(), "ledger", "r", 7, header, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := walk(eraser(t, a.worker, bus.StreamPoison), tenant), []string{"p1 c1  " + day + " 7"}; !slices.Equal(got, want) {
		t.Errorf("of what is poisoned walked over %q, want %q", got, want)
	}
}

// The files hold no byte of an erased message; consumers, wherever they stand,
// go on with the others.
func TestEraser_Erase(t *testing.T) {
	t.Parallel()
	server := testenv.PrivateNATS(t)
	dir := server.Dir()
	a := account{Account: &server.Account, api: stream(t, server.Connect(t, testenv.API)), worker: stream(t, server.Connect(t, testenv.Worker))}
	const marker = "Ana-Souza-0x5f3759df"
	event := func(id, text string) bus.Event {
		e := newEvent(id)
		e.Body = []byte(`{"name":"` + text + `"}`)
		return e
	}
	// Erased: one that is acked, one that is delivered and not acked, one that waits.
	publish(t, a.api, event("acked", marker), event("a", "x"), event("unacked", marker), event("b", "x"), event("waiting", marker), event("c", "x"))
	fetch(t, a.worker, bus.ConsumerLive, 2, true)
	fetch(t, a.worker, bus.ConsumerLive, 1, false)
	if err := publisher(t, a.worker).Poison(t.Context(), tenant.String(), "ledger", "r", 1, nil, []byte(marker)); err != nil {
		t.Fatal(err)
	}
	if n := occurrences(t, dir, marker); n < 4 {
		t.Fatalf("the files hold the marker %d times: nothing is shown by its absence", n)
	}
	e := eraser(t, a.worker, bus.StreamEvents)
	for seq, id := range map[uint64]string{1: "acked", 3: "unacked", 5: "waiting"} {
		for _, want := range []bool{true, false} { // again, it is not there
			if erased, err := e.EraseEvent(t.Context(), seq, tenant, id); err != nil || erased != want {
				t.Fatalf("erase %s: %t, %v", id, erased, err)
			}
		}
		if err := e.Erase(t.Context(), seq); err != nil {
			t.Errorf("erase what is gone: %v", err)
		}
	}
	for name, erase := range map[string]func() (bool, error){
		"another tenant's": func() (bool, error) { return e.EraseEvent(t.Context(), 2, otherTenant, "a") },
		"another event":    func() (bool, error) { return e.EraseEvent(t.Context(), 2, tenant, "b") },
		"nothing":          func() (bool, error) { return e.EraseEvent(t.Context(), 0, tenant, "b") },
	} {
		if erased, err := erase(); erased || err != nil {
			t.Errorf("%s: erased %t, %v", name, erased, err)
		}
	}
	if err := eraser(t, a.worker, bus.StreamPoison).Erase(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if n := occurrences(t, dir, marker); n > 0 {
		t.Errorf("the files hold the marker %d times after it was erased", n)
	}
	if ids := fetch(t, a.worker, bus.ConsumerLive, 2, true); !slices.Equal(ids, []string{"b", "c"}) {
		t.Errorf("delivered %v, want what was not erased", ids)
	}
	waitFor(t, "the consumer has nothing left to do", func() bool {
		c := consumer(t, a.worker, bus.ConsumerLive)
		return c.NumAckPending == 0 && c.NumPending == 0 && c.AckFloor.Stream >= 5
	})
}

func TestPurgeTenant(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	theirs := func(id string, class bus.Class) bus.Event {
		e := inClass(class, id)
		e.Tenant = otherTenant
		return e
	}
	// Of each tenant: one that is acked, one unacked, one that waits, in both classes.
	for _, class := range []bus.Class{bus.Live, bus.Bulk} {
		publish(t, a.api, theirs("x1", class), inClass(class, "a1"), theirs("x2", class), inClass(class, "a2"), theirs("x3", class), inClass(class, "a3"))
	}
	acks := map[string][]jetstream.Msg{}
	for _, name := range names {
		fetch(t, a.worker, name, 2, true)
		c, err := a.worker.Consumer(t.Context(), bus.StreamEvents, name)
		if err != nil {
			t.Fatal(err)
		}
		batch, err := c.Fetch(2)
		if err != nil {
			t.Fatal(err)
		}
		for msg := range batch.Messages() {
			acks[name] = append(acks[name], msg)
		}
	}
	for _, whose := range []uuid.UUID{otherTenant, tenant} {
		if err := publisher(t, a.worker).Poison(t.Context(), whose.String(), "ledger", "r", 1, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []bool{true, false} {
		if found, err := bus.PurgeTenant(t.Context(), a.worker, otherTenant); err != nil || found != want {
			t.Fatalf("purged: found %t, %v; want %t", found, err, want)
		}
	}
	if _, found, err := eraser(t, a.worker, bus.StreamEvents).Next(t.Context(), 0, otherTenant); found || err != nil {
		t.Errorf("events are left: %t, %v", found, err)
	}
	if _, found, err := eraser(t, a.worker, bus.StreamPoison).Next(t.Context(), 0, otherTenant); found || err != nil {
		t.Errorf("poison is left: %t, %v", found, err)
	}
	if _, found, err := eraser(t, a.worker, bus.StreamPoison).Next(t.Context(), 0, tenant); !found || err != nil {
		t.Errorf("the other's poison: %t, %v", found, err)
	}
	for _, name := range names {
		for _, msg := range acks[name] { // of the purged one as well: a worker holds it
			if err := msg.DoubleAck(t.Context()); err != nil && strings.Contains(msg.Subject(), tenant.String()) {
				t.Errorf("ack: %v", err)
			}
		}
		if ids := fetch(t, a.worker, name, 1, true); !slices.Equal(ids, []string{"a3"}) {
			t.Errorf("%s delivered %v, want what waited", name, ids)
		}
		waitFor(t, "the consumer has nothing left to do", func() bool {
			c := consumer(t, a.worker, name)
			return c.NumAckPending == 0 && c.NumPending == 0
		})
		if s := stock(t, a.worker); s.Floors[name].Seq != s.Last {
			t.Errorf("%s's floor is %d of %d", name, s.Floors[name].Seq, s.Last)
		}
	}
}

// occurrences counts a text in all files below dir.
func occurrences(t testing.TB, dir, text string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		n += bytes.Count(content, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func waitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
