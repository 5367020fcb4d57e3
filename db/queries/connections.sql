-- name: LockAccounts :exec
-- Of all who connect or claim an account at once, one looks at a time. The locks are
-- 1024 for all accounts, so that a login with a thousand pages takes no more of them, and
-- are taken in one order. Taken after the lock of the quota.
SELECT pg_advisory_xact_lock(hashtext('primezap.accounts'), b.bucket)
FROM (SELECT DISTINCT (hashtextextended(unnest(@accounts::text[]), 0) & 1023)::integer AS bucket ORDER BY 1) AS b;

-- name: FindConnections :many
-- Also other tenants': channels and account ids are pairs. An Instagram account is
-- found by its page, too.
SELECT f.id::uuid AS id, f.tenant_id::uuid AS tenant_id, f.channel::text AS channel, f.external_id::text AS external_id,
  coalesce(f.page_id, '')::text AS page_id
FROM find_connections(@channels::text[], @account_ids::text[]) AS f(id, tenant_id, channel, external_id, page_id);

-- name: InsertConnection :one
-- No row: somebody has connected the account.
INSERT INTO connections (id, tenant_id, channel, name, external_id, page_id, credentials, account_name, grant_id)
VALUES (@id, @tenant_id, @channel, @name, @external_id, @page_id, @credentials, @account_name, @grant_id)
ON CONFLICT (external_id, channel) WHERE deleted_at IS NULL DO NOTHING
RETURNING *;

-- name: ReleaseConnections :many
-- Those that are deleted by it.
SELECT d.released::uuid AS id, d.own::boolean AS own FROM release_connections(@channel, @external_id, sqlc.narg('page_id')) AS d(released, own);

-- name: LockReleasedConnection :one
-- The event that tells that it moved is the last one of it.
SELECT * FROM connections WHERE id = @id AND deleted_at IS NOT NULL FOR UPDATE;

-- name: GetConnection :one
SELECT * FROM connections WHERE id = @id AND tenant_id = @tenant_id AND deleted_at IS NULL;

-- name: LockConnection :one
-- Held until the change commits, so that two merges do not lose each other's.
SELECT * FROM connections WHERE id = @id AND tenant_id = @tenant_id AND deleted_at IS NULL FOR UPDATE;

-- name: LockConnections :many
-- In the order in which everybody locks several.
SELECT id FROM connections WHERE id = ANY (@ids::uuid[]) AND tenant_id = @tenant_id AND deleted_at IS NULL ORDER BY id FOR UPDATE;

-- name: LockConnectionsOfGrant :many
SELECT * FROM connections WHERE tenant_id = @tenant_id AND grant_id = @grant_id AND deleted_at IS NULL ORDER BY id FOR UPDATE;

-- name: LockConnectionsOfPage :many
-- The page's own, and that of the Instagram account that is linked with it. What a
-- tenant has is read, as it is counted.
SELECT id, subscribed_fields FROM connections
WHERE tenant_id = @tenant_id AND deleted_at IS NULL AND (external_id = @page OR page_id = @page) AND channel IN ('facebook', 'instagram')
ORDER BY id FOR UPDATE;

-- name: SubscribeConnections :exec
-- Looked at by a worker at once, and then in its turn; without fields, never.
UPDATE connections SET subscribed_fields = sqlc.narg('fields')::text[],
  subscription_check_at = CASE WHEN sqlc.narg('fields')::text[] IS NOT NULL THEN now() END
WHERE id = ANY (@ids::uuid[]) AND tenant_id = @tenant_id AND deleted_at IS NULL;

-- name: ForgetToken :one
-- One that is paused stays so, and needs another token to become active.
UPDATE connections SET credentials = NULL, token_refused = true,
  status = CASE WHEN status = 'active' THEN 'reconnect' ELSE status END, updated_at = now()
WHERE id = @id AND tenant_id = @tenant_id AND deleted_at IS NULL
RETURNING *;

-- name: ForgetGrant :exec
UPDATE connections SET grant_id = NULL WHERE tenant_id = @tenant_id AND grant_id = @grant_id AND deleted_at IS NULL;

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

-- name: ListGrantable :many
-- What can be connected by a login, newest first; sorted as ListConnections is.
SELECT l.* FROM (
  SELECT * FROM connections
  WHERE tenant_id = @tenant_id AND deleted_at IS NULL AND channel IN ('facebook', 'instagram')
    AND id < CASE WHEN sqlc.narg('before')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before')::uuid END
  OFFSET 0
) AS l
ORDER BY l.id DESC
LIMIT @row_limit;

-- name: CountConnections :one
SELECT count(*) FROM (
  SELECT FROM connections
  WHERE tenant_id = @tenant_id AND deleted_at IS NULL
    AND (sqlc.narg('channel')::text IS NULL OR channel = sqlc.narg('channel'))
    AND (sqlc.narg('status')::text IS NULL OR status = sqlc.narg('status'))
  LIMIT @cap
) AS counted;

-- name: UpdateConnection :one
-- Another token may be one that Meta takes again: what it stopped telling of meanwhile, as
-- it does of an app that was removed, is restored at once.
UPDATE connections SET name = @name, page_id = @page_id, status = @status, credentials = @credentials,
  token_refused = @token_refused, account_name = @account_name, last_error = @last_error,
  last_error_at = @last_error_at, grant_id = @grant_id, updated_at = now(),
  subscription_check_at = CASE WHEN subscribed_fields IS NOT NULL AND credentials IS DISTINCT FROM @credentials
    THEN now() ELSE subscription_check_at END
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

-- name: DeleteConnection :one
-- Softly: conversations name it.
UPDATE connections SET deleted_at = now(), credentials = NULL, updated_at = now()
WHERE id = @id AND tenant_id = @tenant_id AND deleted_at IS NULL
RETURNING *;

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

-- name: ClaimSubscriptions :many
-- As ClaimGrants does.
UPDATE connections SET subscription_check_at = now() + make_interval(secs => @lease_seconds::float8)
WHERE id = ANY (ARRAY(
  SELECT o.id FROM connections o WHERE o.deleted_at IS NULL AND o.subscription_check_at <= now()
  ORDER BY o.subscription_check_at, o.id LIMIT @row_limit FOR UPDATE SKIP LOCKED))
RETURNING *;

-- name: ConnectionsOfPage :many
-- Pages before Instagram accounts.
SELECT * FROM connections
WHERE tenant_id = @tenant_id AND deleted_at IS NULL
  AND (external_id = @page OR page_id = @page) AND channel IN ('facebook', 'instagram')
ORDER BY channel, id;

-- name: SubscriptionsLooked :exec
-- The next look is at the same time for all of a page. What is subscribed to nothing was
-- to be looked at once. Who subscribed meanwhile has it looked at again: what was restored
-- may have been less. They are locked in the order in which everybody locks several.
UPDATE connections SET subscription_failures = 0, subscription_check_at = CASE WHEN subscribed_fields IS NOT NULL THEN now() + make_interval(secs => @seconds::float8) END
WHERE id = ANY (ARRAY(SELECT o.id FROM connections o WHERE o.id = ANY (@ids::uuid[]) ORDER BY o.id FOR UPDATE))
  AND subscription_check_at > now();

-- name: SubscriptionsNotLooked :exec
-- Meta did not say. Who unsubscribed meanwhile is not looked at any more.
UPDATE connections SET subscription_failures = least(subscription_failures + 1, 20),
  subscription_check_at = CASE WHEN subscription_check_at IS NOT NULL THEN now() + make_interval(secs => @seconds::float8) END
WHERE id = ANY (ARRAY(SELECT o.id FROM connections o WHERE o.id = ANY (@ids::uuid[]) ORDER BY o.id FOR UPDATE));

-- name: ReleaseSubscriptions :exec
-- Claimed ones that nobody got to.
UPDATE connections SET subscription_check_at = CASE WHEN subscription_check_at IS NOT NULL THEN now() + make_interval(secs => @seconds::float8) END
WHERE id = ANY (ARRAY(SELECT o.id FROM connections o WHERE o.id = ANY (@ids::uuid[]) ORDER BY o.id FOR UPDATE));

-- name: LookAtConnectionsOf :exec
-- At once, what is subscribed to nothing too: what they came by is worth nothing any more.
UPDATE connections SET subscription_check_at = now()
WHERE tenant_id = @tenant_id AND grant_id = @grant_id AND deleted_at IS NULL AND credentials IS NOT NULL AND NOT token_refused;
