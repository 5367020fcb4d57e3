-- name: InsertAudit :exec
-- In the transaction of the change that it tells of.
INSERT INTO audit_log (id, tenant_id, actor, action, subject_type, subject_id, before, after)
VALUES (@id, @tenant_id, @actor, @action, @subject_type, @subject_id, @before, @after);
