-- name: DropPartition :one
-- Empty when no partition is that old. Fails with lock_not_available (55P03) when
-- a transaction holds its parent for longer than 50 ms.
SELECT coalesce(drop_partition(@before::date), '')::text AS partition;

-- name: PurgeWebhooks :execrows
-- Soft-deleted long ago and without queue rows. A cache that has not seen the
-- deletion would keep the webhook for ever: it is told to reload whole.
WITH doomed AS (
  SELECT w.id, w.tenant_id, w.generation FROM webhooks w
  WHERE w.deleted_at < @deleted_before AND NOT EXISTS (SELECT FROM webhook_queue q WHERE q.webhook_id = w.id)
  ORDER BY w.deleted_at LIMIT @row_limit
), told AS (
  UPDATE tenants t SET reload_below = greatest(t.reload_below, d.generation)
  FROM (SELECT tenant_id, max(generation) AS generation FROM doomed GROUP BY tenant_id) AS d
  WHERE t.id = d.tenant_id
), laneless AS (
  DELETE FROM webhook_lanes l USING doomed d WHERE l.webhook_id = d.id
), forgotten AS (
  DELETE FROM webhook_health h USING doomed d WHERE h.webhook_id = d.id
)
DELETE FROM webhooks w USING doomed d WHERE w.id = d.id;

-- name: PurgeUpdates :execrows
-- Those whose ids were made before another one's.
DELETE FROM channel_updates u WHERE u.id = ANY(ARRAY(
  SELECT o.id FROM channel_updates o WHERE o.id < @before ORDER BY o.id LIMIT @row_limit));

-- name: PurgeMessages :execrows
-- Those whose ids were made before another one's.
DELETE FROM messages m WHERE m.id = ANY(ARRAY(
  SELECT o.id FROM messages o WHERE o.id < @before ORDER BY o.id LIMIT @row_limit));
