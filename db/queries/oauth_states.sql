-- name: UseState :execrows
-- No row: it was used before.
INSERT INTO oauth_states (tenant_id, nonce, expires_at) VALUES (@tenant_id, @nonce, @expires_at)
ON CONFLICT (tenant_id, nonce) DO NOTHING;
