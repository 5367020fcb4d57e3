// Package explain_test reads the plans of the queries that workers and the API
// make while data flows: each must be backed by an index, whatever the server
// believed of a table's size when it made the plan.
package explain_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"

	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// The extent of the data: rows in each of the large tables, spread over hooks.
const (
	rows  = 200_000
	hooks = 1000
	each  = rows / hooks // a webhook's
)

var tenant = uuid.MustParse("0198f000-0000-7000-8000-000000000001")

// connectionOf is the id of the nth connection; the tenant has each two hundredth.
func connectionOf(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("0198f000-0000-7000-c000-%012d", n))
}

// hook is the id of the nth webhook.
func hook(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("0198f000-0000-7000-9000-%012d", n))
}

// delivery is the id of the nth delivery; it is webhook n % hooks's.
func delivery(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("0198f000-0000-7000-a000-%012d", n))
}

// account is the id of the nth connection.
func account(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("0198f000-0000-7000-c000-%012d", n))
}

// grantOf is the id of the nth grant; connection and grant of a number belong together.
func grantOf(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("0198f000-0000-7000-e000-%012d", n))
}

// person is the id of the nth contact.
func person(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("0198f000-0000-7000-d000-%012d", n))
}

// fill puts data into tables that nothing has analysed, as a day's traffic does.
const fill = `
SET session_replication_role = replica; -- without triggers
INSERT INTO tenants (id, generation) SELECT '0198f000-0000-7000-8000-000000000001', 1000;
INSERT INTO tenants (id, generation) SELECT gen_random_uuid(), 1 FROM generate_series(1, 10000);
INSERT INTO webhooks (id, tenant_id, name, url, events, secret, secret_hint, generation, deleted_at)
	SELECT ('0198f000-0000-7000-9000-' || lpad(n::text, 12, '0'))::uuid, '0198f000-0000-7000-8000-000000000001', 'w', 'https://example.com',
		'{*}', '', '', n, CASE WHEN n % 500 = 499 THEN now() - interval '1 year' END FROM generate_series(0, 999) AS n;
INSERT INTO webhooks (id, tenant_id, name, url, events, secret, secret_hint)
	SELECT gen_random_uuid(), gen_random_uuid(), 'other', 'https://example.com', '{*}', '', '' FROM generate_series(1, 20000);
INSERT INTO events (day, tenant_id, id, type, stream_seq, created_at, contact_id)
	SELECT current_date, '0198f000-0000-7000-8000-000000000001', 'e' || n, 'deal.moved', n, current_date + n * interval '1 microsecond', 'c' || n % 1000 FROM generate_series(0, 199999) AS n;
INSERT INTO webhook_logs (webhook_id, created_at, id, tenant_id, delivery_id, event_id, event_type, attempt, kind, counted, success, status, duration_ms)
	SELECT ('0198f000-0000-7000-9000-' || lpad((n % 1000)::text, 12, '0'))::uuid, current_date + n * interval '1 microsecond',
		('0198f000-0000-7000-a000-' || lpad(n::text, 12, '0'))::uuid, '0198f000-0000-7000-8000-000000000001', gen_random_uuid(), 'e' || n,
		'deal.moved', 1, 0, true, n % 7 > 0, 200, 5 FROM generate_series(0, 199999) AS n;
INSERT INTO webhook_queue (delivery_id, webhook_id, tenant_id, event_id, event_type, event_day, epoch, stream_seq, kind, state, attempt, due_at, lease_id)
	SELECT ('0198f000-0000-7000-a000-' || lpad(n::text, 12, '0'))::uuid, ('0198f000-0000-7000-9000-' || lpad((n % 1000)::text, 12, '0'))::uuid,
		'0198f000-0000-7000-8000-000000000001', 'e' || n, 'deal.moved', current_date, 1, n, CASE WHEN n / 1000 % 5 = 0 THEN 2 ELSE 0 END, CASE WHEN n % 1000 < 900 THEN 0 ELSE 3 END, 1,
		now() - n * interval '1 millisecond', '0198f000-0000-7000-b000-000000000000' FROM generate_series(0, 199999) AS n;
INSERT INTO webhook_lanes (webhook_id, tenant_id, next_due_at, backlog) -- fewer are due than a claim may take
	SELECT id, tenant_id, now() - interval '200 s' + CASE WHEN generation < 150 THEN '0' ELSE interval '1 day' END, right(id::text, 1) = '0'
	FROM webhooks WHERE name = 'w';
INSERT INTO webhook_lanes (webhook_id, tenant_id, next_due_at) SELECT id, tenant_id, 'infinity' FROM webhooks WHERE name = 'other';
UPDATE webhooks SET rate_per_second = 50 WHERE name = 'w' AND generation % 2 = 0;
UPDATE webhook_lanes l SET taken_at = ARRAY(SELECT now() FROM generate_series(1, 20)), taken = ARRAY(SELECT 1 FROM generate_series(1, 20))
	FROM webhooks w WHERE w.id = l.webhook_id AND w.rate_per_second > 0;
INSERT INTO event_bodies (epoch, stream_seq, tenant_id, event_day, event_id, body)
	SELECT 0, n, '0198f000-0000-7000-8000-000000000001', current_date, 'e' || n, '{}' FROM generate_series(0, 49999) AS n;
INSERT INTO webhook_stats_hourly SELECT id, date_trunc('hour', now()), 'deal.moved', 200, tenant_id, 1, 1, 5 FROM webhooks;
INSERT INTO webhook_durations_hourly SELECT id, date_trunc('hour', now()), 21, tenant_id, 1 FROM webhooks;
INSERT INTO webhook_health (webhook_id, tenant_id, exhausted, failing_since, down, level, told, succeeded_at, recover_at) -- of few there is something to do
	SELECT id, tenant_id, 5, now() - interval '1 hour', true, CASE WHEN n % 100 = 0 THEN 50 ELSE 0 END, 0, now() - interval '1 day',
		CASE WHEN n % 100 < 10 THEN now() - n * interval '1 s' END FROM (SELECT *, row_number() OVER (ORDER BY id) AS n FROM webhooks) AS w;
INSERT INTO webhook_stats_hourly SELECT id, date_trunc('hour', now()) - h * interval '1 hour', 'deal.moved', s, tenant_id, 1, 1, 5
	FROM webhooks, generate_series(1, 40 * 24) AS h, unnest(ARRAY[200, 500]) AS s WHERE name = 'w' AND generation <= 20;
INSERT INTO webhook_durations_hourly SELECT id, date_trunc('hour', now()) - h * interval '1 hour', b, tenant_id, 1
	FROM webhooks, generate_series(1, 40 * 24) AS h, unnest(ARRAY[20, 30]) AS b WHERE name = 'w' AND generation <= 20;
INSERT INTO webhook_stats_daily SELECT id, current_date - d, tenant_id, '{deal.moved}', '{200}', '{1}', '{1}', '{5}', '{21}', '{1}'
	FROM webhooks, generate_series(2, 40) AS d WHERE name = 'w' AND generation <= 20;
INSERT INTO api_keys (id, tenant_id, name, hint, hash, scopes, revoked_at)
	SELECT ('0198f000-0000-7000-a000-' || lpad(n::text, 12, '0'))::uuid, '0198f000-0000-7000-8000-000000000001', 'k', 'hint',
		decode(lpad(to_hex(n), 64, '0'), 'hex'), '{}', CASE WHEN n % 100 > 0 THEN now() END FROM generate_series(1, 20000) AS n;
INSERT INTO erasures (id, tenant_id, epoch, last_seq, last_time)
	SELECT gen_random_uuid(), CASE WHEN n % 50 = 0 THEN '0198f000-0000-7000-8000-000000000001' ELSE gen_random_uuid() END, 1, 1, now() FROM generate_series(1, 20000) AS n;
INSERT INTO replays (id, tenant_id, webhook_id, state, since, until, events, failed_only, next_day, finished_at)
	SELECT ('0198f000-0000-7000-a000-' || lpad(n::text, 12, '0'))::uuid, '0198f000-0000-7000-8000-000000000001',
		('0198f000-0000-7000-9000-' || lpad((n % 1000)::text, 12, '0'))::uuid, CASE WHEN n < 1000 THEN 1 ELSE 2 END, now(), now(), '{*}', true,
		current_date, CASE WHEN n >= 1000 THEN now() - n * interval '1 s' END FROM generate_series(0, 49999) AS n;
INSERT INTO outbox (tenant_id, event_id, event_type, day, body)
	SELECT tenant_id, 'e', 'deal.moved', current_date, '{}' FROM webhooks;
INSERT INTO audit_log (id, tenant_id, created_at, actor, action, subject_type, subject_id)
	SELECT ('0198f000-0000-7000-a000-' || lpad(n::text, 12, '0'))::uuid, '0198f000-0000-7000-8000-000000000001', current_date + n * interval '1 microsecond',
		'system', 'webhook.updated', 'webhook', '0198f000-0000-7000-9000-' || lpad((n % 1000)::text, 12, '0') FROM generate_series(0, 199999) AS n;
INSERT INTO audit_log (id, tenant_id, created_at, actor, action, subject_type, subject_id)
	SELECT gen_random_uuid(), gen_random_uuid(), now() - interval '1 year' + n * interval '1 s', 'system', 'webhook.updated', 'webhook', 'other' FROM generate_series(1, 20000) AS n;
INSERT INTO connections (id, tenant_id, channel, name, external_id, credentials) -- the tenant has one of each 200
	SELECT ('0198f000-0000-7000-c000-' || lpad(n::text, 12, '0'))::uuid, CASE WHEN n % 200 = 0 THEN '0198f000-0000-7000-8000-000000000001' ELSE gen_random_uuid() END,
		'whatsapp', 'n', n::text, '\x0100000001' FROM generate_series(0, 19999) AS n;
UPDATE connections SET grant_id = ('0198f000-0000-7000-e000-' || right(id::text, 12))::uuid;
INSERT INTO connections (id, tenant_id, channel, name, external_id, deleted_at) -- the tenant deleted as many
	SELECT ('0198f000-0000-7000-c000-' || lpad((n * 20)::text, 11, '0') || 'a')::uuid, '0198f000-0000-7000-8000-000000000001', 'whatsapp', 'n', n::text, now()
	FROM generate_series(0, 99) AS n;
UPDATE connections SET subscribed_fields = '{messages}',
	subscription_check_at = now() + (right(id::text, 12)::bigint - 1000) * interval '1 second' WHERE deleted_at IS NULL;
INSERT INTO integration_rate_limits (connection_id, window_type, tenant_id, max_requests, window_start, window_end)
	SELECT id, w, tenant_id, 60, now(), now() FROM connections, unnest(ARRAY['per_minute', 'per_hour', 'per_day']) AS w;
INSERT INTO oauth_grants (id, tenant_id, user_id, user_name, credentials, scopes, missing_scopes, status, check_at) -- the tenant has one of each 200
	SELECT ('0198f000-0000-7000-e000-' || lpad(n::text, 12, '0'))::uuid, CASE WHEN n % 200 = 0 THEN '0198f000-0000-7000-8000-000000000001' ELSE gen_random_uuid() END,
		n::text, 'n', '\x0100000001', '{}', '{}', CASE WHEN n % 3 = 0 THEN 'reconnect' ELSE 'active' END, now() + (n - 1000) * interval '1 second' FROM generate_series(0, 19999) AS n;
INSERT INTO oauth_states (tenant_id, nonce, expires_at)
	SELECT CASE WHEN n % 10 = 0 THEN '0198f000-0000-7000-8000-000000000001' ELSE gen_random_uuid() END, n::text, now() FROM generate_series(1, 20000) AS n;
INSERT INTO oauth_withdrawals (id, kind, code, request, issued_at, completed_at)
	SELECT gen_random_uuid(), 'deletion', 'code' || n, n::text::bytea, now(), CASE WHEN n % 2 = 0 THEN now() - n * interval '1 h' END FROM generate_series(1, 20000) AS n;
INSERT INTO contacts (id, tenant_id, name, source, merged_into) -- a hundredth are the same person as another
	SELECT ('0198f000-0000-7000-d000-' || lpad(n::text, 12, '0'))::uuid, '0198f000-0000-7000-8000-000000000001', 'n', 'whatsapp',
		CASE WHEN n % 100 = 99 THEN ('0198f000-0000-7000-d000-' || lpad((n - 1)::text, 12, '0'))::uuid END FROM generate_series(0, 19999) AS n;
INSERT INTO contacts (id, tenant_id, name, source) SELECT gen_random_uuid(), gen_random_uuid(), 'n', 'whatsapp' FROM generate_series(1, 20000) AS n;
UPDATE contacts SET phone = '+55' || right(id::text, 11), tags = '{lead}' WHERE merged_into IS NULL;
INSERT INTO contact_tags (tenant_id, tag, contact_id) SELECT tenant_id, unnest(tags), id FROM contacts WHERE merged_into IS NULL;
INSERT INTO contact_identities (value, kind, tenant_id, contact_id) SELECT id::text, 'phone', tenant_id, id FROM contacts;
INSERT INTO conversations (id, tenant_id, connection_id, contact_id, channel, status) -- of the same number
	SELECT id, tenant_id, '0198f000-0000-7000-c000-000000000000', id, 'whatsapp', CASE WHEN right(id::text, 1) = '0' THEN 'closed' ELSE 'open' END FROM contacts;
INSERT INTO messages (id, tenant_id, connection_id, conversation_id, contact_id, channel, direction, external_id, type, status, sent_at)
	SELECT ('0198f000-' || lpad(to_hex(n / 65536), 4, '0') || '-7000-a000-' || lpad(n::text, 12, '0'))::uuid, '0198f000-0000-7000-8000-000000000001', '0198f000-0000-7000-c000-000000000000',
		('0198f000-0000-7000-d000-' || lpad((n % 20000)::text, 12, '0'))::uuid, ('0198f000-0000-7000-d000-' || lpad((n % 20000)::text, 12, '0'))::uuid,
		'whatsapp', 'inbound', 'wamid.' || n, 'text', 'received', now() FROM generate_series(0, 199999) AS n;
INSERT INTO channel_updates (id, tenant_id, connection_id, field, digest, raw)
	SELECT ('0198f000-0000-7000-a000-' || lpad(n::text, 12, '0'))::uuid, CASE WHEN n % 10 = 0 THEN '0198f000-0000-7000-8000-000000000001' ELSE gen_random_uuid() END,
		'0198f000-0000-7000-c000-000000000000', 'calls', decode(lpad(to_hex(n), 64, '0'), 'hex'), '{"wa_id":"5511900000001"}' FROM generate_series(0, 49999) AS n;
INSERT INTO idempotency_keys (tenant_id, key, event_ids, day, body_hash, created_at)
	SELECT '0198f000-0000-7000-8000-000000000001', 'key:' || n, '{e}', current_date, '', now() - n * interval '1 s' FROM generate_series(1, 50000) AS n;
`

// query is one of sqlc's, and what it may cost.
type query struct {
	name string
	call func(q *db.Queries)
	rows int // that may be read; blocks are bounded by it too
}

// workerQueries are what workers ask while they work.
func workerQueries() []query {
	ctx := context.Background()
	today := time.Now().UTC().Truncate(24 * time.Hour)
	const batch = 256
	var (
		ids, deliveries, leases, tenants []uuid.UUID
		keys, types, texts               []string
		days, created, hours             []time.Time
		attempts, states, statuses       []int16
		delays, ones, seqs, zeros        []int64
		limits                           []int32
		pauses                           []float64
	)
	for i := range batch {
		n := i * 17
		deliveries, leases = append(deliveries, delivery(n)), append(leases, uuid.MustParse("0198f000-0000-7000-b000-000000000000"))
		ids, tenants = append(ids, hook(n%hooks)), append(tenants, tenant)
		keys, types, texts = append(keys, fmt.Sprintf("e%d", n)), append(types, "deal.moved"), append(texts, "")
		days, created = append(days, today), append(created, today.Add(time.Duration(n)*time.Microsecond))
		hours = append(hours, time.Now().UTC().Truncate(time.Hour))
		attempts, states, statuses = append(attempts, 1), append(states, 2), append(statuses, 200)
		delays, ones, limits, pauses = append(delays, 1000), append(ones, 1), append(limits, 8), append(pauses, 0.05)
		seqs, zeros = append(seqs, int64(n)), append(zeros, 0)
	}
	lanes := make([]uuid.UUID, 200)
	for i := range lanes {
		lanes[i] = hook(i)
	}
	lease, grant200 := uuid.New(), grantOf(200)
	later := time.Now().Add(-24 * time.Hour)
	return []query{
		{name: "ClaimGrants", rows: 200, call: func(q *db.Queries) { _, _ = q.ClaimGrants(ctx, 600, 20) }},
		{name: "GrantLooked", rows: 4, call: func(q *db.Queries) { _ = q.GrantLooked(ctx, 600, grantOf(200)) }},
		{name: "GrantNotLooked", rows: 4, call: func(q *db.Queries) { _ = q.GrantNotLooked(ctx, 600, grantOf(200)) }},
		{name: "ReleaseGrants", rows: 10, call: func(q *db.Queries) { _ = q.ReleaseGrants(ctx, 600, []uuid.UUID{grantOf(200), grantOf(400)}) }},
		{name: "NoteGrantEnds", rows: 4, call: func(q *db.Queries) {
			_, _ = q.NoteGrantEnds(ctx, db.NoteGrantEndsParams{ID: grantOf(200)})
		}},
		{name: "RemoveGrantsOf", rows: 300, call: func(q *db.Queries) { _, _ = q.RemoveGrantsOf(ctx, tenant, 50) }},
		{name: "RemoveStatesOf", rows: 400, call: func(q *db.Queries) { _, _ = q.RemoveStatesOf(ctx, tenant, 50) }},
		{name: "ClaimSubscriptions", rows: 200, call: func(q *db.Queries) { _, _ = q.ClaimSubscriptions(ctx, 600, 20) }},
		// What a tenant has.
		{name: "ConnectionsOfPage", rows: 200, call: func(q *db.Queries) { _, _ = q.ConnectionsOfPage(ctx, tenant, "200") }},
		{name: "SubscriptionsLooked", rows: 6, call: func(q *db.Queries) { _ = q.SubscriptionsLooked(ctx, 600, []uuid.UUID{connectionOf(200)}) }},
		{name: "SubscriptionsNotLooked", rows: 6, call: func(q *db.Queries) {
			_ = q.SubscriptionsNotLooked(ctx, 600, []uuid.UUID{connectionOf(200)})
		}},
		{name: "ReleaseSubscriptions", rows: 6, call: func(q *db.Queries) { _ = q.ReleaseSubscriptions(ctx, 600, []uuid.UUID{connectionOf(200)}) }},
		{name: "LookAtConnectionsOf", rows: 600, call: func(q *db.Queries) { _ = q.LookAtConnectionsOf(ctx, tenant, &grant200) }},
		{name: "UseConnection", rows: 2, call: func(q *db.Queries) { _, _ = q.UseConnection(ctx, connectionOf(200), tenant) }},
		{name: "RefuseConnection", rows: 4, call: func(q *db.Queries) {
			_, _ = q.RefuseConnection(ctx, db.RefuseConnectionParams{
				ID: connectionOf(200), TenantID: tenant, Credentials: []byte("\x01\x00\x00\x00\x01"), TokenRefused: true, Message: &texts[0],
			})
		}},
		{name: "ClearConnectionError", rows: 4, call: func(q *db.Queries) {
			_ = q.ClearConnectionError(ctx, connectionOf(200), tenant, []byte("\x01\x00\x00\x00\x01"))
		}},
		{name: "MatchBatch", rows: 2 * batch, call: func(q *db.Queries) {
			_, _ = q.MatchBatch(ctx, db.MatchBatchParams{
				Days: days, Tenants: tenants, Ids: keys, FirstDay: today, LastDay: today, DistinctTenants: []uuid.UUID{tenant},
			})
		}},
		{name: "PresentEvents", rows: 2 * batch, call: func(q *db.Queries) {
			_, _ = q.PresentEvents(ctx, db.PresentEventsParams{Days: days, Tenants: tenants, Ids: keys, FirstDay: today, LastDay: today})
		}},
		{name: "PresentLogs", rows: 2 * batch, call: func(q *db.Queries) {
			_, _ = q.PresentLogs(ctx, db.PresentLogsParams{
				WebhookIds: ids, Created: created, Ids: deliveries, First: created[0], Last: created[batch-1],
			})
		}},
		{name: "StandingQueueRows", rows: 2 * batch, call: func(q *db.Queries) { _, _ = q.StandingQueueRows(ctx, deliveries, leases, attempts) }},
		{name: "FinishQueueRows", rows: 4 * batch, call: func(q *db.Queries) { _ = q.FinishQueueRows(ctx, deliveries, leases, attempts) }},
		{name: "RescheduleQueueRows", rows: 4 * batch, call: func(q *db.Queries) {
			_ = q.RescheduleQueueRows(ctx, db.RescheduleQueueRowsParams{
				DeliveryIds: deliveries, LeaseIds: leases, Attempts: attempts, States: states, NextAttempts: attempts, DelayMs: delays,
				LastStatuses: statuses, LastErrors: texts,
			})
		}},
		{name: "WakeLanes", rows: 2 * batch, call: func(q *db.Queries) { _ = q.WakeLanes(ctx, ids[:50], tenants[:50], delays[:50]) }},
		{name: "AddStats", rows: 2 * batch, call: func(q *db.Queries) {
			_ = q.AddStats(ctx, db.AddStatsParams{
				WebhookIds: ids[:50], Hours: hours[:50], EventTypes: types[:50], Statuses: statuses[:50], Tenants: tenants[:50],
				Totals: ones[:50], Successful: ones[:50], DurationMsSums: ones[:50],
			})
		}},
		{name: "AddDurations", rows: 2 * batch, call: func(q *db.Queries) {
			_ = q.AddDurations(ctx, db.AddDurationsParams{
				WebhookIds: ids[:50], Hours: hours[:50], Buckets: attempts[:50], Tenants: tenants[:50], Totals: ones[:50], Succeeded: ids[:50],
			})
		}},
		{name: "RecordHealth", rows: 4 * 50, call: func(q *db.Queries) {
			_ = q.RecordHealth(ctx, db.RecordHealthParams{
				WebhookIds: ids[:50], Tenants: tenants[:50], Tails: limits[:50], Exhausted: make([]bool, 50), Succeeded: make([]bool, 50),
				GoneGenerations: delays[:50],
			})
		}},
		{name: "RaiseLevels", rows: 2 * 50, call: func(q *db.Queries) { _ = q.RaiseLevels(ctx, 3600, 5, ids[:50]) }},
		{name: "UntoldHealth", rows: 60, call: func(q *db.Queries) { _, _ = q.UntoldHealth(ctx, hook(20), 20) }},
		{name: "TellHealth", rows: 4, call: func(q *db.Queries) { _, _ = q.TellHealth(ctx, hook(7), 50) }},
		{name: "ForgetGone", rows: 4, call: func(q *db.Queries) { _ = q.ForgetGone(ctx, hook(7), &ones[0]) }},
		{name: "HealthStreak", rows: 2, call: func(q *db.Queries) { _, _ = q.HealthStreak(ctx, hook(7)) }},
		{name: "DueRecoveries", rows: 60, call: func(q *db.Queries) { _, _ = q.DueRecoveries(ctx, 20) }},
		{name: "PostponeRecovery", rows: 4, call: func(q *db.Queries) { _, _ = q.PostponeRecovery(ctx, 5, hook(7), &later) }},
		{name: "ForgetRecovered", rows: 4, call: func(q *db.Queries) { _, _ = q.ForgetRecovered(ctx, hook(7), &later) }},
		{name: "EndRecovery", rows: 4, call: func(q *db.Queries) { _, _ = q.EndRecovery(ctx, hook(7), &later) }},
		{name: "RecoverQueueRows", rows: 5 * each / 2, call: func(q *db.Queries) {
			_, _ = q.RecoverQueueRows(ctx, db.RecoverQueueRowsParams{
				WebhookID: hook(950), DueAfter: later, DueUntil: time.Now().Add(time.Hour), RowLimit: each / 2, SpacingSeconds: 0.005,
			})
		}},
		{name: "CountDue", rows: 3 * each, call: func(q *db.Queries) { _, _ = q.CountDue(ctx, hook(7), 10_000) }},
		{name: "DisableWebhook", rows: 4, call: func(q *db.Queries) { _, _ = q.DisableWebhook(ctx, &texts[0], hook(7), nil) }},
		{name: "WebhookToWarn", rows: 2, call: func(q *db.Queries) { _, _ = q.WebhookToWarn(ctx, hook(7)) }},
		{name: "WebhooksWithStats", rows: 60, call: func(q *db.Queries) { _, _ = q.WebhooksWithStats(ctx, 50, hook(3)) }},
		{name: "DaysToSumUp", rows: 3 * 20 * 31, call: func(q *db.Queries) {
			_, _ = q.DaysToSumUp(ctx, ids20(), today.AddDate(0, 0, -31), today.AddDate(0, 0, -1))
		}},
		{name: "SumUpDay", rows: 20 * 24 * 4, call: func(q *db.Queries) {
			_ = q.SumUpDay(ctx, db.SumUpDayParams{
				Day: today.AddDate(0, 0, -41), Begins: today.AddDate(0, 0, -2), Ends: today.AddDate(0, 0, -1), WebhookIds: ids20(),
			})
		}},
		{name: "PurgeStats", rows: 3 * 20 * 100, call: func(q *db.Queries) { _, _ = q.PurgeStats(ctx, ids20(), today.AddDate(0, 0, -31), 100) }},
		{name: "PurgeDurations", rows: 3 * 20 * 100, call: func(q *db.Queries) {
			_, _ = q.PurgeDurations(ctx, ids20(), today.AddDate(0, 0, -31), 100)
		}},
		{name: "PurgeDailyStats", rows: 2 * 20 * 10, call: func(q *db.Queries) { _, _ = q.PurgeDailyStats(ctx, ids20(), today.AddDate(0, 0, -31)) }},
		{name: "ChangedWebhooks", rows: 50, call: func(q *db.Queries) { _, _ = q.ChangedWebhooks(ctx, 990, tenant) }},
		{name: "WebhookForTest", rows: 2, call: func(q *db.Queries) { _, _ = q.WebhookForTest(ctx, hook(1), tenant) }},
		{name: "EventBody", rows: 2, call: func(q *db.Queries) { _, _ = q.EventBody(ctx, tenant, today, "e100") }},
		{name: "ClaimLanes", rows: 1000, call: func(q *db.Queries) { _, _ = q.ClaimLanes(ctx, []uuid.UUID{hook(2), hook(20)}, 200, 20) }},
		{name: "LanesDue", rows: 20, call: func(q *db.Queries) { _, _ = q.LanesDue(ctx, []uuid.UUID{hook(2), hook(20)}) }},
		{name: "LeaseQueueRows", rows: 200 * 8 * 5, call: func(q *db.Queries) {
			_, _ = q.LeaseQueueRows(ctx, db.LeaseQueueRowsParams{LeaseID: &lease, LeaseSeconds: 45, WebhookIds: lanes, RowLimits: limits[:200]})
		}},
		{name: "RecomputeLanes", rows: 5 * 200, call: func(q *db.Queries) { _ = q.RecomputeLanes(ctx, lanes) }},
		{name: "PaceLanes", rows: 5 * 200, call: func(q *db.Queries) {
			_, _ = q.PaceLanes(ctx, db.PaceLanesParams{WebhookIds: lanes, Rates: limits[:200], Took: limits[:200], Pauses: pauses[:200]})
		}},
		{name: "ShutLanes", rows: 10, call: func(q *db.Queries) { _ = q.ShutLanes(ctx, lanes[:2]) }},
		{name: "LockLane", rows: 2, call: func(q *db.Queries) { _ = q.LockLane(ctx, hook(3)) }},
		{name: "RepairLane", rows: 4, call: func(q *db.Queries) { _, _ = q.RepairLane(ctx, hook(3)) }},
		// It may read what rows are left: it is asked when there are few.
		{name: "RemoveLane", rows: 2 * each, call: func(q *db.Queries) { _ = q.RemoveLane(ctx, hook(3)) }},
		{name: "RemoveQueueRowsOf", rows: 5 * each, call: func(q *db.Queries) { _, _ = q.RemoveQueueRowsOf(ctx, hook(3), 1000) }},
		// Three probes a webhook with rows.
		{name: "StrayLanes", rows: 6 * hooks, call: func(q *db.Queries) { _, _ = q.StrayLanes(ctx, 1000) }},
		{name: "PurgeExhausted", rows: 500, call: func(q *db.Queries) { _, _ = q.PurgeExhausted(ctx, 100) }},
		{name: "NeededEvents", rows: 1000, call: func(q *db.Queries) {
			_, _ = q.NeededEvents(ctx, db.NeededEventsParams{Epoch: 1, First: 500, Below: 600, RowLimit: 1000})
		}},
		{name: "ReplayToDo", rows: 4, call: func(q *db.Queries) { _, _ = q.ReplayToDo(ctx, delivery(7)) }},
		{name: "ReplayedAhead", rows: each / 4, call: func(q *db.Queries) { _, _ = q.ReplayedAhead(ctx, hook(7), 1000) }},
		{name: "EventsOfDay", rows: 200, call: func(q *db.Queries) {
			_, _ = q.EventsOfDay(ctx, db.EventsOfDayParams{TenantID: tenant, Day: today, AfterID: "e150000", RowLimit: 100})
		}},
		{name: "ErasedOfDay", rows: 2 * batch, call: func(q *db.Queries) {
			_, _ = q.ErasedOfDay(ctx, keys, today, tenant)
		}},
		{name: "LockReplay", rows: 4, call: func(q *db.Queries) { _, _ = q.LockReplay(ctx, delivery(7), today, "") }},
		{name: "AdvanceReplay", rows: 4, call: func(q *db.Queries) { _ = q.AdvanceReplay(ctx, db.AdvanceReplayParams{ID: delivery(7), NextDay: today}) }},
		{name: "EndReplay", rows: 4, call: func(q *db.Queries) { _ = q.EndReplay(ctx, 2, nil, delivery(7)) }},
		{name: "AnsweredEvents", rows: 2 * batch, call: func(q *db.Queries) {
			_, _ = q.AnsweredEvents(ctx, db.AnsweredEventsParams{Ids: keys, TenantID: tenant, WebhookID: hook(7), Since: today})
		}},
		{name: "LockExhausted", rows: 4 * batch, call: func(q *db.Queries) { _, _ = q.LockExhausted(ctx, seqs, 1, hook(907)) }},
		{name: "QueuedEvents", rows: 2 * batch, call: func(q *db.Queries) { _, _ = q.QueuedEvents(ctx, seqs, 1, hook(7)) }},
		{name: "RemoveDeliveries", rows: 2 * batch, call: func(q *db.Queries) { _ = q.RemoveDeliveries(ctx, deliveries) }},
		{name: "KeptEvents", rows: 2 * batch, call: func(q *db.Queries) { _, _ = q.KeptEvents(ctx, seqs, 0) }},
		{name: "RemoveReplaysOf", rows: 5 * 100, call: func(q *db.Queries) { _, _ = q.RemoveReplaysOf(ctx, tenant, 100) }},
		{name: "PurgeReplays", rows: 500, call: func(q *db.Queries) { _, _ = q.PurgeReplays(ctx, &later, 100) }},
		{name: "PurgeStates", rows: 500, call: func(q *db.Queries) { _, _ = q.PurgeStates(ctx, 100) }},
		{name: "PurgeWithdrawals", rows: 500, call: func(q *db.Queries) { _, _ = q.PurgeWithdrawals(ctx, &later, 100) }},
		{name: "WithdrawnGrants", rows: 200, call: func(q *db.Queries) {
			_, _ = q.WithdrawnGrants(ctx, db.WithdrawnGrantsParams{UserID: "7", Until: later, RowLimit: 50})
		}},
		{name: "WithdrawalOfCode", rows: 2, call: func(q *db.Queries) { _, _ = q.WithdrawalOfCode(ctx, "code7") }},
		{name: "PurgeBodies", rows: 2000, call: func(q *db.Queries) { _, _ = q.PurgeBodies(ctx, 0, 1000, 100) }},
		{name: "PurgeWebhooks", rows: 100, call: func(q *db.Queries) { _, _ = q.PurgeWebhooks(ctx, &later, 10) }},
		{name: "PurgeAudit", rows: 500, call: func(q *db.Queries) { _, _ = q.PurgeAudit(ctx, time.Now().Add(-300*24*time.Hour), 100) }},
		{name: "WebhookSeals", rows: 300, call: func(q *db.Queries) { _, _ = q.WebhookSeals(ctx, [][]byte{{1, 0, 0, 0, 1}}, hook(500), 100) }},
		{name: "PurgeUpdates", rows: 400, call: func(q *db.Queries) { _, _ = q.PurgeUpdates(ctx, uuid.Max, 100) }},
		{name: "PurgeMessages", rows: 400, call: func(q *db.Queries) { _, _ = q.PurgeMessages(ctx, uuid.Max, 100) }},
		{name: "ConnectionSeals", rows: 300, call: func(q *db.Queries) { _, _ = q.ConnectionSeals(ctx, [][]byte{{1, 0, 0, 0, 1}}, account(500), 100) }},
		{name: "SealedConnection", rows: 2, call: func(q *db.Queries) { _, _ = q.SealedConnection(ctx, account(7)) }},
		{name: "GrantSeals", rows: 300, call: func(q *db.Queries) { _, _ = q.GrantSeals(ctx, [][]byte{{1, 0, 0, 0, 1}}, grantOf(500), 100) }},
		{name: "SealedGrant", rows: 2, call: func(q *db.Queries) { _, _ = q.SealedGrant(ctx, grantOf(200)) }},
		{name: "ResealGrant", rows: 4, call: func(q *db.Queries) {
			_, _ = q.ResealGrant(ctx, []byte{1}, grantOf(200), []byte("\x01\x00\x00\x00\x01"))
		}},
		{name: "LockGrant", rows: 3 * 100, call: func(q *db.Queries) { _, _ = q.LockGrant(ctx, grantOf(200), tenant) }},
		{name: "LockConnectionsOfGrant", rows: 3 * 100, call: func(q *db.Queries) { _, _ = q.LockConnectionsOfGrant(ctx, tenant, new(grantOf(200))) }},
		{name: "LockReleasedConnection", rows: 2, call: func(q *db.Queries) {
			_, _ = q.LockReleasedConnection(ctx, uuid.MustParse("0198f000-0000-7000-c000-00000000020a"))
		}},
		{name: "ForgetGrant", rows: 3 * 100, call: func(q *db.Queries) { _ = q.ForgetGrant(ctx, tenant, new(grantOf(400))) }},
		{name: "RefuseGrant", rows: 3 * 100, call: func(q *db.Queries) { _, _ = q.RefuseGrant(ctx, grantOf(400), tenant) }},
		{name: "DeleteGrant", rows: 3 * 100, call: func(q *db.Queries) { _ = q.DeleteGrant(ctx, grantOf(400), tenant) }},
		{name: "ResealConnection", rows: 2, call: func(q *db.Queries) { _, _ = q.ResealConnection(ctx, []byte{1}, account(7), []byte{}) }},
		{name: "SealedWebhook", rows: 2, call: func(q *db.Queries) { _, _ = q.SealedWebhook(ctx, hook(7)) }},
		{name: "ResealWebhook", rows: 2, call: func(q *db.Queries) {
			_, _ = q.ResealWebhook(ctx, db.ResealWebhookParams{ID: hook(7), Secret: []byte{1}, OldSecret: []byte{}})
		}},
		{name: "OutboxBatch", rows: 200, call: func(q *db.Queries) { _, _ = q.OutboxBatch(ctx, 5000, 100, 1<<20) }},
		{name: "DeleteOutbox", rows: 10, call: func(q *db.Queries) { _, _ = q.DeleteOutbox(ctx, []int64{1, 2, 3}) }},
		// Up to 100 events of a contact, in each of some days.
		{name: "EventsOfContact", rows: 200, call: func(q *db.Queries) {
			_, _ = q.EventsOfContact(ctx, db.EventsOfContactParams{
				Contact: "c17", TenantID: tenant, LastSeq: rows, LastTime: time.Now(), RowLimit: 100,
			})
		}},
		{name: "MarkErased", rows: 4, call: func(q *db.Queries) {
			_, _ = q.MarkErased(ctx, db.MarkErasedParams{
				TenantID: tenant, Contact: "c17", Becomes: "erasure:1", Day: today, ID: "e17",
			})
		}},
		{name: "ErasedEvents", rows: 2 * batch, call: func(q *db.Queries) {
			_, _ = q.ErasedEvents(ctx, db.ErasedEventsParams{
				TenantID: tenant, Contact: "c17", Days: days, Ids: keys, FirstDay: today, LastDay: today,
			})
		}},
		{name: "KeptBodies", rows: 2 * batch, call: func(q *db.Queries) { _, _ = q.KeptBodies(ctx, days, keys, tenant) }},
		{name: "RemoveQueueRowsOfEvents", rows: 6 * batch, call: func(q *db.Queries) {
			_, _ = q.RemoveQueueRowsOfEvents(ctx, db.RemoveQueueRowsOfEventsParams{
				TenantID: tenant, Epochs: ones, Seqs: seqs, Ids: keys, RowLimit: 1000,
			})
		}},
		{name: "SamePerson", rows: 10, call: func(q *db.Queries) { _, _ = q.SamePerson(ctx, person(99), tenant) }},
		{name: "LockContactsOf", rows: 4, call: func(q *db.Queries) { _, _ = q.LockContactsOf(ctx, []uuid.UUID{person(98), person(99)}) }},
		{name: "RememberPerson", rows: 10, call: func(q *db.Queries) {
			_ = q.RememberPerson(ctx, []string{"c"}, []uuid.UUID{person(98), person(99)}, delivery(7))
		}},
		{name: "LockConversationsOfContacts", rows: 10, call: func(q *db.Queries) {
			_, _ = q.LockConversationsOfContacts(ctx, []uuid.UUID{person(98), person(99)}, 100)
		}},
		// Each has ten.
		{name: "RemoveMessagesOfConversations", rows: 4 * 20, call: func(q *db.Queries) {
			_, _ = q.RemoveMessagesOfConversations(ctx, []uuid.UUID{person(98), person(99)}, 100)
		}},
		{name: "RemoveConversations", rows: 4, call: func(q *db.Queries) { _, _ = q.RemoveConversations(ctx, []uuid.UUID{person(98), person(99)}) }},
		{name: "RemoveIdentitiesOfContacts", rows: 8, call: func(q *db.Queries) {
			_, _ = q.RemoveIdentitiesOfContacts(ctx, []uuid.UUID{person(98), person(99)})
		}},
		{name: "RemoveContacts", rows: 4, call: func(q *db.Queries) { _, _ = q.RemoveContacts(ctx, []uuid.UUID{person(98), person(99)}) }},
		{name: "SearchUpdates", rows: 200, call: func(q *db.Queries) {
			_, _ = q.SearchUpdates(ctx, db.SearchUpdatesParams{TenantID: tenant, Until: time.Now(), Words: "5511", After: delivery(25_000), RowLimit: 100})
		}},
		{name: "RemoveUpdates", rows: 4, call: func(q *db.Queries) { _, _ = q.RemoveUpdates(ctx, []uuid.UUID{delivery(10), delivery(20)}) }},
		{name: "CountAnswers", rows: 2 * batch, call: func(q *db.Queries) { _, _ = q.CountAnswers(ctx, keys, tenant, 1000) }},
		{name: "EraseAnswers", rows: 2 * batch, call: func(q *db.Queries) { _, _ = q.EraseAnswers(ctx, keys, tenant) }},
		{name: "RemoveKeptBodies", rows: 4 * batch, call: func(q *db.Queries) { _, _ = q.RemoveKeptBodies(ctx, zeros, seqs) }},
		{name: "OutboxOfTenant", rows: 200, call: func(q *db.Queries) {
			_, _ = q.OutboxOfTenant(ctx, db.OutboxOfTenantParams{TenantID: tenant, Until: time.Now(), After: 5000, RowLimit: 100})
		}},
		{name: "WebhooksOfTenant", rows: 120, call: func(q *db.Queries) { _, _ = q.WebhooksOfTenant(ctx, tenant, 500, 50) }},
		{name: "RemoveLogsOf", rows: 4 * each, call: func(q *db.Queries) { _, _ = q.RemoveLogsOf(ctx, hook(7), 50) }},
		{name: "RemoveStatsOf", rows: 200, call: func(q *db.Queries) { _, _ = q.RemoveStatsOf(ctx, lanes[100:150], 100) }},
		{name: "RemoveDurationsOf", rows: 200, call: func(q *db.Queries) { _, _ = q.RemoveDurationsOf(ctx, lanes[100:150], 100) }},
		{name: "RemoveLanesOf", rows: 200, call: func(q *db.Queries) { _, _ = q.RemoveLanesOf(ctx, lanes[100:150]) }},
		{name: "RemoveHealthOf", rows: 200, call: func(q *db.Queries) { _, _ = q.RemoveHealthOf(ctx, lanes[100:150]) }},
		{name: "RemoveEventsOf", rows: 300, call: func(q *db.Queries) { _, _ = q.RemoveEventsOf(ctx, today, tenant, 100) }},
		{name: "RemoveBodiesOf", rows: 400, call: func(q *db.Queries) { _, _ = q.RemoveBodiesOf(ctx, tenant, 100) }},
		{name: "RemoveKeysOf", rows: 300, call: func(q *db.Queries) { _, _ = q.RemoveKeysOf(ctx, tenant, 100) }},
		{name: "RemoveAuditOf", rows: 300, call: func(q *db.Queries) { _, _ = q.RemoveAuditOf(ctx, tenant, 100) }},
		{name: "RemoveConnectionsOf", rows: 400, call: func(q *db.Queries) { _, _ = q.RemoveConnectionsOf(ctx, tenant, 100) }},
		{name: "RemoveRateLimitsOf", rows: 400, call: func(q *db.Queries) { _, _ = q.RemoveRateLimitsOf(ctx, tenant, 100) }},
		{name: "RemoveMessagesOf", rows: 400, call: func(q *db.Queries) { _, _ = q.RemoveMessagesOf(ctx, tenant, 100) }},
		{name: "RemoveConversationsOf", rows: 400, call: func(q *db.Queries) { _, _ = q.RemoveConversationsOf(ctx, tenant, 100) }},
		{name: "RemoveIdentitiesOf", rows: 400, call: func(q *db.Queries) { _, _ = q.RemoveIdentitiesOf(ctx, tenant, 100) }},
		{name: "RemoveContactsOf", rows: 400, call: func(q *db.Queries) { _, _ = q.RemoveContactsOf(ctx, tenant, 100) }},
		{name: "RemoveUpdatesOf", rows: 400, call: func(q *db.Queries) { _, _ = q.RemoveUpdatesOf(ctx, tenant, 100) }},
		{name: "RemoveErasuresOf", rows: 300, call: func(q *db.Queries) { _, _ = q.RemoveErasuresOf(ctx, tenant, 100) }},
		{name: "RemoveWebhooksOf", rows: 500, call: func(q *db.Queries) { _, _ = q.RemoveWebhooksOf(ctx, tenant, 100) }},
		{name: "PurgeIdempotencyKeys", rows: 500, call: func(q *db.Queries) { _, _ = q.PurgeIdempotencyKeys(ctx, time.Now().Add(-time.Hour), 100) }},
	}
}

// ids20 are the webhooks with a history of statistics.
func ids20() (ids []uuid.UUID) {
	for n := range 20 {
		ids = append(ids, hook(n+1))
	}
	return ids
}

// apiQueries are the API's lists and look-ups, made for one tenant.
func apiQueries() []query {
	ctx := context.Background()
	from, to := time.Now().Add(-30*24*time.Hour), time.Now().Add(24*time.Hour)
	midnight := time.Now().UTC().Truncate(24 * time.Hour)
	before, cursor := midnight.Add(150_000*time.Microsecond), delivery(0)
	middle, hookInMiddle := delivery(rows/2), hook(hooks/2)
	failed, waiting, other := false, int16(0), "message.sent"
	thousandth := delivery(1000)
	contact, connection := uuid.MustParse("0198f000-0000-7000-d000-000000010001"), uuid.MustParse("0198f000-0000-7000-c000-000000000000")
	lead, conversationStates := "lead", []string{"open", "pending", "closed"}
	begins, ends := []time.Time{from, midnight.AddDate(0, 0, -1)}, []time.Time{midnight.AddDate(0, 0, -29), to}
	channel, status, credentials := "whatsapp", "paused", []byte("\x01\x00\x00\x00\x01")
	connectionInMiddle, rateLimitKinds := connectionOf(10_000), []string{"per_minute", "per_hour", "per_day"}
	return []query{
		// A tenant has a hundred by default: all it has is sorted.
		{name: "ListGrants", rows: 3 * 100, call: func(q *db.Queries) { _, _ = q.ListGrants(ctx, tenant, 100) }},
		{name: "CountGrants", rows: 3 * 100, call: func(q *db.Queries) { _, _ = q.CountGrants(ctx, tenant, 100) }},
		{name: "LockGrantOfUser", rows: 2, call: func(q *db.Queries) { _, _ = q.LockGrantOfUser(ctx, tenant, "200") }},
		{name: "HoldGrant", rows: 3 * 100, call: func(q *db.Queries) { _, _ = q.HoldGrant(ctx, grantOf(200), tenant) }},
		{name: "UseState", rows: 2, call: func(q *db.Queries) { _, _ = q.UseState(ctx, tenant, "fresh", from) }},
		{name: "ListGrantable", rows: 3 * 100, call: func(q *db.Queries) { _, _ = q.ListGrantable(ctx, tenant, nil, 20) }},
		{name: "LockConnections", rows: 3 * 100, call: func(q *db.Queries) {
			_, _ = q.LockConnections(ctx, []uuid.UUID{connectionOf(200), connectionOf(400), connectionOf(600)}, tenant)
		}},
		{name: "LockConnectionsOfPage", rows: 3 * 100, call: func(q *db.Queries) { _, _ = q.LockConnectionsOfPage(ctx, tenant, "200") }},
		{name: "SubscribeConnections", rows: 3 * 100, call: func(q *db.Queries) {
			_ = q.SubscribeConnections(ctx, []string{"messages"}, []uuid.UUID{connectionOf(200), connectionOf(400)}, tenant)
		}},
		{name: "ListConnections", rows: 3 * 100, call: func(q *db.Queries) {
			_, _ = q.ListConnections(ctx, db.ListConnectionsParams{TenantID: tenant, RowLimit: 20})
		}},
		{name: "ListConnections, deep by cursor", rows: 3 * 100, call: func(q *db.Queries) {
			_, _ = q.ListConnections(ctx, db.ListConnectionsParams{TenantID: tenant, Channel: &channel, Before: &connectionInMiddle, RowLimit: 20})
		}},
		{name: "ListConnections, filtered", rows: 3 * 100, call: func(q *db.Queries) {
			_, _ = q.ListConnections(ctx, db.ListConnectionsParams{TenantID: tenant, Status: &status, RowLimit: 20})
		}},
		{name: "CountConnections", rows: 3 * 100, call: func(q *db.Queries) {
			_, _ = q.CountConnections(ctx, db.CountConnectionsParams{TenantID: tenant, Cap: 10_000})
		}},
		{name: "GetConnection", rows: 2, call: func(q *db.Queries) { _, _ = q.GetConnection(ctx, connectionOf(200), tenant) }},
		{name: "LockConnection", rows: 2, call: func(q *db.Queries) { _, _ = q.LockConnection(ctx, connectionOf(200), tenant) }},
		{name: "UpdateConnection", rows: 4, call: func(q *db.Queries) {
			_, _ = q.UpdateConnection(ctx, db.UpdateConnectionParams{ID: connectionOf(200), TenantID: tenant, Status: status, Credentials: credentials})
		}},
		{name: "ReadRateLimits", rows: 20, call: func(q *db.Queries) {
			_, _ = q.ReadRateLimits(ctx, db.ReadRateLimitsParams{
				TenantID: tenant, ConnectionID: connectionOf(200), Kinds: rateLimitKinds, Limits: []int64{60, 1000, 10_000}, Seconds: []float64{60, 3600, 86_400},
			})
		}},
		{name: "SetRateLimits", rows: 30, call: func(q *db.Queries) {
			_ = q.SetRateLimits(ctx, db.SetRateLimitsParams{
				ConnectionID: connectionOf(200), Kinds: rateLimitKinds, Limits: []int64{60, 1000, 10_000}, Overridden: []bool{true, false, true},
			})
		}},
		{name: "ResetRateLimits", rows: 10, call: func(q *db.Queries) { _ = q.ResetRateLimits(ctx, connectionOf(200), rateLimitKinds) }},
		{name: "RefundRateLimits", rows: 30, call: func(q *db.Queries) {
			_ = q.RefundRateLimits(ctx, db.RefundRateLimitsParams{ConnectionID: connectionOf(200), N: 1, Kinds: rateLimitKinds, Starts: []time.Time{from, from, from}})
		}},
		{name: "ForgetRateLimits", rows: 10, call: func(q *db.Queries) { _ = q.ForgetRateLimits(ctx, connectionOf(200)) }},
		{name: "DeleteConnection", rows: 4, call: func(q *db.Queries) { _, _ = q.DeleteConnection(ctx, connectionOf(200), tenant) }},
		{name: "ListLogs", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListLogs(ctx, db.ListLogsParams{WebhookID: hook(7), FromTime: from, ToTime: to, RowLimit: 20})
		}},
		{name: "ListLogs, deep by cursor", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListLogs(ctx, db.ListLogsParams{
				WebhookID: hook(7), FromTime: from, ToTime: to, BeforeTime: &before, BeforeID: &cursor, RowLimit: 20,
			})
		}},
		{name: "ListLogs, filtered", rows: 3 * each, call: func(q *db.Queries) {
			_, _ = q.ListLogs(ctx, db.ListLogsParams{WebhookID: hook(7), FromTime: from, ToTime: to, Event: &other, RowLimit: 20})
		}},
		{name: "ListFailedLogs", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListFailedLogs(ctx, db.ListFailedLogsParams{WebhookID: hook(7), FromTime: from, ToTime: to, Success: &failed, RowLimit: 20})
		}},
		{name: "ListFailedLogs, deep by cursor", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListFailedLogs(ctx, db.ListFailedLogsParams{
				WebhookID: hook(10), FromTime: from, ToTime: to, BeforeTime: &before, BeforeID: &cursor, RowLimit: 20,
			})
		}},
		// A seventh of this webhook's attempts failed.
		{name: "CountFailedLogs", rows: 3 * each / 7, call: func(q *db.Queries) {
			_, _ = q.CountFailedLogs(ctx, db.CountFailedLogsParams{WebhookID: hook(7), FromTime: from, ToTime: to, Cap: 10_000})
		}},
		{name: "ListLogsOfEvent", rows: 10, call: func(q *db.Queries) {
			_, _ = q.ListLogsOfEvent(ctx, db.ListLogsOfEventParams{
				EventID: "e7", TenantID: tenant, WebhookID: hook(7), FromTime: from, ToTime: to, RowLimit: 20,
			})
		}},
		{name: "CountLogsOfEvent", rows: 10, call: func(q *db.Queries) {
			_, _ = q.CountLogsOfEvent(ctx, db.CountLogsOfEventParams{EventID: "e7", TenantID: tenant, WebhookID: hook(7), FromTime: from, ToTime: to, Cap: 10_000})
		}},
		{name: "CountLogs", rows: 3 * each, call: func(q *db.Queries) {
			_, _ = q.CountLogs(ctx, db.CountLogsParams{WebhookID: hook(7), FromTime: from, ToTime: to, Cap: 10_000})
		}},
		{name: "ListQueue", rows: 60, call: func(q *db.Queries) { _, _ = q.ListQueue(ctx, db.ListQueueParams{WebhookID: hook(7), RowLimit: 20}) }},
		{name: "ListQueue, deep by cursor", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListQueue(ctx, db.ListQueueParams{WebhookID: hook(7), State: &waiting, Before: &middle, RowLimit: 20})
		}},
		{name: "CountQueue", rows: 3 * each, call: func(q *db.Queries) { _, _ = q.CountQueue(ctx, hook(7), &waiting, 10_000) }},
		{name: "LockQueueRow", rows: 2, call: func(q *db.Queries) { _, _ = q.LockQueueRow(ctx, hook(7), delivery(7)) }},
		{name: "RetryQueueRowNow", rows: 2, call: func(q *db.Queries) { _ = q.RetryQueueRowNow(ctx, delivery(7)) }},
		{name: "GetReplay", rows: 2, call: func(q *db.Queries) { _, _ = q.GetReplay(ctx, delivery(7)) }},
		{name: "CancelReplay", rows: 4, call: func(q *db.Queries) { _, _ = q.CancelReplay(ctx, delivery(7)) }},
		{name: "LastDelivery", rows: 2, call: func(q *db.Queries) { _, _ = q.LastDelivery(ctx, hook(7)) }},
		{name: "RetryDeliveries", rows: 5 * 100, call: func(q *db.Queries) {
			_, _ = q.RetryDeliveries(ctx, db.RetryDeliveriesParams{WebhookID: hook(7), Until: delivery(rows), RowLimit: 100})
		}},
		{name: "CancelDeliveries", rows: 5 * 100, call: func(q *db.Queries) {
			_, _ = q.CancelDeliveries(ctx, db.CancelDeliveriesParams{WebhookID: hook(7), State: &waiting, Until: delivery(rows), RowLimit: 100})
		}},
		{name: "CancelQueueRow", rows: 2, call: func(q *db.Queries) { _ = q.CancelQueueRow(ctx, delivery(7)) }},
		{name: "ListWebhooks", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListWebhooks(ctx, db.ListWebhooksParams{TenantID: tenant, RowLimit: 20})
		}},
		{name: "ListWebhooks, deep by cursor", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListWebhooks(ctx, db.ListWebhooksParams{TenantID: tenant, Before: &hookInMiddle, RowLimit: 20})
		}},
		{name: "CountWebhooks", rows: 2 * hooks, call: func(q *db.Queries) {
			_, _ = q.CountWebhooks(ctx, db.CountWebhooksParams{TenantID: tenant, Cap: 10_000})
		}},
		{name: "ListAudit", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListAudit(ctx, db.ListAuditParams{TenantID: tenant, FromTime: from, ToTime: to, RowLimit: 20})
		}},
		{name: "ListAudit, deep by cursor", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListAudit(ctx, db.ListAuditParams{
				TenantID: tenant, FromTime: from, ToTime: to, BeforeTime: &before, BeforeID: &middle, RowLimit: 20,
			})
		}},
		{name: "CountAudit", rows: 30_000, call: func(q *db.Queries) {
			_, _ = q.CountAudit(ctx, db.CountAuditParams{TenantID: tenant, FromTime: from, ToTime: to, Cap: 10_000})
		}},
		{name: "ListAuditOf", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListAuditOf(ctx, db.ListAuditOfParams{TenantID: tenant, SubjectID: hook(7).String(), FromTime: from, ToTime: to, RowLimit: 20})
		}},
		{name: "ListAuditOf, deep by cursor", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListAuditOf(ctx, db.ListAuditOfParams{
				TenantID: tenant, SubjectID: hook(7).String(), FromTime: from, ToTime: to, BeforeTime: &before, BeforeID: &middle, RowLimit: 20,
			})
		}},
		{name: "CountAuditOf", rows: 3 * each, call: func(q *db.Queries) {
			_, _ = q.CountAuditOf(ctx, db.CountAuditOfParams{TenantID: tenant, SubjectID: hook(7).String(), FromTime: from, ToTime: to, Cap: 10_000})
		}},
		{name: "EnableWebhook", rows: 4, call: func(q *db.Queries) { _, _ = q.EnableWebhook(ctx, hook(7)) }},
		{name: "ListEvents", rows: 150, call: func(q *db.Queries) {
			_, _ = q.ListEvents(ctx, db.ListEventsParams{
				TenantID: tenant, Types: event.Names(), FromTime: from, ToTime: to, FirstDay: from, LastDay: to, TypeLimit: 20, RowLimit: 20,
			})
		}},
		{name: "ListEvents, deep by cursor", rows: 150, call: func(q *db.Queries) {
			_, _ = q.ListEvents(ctx, db.ListEventsParams{
				TenantID: tenant, Types: event.Names(), FromTime: from, ToTime: to, FirstDay: from, LastDay: to, TypeLimit: 20, RowLimit: 20,
				BeforeTime: &before, BeforeID: new("e150000"),
			})
		}},
		{name: "CountEvents", rows: 25_000, call: func(q *db.Queries) {
			_, _ = q.CountEvents(ctx, db.CountEventsParams{
				TenantID: tenant, Types: event.Names(), FromTime: from, ToTime: to, FirstDay: from, LastDay: to, Cap: 10_000,
			})
		}},
		{name: "FindEvent", rows: 5, call: func(q *db.Queries) {
			days := make([]time.Time, 40)
			for i := range days {
				days[i] = midnight.AddDate(0, 0, 1-i)
			}
			_, _ = q.FindEvent(ctx, days, tenant, "e7")
		}},
		{name: "DeliveriesOfEvent", rows: 6, call: func(q *db.Queries) {
			_, _ = q.DeliveriesOfEvent(ctx, db.DeliveriesOfEventParams{EventID: "e7", TenantID: tenant, Since: from, RowCap: 20_000, RowLimit: 1000})
		}},
		{name: "QueuedOfEvent", rows: 2, call: func(q *db.Queries) {
			_, _ = q.QueuedOfEvent(ctx, db.QueuedOfEventParams{Epoch: 1, StreamSeq: 7, TenantID: tenant, EventID: "e7", RowLimit: 1000})
		}},
		{name: "DailyStats", rows: 30, call: func(q *db.Queries) { _, _ = q.DailyStats(ctx, hook(7), from, to) }},
		{name: "HourlyStats", rows: 3 * 24 * 2, call: func(q *db.Queries) { _, _ = q.HourlyStats(ctx, begins, ends, hook(7)) }},
		{name: "HourlyDurations", rows: 3 * 24 * 2, call: func(q *db.Queries) { _, _ = q.HourlyDurations(ctx, begins, ends, hook(7)) }},
		{name: "ListContacts", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListContacts(ctx, db.ListContactsParams{TenantID: tenant, RowLimit: 20})
		}},
		{name: "ListContacts, deep by cursor", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListContacts(ctx, db.ListContactsParams{TenantID: tenant, Before: &contact, RowLimit: 20})
		}},
		{name: "CountContacts", rows: 25_000, call: func(q *db.Queries) { _, _ = q.CountContacts(ctx, tenant, 10_000) }},
		{name: "ListContactsByPhone", rows: 6, call: func(q *db.Queries) {
			_, _ = q.ListContactsByPhone(ctx, db.ListContactsByPhoneParams{Phone: "+5500000000007", TenantID: tenant, Tag: &lead, RowLimit: 20})
		}},
		{name: "CountContactsByPhone", rows: 6, call: func(q *db.Queries) {
			_, _ = q.CountContactsByPhone(ctx, db.CountContactsByPhoneParams{Phone: "+5500000000007", TenantID: tenant, Cap: 10_000})
		}},
		{name: "ListContactsByTag", rows: 100, call: func(q *db.Queries) {
			_, _ = q.ListContactsByTag(ctx, db.ListContactsByTagParams{TenantID: tenant, Tag: lead, RowLimit: 20})
		}},
		{name: "ListContactsByTag, deep by cursor", rows: 100, call: func(q *db.Queries) {
			_, _ = q.ListContactsByTag(ctx, db.ListContactsByTagParams{TenantID: tenant, Tag: lead, Before: &contact, RowLimit: 20})
		}},
		{name: "ListContactsByTag, of a tag that nobody has", rows: 2, call: func(q *db.Queries) {
			_, _ = q.ListContactsByTag(ctx, db.ListContactsByTagParams{TenantID: tenant, Tag: "none", RowLimit: 20})
		}},
		{name: "CountContactsByTag", rows: 25_000, call: func(q *db.Queries) { _, _ = q.CountContactsByTag(ctx, tenant, lead, 10_000) }},
		{name: "LockContact", rows: 2, call: func(q *db.Queries) { _, _ = q.LockContact(ctx, contact) }},
		{name: "UpdateContact", rows: 4, call: func(q *db.Queries) {
			_, _ = q.UpdateContact(ctx, db.UpdateContactParams{ID: contact, Name: "n", Tags: []string{lead}, CustomFields: []byte("{}")})
		}},
		{name: "AnyIdentity", rows: 4, call: func(q *db.Queries) { _, _ = q.AnyIdentity(ctx, contact) }},
		{name: "ListConversations", rows: 200, call: func(q *db.Queries) {
			_, _ = q.ListConversations(ctx, db.ListConversationsParams{TenantID: tenant, Statuses: conversationStates, StatusLimit: 20, RowLimit: 20})
		}},
		{name: "ListConversations, deep by cursor", rows: 200, call: func(q *db.Queries) {
			_, _ = q.ListConversations(ctx, db.ListConversationsParams{
				TenantID: tenant, Statuses: conversationStates, Before: &contact, StatusLimit: 20, RowLimit: 20,
			})
		}},
		{name: "ListConversations, in a state that none is in", rows: 4, call: func(q *db.Queries) {
			_, _ = q.ListConversations(ctx, db.ListConversationsParams{TenantID: tenant, Statuses: conversationStates[1:2], StatusLimit: 20, RowLimit: 20})
		}},
		{name: "CountConversations", rows: 25_000, call: func(q *db.Queries) { _, _ = q.CountConversations(ctx, tenant, conversationStates, 10_000) }},
		{name: "ListConversationsOfConnection", rows: 200, call: func(q *db.Queries) {
			_, _ = q.ListConversationsOfConnection(ctx, db.ListConversationsOfConnectionParams{
				ConnectionID: connection, Statuses: conversationStates, Before: &contact, StatusLimit: 20, RowLimit: 20,
			})
		}},
		{name: "CountConversationsOfConnection", rows: 60_000, call: func(q *db.Queries) {
			_, _ = q.CountConversationsOfConnection(ctx, connection, conversationStates, 10_000)
		}},
		{name: "ListConversationsOfContact", rows: 10, call: func(q *db.Queries) {
			_, _ = q.ListConversationsOfContact(ctx, db.ListConversationsOfContactParams{
				ContactID: contact, ConnectionID: &connection, Statuses: conversationStates, RowLimit: 20,
			})
		}},
		{name: "CountConversationsOfContact", rows: 10, call: func(q *db.Queries) {
			_, _ = q.CountConversationsOfContact(ctx, db.CountConversationsOfContactParams{ContactID: contact, Statuses: conversationStates, Cap: 10_000})
		}},
		{name: "LockConversation", rows: 2, call: func(q *db.Queries) { _, _ = q.LockConversation(ctx, contact) }},
		{name: "OtherOpenConversation", rows: 6, call: func(q *db.Queries) { _, _ = q.OtherOpenConversation(ctx, contact, connection, contact) }},
		{name: "UpdateConversation", rows: 4, call: func(q *db.Queries) {
			_, _ = q.UpdateConversation(ctx, db.UpdateConversationParams{ID: contact, Status: "pending"})
		}},
		{name: "ListMessages", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListMessages(ctx, db.ListMessagesParams{ConversationID: contact, RowLimit: 20})
		}},
		{name: "ListMessages, deep by cursor", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListMessages(ctx, db.ListMessagesParams{ConversationID: contact, Before: &middle, RowLimit: 20})
		}},
		{name: "CountMessages", rows: 60, call: func(q *db.Queries) { _, _ = q.CountMessages(ctx, contact, 10_000) }},
		{name: "ListAPIKeys", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListAPIKeys(ctx, db.ListAPIKeysParams{TenantID: tenant, RowLimit: 20})
		}},
		{name: "ListAPIKeys, deep by cursor", rows: 60, call: func(q *db.Queries) {
			_, _ = q.ListAPIKeys(ctx, db.ListAPIKeysParams{TenantID: tenant, Before: &thousandth, RowLimit: 20})
		}},
		{name: "CountAPIKeys", rows: 2 * 200, call: func(q *db.Queries) { _, _ = q.CountAPIKeys(ctx, tenant, 10_000) }},
		{name: "RevokeAPIKey", rows: 2, call: func(q *db.Queries) { _, _ = q.RevokeAPIKey(ctx, thousandth, tenant) }},
		{name: "GetWebhook", rows: 2, call: func(q *db.Queries) { _, _ = q.GetWebhook(ctx, hook(7)) }},
	}
}

// recorder takes a query's text and arguments instead of asking.
type recorder struct {
	sql  string
	args []any
}

var errRecorded = errors.New("recorded")

func (r *recorder) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	r.sql, r.args = sql, args
	return pgconn.CommandTag{}, errRecorded
}

func (r *recorder) Query(_ context.Context, sql string, args ...any) (pgx.Rows, error) {
	r.sql, r.args = sql, args
	return nil, errRecorded
}

func (r *recorder) QueryRow(_ context.Context, sql string, args ...any) pgx.Row {
	r.sql, r.args = sql, args
	return r
}

func (r *recorder) Scan(...any) error { return errRecorded }

// session is a connection with every query prepared, and planned without regard
// to its arguments.
type session struct {
	conn    *pgx.Conn
	queries []query
	args    [][]any
}

func prepare(t *testing.T, url string, queries []query) *session {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	pgxuuid.Register(conn.TypeMap())
	s := &session{conn: conn, queries: queries}
	s.exec(t, "SET plan_cache_mode = force_generic_plan")
	s.exec(t, "SET timezone = 'UTC'")
	s.exec(t, "SELECT set_config('app.tenant_id', $1, false)", tenant.String())
	for i, q := range queries {
		var r recorder
		q.call(db.New(&r))
		s.exec(t, fmt.Sprintf("PREPARE q%d AS %s", i, r.sql))
		s.args = append(s.args, s.literals(t, i, r.args))
		s.plan(t, i, "EXPLAIN (FORMAT JSON)") // the plan is kept from here on
	}
	return s
}

// literals are arguments as text: EXECUTE takes no others.
func (s *session) literals(t *testing.T, i int, args []any) (literals []any) {
	t.Helper()
	var types []uint32
	err := s.conn.QueryRow(t.Context(), "SELECT parameter_types::oid[] FROM pg_prepared_statements WHERE name = $1", fmt.Sprintf("q%d", i)).Scan(&types)
	if err != nil || len(types) != len(args) {
		t.Fatalf("%s: %d parameters for %d arguments, %v", s.queries[i].name, len(types), len(args), err)
	}
	for k, arg := range args {
		text, err := s.conn.TypeMap().Encode(types[k], pgtype.TextFormatCode, arg, []byte{})
		if err != nil {
			t.Fatalf("%s: argument %d: %v", s.queries[i].name, k+1, err)
		}
		if text == nil {
			literals = append(literals, nil)
		} else {
			literals = append(literals, string(text))
		}
	}
	return literals
}

func (s *session) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := s.conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// node is one of a plan.
type node struct {
	Type     string  `json:"Node Type"`
	Relation string  `json:"Relation Name"`
	Index    string  `json:"Index Name"`
	Loops    float64 `json:"Actual Loops"`
	Rows     float64 `json:"Actual Rows"` // a loop's, as are the next two
	Filtered float64 `json:"Rows Removed by Filter"`
	Recheck  float64 `json:"Rows Removed by Index Recheck"`
	Hit      int     `json:"Shared Hit Blocks"`
	Read     int     `json:"Shared Read Blocks"`
	Plans    []node  `json:"Plans"`
}

// read sums up the rows that a plan's scans of tables read, and names scans that
// no index backs.
func (n *node) read() (rows float64, unbacked []string) {
	if strings.HasSuffix(n.Type, "Scan") && (n.Relation != "" || n.Index != "") {
		rows = n.Loops * (n.Rows + n.Filtered + n.Recheck)
	}
	if n.Type == "Seq Scan" && rows > 0 {
		unbacked = append(unbacked, n.Relation)
	}
	for i := range n.Plans {
		r, u := n.Plans[i].read()
		rows, unbacked = rows+r, append(unbacked, u...)
	}
	return rows, unbacked
}

func (s *session) plan(t *testing.T, i int, explain string) (plan node, text string) {
	t.Helper()
	var places []string
	for k := range s.args[i] {
		places = append(places, fmt.Sprintf("$%d", k+1))
	}
	statement := fmt.Sprintf("%s EXECUTE q%d", explain, i)
	if len(places) > 0 {
		statement += "(" + strings.Join(places, ", ") + ")"
	}
	args := append([]any{pgx.QueryExecModeSimpleProtocol}, s.args[i]...)
	if err := s.conn.QueryRow(t.Context(), statement, args...).Scan(&text); err != nil {
		t.Fatalf("%s: %v", s.queries[i].name, err)
	}
	var plans []struct{ Plan node }
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		t.Fatalf("%s: %v", s.queries[i].name, err)
	}
	return plans[0].Plan, text
}

// check runs every query, undoes it, and looks at what was read.
func (s *session) check(t *testing.T) {
	t.Helper()
	for i, q := range s.queries {
		s.exec(t, "BEGIN")
		plan, text := s.plan(t, i, "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)")
		s.exec(t, "ROLLBACK")
		read, unbacked := plan.read()
		blocks := plan.Hit + plan.Read
		if int(read) > q.rows || blocks > 200+20*q.rows || len(unbacked) > 0 {
			t.Errorf("%s reads %.0f rows and %d blocks, of at most %d and %d; read without an index: %q\n%s",
				q.name, read, blocks, q.rows, 200+20*q.rows, unbacked, text)
		}
	}
}

func TestQueries_AreBackedByIndexes(t *testing.T) {
	t.Parallel()
	d := testenv.DB(t)
	super, err := pgx.Connect(t.Context(), d.URL(testenv.Superuser))
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(context.WithoutCancel(t.Context()))
	// Nothing comes and analyses what is filled.
	if _, err := super.Exec(t.Context(), `DO $$ DECLARE t regclass; BEGIN
		FOR t IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace LOOP
			EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = false)', t);
		END LOOP; END $$`); err != nil {
		t.Fatal(err)
	}
	sessions := func() map[string]*session {
		return map[string]*session{
			"worker": prepare(t, d.URL(testenv.Worker), workerQueries()),
			"api":    prepare(t, d.URL(testenv.API), append(apiQueries(), inboundQueries()...)),
		}
	}
	empty := sessions()
	if _, err := super.Exec(t.Context(), fill+fillChannels); err != nil {
		t.Fatal(err)
	}
	for role, s := range empty {
		t.Run("of the "+role+", planned while tables were empty", func(t *testing.T) { s.check(t) })
	}
	for role, s := range sessions() {
		t.Run("of the "+role+", planned when they are full", func(t *testing.T) { s.check(t) })
	}
	if _, err := super.Exec(t.Context(), "ANALYZE"); err != nil {
		t.Fatal(err)
	}
	for role, s := range sessions() {
		t.Run("of the "+role+", planned with all that is known", func(t *testing.T) {
			s.exec(t, "SET plan_cache_mode = auto")
			s.check(t)
		})
	}
}
