package e2e

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// As many jobs as a worker takes at once hang in Postgres, as many as it has
// connections.
func TestJobs_HoldUpNoDelivery(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 1})
	tenant, e := sys.Tenant(), newReceiver(t).Endpoint()
	tenant.Subscribe(e, "*")
	const jobs = 4
	for i := range jobs {
		tenant.call(http.MethodPost, "/api/erasures", map[string]string{"contactId": fmt.Sprint("c", i)}, http.StatusAccepted, nil)
	}
	tx, err := sys.database.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), "SELECT FROM erasures FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	sys.StartWorker("WORKER_DB_CONNECTIONS=4")
	eventually(t, soon, func() error {
		n := sys.Count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
			AND wait_event_type = 'Lock' AND query LIKE '%StartErasure%'`)
		if n < jobs {
			return fmt.Errorf("%d jobs hang, want %d", n, jobs)
		}
		return nil
	})
	e.AwaitEvent(t, tenant.Publish("deal.moved"), 1, 15*time.Second) // half of what a statement may take
}
