-- name: ClaimIdempotencyKey :one
-- The first request with a key writes its ids; a later one reads them. The
-- update changes nothing: it makes RETURNING answer with the row that stands.
INSERT INTO idempotency_keys AS k (tenant_id, key, event_ids, day, body_hash)
VALUES (@tenant_id, @key, @event_ids, @day, @body_hash)
ON CONFLICT (tenant_id, key) DO UPDATE SET key = k.key
RETURNING event_ids, day, body_hash, accepted;

-- name: CompleteIdempotencyKey :exec
UPDATE idempotency_keys SET accepted = true WHERE tenant_id = @tenant_id AND key = @key;

-- name: PurgeIdempotencyKeys :execrows
DELETE FROM idempotency_keys k WHERE (k.tenant_id, k.key) IN (
  SELECT old.tenant_id, old.key FROM idempotency_keys old WHERE old.created_at < @older_than ORDER BY old.created_at LIMIT @row_limit);
