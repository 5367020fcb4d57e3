-- name: DeleteTenant :one
-- False: it was deleted before.
SELECT d.done::boolean AS done FROM delete_tenant(@tenant_id) AS d(done);

-- name: TenantDeleted :one
SELECT t.gone::boolean AS gone FROM tenant_deleted(@tenant_id) AS t(gone);

-- name: InsertTenantDeletion :one
INSERT INTO tenant_deletions (id, tenant_id, target_id) VALUES (@id, @tenant_id, @target_id) RETURNING *;

-- name: GetTenantDeletion :one
SELECT * FROM tenant_deletions WHERE id = @id;

-- name: FindTenantDeletion :one
SELECT * FROM tenant_deletions WHERE target_id = @target_id;

-- name: StartTenantDeletion :one
UPDATE tenant_deletions SET started_at = coalesce(started_at, now()) WHERE id = @id RETURNING *;

-- name: AdvanceTenantDeletion :one
-- In the transaction of what it counts.
UPDATE tenant_deletions d SET step = @step, place = @place, rows = d.rows + @removed::bigint,
  found = d.found + @found::bigint
WHERE d.id = @id
RETURNING *;

-- name: NextDeletionPass :one
-- Whether the pass that ends was the last: begun so many seconds after the
-- request, it found nothing. If it was not, another begins.
UPDATE tenant_deletions d SET
  step = CASE WHEN d.found = 0 AND d.pass_at >= d.created_at + make_interval(secs => @settle_seconds::float8)
    THEN @last_step::text ELSE @first_step::text END,
  found = 0, place = 0, pass_at = now()
WHERE d.id = @id
RETURNING *;

-- name: DeletionAge :one
-- Seconds since the request.
SELECT extract(epoch FROM now() - created_at)::float8 AS seconds FROM tenant_deletions WHERE id = @id;

-- name: FinishTenantDeletion :exec
UPDATE tenant_deletions SET finished_at = now() WHERE id = @id;

-- name: ShutWebhooks :one
SELECT d.shut::bigint AS shut FROM shut_webhooks(@tenant_id, @row_limit) AS d(shut);

-- name: WebhooksOfTenant :many
SELECT id, generation FROM webhooks WHERE tenant_id = @tenant_id AND generation > @after AND generation > 0
ORDER BY generation LIMIT @row_limit;

-- name: RemoveLogsOf :execrows
DELETE FROM webhook_logs l WHERE l.webhook_id = @webhook_id AND l.created_at <= (
  SELECT max(o.created_at) FROM (SELECT created_at FROM webhook_logs
    WHERE webhook_id = @webhook_id ORDER BY created_at LIMIT @row_limit) AS o);

-- name: RemoveStatsOf :execrows
-- By their places in the table: of a row that is changed meanwhile it is wrong, and
-- the row is found again.
DELETE FROM webhook_stats_hourly s WHERE s.ctid = ANY(ARRAY(
  SELECT of_one.place
  FROM (SELECT unnest(@webhook_ids::uuid[]) AS id) AS w
  CROSS JOIN LATERAL (SELECT o.ctid AS place FROM webhook_stats_hourly o WHERE o.webhook_id = w.id LIMIT @row_limit) AS of_one
  LIMIT @row_limit));

-- name: RemoveDurationsOf :execrows
DELETE FROM webhook_durations_hourly s WHERE s.ctid = ANY(ARRAY(
  SELECT of_one.place
  FROM (SELECT unnest(@webhook_ids::uuid[]) AS id) AS w
  CROSS JOIN LATERAL (SELECT o.ctid AS place FROM webhook_durations_hourly o WHERE o.webhook_id = w.id LIMIT @row_limit) AS of_one
  LIMIT @row_limit));

-- name: RemoveDailyStatsOf :execrows
DELETE FROM webhook_stats_daily WHERE webhook_id = ANY(@webhook_ids::uuid[]);

-- name: RemoveHealthOf :execrows
DELETE FROM webhook_health WHERE webhook_id = ANY(@webhook_ids::uuid[]);

-- name: RemoveLanesOf :execrows
DELETE FROM webhook_lanes WHERE webhook_id = ANY(@webhook_ids::uuid[]);

-- name: EventDays :many
SELECT d.day::date AS day FROM event_days() AS d(day);

-- name: RemoveEventsOf :execrows
DELETE FROM events e WHERE e.day = @day AND e.tenant_id = @tenant_id AND e.id <= (
  SELECT max(o.id) FROM (SELECT id FROM events
    WHERE day = @day AND tenant_id = @tenant_id ORDER BY id LIMIT @row_limit) AS o);

-- name: RemoveBodiesOf :execrows
DELETE FROM event_bodies b WHERE b.tenant_id = @tenant_id AND (b.event_day, b.event_id) <= (
  SELECT last.event_day, last.event_id FROM (SELECT o.event_day, o.event_id FROM event_bodies o
    WHERE o.tenant_id = @tenant_id ORDER BY o.event_day, o.event_id LIMIT @row_limit) AS last
  ORDER BY last.event_day DESC, last.event_id DESC LIMIT 1);

-- name: RemoveKeysOf :execrows
DELETE FROM idempotency_keys k WHERE k.tenant_id = @tenant_id AND k.key <= (
  SELECT max(o.key) FROM (SELECT key FROM idempotency_keys
    WHERE tenant_id = @tenant_id ORDER BY key LIMIT @row_limit) AS o);

-- name: RemoveAuditOf :execrows
DELETE FROM audit_log a WHERE a.id = ANY(ARRAY(
  SELECT o.id FROM audit_log o WHERE o.tenant_id = @tenant_id ORDER BY o.created_at, o.id LIMIT @row_limit));

-- name: RemoveErasuresOf :execrows
DELETE FROM erasures e WHERE e.id = ANY(ARRAY(
  SELECT o.id FROM erasures o WHERE o.tenant_id = @tenant_id LIMIT @row_limit));

-- name: RemoveAPIKeysOf :one
SELECT d.removed::bigint AS removed FROM remove_api_keys(@tenant_id) AS d(removed);

-- name: RemoveWebhooksOf :execrows
-- Caches that have not seen them go reload whole.
WITH doomed AS (
  SELECT w.id, w.generation FROM webhooks w
  WHERE w.tenant_id = @tenant_id AND w.generation > 0 ORDER BY w.generation LIMIT @row_limit
), told AS (
  UPDATE tenants t SET reload_below = greatest(t.reload_below, (SELECT max(generation) FROM doomed))
  WHERE t.id = @tenant_id AND EXISTS (SELECT FROM doomed)
)
DELETE FROM webhooks w WHERE w.id = ANY(ARRAY(SELECT id FROM doomed));

-- name: RemoveConnectionsOf :execrows
-- Softly deleted ones too, of a deleted tenant and of no other.
DELETE FROM connections c WHERE c.id = ANY(ARRAY(
  SELECT o.id FROM connections o WHERE o.tenant_id = @tenant_id
    AND EXISTS (SELECT FROM tenants t WHERE t.id = @tenant_id AND t.deleted_at IS NOT NULL)
  LIMIT @row_limit));

-- name: RemoveRateLimitsOf :execrows
DELETE FROM integration_rate_limits r WHERE r.ctid = ANY(ARRAY(
  SELECT o.ctid FROM integration_rate_limits o WHERE o.tenant_id = @tenant_id LIMIT @row_limit));

-- name: RemoveMessagesOf :execrows
DELETE FROM messages m WHERE m.id = ANY(ARRAY(
  SELECT o.id FROM messages o WHERE o.tenant_id = @tenant_id LIMIT @row_limit));

-- name: RemoveConversationsOf :execrows
DELETE FROM conversations c WHERE c.id = ANY(ARRAY(
  SELECT o.id FROM conversations o WHERE o.tenant_id = @tenant_id LIMIT @row_limit));

-- name: RemoveIdentitiesOf :execrows
DELETE FROM contact_identities i WHERE i.ctid = ANY(ARRAY(
  SELECT o.ctid FROM contact_identities o WHERE o.tenant_id = @tenant_id LIMIT @row_limit));

-- name: RemoveContactsOf :execrows
DELETE FROM contacts c WHERE c.id = ANY(ARRAY(
  SELECT o.id FROM contacts o WHERE o.tenant_id = @tenant_id LIMIT @row_limit));

-- name: RemoveUpdatesOf :execrows
DELETE FROM channel_updates u WHERE u.id = ANY(ARRAY(
  SELECT o.id FROM channel_updates o WHERE o.tenant_id = @tenant_id LIMIT @row_limit));

-- name: RemoveGrantsOf :execrows
DELETE FROM oauth_grants g WHERE g.id = ANY(ARRAY(
  SELECT o.id FROM oauth_grants o WHERE o.tenant_id = @tenant_id LIMIT @row_limit));

-- name: RemoveStatesOf :execrows
DELETE FROM oauth_states s WHERE s.tenant_id = @tenant_id AND s.nonce = ANY(ARRAY(
  SELECT o.nonce FROM oauth_states o WHERE o.tenant_id = @tenant_id LIMIT @row_limit));
