-- name: InsertAudit :exec
-- In the transaction of the change that it tells of.
INSERT INTO audit_log (id, tenant_id, actor, action, subject_type, subject_id, before, after)
VALUES (@id, @tenant_id, @actor, @action, @subject_type, @subject_id, @before, @after);

-- name: ListAudit :many
-- Newest first, stable under insertion: the key of the last row is the cursor.
SELECT * FROM audit_log
WHERE tenant_id = @tenant_id
  AND created_at >= @from_time AND created_at < @to_time
  AND (sqlc.narg('action')::text IS NULL OR action = sqlc.narg('action'))
  AND (created_at, id) < (
    CASE WHEN sqlc.narg('before_time')::timestamptz IS NULL THEN 'infinity'::timestamptz ELSE sqlc.narg('before_time')::timestamptz END,
    CASE WHEN sqlc.narg('before_id')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before_id')::uuid END)
ORDER BY created_at DESC, id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountAudit :one
SELECT count(*) FROM (
  SELECT FROM audit_log
  WHERE tenant_id = @tenant_id
    AND created_at >= @from_time AND created_at < @to_time
    AND (sqlc.narg('action')::text IS NULL OR action = sqlc.narg('action'))
  LIMIT @cap
) AS counted;

-- name: ListAuditOf :many
-- What was done to one subject: by an index of its own, which a parameter that may
-- be null would not use.
SELECT * FROM audit_log
WHERE tenant_id = @tenant_id AND subject_id = @subject_id
  AND created_at >= @from_time AND created_at < @to_time
  AND (sqlc.narg('action')::text IS NULL OR action = sqlc.narg('action'))
  AND (created_at, id) < (
    CASE WHEN sqlc.narg('before_time')::timestamptz IS NULL THEN 'infinity'::timestamptz ELSE sqlc.narg('before_time')::timestamptz END,
    CASE WHEN sqlc.narg('before_id')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before_id')::uuid END)
ORDER BY created_at DESC, id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountAuditOf :one
SELECT count(*) FROM (
  SELECT FROM audit_log
  WHERE tenant_id = @tenant_id AND subject_id = @subject_id
    AND created_at >= @from_time AND created_at < @to_time
    AND (sqlc.narg('action')::text IS NULL OR action = sqlc.narg('action'))
  LIMIT @cap
) AS counted;

-- name: PurgeAudit :execrows
DELETE FROM audit_log a
USING (SELECT o.id FROM audit_log o WHERE o.created_at < @created_before ORDER BY o.created_at LIMIT @row_limit) AS old
WHERE a.id = old.id;
