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
INSERT INTO webhook_durations_hourly AS d (webhook_id, hour, bucket, tenant_id, total)
SELECT unnest(@webhook_ids::uuid[]), unnest(@hours::timestamptz[]), unnest(@buckets::smallint[]),
  unnest(@tenants::uuid[]), unnest(@totals::bigint[])
ON CONFLICT (webhook_id, hour, bucket) DO UPDATE SET total = d.total + excluded.total;
