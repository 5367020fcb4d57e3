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

-- name: GetEvent :one
SELECT day, tenant_id, id, type, stream_seq, created_at FROM events
WHERE tenant_id = @tenant_id AND id = @id AND day = @day;
