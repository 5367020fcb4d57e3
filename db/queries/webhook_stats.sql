-- name: AddStats :exec
-- Last in the ledger's transaction, keys sorted by the caller: two ledgers lock
-- the same keys in the same order, for the shortest time.
INSERT INTO webhook_stats_hourly AS s (webhook_id, hour, event_type, status, tenant_id, total, successful, duration_ms_sum)
SELECT unnest(@webhook_ids::uuid[]), unnest(@hours::timestamptz[]), unnest(@event_types::text[]),
  unnest(@statuses::smallint[]), unnest(@tenants::uuid[]), unnest(@totals::bigint[]),
  unnest(@successful::bigint[]), unnest(@duration_ms_sums::bigint[])
ON CONFLICT (webhook_id, hour, event_type, status) DO UPDATE SET total = s.total + excluded.total,
  successful = s.successful + excluded.successful, duration_ms_sum = s.duration_ms_sum + excluded.duration_ms_sum;

-- name: AddDurations :exec
-- The last statement of a commit without exhausted deliveries also ends the
-- streaks of failing webhooks that succeeded. A statement of its own would cost
-- healthy ones more than this look into an almost empty index. The count makes
-- the statistics be written first: they are locked before health.
WITH added AS (
  INSERT INTO webhook_durations_hourly AS d (webhook_id, hour, bucket, tenant_id, total)
  SELECT unnest(@webhook_ids::uuid[]), unnest(@hours::timestamptz[]), unnest(@buckets::smallint[]),
    unnest(@tenants::uuid[]), unnest(@totals::bigint[])
  ON CONFLICT (webhook_id, hour, bucket) DO UPDATE SET total = d.total + excluded.total
  RETURNING 1
)
UPDATE webhook_health h
SET exhausted = 0, failing_since = NULL, level = 0, told = 0, down = false, succeeded_at = now(), recover_at = now()
FROM (SELECT count(*) AS written FROM added) AS a
WHERE a.written > 0 AND h.webhook_id = ANY(@succeeded::uuid[]) AND h.down;
