-- name: InsertWithdrawal :execrows
-- No row: the same was told before. What is issued in the future is issued now.
INSERT INTO oauth_withdrawals (id, kind, code, request, user_id, issued_at)
VALUES (@id, @kind, @code, @request, @user_id::text, least(@issued_at::timestamptz, now()))
ON CONFLICT (request) DO NOTHING;

-- name: WithdrawalCode :one
SELECT code FROM oauth_withdrawals WHERE request = @request;

-- name: WithdrawalOfCode :one
SELECT kind, requested_at, completed_at FROM oauth_withdrawals WHERE code = @code;

-- name: GetWithdrawal :one
SELECT * FROM oauth_withdrawals WHERE id = @id;

-- name: WithdrawnGrants :many
-- The next grants, of whichever tenant, of a user who took back what they had allowed
-- up to a time. A user has one for each tenant: they are sorted.
SELECT g.* FROM oauth_grants g
WHERE g.user_id = @user_id AND g.id > @after AND g.granted_at <= @until
ORDER BY g.id LIMIT @row_limit;

-- name: AdvanceWithdrawal :exec
UPDATE oauth_withdrawals SET place = @place WHERE id = @id AND completed_at IS NULL;

-- name: CompleteWithdrawal :exec
-- Whose it was is nobody's to know any more.
UPDATE oauth_withdrawals SET user_id = NULL, completed_at = now() WHERE id = @id AND completed_at IS NULL;

-- name: PurgeWithdrawals :execrows
DELETE FROM oauth_withdrawals w WHERE w.id IN (
  SELECT p.id FROM oauth_withdrawals p WHERE p.completed_at < @completed_before ORDER BY p.completed_at LIMIT @row_limit
  FOR UPDATE SKIP LOCKED);
