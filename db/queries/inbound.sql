-- What is asked and written when Meta tells of messages: a batch at a time, an
-- array a column. People are known by (value, kind, scope), messages by (external
-- id, connection).

-- name: LockStrangers :exec
-- Of people whom nobody knows there is no row to lock. Keys come sorted, and are
-- locked in that order.
SELECT pg_advisory_xact_lock(s.key) FROM (
  SELECT p.key FROM (SELECT unnest(@keys::bigint[]) AS key, unnest(@identities::text[]) AS value,
    unnest(@kinds::text[]) AS kind, unnest(@scopes::text[]) AS scope) AS p
  WHERE NOT EXISTS (SELECT FROM contact_identities i WHERE i.value = p.value AND i.kind = p.kind AND i.scope = p.scope
    AND i.tenant_id = @tenant_id)
  ORDER BY p.key
) AS s;

-- name: LockContacts :many
-- The contacts of these people, and of messages that are to be changed.
SELECT * FROM contacts c WHERE c.id = ANY(ARRAY(
  SELECT i.contact_id FROM (SELECT unnest(@identities::text[]) AS value, unnest(@kinds::text[]) AS kind, unnest(@scopes::text[]) AS scope) AS p
  CROSS JOIN LATERAL (SELECT k.contact_id FROM contact_identities k
    WHERE k.value = p.value AND k.kind = p.kind AND k.scope = p.scope AND k.tenant_id = @tenant_id LIMIT 1) AS i
  UNION
  SELECT m.contact_id FROM (SELECT unnest(@external_ids::text[]) AS external_id, unnest(@connection_ids::uuid[]) AS connection_id) AS p
  CROSS JOIN LATERAL (SELECT k.contact_id FROM messages k
    WHERE k.external_id = p.external_id AND k.connection_id = p.connection_id LIMIT 1) AS m
))
ORDER BY c.id FOR UPDATE;

-- name: IdentitiesOf :many
-- All that these contacts are known by, read when their rows are locked: until then
-- it may change.
SELECT i.value, i.kind, i.scope, i.contact_id FROM contact_identities i WHERE i.contact_id = ANY(ARRAY(
  SELECT i.contact_id FROM (SELECT unnest(@identities::text[]) AS value, unnest(@kinds::text[]) AS kind, unnest(@scopes::text[]) AS scope) AS p
  CROSS JOIN LATERAL (SELECT k.contact_id FROM contact_identities k
    WHERE k.value = p.value AND k.kind = p.kind AND k.scope = p.scope AND k.tenant_id = @tenant_id LIMIT 1) AS i
  UNION
  SELECT m.contact_id FROM (SELECT unnest(@external_ids::text[]) AS external_id, unnest(@connection_ids::uuid[]) AS connection_id) AS p
  CROSS JOIN LATERAL (SELECT k.contact_id FROM messages k
    WHERE k.external_id = p.external_id AND k.connection_id = p.connection_id LIMIT 1) AS m
))
ORDER BY i.contact_id, i.kind, i.value;

-- name: LockConversations :many
-- The conversations of these people that are not closed, and those of messages
-- that are to be changed.
SELECT * FROM conversations v WHERE v.id = ANY(ARRAY(
  SELECT o.id FROM (SELECT unnest(@identities::text[]) AS value, unnest(@kinds::text[]) AS kind, unnest(@scopes::text[]) AS scope) AS p
  CROSS JOIN LATERAL (SELECT k.contact_id FROM contact_identities k
    WHERE k.value = p.value AND k.kind = p.kind AND k.scope = p.scope AND k.tenant_id = @tenant_id LIMIT 1) AS i
  CROSS JOIN LATERAL (SELECT k.id FROM conversations k WHERE k.contact_id = i.contact_id AND k.status <> 'closed' OFFSET 0) AS o
  UNION
  SELECT m.conversation_id FROM (SELECT unnest(@external_ids::text[]) AS external_id, unnest(@connection_ids::uuid[]) AS connection_id) AS p
  CROSS JOIN LATERAL (SELECT k.conversation_id FROM messages k
    WHERE k.external_id = p.external_id AND k.connection_id = p.connection_id LIMIT 1) AS m
))
ORDER BY v.id FOR UPDATE;

-- name: LockMessages :many
SELECT id, connection_id, conversation_id, contact_id, channel, direction, external_id, type, text, content, status, status_at,
  error, pricing, standby, sent_at, edited_at, deleted_at
FROM messages m WHERE m.id = ANY(ARRAY(
  SELECT f.id FROM (SELECT unnest(@external_ids::text[]) AS external_id, unnest(@connection_ids::uuid[]) AS connection_id) AS p
  CROSS JOIN LATERAL (SELECT k.id FROM messages k
    WHERE k.external_id = p.external_id AND k.connection_id = p.connection_id LIMIT 1) AS f
))
ORDER BY m.id FOR UPDATE;

-- name: KeptChanges :many
-- What was told of these messages before they came, in that order.
SELECT u.id, u.external_id::text AS external_id, u.connection_id, u.field, u.change FROM channel_updates u WHERE u.id = ANY(ARRAY(
  SELECT f.id FROM (SELECT unnest(@external_ids::text[]) AS external_id, unnest(@connection_ids::uuid[]) AS connection_id) AS p
  CROSS JOIN LATERAL (SELECT k.id FROM channel_updates k
    WHERE k.external_id = p.external_id AND k.connection_id = p.connection_id LIMIT 20) AS f
))
ORDER BY u.id;

-- name: InsertContacts :exec
-- Empty is null.
INSERT INTO contacts (id, tenant_id, name, profile_name, phone, instagram, source, created_at, updated_at)
SELECT r.id, @tenant_id, r.name, nullif(r.profile_name, ''), nullif(r.phone, ''), nullif(r.instagram, ''), r.source, @at, @at
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@names::text[]) AS name, unnest(@profile_names::text[]) AS profile_name,
  unnest(@phones::text[]) AS phone, unnest(@instagrams::text[]) AS instagram, unnest(@sources::text[]) AS source) AS r;

-- name: UpdateContacts :exec
-- Empty is null.
UPDATE contacts c
SET name = r.name, profile_name = nullif(r.profile_name, ''), phone = nullif(r.phone, ''), email = nullif(r.email, ''),
  instagram = nullif(r.instagram, ''), tags = ARRAY(SELECT json_array_elements_text(r.tags::json)),
  owner_id = nullif(r.owner_id, '00000000-0000-0000-0000-000000000000'::uuid), owner_name = nullif(r.owner_name, ''),
  custom_fields = r.custom_fields::json,
  merged_into = nullif(r.merged_into, '00000000-0000-0000-0000-000000000000'::uuid), updated_at = @at
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@names::text[]) AS name, unnest(@profile_names::text[]) AS profile_name,
  unnest(@phones::text[]) AS phone, unnest(@emails::text[]) AS email, unnest(@instagrams::text[]) AS instagram,
  unnest(@tags::text[]) AS tags, unnest(@owner_ids::uuid[]) AS owner_id, unnest(@owner_names::text[]) AS owner_name,
  unnest(@custom_fields::text[]) AS custom_fields, unnest(@merged_into::uuid[]) AS merged_into) AS r
WHERE c.id = ANY(@ids::uuid[]) AND c.id = r.id;

-- name: DeleteIdentities :exec
DELETE FROM contact_identities i
USING (SELECT unnest(@identities::text[]) AS value, unnest(@kinds::text[]) AS kind, unnest(@scopes::text[]) AS scope) AS p
WHERE i.value = p.value AND i.kind = p.kind AND i.scope = p.scope AND i.tenant_id = @tenant_id;

-- name: InsertIdentities :exec
INSERT INTO contact_identities (value, kind, scope, tenant_id, contact_id)
SELECT r.value, r.kind, r.scope, @tenant_id, r.contact_id
FROM (SELECT unnest(@identities::text[]) AS value, unnest(@kinds::text[]) AS kind, unnest(@scopes::text[]) AS scope,
  unnest(@contact_ids::uuid[]) AS contact_id) AS r;

-- name: MoveConversations :exec
-- To the contact that another turned out to be. Those that were to be closed are.
UPDATE conversations v SET contact_id = r.into_id, updated_at = @at
FROM (SELECT unnest(@from_ids::uuid[]) AS from_id, unnest(@into_ids::uuid[]) AS into_id) AS r
WHERE v.contact_id = ANY(@from_ids::uuid[]) AND v.contact_id = r.from_id;

-- name: MoveMessages :exec
-- After the conversations.
UPDATE messages m SET contact_id = v.contact_id
FROM conversations v
WHERE v.contact_id = ANY(@into_ids::uuid[]) AND m.conversation_id = v.id AND m.contact_id <> v.contact_id;

-- name: InsertConversations :exec
INSERT INTO conversations (id, tenant_id, connection_id, contact_id, channel, status, last_message_at, last_inbound_at, created_at, updated_at, closed_at)
SELECT r.id, @tenant_id, r.connection_id, r.contact_id, r.channel, r.status, nullif(r.last_message_at, 'epoch'::timestamptz),
  nullif(r.last_inbound_at, 'epoch'::timestamptz), @at, @at, nullif(r.closed_at, 'epoch'::timestamptz)
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@connection_ids::uuid[]) AS connection_id, unnest(@contact_ids::uuid[]) AS contact_id,
  unnest(@channels::text[]) AS channel, unnest(@statuses::text[]) AS status, unnest(@last_message_at::timestamptz[]) AS last_message_at,
  unnest(@last_inbound_at::timestamptz[]) AS last_inbound_at, unnest(@closed_at::timestamptz[]) AS closed_at) AS r;

-- name: UpdateConversations :exec
UPDATE conversations v
SET status = r.status, last_message_at = nullif(r.last_message_at, 'epoch'::timestamptz),
  last_inbound_at = nullif(r.last_inbound_at, 'epoch'::timestamptz), updated_at = @at,
  closed_at = CASE WHEN r.status = 'closed' THEN coalesce(v.closed_at, @at) END
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@statuses::text[]) AS status,
  unnest(@last_message_at::timestamptz[]) AS last_message_at, unnest(@last_inbound_at::timestamptz[]) AS last_inbound_at) AS r
WHERE v.id = ANY(@ids::uuid[]) AND v.id = r.id;

-- name: InsertMessages :exec
-- Empty is null, of texts too: Meta sends none that is empty.
INSERT INTO messages (id, tenant_id, connection_id, conversation_id, contact_id, channel, direction, external_id, type, text, content,
  raw, status, status_at, error, pricing, standby, sent_at, edited_at, deleted_at, created_at, updated_at)
SELECT r.id, @tenant_id, r.connection_id, r.conversation_id, r.contact_id, r.channel, r.direction, r.external_id, r.type, nullif(r.text, ''),
  r.content::json, nullif(r.raw, ''), r.status, nullif(r.status_at, 'epoch'::timestamptz), nullif(r.error, '')::json, nullif(r.pricing, '')::json,
  r.standby, r.sent_at, nullif(r.edited_at, 'epoch'::timestamptz), nullif(r.deleted_at, 'epoch'::timestamptz), @at, @at
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@connection_ids::uuid[]) AS connection_id, unnest(@conversation_ids::uuid[]) AS conversation_id,
  unnest(@contact_ids::uuid[]) AS contact_id, unnest(@channels::text[]) AS channel, unnest(@directions::text[]) AS direction,
  unnest(@external_ids::text[]) AS external_id, unnest(@types::text[]) AS type, unnest(@texts::text[]) AS text,
  unnest(@contents::text[]) AS content, unnest(@raws::bytea[]) AS raw, unnest(@statuses::text[]) AS status,
  unnest(@status_at::timestamptz[]) AS status_at, unnest(@errors::text[]) AS error, unnest(@pricings::text[]) AS pricing,
  unnest(@standbys::boolean[]) AS standby, unnest(@sent_at::timestamptz[]) AS sent_at,
  unnest(@edited_at::timestamptz[]) AS edited_at, unnest(@deleted_at::timestamptz[]) AS deleted_at) AS r;

-- name: UpdateMessages :exec
-- What Meta sent goes when its sender takes it back.
UPDATE messages m
SET type = r.type, text = nullif(r.text, ''), content = r.content::json, raw = CASE WHEN r.deleted_at = 'epoch'::timestamptz THEN m.raw END,
  status = r.status, status_at = nullif(r.status_at, 'epoch'::timestamptz), error = nullif(r.error, '')::json,
  pricing = nullif(r.pricing, '')::json, edited_at = nullif(r.edited_at, 'epoch'::timestamptz),
  deleted_at = nullif(r.deleted_at, 'epoch'::timestamptz), updated_at = @at
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@types::text[]) AS type, unnest(@texts::text[]) AS text, unnest(@contents::text[]) AS content,
  unnest(@statuses::text[]) AS status, unnest(@status_at::timestamptz[]) AS status_at, unnest(@errors::text[]) AS error,
  unnest(@pricings::text[]) AS pricing, unnest(@edited_at::timestamptz[]) AS edited_at,
  unnest(@deleted_at::timestamptz[]) AS deleted_at) AS r
WHERE m.id = ANY(@ids::uuid[]) AND m.id = r.id;

-- name: ReceiptsUpTo :exec
-- All that the account wrote in these people's conversations up to a time has come
-- as far as status. Statuses before it are in earlier.
WITH reached AS (
  SELECT f.id, max(p.told_at)::timestamptz AS told_at FROM (SELECT unnest(@contact_ids::uuid[]) AS contact_id, unnest(@connection_ids::uuid[]) AS connection_id,
    unnest(@until::timestamptz[]) AS until, unnest(@told_at::timestamptz[]) AS told_at) AS p
  CROSS JOIN LATERAL (SELECT v.id FROM conversations v WHERE v.contact_id = p.contact_id AND v.connection_id = p.connection_id OFFSET 0) AS v
  CROSS JOIN LATERAL (SELECT m.id FROM messages m
    WHERE m.conversation_id = v.id AND m.direction = 'outbound' AND m.channel <> 'whatsapp'
      AND m.status IN ('accepted', 'sent', 'delivered') AND m.sent_at <= p.until OFFSET 0) AS f
  GROUP BY f.id
), locked AS (
  SELECT m.id FROM messages m WHERE m.id = ANY(ARRAY(SELECT r.id FROM reached r)) ORDER BY m.id FOR UPDATE
)
UPDATE messages m SET status = @status, status_at = reached.told_at, updated_at = @at
FROM reached
WHERE m.id = ANY(ARRAY(SELECT l.id FROM locked l)) AND m.id = reached.id AND m.status = ANY(@earlier::text[]);

-- name: KeepUpdates :exec
INSERT INTO channel_updates (id, tenant_id, connection_id, field, digest, raw, external_id, change, received_at)
SELECT r.id, @tenant_id, r.connection_id, r.field, r.digest, r.raw, nullif(r.external_id, ''), nullif(r.change, '')::json, @at
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@connection_ids::uuid[]) AS connection_id, unnest(@fields::text[]) AS field,
  unnest(@digests::bytea[]) AS digest, unnest(@raws::bytea[]) AS raw, unnest(@external_ids::text[]) AS external_id,
  unnest(@changes::text[]) AS change) AS r
ON CONFLICT (digest, connection_id) DO NOTHING;
