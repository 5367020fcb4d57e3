package match

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/pkg/webhook"
	"github.com/primezap/primezap/services/worker/endpoint"
)

// alike is a database in memory: each tenant has webhooks that are made by one
// pattern.
type alike struct {
	*testing.T
	vault   *vault.Vault
	each    int
	pattern func(n int) (row db.ChangedWebhooksRow, headers string)
}

func (a *alike) MatchBatch(_ context.Context, p db.MatchBatchParams) (rows []db.MatchBatchRow, err error) {
	for _, tenant := range p.DistinctTenants {
		rows = append(rows, db.MatchBatchRow{TenantID: tenant, Generation: 1})
	}
	return rows, nil
}

func (a *alike) ChangedWebhooks(_ context.Context, _ int64, tenant uuid.UUID) (rows []db.ChangedWebhooksRow, err error) {
	for n := range a.each {
		row, headers := a.pattern(n)
		row.ID, row.TenantGeneration, row.Generation, row.Active, row.RetryDelays = newID(), 1, 1, true, []int32{1, 5, 15}
		seal := func(plain, purpose string) []byte {
			sealed, err := a.vault.Seal([]byte(plain), vault.Binding{Tenant: tenant, Table: "webhooks", Row: row.ID.String(), Purpose: purpose})
			if err != nil {
				a.Fatal(err)
			}
			return sealed
		}
		row.Secret = seal(webhook.NewSecret(), "secret")
		if headers != "" {
			row.Headers = seal(headers, "headers")
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// The bound of the copy is in bytes: what it reckons must be about what it takes.
// It does not run beside other tests, whose memory would count.
func TestMatcher_SizeIsWhatItTakes(t *testing.T) {
	url := func(n int) string { return fmt.Sprintf("https://hooks.example.com/customers/%d", n) }
	for _, tc := range []struct {
		name    string
		tenants int
		each    int
		pattern func(n int) (db.ChangedWebhooksRow, string)
	}{
		{name: "a webhook for a few types in each of many tenants", tenants: 3000, each: 1, pattern: func(n int) (db.ChangedWebhooksRow, string) {
			return db.ChangedWebhooksRow{Url: url(n), Events: []string{"deal.moved", "message.received"}}, ""
		}},
		{name: "webhooks for everything", tenants: 3, each: 1000, pattern: func(n int) (db.ChangedWebhooksRow, string) {
			return db.ChangedWebhooksRow{Url: url(n), Events: []string{"*"}}, ""
		}},
		{name: "a webhook for each type", tenants: 200, each: len(event.Types()), pattern: func(n int) (db.ChangedWebhooksRow, string) {
			return db.ChangedWebhooksRow{Url: url(n), Events: []string{string(event.Types()[n].Type)}, Operational: true}, ""
		}},
		{name: "long URLs, many types and many headers", tenants: 3, each: 300, pattern: func(n int) (db.ChangedWebhooksRow, string) {
			var events []string
			for _, d := range event.Types() {
				events = append(events, string(d.Type))
			}
			var headers []string
			for i := range 20 {
				headers = append(headers, fmt.Sprintf(`{"name":"X-%d","value":%q}`, i, strings.Repeat("v", 500)))
			}
			return db.ChangedWebhooksRow{Url: url(n) + strings.Repeat("/x", 900), Events: events}, "[" + strings.Join(headers, ",") + "]"
		}},
		{name: "filters", tenants: 3, each: 500, pattern: func(n int) (db.ChangedWebhooksRow, string) {
			var values []string
			for i := range 40 {
				values = append(values, fmt.Sprintf(`"stage %d of %d"`, i, n))
			}
			return db.ChangedWebhooksRow{
				Url: url(n), Events: []string{"*"},
				Filter: json.RawMessage(`{"stage.name":{"$in":[` + strings.Join(values, ",") + `]},"deal.value":{"$gte":1000}}`),
			}, ""
		}},
		{name: "tenants without webhooks", tenants: 10_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := newVault(t)
			before := inUse()
			m := New(&alike{T: t, vault: v, each: tc.each, pattern: tc.pattern}, endpoint.NewOpener(v), 0, quiet())
			types := event.Types()
			for range tc.tenants {
				tenant := newID()
				var events []bus.Event
				for _, d := range types {
					events = append(events, about(tenant, string(d.Type), "{}"))
				}
				if _, err := m.Match(t.Context(), events); err != nil {
					t.Fatal(err)
				}
			}
			took := inUse() - before
			all := max(1, tc.tenants*tc.each)
			t.Logf("takes %d bytes, reckons %d: %d and %d for each webhook", took, m.size, took/all, m.size/all)
			if took > m.size+m.size/4 || took < m.size/3 {
				t.Errorf("takes %d bytes, reckons %d", took, m.size)
			}
			runtime.KeepAlive(m)
		})
	}
}

// inCopy counts the webhooks in the copy, and makes sure that their sizes add up.
func inCopy(t *testing.T, m *Matcher) (webhooks int) {
	t.Helper()
	all := 0
	for _, tenant := range m.tenants.Values() {
		size := tenantBytes
		for _, found := range tenant.byType {
			all += found.size()
		}
		for _, h := range tenant.hooks {
			size += h.size
			webhooks++
		}
		if tenant.size != size {
			t.Errorf("a tenant of %d webhooks is reckoned to take %d bytes, want %d", len(tenant.hooks), tenant.size, size)
		}
		all += size
	}
	if m.size != all {
		t.Errorf("the copy is reckoned to take %d bytes, want %d", m.size, all)
	}
	return webhooks
}

// inUse is how many bytes are in use once everything else was collected.
func inUse() int {
	var stats runtime.MemStats
	for range 3 { // pools survive one
		runtime.GC()
	}
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}
