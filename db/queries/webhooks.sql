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
-- of which a webhook must have one.
SELECT * FROM webhooks
WHERE tenant_id = @tenant_id AND deleted_at IS NULL
  AND (sqlc.narg('active')::boolean IS NULL OR active = sqlc.narg('active'))
  AND (sqlc.narg('subscriptions')::text[] IS NULL OR events && sqlc.narg('subscriptions'))
  AND id < CASE WHEN sqlc.narg('before')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before')::uuid END
ORDER BY id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountWebhooks :one
SELECT count(*) FROM (
  SELECT FROM webhooks
  WHERE tenant_id = @tenant_id AND deleted_at IS NULL
    AND (sqlc.narg('active')::boolean IS NULL OR active = sqlc.narg('active'))
    AND (sqlc.narg('subscriptions')::text[] IS NULL OR events && sqlc.narg('subscriptions'))
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

-- name: DeleteWebhook :execrows
-- Soft: workers must see that it went, and its rows go in chunks later.
UPDATE webhooks SET deleted_at = now(), updated_at = now(), active = false
WHERE id = @id AND deleted_at IS NULL;

-- name: ChangedWebhooks :many
-- What moved in a tenant since the caller's generation, with the generation that
-- this very snapshot shows: one statement, so that nothing lies between the two.
SELECT t.generation AS tenant_generation, w.id, w.url, w.events, w.active, w.operational, w.secret,
  w.previous_secret, w.previous_secret_until, w.headers, w.rate_per_second, w.retry_delays, w.generation,
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
