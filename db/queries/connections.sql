-- name: LockAccount :exec
-- Of all who connect or claim an account at once, one looks at a time. Taken after
-- the lock of the quota.
SELECT pg_advisory_xact_lock(hashtextextended('account ' || @channel::text || ' ' || @account_id::text, 0));

-- name: FindConnections :many
-- Also other tenants': channels and account ids are pairs. An Instagram account is
-- found by its page, too.
SELECT f.id::uuid AS id, f.tenant_id::uuid AS tenant_id, f.channel::text AS channel, f.external_id::text AS external_id,
  coalesce(f.page_id, '')::text AS page_id
FROM find_connections(@channels::text[], @account_ids::text[]) AS f(id, tenant_id, channel, external_id, page_id);

-- name: InsertConnection :one
-- No row: somebody has connected the account.
INSERT INTO connections (id, tenant_id, channel, name, external_id, page_id, credentials, account_name)
VALUES (@id, @tenant_id, @channel, @name, @external_id, @page_id, @credentials, @account_name)
ON CONFLICT (external_id, channel) WHERE deleted_at IS NULL DO NOTHING
RETURNING *;

-- name: ReleaseConnections :one
SELECT d.released::integer AS released FROM release_connections(@channel, @external_id, sqlc.narg('page_id')) AS d(released);

-- name: GetConnection :one
SELECT * FROM connections WHERE id = @id AND tenant_id = @tenant_id AND deleted_at IS NULL;

-- name: LockConnection :one
-- Held until the change commits, so that two merges do not lose each other's.
SELECT * FROM connections WHERE id = @id AND tenant_id = @tenant_id AND deleted_at IS NULL FOR UPDATE;

-- name: UseConnection :one
-- Until the transaction ends nobody pauses or deletes it: whoever is told that it is
-- paused knows that nothing more goes through it.
SELECT id, tenant_id, channel, external_id, credentials, status, last_error FROM connections
WHERE id = @id AND tenant_id = @tenant_id AND deleted_at IS NULL FOR SHARE;

-- name: ListConnections :many
-- Newest first: ids are UUIDv7. What a tenant has is sorted, as it is counted: in the
-- order of ids the planner would read other tenants' rows until it has enough.
SELECT l.* FROM (
  SELECT * FROM connections
  WHERE tenant_id = @tenant_id AND deleted_at IS NULL
    AND (sqlc.narg('channel')::text IS NULL OR channel = sqlc.narg('channel'))
    AND (sqlc.narg('status')::text IS NULL OR status = sqlc.narg('status'))
    AND id < CASE WHEN sqlc.narg('before')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before')::uuid END
  OFFSET 0
) AS l
ORDER BY l.id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountConnections :one
SELECT count(*) FROM (
  SELECT FROM connections
  WHERE tenant_id = @tenant_id AND deleted_at IS NULL
    AND (sqlc.narg('channel')::text IS NULL OR channel = sqlc.narg('channel'))
    AND (sqlc.narg('status')::text IS NULL OR status = sqlc.narg('status'))
  LIMIT @cap
) AS counted;

-- name: UpdateConnection :one
UPDATE connections SET name = @name, page_id = @page_id, status = @status, credentials = @credentials,
  token_refused = @token_refused, account_name = @account_name, last_error = @last_error,
  last_error_at = @last_error_at, updated_at = now()
WHERE id = @id AND tenant_id = @tenant_id AND deleted_at IS NULL
RETURNING *;

-- name: RefuseConnection :one
-- Of a token that was replaced meanwhile it says nothing.
UPDATE connections SET status = CASE WHEN @token_refused::boolean AND status = 'active' THEN 'reconnect' ELSE status END,
  token_refused = token_refused OR @token_refused::boolean, last_error = @message, last_error_at = now(), updated_at = now()
WHERE id = @id AND tenant_id = @tenant_id AND credentials = @credentials
RETURNING *;

-- name: ClearConnectionError :exec
UPDATE connections SET last_error = NULL, last_error_at = NULL, updated_at = now()
WHERE id = @id AND tenant_id = @tenant_id AND credentials = @credentials AND NOT token_refused AND last_error IS NOT NULL;

-- name: DeleteConnection :exec
-- Softly: conversations name it.
UPDATE connections SET deleted_at = now(), credentials = NULL, updated_at = now()
WHERE id = @id AND tenant_id = @tenant_id AND deleted_at IS NULL;

-- name: ForgetRateLimits :exec
-- By the whole key: the index by tenant looks right for every query under row level
-- security.
DELETE FROM integration_rate_limits
WHERE connection_id = @connection_id AND window_type IN ('per_minute', 'per_hour', 'per_day');

-- name: ConnectionSeals :many
-- The next connections in the order of ids, and whether their credentials begin
-- otherwise than with one of prefixes: key ids.
SELECT id, coalesce(substring(credentials FROM 1 FOR 5) <> ALL (@prefixes::bytea[]), false)::boolean AS outdated
FROM connections WHERE id > @after ORDER BY id LIMIT @row_limit;

-- name: SealedConnection :one
SELECT tenant_id, credentials FROM connections WHERE id = @id AND credentials IS NOT NULL;

-- name: ResealConnection :execrows
-- Compares and swaps: a token that was stored meanwhile stands. The meaning is the same.
UPDATE connections SET credentials = @credentials WHERE id = @id AND credentials = @old_credentials;
