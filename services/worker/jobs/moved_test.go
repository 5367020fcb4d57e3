package jobs

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
)

// A tenant whose account another one claims learns of it, once.
func TestMoveTeller(t *testing.T) {
	t.Parallel()
	database, account := testenv.DB(t), testenv.NATS(t)
	api, s := open(t, database, testenv.API), open(t, database, testenv.Worker)
	v, claimant := newVault(t), uuid.Must(uuid.NewV7())
	inserter, err := jobs.NewInserter()
	if err != nil {
		t.Fatal(err)
	}
	connector := &connection.Connector{Vault: v, Limiter: ratelimit.New(api, ratelimit.Config{PerMinute: 1, PerHour: 1, PerDay: 1}), Jobs: inserter}
	page := connection.Account{Channel: messaging.Facebook, ExternalID: "9001", Name: "Loja", Token: "EAAP"}
	for _, of := range []uuid.UUID{tenant, claimant} {
		err := api.InTenantTx(t.Context(), of, func(tx pgx.Tx, q *db.Queries) error {
			_, err := connector.Claim(t.Context(), tx, q, of, "user:1", page)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := New(Config{Store: s, JetStream: connect(t, account, testenv.Worker), Vault: v, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1) // sent once
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the job ends", func() bool {
		return ask[int](t, s, "SELECT count(*) FROM river_job WHERE kind = 'connection_moved' AND state = 'completed'") == 1
	})
	told := ask[int](t, s, `SELECT count(*) FROM outbox o JOIN connections c ON c.id::text = o.conversation
		WHERE o.event_type = 'connection.disconnected' AND o.tenant_id = $1 AND c.tenant_id = $1 AND c.deleted_at IS NOT NULL
		  AND convert_from(o.body, 'UTF8') LIKE '%"reason":"moved"%'`, tenant)
	if all := ask[int](t, s, "SELECT count(*) FROM outbox WHERE event_type = 'connection.disconnected'"); told != 1 || all != 1 {
		t.Errorf("told %d times, and %d in all, want once", told, all)
	}
}
