package inbound_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/meta"
	updates "github.com/primezap/primezap/pkg/meta/inbound"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/api/internal/inbound"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// fixture is a service over a database of its own, and a tenant with a connection
// on each channel.
type fixture struct {
	*testing.T
	database *testenv.Database
	service  *inbound.Service
	metrics  *prometheus.Registry
	api      *store.Store
	worker   *store.Store
	owner    *store.Store

	tenant                        uuid.UUID
	whatsapp, facebook, instagram conn
}

// conn is a connection.
type conn struct {
	id       uuid.UUID
	channel  messaging.Channel
	external string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{T: t, database: testenv.DB(t), metrics: prometheus.NewRegistry(), tenant: uuid.Must(uuid.NewV7())}
	f.api, f.worker, f.owner = f.open(testenv.API), f.open(testenv.Worker), f.open(testenv.Superuser)
	f.service = inbound.New(f.api, meta.Config{}, living{}, f.metrics, slog.New(slog.NewTextHandler(t.Output(), nil)))
	f.whatsapp = f.connect(f.tenant, messaging.WhatsApp, "800001", "")
	f.facebook = f.connect(f.tenant, messaging.Facebook, "100000000000001", "")
	f.instagram = f.connect(f.tenant, messaging.Instagram, "17841400000000011", "100000000000001")
	return f
}

// living has no tenant deleted.
type living struct{}

func (living) Refuse(context.Context, uuid.UUID) error { return nil }

func (f *fixture) open(role testenv.Role) *store.Store {
	f.Helper()
	s, err := store.Open(f.Context(), f.database.URL(role), 8)
	f.check(err)
	f.Cleanup(s.Close)
	return s
}

func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// connect connects an account to a tenant.
func (f *fixture) connect(tenant uuid.UUID, channel messaging.Channel, externalID, page string) conn {
	f.Helper()
	c := conn{uuid.Must(uuid.NewV7()), channel, externalID}
	f.exec(`INSERT INTO connections (id, tenant_id, channel, name, external_id, page_id) VALUES ($1, $2, $3, 'n', $4, nullif($5, ''))`,
		c.id, tenant, channel, externalID, page)
	return c
}

func (f *fixture) exec(sql string, args ...any) {
	f.Helper()
	_, err := f.owner.Pool().Exec(f.Context(), sql, args...)
	f.check(err)
}

// take gives the service what Meta told, which it must store.
func (f *fixture) take(told ...updates.Update) {
	f.Helper()
	f.check(f.service.Take(f.Context(), told))
}

// rows reads a column of everybody's rows.
func rows[T any](f *fixture, sql string, args ...any) []T {
	f.Helper()
	found, err := f.owner.Pool().Query(f.Context(), sql, args...)
	f.check(err)
	all, err := pgx.CollectRows(found, pgx.RowTo[T])
	f.check(err)
	return all
}

// is fails the test unless a query finds these rows.
func is[T comparable](f *fixture, want []T, sql string, args ...any) {
	f.Helper()
	if got := rows[T](f, sql, args...); !slices.Equal(got, want) {
		f.Errorf("%s: %v, want %v", sql, got, want)
	}
}

// raised is an event in the outbox, in its order there.
type raised struct {
	Type  string
	Order string
	Data  map[string]any
}

func (f *fixture) outbox() []raised {
	f.Helper()
	found, err := f.owner.Pool().Query(f.Context(), `SELECT event_type, coalesce(conversation, ''), body FROM outbox ORDER BY id`)
	f.check(err)
	all, err := pgx.CollectRows(found, func(row pgx.CollectableRow) (r raised, err error) {
		var body []byte
		if err := row.Scan(&r.Type, &r.Order, &body); err != nil {
			return r, err
		}
		var whole struct{ Data map[string]any }
		if err := json.Unmarshal(body, &whole); err != nil {
			return r, err
		}
		r.Data = whole.Data
		return r, nil
	})
	f.check(err)
	return all
}

// raises fails the test unless the events were raised since the last call, in this
// order, and returns them.
func (f *fixture) raises(want ...string) []raised {
	f.Helper()
	all := f.outbox()
	var types []string
	for _, r := range all {
		types = append(types, r.Type)
	}
	if !slices.Equal(types, want) {
		f.Fatalf("raised %q, want %q", types, want)
	}
	f.exec(`DELETE FROM outbox`)
	return all
}

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// says is a text message of a person.
func (c conn) says(p updates.Person, id, text string, after time.Duration) updates.Update {
	return c.tells(updates.Message{Person: p, ExternalID: id, Type: messaging.Text, Text: &text}, after)
}

func (c conn) tells(p updates.Payload, after time.Duration) updates.Update {
	return updates.Update{
		Channel: c.channel, Accounts: []string{c.external}, Field: "messages", At: noon.Add(after),
		Raw: json.RawMessage(fmt.Sprintf(`{"told":%q}`, fmt.Sprint(p, after))), Payload: p,
	}
}

var ana = updates.Person{Phone: "+5511900000001", UserID: "BR.1", Name: "Ana"}

// metric is the sum of a counter's series, or the count of a histogram.
func (f *fixture) metric(name string) (sum float64) {
	f.Helper()
	families, err := f.metrics.Gather()
	f.check(err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			sum += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

func TestService_Take(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.take(f.whatsapp.says(ana, "wamid.1", "oi", 0))
	events := f.raises("contact.created", "conversation.created", "message.received")
	for _, e := range events {
		if contact := e.Data["contact"].(map[string]any)["id"]; e.Order != contact {
			t.Errorf("%s is in the order %s, want its contact's, %s", e.Type, e.Order, contact)
		}
	}
	message := events[2].Data["message"].(map[string]any)
	for name, want := range map[string]any{
		"externalId": "wamid.1", "channel": "whatsapp", "direction": "inbound", "type": "text", "text": "oi", "status": "received", "sentAt": "2026-11-20T12:00:00Z",
	} {
		if message[name] != want {
			t.Errorf("data.message.%s is %v, want %v", name, message[name], want)
		}
	}
	if message["raw"] == nil || events[2].Data["connectionId"] != f.whatsapp.id.String() || events[2].Data["conversationId"] == nil {
		t.Errorf("%v has no raw, connectionId or conversationId", events[2].Data)
	}
	f.take(f.whatsapp.says(ana, "wamid.2", "tudo bem?", time.Second), f.whatsapp.says(ana, "wamid.3", "?", time.Second))
	f.raises("conversation.updated", "message.received", "conversation.updated", "message.received")
	is(f, []string{"oi", "tudo bem?", "?"}, `SELECT text FROM messages ORDER BY id`)
	is(f, []string{"open"}, `SELECT status FROM conversations WHERE last_message_at = $1 AND last_inbound_at = $1`, noon.Add(time.Second))

	f.exec(`UPDATE conversations SET status = 'closed'`)
	f.take(f.whatsapp.says(ana, "wamid.4", "again", time.Minute))
	f.raises("conversation.created", "message.received")
	f.exec(`UPDATE connections SET status = 'paused'`)
	f.take(f.whatsapp.says(ana, "wamid.5", "and again", time.Minute))
	f.raises("conversation.updated", "message.received")
}

// TestService_Take_Order has Meta tell of a person's messages in another order than
// they were written in.
func TestService_Take_Order(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	bia := updates.Person{Phone: "+5511900000002", Name: "Bia"}
	f.take(
		f.whatsapp.says(ana, "wamid.3", "3", 3*time.Second), f.whatsapp.says(bia, "wamid.b1", "b1", 9*time.Second),
		f.whatsapp.says(ana, "wamid.1", "1", time.Second), f.whatsapp.says(ana, "wamid.2", "2", time.Second),
	)
	is(f, []string{"1", "2", "3", "b1"}, `SELECT text FROM messages ORDER BY id`)
	for name, want := range map[string][]string{
		"Ana": {"contact.created", "conversation.created", "message.received 1", "conversation.updated", "message.received 2", "conversation.updated", "message.received 3"},
		"Bia": {"contact.created", "conversation.created", "message.received b1"},
	} {
		var got []string
		for _, e := range f.outbox() {
			if e.Data["contact"].(map[string]any)["name"] != name {
				continue
			}
			if m, ok := e.Data["message"].(map[string]any); ok {
				e.Type += " " + m["text"].(string)
			}
			got = append(got, e.Type)
		}
		if !slices.Equal(got, want) {
			t.Errorf("of %s: %q, want %q", name, got, want)
		}
	}
}

func TestService_Take_EveryKindOfMessage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	kinds := []messaging.Type{
		messaging.Text, messaging.Image, messaging.Audio, messaging.Video, messaging.Document, messaging.Sticker, messaging.LocationPin, messaging.Cards,
		messaging.Interactive, messaging.Button, messaging.OrderPlaced, messaging.Reacted, messaging.Postback, messaging.Shared, messaging.StoryMention,
		messaging.Ephemeral, messaging.Unsupported,
	}
	guest := updates.Person{ScopedID: "77", Username: "guest"}
	for _, c := range []conn{f.whatsapp, f.facebook, f.instagram} {
		for _, kind := range kinds {
			f.exec(`DELETE FROM outbox`)
			u := c.tells(updates.Message{Person: guest, ExternalID: "m_" + string(kind), Type: kind}, 0)
			u.Standby = true
			if c == f.whatsapp {
				u.Payload = updates.Message{Person: ana, ExternalID: "wamid." + string(kind), Type: kind}
			}
			f.take(u)
			all := f.outbox()
			last := all[len(all)-1]
			m, _ := last.Data["message"].(map[string]any)
			if last.Type != "message.received" || m["type"] != string(kind) || m["standby"] != true {
				t.Errorf("%s on %s raises %s of %v", kind, c.channel, last.Type, m)
			}
		}
	}
	is(f, []int{3 * len(kinds)}, `SELECT count(*)::int FROM messages WHERE standby`)
}

func TestService_Take_FindsConnections(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	page, account := "100000000000001", "17841400000000011"
	guest := updates.Person{ScopedID: "77"}
	tell := func(id string, channel messaging.Channel, accounts ...string) {
		u := f.instagram.says(guest, id, id, 0)
		u.Channel, u.Accounts = channel, accounts
		f.take(u)
	}
	tell("to the account", messaging.Instagram, account)
	tell("to its page", messaging.Instagram, page)
	tell("to another first", messaging.Instagram, "0", account)
	tell("to the page on Messenger", messaging.Facebook, page)
	tell("to nobody", messaging.Instagram, "0")
	tell("to a page on WhatsApp", messaging.WhatsApp, page)
	tell("without account", messaging.Instagram)
	f.exec(`UPDATE connections SET deleted_at = now() WHERE id = $1`, f.whatsapp.id)
	f.take(f.whatsapp.says(ana, "wamid.1", "to a deleted one", 0))
	is(f, []string{"to the account", "to its page", "to another first"}, `SELECT text FROM messages WHERE connection_id = $1 ORDER BY id`, f.instagram.id)
	is(f, []string{"to the page on Messenger"}, `SELECT text FROM messages WHERE connection_id = $1 ORDER BY id`, f.facebook.id)
	is(f, []string{}, `SELECT text FROM messages WHERE connection_id NOT IN ($1, $2)`, f.instagram.id, f.facebook.id)
	if got := f.metric("primezap_inbound_unknown_connections_total"); got != 4 {
		t.Errorf("%v updates of unknown accounts are counted, want 4", got)
	}
	// Whoever entered a page's id as an account of their own does not read along.
	f.connect(uuid.Must(uuid.NewV7()), messaging.Instagram, "999", "")
	told, err := updates.Parse([]byte(`{"object":"instagram","entry":[{"id":"999","messaging":[{"sender":{"id":"77"},"recipient":{"id":"` + account +
		`"},"timestamp":1763942300000,"message":{"mid":"m.1","text":"through a page"}}]}]}`))
	f.check(err)
	f.take(told...)
	is(f, []uuid.UUID{f.instagram.id}, `SELECT connection_id FROM messages WHERE external_id = 'm.1'`)
	// It is not remembered that an account is unknown.
	added := f.connect(f.tenant, messaging.WhatsApp, "0", "")
	f.take(added.says(ana, "wamid.2", "connected now", 0))
	is(f, []string{"connected now"}, `SELECT text FROM messages WHERE connection_id = $1`, added.id)
}

// An account is looked up once a second, and yet nothing is stored for a connection
// that is deleted.
func TestService_Take_DeletedConnection(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.take(f.whatsapp.says(ana, "wamid.1", "before", 0))
	f.exec(`UPDATE connections SET deleted_at = now() WHERE id = $1`, f.whatsapp.id)
	f.take(f.whatsapp.says(ana, "wamid.2", "to nobody", 1), f.facebook.says(updates.Person{ScopedID: "77"}, "m.1", "beside it", 1))
	is(f, []string{"before", "beside it"}, `SELECT text FROM messages ORDER BY id`)
	f.exec(`UPDATE connections SET deleted_at = NULL WHERE id = $1`, f.whatsapp.id)
	f.take(f.whatsapp.says(ana, "wamid.3", "again", 2))
	f.exec(`UPDATE connections SET deleted_at = now() WHERE id = $1`, f.whatsapp.id)
	theirs := f.connect(uuid.Must(uuid.NewV7()), messaging.WhatsApp, f.whatsapp.external, "")
	f.take(f.whatsapp.says(ana, "wamid.4", "theirs", 3))
	is(f, []string{"theirs"}, `SELECT text FROM messages WHERE connection_id = $1`, theirs.id)
	is(f, []string{"before", "again"}, `SELECT text FROM messages WHERE connection_id = $1 ORDER BY id`, f.whatsapp.id)
}

func TestService_Take_LogsUnknownAccounts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var log bytes.Buffer
	f.service = inbound.New(f.api, meta.Config{}, living{}, prometheus.NewRegistry(), slog.New(slog.NewTextHandler(&log, nil)))
	told := func(channel messaging.Channel, accounts ...string) updates.Update {
		u := f.whatsapp.says(ana, "wamid.1", "x", 0)
		u.Channel, u.Accounts = channel, accounts
		return u
	}
	f.take(told(""), told(messaging.WhatsApp, "901"), told(messaging.WhatsApp, "902"), told(messaging.WhatsApp, "901"))
	f.take(told(messaging.WhatsApp, "901"), told(messaging.Facebook, "901"))
	for text, want := range map[string]int{"channel=whatsapp account=901": 1, "channel=whatsapp account=902": 1, "channel=facebook account=901": 1} {
		if got := strings.Count(log.String(), text); got != want {
			t.Errorf("%s is logged %d times, want %d", text, got, want)
		}
	}
	var many []updates.Update
	for i := range 100 {
		many = append(many, told(messaging.WhatsApp, fmt.Sprint("a", i)))
	}
	f.take(many...)
	if got := strings.Count(log.String(), "account=a"); got > 60 {
		t.Errorf("of 100 accounts %d are logged at once", got)
	}
	if strings.Contains(log.String(), "5511") {
		t.Errorf("a person is logged: %s", &log)
	}
}

// gone has a tenant deleted.
type gone uuid.UUID

func (g gone) Refuse(_ context.Context, tenant uuid.UUID) error {
	if tenant == uuid.UUID(g) {
		return problem.Forbidden("the tenant was deleted")
	}
	return nil
}

func TestService_Take_KeepsTenantsApart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	other, deleted := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	theirs := f.connect(other, messaging.WhatsApp, "800002", "")
	nobodys := f.connect(deleted, messaging.WhatsApp, "800003", "")
	f.service = inbound.New(f.api, meta.Config{}, gone(deleted), prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	// The same ids everywhere.
	f.take(f.whatsapp.says(ana, "wamid.1", "mine", 0), theirs.says(ana, "wamid.1", "theirs", 0), nobodys.says(ana, "wamid.1", "nobody's", 0))
	f.take(theirs.tells(updates.Removal{ExternalID: "wamid.1", Person: ana}, time.Second))
	is(f, []string{"mine"}, `SELECT coalesce(text, 'removed') FROM messages WHERE tenant_id = $1`, f.tenant)
	is(f, []string{"removed"}, `SELECT coalesce(text, 'removed') FROM messages WHERE tenant_id = $1`, other)
	is(f, []int{0}, `SELECT count(*)::int FROM messages WHERE tenant_id = $1`, deleted)
	is(f, []int{2}, `SELECT count(DISTINCT contact_id)::int FROM messages`)
	is(f, []int{0}, `SELECT count(*)::int FROM messages m JOIN contacts c ON c.id = m.contact_id JOIN conversations v ON v.id = m.conversation_id
		JOIN contact_identities i ON i.contact_id = c.id WHERE c.tenant_id <> m.tenant_id OR v.tenant_id <> m.tenant_id OR i.tenant_id <> m.tenant_id`)
}
