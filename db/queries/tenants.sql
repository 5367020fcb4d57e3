-- name: SetTenant :exec
-- The setting ends with the transaction: a pooled connection carries nothing over.
SELECT set_config('app.tenant_id', @tenant::text, true);
