-- name: GetGrant :one
SELECT * FROM oauth_grants WHERE id = @id AND tenant_id = @tenant_id;

-- name: LockGrant :one
-- Held until the change commits. Taken before the locks of its connections.
SELECT * FROM oauth_grants WHERE id = @id AND tenant_id = @tenant_id FOR UPDATE;

-- name: LockGrantOfUser :one
SELECT * FROM oauth_grants WHERE tenant_id = @tenant_id AND user_id = @user_id FOR UPDATE;

-- name: HoldGrant :one
-- Until the transaction ends nobody refuses or removes it: what is connected by it is
-- seen by who does so next. No row: it is worth nothing any more.
SELECT id FROM oauth_grants WHERE id = @id AND tenant_id = @tenant_id AND status = 'active' FOR SHARE;

-- name: CountGrants :one
SELECT count(*) FROM (SELECT FROM oauth_grants WHERE tenant_id = @tenant_id LIMIT @cap) AS counted;

-- name: ListGrants :many
-- Newest first: ids are UUIDv7. What a tenant has is sorted, as it is counted.
SELECT l.* FROM (SELECT * FROM oauth_grants WHERE tenant_id = @tenant_id OFFSET 0) AS l
ORDER BY l.id DESC
LIMIT @row_limit;

-- name: InsertGrant :one
INSERT INTO oauth_grants (id, tenant_id, user_id, user_name, credentials, scopes, missing_scopes, expires_at, data_access_expires_at)
VALUES (@id, @tenant_id, @user_id, @user_name, @credentials, @scopes::text[], @missing_scopes::text[], @expires_at, @data_access_expires_at)
RETURNING *;

-- name: RenewGrant :one
-- After another login. Ends that are others than before have not been told of.
UPDATE oauth_grants SET user_name = @user_name, credentials = @credentials, status = 'active', scopes = @scopes::text[],
  missing_scopes = @missing_scopes::text[], granted_at = now(), expires_at = @expires_at, data_access_expires_at = @data_access_expires_at,
  told_expires_at = CASE WHEN expires_at IS NOT DISTINCT FROM @expires_at THEN told_expires_at END,
  told_data_access_at = CASE WHEN data_access_expires_at IS NOT DISTINCT FROM @data_access_expires_at THEN told_data_access_at END,
  check_at = now(), updated_at = now()
WHERE id = @id AND tenant_id = @tenant_id
RETURNING *;

-- name: RefreshGrant :one
-- With another token of the same login.
UPDATE oauth_grants SET credentials = @credentials, scopes = @scopes::text[], missing_scopes = @missing_scopes::text[],
  expires_at = @expires_at, data_access_expires_at = @data_access_expires_at,
  told_expires_at = CASE WHEN expires_at IS NOT DISTINCT FROM @expires_at THEN told_expires_at END,
  told_data_access_at = CASE WHEN data_access_expires_at IS NOT DISTINCT FROM @data_access_expires_at THEN told_data_access_at END,
  updated_at = now()
WHERE id = @id AND tenant_id = @tenant_id
RETURNING *;

-- name: RefuseGrant :one
UPDATE oauth_grants SET status = 'reconnect', credentials = NULL, updated_at = now()
WHERE id = @id AND tenant_id = @tenant_id
RETURNING *;

-- name: DeleteGrant :exec
DELETE FROM oauth_grants WHERE id = @id AND tenant_id = @tenant_id;

-- name: GrantSeals :many
-- The next grants in the order of ids, and whether their credentials begin otherwise
-- than with one of prefixes: key ids.
SELECT id, coalesce(substring(credentials FROM 1 FOR 5) <> ALL (@prefixes::bytea[]), false)::boolean AS outdated
FROM oauth_grants WHERE id > @after ORDER BY id LIMIT @row_limit;

-- name: SealedGrant :one
SELECT tenant_id, credentials FROM oauth_grants WHERE id = @id AND credentials IS NOT NULL;

-- name: ResealGrant :execrows
-- Compares and swaps: a token that was stored meanwhile stands. The meaning is the same.
UPDATE oauth_grants SET credentials = @credentials WHERE id = @id AND credentials = @old_credentials;

-- name: GrantedElsewhere :one
-- Whether other tenants live on what the same user has allowed.
SELECT granted_elsewhere(@facebook_user::text)::boolean AS elsewhere;

-- name: ClaimGrants :many
-- Those whose time has come are put off in the same statement: nobody else looks at them
-- meanwhile, and if the worker dies, somebody does so later.
UPDATE oauth_grants SET check_at = now() + make_interval(secs => @lease_seconds::float8)
WHERE id = ANY (ARRAY(
  SELECT o.id FROM oauth_grants o WHERE o.status = 'active' AND o.check_at <= now()
  ORDER BY o.check_at, o.id LIMIT @row_limit FOR UPDATE SKIP LOCKED))
RETURNING *;

-- name: GrantLooked :exec
UPDATE oauth_grants SET check_failures = 0, check_at = now() + make_interval(secs => @seconds::float8)
WHERE id = @id;

-- name: GrantNotLooked :exec
-- Meta did not say.
UPDATE oauth_grants SET check_failures = least(check_failures + 1, 20), check_at = now() + make_interval(secs => @seconds::float8)
WHERE id = @id;

-- name: ReleaseGrants :exec
-- Claimed ones that nobody got to.
UPDATE oauth_grants SET check_at = now() + make_interval(secs => @seconds::float8) WHERE id = ANY (@ids::uuid[]);

-- name: NoteGrantEnds :one
-- As Meta says, and which of them the tenant was told of.
UPDATE oauth_grants SET expires_at = @expires_at, data_access_expires_at = @data_access_expires_at,
  told_expires_at = @told_expires_at, told_data_access_at = @told_data_access_at
WHERE id = @id
RETURNING *;

-- name: LookAtGrant :exec
-- With the next turn.
UPDATE oauth_grants SET check_at = now() WHERE id = @id AND tenant_id = @tenant_id AND status = 'active';
