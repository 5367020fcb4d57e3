package match

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/pkg/webhook"
	"github.com/primezap/primezap/services/worker/endpoint"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newID() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// counted is the database, with what was asked of it.
type counted struct {
	*db.Queries
	batches int
	since   []int64 // of the changes asked for
	got     []int   // how many there were
	fail    error
}

func (c *counted) MatchBatch(ctx context.Context, p db.MatchBatchParams) ([]db.MatchBatchRow, error) {
	c.batches++
	return c.Queries.MatchBatch(ctx, p)
}

func (c *counted) ChangedWebhooks(ctx context.Context, since int64, tenant uuid.UUID) ([]db.ChangedWebhooksRow, error) {
	if c.fail != nil {
		return nil, c.fail
	}
	rows, err := c.Queries.ChangedWebhooks(ctx, since, tenant)
	c.since, c.got = append(c.since, since), append(c.got, len(rows))
	return rows, err
}

// world is a database with webhooks, and a worker's matcher.
type world struct {
	t        *testing.T
	database *testenv.Database
	api      *store.Store
	worker   *store.Store
	vault    *vault.Vault
	asked    *counted
	matcher  *Matcher
	log      *bytes.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, database: testenv.DB(t), vault: newVault(t), log: &bytes.Buffer{}}
	w.api, w.worker = w.open(testenv.API), w.open(testenv.Worker)
	w.asked = &counted{Queries: w.worker.Queries()}
	w.matcher = New(w.asked, endpoint.NewOpener(w.vault), 0, slog.New(slog.NewTextHandler(w.log, nil)))
	return w
}

func newVault(t *testing.T) *vault.Vault {
	t.Helper()
	keyset, err := vault.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(keyset)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (w *world) open(role testenv.Role) *store.Store {
	w.t.Helper()
	s, err := store.Open(w.t.Context(), w.database.URL(role), 4)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.Close)
	return s
}

func (w *world) as(tenant uuid.UUID, do func(*db.Queries) error) {
	w.t.Helper()
	if err := w.api.InTenant(w.t.Context(), tenant, do); err != nil {
		w.t.Fatal(err)
	}
}

// webhook makes one, as the API does.
func (w *world) webhook(tenant uuid.UUID, events ...string) uuid.UUID {
	w.t.Helper()
	return w.sealedBy(w.vault, tenant, events...)
}

func (w *world) sealedBy(v *vault.Vault, tenant uuid.UUID, events ...string) uuid.UUID {
	w.t.Helper()
	id := newID()
	secret, err := v.Seal([]byte(webhook.NewSecret()), vault.Binding{Tenant: tenant, Table: "webhooks", Row: id.String(), Purpose: "secret"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.as(tenant, func(q *db.Queries) error {
		_, err := q.InsertWebhook(w.t.Context(), db.InsertWebhookParams{
			ID: id, TenantID: tenant, Name: "w", Url: "https://example.com", Events: events, Active: true, Secret: secret,
			RetryDelays: []int32{1}, HeaderNames: []string{},
		})
		return err
	})
	return id
}

// change changes a webhook, as the API does.
func (w *world) change(tenant, id uuid.UUID, change func(*db.UpdateWebhookParams)) {
	w.t.Helper()
	w.as(tenant, func(q *db.Queries) error {
		hook, err := q.LockWebhook(w.t.Context(), id)
		if err != nil {
			return err
		}
		p := db.UpdateWebhookParams{
			ID: id, Name: hook.Name, Url: hook.Url, Events: hook.Events, Active: hook.Active, Secret: hook.Secret,
			HeaderNames: hook.HeaderNames, RetryDelays: hook.RetryDelays, Filter: hook.Filter, RatePerSecond: hook.RatePerSecond,
		}
		change(&p)
		_, err = q.UpdateWebhook(w.t.Context(), p)
		return err
	})
}

func (w *world) remove(tenant, id uuid.UUID) {
	w.t.Helper()
	w.as(tenant, func(q *db.Queries) error {
		_, err := q.DeleteWebhook(w.t.Context(), id)
		return err
	})
}

func of(tenant uuid.UUID, eventType string) bus.Event {
	return bus.Event{Tenant: tenant, Type: eventType, ID: newID().String(), Day: bus.Day(time.Now())}
}

func (w *world) match(events ...bus.Event) []Match {
	w.t.Helper()
	matches, err := w.matcher.Match(w.t.Context(), events)
	if err != nil {
		w.t.Fatal(err)
	}
	return matches
}

func ids(m Match) (found []uuid.UUID) {
	for _, e := range m.Endpoints {
		found = append(found, e.ID)
	}
	slices.SortFunc(found, func(a, b uuid.UUID) int { return strings.Compare(a.String(), b.String()) })
	return found
}

// expect checks which webhooks an event goes to; ids are given in the order
// that the webhooks were made in.
func (w *world) expect(tenant uuid.UUID, eventType string, want ...uuid.UUID) {
	w.t.Helper()
	if got := ids(w.match(of(tenant, eventType))[0]); !slices.Equal(got, want) {
		w.t.Errorf("%s goes to %v, want %v", eventType, got, want)
	}
}

func TestMatcher_Match_Subscriptions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tenant, other := newID(), newID()
	exact := w.webhook(tenant, "deal.moved")
	all := w.webhook(tenant, "*")
	prefix := w.webhook(tenant, "deal.*")
	several := w.webhook(tenant, "deal.moved", "deal.*", "*", "contact.created")
	messages := w.webhook(tenant, "message.*")
	theirs := w.webhook(other, "*")
	before := w.asked.batches
	matches := w.match(of(tenant, "deal.moved"), of(other, "deal.moved"), of(tenant, "deal.created"), of(tenant, "message.received"),
		of(newID(), "deal.moved"))
	if n := w.asked.batches - before; n != 1 {
		t.Errorf("the database was asked %d times about one batch", n)
	}
	for i, want := range [][]uuid.UUID{{exact, all, prefix, several}, {theirs}, {all, prefix, several}, {all, several, messages}, nil} {
		if got := ids(matches[i]); !slices.Equal(got, want) {
			t.Errorf("event %d goes to %v, want %v, each once", i, got, want)
		}
		if matches[i].Present {
			t.Errorf("event %d is said to be in the ledger", i)
		}
	}
	e := matches[0].Endpoints[0]
	if e.Tenant != tenant || e.URL != "https://example.com" || len(e.Schedule) != 1 || e.Schedule[0] != time.Second || e.Signer(time.Now()) == nil {
		t.Errorf("an endpoint is %+v", e)
	}
}

func TestMatcher_Match_OperationalEvents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tenant := newID()
	exact := w.webhook(tenant, "webhook.failing")
	all := w.webhook(tenant, "*")
	operational := w.webhook(tenant, "*")
	prefix := w.webhook(tenant, "webhook.*")
	for _, id := range []uuid.UUID{operational, prefix} {
		w.change(tenant, id, func(p *db.UpdateWebhookParams) { p.Operational = true })
	}
	w.expect(tenant, "webhook.failing", exact, operational, prefix)
	w.expect(tenant, "webhook.disabled", operational, prefix)
	w.expect(tenant, "deal.moved", all, operational)
	w.change(tenant, operational, func(p *db.UpdateWebhookParams) { p.Operational = false })
	w.expect(tenant, "webhook.failing", exact, prefix)
}

func TestMatcher_Match_Present(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tenant, other := newID(), newID()
	hook := w.webhook(tenant, "*")
	today, yesterday := of(tenant, "deal.moved"), of(tenant, "deal.moved")
	yesterday.Day = yesterday.Day.AddDate(0, 0, -1)
	var p db.InsertEventsParams
	for _, e := range []bus.Event{today, yesterday} {
		p.Days, p.Tenants, p.Ids = append(p.Days, e.Day), append(p.Tenants, e.Tenant), append(p.Ids, e.ID)
		p.Types, p.Seqs = append(p.Types, e.Type), append(p.Seqs, 1)
		p.Contacts, p.Created = append(p.Contacts, ""), append(p.Created, time.Now())
	}
	if err := w.worker.Queries().InsertEvents(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	copied := today
	copied.Seq = 99 // whatever its sequence
	theirs := today
	theirs.Tenant = other
	of := func(e bus.Event, days int) bus.Event {
		e.Day = e.Day.AddDate(0, 0, days)
		return e
	}
	matches := w.match(copied, theirs, of(today, 1), yesterday, of(yesterday, 1), today)
	for i, want := range []bool{true, false, false, true, false, true} {
		if matches[i].Present != want {
			t.Errorf("event %d is in the ledger: %t, want %t", i, matches[i].Present, want)
		}
		if want && len(matches[i].Endpoints) > 0 {
			t.Errorf("event %d, in the ledger, goes to endpoints", i)
		}
	}
	if got := ids(matches[4]); !slices.Equal(got, []uuid.UUID{hook}) {
		t.Errorf("an event of another day goes to %v", got)
	}
}

func TestMatcher_Match_ReadsWhatWasWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tenant, other := newID(), newID()
	first := w.webhook(tenant, "deal.*")
	theirs := w.webhook(other, "*")
	w.expect(tenant, "deal.moved", first)
	w.expect(other, "deal.moved", theirs)
	second := w.webhook(tenant, "deal.moved")
	w.expect(tenant, "deal.moved", first, second)
	w.change(tenant, first, func(p *db.UpdateWebhookParams) { p.Events = []string{"contact.created"} })
	w.expect(tenant, "deal.moved", second)
	w.expect(tenant, "contact.created", first)
	w.change(tenant, second, func(p *db.UpdateWebhookParams) { p.Active = false })
	w.expect(tenant, "deal.moved")
	w.change(tenant, second, func(p *db.UpdateWebhookParams) { p.Active, p.Url = true, "https://moved.example.com" })
	if e := w.match(of(tenant, "deal.moved"))[0].Endpoints; len(e) != 1 || e[0].URL != "https://moved.example.com" {
		t.Errorf("it goes to %+v, want its new URL", e)
	}
	w.remove(tenant, second)
	w.expect(tenant, "deal.moved")
	w.expect(tenant, "contact.created", first)

	if n := inCopy(t, w.matcher); n != 2 { // the first, and the other tenant's
		t.Errorf("%d webhooks are kept, want 2", n)
	}

	t.Run("and reads what has changed, and nothing else", func(t *testing.T) {
		w.asked.since, w.asked.got = nil, nil
		w.match(of(tenant, "deal.moved"), of(tenant, "contact.created"))
		if len(w.asked.since) > 0 {
			t.Errorf("asked for changes since %v although there are none", w.asked.since)
		}
		third := w.webhook(tenant, "deal.moved")
		w.match(of(other, "deal.moved"))
		if len(w.asked.since) > 0 {
			t.Errorf("asked for another tenant's changes since %v", w.asked.since)
		}
		w.expect(tenant, "deal.moved", third)
		if len(w.asked.got) != 1 || w.asked.got[0] != 1 || w.asked.since[0] == 0 {
			t.Errorf("asked for changes since %v and got %v, want the one that there is", w.asked.since, w.asked.got)
		}
	})

	t.Run("and fails rather than trust an old copy", func(t *testing.T) {
		w.webhook(tenant, "deal.moved")
		w.asked.fail = errors.New("away")
		if _, err := w.matcher.Match(t.Context(), []bus.Event{of(tenant, "deal.moved")}); !errors.Is(err, w.asked.fail) {
			t.Errorf("error %v, want that of the database", err)
		}
		w.asked.fail = nil
		if got := ids(w.match(of(tenant, "deal.moved"))[0]); len(got) != 2 {
			t.Errorf("afterwards it goes to %v, want both", got)
		}
	})
}

// A webhook whose row is purged leaves no trace but the word that older copies
// must be read whole.
func TestMatcher_Match_PurgedWebhook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tenant := newID()
	kept, gone := w.webhook(tenant, "*"), w.webhook(tenant, "*")
	w.expect(tenant, "deal.moved", kept, gone)
	w.remove(tenant, gone)
	later := time.Now().Add(time.Hour)
	if n, err := w.worker.Queries().PurgeWebhooks(t.Context(), &later, 10); n != 1 || err != nil {
		t.Fatalf("purged %d webhooks, %v", n, err)
	}
	w.expect(tenant, "deal.moved", kept)
	if n := inCopy(t, w.matcher); n != 1 {
		t.Errorf("%d webhooks are kept, want 1", n)
	}
	w.asked.since = nil
	w.expect(tenant, "deal.moved", kept)
	if len(w.asked.since) > 0 {
		t.Error("it is read again and again")
	}
}

func TestMatcher_Match_SecretThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tenant := newID()
	good := w.webhook(tenant, "deal.*")
	sealed := w.sealedBy(newVault(t), tenant, "deal.moved")
	w.sealedBy(newVault(t), tenant, "contact.created")
	m := w.match(of(tenant, "deal.moved"))[0]
	if got := ids(m); !slices.Equal(got, []uuid.UUID{good}) {
		t.Errorf("it goes to %v, want %v", got, good)
	}
	if !slices.Equal(m.Sealed, []uuid.UUID{sealed}) {
		t.Errorf("its deliveries wait for %v, want %v", m.Sealed, sealed)
	}
	if !strings.Contains(w.log.String(), sealed.String()) {
		t.Error("nothing is said of the webhook that cannot be opened")
	}
}

// many is a database with a tenant for each number, each with one webhook.
type many struct {
	vault *vault.Vault
	asked map[uuid.UUID]int // times that its webhooks were read whole
	hooks int               // each tenant's
}

func (m *many) MatchBatch(_ context.Context, p db.MatchBatchParams) (rows []db.MatchBatchRow, err error) {
	for _, tenant := range p.DistinctTenants {
		rows = append(rows, db.MatchBatchRow{TenantID: tenant, Generation: 1})
	}
	return rows, nil
}

func (m *many) ChangedWebhooks(_ context.Context, since int64, tenant uuid.UUID) (rows []db.ChangedWebhooksRow, err error) {
	if since == 0 {
		m.asked[tenant]++
	}
	for i := range m.hooks {
		id := uuid.NewSHA1(tenant, []byte{byte(i)})
		secret, err := m.vault.Seal([]byte("a secret of sixteen"), vault.Binding{Tenant: tenant, Table: "webhooks", Row: id.String(), Purpose: "secret"})
		if err != nil {
			return nil, err
		}
		rows = append(rows, db.ChangedWebhooksRow{TenantGeneration: 1, ID: id, Events: []string{"*"}, Active: true, Secret: secret, Generation: 1})
	}
	return rows, nil
}

func TestMatcher_Match_Bounds(t *testing.T) {
	t.Parallel()
	tenants := make([]uuid.UUID, 6)
	for i := range tenants {
		tenants[i] = newID()
	}
	for _, tc := range []struct {
		name  string
		bound func(m *Matcher)
	}{
		{name: "of tenants", bound: func(m *Matcher) { m.tenants.Resize(3) }},
		{name: "of bytes", bound: func(m *Matcher) {
			m.bound = 3 * (tenantBytes + 2*sizeOf(db.ChangedWebhooksRow{Events: []string{"*"}}) + typeBytes + 2*8)
		}},
	} {
		t.Run(tc.name+" are kept, and what is forgotten comes back", func(t *testing.T) {
			t.Parallel()
			database := &many{vault: newVault(t), asked: map[uuid.UUID]int{}, hooks: 2}
			m := New(database, endpoint.NewOpener(database.vault), 0, quiet())
			tc.bound(m)
			ask := func(events ...bus.Event) {
				t.Helper()
				matches, err := m.Match(t.Context(), events)
				if err != nil {
					t.Fatal(err)
				}
				for i := range matches {
					if len(matches[i].Endpoints) != 2 || matches[i].Endpoints[0].Tenant != events[i].Tenant {
						t.Fatalf("event of %s goes to %+v", events[i].Tenant, matches[i].Endpoints)
					}
				}
				if n := inCopy(t, m); m.tenants.Len() > 3 || n != 2*m.tenants.Len() {
					t.Errorf("%d tenants are kept, with %d webhooks", m.tenants.Len(), n)
				}
			}
			for _, tenant := range tenants[:3] {
				ask(of(tenant, "deal.moved"))
			}
			ask(of(tenants[0], "deal.moved")) // used again: the second one is the oldest now
			ask(of(tenants[3], "deal.moved"))
			ask(of(tenants[0], "deal.moved"))
			if n := database.asked[tenants[0]]; n != 1 {
				t.Errorf("the tenant used last was read %d times, want once", n)
			}
			ask(of(tenants[1], "deal.moved"))
			if n := database.asked[tenants[1]]; n != 2 {
				t.Errorf("the tenant that was forgotten was read %d times, want twice", n)
			}
			// More tenants in one batch than are kept.
			var batch []bus.Event
			for _, tenant := range tenants {
				batch = append(batch, of(tenant, "deal.moved"))
			}
			ask(batch...)
			ask(batch...)
		})
	}
}
