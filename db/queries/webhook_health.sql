-- name: RecordHealth :exec
-- Of a commit that has exhausted deliveries: all its webhooks, sorted by the
-- caller, each with how many were exhausted after its last success (tail) and
-- whether one was at all. Successes alone leave no row where there is none. What
-- was exhausted in this commit after a success is not what that success brings
-- back: the success came a microsecond before.
INSERT INTO webhook_health AS h (webhook_id, tenant_id, exhausted, failing_since, gone_generation, down, succeeded_at, recover_at)
SELECT r.webhook_id, r.tenant_id, r.tail, CASE WHEN r.tail > 0 THEN now() END, nullif(r.gone_generation, -1), r.tail > 0,
  CASE WHEN r.succeeded THEN now() - CASE WHEN r.tail > 0 THEN interval '1 microsecond' ELSE interval '0' END END,
  CASE WHEN r.succeeded AND r.exhausted AND r.tail = 0 THEN now() END
FROM (SELECT unnest(@webhook_ids::uuid[]) AS webhook_id, unnest(@tenants::uuid[]) AS tenant_id, unnest(@tails::int[]) AS tail,
  unnest(@exhausted::boolean[]) AS exhausted, unnest(@succeeded::boolean[]) AS succeeded,
  unnest(@gone_generations::bigint[]) AS gone_generation) AS r
WHERE r.exhausted OR (SELECT true FROM webhook_health k WHERE k.webhook_id = r.webhook_id)
ON CONFLICT (webhook_id) DO UPDATE SET
  exhausted = CASE WHEN excluded.succeeded_at IS NULL THEN h.exhausted ELSE 0 END + excluded.exhausted,
  failing_since = CASE WHEN excluded.succeeded_at IS NULL THEN coalesce(h.failing_since, excluded.failing_since) ELSE excluded.failing_since END,
  level = CASE WHEN excluded.succeeded_at IS NULL THEN h.level ELSE 0 END,
  told = CASE WHEN excluded.succeeded_at IS NULL THEN h.told ELSE 0 END,
  gone_generation = coalesce(excluded.gone_generation, h.gone_generation),
  down = excluded.down,
  succeeded_at = coalesce(excluded.succeeded_at, h.succeeded_at),
  recover_at = CASE WHEN excluded.succeeded_at IS NOT NULL AND h.down THEN now() ELSE coalesce(excluded.recover_at, h.recover_at) END
WHERE h.down OR excluded.down OR excluded.recover_at IS NOT NULL OR excluded.gone_generation IS NOT NULL;

-- name: RaiseLevels :exec
-- After RecordHealth, under its locks: writes only where a streak has come to a
-- further level.
UPDATE webhook_health h
SET level = health_level(h.exhausted, now() - h.failing_since, make_interval(secs => @disable_after_seconds::float8), @disable_exhausted::int)
WHERE h.webhook_id = ANY(@webhook_ids::uuid[])
  AND health_level(h.exhausted, now() - h.failing_since, make_interval(secs => @disable_after_seconds::float8), @disable_exhausted::int) > h.level;

-- name: UntoldHealth :many
-- Streaks that nobody has acted on, and answers 410.
SELECT h.webhook_id, h.tenant_id, h.level, h.told, h.gone_generation FROM webhook_health h
WHERE h.webhook_id > @after AND (h.level > h.told OR h.gone_generation IS NOT NULL)
ORDER BY h.webhook_id LIMIT @row_limit;

-- name: TellHealth :one
-- Whoever gets the row acts on it, and nobody else does: it is refused to those
-- who come later, and where the streak has ended or gone on meanwhile.
UPDATE webhook_health h SET told = h.level
WHERE h.webhook_id = @webhook_id AND h.level = @level AND h.told < @level
RETURNING h.exhausted, h.failing_since;

-- name: ForgetGone :exec
UPDATE webhook_health SET gone_generation = NULL WHERE webhook_id = @webhook_id AND gone_generation = @generation;

-- name: HealthStreak :one
SELECT exhausted, failing_since FROM webhook_health WHERE webhook_id = @webhook_id;

-- name: DueRecoveries :many
-- Webhooks of which more goes back to the lane now. wanted is false where that
-- was switched off, or the webhook deleted. recover_at is the turn: what is noted
-- of it is refused once somebody else has had it, or a further success.
SELECT d.webhook_id, d.tenant_id, d.succeeded_at, d.recover_at, coalesce(w.auto_recover AND w.deleted_at IS NULL, false)::boolean AS wanted
FROM (SELECT h.webhook_id, h.tenant_id, h.succeeded_at, h.recover_at FROM webhook_health h
  WHERE h.recover_at <= now() ORDER BY h.recover_at LIMIT @row_limit) AS d
LEFT JOIN LATERAL (SELECT k.auto_recover, k.deleted_at FROM webhooks k WHERE k.id = d.webhook_id LIMIT 1) AS w ON true
ORDER BY d.recover_at;

-- name: PostponeRecovery :execrows
UPDATE webhook_health SET recover_at = now() + make_interval(secs => @pause_seconds::float8)
WHERE webhook_id = @webhook_id AND recover_at = @turn;

-- name: ForgetRecovered :execrows
DELETE FROM webhook_health
WHERE webhook_id = @webhook_id AND recover_at = @turn AND NOT down AND gone_generation IS NULL;

-- name: EndRecovery :execrows
UPDATE webhook_health SET recover_at = NULL WHERE webhook_id = @webhook_id AND recover_at = @turn;
