-- name: SetTenant :exec
-- The setting ends with the transaction: a pooled connection carries nothing over.
SELECT set_config('app.tenant_id', @tenant::text, true);

-- name: Generations :many
-- Where each of these tenants stands; one that has no row has no webhooks.
SELECT id, generation, reload_below FROM tenants WHERE id = ANY(@tenants::uuid[]);
