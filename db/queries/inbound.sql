-- What is asked and written when Meta tells of messages: a batch at a time, an
-- array a column. People are known by (value, kind, scope), messages by (external
-- id, connection).
--
-- Each key is looked up by itself, in a LATERAL with a LIMIT, and what is changed is
-- inserted with ON CONFLICT: row level security has every query name the tenant, so
-- for a server that knows nothing of the data an index that begins with it is as
-- good as the right one, and a join would read all that a tenant has.

-- name: PlanOnce :exec
-- Until the transaction ends. For one key the server would plan each statement anew,
-- which costs more than to run it.
SELECT set_config('plan_cache_mode', 'force_generic_plan', true);

-- name: LiveConnections :many
-- Those of these connections that are not deleted.
SELECT c.id FROM (SELECT unnest(@ids::uuid[]) AS id) AS p
CROSS JOIN LATERAL (SELECT k.id FROM connections k
  WHERE k.id = p.id AND k.tenant_id = @tenant_id AND k.deleted_at IS NULL LIMIT 1) AS c;

-- name: LockStrangers :exec
-- Of people whom nobody knows there is no row to lock. They are locked in the order
-- of their keys.
SELECT pg_advisory_xact_lock(s.key) FROM (
  SELECT p.key FROM (SELECT unnest(@keys::bigint[]) AS key, unnest(@identities::text[]) AS value,
    unnest(@kinds::text[]) AS kind, unnest(@scopes::text[]) AS scope) AS p
  LEFT JOIN LATERAL (SELECT true AS known FROM contact_identities k
    WHERE k.value = p.value AND k.kind = p.kind AND k.scope = p.scope AND k.tenant_id = @tenant_id LIMIT 1) AS i ON true
  WHERE i.known IS NULL
  ORDER BY p.key
) AS s;

-- name: LockContacts :many
-- The contacts of these people, in the order of their ids.
SELECT c.* FROM (
  SELECT DISTINCT i.contact_id FROM (SELECT unnest(@identities::text[]) AS value, unnest(@kinds::text[]) AS kind, unnest(@scopes::text[]) AS scope) AS p
  CROSS JOIN LATERAL (SELECT k.contact_id FROM contact_identities k
    WHERE k.value = p.value AND k.kind = p.kind AND k.scope = p.scope AND k.tenant_id = @tenant_id LIMIT 1) AS i
  ORDER BY 1
) AS found
CROSS JOIN LATERAL (SELECT k.* FROM contacts k WHERE k.id = found.contact_id LIMIT 1 FOR UPDATE) AS c;

-- name: WhoIs :many
-- Asked when the contacts are locked: until then it may change.
SELECT p.value::text AS value, p.kind::text AS kind, p.scope::text AS scope, i.contact_id
FROM (SELECT unnest(@identities::text[]) AS value, unnest(@kinds::text[]) AS kind, unnest(@scopes::text[]) AS scope) AS p
CROSS JOIN LATERAL (SELECT k.contact_id FROM contact_identities k
  WHERE k.value = p.value AND k.kind = p.kind AND k.scope = p.scope AND k.tenant_id = @tenant_id LIMIT 1) AS i;

-- name: IdentitiesOf :many
-- All that a contact is known by.
SELECT value, kind, scope FROM contact_identities WHERE contact_id = @contact_id AND tenant_id = @tenant_id ORDER BY kind, value, scope;

-- name: LockConversations :many
-- The conversations of these people that are not closed. Their order does not
-- matter: who locks one holds its contact.
SELECT v.* FROM (
  SELECT DISTINCT i.contact_id FROM (SELECT unnest(@identities::text[]) AS value, unnest(@kinds::text[]) AS kind, unnest(@scopes::text[]) AS scope) AS p
  CROSS JOIN LATERAL (SELECT k.contact_id FROM contact_identities k
    WHERE k.value = p.value AND k.kind = p.kind AND k.scope = p.scope AND k.tenant_id = @tenant_id LIMIT 1) AS i
) AS found
CROSS JOIN LATERAL (SELECT k.* FROM conversations k
  WHERE k.contact_id = found.contact_id AND k.tenant_id = @tenant_id AND k.status <> 'closed' LIMIT 1000 FOR UPDATE) AS v;

-- name: LockConversationsOf :many
-- All of a contact that turned out to be another.
SELECT * FROM conversations v WHERE v.contact_id = @contact_id AND v.tenant_id = @tenant_id ORDER BY v.id FOR UPDATE;

-- name: LockMessages :many
SELECT m.* FROM (
  SELECT f.id FROM (SELECT unnest(@external_ids::text[]) AS external_id, unnest(@connection_ids::uuid[]) AS connection_id) AS p
  CROSS JOIN LATERAL (SELECT k.id FROM messages k
    WHERE k.external_id = p.external_id AND k.connection_id = p.connection_id LIMIT 1) AS f
  ORDER BY 1
) AS found
CROSS JOIN LATERAL (SELECT k.id, k.connection_id, k.conversation_id, k.contact_id, k.channel, k.direction, k.external_id, k.type, k.text,
    k.content, k.status, k.status_at, k.error, k.pricing, k.standby, k.sent_at, k.edited_at, k.deleted_at
  FROM messages k WHERE k.id = found.id LIMIT 1 FOR UPDATE) AS m;

-- name: LockUnread :many
-- What the account wrote to these people up to a time, and has not been read.
SELECT m.* FROM (
  SELECT f.id FROM (SELECT unnest(@identities::text[]) AS value, unnest(@kinds::text[]) AS kind, unnest(@scopes::text[]) AS scope,
    unnest(@connection_ids::uuid[]) AS connection_id, unnest(@until::timestamptz[]) AS until) AS p
  CROSS JOIN LATERAL (SELECT k.contact_id FROM contact_identities k
    WHERE k.value = p.value AND k.kind = p.kind AND k.scope = p.scope AND k.tenant_id = @tenant_id LIMIT 1) AS i
  CROSS JOIN LATERAL (SELECT k.id FROM conversations k
    WHERE k.contact_id = i.contact_id AND k.tenant_id = @tenant_id AND k.connection_id = p.connection_id LIMIT 1000) AS v
  CROSS JOIN LATERAL (SELECT k.id FROM messages k
    WHERE k.conversation_id = v.id AND k.tenant_id = @tenant_id AND k.direction = 'outbound' AND k.channel <> 'whatsapp'
      AND k.status IN ('accepted', 'sent', 'delivered') AND k.sent_at <= p.until
    ORDER BY k.sent_at DESC LIMIT 1000) AS f
  GROUP BY f.id ORDER BY f.id
) AS found
CROSS JOIN LATERAL (SELECT k.id, k.connection_id, k.conversation_id, k.contact_id, k.channel, k.direction, k.external_id, k.type, k.text,
    k.content, k.status, k.status_at, k.error, k.pricing, k.standby, k.sent_at, k.edited_at, k.deleted_at
  FROM messages k WHERE k.id = found.id LIMIT 1 FOR UPDATE) AS m;

-- name: KeptChanges :many
-- What was told of these messages before they came, in that order.
SELECT f.id, f.external_id::text AS external_id, f.connection_id, f.change
FROM (SELECT unnest(@external_ids::text[]) AS external_id, unnest(@connection_ids::uuid[]) AS connection_id) AS p
CROSS JOIN LATERAL (SELECT k.id, k.external_id, k.connection_id, k.change FROM channel_updates k
  WHERE k.external_id = p.external_id AND k.connection_id = p.connection_id AND k.tenant_id = @tenant_id LIMIT 20) AS f
ORDER BY f.id;

-- name: SaveContacts :exec
-- New ones, and those that changed. Empty is null.
INSERT INTO contacts (id, tenant_id, name, profile_name, phone, email, instagram, tags, source, owner_id, owner_name, custom_fields,
  merged_into, created_at, updated_at)
SELECT r.id, @tenant_id, r.name, nullif(r.profile_name, ''), nullif(r.phone, ''), nullif(r.email, ''), nullif(r.instagram, ''),
  ARRAY(SELECT json_array_elements_text(r.tags::json)), r.source, nullif(r.owner_id, '00000000-0000-0000-0000-000000000000'::uuid),
  nullif(r.owner_name, ''), r.custom_fields::json, nullif(r.merged_into, '00000000-0000-0000-0000-000000000000'::uuid), @at, @at
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@names::text[]) AS name, unnest(@profile_names::text[]) AS profile_name,
  unnest(@phones::text[]) AS phone, unnest(@emails::text[]) AS email, unnest(@instagrams::text[]) AS instagram,
  unnest(@tags::text[]) AS tags, unnest(@sources::text[]) AS source, unnest(@owner_ids::uuid[]) AS owner_id,
  unnest(@owner_names::text[]) AS owner_name, unnest(@custom_fields::text[]) AS custom_fields,
  unnest(@merged_into::uuid[]) AS merged_into) AS r
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, profile_name = excluded.profile_name, phone = excluded.phone, email = excluded.email,
  instagram = excluded.instagram, tags = excluded.tags, owner_id = excluded.owner_id, owner_name = excluded.owner_name,
  custom_fields = excluded.custom_fields, merged_into = excluded.merged_into, updated_at = excluded.updated_at;

-- name: DeleteIdentity :exec
DELETE FROM contact_identities WHERE value = @identity AND kind = @kind AND scope = @scope AND tenant_id = @tenant_id;

-- name: InsertIdentities :exec
-- Those that were nobody's. Should one be somebody's by now, it is refused: whoever it
-- is of is not locked.
INSERT INTO contact_identities (value, kind, scope, tenant_id, contact_id)
SELECT r.value, r.kind, r.scope, @tenant_id, r.contact_id
FROM (SELECT unnest(@identities::text[]) AS value, unnest(@kinds::text[]) AS kind, unnest(@scopes::text[]) AS scope,
  unnest(@contact_ids::uuid[]) AS contact_id) AS r
ORDER BY r.value, r.kind, r.scope;

-- name: SaveIdentities :exec
-- Those of contacts that are locked.
INSERT INTO contact_identities (value, kind, scope, tenant_id, contact_id)
SELECT r.value, r.kind, r.scope, @tenant_id, r.contact_id
FROM (SELECT unnest(@identities::text[]) AS value, unnest(@kinds::text[]) AS kind, unnest(@scopes::text[]) AS scope,
  unnest(@contact_ids::uuid[]) AS contact_id) AS r
ON CONFLICT (value, kind, scope, tenant_id) DO UPDATE SET contact_id = excluded.contact_id;

-- name: SaveConversations :exec
-- New ones, and those that changed, in the order of the arrays: one is closed before
-- another is open. The epoch is null.
INSERT INTO conversations (id, tenant_id, connection_id, contact_id, channel, status, last_message_at, last_inbound_at, created_at,
  updated_at, closed_at)
SELECT r.id, @tenant_id, r.connection_id, r.contact_id, r.channel, r.status, nullif(r.last_message_at, 'epoch'::timestamptz),
  nullif(r.last_inbound_at, 'epoch'::timestamptz), @at, @at, nullif(r.closed_at, 'epoch'::timestamptz)
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@connection_ids::uuid[]) AS connection_id, unnest(@contact_ids::uuid[]) AS contact_id,
  unnest(@channels::text[]) AS channel, unnest(@statuses::text[]) AS status, unnest(@last_message_at::timestamptz[]) AS last_message_at,
  unnest(@last_inbound_at::timestamptz[]) AS last_inbound_at, unnest(@closed_at::timestamptz[]) AS closed_at,
  generate_subscripts(@ids::uuid[], 1) AS position) AS r
ORDER BY r.position
ON CONFLICT (id) DO UPDATE
SET contact_id = excluded.contact_id, status = excluded.status, last_message_at = excluded.last_message_at,
  last_inbound_at = excluded.last_inbound_at, updated_at = excluded.updated_at, closed_at = excluded.closed_at;

-- name: MoveMessages :exec
-- To the contact that another turned out to be.
UPDATE messages SET contact_id = @contact_id WHERE conversation_id = @conversation_id AND tenant_id = @tenant_id;

-- name: SaveMessages :exec
-- New ones, and those that changed: what Meta sent is kept unless the sender took the
-- message back. Empty is null, of texts too: Meta sends none that is empty. So is the
-- epoch.
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
  unnest(@edited_at::timestamptz[]) AS edited_at, unnest(@deleted_at::timestamptz[]) AS deleted_at) AS r
ON CONFLICT (id) DO UPDATE
SET contact_id = excluded.contact_id, type = excluded.type, text = excluded.text, content = excluded.content,
  raw = CASE WHEN excluded.deleted_at IS NULL THEN messages.raw END, status = excluded.status, status_at = excluded.status_at,
  error = excluded.error, pricing = excluded.pricing, edited_at = excluded.edited_at, deleted_at = excluded.deleted_at,
  updated_at = excluded.updated_at;

-- name: KeepUpdates :exec
INSERT INTO channel_updates (id, tenant_id, connection_id, field, digest, raw, external_id, change, received_at)
SELECT r.id, @tenant_id, r.connection_id, r.field, r.digest, r.raw, nullif(r.external_id, ''), nullif(r.change, '')::json, @at
FROM (SELECT unnest(@ids::uuid[]) AS id, unnest(@connection_ids::uuid[]) AS connection_id, unnest(@fields::text[]) AS field,
  unnest(@digests::bytea[]) AS digest, unnest(@raws::bytea[]) AS raw, unnest(@external_ids::text[]) AS external_id,
  unnest(@changes::text[]) AS change) AS r
ON CONFLICT (digest, connection_id) DO NOTHING;
