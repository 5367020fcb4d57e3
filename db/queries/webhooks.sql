-- name: InsertWebhook :one
INSERT INTO webhooks (id, tenant_id, name, url, description, events, active, operational, secret, secret_hint,
  headers, header_names, filter, rate_per_second, retry_delays, auto_recover)
VALUES (@id, @tenant_id, @name, @url, @description, @events, @active, @operational, @secret, @secret_hint,
  @headers, @header_names, @filter, @rate_per_second, @retry_delays, @auto_recover)
RETURNING *;

-- name: GetWebhook :one
SELECT * FROM webhooks WHERE id = @id AND deleted_at IS NULL;

-- name: LockWebhook :one
-- Held until the change commits, so that two merges do not lose each other's.
SELECT * FROM webhooks WHERE id = @id AND deleted_at IS NULL FOR UPDATE;

-- name: ListWebhooks :many
-- Newest first: ids are UUIDv7. The row policy supplies the tenant; naming it
-- lets the index serve the order. subscriptions, where there are any, are those
-- of which a webhook must have one, or one of the wide ones if it is operational.
SELECT * FROM webhooks
WHERE tenant_id = @tenant_id AND deleted_at IS NULL
  AND (sqlc.narg('active')::boolean IS NULL OR active = sqlc.narg('active'))
  AND (sqlc.narg('subscriptions')::text[] IS NULL OR events && sqlc.narg('subscriptions')
    OR operational AND events && @operational_subscriptions::text[])
  AND id < CASE WHEN sqlc.narg('before')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before')::uuid END
ORDER BY id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountWebhooks :one
SELECT count(*) FROM (
  SELECT FROM webhooks
  WHERE tenant_id = @tenant_id AND deleted_at IS NULL
    AND (sqlc.narg('active')::boolean IS NULL OR active = sqlc.narg('active'))
    AND (sqlc.narg('subscriptions')::text[] IS NULL OR events && sqlc.narg('subscriptions')
      OR operational AND events && @operational_subscriptions::text[])
  LIMIT @cap
) AS counted;

-- name: UpdateWebhook :one
-- A secret that is replaced ends the grace of the one before it: that one was
-- replaced by a secret which is gone itself.
UPDATE webhooks SET name = @name, url = @url, description = @description, events = @events, active = @active,
  operational = @operational, secret = @secret, secret_hint = @secret_hint,
  previous_secret = CASE WHEN secret = @secret THEN previous_secret END,
  previous_secret_until = CASE WHEN secret = @secret THEN previous_secret_until END, headers = @headers,
  header_names = @header_names, filter = @filter, rate_per_second = @rate_per_second,
  retry_delays = @retry_delays, auto_recover = @auto_recover, disabled_at = @disabled_at,
  disabled_reason = @disabled_reason, updated_at = now()
WHERE id = @id AND deleted_at IS NULL
RETURNING *;

-- name: RegenerateSecret :one
-- One statement: no delivery ever finds the webhook without a signer. The two
-- secrets share their purpose, so that the ciphertext can be copied. Without
-- grace the old one goes, and with it an older one's grace.
UPDATE webhooks SET
  previous_secret = CASE WHEN @grace_seconds::integer > 0 THEN secret END,
  previous_secret_until = CASE WHEN @grace_seconds::integer > 0 THEN now() + make_interval(secs => @grace_seconds::integer) END,
  secret = @secret, secret_hint = @secret_hint, updated_at = now()
WHERE id = @id AND deleted_at IS NULL
RETURNING *;

-- name: EnableWebhook :one
UPDATE webhooks SET active = true, disabled_at = NULL, disabled_reason = NULL, updated_at = now()
WHERE id = @id AND deleted_at IS NULL
RETURNING *;

-- name: DeleteWebhook :execrows
-- Soft: workers must see that it went, and its rows go in chunks later.
UPDATE webhooks SET deleted_at = now(), updated_at = now(), active = false
WHERE id = @id AND deleted_at IS NULL;

-- name: ChangedWebhooks :many
-- What moved in a tenant since the caller's generation, with the generation that
-- this very snapshot shows: one statement, so that nothing lies between the two.
SELECT t.generation AS tenant_generation, w.id, w.url, w.events, w.active, w.operational, w.secret,
  w.previous_secret, w.previous_secret_until, w.headers, w.filter, w.rate_per_second, w.retry_delays, w.generation,
  (w.deleted_at IS NOT NULL)::boolean AS deleted
FROM tenants t
JOIN webhooks w ON w.tenant_id = t.id AND w.generation > @since AND w.generation > 0
WHERE t.id = @tenant_id
ORDER BY w.generation;

-- name: WebhookForTest :one
-- A test call reaches an inactive webhook too.
SELECT id, tenant_id, url, events, active, operational, secret, previous_secret, previous_secret_until, headers,
  rate_per_second, retry_delays, generation
FROM webhooks WHERE id = @id AND tenant_id = @tenant_id AND deleted_at IS NULL;

-- name: WebhookSeals :many
-- The next webhooks in the order of ids, deleted ones too, and whether one of
-- their ciphertexts begins otherwise than with one of prefixes: key ids.
SELECT id, (substring(secret FROM 1 FOR 5) <> ALL (@prefixes::bytea[])
  OR coalesce(substring(previous_secret FROM 1 FOR 5) <> ALL (@prefixes::bytea[]), false)
  OR coalesce(substring(headers FROM 1 FOR 5) <> ALL (@prefixes::bytea[]), false))::boolean AS outdated
FROM webhooks WHERE id > @after ORDER BY id LIMIT @row_limit;

-- name: SealedWebhook :one
SELECT id, tenant_id, secret, previous_secret, headers FROM webhooks WHERE id = @id;

-- name: ResealWebhook :execrows
-- Compares and swaps: an edit made meanwhile stands. The meaning is the same, so
-- the generation stays.
UPDATE webhooks SET secret = @secret, previous_secret = @previous_secret, headers = @headers, reseals = reseals + 1
WHERE id = @id AND secret = @old_secret AND previous_secret IS NOT DISTINCT FROM @old_previous_secret
  AND headers IS NOT DISTINCT FROM @old_headers;

-- name: CountSeals :many
-- How many webhooks, connections and grants have a ciphertext under each key: the id is its
-- second to fifth byte.
SELECT s.prefix::bytea AS prefix, count(DISTINCT s.id) FILTER (WHERE s.of = 'webhook') AS webhooks,
  count(DISTINCT s.id) FILTER (WHERE s.of = 'connection') AS connections, count(DISTINCT s.id) FILTER (WHERE s.of = 'grant') AS grants
FROM (
  SELECT 'webhook' AS of, w.id, substring(w.sealed FROM 1 FOR 5) AS prefix
  FROM (SELECT id, unnest(ARRAY[secret, previous_secret, headers]) AS sealed FROM webhooks) AS w
  UNION ALL
  SELECT 'connection', c.id, substring(c.credentials FROM 1 FOR 5) FROM connections c
  UNION ALL
  SELECT 'grant', g.id, substring(g.credentials FROM 1 FOR 5) FROM oauth_grants g
) AS s
WHERE s.prefix IS NOT NULL GROUP BY 1 ORDER BY 1;

-- name: DisableWebhook :one
-- One that is disabled already, by whomever, is none to disable; nor is one of
-- another generation, where one is given: it is not the one that was attempted.
UPDATE webhooks SET active = false, disabled_at = now(), disabled_reason = @reason, updated_at = now()
WHERE id = @id AND active AND deleted_at IS NULL
  AND (sqlc.narg('generation')::bigint IS NULL OR generation = sqlc.narg('generation'))
RETURNING tenant_id, name, url, now()::timestamptz AS disabled_at;

-- name: WebhookToWarn :one
SELECT tenant_id, name, url, now()::timestamptz AS at FROM webhooks WHERE id = @id AND active AND deleted_at IS NULL;
