-- name: SavePurgePoint :exec
-- Never backwards within one stream. It waits for those who insert a queue row
-- below the point that stands: they hold it FOR SHARE and keep the body
-- themselves, so whoever looks for needed bodies after this sees their rows.
UPDATE event_store SET epoch = @epoch, purged_below = @below
WHERE epoch <> @epoch OR purged_below < @below;

-- name: PurgePoint :one
SELECT epoch, purged_below FROM event_store;

-- name: HoldPurgePoint :one
-- For whoever inserts queue rows of old events: below the point he keeps their
-- bodies too. It does not move before he has committed.
SELECT epoch, purged_below FROM event_store FOR SHARE;

-- name: LockEventStore :exec
SELECT FROM event_store FOR UPDATE;

-- name: NeededEvents :many
-- The stored events of a range that queue rows of any state still need, each
-- once whatever its fan-out: one index probe an event.
WITH RECURSIVE needed AS (
  (SELECT q.stream_seq, q.tenant_id, q.event_day, q.event_id FROM webhook_queue q
    WHERE q.epoch = @epoch AND q.stream_seq >= @first AND q.stream_seq < @below
    ORDER BY q.stream_seq LIMIT 1)
  UNION ALL
  SELECT following.stream_seq, following.tenant_id, following.event_day, following.event_id
  FROM needed n
  CROSS JOIN LATERAL (SELECT q.stream_seq, q.tenant_id, q.event_day, q.event_id FROM webhook_queue q
    WHERE q.epoch = @epoch AND q.stream_seq > n.stream_seq AND q.stream_seq < @below
    ORDER BY q.stream_seq LIMIT 1) AS following
)
SELECT stream_seq::bigint AS stream_seq, tenant_id::uuid AS tenant_id, event_day::date AS event_day,
  event_id::text AS event_id
FROM needed LIMIT @row_limit;

-- name: KeepBodies :exec
INSERT INTO event_bodies (epoch, stream_seq, tenant_id, event_day, event_id, body)
SELECT @epoch, unnest(@stream_seqs::bigint[]), unnest(@tenants::uuid[]), unnest(@days::date[]),
  unnest(@ids::text[]), unnest(@bodies::bytea[])
ON CONFLICT (epoch, stream_seq) DO NOTHING;

-- name: KeptEvents :many
-- Of which events of one stream, by their sequences, the body is kept.
SELECT k.stream_seq::bigint AS stream_seq
FROM (SELECT unnest(@stream_seqs::bigint[]) AS stream_seq) AS k
CROSS JOIN LATERAL (SELECT FROM event_bodies b WHERE b.epoch = @epoch AND b.stream_seq = k.stream_seq LIMIT 1) AS kept;

-- name: PurgeBodies :one
-- Walks the kept bodies from a place on, removes those that no queue row needs
-- any more, and returns the place it has come to. Under LockEventStore: nobody
-- inserts a row for an old event at the same time.
WITH page AS (
  SELECT b.epoch, b.stream_seq FROM event_bodies b
  WHERE (b.epoch, b.stream_seq) > (@after_epoch::bigint, @after_seq::bigint)
  ORDER BY b.epoch, b.stream_seq LIMIT @row_limit
), gone AS (
  DELETE FROM event_bodies b USING page p
  WHERE b.epoch = p.epoch AND b.stream_seq = p.stream_seq
    AND NOT EXISTS (SELECT FROM webhook_queue q WHERE q.epoch = p.epoch AND q.stream_seq = p.stream_seq)
  RETURNING 1
)
SELECT p.epoch, p.stream_seq, (SELECT count(*) FROM gone)::bigint AS removed
FROM page p ORDER BY p.epoch DESC, p.stream_seq DESC LIMIT 1;
