-- name: MatchBatch :many
-- LATERAL with LIMIT fixes the order of the join, here and wherever keys are
-- looked up: planned while a partition is empty, a plain join reads the whole
-- partition for each key once it is not.
-- All that matching asks, in one round trip: which of these events the ledger
-- holds (position, from 1), and where their tenants stand (position 0). The day
-- bounds are parameters so that partitions are pruned when the plan starts.
SELECT k.position::int AS position, k.tenant_id::uuid AS tenant_id, 0::bigint AS generation, 0::bigint AS reload_below
FROM (SELECT unnest(@days::date[]) AS day, unnest(@tenants::uuid[]) AS tenant_id, unnest(@ids::text[]) AS id,
  generate_subscripts(@ids::text[], 1) AS position) AS k
CROSS JOIN LATERAL (SELECT FROM events e WHERE e.day = k.day AND e.tenant_id = k.tenant_id AND e.id = k.id
  AND e.day BETWEEN @first_day AND @last_day LIMIT 1) AS present
UNION ALL
SELECT 0, t.id, t.generation, t.reload_below FROM tenants t WHERE t.id = ANY(@distinct_tenants::uuid[]);

-- name: PresentEvents :many
-- Which of these the ledger holds: the positions, from 1. The day bounds are
-- parameters so that partitions are pruned when the plan starts.
SELECT k.position::int AS position
FROM (SELECT unnest(@days::date[]) AS day, unnest(@tenants::uuid[]) AS tenant_id,
  unnest(@ids::text[]) AS id, generate_subscripts(@days::date[], 1) AS position) AS k
CROSS JOIN LATERAL (SELECT FROM events e WHERE e.day = k.day AND e.tenant_id = k.tenant_id AND e.id = k.id
  AND e.day BETWEEN @first_day AND @last_day LIMIT 1) AS present;

-- name: InsertEvents :exec
-- No ON CONFLICT: an entry that is there already aborts the commit, and its
-- deliveries with it.
INSERT INTO events (day, tenant_id, id, type, stream_seq, contact_id, created_at)
SELECT unnest(@days::date[]), unnest(@tenants::uuid[]), unnest(@ids::text[]), unnest(@types::text[]),
  unnest(@seqs::bigint[]), nullif(unnest(@contacts::text[]), ''), unnest(@created::timestamptz[]);

-- name: EnsurePartitions :one
SELECT ensure_partitions(@first_day::date, @last_day::date)::int AS made;

-- name: EventBody :one
SELECT body FROM event_bodies WHERE tenant_id = @tenant_id AND event_day = @event_day AND event_id = @event_id;

-- name: FindEvent :one
-- Of events with this id, the last: a client may give an id again once it is
-- forgotten. The day leads the key, so each is probed.
SELECT found.day, found.id, found.type, found.stream_seq, found.contact_id, found.created_at
FROM (SELECT unnest(@days::date[]) AS day) AS d
CROSS JOIN LATERAL (SELECT e.day, e.id, e.type, e.stream_seq, e.contact_id, e.created_at FROM events e
  WHERE e.day = d.day AND e.tenant_id = @tenant_id AND e.id = @id LIMIT 1) AS found
ORDER BY found.day DESC LIMIT 1;

-- name: ListEvents :many
-- Newest first: of each type as many (type_limit) as are passed over and wanted of
-- all. The days bound the partitions.
SELECT e.id, e.type, e.contact_id, e.created_at
FROM (SELECT unnest(@types::text[]) AS type) AS t
CROSS JOIN LATERAL (
  SELECT n.id, n.type, n.contact_id, n.created_at FROM events n
  WHERE n.tenant_id = @tenant_id AND n.type = t.type AND n.day BETWEEN @first_day AND @last_day
    AND n.created_at >= @from_time AND n.created_at < @to_time
    AND (n.created_at, n.id) < (
      CASE WHEN sqlc.narg('before_time')::timestamptz IS NULL THEN 'infinity'::timestamptz ELSE sqlc.narg('before_time')::timestamptz END,
      CASE WHEN sqlc.narg('before_id')::text IS NULL THEN '' ELSE sqlc.narg('before_id')::text END)
  ORDER BY n.created_at DESC, n.id DESC
  LIMIT @type_limit
) AS e
ORDER BY e.created_at DESC, e.id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountEvents :one
SELECT count(*) FROM (
  SELECT FROM (SELECT unnest(@types::text[]) AS type) AS t
  CROSS JOIN LATERAL (
    SELECT FROM events n
    WHERE n.tenant_id = @tenant_id AND n.type = t.type AND n.day BETWEEN @first_day AND @last_day
      AND n.created_at >= @from_time AND n.created_at < @to_time
    LIMIT @cap
  ) AS e
  LIMIT @cap
) AS counted;
