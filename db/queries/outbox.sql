-- name: InsertOutbox :exec
INSERT INTO outbox (tenant_id, event_id, event_type, day, body, conversation)
VALUES (@tenant_id, @event_id, @event_type, @day, @body, @conversation);

-- name: TryRelayLock :one
-- Session-wide: whoever holds it is the one relay; a lost connection frees it.
SELECT pg_try_advisory_lock(hashtext('primezap.outbox'));

-- name: TrySweepLock :one
SELECT pg_try_advisory_xact_lock(hashtext('primezap.sweep'));

-- name: OutboxBatch :many
-- Ids are given before they commit: only reading from the start again, after a
-- pass, finds one that committed behind the reader.
SELECT id, tenant_id, event_id, event_type, day, body, conversation FROM outbox
WHERE id > @after ORDER BY id LIMIT @row_limit;

-- name: DeleteOutbox :exec
DELETE FROM outbox WHERE id = ANY(@ids::bigint[]);
