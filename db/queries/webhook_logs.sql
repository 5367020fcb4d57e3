-- name: InsertLogs :exec
INSERT INTO webhook_logs (webhook_id, created_at, id, tenant_id, delivery_id, event_id, event_type, attempt, kind,
  counted, success, status, duration_ms, dns_ms, connect_ms, tls_ms, first_byte_ms, request_headers,
  response_headers, response_body, error_class, error_message)
SELECT webhook_id, created_at, id, tenant_id, delivery_id, event_id, event_type, attempt, kind,
  counted, success, status, duration_ms, nullif(dns_ms, -1), nullif(connect_ms, -1), nullif(tls_ms, -1),
  nullif(first_byte_ms, -1), nullif(request_headers, '')::json, nullif(response_headers, '')::json,
  nullif(response_body, ''), nullif(error_class, ''), nullif(error_message, '')
FROM (SELECT unnest(@webhook_ids::uuid[]) AS webhook_id, unnest(@created::timestamptz[]) AS created_at,
  unnest(@ids::uuid[]) AS id, unnest(@tenants::uuid[]) AS tenant_id,
  unnest(@delivery_ids::uuid[]) AS delivery_id, unnest(@event_ids::text[]) AS event_id,
  unnest(@event_types::text[]) AS event_type, unnest(@attempts::smallint[]) AS attempt,
  unnest(@kinds::smallint[]) AS kind, unnest(@counted::boolean[]) AS counted,
  unnest(@success::boolean[]) AS success, unnest(@statuses::smallint[]) AS status,
  unnest(@duration_ms::integer[]) AS duration_ms, unnest(@dns_ms::integer[]) AS dns_ms,
  unnest(@connect_ms::integer[]) AS connect_ms, unnest(@tls_ms::integer[]) AS tls_ms,
  unnest(@first_byte_ms::integer[]) AS first_byte_ms, unnest(@request_headers::text[]) AS request_headers,
  unnest(@response_headers::text[]) AS response_headers, unnest(@response_bodies::text[]) AS response_body,
  unnest(@error_classes::text[]) AS error_class, unnest(@error_messages::text[]) AS error_message) AS l;

-- name: PresentLogs :many
-- Which of these log rows are there: the positions, from 1.
SELECT k.position::int AS position
FROM (SELECT unnest(@webhook_ids::uuid[]) AS webhook_id, unnest(@created::timestamptz[]) AS created_at,
  unnest(@ids::uuid[]) AS id, generate_subscripts(@webhook_ids::uuid[], 1) AS position) AS k
CROSS JOIN LATERAL (SELECT FROM webhook_logs l WHERE l.webhook_id = k.webhook_id AND l.created_at = k.created_at
  AND l.id = k.id AND l.created_at BETWEEN @first AND @last LIMIT 1) AS present;

-- name: ListLogs :many
-- Newest first, stable under insertion: the key of the last row is the cursor.
SELECT * FROM webhook_logs
WHERE webhook_id = @webhook_id
  AND created_at >= @from_time AND created_at < @to_time
  AND (sqlc.narg('success')::boolean IS NULL OR success = sqlc.narg('success'))
  AND (sqlc.narg('event')::text IS NULL OR event_type = sqlc.narg('event'))
  AND (sqlc.narg('status_from')::smallint IS NULL OR status BETWEEN sqlc.narg('status_from') AND sqlc.narg('status_to')::smallint)
  AND (created_at, id) < (
    CASE WHEN sqlc.narg('before_time')::timestamptz IS NULL THEN 'infinity'::timestamptz ELSE sqlc.narg('before_time')::timestamptz END,
    CASE WHEN sqlc.narg('before_id')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before_id')::uuid END)
ORDER BY created_at DESC, id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountLogs :one
SELECT count(*) FROM (
  SELECT FROM webhook_logs
  WHERE webhook_id = @webhook_id
    AND created_at >= @from_time AND created_at < @to_time
    AND (sqlc.narg('success')::boolean IS NULL OR success = sqlc.narg('success'))
    AND (sqlc.narg('event')::text IS NULL OR event_type = sqlc.narg('event'))
    AND (sqlc.narg('status_from')::smallint IS NULL OR status BETWEEN sqlc.narg('status_from') AND sqlc.narg('status_to')::smallint)
  LIMIT @cap
) AS counted;

-- name: ListFailedLogs :many
-- ListLogs among what failed, by an index of that alone: failures are few and far
-- between in the logs of a healthy webhook.
SELECT * FROM webhook_logs
WHERE webhook_id = @webhook_id AND NOT success
  AND created_at >= @from_time AND created_at < @to_time
  AND (sqlc.narg('success')::boolean IS NULL OR success = sqlc.narg('success'))
  AND (sqlc.narg('event')::text IS NULL OR event_type = sqlc.narg('event'))
  AND (sqlc.narg('status_from')::smallint IS NULL OR status BETWEEN sqlc.narg('status_from') AND sqlc.narg('status_to')::smallint)
  AND (created_at, id) < (
    CASE WHEN sqlc.narg('before_time')::timestamptz IS NULL THEN 'infinity'::timestamptz ELSE sqlc.narg('before_time')::timestamptz END,
    CASE WHEN sqlc.narg('before_id')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before_id')::uuid END)
ORDER BY created_at DESC, id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountFailedLogs :one
SELECT count(*) FROM (
  SELECT FROM webhook_logs
  WHERE webhook_id = @webhook_id AND NOT success
    AND created_at >= @from_time AND created_at < @to_time
    AND (sqlc.narg('success')::boolean IS NULL OR success = sqlc.narg('success'))
    AND (sqlc.narg('event')::text IS NULL OR event_type = sqlc.narg('event'))
    AND (sqlc.narg('status_from')::smallint IS NULL OR status BETWEEN sqlc.narg('status_from') AND sqlc.narg('status_to')::smallint)
  LIMIT @cap
) AS counted;

-- name: ListLogsOfEvent :many
-- ListLogs of one event, found by the event first: it has few attempts, the webhook
-- has many.
WITH of_event AS MATERIALIZED (
  SELECT * FROM webhook_logs WHERE event_id = @event_id AND tenant_id = @tenant_id
)
SELECT * FROM of_event
WHERE webhook_id = @webhook_id
  AND created_at >= @from_time AND created_at < @to_time
  AND (sqlc.narg('success')::boolean IS NULL OR success = sqlc.narg('success'))
  AND (sqlc.narg('event')::text IS NULL OR event_type = sqlc.narg('event'))
  AND (sqlc.narg('status_from')::smallint IS NULL OR status BETWEEN sqlc.narg('status_from') AND sqlc.narg('status_to')::smallint)
  AND (created_at, id) < (
    CASE WHEN sqlc.narg('before_time')::timestamptz IS NULL THEN 'infinity'::timestamptz ELSE sqlc.narg('before_time')::timestamptz END,
    CASE WHEN sqlc.narg('before_id')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before_id')::uuid END)
ORDER BY created_at DESC, id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountLogsOfEvent :one
WITH of_event AS MATERIALIZED (
  SELECT * FROM webhook_logs WHERE event_id = @event_id AND tenant_id = @tenant_id
)
SELECT count(*) FROM (
  SELECT FROM of_event
  WHERE webhook_id = @webhook_id
    AND created_at >= @from_time AND created_at < @to_time
    AND (sqlc.narg('success')::boolean IS NULL OR success = sqlc.narg('success'))
    AND (sqlc.narg('event')::text IS NULL OR event_type = sqlc.narg('event'))
    AND (sqlc.narg('status_from')::smallint IS NULL OR status BETWEEN sqlc.narg('status_from') AND sqlc.narg('status_to')::smallint)
  LIMIT @cap
) AS counted;

-- name: DeliveriesOfEvent :many
-- What became of an event, a row a delivery: its last attempt, and its row in the
-- queue if it has one. row_cap bounds the attempts that are looked at.
WITH attempts AS (
  SELECT l.delivery_id, l.webhook_id, l.kind, l.attempt, l.counted, l.success, l.status, l.error_class, l.error_message, l.created_at
  FROM webhook_logs l
  WHERE l.event_id = @event_id AND l.tenant_id = @tenant_id AND l.created_at >= @since
  LIMIT @row_cap
), deliveries AS (
  SELECT DISTINCT ON (a.delivery_id) a.delivery_id, a.webhook_id, a.kind, a.status, a.error_class, a.error_message, a.created_at,
    count(*) FILTER (WHERE a.counted) OVER (PARTITION BY a.delivery_id) AS made,
    bool_or(a.success) OVER (PARTITION BY a.delivery_id) AS delivered
  FROM attempts a
  ORDER BY a.delivery_id, a.created_at DESC, a.attempt DESC
)
SELECT d.delivery_id, d.webhook_id, d.kind, d.made::int AS attempts, d.delivered::boolean AS delivered, d.status,
  d.error_class, d.error_message, d.created_at, coalesce(q.state, -1)::smallint AS state
FROM deliveries d
LEFT JOIN LATERAL (SELECT r.state FROM webhook_queue r WHERE r.delivery_id = d.delivery_id LIMIT 1) AS q ON true
ORDER BY d.created_at DESC, d.delivery_id DESC
LIMIT @row_limit;
