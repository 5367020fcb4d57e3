-- name: TakeRateLimits :many
-- The windows after it; starts and ends mean nothing for one that has not begun. No
-- rows where the tenant has no such connection.
SELECT t.granted::boolean AS granted, t.moment::timestamptz AS moment, t.kind::text AS kind, t.ceiling::bigint AS ceiling,
  t.overridden::boolean AS overridden, t.used::bigint AS used, (t.starts IS NOT NULL)::boolean AS begun,
  coalesce(t.starts, t.moment)::timestamptz AS starts, coalesce(t.ends, t.moment)::timestamptz AS ends
FROM take_rate_limits(@tenant_id, @connection_id, @n, @kinds::text[], @limits::bigint[], @seconds::float8[])
  AS t(granted, moment, kind, ceiling, overridden, used, starts, ends);

-- name: ReadRateLimits :many
SELECT s.kind::text AS kind, s.ceiling::bigint AS ceiling, s.overridden::boolean AS overridden, s.used::bigint AS used,
  (s.starts IS NOT NULL)::boolean AS begun, coalesce(s.starts, c.moment)::timestamptz AS starts,
  coalesce(s.ends, c.moment)::timestamptz AS ends, c.moment::timestamptz AS moment
FROM (SELECT clock_timestamp() AS moment OFFSET 0) AS c
CROSS JOIN LATERAL rate_limit_state(@connection_id, @kinds::text[], @limits::bigint[], @seconds::float8[], c.moment)
  AS s(kind, ceiling, overridden, used, starts, ends, moved)
WHERE EXISTS (SELECT FROM connections l WHERE l.id = @connection_id AND l.tenant_id = @tenant_id AND l.deleted_at IS NULL);

-- name: LockRateLimits :one
-- Before each of the changes below, which are statements of their own: they see what
-- the last holder of the locks left.
SELECT l.live::boolean AS live FROM lock_rate_limits(@tenant_id, @connection_id, @kinds::text[], @limits::bigint[]) AS l(live);

-- name: SetRateLimits :exec
UPDATE integration_rate_limits r SET max_requests = s.max_requests, overridden = s.overridden
FROM (SELECT unnest(@kinds::text[]) AS kind, unnest(@limits::bigint[]) AS max_requests, unnest(@overridden::boolean[]) AS overridden) AS s
WHERE r.connection_id = @connection_id AND r.window_type = s.kind;

-- name: ResetRateLimits :exec
-- What was taken before is not given back into these windows: their start is another.
UPDATE integration_rate_limits r SET request_count = 0, window_start = c.moment, window_end = c.moment
FROM (SELECT clock_timestamp() AS moment OFFSET 0) AS c
WHERE r.connection_id = @connection_id AND r.window_type = ANY(@kinds::text[]);

-- name: RefundRateLimits :exec
-- Into the windows that the messages were taken from, and none that began since.
UPDATE integration_rate_limits r SET request_count = greatest(r.request_count - @n::bigint, 0)
FROM (SELECT unnest(@kinds::text[]) AS kind, unnest(@starts::timestamptz[]) AS starts) AS t
WHERE r.connection_id = @connection_id AND r.window_type = t.kind AND r.window_start = t.starts;
