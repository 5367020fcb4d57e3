-- name: FindAPIKey :one
SELECT k.id::uuid AS id, k.tenant_id::uuid AS tenant_id, k.scopes::text[] AS scopes
FROM find_api_key(@key_hash) AS k(id, tenant_id, scopes);

-- name: InsertAPIKey :exec
-- A key that is there already stays as it is: the fixed development key is
-- inserted at every start.
INSERT INTO api_keys (id, tenant_id, name, hint, hash, scopes)
VALUES (@id, @tenant_id, @name, @hint, @hash, @scopes)
ON CONFLICT (hash) DO NOTHING;

-- name: CreateAPIKey :one
INSERT INTO api_keys (id, tenant_id, name, hint, hash, scopes)
VALUES (@id, @tenant_id, @name, @hint, @hash, @scopes)
RETURNING id, name, hint, scopes, created_at, last_used_at;

-- name: ListAPIKeys :many
-- Newest first: ids are UUIDv7. The row policy supplies the tenant; naming it
-- lets the index serve the order.
SELECT id, name, hint, scopes, created_at, last_used_at FROM api_keys
WHERE tenant_id = @tenant_id AND revoked_at IS NULL
  AND id < CASE WHEN sqlc.narg('before')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before')::uuid END
ORDER BY id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountAPIKeys :one
SELECT count(*) FROM (
  SELECT FROM api_keys WHERE tenant_id = @tenant_id AND revoked_at IS NULL LIMIT @cap
) AS counted;

-- name: RevokeAPIKey :one
UPDATE api_keys SET revoked_at = now()
WHERE id = @id AND tenant_id = @tenant_id AND revoked_at IS NULL
RETURNING id, name, hint, scopes, created_at, last_used_at;
