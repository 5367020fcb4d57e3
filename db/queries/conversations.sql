-- name: GetConversation :one
SELECT * FROM conversations WHERE id = @id;

-- name: LockConversation :one
-- After its contact's lock, which whoever tells of the conversation needs.
SELECT * FROM conversations WHERE id = @id FOR UPDATE;

-- name: ListConversations :many
-- Newest first: ids are UUIDv7. Of each state as many are read as a page may need. The
-- bounds say that it is the one state in a way that no other index serves.
SELECT c.* FROM (SELECT unnest(@statuses::text[]) AS status) AS s
CROSS JOIN LATERAL (
  SELECT o.* FROM conversations o
  WHERE o.tenant_id = @tenant_id AND o.status >= s.status
    AND (o.status, o.id) < (s.status,
      CASE WHEN sqlc.narg('before')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before')::uuid END)
  ORDER BY o.status DESC, o.id DESC
  LIMIT @status_limit
) AS c
ORDER BY c.id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountConversations :one
SELECT count(*) FROM (
  SELECT FROM conversations WHERE tenant_id = @tenant_id AND status = ANY (@statuses::text[]) LIMIT @cap
) AS counted;

-- name: ListConversationsOfConnection :many
SELECT c.* FROM (SELECT unnest(@statuses::text[]) AS status) AS s
CROSS JOIN LATERAL (
  SELECT o.* FROM conversations o
  WHERE o.connection_id = @connection_id AND o.status >= s.status
    AND (o.status, o.id) < (s.status,
      CASE WHEN sqlc.narg('before')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before')::uuid END)
  ORDER BY o.status DESC, o.id DESC
  LIMIT @status_limit
) AS c
ORDER BY c.id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountConversationsOfConnection :one
SELECT count(*) FROM (
  SELECT FROM conversations WHERE connection_id = @connection_id AND status = ANY (@statuses::text[]) LIMIT @cap
) AS counted;

-- name: ListConversationsOfContact :many
-- A person has few.
SELECT * FROM conversations
WHERE contact_id = @contact_id AND status = ANY (@statuses::text[])
  AND (sqlc.narg('connection_id')::uuid IS NULL OR connection_id = sqlc.narg('connection_id'))
  AND id < CASE WHEN sqlc.narg('before')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before')::uuid END
ORDER BY id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountConversationsOfContact :one
SELECT count(*) FROM (
  SELECT FROM conversations
  WHERE contact_id = @contact_id AND status = ANY (@statuses::text[])
    AND (sqlc.narg('connection_id')::uuid IS NULL OR connection_id = sqlc.narg('connection_id'))
  LIMIT @cap
) AS counted;

-- name: OtherOpenConversation :one
-- The one that keeps a conversation from being reopened.
SELECT o.id FROM conversations o
WHERE o.contact_id = @contact_id AND o.connection_id = @connection_id AND o.status <> 'closed' AND o.id <> @id
LIMIT 1;

-- name: UpdateConversation :one
-- updated_at is a time after the locks were had, as the event's.
UPDATE conversations SET status = @status, assignee_id = @assignee_id, assignee_name = @assignee_name,
  closed_at = CASE WHEN @status <> 'closed' THEN NULL WHEN status <> 'closed' THEN clock_timestamp() ELSE closed_at END,
  updated_at = clock_timestamp()
WHERE id = @id
RETURNING *;
