package outbox_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/worker/outbox"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// patience is how long a test waits for what must come.
const patience = 10 * time.Second

// world is a database and a NATS, and the events that arrive there.
type world struct {
	t        testing.TB
	database *testenv.Database
	nats     *testenv.Account
	store    *store.Store
	stream   jetstream.Stream
	arrivals jetstream.MessagesContext

	startEvery time.Duration // of relays; 0: as usual
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, database: testenv.DB(t), nats: testenv.NATS(t)}
	w.store = openStore(t, w.database, testenv.Worker)
	admin, err := jetstream.New(w.nats.Connect(t, testenv.Admin))
	if err != nil {
		t.Fatal(err)
	}
	if w.stream, err = admin.Stream(t.Context(), bus.StreamEvents); err != nil {
		t.Fatal(err)
	}
	consumer, err := w.stream.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if w.arrivals, err = consumer.Messages(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.arrivals.Stop)
	return w
}

func openStore(t testing.TB, database *testenv.Database, role testenv.Role) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), database.URL(role), 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// relay starts a relay with connections of its own, and returns its NATS
// connection and what stops it.
func (w *world) relay() (nc *nats.Conn, stop func()) {
	w.t.Helper()
	nc = w.nats.Connect(w.t, testenv.Worker)
	publisher, err := bus.NewPublisher(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	relay := outbox.New(openStore(w.t, w.database, testenv.Worker), publisher, slog.New(slog.DiscardHandler))
	if w.startEvery > 0 {
		relay.SetStartEvery(w.startEvery)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan struct{})
	go func() { relay.Run(ctx); close(ended) }()
	stop = func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(patience):
			w.t.Error("the relay did not end")
		}
	}
	w.t.Cleanup(stop)
	return nc, stop
}

// tenant of all rows that do not say otherwise.
var tenant = uuid.MustParse("0198f000-0000-7000-8000-000000000001")

func row(id, conversation string) db.InsertOutboxParams {
	r := db.InsertOutboxParams{
		TenantID: tenant, EventID: id, EventType: "message.received", Day: bus.Day(time.Now()), Body: []byte(`{"event":"` + id + `"}`),
	}
	if conversation != "" {
		r.Conversation = &conversation
	}
	return r
}

// insert commits rows together.
func (w *world) insert(rows ...db.InsertOutboxParams) {
	w.t.Helper()
	err := w.store.InTx(w.t.Context(), func(q *db.Queries) error {
		for _, r := range rows {
			if err := q.InsertOutbox(w.t.Context(), r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// next is the event that arrives next.
func (w *world) next() bus.Event {
	w.t.Helper()
	msg, err := w.arrivals.Next(jetstream.NextMaxWait(patience))
	if err != nil {
		w.t.Fatalf("no event arrived: %v", err)
	}
	meta, err := msg.Metadata()
	if err != nil {
		w.t.Fatal(err)
	}
	e, err := bus.Parse(msg.Subject(), msg.Headers(), msg.Data(), meta.Sequence.Stream, meta.Timestamp)
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// passOver has a relay publish something again and again, so that it would leave
// behind what came before.
func (w *world) passOver(name string) {
	w.t.Helper()
	for i := range 20 {
		id := fmt.Sprintf("%s %d", name, i)
		w.insert(row(id, ""))
		w.expect(id)
	}
}

// expect is next, by ids.
func (w *world) expect(ids ...string) {
	w.t.Helper()
	var got []string
	for range ids {
		got = append(got, w.next().ID)
	}
	if !slices.Equal(got, ids) {
		w.t.Fatalf("arrived %v, want %v", got, ids)
	}
}

// emptied waits until the table is.
func (w *world) emptied() {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		rows, err := w.store.Queries().OutboxBatch(w.t.Context(), 0, 1, 1)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(rows) == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("event %s is still in the outbox", rows[0].EventID)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestRelay_Run(t *testing.T) {
	t.Parallel()
	t.Run("publishes a conversation's events in the order of ids, as they were written, and empties the table", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		wanted := map[string][]db.InsertOutboxParams{}
		var rows []db.InsertOutboxParams
		for i := range 2500 {
			conversation := ""
			if i%3 > 0 { // two in a row, of which there are many
				conversation = fmt.Sprintf("c%d", i/3%40)
			}
			r := row(fmt.Sprintf("e%04d", i), conversation)
			rows = append(rows, r)
			wanted[conversation] = append(wanted[conversation], r)
		}
		w.insert(rows...)
		w.relay()
		byID := map[string]string{}
		for c, of := range wanted {
			for _, r := range of {
				byID[r.EventID] = c
			}
		}
		for range rows {
			e := w.next()
			c, known := byID[e.ID]
			if !known {
				t.Fatalf("%s arrived twice, or was never raised", e.ID)
			}
			delete(byID, e.ID)
			want := wanted[c][0]
			if c == "" {
				at := slices.IndexFunc(wanted[""], func(r db.InsertOutboxParams) bool { return r.EventID == e.ID })
				want = wanted[""][at]
			} else {
				wanted[c] = wanted[c][1:]
			}
			if e.ID != want.EventID {
				t.Fatalf("of %s arrived %s, want %s before it", c, e.ID, want.EventID)
			}
			if e.Tenant != want.TenantID || e.Class != bus.Live || e.Type != want.EventType || !e.Day.Equal(want.Day) || string(e.Body) != string(want.Body) {
				t.Fatalf("%s arrived as %+v, want %+v", e.ID, e, want)
			}
		}
		w.emptied()
	})

	t.Run("says whom an event is about, as the api does", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		plain, other := row("plain", ""), row("other", "")
		plain.Body = []byte(`{"event":"message.received","data":{"contact":{"id":"c1"}}}`)
		other.Body = []byte(`{"event":"message.received","data":{"contact":{"id":"+55 11 5555"}}}`)
		w.insert(plain, other, row("nobody's", ""))
		w.relay()
		for _, want := range []string{"c1", event.ContactKey("+55 11 5555"), ""} {
			if e := w.next(); e.Contact != want {
				t.Errorf("%s is about %q, want %q", e.ID, e.Contact, want)
			}
		}
	})

	t.Run("finds a row that commits behind others", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		late, err := w.store.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer late.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // committed below
		if err := db.New(late).InsertOutbox(t.Context(), row("late", "c")); err != nil {
			t.Fatal(err)
		}
		w.insert(row("early", "c"))
		w.relay()
		w.expect("early")
		if err := late.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.expect("late")
		w.emptied()
	})

	t.Run("finds a row that commits long behind others", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		w.startEvery = time.Hour // the start is where the relay puts it
		late, err := w.store.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer late.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // committed below
		w.relay()
		w.passOver("before")
		if err := db.New(late).InsertOutbox(t.Context(), row("late", "c")); err != nil {
			t.Fatal(err)
		}
		w.passOver("early")
		if err := late.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.expect("late")
		w.emptied()
	})

	t.Run("does not publish again what a dead relay has published", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		r := row("twice", "")
		publisher, err := bus.NewPublisher(w.nats.Connect(t, testenv.Worker))
		if err != nil {
			t.Fatal(err)
		}
		// As a relay that dies after the PubAck leaves it.
		e := bus.Event{Tenant: r.TenantID, Class: bus.Live, Type: r.EventType, ID: r.EventID, Day: r.Day, Body: r.Body, Deduplicate: true}
		if err := publisher.Publish(t.Context(), e)[0]; err != nil {
			t.Fatal(err)
		}
		w.insert(r)
		w.relay()
		w.emptied()
		info, err := w.stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Msgs != 1 {
			t.Errorf("%d events are stored, want 1", info.State.Msgs)
		}
	})

	t.Run("holds back the later events of a conversation that one could not be published of, and no others", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		refused := row("a1", "a")
		refused.Body = make([]byte, 600<<10) // more than the stream takes
		other := row("other tenant's", "a")
		other.TenantID = uuid.MustParse("0198f000-0000-7000-8000-000000000002")
		w.insert(refused, row("a2", "a"), row("b1", "b"), row("of no conversation", ""), other)
		w.relay()
		w.expect("b1", "of no conversation", other.EventID)
		w.insert(row("b2", "b"))
		w.expect("b2")
		if _, err := w.store.Pool().Exec(t.Context(), "DELETE FROM outbox WHERE event_id = 'a1'"); err != nil {
			t.Fatal(err)
		}
		w.expect("a2")
		w.emptied()
	})

	t.Run("does not let others wait for what is held back", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		refused := row("a", "a")
		refused.Body = make([]byte, 600<<10)
		w.insert(refused)
		w.relay()
		started := time.Now()
		for i := range 10 {
			id := fmt.Sprint("b", i)
			w.insert(row(id, "b"))
			w.expect(id)
		}
		if took := time.Since(started); took > 5*time.Second { // each would wait for the next try
			t.Errorf("ten events took %s", took)
		}
	})

	t.Run("does not let others wait for a conversation that has much to say", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		var rows []db.InsertOutboxParams
		for i := range 1500 { // more than a batch
			rows = append(rows, row(fmt.Sprintf("a%04d", i), "a"))
		}
		w.insert(append(rows, row("b", "b"))...)
		w.relay()
		for at := 0; at < len(rows); {
			e := w.next()
			if e.ID == "b" {
				if at > len(rows)/2 {
					t.Errorf("b came behind %d events of another conversation", at)
				}
				continue
			}
			if e.ID != rows[at].EventID {
				t.Fatalf("%s arrived, want %s", e.ID, rows[at].EventID)
			}
			at++
		}
		w.emptied()
	})

	t.Run("holds no more bodies at once than a bounded size of them", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		var rows []db.InsertOutboxParams
		for i := range 20 {
			r := row(fmt.Sprintf("e%02d", i), "")
			r.Body = make([]byte, 100<<10)
			rows = append(rows, r)
		}
		w.insert(rows...)
		for limit, want := range map[int64]int{1: 1, 100 << 10: 1, 1 << 20: 11, 8 << 20: 20} {
			batch, err := w.store.Queries().OutboxBatch(t.Context(), 0, 1000, limit)
			if err != nil || len(batch) != want {
				t.Errorf("of a limit of %d bytes: %d rows of 100 KiB, %v; want %d", limit, len(batch), err, want)
			}
		}
	})

	t.Run("goes on behind a batch that is held back", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		refused := row("a", "a")
		refused.Body = make([]byte, 600<<10)
		rows := []db.InsertOutboxParams{row("first", ""), refused}
		for range 1500 {
			rows = append(rows, row("held", "a"))
		}
		w.insert(append(rows, row("last", ""))...)
		w.relay()
		w.expect("first", "last")
	})
}

// An insert gets its id a moment before its transaction has a number: should others
// overtake it just there, only reading from the very start finds it.
func TestRelay_RunFindsWhatWasOvertaken(t *testing.T) { // not parallel: no other test has a transaction open meanwhile
	w := newWorld(t)
	w.startEvery = 2 * time.Second
	super, err := pgx.Connect(t.Context(), w.database.URL(testenv.Superuser))
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(context.WithoutCancel(t.Context()))
	var id int64
	if err := super.QueryRow(t.Context(), "SELECT nextval(pg_get_serial_sequence('outbox', 'id'))").Scan(&id); err != nil {
		t.Fatal(err)
	}
	w.relay()
	w.passOver("overtakes it")
	_, err = super.Exec(t.Context(), `INSERT INTO outbox (id, tenant_id, event_id, event_type, day, body) OVERRIDING SYSTEM VALUE
		VALUES ($1, $2, 'overtaken', 'deal.moved', current_date, '{}')`, id, tenant)
	if err != nil {
		t.Fatal(err)
	}
	w.expect("overtaken")
	w.emptied()
}

// TestRelay_RunReadsSeldom has one conversation leave much behind: it is not read
// anew for every few of its rows.
func TestRelay_RunReadsSeldom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const rows = 10_000
	if _, err := w.store.Pool().Exec(t.Context(), `INSERT INTO outbox (tenant_id, event_id, event_type, day, body, conversation)
		SELECT $1, 'e' || n, 'message.received', current_date, '{}', 'c' FROM generate_series(1, $2::int) AS n`, tenant, rows); err != nil {
		t.Fatal(err)
	}
	_, stop := w.relay()
	for n := range rows {
		w.expect(fmt.Sprint("e", n+1))
	}
	w.emptied()
	stop() // its connection tells of its reads as it ends
	var read int64
	for deadline := time.Now().Add(patience); read < rows && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) { // between looks
		err := w.store.Pool().QueryRow(t.Context(), "SELECT coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'outbox'").Scan(&read)
		if err != nil {
			t.Fatal(err)
		}
	}
	if read < rows || read > 30*rows {
		t.Errorf("%d rows are read to publish %d", read, rows)
	}
}

func TestRelay_RunAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, stopFirst := w.relay()
	w.insert(row("first", ""))
	w.expect("first")

	second, _ := w.relay()
	before := second.Stats().OutMsgs
	for start := time.Now(); time.Since(start) < 2*time.Second; { // the second one asks for the lock meanwhile
		id := uuid.NewString()
		w.insert(row(id, ""))
		w.expect(id)
	}
	if sent := second.Stats().OutMsgs - before; sent != 0 {
		t.Errorf("the second relay published %d events beside the first", sent)
	}

	stopFirst()
	w.insert(row("after the first has stopped", ""))
	w.expect("after the first has stopped")
	if second.Stats().OutMsgs == before {
		t.Error("the second relay did not take over")
	}

	super, err := pgx.Connect(t.Context(), w.database.URL(testenv.Superuser))
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(context.WithoutCancel(t.Context()))
	var holders int
	err = super.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_locks
		WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&holders)
	if err != nil {
		t.Fatal(err)
	}
	if holders != 1 {
		t.Errorf("%d connections hold the lock, want 1", holders)
	}
	w.insert(row("after its connection broke", ""))
	w.expect("after its connection broke")
}

func TestRelay_RunStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	publisher, err := bus.NewPublisher(w.nats.Connect(t, testenv.Worker))
	if err != nil {
		t.Fatal(err)
	}
	relay := outbox.New(w.store, publisher, slog.New(slog.DiscardHandler))
	testenv.StressStop(t, func(ctx context.Context) error {
		relay.Run(ctx)
		return nil
	})
	w.insert(row("after all that", ""))
	w.relay()
	w.expect("after all that") // nobody kept the lock
}
