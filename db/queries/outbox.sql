-- name: InsertOutbox :exec
INSERT INTO outbox (tenant_id, event_id, event_type, day, body, conversation)
VALUES (@tenant_id, @event_id, @event_type, @day, @body, @conversation);

-- name: InsertOutboxRows :exec
-- Ids are in the order of the arrays. An event that is in no order has an empty
-- conversation.
INSERT INTO outbox (tenant_id, event_id, event_type, day, body, conversation)
SELECT r.tenant_id, r.event_id, r.event_type, r.day, r.body, nullif(r.conversation, '')
FROM (SELECT unnest(@tenants::uuid[]) AS tenant_id, unnest(@event_ids::text[]) AS event_id, unnest(@event_types::text[]) AS event_type,
  unnest(@days::date[]) AS day, unnest(@bodies::bytea[]) AS body, unnest(@conversations::text[]) AS conversation,
  generate_subscripts(@event_ids::text[], 1) AS position) AS r
ORDER BY r.position;

-- name: TryRelayLock :one
-- Session-wide: whoever holds it is the one relay; a lost connection frees it.
SELECT pg_try_advisory_lock(hashtext('primezap.outbox'));

-- name: TrySweepLock :one
SELECT pg_try_advisory_xact_lock(hashtext('primezap.sweep'));

-- name: OutboxBatch :many
-- So many rows, fewer where their bodies are large, and one at least. waited is in
-- seconds. All transactions before oldest have ended: what they inserted is seen.
SELECT b.id, b.tenant_id, b.event_id, b.event_type, b.day, b.body, b.conversation,
  extract(epoch FROM clock_timestamp() - b.created_at)::float8 AS waited,
  (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint)::bigint AS oldest
FROM (
  SELECT o.*, sum(octet_length(o.body)) OVER (ORDER BY o.id ROWS UNBOUNDED PRECEDING) - octet_length(o.body) AS bytes_before
  FROM outbox o WHERE o.id > @after ORDER BY o.id LIMIT @row_limit
) AS b
WHERE b.bytes_before < @byte_limit::bigint ORDER BY b.id;

-- name: DeleteOutbox :one
-- The number of the transaction that does it. Not the snapshot's xmax: behind that
-- some may be at work already.
WITH gone AS (DELETE FROM outbox WHERE id = ANY(@ids::bigint[]))
SELECT pg_current_xact_id()::text::bigint AS transaction;
