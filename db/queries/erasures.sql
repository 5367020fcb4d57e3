-- name: InsertErasure :one
INSERT INTO erasures (id, tenant_id, contact_id, epoch, last_seq, last_time)
VALUES (@id, @tenant_id, @contact_id, @epoch, @last_seq, @last_time)
RETURNING *;

-- name: GetErasure :one
SELECT * FROM erasures WHERE id = @id;

-- name: StartErasure :one
UPDATE erasures SET started_at = coalesce(started_at, now()) WHERE id = @id RETURNING *;

-- name: AdvanceErasure :one
-- In the transaction of what it counts. The first time that a step behind the
-- erasing itself is reached is remembered.
UPDATE erasures e SET step = @step, place = @place, events = e.events + @events, bodies = e.bodies + @bodies,
  logs = e.logs + @logs, deliveries = e.deliveries + @deliveries, records = e.records + @records,
  erased_at = CASE WHEN @erased::boolean THEN coalesce(e.erased_at, now()) ELSE e.erased_at END
WHERE e.id = @id
RETURNING *;

-- name: ErasureAge :one
-- Seconds since all was erased once.
SELECT coalesce(extract(epoch FROM now() - erased_at), 0)::float8 AS seconds FROM erasures WHERE id = @id;

-- name: FinishErasure :exec
-- What remains are numbers and times.
UPDATE erasures SET contact_id = NULL, contacts = '{}', known_as = '{}', searched = '00000000-0000-0000-0000-000000000000',
  finished_at = now()
WHERE id = @id;

-- name: EventsOfContact :many
-- Accepted up to a place of the event store, or up to a time: places of a store
-- that was made anew since say nothing.
SELECT day, id, stream_seq FROM events
WHERE contact_id = @contact::text AND tenant_id = @tenant_id
  AND (stream_seq <= @last_seq OR created_at <= @last_time)
LIMIT @row_limit;

-- name: EnterErased :exec
-- The ledger's entry of an event that is not to be delivered: whoever holds it is
-- superseded. An entry that is there already stands.
INSERT INTO events (day, tenant_id, id, type, stream_seq, contact_id, created_at)
SELECT unnest(@days::date[]), @tenant_id, unnest(@ids::text[]), unnest(@types::text[]), unnest(@seqs::bigint[]),
  @contact::text, unnest(@created::timestamptz[])
ON CONFLICT (day, tenant_id, id) DO NOTHING;

-- name: MarkErased :execrows
-- An event that is found by a contact is found by another one from then on; empty:
-- by none. One at a time, and not looked up by the contact: of many at once the
-- planner may read all that the tenant, or the contact, has.
UPDATE events SET contact_id = nullif(@becomes::text, ''), erased_at = coalesce(erased_at, now())
WHERE day = @day AND tenant_id = @tenant_id AND id = @id AND coalesce(contact_id, '') = @contact::text;

-- name: ErasedEvents :many
-- Which of these are erased under a contact's mark: the positions, from 1. Not
-- found by the contact's index: it may have many.
SELECT k.position::int AS position
FROM (SELECT unnest(@days::date[]) AS day, unnest(@ids::text[]) AS id, generate_subscripts(@ids::text[], 1) AS position) AS k
CROSS JOIN LATERAL (SELECT FROM events e WHERE e.day = k.day AND e.tenant_id = @tenant_id AND e.id = k.id
  AND coalesce(e.contact_id, '') = @contact::text AND e.day BETWEEN @first_day AND @last_day LIMIT 1) AS erased;

-- name: KeptBodies :many
-- Where the bodies of these events are kept: a key of the queue, too.
SELECT b.epoch, b.stream_seq, b.event_id
FROM (SELECT unnest(@days::date[]) AS day, unnest(@ids::text[]) AS id) AS k
CROSS JOIN LATERAL (SELECT kept.epoch, kept.stream_seq, kept.event_id FROM event_bodies kept
  WHERE kept.tenant_id = @tenant_id AND kept.event_day = k.day AND kept.event_id = k.id LIMIT 10) AS b;

-- name: RemoveQueueRowsOfEvents :execrows
DELETE FROM webhook_queue q WHERE q.delivery_id = ANY(ARRAY(
  SELECT r.delivery_id
  FROM (SELECT unnest(@epochs::bigint[]) AS epoch, unnest(@seqs::bigint[]) AS seq, unnest(@ids::text[]) AS id) AS k
  CROSS JOIN LATERAL (SELECT o.delivery_id FROM webhook_queue o
    WHERE o.epoch = k.epoch AND o.stream_seq = k.seq AND o.event_id = k.id AND o.tenant_id = @tenant_id
    LIMIT @row_limit FOR UPDATE) AS r
  LIMIT @row_limit));

-- name: CountAnswers :one
SELECT count(*) FROM (
  SELECT FROM webhook_logs WHERE event_id = ANY(@ids::text[]) AND tenant_id = @tenant_id
    AND (response_body IS NOT NULL OR response_headers IS NOT NULL)
  LIMIT @cap
) AS counted;

-- name: EraseAnswers :execrows
-- What endpoints answered. That they were called, when, and with which status, stays.
UPDATE webhook_logs SET response_headers = NULL, response_body = NULL
WHERE event_id = ANY(@ids::text[]) AND tenant_id = @tenant_id
  AND (response_body IS NOT NULL OR response_headers IS NOT NULL);

-- name: RemoveKeptBodies :execrows
-- By their places in the table, which nothing changes: of a join with the keys the
-- planner may read them all.
DELETE FROM event_bodies b WHERE b.ctid = ANY(ARRAY(
  SELECT kept.place
  FROM (SELECT unnest(@epochs::bigint[]) AS epoch, unnest(@seqs::bigint[]) AS seq) AS k
  CROSS JOIN LATERAL (SELECT o.ctid AS place FROM event_bodies o WHERE o.epoch = k.epoch AND o.stream_seq = k.seq LIMIT 1) AS kept));

-- name: OutboxOfTenant :many
-- A page of the table with what is the tenant's in it; more says whether others follow.
SELECT o.id, (o.tenant_id = @tenant_id)::boolean AS theirs, o.event_id, o.event_type, o.day,
  (o.created_at <= @until)::boolean AS in_time,
  (CASE WHEN o.tenant_id = @tenant_id THEN o.body ELSE '' END)::bytea AS body
FROM outbox o WHERE o.id > @after ORDER BY o.id LIMIT @row_limit;

-- name: RemoveOutbox :execrows
DELETE FROM outbox WHERE id = ANY(@ids::bigint[]);

-- name: SamePerson :many
-- A contact, those that turned out to be the same person, and what that person is.
WITH RECURSIVE up AS (
  SELECT c.id, c.merged_into FROM contacts c WHERE c.id = @id AND c.tenant_id = @tenant_id
  UNION
  SELECT c.id, c.merged_into FROM up
  CROSS JOIN LATERAL (SELECT o.id, o.merged_into FROM contacts o WHERE o.id = up.merged_into AND o.tenant_id = @tenant_id LIMIT 1) AS c
), same AS (
  SELECT up.id FROM up
  UNION
  SELECT c.id FROM same
  CROSS JOIN LATERAL (SELECT o.id FROM contacts o WHERE o.merged_into = same.id AND o.tenant_id = @tenant_id OFFSET 0) AS c
)
SELECT id FROM same ORDER BY id;

-- name: LockContactsOf :many
-- Whoever stores something of a contact holds its row.
SELECT id FROM contacts WHERE id = ANY(@ids::uuid[]) ORDER BY id FOR UPDATE;

-- name: RememberPerson :exec
-- What else is to be erased with a contact, and the words to search for, by what is
-- stored now; what was remembered before stays.
UPDATE erasures e SET
  contacts = ARRAY(SELECT unnest(e.contacts) UNION SELECT unnest(@contacts::text[])),
  known_as = ARRAY(
    SELECT unnest(e.known_as)
    UNION SELECT i.value FROM contact_identities i WHERE i.contact_id = ANY(@ids::uuid[])
    UNION SELECT c.phone FROM contacts c WHERE c.id = ANY(@ids::uuid[]) AND c.phone IS NOT NULL)
WHERE e.id = @id;

-- name: LockConversationsOfContacts :many
SELECT v.id FROM conversations v WHERE v.id = ANY(ARRAY(
  SELECT o.id FROM conversations o WHERE o.contact_id = ANY(@contact_ids::uuid[]) LIMIT @row_limit))
ORDER BY v.id FOR UPDATE;

-- name: RemoveMessagesOfConversations :execrows
DELETE FROM messages m WHERE m.id = ANY(ARRAY(
  SELECT o.id FROM (SELECT unnest(@conversation_ids::uuid[]) AS id) AS v
  CROSS JOIN LATERAL (SELECT k.id FROM messages k WHERE k.conversation_id = v.id LIMIT @row_limit) AS o
  LIMIT @row_limit));

-- name: RemoveConversations :execrows
DELETE FROM conversations WHERE id = ANY(@ids::uuid[]);

-- name: RemoveIdentitiesOfContacts :execrows
DELETE FROM contact_identities WHERE contact_id = ANY(@contact_ids::uuid[]);

-- name: RemoveContacts :execrows
DELETE FROM contacts WHERE id = ANY(@ids::uuid[]);

-- name: ExtendErasure :exec
-- Up to a later place of the same event store, and time.
UPDATE erasures SET last_seq = CASE WHEN epoch = @epoch THEN greatest(last_seq, @last_seq::bigint) ELSE last_seq END,
  last_time = greatest(last_time, @last_time::timestamptz)
WHERE id = @id;

-- name: SearchUpdates :many
-- The next of what channels told a tenant, and whether it came up to a time and holds
-- one of the words: a byte is a character. Compared as a pair, so that the tenant's
-- index alone has this order.
SELECT u.id, (u.received_at <= @until AND
  CASE WHEN position('\x00'::bytea IN u.raw) = 0 THEN convert_from(u.raw, 'LATIN1')
    ELSE regexp_replace(encode(u.raw, 'escape'), '\\[0-7]{3}', ' ', 'g') END ~ @words::text)::boolean AS found
FROM channel_updates u
WHERE (u.tenant_id, u.id) > (@tenant_id, @after::uuid) AND u.tenant_id <= @tenant_id
ORDER BY u.tenant_id, u.id LIMIT @row_limit;

-- name: RemoveUpdates :execrows
DELETE FROM channel_updates WHERE id = ANY(@ids::uuid[]);

-- name: SearchedUpdates :exec
-- How far it has come.
UPDATE erasures SET searched = @searched WHERE id = @id;
