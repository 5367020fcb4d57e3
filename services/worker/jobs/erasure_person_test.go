package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store/db"
)

// phone is the number of the person who is erased.
const phone = "+5511900000001"

// person stores a contact with two identities, and with conversations of so many
// messages.
func (w *erasing) person(owner uuid.UUID, number, text string, messages ...int) uuid.UUID {
	w.Helper()
	id := uuid.Must(uuid.NewV7())
	exec(w.T, w.super, `INSERT INTO contacts (id, tenant_id, name, phone, email, custom_fields, tags, source) VALUES ($1, $2, $3, nullif($4, ''), $3, to_json($3::text), ARRAY[$3], 'whatsapp')`,
		id, owner, text, number)
	if number != "" {
		exec(w.T, w.super, "INSERT INTO contact_identities (value, kind, tenant_id, contact_id) VALUES ($1, 'phone', $2, $3), ('BR.'||$4, 'user_id', $2, $3)",
			number, owner, id, number[len(number)-6:])
	}
	for _, n := range messages {
		w.converse(owner, id, text, n)
	}
	return id
}

func (w *erasing) converse(owner, contact uuid.UUID, text string, messages int) uuid.UUID {
	w.Helper()
	id := uuid.Must(uuid.NewV7())
	exec(w.T, w.super, "INSERT INTO conversations (id, tenant_id, connection_id, contact_id, channel) VALUES ($1, $2, $1, $3, 'whatsapp')", id, owner, contact)
	exec(w.T, w.super, `INSERT INTO messages (id, tenant_id, connection_id, conversation_id, contact_id, channel, direction, external_id, type, text, content, raw, status, sent_at)
		SELECT gen_random_uuid(), $2, $1, $1, $3, 'whatsapp', 'inbound', 'wamid.' || n, 'text', $4, to_json($4::text), convert_to($4, 'UTF8'), 'received', now()
		FROM generate_series(1, $5::int) AS n`, id, owner, contact, text, messages)
	return id
}

func (w *erasing) tell(owner uuid.UUID, name, raw string, ago time.Duration) {
	w.Helper()
	exec(w.T, w.super, `INSERT INTO channel_updates (id, tenant_id, connection_id, field, digest, raw, received_at) VALUES ($1, $2, $2, $3, sha256($4), $4, now() - $5 * interval '1 s')`,
		uuid.Must(uuid.NewV7()), owner, name, []byte(raw), ago.Seconds())
}

func (w *erasing) count(what string, args ...any) int64 {
	w.Helper()
	return ask[int64](w.T, w.super, "SELECT count(*) FROM "+what, args...)
}

func TestEraser_WorkOnPerson(t *testing.T) {
	t.Parallel()
	t.Run("leaves nothing of a contact that is kept here and of those that are the same person, and everything of others", func(t *testing.T) {
		t.Parallel()
		w := newErasing(t)
		ana := w.person(tenant, phone, marker, rowChunk+1, 1)
		merged, twice := w.person(tenant, "", marker), w.person(tenant, "", marker)
		exec(t, w.super, "UPDATE contacts SET merged_into = $2 WHERE id = $1", merged, ana)
		exec(t, w.super, "UPDATE contacts SET merged_into = $2 WHERE id = $1", twice, merged)
		for range conversationChunk {
			w.converse(tenant, ana, marker, 0)
		}
		other, theirs := w.person(tenant, "+5511900000002", "kept", 3), w.person(w.other, phone, "kept", 3)
		for name, raw := range map[string]string{
			"id": `{"wa_id":"5511900000001"}`, "plus": `{"to":"+5511900000001"}`, "user": `{"id":"BR.000001"}`, "bytes": "\x00\xff5511900000001\xff", "escaped": `"\u002b5511900000001"`,
		} {
			w.tell(tenant, "gone "+name, raw, time.Second)
		}
		for name, raw := range map[string]string{
			"longer": `{"id":"15511900000001"}`, "longer user": `{"id":"BR.0000012"}`, "other": `{"wa_id":"5511900000002"}`, "pattern": `{"id":"BRx000001"}`,
		} {
			w.tell(tenant, "kept "+name, raw, time.Second)
		}
		w.tell(w.other, "kept, another tenant's", `{"wa_id":"5511900000001"}`, time.Second)
		w.tell(tenant, "kept, of when she wrote again", `{"wa_id":"5511900000001","again":true}`, -time.Hour)
		for i := range searchChunk {
			w.tell(tenant, "kept", fmt.Sprintf(`{"n":%d}`, i), time.Second)
		}

		for i, contact := range []uuid.UUID{ana, merged, twice} {
			id := fmt.Sprint("a", i)
			w.deliver(tenant, contact.String(), id, marker, w.publish(tenant, contact.String(), id, marker))
			w.publish(tenant, contact.String(), "waiting"+id, marker)
			w.raise(contact.String(), "raised"+id, marker, 1)
		}
		w.deliver(tenant, other.String(), "b", "kept", w.publish(tenant, other.String(), "b", "kept"))
		asked := w.ask(ana.String())
		// What she wrote after the request, before it was worked on.
		w.publish(tenant, ana.String(), "late", marker)
		w.raise(ana.String(), "raised late", marker, -1)

		row := w.run(asked.ID)
		if found := rowsWith(t, w.super, marker); len(found) > 0 {
			t.Errorf("tables still hold the marker: %v", found)
		}
		if ids := w.stored(bus.StreamEvents, marker); len(ids) > 0 {
			t.Errorf("the event store still holds %v", ids)
		}
		if ids := w.stored(bus.StreamEvents, "kept"); !slices.Equal(ids, []string{"b"}) {
			t.Errorf("of the other contact: %v", ids)
		}
		for what, want := range map[string]int64{
			"contacts": 2, "contact_identities": 4, "contact_tags": 2, "conversations": 2, "messages": 6,
			"channel_updates WHERE field LIKE 'gone%'": 0, "channel_updates WHERE field LIKE 'kept%'": searchChunk + 6,
			"outbox": 0, "erasures WHERE contacts = '{}' AND known_as = '{}'": 1,
		} {
			if got := w.count(what); got != want {
				t.Errorf("%d of %s are left, want %d", got, what, want)
			}
		}
		if w.count("contacts WHERE id = ANY($1)", []uuid.UUID{other, theirs}) != 2 {
			t.Error("another contact is gone")
		}
		// 3 contacts, 2 identities, 102 conversations, their messages, 5 updates.
		if want := int64(3 + 2 + conversationChunk + 2 + rowChunk + 2 + 5); row.Records != want {
			t.Errorf("counted %d records, want %d", row.Records, want)
		}
		// Delivered, waiting and raised of each, and two late.
		if row.Events != 3*3+2 {
			t.Errorf("counted %d events, want 11", row.Events)
		}
	})

	t.Run("of one that turned out to be another, erases that person", func(t *testing.T) {
		t.Parallel()
		w := newErasing(t)
		ana := w.person(tenant, phone, marker, 2)
		merged := w.person(tenant, "", marker)
		exec(t, w.super, "UPDATE contacts SET merged_into = $2 WHERE id = $1", merged, ana)
		seq := w.publish(tenant, ana.String(), "a", marker)
		w.deliver(tenant, ana.String(), "a", marker, seq)
		w.run(w.ask(strings.ToUpper(merged.String())).ID)
		if found := rowsWith(t, w.super, marker); len(found) > 0 || len(w.stored(bus.StreamEvents, marker)) > 0 {
			t.Errorf("tables still hold the marker: %v", found)
		}
	})

	t.Run("a message that is being stored meanwhile goes too", func(t *testing.T) {
		t.Parallel()
		w := newErasing(t)
		ana := w.person(tenant, phone, marker, 1)
		storing, ctx := w.holding(ana)
		asked := w.ask(ana.String())
		ended := w.inBackground(asked.ID)
		w.waitsForContacts()
		conversation := uuid.New()
		for _, sql := range []string{
			"INSERT INTO conversations (id, tenant_id, connection_id, contact_id, channel) VALUES ($1, $2, $1, $3, 'facebook')",
			`INSERT INTO messages (id, tenant_id, connection_id, conversation_id, contact_id, channel, direction, type, text, status, sent_at)
				VALUES ($1, $2, $1, $1, $3, 'facebook', 'inbound', 'text', '` + marker + `', 'received', now())`,
			`INSERT INTO outbox (tenant_id, event_id, event_type, day, body) VALUES ($2::uuid, $1::uuid::text, 'message.received', current_date,
				convert_to('{"data":{"contact":{"id":"' || $3::uuid || '"},"text":"` + marker + `"}}', 'UTF8'))`,
		} {
			if _, err := storing.Exec(ctx, sql, conversation, tenant, ana); err != nil {
				t.Fatal(err)
			}
		}
		if err := storing.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		w.run(asked.ID)
		if found := rowsWith(t, w.super, marker); len(found) > 0 {
			t.Errorf("tables still hold the marker: %v", found)
		}
	})

	t.Run("another contact that turns out to be her meanwhile goes too", func(t *testing.T) {
		t.Parallel()
		w := newErasing(t)
		ana, merged := w.person(tenant, phone, marker, 1), w.person(tenant, "", marker)
		merging, ctx := w.holding(ana)
		asked := w.ask(ana.String())
		ended := w.inBackground(asked.ID)
		w.waitsForContacts()
		if _, err := merging.Exec(ctx, "UPDATE contacts SET merged_into = $2 WHERE id = $1", merged, ana); err != nil {
			t.Fatal(err)
		}
		if err := merging.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		w.run(asked.ID)
		if found := rowsWith(t, w.super, marker); len(found) > 0 {
			t.Errorf("tables still hold the marker: %v", found)
		}
	})

	t.Run("whoever waits for the contact meanwhile finds none, and nothing she was known by", func(t *testing.T) {
		t.Parallel()
		w := newErasing(t)
		ana := w.person(tenant, phone, marker, 1)
		erasing, err := w.store.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer erasing.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // committed below
		q := db.New(erasing)
		if _, err := q.LockContactsOf(t.Context(), []uuid.UUID{ana}); err != nil {
			t.Fatal(err)
		}
		if _, err := removePerson(t.Context(), q, []uuid.UUID{ana}); err != nil {
			t.Fatal(err)
		}
		met := make(chan error, 1)
		go func() {
			var id uuid.UUID
			met <- w.super.Pool().QueryRow(t.Context(), "SELECT id FROM contacts WHERE id = $1 FOR UPDATE", ana).Scan(&id)
		}()
		w.waitsForContacts()
		if err := erasing.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-met; !errors.Is(err, pgx.ErrNoRows) {
			t.Errorf("%v, want no contact", err)
		}
		if n := w.count("contact_identities"); n != 0 {
			t.Errorf("%d identities are left", n)
		}
	})

	t.Run("goes on where it was interrupted", func(t *testing.T) {
		t.Parallel()
		w := newErasing(t)
		ana := w.person(tenant, phone, marker, rowChunk, 1)
		merged := w.person(tenant, "", marker)
		exec(t, w.super, "UPDATE contacts SET merged_into = $2 WHERE id = $1", merged, ana)
		for i, contact := range []uuid.UUID{ana, merged} {
			id := fmt.Sprint("a", i)
			w.deliver(tenant, contact.String(), id, marker, w.publish(tenant, contact.String(), id, marker))
		}
		for i := range 2 * searchChunk {
			w.tell(tenant, "gone", fmt.Sprintf(`{"wa_id":"5511900000001","n":%d}`, i), time.Second)
		}
		asked := w.ask(ana.String())
		var row db.Erasure
		for tries := 0; row.FinishedAt == nil; tries++ {
			if tries == 500 {
				t.Fatal("it does not get on")
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(tries)*time.Millisecond)
			_ = w.work(ctx, asked.ID)
			cancel()
			var err error
			if row, err = w.store.Queries().GetErasure(t.Context(), asked.ID); err != nil {
				t.Fatal(err)
			}
		}
		if found := rowsWith(t, w.super, marker); len(found) > 0 || len(w.stored(bus.StreamEvents, marker)) > 0 || w.count("channel_updates") > 0 {
			t.Errorf("tables still hold the marker: %v", found)
		}
		if want := int64(2 + 2 + 2 + rowChunk + 1 + 2*searchChunk); row.Records != want || row.Events != 2 {
			t.Errorf("counted %d records, %d events; want %d, 2", row.Records, row.Events, want)
		}
	})
}

// holding is a transaction that has locked a contact.
func (w *erasing) holding(contact uuid.UUID) (pgx.Tx, context.Context) {
	w.Helper()
	ctx := w.Context()
	tx, err := w.super.Pool().Begin(ctx)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = tx.Rollback(context.WithoutCancel(ctx)) })
	if _, err := tx.Exec(ctx, "SELECT FROM contacts WHERE id = $1 FOR UPDATE", contact); err != nil {
		w.Fatal(err)
	}
	return tx, ctx
}

func (w *erasing) inBackground(id uuid.UUID) chan error {
	ended := make(chan error, 1)
	go func() { ended <- w.work(w.Context(), id) }()
	return ended
}

func (w *erasing) waitsForContacts() {
	w.Helper()
	eventually(w.T, "somebody waits for the contact", func() bool {
		return ask[bool](w.T, w.super, `SELECT EXISTS (SELECT FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%contacts%FOR UPDATE%')`)
	})
}
