-- name: InsertReplay :one
-- It begins a day early: an event's day is that of its first acceptance, and a
-- client may have repeated it until it was stored. Days are kept for a month.
INSERT INTO replays (id, tenant_id, webhook_id, since, until, events, failed_only, next_day)
VALUES (@id, @tenant_id, @webhook_id, @since, @until, @events, @failed_only,
  greatest((@since::timestamptz AT TIME ZONE 'UTC')::date - 1, (now() AT TIME ZONE 'UTC')::date - 32))
RETURNING *;

-- name: GetReplay :one
SELECT * FROM replays WHERE id = @id;

-- name: CancelReplay :execrows
-- Waits for the page that is being inserted: nothing is inserted after it.
UPDATE replays SET state = 3, finished_at = now() WHERE id = @id AND state < 2;

-- name: ReplayToDo :one
-- A replay that has not ended, with its webhook as it is now. settled: an event
-- that was matched before the webhook was as it is has been entered by now.
SELECT sqlc.embed(r), (r.created_at < now() - interval '2 seconds')::boolean AS settled,
  coalesce(w.active, false)::boolean AS active, coalesce(w.operational, false)::boolean AS operational,
  w.filter, (w.id IS NULL OR w.deleted_at IS NOT NULL)::boolean AS deleted
FROM replays r LEFT JOIN webhooks w ON w.id = r.webhook_id
WHERE r.id = @id AND r.state < 2;

-- name: ReplayedAhead :one
-- How many replayed deliveries of a webhook are not done, up to a bound.
SELECT count(*) FROM (
  SELECT FROM webhook_queue WHERE webhook_id = @webhook_id AND kind = 2 AND state < 3 LIMIT @cap
) AS ahead;

-- name: EventsOfDay :many
-- A page of the entries of a tenant's day.
SELECT id, type, stream_seq, created_at FROM events
WHERE tenant_id = @tenant_id AND day = @day AND id > @after_id
ORDER BY id LIMIT @row_limit;

-- name: ErasedOfDay :many
-- Of which events of a tenant's day nothing may be sent any more: the positions,
-- from 1. What is erased after this look, and before the transaction ends, the
-- erasure finds when it looks again.
SELECT k.position::int AS position
FROM (SELECT unnest(@ids::text[]) AS id, generate_subscripts(@ids::text[], 1) AS position) AS k
CROSS JOIN LATERAL (SELECT FROM events e WHERE e.day = @day AND e.tenant_id = @tenant_id AND e.id = k.id
  AND e.erased_at IS NOT NULL LIMIT 1) AS erased;

-- name: LockReplay :one
-- No row: it has ended, or another worker has moved it on.
SELECT id FROM replays
WHERE id = @id AND state < 2 AND next_day = @next_day AND after_id = @after_id FOR UPDATE;

-- name: AdvanceReplay :exec
UPDATE replays SET state = 1, next_day = @next_day, after_id = @after_id, inserted = inserted + @inserted,
  skipped = skipped + @skipped
WHERE id = @id;

-- name: EndReplay :exec
UPDATE replays SET state = @state, failure = sqlc.narg('failure'), finished_at = now() WHERE id = @id AND state < 2;

-- name: AnsweredEvents :many
-- Which of a tenant's events a webhook has answered with success: the positions,
-- from 1. since is before any attempt at them.
SELECT k.position::int AS position
FROM (SELECT unnest(@ids::text[]) AS id, generate_subscripts(@ids::text[], 1) AS position) AS k
CROSS JOIN LATERAL (SELECT FROM webhook_logs l WHERE l.event_id = k.id AND l.tenant_id = @tenant_id
  AND l.webhook_id = @webhook_id AND l.success AND l.created_at >= @since LIMIT 1) AS answered;

-- name: RemoveReplaysOf :execrows
DELETE FROM replays r WHERE r.id = ANY(ARRAY(
  SELECT o.id FROM replays o WHERE o.tenant_id = @tenant_id LIMIT @row_limit));

-- name: PurgeReplays :execrows
DELETE FROM replays r WHERE r.id IN (
  SELECT p.id FROM replays p WHERE p.finished_at < @finished_before ORDER BY p.finished_at LIMIT @row_limit
  FOR UPDATE SKIP LOCKED);
