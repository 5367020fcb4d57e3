-- name: UseState :execrows
-- No row: it was used before.
INSERT INTO oauth_states (tenant_id, nonce, expires_at) VALUES (@tenant_id, @nonce, @expires_at)
ON CONFLICT (tenant_id, nonce) DO NOTHING;

-- name: PurgeStates :execrows
-- What has expired is refused for that, used or not. An hour more, for the clocks of
-- those who say so.
DELETE FROM oauth_states s WHERE (s.tenant_id, s.nonce) IN (
  SELECT p.tenant_id, p.nonce FROM oauth_states p WHERE p.expires_at < now() - interval '1 hour' ORDER BY p.expires_at LIMIT @row_limit);
