-- name: WakeLanes :exec
-- After the rows, lanes sorted by the caller. The conflict locks the lane even
-- where nothing changes: a claimer that is recomputing it finishes first.
INSERT INTO webhook_lanes (webhook_id, tenant_id, next_due_at)
SELECT webhook_id, tenant_id, now() + delay_ms * interval '1 millisecond'
FROM (SELECT unnest(@webhook_ids::uuid[]) AS webhook_id, unnest(@tenants::uuid[]) AS tenant_id,
  unnest(@delay_ms::bigint[]) AS delay_ms) AS l
ON CONFLICT (webhook_id) DO UPDATE SET next_due_at = excluded.next_due_at
WHERE excluded.next_due_at < webhook_lanes.next_due_at;

-- name: ClaimLanes :many
-- First statement of a claim: due lanes, those without a backlog first, then a
-- few with. It must not be one statement with the two that follow (LeaseQueueRows,
-- RecomputeLanes, PaceLanes): sharing a snapshot loses wake-ups. recent is what the
-- last second's claims took from a lane with a rate: the lock has the lane as the
-- claim before left it.
WITH fresh AS (
  SELECT l.webhook_id, l.taken_at, l.taken FROM webhook_lanes l
  WHERE NOT l.backlog AND l.wake_at <= now() AND l.webhook_id <> ALL(@excluded::uuid[])
  ORDER BY l.wake_at LIMIT @fresh_limit FOR UPDATE SKIP LOCKED
), backlogged AS (
  SELECT l.webhook_id, l.taken_at, l.taken FROM webhook_lanes l
  WHERE l.backlog AND l.wake_at <= now() AND l.webhook_id <> ALL(@excluded::uuid[])
  ORDER BY l.wake_at LIMIT @backlog_limit FOR UPDATE SKIP LOCKED
)
SELECT c.webhook_id, c.backlog, coalesce(w.active, false)::boolean AS active,
  (w.id IS NULL OR w.deleted_at IS NOT NULL)::boolean AS deleted, coalesce(w.rate_per_second, 0)::integer AS rate,
  (CASE WHEN w.rate_per_second IS NULL THEN 0 ELSE (
    SELECT coalesce(sum(c.taken[i]), 0) FROM generate_subscripts(c.taken_at, 1) AS i
    WHERE c.taken_at[i] > clock_timestamp() - interval '1 second') END)::integer AS recent
FROM (SELECT webhook_id, taken_at, taken, false AS backlog FROM fresh
  UNION ALL SELECT webhook_id, taken_at, taken, true FROM backlogged) AS c
LEFT JOIN webhooks w ON w.id = c.webhook_id;

-- name: RecomputeLanes :exec
-- Third statement of a claim. A lane left with due rows goes to the back of the
-- turn and into the backlog band: by its oldest row it would starve the others.
UPDATE webhook_lanes l
SET (next_due_at, backlog, turn_at) = (
  SELECT coalesce(m.due_at, 'infinity'), coalesce(m.due_at <= now(), false),
    CASE WHEN m.due_at <= now() THEN clock_timestamp() ELSE l.turn_at END
  FROM (SELECT (SELECT q.due_at FROM webhook_queue q WHERE q.webhook_id = l.webhook_id AND q.state < 3
    ORDER BY q.due_at LIMIT 1) AS due_at OFFSET 0) AS m) -- OFFSET: looked up once, not for each use
WHERE l.webhook_id = ANY(@webhook_ids::uuid[]);

-- name: PaceLanes :many
-- In RecomputeLanes' place for lanes whose webhooks have a rate, with what this
-- claim took of each. A lane's next turn is when it may have rows again: after a
-- pause, and where the second is used up, when its first claim is a second ago.
-- Such a lane waits for its rate, and is no backlog. The answers are the seconds
-- until these turns.
WITH paced AS (
  UPDATE webhook_lanes l
  SET (next_due_at, backlog, turn_at, taken_at, taken) = (
    SELECT coalesce((SELECT q.due_at FROM webhook_queue q WHERE q.webhook_id = l.webhook_id AND q.state < 3
        ORDER BY q.due_at LIMIT 1), 'infinity'),
      false,
      greatest(c.at + make_interval(secs => c.pause), CASE WHEN s.total >= c.rate THEN s.first + interval '1 second' END),
      coalesce(s.times, '{}'), coalesce(s.counts, '{}')
    FROM (SELECT array_agg(k.at ORDER BY k.at) AS times, array_agg(k.took ORDER BY k.at) AS counts, sum(k.took) AS total,
        min(k.at) AS first
      FROM (SELECT l.taken_at[i] AS at, l.taken[i] AS took FROM generate_subscripts(l.taken_at, 1) AS i
          WHERE l.taken_at[i] > c.at - interval '1 second'
        UNION ALL SELECT c.at, c.took WHERE c.took > 0) AS k) AS s)
  FROM (SELECT unnest(@webhook_ids::uuid[]) AS webhook_id, unnest(@rates::integer[]) AS rate, unnest(@took::integer[]) AS took,
    unnest(@pauses::float8[]) AS pause, clock_timestamp() AS at) AS c
  WHERE l.webhook_id = ANY(@webhook_ids::uuid[]) AND l.webhook_id = c.webhook_id
  RETURNING l.turn_at
)
SELECT extract(epoch FROM turn_at - clock_timestamp())::float8 AS seconds FROM paced;

-- name: ShutLanes :exec
-- Of inactive webhooks. The lanes are locked, so this looks again: the statement
-- that locked them saw webhooks as they were before, and one that was activated
-- since has opened its lane already. One that is activated from here on opens it
-- after us. One that somebody is changing at this moment may be past that, and have
-- found no lane: it is left to the next claim. (No EXISTS: a join may walk all
-- webhooks.)
UPDATE webhook_lanes l SET blocked_until = 'infinity'
WHERE l.webhook_id = ANY(@webhook_ids::uuid[])
  AND (SELECT true FROM webhooks w WHERE w.id = l.webhook_id AND NOT w.active AND w.deleted_at IS NULL
    FOR SHARE SKIP LOCKED);

-- name: RemoveLane :exec
DELETE FROM webhook_lanes l WHERE l.webhook_id = @webhook_id
  AND NOT EXISTS (SELECT FROM webhook_queue q WHERE q.webhook_id = l.webhook_id);

-- name: LanesDue :one
-- Whether any lane is due: claimed by somebody else at this moment, if a claim
-- came back empty.
SELECT EXISTS (SELECT FROM webhook_lanes WHERE NOT backlog AND wake_at <= now() AND webhook_id <> ALL(@excluded::uuid[]))
  OR EXISTS (SELECT FROM webhook_lanes WHERE backlog AND wake_at <= now() AND webhook_id <> ALL(@excluded::uuid[]));

-- name: StrayLanes :many
-- Webhooks whose earliest row no lane would wake for. Distinct webhooks by skip
-- scan: one index probe each, whatever number of rows they have.
WITH RECURSIVE hooks AS (
  (SELECT q.webhook_id FROM webhook_queue q WHERE q.state < 3 ORDER BY q.webhook_id LIMIT 1)
  UNION ALL
  SELECT (SELECT q.webhook_id FROM webhook_queue q WHERE q.state < 3 AND q.webhook_id > h.webhook_id
    ORDER BY q.webhook_id LIMIT 1)
  FROM hooks h WHERE h.webhook_id IS NOT NULL
)
SELECT first.webhook_id::uuid AS webhook_id, first.tenant_id::uuid AS tenant_id
FROM hooks h
CROSS JOIN LATERAL (SELECT q.webhook_id, q.tenant_id, q.due_at FROM webhook_queue q
  WHERE q.webhook_id = h.webhook_id AND q.state < 3 ORDER BY q.due_at LIMIT 1) AS first
LEFT JOIN webhook_lanes l ON l.webhook_id = first.webhook_id
WHERE h.webhook_id IS NOT NULL AND (l.webhook_id IS NULL OR l.next_due_at > first.due_at)
LIMIT @row_limit;

-- name: RepairLane :execrows
-- Looks again under the lane's lock before it counts as a repair.
INSERT INTO webhook_lanes AS l (webhook_id, tenant_id, next_due_at)
SELECT q.webhook_id, q.tenant_id, q.due_at FROM webhook_queue q
WHERE q.webhook_id = @webhook_id AND q.state < 3 ORDER BY q.due_at LIMIT 1
ON CONFLICT (webhook_id) DO UPDATE SET next_due_at = excluded.next_due_at
WHERE excluded.next_due_at < l.next_due_at;

-- name: LockLane :exec
SELECT FROM webhook_lanes WHERE webhook_id = @webhook_id FOR UPDATE;
