package explain_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store/db"
)

// sender is the id of the nth contact, conversation, message and so on.
func sender(n int) uuid.UUID { return uuid.MustParse(fmt.Sprintf("0198f000-0000-7000-e000-%012d", n)) }

// fillChannels has people who each wrote four messages: in an open conversation
// every tenth, and every thousandth on Messenger.
const fillChannels = `
INSERT INTO contacts (id, tenant_id, name, source)
	SELECT ('0198f000-0000-7000-e000-' || lpad(n::text, 12, '0'))::uuid, '0198f000-0000-7000-8000-000000000001', 'n', 'whatsapp' FROM generate_series(0, 19999) AS n;
INSERT INTO contact_identities (value, kind, scope, tenant_id, contact_id)
	SELECT k || n, k, '', '0198f000-0000-7000-8000-000000000001', ('0198f000-0000-7000-e000-' || lpad(n::text, 12, '0'))::uuid
	FROM generate_series(0, 19999) AS n, unnest(ARRAY['phone', 'user_id']) AS k;
INSERT INTO conversations (id, tenant_id, connection_id, contact_id, channel, status)
	SELECT ('0198f000-0000-7000-e000-' || lpad(n::text, 12, '0'))::uuid, '0198f000-0000-7000-8000-000000000001', '0198f000-0000-7000-e000-000000000000',
		('0198f000-0000-7000-e000-' || lpad(n::text, 12, '0'))::uuid, CASE WHEN n % 1000 = 0 THEN 'facebook' ELSE 'whatsapp' END,
		CASE WHEN n % 10 = 0 THEN 'open' ELSE 'closed' END FROM generate_series(0, 19999) AS n;
INSERT INTO messages (id, tenant_id, connection_id, conversation_id, contact_id, channel, direction, external_id, type, status, sent_at)
	SELECT ('0198f000-0000-7000-e000-' || lpad(n::text, 12, '0'))::uuid, '0198f000-0000-7000-8000-000000000001', '0198f000-0000-7000-e000-000000000000',
		('0198f000-0000-7000-e000-' || lpad((n % 20000)::text, 12, '0'))::uuid, ('0198f000-0000-7000-e000-' || lpad((n % 20000)::text, 12, '0'))::uuid,
		CASE WHEN n % 1000 = 0 THEN 'facebook' ELSE 'whatsapp' END, CASE WHEN n < 40000 THEN 'outbound' ELSE 'inbound' END, 'm' || n, 'text',
		CASE WHEN n < 40000 THEN 'sent' ELSE 'received' END, now() - interval '1 day' FROM generate_series(0, 79999) AS n;
INSERT INTO channel_updates (id, tenant_id, connection_id, field, digest, raw, external_id, change)
	SELECT gen_random_uuid(), '0198f000-0000-7000-8000-000000000001', '0198f000-0000-7000-e000-000000000000', 'messages', sha256(n::text::bytea), '',
		CASE WHEN n % 2 = 0 THEN 'm' || n END, CASE WHEN n % 2 = 0 THEN '{}'::json END FROM generate_series(0, 19999) AS n;
`

// inboundQueries are what is asked and written when Meta tells of messages: a
// hundred people with two identities and a message each.
func inboundQueries() []query {
	ctx := context.Background()
	const batch = 100
	var (
		ids, connections, contacts           []uuid.UUID
		keys                                 []int64
		values, kinds, scopes, externalIDs   []string
		empty, objects, lists, open, channel []string
		times, never                         []time.Time
		no                                   []bool
		raws                                 [][]byte
	)
	for i := range batch {
		n := i * 10
		for _, kind := range []string{"phone", "user_id"} {
			keys, values = append(keys, int64(n)), append(values, fmt.Sprint(kind, n))
			kinds, scopes, contacts = append(kinds, kind), append(scopes, ""), append(contacts, sender(n))
		}
		ids, connections, externalIDs = append(ids, sender(n)), append(connections, sender(0)), append(externalIDs, fmt.Sprint("m", n))
		empty, objects, lists = append(empty, ""), append(objects, "{}"), append(lists, "[]")
		open, channel, no = append(open, "open"), append(channel, "whatsapp"), append(no, false)
		times, never, raws = append(times, time.Now()), append(never, time.Unix(0, 0)), append(raws, []byte{})
	}
	out := slices.Repeat([]string{"outbound"}, batch)
	return []query{
		{name: "LiveConnections", rows: 4, call: func(q *db.Queries) { _, _ = q.LiveConnections(ctx, connections[:1], tenant) }},
		{name: "LockStrangers", rows: 6 * batch, call: func(q *db.Queries) {
			_ = q.LockStrangers(ctx, db.LockStrangersParams{Keys: keys, Identities: values, Kinds: kinds, Scopes: scopes, TenantID: tenant})
		}},
		{name: "LockContacts", rows: 12 * batch, call: func(q *db.Queries) {
			_, _ = q.LockContacts(ctx, db.LockContactsParams{
				Identities: values, Kinds: kinds, Scopes: scopes, TenantID: tenant,
			})
		}},
		{name: "WhoIs", rows: 6 * batch, call: func(q *db.Queries) {
			_, _ = q.WhoIs(ctx, db.WhoIsParams{Identities: values, Kinds: kinds, Scopes: scopes, TenantID: tenant})
		}},
		{name: "IdentitiesOf", rows: 10, call: func(q *db.Queries) { _, _ = q.IdentitiesOf(ctx, sender(10), tenant) }},
		{name: "LockConversations", rows: 14 * batch, call: func(q *db.Queries) {
			_, _ = q.LockConversations(ctx, db.LockConversationsParams{
				Identities: values, Kinds: kinds, Scopes: scopes, TenantID: tenant,
			})
		}},
		{name: "LockMessages", rows: 6 * batch, call: func(q *db.Queries) { _, _ = q.LockMessages(ctx, externalIDs, connections) }},
		{name: "KeptChanges", rows: 6 * batch, call: func(q *db.Queries) { _, _ = q.KeptChanges(ctx, externalIDs, connections, tenant) }},
		{name: "LockConversationsOf", rows: 10, call: func(q *db.Queries) { _, _ = q.LockConversationsOf(ctx, sender(10), tenant) }},
		{name: "LockUnread", rows: 20 * batch, call: func(q *db.Queries) {
			_, _ = q.LockUnread(ctx, db.LockUnreadParams{
				Identities: values, Kinds: kinds, Scopes: scopes, ConnectionIds: slices.Repeat(connections, 2), Until: slices.Repeat(times, 2), TenantID: tenant,
			})
		}},
		{name: "SaveContacts", rows: 6 * batch, call: func(q *db.Queries) {
			_ = q.SaveContacts(ctx, db.SaveContactsParams{
				TenantID: tenant, At: time.Now(), Ids: ids, Names: open, ProfileNames: empty, Phones: empty, Emails: empty, Instagrams: empty, Tags: lists,
				Sources: channel, OwnerIds: connections, OwnerNames: open, CustomFields: objects, MergedInto: slices.Repeat([]uuid.UUID{{}}, batch),
			})
		}},
		{name: "DeleteIdentity", rows: 4, call: func(q *db.Queries) {
			_ = q.DeleteIdentity(ctx, db.DeleteIdentityParams{Identity: "phone10", Kind: "phone", TenantID: tenant})
		}},
		{name: "SaveIdentities", rows: 6 * batch, call: func(q *db.Queries) {
			_ = q.SaveIdentities(ctx, db.SaveIdentitiesParams{TenantID: tenant, Identities: values, Kinds: kinds, Scopes: scopes, ContactIds: contacts})
		}},
		{name: "SaveConversations", rows: 6 * batch, call: func(q *db.Queries) {
			_ = q.SaveConversations(ctx, db.SaveConversationsParams{
				TenantID: tenant, At: time.Now(), Ids: ids, ConnectionIds: connections, ContactIds: ids, Channels: channel, Statuses: open,
				LastMessageAt: times, LastInboundAt: times, ClosedAt: never,
			})
		}},
		{name: "MoveMessages", rows: 20, call: func(q *db.Queries) { _ = q.MoveMessages(ctx, sender(20), sender(10), tenant) }},
		{name: "SaveMessages", rows: 6 * batch, call: func(q *db.Queries) {
			_ = q.SaveMessages(ctx, db.SaveMessagesParams{
				TenantID: tenant, At: time.Now(), Ids: ids, ConnectionIds: connections, ConversationIds: ids, ContactIds: ids, Channels: channel,
				Directions: out, ExternalIds: externalIDs, Types: open, Texts: open, Contents: objects, Raws: raws, Statuses: open, StatusAt: times,
				Errors: empty, Pricings: empty, Standbys: no, SentAt: times, EditedAt: never, DeletedAt: never,
			})
		}},
	}
}
