-- name: GetContact :one
SELECT * FROM contacts WHERE id = @id;

-- name: LockContact :one
-- Held until what is told of the contact is in the outbox and commits: her events
-- keep their order.
SELECT * FROM contacts WHERE id = @id FOR UPDATE;

-- name: ListContacts :many
-- Newest first: ids are UUIDv7. What the bounds say again makes the order that of
-- contacts_live, and of no other index.
SELECT * FROM contacts
WHERE tenant_id = @tenant_id AND merged_into IS NULL AND (merged_into IS NULL) >= true
  AND ((merged_into IS NULL), id) < (true,
    CASE WHEN sqlc.narg('before')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before')::uuid END)
ORDER BY (merged_into IS NULL) DESC, id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountContacts :one
SELECT count(*) FROM (
  SELECT FROM contacts WHERE tenant_id = @tenant_id AND merged_into IS NULL LIMIT @cap
) AS counted;

-- name: ListContactsByPhone :many
-- They are few. Whoever turned out to be another has no number any more.
SELECT * FROM contacts
WHERE phone = @phone::text AND tenant_id = @tenant_id
  AND (sqlc.narg('tag')::text IS NULL OR sqlc.narg('tag') = ANY (tags))
  AND id < CASE WHEN sqlc.narg('before')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before')::uuid END
ORDER BY id DESC
LIMIT @row_limit OFFSET @row_offset;

-- name: CountContactsByPhone :one
SELECT count(*) FROM (
  SELECT FROM contacts
  WHERE phone = @phone::text AND tenant_id = @tenant_id
    AND (sqlc.narg('tag')::text IS NULL OR sqlc.narg('tag') = ANY (tags))
  LIMIT @cap
) AS counted;

-- name: ListContactsByTag :many
SELECT c.* FROM (
  SELECT t.contact_id FROM contact_tags t
  WHERE t.tenant_id = @tenant_id AND t.tag = @tag
    AND t.contact_id < CASE WHEN sqlc.narg('before')::uuid IS NULL THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid ELSE sqlc.narg('before')::uuid END
  ORDER BY t.contact_id DESC
  LIMIT @row_limit OFFSET @row_offset
) AS tagged
CROSS JOIN LATERAL (SELECT o.* FROM contacts o WHERE o.id = tagged.contact_id LIMIT 1) AS c
ORDER BY tagged.contact_id DESC;

-- name: CountContactsByTag :one
SELECT count(*) FROM (
  SELECT FROM contact_tags WHERE tenant_id = @tenant_id AND tag = @tag LIMIT @cap
) AS counted;

-- name: UpdateContact :one
-- updated_at is a time after the lock was had, as the event's.
UPDATE contacts SET name = @name, email = @email, instagram = @instagram, tags = @tags, owner_id = @owner_id,
  owner_name = @owner_name, custom_fields = @custom_fields, updated_at = clock_timestamp()
WHERE id = @id
RETURNING *;

-- name: AnyIdentity :one
-- One that the channels know a contact by, the same whenever it is asked for.
SELECT value FROM contact_identities WHERE contact_id = @contact_id ORDER BY kind, value LIMIT 1;
