package e2e

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/testenv"
)

// marker is in everything about the contact that is erased.
const marker = "Ana-Souza-4e0c7d"

// erasureInfo is an erasure as the API shows it.
type erasureInfo struct {
	ID                               string `json:"id"`
	State                            string `json:"state"`
	Events, Bodies, Logs, Deliveries int
}

// echo answers with what it got, in header and body.
func echo(status int) answer {
	return func(w http.ResponseWriter, _ *http.Request, d *delivery, _ <-chan struct{}) {
		var body struct{ Data struct{ Text string } }
		_ = json.Unmarshal(d.Body, &body)
		w.Header().Set("X-Text", body.Data.Text)
		w.WriteHeader(status)
		_, _ = w.Write(d.Body)
	}
}

// publishAbout publishes an event about a contact.
func (c *client) publishAbout(contact, event, text string) string {
	c.t.Helper()
	data, err := json.Marshal(map[string]any{"contact": map[string]string{"id": contact}, "text": text})
	if err != nil {
		c.t.Fatal(err)
	}
	var accepted struct{ ID string }
	c.call(http.MethodPost, eventsPath, eventInput{Event: event, Data: data}, http.StatusAccepted, &accepted)
	return accepted.ID
}

func TestErasure_LeavesNothingOfTheContact(t *testing.T) {
	t.Parallel()
	store := testenv.PrivateNATS(t)
	sys := start(t, setup{APIs: 1, NATS: store})
	// Whoever holds this lock is the outbox's relay: nothing leaves the outbox.
	relay, err := sys.database.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer relay.Release()
	if _, err := relay.Exec(t.Context(), "SELECT pg_advisory_lock(hashtext('primezap.outbox'))"); err != nil {
		t.Fatal(err)
	}
	sys.StartWorker("WORKER_ATTEMPT_TIMEOUT=10s", "WORKER_LEASE=15s") // late copies are looked for after twice that

	r, tenant := newReceiver(t), sys.Tenant()
	release := make(chan struct{})
	good, bad, slow := r.Endpoint(), r.Endpoint(echo(http.StatusInternalServerError)), r.Endpoint(hang(release, echo(http.StatusOK)))
	tenant.SubscribeWith(good, webhookInput{Events: []string{"*"}})
	failing := tenant.SubscribeWith(bad, webhookInput{Events: []string{"deal.moved"}, Retry: &retryPolicy{DelaysSeconds: []int{3600}}})
	hanging := tenant.SubscribeWith(slow, webhookInput{Events: []string{"deal.created"}})

	const ana, bob, each = "ana+1@example.com", "bob", 8 // too few to open a breaker
	var anas, bobs []string
	for range each {
		anas = append(anas, tenant.publishAbout(ana, "deal.moved", marker))
		bobs = append(bobs, tenant.publishAbout(bob, "deal.moved", "kept"))
	}
	good.AwaitEvents(t, 2*each, soon)
	tenant.AwaitLogs(failing.ID, 2*each, soon)
	inFlight := tenant.publishAbout(ana, "deal.created", marker)
	slow.AwaitEvent(t, inFlight, 1, soon)
	eventually(t, soon, func() error { // it is leased: its result will look for the row
		if tenant.QueueTotal(hanging.ID, "inFlight") == 0 {
			return errors.New("nothing is in flight")
		}
		return nil
	})
	day := time.Now().UTC().Format(time.DateOnly)
	sys.Exec(testenv.Superuser, `INSERT INTO outbox (tenant_id, event_id, event_type, day, body) VALUES ($1, 'raised', 'deal.moved', $2, $3)`,
		tenant.tenant, day, []byte(`{"event":"deal.moved","data":{"contact":{"id":"`+ana+`"},"text":"`+marker+`"}}`))
	// As if its stream had been purged: the janitor removes bodies that no delivery needs.
	sys.Exec(testenv.Superuser, `INSERT INTO event_bodies (epoch, stream_seq, tenant_id, event_day, event_id, body)
		SELECT epoch, stream_seq, tenant_id, event_day, event_id, $2 FROM webhook_queue WHERE event_id = $1`, anas[0], []byte(marker))
	sys.giveUp(tenant.tenant, anas[1], ana)
	if n := occurrencesIn(t, store.Dir(), marker); n < each || len(sys.tablesWith(marker)) < 3 {
		t.Fatalf("the marker is %d times in the event store's files, and in %v: nothing is shown by its absence", n, sys.tablesWith(marker))
	}

	var asked erasureInfo
	tenant.call(http.MethodPost, "/api/erasures", map[string]string{"contactId": ana}, http.StatusAccepted, &asked)
	later := tenant.publishAbout(ana, "deal.moved", "kept")
	eventually(t, soon, func() error {
		if sys.Count("SELECT count(*) FROM erasures WHERE erased_at IS NOT NULL") == 0 {
			return errors.New("it has not erased what is stored")
		}
		return nil
	})
	close(release) // an answer that comes late
	tenant.AwaitLogs(hanging.ID, 1, soon)
	eventually(t, 2*soon, func() error {
		tenant.call(http.MethodGet, "/api/erasures/"+asked.ID, nil, http.StatusOK, &asked)
		if asked.State != "completed" {
			return fmt.Errorf("the erasure is %+v", asked)
		}
		return nil
	})

	if tables := sys.tablesWith(marker); len(tables) > 0 {
		t.Errorf("the marker is left in %v", tables)
	}
	if n := occurrencesIn(t, store.Dir(), marker); n > 0 {
		t.Errorf("the marker is left %d times in the files of the event store", n)
	}
	for _, name := range []string{bus.StreamEvents, bus.StreamPoison} {
		if n := sys.messagesWith(name, marker); n > 0 {
			t.Errorf("the marker is left in %d messages of %s", n, name)
		}
	}
	if n := sys.Count("SELECT count(*) FROM erasures WHERE contact_id IS NOT NULL"); n > 0 {
		t.Error("the erasure says whom it was about")
	}
	// One more event was in flight, and one in the outbox. Each was answered by the good
	// endpoint, if only with headers.
	if asked.Events != each+2 || asked.Logs != 2*each+1 || asked.Deliveries != each+1 {
		t.Errorf("counted %+v", asked)
	}
	for _, row := range append(tenant.Logs(failing.ID), tenant.Logs(hanging.ID)...) {
		mine := row.EventID != later && !slices.Contains(bobs, row.EventID)
		if mine != (row.ResponseBody == nil) {
			t.Errorf("the log of event %s keeps an answer: %t", row.EventID, row.ResponseBody != nil)
		}
	}

	// Others', and what is new, are as they were.
	if n := sys.messagesWith(bus.StreamEvents, "kept"); n != each+1 {
		t.Errorf("%d events of others are stored, want %d", n, each+1)
	}
	good.AwaitEvent(t, later, 1, soon)
	for _, id := range append(bobs, later) {
		if n := len(good.Of(id)); n != 1 {
			t.Errorf("event %s was delivered %d times", id, n)
		}
		tenant.call(http.MethodGet, "/api/events/"+id, nil, http.StatusOK, nil)
	}
	for _, id := range append(anas, inFlight, "raised") {
		tenant.call(http.MethodGet, "/api/events/"+id, nil, http.StatusGone, nil)
	}
	if n := tenant.QueueTotal(failing.ID, ""); n != each+1 {
		t.Errorf("%d deliveries wait, want those of the other contact and the new one", n)
	}
	eventually(t, soon, func() error {
		consumer, err := sys.js.Consumer(t.Context(), bus.StreamEvents, bus.ConsumerLive)
		if err != nil {
			return err
		}
		if info := consumer.CachedInfo(); info.NumAckPending > 0 || info.NumPending > 0 {
			return fmt.Errorf("the consumer has %d to come, %d unacked", info.NumPending, info.NumAckPending)
		}
		return nil
	})
}

// giveUp stores an event's body in POISON, as a worker does.
func (s *system) giveUp(tenant uuid.UUID, event, contact string) {
	s.t.Helper()
	nc, err := bus.Connect(s.setup.NATS.URL(testenv.Worker), bus.UserWorker, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	defer nc.Close()
	publisher, err := bus.NewPublisher(nc)
	if err != nil {
		s.t.Fatal(err)
	}
	var key string
	if err := s.database.QueryRow(s.t.Context(), "SELECT contact_id FROM events WHERE id = $1", event).Scan(&key); err != nil || key == contact {
		s.t.Fatalf("event %s is about %q, %v", event, key, err)
	}
	header := nats.Header{"Primezap-Event-Id": {event}, "Primezap-Day": {time.Now().UTC().Format(time.DateOnly)}, "Primezap-Contact": {key}}
	if err := publisher.Poison(s.t.Context(), tenant.String(), "redelivery", "r", 0, header, []byte(marker)); err != nil {
		s.t.Fatal(err)
	}
}

// tablesWith are the tables that have a text in any column of a row.
func (s *system) tablesWith(text string) (found []string) {
	s.t.Helper()
	tables, err := s.database.Query(s.t.Context(), `SELECT c.oid::regclass::text FROM pg_class c
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY 1`)
	if err != nil {
		s.t.Fatal(err)
	}
	names, err := pgx.CollectRows(tables, pgx.RowTo[string])
	if err != nil {
		s.t.Fatal(err)
	}
	for _, name := range names {
		// A bytea reads as hexadecimal digits.
		if s.Count("SELECT count(*) FROM "+name+" AS r WHERE strpos(r::text, $1) > 0 OR strpos(r::text, $2) > 0", text, hex.EncodeToString([]byte(text))) > 0 {
			found = append(found, name)
		}
	}
	return found
}

// messagesWith is how many messages of a stream hold a text.
func (s *system) messagesWith(name, text string) (n int) {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), name)
	if err != nil {
		s.t.Fatal(err)
	}
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		msg, err := stream.GetMsg(s.t.Context(), seq)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			s.t.Fatal(err)
		case bytes.Contains(msg.Data, []byte(text)):
			n++
		}
	}
	return n
}

// occurrencesIn counts a text in all files below dir.
func occurrencesIn(t testing.TB, dir, text string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) { // the server has replaced it
			return nil
		}
		n += bytes.Count(content, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
