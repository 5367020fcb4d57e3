package jobs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
)

// tenantTables are the tables that hold tenants' rows, as the catalogue has them.
func tenantTables(t *testing.T, super *store.Store) []string {
	t.Helper()
	rows, err := super.Pool().Query(t.Context(), `
		SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		  AND (c.relname = 'tenants' OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped))
		ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A table that is new must be in a part of the deletion, or among those that are
// kept: this test is where to hear of it.
func TestDeleter_KnowsEveryTable(t *testing.T) {
	t.Parallel()
	known := slices.Clone(keptTables)
	for _, p := range slices.Concat(pass, ending) {
		known = append(known, p.tables...)
	}
	slices.Sort(known)
	if tables := tenantTables(t, open(t, testenv.DB(t), testenv.Superuser)); !slices.Equal(known, tables) {
		t.Errorf("the deletion of a tenant knows %q; the tables with a tenant's rows are %q", known, tables)
	}
}

// deleting is a system with two tenants that have something everywhere.
type deleting struct {
	*erasing
	deleter *deleter
}

func newDeleting(t *testing.T) *deleting {
	t.Helper()
	w := &deleting{erasing: newErasing(t)}
	w.deleter = newDeleter(w.store, w.js, 0, quiet())
	w.deleter.settles = 0
	return w
}

// fill gives a tenant rows in every table, n in the large ones.
func (w *deleting) fill(owner uuid.UUID, n int) {
	w.Helper()
	hooks := "SELECT id FROM webhooks WHERE tenant_id = $1"
	for _, sql := range []string{
		`INSERT INTO webhooks (id, tenant_id, name, url, events, secret, secret_hint) SELECT gen_random_uuid(), $1, 'w', 'https://example.com', '{*}', '', '' FROM generate_series(1, 60)`,
		`INSERT INTO events (day, tenant_id, id, type, stream_seq, created_at) SELECT current_date, $1, 'e' || n, 'deal.moved', n, now() FROM generate_series(1, $2::int) AS n`,
		`INSERT INTO events (day, tenant_id, id, type, stream_seq, created_at) SELECT current_date - 1, $1, 'e', 'deal.moved', 1, now()`,
		`INSERT INTO webhook_logs (webhook_id, created_at, id, tenant_id, delivery_id, event_id, event_type, attempt, kind, counted, success, status, duration_ms)
			SELECT h.id, now() - n * interval '1 ms', gen_random_uuid(), $1, gen_random_uuid(), 'e', 'deal.moved', 1, 0, true, true, 200, 1
			FROM (` + hooks + ` ORDER BY id LIMIT 2) h, generate_series(1, $2::int) AS n`,
		`INSERT INTO webhook_queue (delivery_id, webhook_id, tenant_id, event_id, event_type, event_day, epoch, stream_seq, kind, state, attempt, due_at)
			SELECT gen_random_uuid(), h.id, $1, 'e', 'deal.moved', current_date, 1, 1, 0, 0, 1, now() FROM (` + hooks + `) h`,
		`INSERT INTO webhook_lanes (webhook_id, tenant_id, next_due_at) SELECT h.id, $1, now() FROM (` + hooks + `) h`,
		`INSERT INTO webhook_stats_hourly SELECT h.id, now(), 'deal.moved', 200, $1, 1, 1, 5 FROM (` + hooks + `) h`,
		`INSERT INTO webhook_durations_hourly SELECT h.id, now(), 21, $1, 1 FROM (` + hooks + `) h`,
		`INSERT INTO webhook_stats_daily SELECT h.id, current_date - 2, $1, '{deal.moved}', '{200}', '{1}', '{1}', '{5}', '{21}', '{1}' FROM (` + hooks + `) h`,
		`INSERT INTO webhook_health (webhook_id, tenant_id, down) SELECT h.id, $1, true FROM (` + hooks + `) h`,
		`INSERT INTO event_bodies (epoch, stream_seq, tenant_id, event_day, event_id, body) SELECT hashtext($1::uuid::text), n, $1::uuid, current_date, 'e' || n, '{}' FROM generate_series(1, 2 * 64 + 1) AS n`,
		`INSERT INTO idempotency_keys (tenant_id, key, event_ids, day, body_hash) SELECT $1, 'key:' || n, '{e}', current_date, '' FROM generate_series(1, $2::int) AS n`,
		`INSERT INTO outbox (tenant_id, event_id, event_type, day, body) SELECT $1, 'o' || n, 'deal.moved', current_date, '{}' FROM generate_series(1, 3) AS n`,
		`INSERT INTO audit_log (id, tenant_id, actor, action, subject_type, subject_id) SELECT gen_random_uuid(), $1, 'system', 'webhook.updated', 'webhook', 'w' FROM generate_series(1, $2::int)`,
		`INSERT INTO erasures (id, tenant_id, epoch, last_seq, last_time) SELECT gen_random_uuid(), $1, 1, 1, now()`,
		`INSERT INTO replays (id, tenant_id, webhook_id, since, until, events, failed_only, next_day) SELECT gen_random_uuid(), $1, gen_random_uuid(), now(), now(), '{*}', false, current_date`,
		`INSERT INTO connections (id, tenant_id, channel, name, external_id) SELECT gen_random_uuid(), $1::uuid, 'whatsapp', 'n', $1::text || n FROM generate_series(1, $2::int) AS n`,
		`INSERT INTO integration_rate_limits (connection_id, window_type, tenant_id, max_requests, window_start, window_end)
			SELECT id, 'per_minute', $1, 60, now(), now() FROM connections WHERE tenant_id = $1`,
		`INSERT INTO contacts (id, tenant_id, name, source, tags) SELECT gen_random_uuid(), $1, 'n', 'whatsapp', '{lead}' FROM generate_series(1, $2::int)`,
		`INSERT INTO contact_identities (value, kind, tenant_id, contact_id) SELECT id::text, 'phone', $1, id FROM contacts WHERE tenant_id = $1`,
		`INSERT INTO conversations (id, tenant_id, connection_id, contact_id, channel) SELECT id, $1, id, id, 'whatsapp' FROM contacts WHERE tenant_id = $1`,
		`INSERT INTO messages (id, tenant_id, connection_id, conversation_id, contact_id, channel, direction, type, status, sent_at)
			SELECT id, $1, id, id, id, 'whatsapp', 'inbound', 'text', 'received', now() FROM contacts WHERE tenant_id = $1`,
		`INSERT INTO channel_updates (id, tenant_id, connection_id, field, digest, raw) SELECT id, $1, id, 'calls', id::text::bytea, '{}' FROM contacts WHERE tenant_id = $1`,
		`INSERT INTO oauth_grants (id, tenant_id, user_id, user_name, scopes, missing_scopes) SELECT gen_random_uuid(), $1::uuid, n::text, 'n', '{}', '{}' FROM generate_series(1, $2::int) AS n`,
		`INSERT INTO oauth_states (tenant_id, nonce, expires_at) SELECT $1, n::text, now() FROM generate_series(1, $2::int) AS n`,
		`INSERT INTO api_keys (id, tenant_id, name, hint, hash, scopes) SELECT gen_random_uuid(), $1::uuid, 'k', '', decode(md5($1::uuid::text), 'hex'), '{}'`,
	} {
		args := []any{owner}
		if strings.Contains(sql, "$2") {
			args = append(args, n)
		}
		exec(w.T, w.super, sql, args...)
	}
	for i := range 3 {
		w.publish(owner, "", fmt.Sprint("m", i), owner.String())
	}
	w.poison(owner, "", "p", owner.String(), 1)
}

// left says where rows of a tenant are, in the tables that keep none.
func (w *deleting) left(owner uuid.UUID) (tables []string) {
	w.Helper()
	for _, name := range tenantTables(w.T, w.super) {
		if !slices.Contains(keptTables, name) && ask[int64](w.T, w.super, "SELECT count(*) FROM "+name+" WHERE tenant_id = $1", owner) > 0 {
			tables = append(tables, name)
		}
	}
	return tables
}

func (w *deleting) request(owner uuid.UUID) uuid.UUID {
	w.Helper()
	id := uuid.Must(uuid.NewV7())
	exec(w.T, w.super, "SELECT delete_tenant($1)", owner)
	exec(w.T, w.super, "INSERT INTO tenant_deletions (id, tenant_id, target_id) VALUES ($1, gen_random_uuid(), $2)", id, owner)
	return id
}

func (w *deleting) work(ctx context.Context, id uuid.UUID) error {
	return w.deleter.Work(ctx, &river.Job[jobs.TenantDeletion]{Args: jobs.TenantDeletion{ID: id}})
}

func (w *deleting) look(id uuid.UUID) db.TenantDeletion {
	w.Helper()
	row, err := w.store.Queries().GetTenantDeletion(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	return row
}

func TestDeleter_Work(t *testing.T) {
	t.Parallel()
	t.Run("leaves a tombstone of the tenant, and all of others", func(t *testing.T) {
		t.Parallel()
		w := newDeleting(t)
		w.fill(tenant, rowChunk+1)
		w.fill(w.other, 10)
		before := w.left(w.other)
		if all := w.left(tenant); len(all)+len(keptTables) != len(tenantTables(t, w.super)) {
			t.Fatalf("the tenant has rows in %v alone", all)
		}
		id := w.request(tenant)
		if err := w.work(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		row := w.look(id)
		if row.FinishedAt == nil {
			t.Fatalf("it stands at %s", row.Step)
		}
		if left := w.left(tenant); len(left) > 0 {
			t.Errorf("rows are left in %v", left)
		}
		// 60 webhooks with 6 rows each beside their own, 2 with logs.
		if want := int64(60*7 + 2*(rowChunk+1) + 12*(rowChunk+1) + 1 + 129 + 3 + 1 + 1 + 1); row.Rows != want {
			t.Errorf("counted %d rows, want %d", row.Rows, want)
		}
		for _, stream := range []string{bus.StreamEvents, bus.StreamPoison} {
			if ids := w.stored(stream, tenant.String()); len(ids) > 0 {
				t.Errorf("%s still holds %v", stream, ids)
			}
		}
		if after := w.left(w.other); !slices.Equal(before, after) {
			t.Errorf("the other has rows in %v, had them in %v", after, before)
		}
		if n := ask[int64](t, w.super, "SELECT count(*) FROM webhooks WHERE deleted_at IS NULL"); n != 60 {
			t.Errorf("%d webhooks of the other are live", n)
		}
		if ids := w.fetch(3); !slices.Equal(ids, []string{"m0", "m1", "m2"}) {
			t.Errorf("delivered %v of the other", ids)
		}
		if !ask[bool](t, w.super, "SELECT deleted_at IS NOT NULL FROM tenants WHERE id = $1", tenant) {
			t.Error("the tenant is not known to be deleted")
		}
	})

	t.Run("passes again over what came behind it, until it is late and nothing did", func(t *testing.T) {
		t.Parallel()
		w := newDeleting(t)
		w.fill(tenant, 1)
		id := w.request(tenant)
		w.deleter.settles = time.Hour
		if err := w.work(t.Context(), id); !snoozed(err) {
			t.Fatalf("%v, want it to wait", err)
		}
		// A request that came before, and a commit that was on its way.
		hook := ask[uuid.UUID](t, w.super, "SELECT id FROM webhooks WHERE tenant_id = $1 ORDER BY id LIMIT 1", tenant)
		w.publish(tenant, "", "late", tenant.String())
		w.deliver(tenant, "", "late", "late", 1)
		exec(t, w.super, "UPDATE webhook_logs SET webhook_id = $1 WHERE tenant_id = $2", hook, tenant)
		exec(t, w.super, "UPDATE webhook_queue SET webhook_id = $1 WHERE tenant_id = $2", hook, tenant)
		w.deleter.settles = 0
		exec(t, w.super, "UPDATE tenant_deletions SET created_at = created_at - interval '1 h'")
		if err := w.work(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if left := w.left(tenant); len(left) > 0 || len(w.stored(bus.StreamEvents, tenant.String())) > 0 {
			t.Errorf("rows are left in %v", left)
		}
		if w.look(id).FinishedAt == nil {
			t.Error("it has not ended")
		}
	})

	t.Run("cuts the connections before it removes what came through them", func(t *testing.T) {
		t.Parallel()
		w := newDeleting(t)
		w.fill(tenant, 1)
		id := w.request(tenant)
		exec(t, w.super, "ALTER TABLE messages RENAME TO elsewhere") // it cannot go on
		if err := w.work(t.Context(), id); !snoozed(err) || w.look(id).Step != "messages" {
			t.Fatalf("it stands at %s, %v", w.look(id).Step, err)
		}
		if n := ask[int64](t, w.super, "SELECT count(*) FROM connections WHERE tenant_id = $1", tenant); n > 0 {
			t.Errorf("%d connections are left", n)
		}
	})

	t.Run("stops deliveries first", func(t *testing.T) {
		t.Parallel()
		w := newDeleting(t)
		w.fill(tenant, 1)
		id := w.request(tenant)
		w.deleter.settles = time.Hour
		if err := w.work(t.Context(), id); !snoozed(err) {
			t.Fatal(err)
		}
		if n := ask[int64](t, w.super, "SELECT count(*) FROM webhooks WHERE tenant_id = $1 AND (active OR deleted_at IS NULL)", tenant); n > 0 {
			t.Errorf("%d webhooks are live", n)
		}
		if n := ask[int64](t, w.super, "SELECT count(*) FROM webhooks WHERE tenant_id = $1", tenant); n != 60 {
			t.Errorf("%d webhooks are left: their late rows would not be found", n)
		}
	})

	t.Run("holds what results wait for no longer than a few rows take, whatever there is", func(t *testing.T) {
		t.Parallel()
		w := newDeleting(t)
		w.fill(tenant, 1)
		for _, sql := range []string{
			`INSERT INTO webhook_stats_hourly SELECT s.webhook_id, s.hour - n * interval '1 h', 'deal.moved', 200, s.tenant_id, 1, 1, 5 FROM webhook_stats_hourly s, generate_series(1, 100) n`,
			`INSERT INTO webhook_durations_hourly SELECT d.webhook_id, d.hour - n * interval '1 h', 21, d.tenant_id, 1 FROM webhook_durations_hourly d, generate_series(1, 100) n`,
		} {
			exec(t, w.super, sql)
		}
		id := w.request(tenant)
		exec(t, w.super, "UPDATE tenant_deletions SET step = 'deliveries'")
		running := &deletion{deleter: w.deleter, row: w.look(id)}
		for before := int64(0); running.row.Step == "deliveries"; before = running.row.Rows {
			if _, err := running.step(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n := running.row.Rows - before; n > 2*rowChunk {
				t.Fatalf("one transaction removed %d rows", n)
			}
		}
		if n := ask[int64](t, w.super, "SELECT (SELECT count(*) FROM webhook_stats_hourly) + (SELECT count(*) FROM webhook_durations_hourly)"); n > 0 {
			t.Errorf("%d rows of statistics are left", n)
		}
	})

	t.Run("goes on where it was interrupted", func(t *testing.T) {
		t.Parallel()
		w := newDeleting(t)
		w.fill(tenant, 10)
		id := w.request(tenant)
		for tries := 0; w.look(id).FinishedAt == nil; tries++ {
			if tries == 500 {
				t.Fatal("it does not get on")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(tries)*time.Millisecond)
			_ = w.work(ctx, id)
			cancel()
		}
		if left := w.left(tenant); len(left) > 0 {
			t.Errorf("rows are left in %v", left)
		}
		if got, want := w.look(id).Rows, int64(60*7+2*10+12*10+1+129+3+1+1+1); got != want {
			t.Errorf("counted %d rows, want %d", got, want)
		}
	})

	t.Run("touches no key, no webhook and no connection of a tenant that lives", func(t *testing.T) {
		t.Parallel()
		w := newDeleting(t)
		w.fill(tenant, 1)
		removed, err := w.store.Queries().RemoveAPIKeysOf(t.Context(), tenant)
		if err != nil || removed != 0 {
			t.Errorf("removed %d, %v", removed, err)
		}
		shut, err := w.store.Queries().ShutWebhooks(t.Context(), tenant, rowChunk)
		if err != nil || shut != 0 {
			t.Errorf("shut %d, %v", shut, err)
		}
		cut, err := w.store.Queries().RemoveConnectionsOf(t.Context(), tenant, rowChunk)
		if err != nil || cut != 0 {
			t.Errorf("removed %d connections, %v", cut, err)
		}
	})
}

func TestDeletion_NextPass(t *testing.T) {
	t.Parallel()
	w := newDeleting(t)
	for name, tc := range map[string]struct {
		found int // by the pass that ends
		began int // seconds after the request
		want  string
	}{
		"begun late, it found nothing: the last": {began: 61, want: ending[0].name},
		"begun late, it found something":         {found: 1, began: 61, want: pass[0].name},
		"begun early, it found nothing":          {began: 59, want: pass[0].name},
	} {
		id := w.request(uuid.New())
		exec(t, w.super, "UPDATE tenant_deletions SET found = $2, created_at = now() - interval '1 h', pass_at = now() - interval '1 h' + $3 * interval '1 s' WHERE id = $1", id, tc.found, tc.began)
		row, err := w.store.Queries().NextDeletionPass(t.Context(), db.NextDeletionPassParams{
			ID: id, SettleSeconds: 60, FirstStep: pass[0].name, LastStep: ending[0].name,
		})
		if err != nil || row.Step != tc.want || row.Found != 0 {
			t.Errorf("%s: goes on with %s (%d found), %v", name, row.Step, row.Found, err)
		}
	}
}
