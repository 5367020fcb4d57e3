-- name: ClaimIdempotencyKey :one
-- The first request with a key writes its ids; a later one reads them. The
-- update changes nothing: it makes RETURNING answer with the row that stands.
INSERT INTO idempotency_keys AS k (tenant_id, key, event_ids, day, body_hash)
VALUES (@tenant_id, @key, @event_ids, @day, @body_hash)
ON CONFLICT (tenant_id, key) DO UPDATE SET key = k.key
RETURNING event_ids, day, body_hash, accepted;

-- name: ClaimEventIDs :many
-- The same for ids that a client gave its events, each id once, in the order of
-- ids: two requests lock the rows that they share in the same order.
INSERT INTO idempotency_keys AS k (tenant_id, key, event_ids, day, body_hash)
SELECT @tenant_id::uuid, 'id:' || c.id, ARRAY[c.id], @day::date, c.hash
FROM (SELECT unnest(@ids::text[]) AS id, unnest(@body_hashes::bytea[]) AS hash) AS c
ORDER BY c.id COLLATE "C"
ON CONFLICT (tenant_id, key) DO UPDATE SET key = k.key
RETURNING substr(key, 4)::text AS id, day, body_hash, accepted;

-- name: CompleteIdempotencyKeys :exec
-- In the order of keys as well: the inner query takes the locks.
UPDATE idempotency_keys k SET accepted = true
WHERE k.tenant_id = @tenant_id AND k.key IN (
  SELECT o.key FROM idempotency_keys o WHERE o.tenant_id = @tenant_id AND o.key = ANY(@keys::text[])
  ORDER BY o.key COLLATE "C" FOR UPDATE);

-- name: PurgeIdempotencyKeys :execrows
DELETE FROM idempotency_keys k WHERE (k.tenant_id, k.key) IN (
  SELECT old.tenant_id, old.key FROM idempotency_keys old WHERE old.created_at < @older_than ORDER BY old.created_at LIMIT @row_limit);
