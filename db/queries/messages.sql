-- name: ListMessages :many
-- The newest first, in the order in which they were recorded: ids are UUIDv7.
SELECT * FROM messages
WHERE conversation_id = @conversation_id
  AND id < CASE WHEN sqlc.narg('before')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before')::uuid END
ORDER BY id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountMessages :one
SELECT count(*) FROM (SELECT FROM messages WHERE conversation_id = @conversation_id LIMIT @cap) AS counted;
