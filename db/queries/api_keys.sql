-- name: FindAPIKey :one
SELECT k.id::uuid AS id, k.tenant_id::uuid AS tenant_id, k.scopes::text[] AS scopes
FROM find_api_key(@key_hash) AS k(id, tenant_id, scopes);

-- name: InsertAPIKey :exec
-- A key that is there already stays as it is: the fixed development key is
-- inserted at every start.
INSERT INTO api_keys (id, tenant_id, name, hint, hash, scopes)
VALUES (@id, @tenant_id, @name, @hint, @hash, @scopes)
ON CONFLICT (hash) DO NOTHING;
