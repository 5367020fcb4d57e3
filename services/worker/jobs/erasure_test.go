package jobs

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
)

// marker is in every body and answer of the contact that is erased.
const marker = "Ana-Souza-7f3a91"

// erasing is a system whose workers stand still: what they would write is written
// by the test.
type erasing struct {
	*testing.T
	store, super *store.Store // as the worker, and as one who sees everything
	api, js      jetstream.JetStream
	publisher    *bus.Publisher
	eraser       *eraser
	other        uuid.UUID // another tenant
}

func newErasing(t *testing.T) *erasing {
	t.Helper()
	database, account := testenv.DB(t), testenv.NATS(t)
	w := &erasing{
		T: t, store: open(t, database, testenv.Worker), super: open(t, database, testenv.Superuser),
		api: connect(t, account, testenv.API), js: connect(t, account, testenv.Worker), other: uuid.New(),
	}
	var err error
	if w.publisher, err = bus.NewPublisher(w.api.Conn()); err != nil {
		t.Fatal(err)
	}
	w.eraser = newEraser(w.store, w.js, 0, quiet())
	w.eraser.againAfter = 0
	return w
}

// publish stores an event about a contact, and returns its sequence.
func (w *erasing) publish(owner uuid.UUID, contact, id, text string) uint64 {
	w.Helper()
	errs := w.publisher.Publish(w.Context(), bus.Event{
		Tenant: owner, Class: bus.Live, Type: "deal.moved", ID: id, Day: bus.Day(time.Now()), Contact: contact,
		Body: []byte(`{"event":"deal.moved","data":{"contact":{"id":"` + contact + `"},"text":"` + text + `"}}`),
	})
	if errs[0] != nil {
		w.Fatal(errs[0])
	}
	return w.here().Last
}

func (w *erasing) here() bus.Place {
	w.Helper()
	here, err := bus.Here(w.Context(), w.api)
	if err != nil {
		w.Fatal(err)
	}
	return here
}

// deliver writes what a worker does of an event: its entry, an answer, and a row
// that waits.
func (w *erasing) deliver(owner uuid.UUID, contact, id, text string, seq uint64) {
	w.Helper()
	here := w.here()
	exec(w.T, w.super, `INSERT INTO events (day, tenant_id, id, type, stream_seq, contact_id, created_at) VALUES ($1, $2, $3, 'deal.moved', $4, $5, now())`,
		bus.Day(time.Now()), owner, id, int64(seq), contact)
	exec(w.T, w.super, `INSERT INTO webhook_logs (webhook_id, created_at, id, tenant_id, delivery_id, event_id, event_type, attempt, kind, counted, success, status,
		duration_ms, request_headers, response_headers, response_body)
		VALUES ($1, now(), gen_random_uuid(), $1, gen_random_uuid(), $2, 'deal.moved', 1, 0, true, false, 500, 1, '{"webhook-id":"1"}', $3::json, $4)`,
		owner, id, `{"X-Echo":"`+text+`"}`, "answer: "+text)
	exec(w.T, w.super, `INSERT INTO webhook_queue (delivery_id, webhook_id, tenant_id, event_id, event_type, event_day, epoch, stream_seq, kind, state, attempt, due_at, last_error)
		VALUES (gen_random_uuid(), $1, $1, $2, 'deal.moved', $3, $4, $5, 0, 2, 2, now(), 'status: 500')`, owner, id, bus.Day(time.Now()), here.Epoch, int64(seq))
}

// ask asks for an erasure as the api does.
func (w *erasing) ask(contact string) db.Erasure {
	w.Helper()
	here := w.here()
	row, err := w.super.Queries().InsertErasure(w.Context(), db.InsertErasureParams{
		ID: uuid.Must(uuid.NewV7()), TenantID: tenant, ContactID: &contact, Epoch: here.Epoch, LastSeq: int64(here.Last), LastTime: here.Time,
	})
	if err != nil {
		w.Fatal(err)
	}
	return row
}

// run works on an erasure until it is done.
func (w *erasing) run(id uuid.UUID) db.Erasure {
	w.Helper()
	for range 100 {
		err := w.eraser.Work(w.Context(), &river.Job[jobs.Erasure]{Args: jobs.Erasure{ID: id}})
		if snooze := (*river.JobSnoozeError)(nil); err != nil && !errors.As(err, &snooze) {
			w.Fatal(err)
		}
		row, err := w.store.Queries().GetErasure(w.Context(), id)
		if err != nil {
			w.Fatal(err)
		}
		if row.FinishedAt != nil {
			return row
		}
	}
	w.Fatal("the erasure does not end")
	return db.Erasure{}
}

// stored are the ids of a stream's messages that hold a text.
func (w *erasing) stored(name, text string) (ids []string) {
	w.Helper()
	return storedIn(w.T, w.js, name, text)
}

func storedIn(t *testing.T, js jetstream.JetStream, name, text string) (ids []string) {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		msg, err := stream.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(msg.Data), text) {
			ids = append(ids, msg.Header.Get("Primezap-Event-Id"))
		}
	}
	return ids
}

// rowsWith are the tables that have a text in any column, with how many rows.
func rowsWith(t *testing.T, super *store.Store, text string) (found []string) {
	t.Helper()
	tables, err := super.Pool().Query(t.Context(), `SELECT c.oid::regclass::text FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(tables, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		// A bytea reads as hexadecimal digits.
		n := ask[int64](t, super, "SELECT count(*) FROM "+name+" AS r WHERE strpos(r::text, $1) > 0 OR strpos(r::text, $2) > 0", text, hex.EncodeToString([]byte(text)))
		if n > 0 {
			found = append(found, fmt.Sprintf("%s: %d", name, n))
		}
	}
	return found
}

// poison gives a message up as a worker does.
func (w *erasing) poison(owner uuid.UUID, contact, id, text string, seq uint64) {
	w.Helper()
	publisher, err := bus.NewPublisher(w.js.Conn())
	if err != nil {
		w.Fatal(err)
	}
	header := nats.Header{"Primezap-Event-Id": {id}, "Primezap-Day": {time.Now().UTC().Format(time.DateOnly)}, "Primezap-Contact": {contact}}
	if err := publisher.Poison(w.Context(), owner.String(), "redelivery", "r", seq, header, []byte(text)); err != nil {
		w.Fatal(err)
	}
}

// raise puts an event into the outbox, so many seconds ago.
func (w *erasing) raise(contact, id, text string, ago int) {
	w.Helper()
	exec(w.T, w.super, `INSERT INTO outbox (tenant_id, event_id, event_type, day, body, created_at) VALUES ($1, $2, 'deal.moved', $3, $4, now() - $5 * interval '1 s')`,
		tenant, id, bus.Day(time.Now()), []byte(`{"event":"deal.moved","data":{"contact":{"id":"`+contact+`"},"text":"`+text+`"}}`), ago)
}

func TestEraser_Work(t *testing.T) {
	t.Parallel()
	t.Run("leaves nothing of the contact and everything of others", func(t *testing.T) {
		t.Parallel()
		w := newErasing(t)
		for i := range 3 {
			// Delivered or being retried; of the same contact's id at another tenant; of another contact.
			id := fmt.Sprint(i)
			w.deliver(tenant, "c1", "a"+id, marker, w.publish(tenant, "c1", "a"+id, marker))
			w.deliver(w.other, "c1", "x"+id, "theirs", w.publish(w.other, "c1", "x"+id, "theirs"))
			w.deliver(tenant, "c2", "b"+id, "kept", w.publish(tenant, "c2", "b"+id, "kept"))
		}
		given := w.publish(tenant, "c1", "given-up", marker) // ended without an entry in the ledger
		w.ackAll()
		unacked := w.publish(tenant, "c1", "unacked", marker) // in a worker's hands
		w.fetch(1)
		w.publish(tenant, "c2", "waits", "kept")
		w.publish(tenant, "c1", "waiting", marker)
		w.poison(tenant, "c1", "given-up", marker, given)
		w.poison(tenant, "c2", "other", "kept", 1)
		w.poison(w.other, "c1", "other", "theirs", 1)
		w.raise("c1", "raised", marker, 1)
		w.raise("c2", "raised2", "kept", 1)
		for seq, id := range map[int64]string{1: "a0", 900: "a1"} { // one of an older stream
			exec(t, w.super, `INSERT INTO event_bodies (epoch, stream_seq, tenant_id, event_day, event_id, body) VALUES ($1, $2, $3, $4, $5, $6)`,
				7, seq, tenant, bus.Day(time.Now()), id, []byte(marker))
		}
		exec(t, w.super, `INSERT INTO webhook_queue (delivery_id, webhook_id, tenant_id, event_id, event_type, event_day, epoch, stream_seq, kind, state, attempt, due_at)
			VALUES (gen_random_uuid(), $1, $1, 'a1', 'deal.moved', $2, 7, 900, 0, 3, 4, now())`, tenant, bus.Day(time.Now()))
		asked := w.ask("c1")
		after := w.publish(tenant, "c1", "new", "kept: accepted after the request")
		w.deliver(tenant, "c1", "new", "kept", after)
		w.raise("c1", "raised-new", "kept", -10)

		row := w.run(asked.ID)
		if found := rowsWith(t, w.super, marker); len(found) > 0 {
			t.Errorf("tables still hold the marker: %v", found)
		}
		for _, stream := range []string{bus.StreamEvents, bus.StreamPoison} {
			if ids := w.stored(stream, marker); len(ids) > 0 {
				t.Errorf("%s still holds %v", stream, ids)
			}
		}
		if got := w.stored(bus.StreamEvents, "kept"); !slices.Equal(got, []string{"b0", "b1", "b2", "waits", "new"}) {
			t.Errorf("of other contacts, and accepted later: %v", got)
		}
		if got := w.stored(bus.StreamEvents, "theirs"); len(got) != 3 {
			t.Errorf("of the other tenant: %v", got)
		}
		if got := len(w.stored(bus.StreamPoison, "")); got != 2 {
			t.Errorf("%d poisoned messages are left, want those of others", got)
		}
		for query, want := range map[string]int64{
			"SELECT count(*) FROM webhook_queue":                                                   7,
			"SELECT count(*) FROM webhook_logs":                                                    10,
			"SELECT count(*) FROM webhook_logs WHERE response_body IS NULL":                        3,
			"SELECT count(*) FROM webhook_logs WHERE response_headers IS NULL":                     3,
			"SELECT count(*) FROM webhook_logs WHERE request_headers IS NOT NULL AND status = 500": 10,
			"SELECT count(*) FROM events WHERE contact_id = 'c1'":                                  4, // the other tenant's, and the new one
			"SELECT count(*) FROM events WHERE contact_id = 'c2'":                                  3,
			"SELECT count(*) FROM events WHERE erased_at IS NOT NULL AND contact_id IS NULL":       6,
			"SELECT count(*) FROM event_bodies":                                                    0,
			"SELECT count(*) FROM outbox":                                                          2,
		} {
			if got := ask[int64](t, w.super, query); got != want {
				t.Errorf("%s: %d, want %d", query, got, want)
			}
		}
		if row.ContactID != nil {
			t.Errorf("the erasure still says that it was %s", *row.ContactID)
		}
		// 3 delivered, 2 undelivered, 1 of the outbox; their bodies, the poisoned one, 2 that were kept.
		if row.Events != 6 || row.Bodies != 9 || row.Logs != 3 || row.Deliveries != 4 || row.StartedAt == nil {
			t.Errorf("counted %d events, %d bodies, %d logs, %d deliveries", row.Events, row.Bodies, row.Logs, row.Deliveries)
		}
		// The consumer goes on behind the erased ones.
		if ids := w.fetch(2); !slices.Equal(ids, []string{"waits", "new"}) {
			t.Errorf("delivered %v, want the other contact's event and the one accepted after the request (%d, %d)", ids, unacked, after)
		}
	})

	t.Run("an event that was not delivered has its entry, so nobody delivers it", func(t *testing.T) {
		t.Parallel()
		w := newErasing(t)
		w.publish(tenant, "c1", "waiting", marker)
		w.run(w.ask("c1").ID)
		positions, err := w.store.Queries().PresentEvents(t.Context(), db.PresentEventsParams{
			Days: []time.Time{bus.Day(time.Now())}, Tenants: []uuid.UUID{tenant}, Ids: []string{"waiting"},
			FirstDay: bus.Day(time.Now()), LastDay: bus.Day(time.Now()),
		})
		if err != nil || len(positions) != 1 {
			t.Errorf("present: %v, %v", positions, err)
		}
	})

	t.Run("finds what comes between while it waits", func(t *testing.T) {
		t.Parallel()
		w := newErasing(t)
		seq := w.publish(tenant, "c1", "a", marker)
		w.deliver(tenant, "c1", "a", marker, seq)
		w.raise("c1", "raised", marker, 1)
		asked := w.ask("c1")
		w.eraser.againAfter = time.Hour
		if err := w.work(t.Context(), asked.ID); !snoozed(err) {
			t.Fatalf("%v, want it to wait", err)
		}
		// The relay had read the row; a client repeats its request; the janitor copies
		// a body that it had read; a replay finds the event; a worker gives it up.
		w.publish(tenant, "c1", "raised", marker)
		w.publish(tenant, "c1", "a", marker)
		w.publish(tenant, "c1", "new", "kept")
		w.poison(tenant, "c1", "a", marker, seq)
		w.poison(tenant, "c1", "new", "kept", 0)
		exec(t, w.super, `INSERT INTO event_bodies (epoch, stream_seq, tenant_id, event_day, event_id, body) VALUES ($1, $2, $3, $4, 'a', $5)`,
			w.here().Epoch, int64(seq), tenant, bus.Day(time.Now()), []byte(marker))
		exec(t, w.super, `INSERT INTO webhook_queue (delivery_id, webhook_id, tenant_id, event_id, event_type, event_day, epoch, stream_seq, kind, state, attempt, due_at)
			VALUES (gen_random_uuid(), $1, $1, 'a', 'deal.moved', $2, $3, $4, 2, 0, 1, now())`, tenant, bus.Day(time.Now()), w.here().Epoch, int64(seq))
		w.eraser.againAfter = 0
		w.run(asked.ID)
		if found := rowsWith(t, w.super, marker); len(found) > 0 {
			t.Errorf("tables still hold the marker: %v", found)
		}
		for _, stream := range []string{bus.StreamEvents, bus.StreamPoison} {
			if ids := w.stored(stream, marker); len(ids) > 0 {
				t.Errorf("%s still holds %v", stream, ids)
			}
			if ids := w.stored(stream, "kept"); len(ids) != 1 {
				t.Errorf("%s keeps %v of what is new", stream, ids)
			}
		}
		if n := ask[int64](t, w.super, "SELECT count(*) FROM webhook_queue"); n > 0 {
			t.Errorf("%d deliveries are left", n)
		}
	})

	t.Run("goes on where it was interrupted, at every statement and message", func(t *testing.T) {
		t.Parallel()
		w := newErasing(t)
		for i := range 4 {
			id := fmt.Sprint("a", i)
			w.deliver(tenant, "c1", id, marker, w.publish(tenant, "c1", id, marker))
		}
		w.ackAll()
		w.publish(tenant, "c1", "waiting", marker)
		w.poison(tenant, "c1", "p", marker, 0)
		w.raise("c1", "raised", marker, 1)
		asked := w.ask("c1")
		var row db.Erasure
		for tries := 0; row.FinishedAt == nil; tries++ {
			if tries == 500 {
				t.Fatal("it does not get on")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(tries)*time.Millisecond)
			_ = w.work(ctx, asked.ID)
			cancel()
			var err error
			if row, err = w.store.Queries().GetErasure(t.Context(), asked.ID); err != nil {
				t.Fatal(err)
			}
		}
		if found := rowsWith(t, w.super, marker); len(found) > 0 || len(w.stored(bus.StreamEvents, marker))+len(w.stored(bus.StreamPoison, marker)) > 0 {
			t.Errorf("the marker is left in %v and %v", found, w.stored(bus.StreamEvents, marker))
		}
		if row.Events != 6 || row.Logs != 4 || row.Deliveries != 4 {
			t.Errorf("counted %d events, %d logs, %d deliveries: something twice, or not", row.Events, row.Logs, row.Deliveries)
		}
	})

	t.Run("erases in rounds", func(t *testing.T) {
		t.Parallel()
		w := newErasing(t)
		const events = 2*eraseChunk + 1
		exec(t, w.super, `INSERT INTO events (day, tenant_id, id, type, stream_seq, contact_id, created_at)
			SELECT $1, $2, 'e' || n, 'deal.moved', n, 'c1', now() - interval '1 hour' FROM generate_series(1, $3::int) AS n`, bus.Day(time.Now()), tenant, events)
		exec(t, w.super, `INSERT INTO webhook_queue (delivery_id, webhook_id, tenant_id, event_id, event_type, event_day, epoch, stream_seq, kind, state, attempt, due_at)
			SELECT gen_random_uuid(), $2, $2, 'e7', 'deal.moved', $1, $3, 7, 0, 0, 1, now() FROM generate_series(1, $4::int) AS n`,
			bus.Day(time.Now()), tenant, w.here().Epoch, 2*rowChunk+1)
		exec(t, w.super, `INSERT INTO webhook_logs (webhook_id, created_at, id, tenant_id, delivery_id, event_id, event_type, attempt, kind, counted, success, status, duration_ms, response_body)
			SELECT $1, now(), gen_random_uuid(), $1, gen_random_uuid(), 'e' || (1 + n % $2), 'deal.moved', 1, 0, true, true, 200, 1, 'x' FROM generate_series(1, $3::int) AS n`,
			tenant, events, 20*events)
		w.publish(tenant, "c2", "last", "kept") // the stream's time is known
		row := w.run(w.ask("c1").ID)
		if row.Events != events || row.Deliveries != 2*rowChunk+1 || row.Logs != 20*events {
			t.Errorf("counted %d events, %d deliveries, %d logs", row.Events, row.Deliveries, row.Logs)
		}
	})

	t.Run("ends with its tenant", func(t *testing.T) {
		t.Parallel()
		w := newErasing(t)
		if err := w.work(t.Context(), uuid.New()); err != nil {
			t.Error(err)
		}
	})
}

func (w *erasing) work(ctx context.Context, id uuid.UUID) error {
	return w.eraser.Work(ctx, &river.Job[jobs.Erasure]{Args: jobs.Erasure{ID: id}})
}

func snoozed(err error) bool {
	var snooze *river.JobSnoozeError
	return errors.As(err, &snooze)
}

// fetch takes events as a worker does, and leaves them unacked.
func (w *erasing) fetch(n int) (ids []string) {
	w.Helper()
	for _, msg := range w.take(n) {
		ids = append(ids, msg.Headers().Get("Primezap-Event-Id"))
	}
	return ids
}

func (w *erasing) take(n int) (msgs []jetstream.Msg) {
	w.Helper()
	consumer, err := w.js.Consumer(w.Context(), bus.StreamEvents, bus.ConsumerLive)
	if err != nil {
		w.Fatal(err)
	}
	batch, err := consumer.Fetch(n, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		w.Fatal(err)
	}
	for msg := range batch.Messages() {
		msgs = append(msgs, msg)
	}
	return msgs
}

// ackAll acks what there is.
func (w *erasing) ackAll() {
	w.Helper()
	for _, msg := range w.take(int(w.here().Last)) {
		if err := msg.DoubleAck(w.Context()); err != nil {
			w.Fatal(err)
		}
	}
}

func TestEraser_NextRetry(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{
		(&eraser{}).NextRetry(&river.Job[jobs.Erasure]{JobRow: &rivertype.JobRow{Attempt: 1000}}),
		(&deleter{}).NextRetry(&river.Job[jobs.TenantDeletion]{JobRow: &rivertype.JobRow{Attempt: 1000}}),
	} {
		if pause := time.Until(at); pause > time.Minute {
			t.Errorf("after many workers that died over it, it goes on in %s", pause)
		}
	}
}
