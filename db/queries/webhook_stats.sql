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

-- name: DailyStats :many
-- Whole days that are summed up. At most as many rows as days.
SELECT day, event_types, statuses, totals, successful, duration_ms_sums, buckets, bucket_totals
FROM webhook_stats_daily
WHERE webhook_id = @webhook_id AND day >= @first::date AND day <= @last::date
ORDER BY day;

-- name: HourlyStats :many
-- Of the hours in some ranges, by day. OFFSET 0 keeps the planner from reading all
-- hours once and throwing away those between the ranges.
SELECT date_trunc('day', s.hour, 'UTC')::timestamptz AS day, s.event_type, s.status, sum(s.total)::bigint AS total,
  sum(s.successful)::bigint AS successful, sum(s.duration_ms_sum)::bigint AS duration_ms_sum
FROM (SELECT unnest(@from_times::timestamptz[]) AS from_time, unnest(@to_times::timestamptz[]) AS to_time) AS r
CROSS JOIN LATERAL (SELECT h.hour, h.event_type, h.status, h.total, h.successful, h.duration_ms_sum FROM webhook_stats_hourly h
  WHERE h.webhook_id = @webhook_id AND h.hour >= r.from_time AND h.hour < r.to_time OFFSET 0) AS s
GROUP BY 1, 2, 3;

-- name: HourlyDurations :many
SELECT d.bucket, sum(d.total)::bigint AS total
FROM (SELECT unnest(@from_times::timestamptz[]) AS from_time, unnest(@to_times::timestamptz[]) AS to_time) AS r
CROSS JOIN LATERAL (SELECT h.bucket, h.total FROM webhook_durations_hourly h
  WHERE h.webhook_id = @webhook_id AND h.hour >= r.from_time AND h.hour < r.to_time OFFSET 0) AS d
GROUP BY 1;

-- name: WebhooksWithStats :many
-- The next ones after an id, each once: one probe a webhook, however many hours it has.
WITH RECURSIVE walk AS (
  (SELECT s.webhook_id FROM webhook_stats_hourly s WHERE s.webhook_id > @after ORDER BY s.webhook_id LIMIT 1)
  UNION ALL
  SELECT following.webhook_id FROM walk w
  CROSS JOIN LATERAL (SELECT s.webhook_id FROM webhook_stats_hourly s WHERE s.webhook_id > w.webhook_id
    ORDER BY s.webhook_id LIMIT 1) AS following
)
SELECT webhook_id::uuid AS webhook_id FROM walk LIMIT @row_limit;

-- name: DaysToSumUp :many
-- Days with hours and without a row of their own.
SELECT w.id::uuid AS webhook_id, d.day::timestamptz AS day
FROM (SELECT unnest(@webhook_ids::uuid[]) AS id) AS w
CROSS JOIN generate_series(@first::timestamptz, @last::timestamptz, interval '1 day') AS d(day)
LEFT JOIN LATERAL (SELECT t.day FROM webhook_stats_daily t WHERE t.webhook_id = w.id
  AND t.day = (d.day AT TIME ZONE 'UTC')::date LIMIT 1) AS done ON true
CROSS JOIN LATERAL (SELECT FROM webhook_stats_hourly s WHERE s.webhook_id = w.id
  AND s.hour >= d.day AND s.hour < d.day + interval '1 day' LIMIT 1) AS present
WHERE done.day IS NULL
ORDER BY d.day, w.id;

-- name: LockDay :exec
-- Before SumUpDay, in its transaction: see forget_daily_stats.
SELECT pg_advisory_xact_lock(hashtextextended(@statistics_of_day::text, 0));

-- name: SumUpDay :exec
-- Only once the day is over for an hour, by the server's clock: what was begun
-- before midnight, and does not know the day as over, has been committed by then.
INSERT INTO webhook_stats_daily (webhook_id, day, tenant_id, event_types, statuses, totals, successful,
  duration_ms_sums, buckets, bucket_totals)
SELECT w.id, @day::date, s.tenant_id, s.event_types, s.statuses, s.totals, s.successful, s.duration_ms_sums,
  coalesce(d.buckets, '{}'), coalesce(d.totals, '{}')
FROM (SELECT unnest(@webhook_ids::uuid[]) AS id) AS w
CROSS JOIN LATERAL (
  SELECT (array_agg(g.tenant_id))[1] AS tenant_id, array_agg(g.event_type) AS event_types, array_agg(g.status) AS statuses,
    array_agg(g.total) AS totals, array_agg(g.successful) AS successful, array_agg(g.duration_ms_sum) AS duration_ms_sums
  FROM (SELECT h.event_type, h.status, (array_agg(h.tenant_id))[1] AS tenant_id, sum(h.total)::bigint AS total,
      sum(h.successful)::bigint AS successful, sum(h.duration_ms_sum)::bigint AS duration_ms_sum
    FROM webhook_stats_hourly h WHERE h.webhook_id = w.id
      AND h.hour >= @begins AND h.hour < @ends
    GROUP BY h.event_type, h.status) AS g
) AS s
CROSS JOIN LATERAL (
  SELECT array_agg(g.bucket) AS buckets, array_agg(g.total) AS totals
  FROM (SELECT h.bucket, sum(h.total)::bigint AS total FROM webhook_durations_hourly h WHERE h.webhook_id = w.id
      AND h.hour >= @begins AND h.hour < @ends
    GROUP BY h.bucket) AS g
) AS d
WHERE s.tenant_id IS NOT NULL AND now() - interval '1 hour' >= @ends
ON CONFLICT (webhook_id, day) DO NOTHING;

-- name: PurgeStats :execrows
-- The oldest rows of each webhook. The ledger writes to none that is so old.
DELETE FROM webhook_stats_hourly s
USING (SELECT o.webhook_id, o.hour, o.event_type, o.status
  FROM (SELECT unnest(@webhook_ids::uuid[]) AS id) AS w
  CROSS JOIN LATERAL (SELECT h.webhook_id, h.hour, h.event_type, h.status FROM webhook_stats_hourly h
    WHERE h.webhook_id = w.id AND h.hour < @older_than ORDER BY h.hour, h.event_type, h.status LIMIT @row_limit) AS o) AS old
WHERE s.webhook_id = old.webhook_id AND s.hour = old.hour AND s.event_type = old.event_type AND s.status = old.status;

-- name: PurgeDurations :execrows
DELETE FROM webhook_durations_hourly d
USING (SELECT o.webhook_id, o.hour, o.bucket
  FROM (SELECT unnest(@webhook_ids::uuid[]) AS id) AS w
  CROSS JOIN LATERAL (SELECT h.webhook_id, h.hour, h.bucket FROM webhook_durations_hourly h
    WHERE h.webhook_id = w.id AND h.hour < @older_than ORDER BY h.hour, h.bucket LIMIT @row_limit) AS o) AS old
WHERE d.webhook_id = old.webhook_id AND d.hour = old.hour AND d.bucket = old.bucket;

-- name: PurgeDailyStats :execrows
DELETE FROM webhook_stats_daily t USING (SELECT unnest(@webhook_ids::uuid[]) AS id) AS w
WHERE t.webhook_id = w.id AND t.day < @older_than::date;
