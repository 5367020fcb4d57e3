package inbound_test

import (
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
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
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

func TestService_Take_Message(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.take(f.whatsapp.says(ana, "wamid.1", "oi", 0))
	events := f.raises("contact.created", "conversation.created", "message.received")
	for _, e := range events {
		if contact := e.Data["contact"].(map[string]any)["id"]; e.Order != contact {
			t.Errorf("%s is in the order %s, want its contact's, %s", e.Type, e.Order, contact)
		}
	}
	f.take(f.whatsapp.says(ana, "wamid.2", "tudo bem?", time.Second))
	f.raises("conversation.updated", "message.received")
	is(f, []string{"oi", "tudo bem?"}, `SELECT text FROM messages ORDER BY id`)
}

var _ = strings.ToUpper
var _ = db.New
