-- name: InsertQueueRows :exec
-- Times are the database's: a delay counts from the commit's transaction, and
-- an infinite worker clock moves nothing.
INSERT INTO webhook_queue (delivery_id, webhook_id, tenant_id, event_id, event_type, event_day, epoch, stream_seq,
  kind, state, attempt, due_at, lease_id, last_status, last_error, unfiltered)
SELECT delivery_id, webhook_id, tenant_id, event_id, event_type, event_day, epoch, stream_seq, kind, state, attempt,
  now() + delay_ms * interval '1 millisecond', nullif(lease_id, '00000000-0000-0000-0000-000000000000'::uuid),
  nullif(last_status, 0), nullif(last_error, ''), coalesce(unfiltered, false)
FROM (SELECT unnest(@delivery_ids::uuid[]) AS delivery_id, unnest(@webhook_ids::uuid[]) AS webhook_id,
  unnest(@tenants::uuid[]) AS tenant_id, unnest(@event_ids::text[]) AS event_id,
  unnest(@event_types::text[]) AS event_type, unnest(@event_days::date[]) AS event_day,
  unnest(@epochs::bigint[]) AS epoch, unnest(@stream_seqs::bigint[]) AS stream_seq,
  unnest(@kinds::smallint[]) AS kind, unnest(@states::smallint[]) AS state,
  unnest(@attempts::smallint[]) AS attempt, unnest(@delay_ms::bigint[]) AS delay_ms,
  unnest(@lease_ids::uuid[]) AS lease_id, unnest(@last_statuses::smallint[]) AS last_status,
  unnest(@last_errors::text[]) AS last_error, unnest(@unfiltered::boolean[]) AS unfiltered) AS r;

-- name: FinishQueueRows :exec
-- A row goes only if it still expects this attempt under this lease; one that
-- does not aborts the transaction. The array of keys bounds what is read,
-- whatever the planner thinks of the table's size.
WITH gone AS (
  DELETE FROM webhook_queue q
  USING (SELECT unnest(@delivery_ids::uuid[]) AS delivery_id, unnest(@lease_ids::uuid[]) AS lease_id,
    unnest(@attempts::smallint[]) AS attempt) AS r
  WHERE q.delivery_id = ANY(@delivery_ids::uuid[])
    AND q.delivery_id = r.delivery_id AND q.lease_id = r.lease_id AND q.attempt = r.attempt
  RETURNING 1
)
SELECT expect_rows((SELECT count(*) FROM gone), cardinality(@delivery_ids::uuid[]));

-- name: RescheduleQueueRows :exec
-- Retried, exhausted or released: the same condition.
WITH moved AS (
  UPDATE webhook_queue q
  SET state = r.state, attempt = r.next_attempt, due_at = now() + r.delay_ms * interval '1 millisecond',
    lease_id = NULL, last_status = coalesce(nullif(r.last_status, 0), case when r.last_error = '' then q.last_status end),
    last_error = coalesce(nullif(r.last_error, ''), case when r.last_status = 0 then q.last_error end)
  FROM (SELECT unnest(@delivery_ids::uuid[]) AS delivery_id, unnest(@lease_ids::uuid[]) AS lease_id,
    unnest(@attempts::smallint[]) AS attempt, unnest(@states::smallint[]) AS state,
    unnest(@next_attempts::smallint[]) AS next_attempt, unnest(@delay_ms::bigint[]) AS delay_ms,
    unnest(@last_statuses::smallint[]) AS last_status, unnest(@last_errors::text[]) AS last_error) AS r
  WHERE q.delivery_id = ANY(@delivery_ids::uuid[])
    AND q.delivery_id = r.delivery_id AND q.lease_id = r.lease_id AND q.attempt = r.attempt
  RETURNING 1
)
SELECT expect_rows((SELECT count(*) FROM moved), cardinality(@delivery_ids::uuid[]));

-- name: StandingQueueRows :many
-- Which of these rows still stand as their holder left them: the positions, from 1.
SELECT k.position::int AS position
FROM (SELECT unnest(@delivery_ids::uuid[]) AS delivery_id, unnest(@lease_ids::uuid[]) AS lease_id,
  unnest(@attempts::smallint[]) AS attempt, generate_subscripts(@delivery_ids::uuid[], 1) AS position) AS k
CROSS JOIN LATERAL (SELECT FROM webhook_queue q WHERE q.delivery_id = k.delivery_id AND q.lease_id = k.lease_id
  AND q.attempt = k.attempt LIMIT 1) AS standing;

-- name: LeaseQueueRows :many
-- The due rows of each lane, up to its limit, leased to the caller, with the
-- webhook as it is now; its filter only where a row has not met it yet. An
-- inactive webhook's rows stay where they are.
WITH due AS (
  SELECT d.delivery_id, d.due_at, lane.webhook_id
  FROM (SELECT unnest(@webhook_ids::uuid[]) AS webhook_id, unnest(@row_limits::int[]) AS row_limit) AS lane
  CROSS JOIN LATERAL (
    SELECT r.delivery_id, r.due_at FROM webhook_queue r
    WHERE r.webhook_id = lane.webhook_id AND r.state < 3 AND r.due_at <= now()
    ORDER BY r.due_at LIMIT lane.row_limit FOR UPDATE SKIP LOCKED
  ) AS d
)
UPDATE webhook_queue q
SET state = 1, lease_id = @lease_id, due_at = now() + make_interval(secs => @lease_seconds::float8)
FROM due CROSS JOIN LATERAL (
  SELECT h.url, h.secret, h.previous_secret, h.previous_secret_until, h.headers, h.filter, h.retry_delays, h.generation
  FROM webhooks h WHERE h.id = due.webhook_id AND h.active AND h.deleted_at IS NULL LIMIT 1
) AS w
WHERE q.delivery_id = ANY(ARRAY(SELECT d.delivery_id FROM due d)) AND q.delivery_id = due.delivery_id
RETURNING q.delivery_id, q.webhook_id, q.tenant_id, q.event_id, q.event_type, q.event_day, q.epoch, q.stream_seq,
  q.kind, q.attempt, coalesce(q.recovered_after, 0)::smallint AS recovered_after, due.due_at AS was_due_at, w.url, w.secret, w.previous_secret, w.previous_secret_until, w.headers,
  w.retry_delays, w.generation, q.unfiltered, (CASE WHEN q.unfiltered THEN w.filter END)::json AS filter;

-- name: RemoveQueueRowsOf :execrows
-- A deleted webhook's rows, a chunk a claim.
DELETE FROM webhook_queue q WHERE q.delivery_id IN (
  SELECT r.delivery_id FROM webhook_queue r WHERE r.webhook_id = @webhook_id LIMIT @row_limit FOR UPDATE SKIP LOCKED);

-- name: ListQueue :many
-- The cursor is one comparison, which an index can start from; in an OR it would
-- be read up to. CASE, since row level security has the planner distrust
-- COALESCE.
SELECT * FROM webhook_queue
WHERE webhook_id = @webhook_id
  AND (sqlc.narg('state')::smallint IS NULL OR state = sqlc.narg('state'))
  AND delivery_id < CASE WHEN sqlc.narg('before')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before')::uuid END
ORDER BY delivery_id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountQueue :one
SELECT count(*) FROM (
  SELECT FROM webhook_queue WHERE webhook_id = @webhook_id
    AND (sqlc.narg('state')::smallint IS NULL OR state = sqlc.narg('state'))
  LIMIT @cap
) AS counted;

-- name: LockQueueRow :one
-- In flight is a row under a lease that has not run out: a worker that died has
-- left its rows in state 1.
SELECT (state = 1 AND due_at > now())::boolean AS in_flight FROM webhook_queue
WHERE webhook_id = @webhook_id AND delivery_id = @delivery_id FOR UPDATE;

-- name: RetryQueueRowNow :exec
UPDATE webhook_queue SET due_at = now(), state = CASE WHEN state = 3 THEN 2 ELSE state END
WHERE delivery_id = @delivery_id;

-- name: CancelQueueRow :exec
DELETE FROM webhook_queue WHERE delivery_id = @delivery_id;

-- name: PurgeExhausted :execrows
DELETE FROM webhook_queue q WHERE q.delivery_id IN (
  SELECT r.delivery_id FROM webhook_queue r WHERE r.state = 3 AND r.due_at <= now() ORDER BY r.due_at LIMIT @row_limit
  FOR UPDATE SKIP LOCKED);

-- name: LastDelivery :one
-- The last row of a webhook's queue in the order of its list: what comes behind
-- it came later.
SELECT delivery_id FROM webhook_queue WHERE webhook_id = @webhook_id ORDER BY delivery_id DESC LIMIT 1;

-- name: RetryDeliveries :one
-- A chunk of a walk over a webhook's queue, exhausted rows made due. It waits for
-- no lock, since it holds others: what somebody else has locked is counted in
-- passed_over. last is where it has come to. (+ 0: the index of exhausted rows
-- holds everybody's.)
WITH page AS (
  SELECT q.delivery_id, q.state FROM webhook_queue q
  WHERE q.webhook_id = @webhook_id AND q.delivery_id > @after AND q.delivery_id <= @until
  ORDER BY q.delivery_id LIMIT @row_limit
), wanted AS (
  SELECT q.delivery_id FROM webhook_queue q
  WHERE q.delivery_id = ANY(ARRAY(SELECT p.delivery_id FROM page p WHERE p.state = 3)) AND q.state + 0 = 3
  FOR UPDATE SKIP LOCKED
), moved AS (
  UPDATE webhook_queue q SET state = 2, due_at = now()
  WHERE q.delivery_id = ANY(ARRAY(SELECT w.delivery_id FROM wanted w))
  RETURNING 1
)
SELECT (SELECT count(*) FROM moved)::bigint AS taken,
  ((SELECT count(*) FROM page p WHERE p.state = 3) - (SELECT count(*) FROM moved))::bigint AS passed_over,
  coalesce((SELECT p.delivery_id FROM page p ORDER BY p.delivery_id DESC LIMIT 1), @until)::uuid AS last;

-- name: CancelDeliveries :one
-- The same walk, rows removed: those in one state or, with null, in any.
WITH page AS (
  SELECT q.delivery_id, (sqlc.narg('state')::smallint IS NULL OR q.state = sqlc.narg('state')) AS wanted FROM webhook_queue q
  WHERE q.webhook_id = @webhook_id AND q.delivery_id > @after AND q.delivery_id <= @until
  ORDER BY q.delivery_id LIMIT @row_limit
), wanted AS (
  SELECT q.delivery_id FROM webhook_queue q
  WHERE q.delivery_id = ANY(ARRAY(SELECT p.delivery_id FROM page p WHERE p.wanted))
    AND (sqlc.narg('state')::smallint IS NULL OR q.state = sqlc.narg('state'))
  FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM webhook_queue q
  WHERE q.delivery_id = ANY(ARRAY(SELECT w.delivery_id FROM wanted w))
  RETURNING 1
)
SELECT (SELECT count(*) FROM gone)::bigint AS taken,
  ((SELECT count(*) FROM page p WHERE p.wanted) - (SELECT count(*) FROM gone))::bigint AS passed_over,
  coalesce((SELECT p.delivery_id FROM page p ORDER BY p.delivery_id DESC LIMIT 1), @until)::uuid AS last;

-- name: RecoverQueueRows :execrows
-- The next of a webhook's exhausted rows, oldest first, go back to its lane, each
-- once, spread evenly.
WITH chosen AS (
  SELECT r.delivery_id, row_number() OVER (ORDER BY r.due_at) AS turn
  FROM (
    SELECT e.delivery_id, e.due_at FROM webhook_queue e
    WHERE e.webhook_id = @webhook_id AND e.state = 3 AND e.recovered_after IS NULL
      AND e.due_at > @due_after AND e.due_at <= @due_until
    ORDER BY e.due_at LIMIT @row_limit FOR UPDATE
  ) AS r
)
UPDATE webhook_queue q
SET state = 2, due_at = now() + c.turn * make_interval(secs => @spacing_seconds::float8), recovered_after = q.attempt - 1
FROM chosen c
WHERE q.delivery_id = ANY(ARRAY(SELECT k.delivery_id FROM chosen k)) AND q.delivery_id = c.delivery_id;

-- name: CountDue :one
-- How many of a webhook's rows are due, up to a cap.
SELECT count(*) FROM (
  SELECT FROM webhook_queue WHERE webhook_id = @webhook_id AND state < 3 AND due_at <= now() LIMIT @cap
) AS due;

-- name: QueuedOfEvent :many
-- The deliveries of a stored event that are not done.
SELECT delivery_id, webhook_id, kind, state, attempt, last_status, last_error, created_at FROM webhook_queue
WHERE epoch = @epoch AND stream_seq = @stream_seq AND tenant_id = @tenant_id AND event_id = @event_id
ORDER BY delivery_id DESC LIMIT @row_limit;

-- name: LockExhausted :many
-- The exhausted deliveries of some events to one webhook, by the events'
-- sequences. Nobody retries them until the transaction ends. (OFFSET 0: looked up
-- by the event, since a webhook may have very many rows. A recovery locks in the
-- same order.)
SELECT q.stream_seq, q.delivery_id FROM webhook_queue q
WHERE q.delivery_id = ANY(ARRAY(
    SELECT r.delivery_id FROM (SELECT unnest(@stream_seqs::bigint[]) AS stream_seq) AS k
    CROSS JOIN LATERAL (SELECT o.delivery_id, o.webhook_id, o.state FROM webhook_queue o
      WHERE o.epoch = @epoch AND o.stream_seq = k.stream_seq OFFSET 0) AS r
    WHERE r.webhook_id = @webhook_id::uuid AND r.state = 3))
  AND q.state + 0 = 3
ORDER BY q.due_at FOR UPDATE;

-- name: QueuedEvents :many
-- Which events, by their sequences, still have a delivery to a webhook to come.
SELECT k.stream_seq::bigint AS stream_seq
FROM (SELECT unnest(@stream_seqs::bigint[]) AS stream_seq) AS k
CROSS JOIN LATERAL (SELECT FROM (SELECT o.webhook_id, o.state FROM webhook_queue o
    WHERE o.epoch = @epoch AND o.stream_seq = k.stream_seq OFFSET 0) AS r
  WHERE r.webhook_id = @webhook_id::uuid AND r.state < 3 LIMIT 1) AS queued;

-- name: RemoveDeliveries :exec
DELETE FROM webhook_queue WHERE delivery_id = ANY(@delivery_ids::uuid[]);
