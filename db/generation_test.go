package db_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/primezap/primezap/pkg/testenv"
)

// TestWebhooks_Generation shows that no change of a webhook escapes those who
// hold copies of it, and that sealing it again, which is none, does not wake them.
func TestWebhooks_Generation(t *testing.T) {
	t.Parallel()
	d := testenv.DB(t)
	super, api, worker := connect(t, d.URL(testenv.Superuser)), connect(t, d.URL(testenv.API)), connect(t, d.URL(testenv.Worker))
	run(t, api, "SELECT set_config('app.tenant_id', $1, false)", tenantA)
	run(t, api, `INSERT INTO webhooks (id, tenant_id, name, url, events, secret, secret_hint)
		VALUES ('0198c0de-0000-7000-9000-000000000001', $1, 'n', 'u', '{*}', 's', 'h')`, tenantA)
	generations := func() [2]int64 {
		return [2]int64{
			one[int64](t, super, "SELECT generation FROM webhooks"),
			one[int64](t, super, "SELECT generation FROM tenants WHERE id = $1", tenantA),
		}
	}
	if got := generations(); got != [2]int64{1, 1} {
		t.Fatalf("after the creation the generations are %v, want 1 and 1", got)
	}
	n := int64(1)
	for _, c := range columns(t, super, "webhooks") {
		// The first two name the row, the others count for themselves.
		if slices.Contains([]string{"id", "tenant_id", "generation", "reseals"}, c.Name) {
			continue
		}
		run(t, api, fmt.Sprintf("UPDATE webhooks SET %s = %s", c.Name, literal(t, "webhooks", c)))
		if n++; generations() != [2]int64{n, n} {
			t.Errorf("a change of %s leaves the generations at %v, want %d", c.Name, generations(), n)
			n = generations()[1]
		}
	}
	run(t, worker, "UPDATE webhooks SET secret = 'x', previous_secret = 'y', headers = 'z', reseals = reseals + 1")
	if got := generations(); got != [2]int64{n, n} {
		t.Errorf("sealing again moves the generations to %v, want %d still", got, n)
	}
	run(t, worker, "UPDATE webhooks SET active = false, disabled_at = now(), disabled_reason = 'gone', updated_at = now()")
	if n++; generations() != [2]int64{n, n} {
		t.Errorf("disabling leaves the generations at %v, want %d", generations(), n)
	}
	// What a worker may not change at all.
	for _, c := range columns(t, super, "webhooks") {
		if slices.Contains([]string{"secret", "previous_secret", "headers", "reseals", "active", "disabled_at", "disabled_reason", "updated_at"}, c.Name) {
			continue
		}
		if _, err := worker.Exec(t.Context(), fmt.Sprintf("UPDATE webhooks SET %s = %s", c.Name, literal(t, "webhooks", c))); !denied(err) {
			t.Errorf("a worker's change of %s: %v, want permission denied", c.Name, err)
		}
	}
}
