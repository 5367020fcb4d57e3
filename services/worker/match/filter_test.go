package match

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/filter"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/services/worker/endpoint"
)

// about is an event with data.
func about(tenant uuid.UUID, eventType, data string) bus.Event {
	e := of(tenant, eventType)
	e.Body = fmt.Appendf(nil, `{"event":%q,"timestamp":"2026-11-24T12:00:00Z","data":%s}`, eventType, data)
	return e
}

// filtered is a new webhook with a filter, whatever it is.
func (w *world) filtered(tenant uuid.UUID, filter string, events ...string) uuid.UUID {
	w.t.Helper()
	id := w.webhook(tenant, events...)
	w.filter(tenant, id, filter)
	return id
}

func (w *world) filter(tenant, id uuid.UUID, filter string) {
	w.t.Helper()
	w.change(tenant, id, func(p *db.UpdateWebhookParams) {
		if p.Filter = nil; filter != "" {
			p.Filter = []byte(filter)
		}
	})
}

func TestMatcher_Match_Filters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tenant := newID()
	// Three: the copy's list has room for a fourth, which no event may write into.
	all, more, most := w.webhook(tenant, "*"), w.webhook(tenant, "*"), w.webhook(tenant, "*")
	won := w.filtered(tenant, `{"stage.name":"won"}`, "deal.moved")
	lost := w.filtered(tenant, `{"stage":{"name":{"$eq":"lost"}}}`, "deal.*")
	large := w.filtered(tenant, `{"deal.valueCents":{"$gte":100000}}`, "*")
	sealed := w.sealedBy(newVault(t), tenant, "deal.moved")
	w.filter(tenant, sealed, `{"stage.name":"won"}`)
	for range 2 { // as read, and from the copy
		matches := w.match(
			about(tenant, "deal.moved", `{"stage":{"name":"won"},"deal":{"valueCents":100000}}`),
			about(tenant, "deal.moved", `{"stage":{"name":"lost"},"deal":{"valueCents":99999}}`),
			about(tenant, "deal.moved", `{"stage":{"name":"open"}}`),
			about(tenant, "deal.created", `{"stage":{"name":"won"}}`),
			about(tenant, "message.received", `{"deal":{"valueCents":1000000}}`),
			about(tenant, "deal.moved", `{"stage":{"name":"open"},"deal":{"valueCents":100000}}`),
		)
		for i, want := range [][]uuid.UUID{{won, large}, {lost}, {}, {}, {large}, {large}} {
			want = append([]uuid.UUID{all, more, most}, want...)
			if got := ids(matches[i]); !slices.Equal(got, want) {
				t.Errorf("event %d goes to %v, want %v", i, got, want)
			}
			wait := i == 0
			if got := slices.Contains(matches[i].Sealed, sealed); got != wait || len(matches[i].Unfiltered) > 0 {
				t.Errorf("event %d: waits for the webhook that cannot be opened: %t, want %t; unfiltered %v", i, got, wait, matches[i].Unfiltered)
			}
		}
	}

	t.Run("are read as they were written", func(t *testing.T) {
		const data = `{"stage":{"name":"new"}}`
		expect := func(want bool) {
			t.Helper()
			if got := slices.Contains(ids(w.match(about(tenant, "deal.moved", data))[0]), won); got != want {
				t.Errorf("it goes to the webhook: %t, want %t", got, want)
			}
		}
		expect(false)
		w.filter(tenant, won, `{"stage.name":"new"}`)
		expect(true)
		w.filter(tenant, won, `{"stage.name":"newer"}`)
		expect(false)
		w.filter(tenant, won, ``)
		expect(true)
	})
}

// What cannot be asked here is neither delivered nor forgotten.
func TestMatcher_Match_Unfiltered(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tenant := newID()
	all, plain := w.webhook(tenant, "*"), w.filtered(tenant, `{"a":1}`, "*")
	newer := w.filtered(tenant, `{"a":{"$later":1}}`, "deal.*") // of a version to come
	w.filtered(tenant, `{"a":{"$later":1}}`, "contact.created")
	dear := w.filtered(tenant, `{"$or":[`+strings.Repeat(`{"l.a.b.c":1},`, 19)+`{"a":1}]}`, "deal.moved")
	for range 2 {
		m := w.match(about(tenant, "deal.moved", `{"a":1}`))[0]
		if got := ids(m); !slices.Equal(got, []uuid.UUID{all, plain, dear}) || !slices.Equal(m.Unfiltered, []uuid.UUID{newer}) {
			t.Errorf("it goes to %v, and %v are to be asked", got, m.Unfiltered)
		}
	}
	if n := strings.Count(w.log.String(), newer.String()); n != 1 {
		t.Errorf("%d words on the filter that cannot be read, want one", n)
	}

	m := w.match(about(tenant, "deal.moved", `{"a":1,"l":[`+strings.TrimSuffix(strings.Repeat("1,", 200), ",")+`]}`))[0]
	if got := ids(m); !slices.Equal(got, []uuid.UUID{all, plain}) || len(m.Unfiltered) != 2 || !slices.Contains(m.Unfiltered, dear) {
		t.Errorf("of an event that makes the filter dear: it goes to %v, and %v are to be asked, want %v too", got, m.Unfiltered, dear)
	}

	broken := about(tenant, "deal.moved", `{"a":1`)
	m = w.match(broken)[0]
	if got := ids(m); !slices.Equal(got, []uuid.UUID{all}) || len(m.Unfiltered) != 3 {
		t.Errorf("of an event that cannot be read: it goes to %v, and %v are to be asked", got, m.Unfiltered)
	}
}

// A tenant with very many filters that are not cheap holds up nobody else.
func TestMatcher_filter_BoundsWhatAnEventCosts(t *testing.T) {
	t.Parallel()
	asked, err := filter.Compile([]byte(`{"l.a":1}`))
	if err != nil {
		t.Fatal(err)
	}
	m := New(nil, endpoint.Opener{}, 0, quiet())
	const webhooks, elements = 300, 1000
	found := &candidates{}
	for range webhooks {
		found.filtered = append(found.filtered, hook{id: newID(), filter: asked})
	}
	dear := about(newID(), "deal.moved", `{"l":[`+strings.Repeat("1,", elements-1)+`1]}`)
	match := m.filter(&dear, found)
	if m.data.Steps() > maxEventSteps+maxSteps {
		t.Errorf("the event's filters made %d steps", m.data.Steps())
	}
	if n := len(match.Unfiltered); n == 0 || n == webhooks || len(match.Sealed) > 0 {
		t.Errorf("%d of %d are to be asked elsewhere, want those for which there was no time", n, webhooks)
	}
	cheap := about(newID(), "deal.moved", `{"l":[1]}`)
	if match := m.filter(&cheap, found); len(match.Unfiltered) > 0 {
		t.Errorf("of the next event, %d are to be asked elsewhere", len(match.Unfiltered))
	}
}

func TestMatcher_Match_Rate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tenant := newID()
	hook := w.webhook(tenant, "*")
	for _, rate := range []int32{0, 7, 0} {
		w.change(tenant, hook, func(p *db.UpdateWebhookParams) {
			if p.RatePerSecond = nil; rate > 0 {
				p.RatePerSecond = &rate
			}
		})
		if e := w.match(of(tenant, "deal.moved"))[0].Endpoints; len(e) != 1 || e[0].Rate != int(rate) {
			t.Errorf("an event published after the change to %d a second goes to %+v", rate, e)
		}
	}
}

// few is a tenant's database in memory, with n webhooks of which some have filters.
type few struct {
	n, filters int
	vault      *vault.Vault
}

func (f *few) MatchBatch(_ context.Context, p db.MatchBatchParams) ([]db.MatchBatchRow, error) {
	return []db.MatchBatchRow{{TenantID: p.DistinctTenants[0], Generation: 1}}, nil
}

func (f *few) ChangedWebhooks(_ context.Context, _ int64, tenant uuid.UUID) (rows []db.ChangedWebhooksRow, err error) {
	for i := range f.n {
		id := newID()
		secret, err := f.vault.Seal([]byte("a secret of sixteen"), vault.Binding{Tenant: tenant, Table: "webhooks", Row: id.String(), Purpose: "secret"})
		if err != nil {
			return nil, err
		}
		row := db.ChangedWebhooksRow{TenantGeneration: 1, ID: id, Events: []string{"*"}, Active: true, Secret: secret, Generation: 1}
		if i < f.filters {
			row.Filter = json.RawMessage(fmt.Sprintf(`{"stage.name":{"$in":["won","s%d"]}}`, i))
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// Without filters, an event's data is not even looked at, and a match costs no
// memory.
func TestMatcher_filter_CostsNothingWithoutFilters(t *testing.T) {
	keyset, err := vault.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(keyset)
	if err != nil {
		t.Fatal(err)
	}
	m := New(&few{n: 10, vault: v}, endpoint.NewOpener(v), 0, quiet())
	id := newID()
	e := about(id, "deal.moved", `no JSON at all`)
	if matches, err := m.Match(t.Context(), []bus.Event{e}); err != nil || len(matches[0].Endpoints) != 10 {
		t.Fatalf("matches %+v, %v", matches, err)
	}
	tenant, _ := m.tenants.Get(id)
	allocations := testing.AllocsPerRun(100, func() {
		if got := m.filter(&e, tenant.match("deal.moved")); len(got.Endpoints) != 10 || len(got.Unfiltered) > 0 {
			t.Fatalf("matches %+v", got)
		}
	})
	if allocations > 0 {
		t.Errorf("a match allocates %.0f times", allocations)
	}
}

// BenchmarkMatcher_filter reports what one event costs once its tenant's copy is
// up to date: with ten webhooks that have no filters, and that all have one.
func BenchmarkMatcher_filter(b *testing.B) {
	keyset, err := vault.NewKeyset()
	if err != nil {
		b.Fatal(err)
	}
	v, err := vault.Open(keyset)
	if err != nil {
		b.Fatal(err)
	}
	for _, filters := range []int{0, 10} {
		b.Run(fmt.Sprintf("filters=%d", filters), func(b *testing.B) {
			m := New(&few{n: 10, filters: filters, vault: v}, endpoint.NewOpener(v), 0, quiet())
			id := newID()
			e := about(id, "deal.moved", `{"deal":{"id":"d","name":"Gold plan","valueCents":120000},"stage":{"id":"s","name":"won"}}`)
			if _, err := m.Match(b.Context(), []bus.Event{e}); err != nil {
				b.Fatal(err)
			}
			tenant, _ := m.tenants.Get(id)
			for b.Loop() {
				m.filter(&e, tenant.match("deal.moved"))
			}
		})
	}
}
