-- name: SetTenant :exec
-- The setting ends with the transaction: a pooled connection carries nothing over.
SELECT set_config('app.tenant_id', @tenant::text, true);

-- name: LockQuota :exec
-- Before the things of a kind that a tenant has are counted, in the transaction
-- that makes one more: two at once would both find room for the last. Others than
-- this tenant wait only where two hashes are the same.
SELECT pg_advisory_xact_lock(hashtextextended(@kind_of_tenant::text, 0));
