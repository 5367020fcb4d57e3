-- name: GetGrant :one
SELECT * FROM oauth_grants WHERE id = @id AND tenant_id = @tenant_id;

-- name: LockGrant :one
-- Held until the change commits. Taken before the locks of its connections.
SELECT * FROM oauth_grants WHERE id = @id AND tenant_id = @tenant_id FOR UPDATE;
