package jobs

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
)

func purgeNow(t *testing.T, s *store.Store) {
	t.Helper()
	if err := newPurger(s, 0, 0, quiet()).Work(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

func TestFirstID(t *testing.T) {
	t.Parallel()
	before := time.Now()
	id := uuid.Must(uuid.NewV7())
	after := time.Now().Add(time.Millisecond)
	low, high := firstID(before), firstID(after)
	if bytes.Compare(low[:], id[:]) > 0 || bytes.Compare(id[:], high[:]) >= 0 {
		t.Errorf("%s is not between %s and %s", id, low, high)
	}
}

func TestPurger_Work(t *testing.T) {
	t.Parallel()
	t.Run("removes exhausted deliveries whose time is up, however many", func(t *testing.T) {
		t.Parallel()
		s := open(t, testenv.DB(t), testenv.Worker)
		exec(t, s, `INSERT INTO webhook_queue (delivery_id, webhook_id, tenant_id, event_id, event_type, event_day, epoch, stream_seq, kind, state, attempt, due_at)
			SELECT gen_random_uuid(), $1, $1, 'old', 'deal.moved', current_date, 1, n, 0, 3, 4, now() - interval '1 second' FROM generate_series(1, 2500) AS n`, tenant)
		q := s.Queries()
		for _, r := range []queueRow{
			{event: "exhausted, kept", state: 3, due: time.Hour},
			{event: "waiting, due", state: 0, due: -time.Hour},
			{event: "retrying, due", state: 2, due: -time.Hour},
		} {
			if err := insertRow(t.Context(), q, r); err != nil {
				t.Fatal(err)
			}
		}
		purgeNow(t, s)
		left := ask[[]string](t, s, "SELECT array_agg(event_id ORDER BY event_id) FROM webhook_queue")
		if want := []string{"exhausted, kept", "retrying, due", "waiting, due"}; !slices.Equal(left, want) {
			t.Errorf("left are %d rows (%.5q), want %q", len(left), left, want)
		}
	})

	t.Run("forgets idempotency keys after a day", func(t *testing.T) {
		t.Parallel()
		database := testenv.DB(t)
		s, api := open(t, database, testenv.Worker), open(t, database, testenv.API)
		asTenant(t, api, `INSERT INTO idempotency_keys (tenant_id, key, event_ids, day, body_hash, created_at)
			SELECT $1, 'key:' || age, '{}', current_date, '', now() - age FROM unnest(ARRAY['23 hours', '25 hours']::interval[]) AS age`, tenant)
		purgeNow(t, s)
		left := ask[[]string](t, s, "SELECT array_agg(key) FROM idempotency_keys")
		if want := []string{"key:23:00:00"}; !slices.Equal(left, want) {
			t.Errorf("left are %q, want %q", left, want)
		}
	})

	t.Run("forgets changes after 400 days, or as configured", func(t *testing.T) {
		t.Parallel()
		s := open(t, testenv.DB(t), testenv.Worker)
		exec(t, s, `INSERT INTO audit_log (id, tenant_id, created_at, actor, action, subject_type, subject_id)
			SELECT gen_random_uuid(), $1, now() - make_interval(days => age), 'system', age::text, 's', 's' FROM unnest(ARRAY[1, 29, 31, 399]) AS age`, tenant)
		exec(t, s, `INSERT INTO audit_log (id, tenant_id, created_at, actor, action, subject_type, subject_id)
			SELECT gen_random_uuid(), $1, now() - interval '401 days', 'system', 'old', 's', 's' FROM generate_series(1, 2500)`, tenant)
		left := func() []string {
			return ask[[]string](t, s, "SELECT array_agg(action ORDER BY created_at DESC) FROM audit_log")
		}
		purgeNow(t, s)
		if got, want := left(), []string{"1", "29", "31", "399"}; !slices.Equal(got, want) {
			t.Errorf("left are %d entries (%.5q), want %q", len(got), got, want)
		}
		if err := newPurger(s, 30*24*time.Hour, 0, quiet()).Work(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if got, want := left(), []string{"1", "29"}; !slices.Equal(got, want) {
			t.Errorf("with a retention of 30 days left are %q, want %q", got, want)
		}
	})

	t.Run("forgets messages when their days are over, or never, and keeps who wrote them", func(t *testing.T) {
		t.Parallel()
		s := open(t, testenv.DB(t), testenv.Superuser) // the worker's role inserts none
		at := func(age time.Duration) uuid.UUID {
			id := firstID(time.Now().Add(-age))
			id[6], id[8], id[15] = 0x70, 0x80, 1 // as UUIDv7 are
			return id
		}
		const day = 24 * time.Hour
		message := func(id uuid.UUID, text string) {
			exec(t, s, `INSERT INTO messages (id, tenant_id, connection_id, conversation_id, contact_id, channel, direction, type, text, status, sent_at, created_at)
				VALUES ($1, $2, $2, $2, $2, 'whatsapp', 'inbound', 'text', $3, 'received', now() - interval '1 year', now() - interval '1 year')`, id, tenant, text)
		}
		message(at(89*day), "89")
		message(at(91*day), "91")
		for n := range 2*purgeChunk + 1 {
			id := at(92 * day)
			id[14], id[15] = byte(n>>8), byte(n) //nolint:gosec // the rest is cut off
			message(id, "old")
		}
		exec(t, s, "INSERT INTO contacts (id, tenant_id, name, source) VALUES ($1, $2, 'n', 'whatsapp')", at(365*day), tenant)
		exec(t, s, "INSERT INTO conversations (id, tenant_id, connection_id, contact_id, channel) VALUES ($1, $2, $2, $1, 'whatsapp')", at(365*day), tenant)
		purgeNow(t, s)
		if n := ask[int](t, s, "SELECT count(*) FROM messages"); n != 2*purgeChunk+3 {
			t.Errorf("%d messages are left that were to be kept for ever", n)
		}
		if err := newPurger(s, 0, 90*day, quiet()).Work(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if left := ask[[]string](t, s, "SELECT array_agg(text) FROM messages"); !slices.Equal(left, []string{"89"}) {
			t.Errorf("left are %d messages (%.5q), want the one of 89 days ago", len(left), left)
		}
		if n := ask[int](t, s, "SELECT (SELECT count(*) FROM contacts) + (SELECT count(*) FROM conversations)"); n != 2 {
			t.Error("a contact or a conversation is gone")
		}
	})

	t.Run("forgets what channels told beside messages after 30 days", func(t *testing.T) {
		t.Parallel()
		s := open(t, testenv.DB(t), testenv.Superuser)
		for field, age := range map[string]time.Duration{"kept": 29 * 24 * time.Hour, "old": 31 * 24 * time.Hour} {
			exec(t, s, "INSERT INTO channel_updates (id, tenant_id, connection_id, field, digest, raw) VALUES ($1, $2, $2, $3, $3::text::bytea, '{}')",
				firstID(time.Now().Add(-age)), tenant, field)
		}
		purgeNow(t, s)
		if left := ask[[]string](t, s, "SELECT array_agg(field) FROM channel_updates"); !slices.Equal(left, []string{"kept"}) {
			t.Errorf("left are %q", left)
		}
	})

	t.Run("forgets replays 30 days after their end", func(t *testing.T) {
		t.Parallel()
		database := testenv.DB(t)
		s, api := open(t, database, testenv.Worker), open(t, database, testenv.API)
		asTenant(t, api, `INSERT INTO replays (id, tenant_id, webhook_id, since, until, events, failed_only, next_day, created_at, finished_at, failure)
			SELECT gen_random_uuid(), $1, gen_random_uuid(), now(), now(), '{*}', false, current_date, now() - interval '1 year', now() - age, coalesce(age::text, 'running')
			FROM unnest(ARRAY['29 days', '31 days', NULL]::interval[]) AS age`, tenant)
		purgeNow(t, s)
		left := ask[[]string](t, s, "SELECT array_agg(failure ORDER BY failure) FROM replays")
		if want := []string{"29 days", "running"}; !slices.Equal(left, want) {
			t.Errorf("left are %q, want %q", left, want)
		}
	})

	t.Run("removes webhooks 30 days after their deletion, once their rows are gone, and has caches reload", func(t *testing.T) {
		t.Parallel()
		database := testenv.DB(t)
		s, api := open(t, database, testenv.Worker), open(t, database, testenv.API)
		insert := func(name string, deletedDaysAgo int) (id uuid.UUID) {
			id = uuid.Must(uuid.NewV7())
			asTenant(t, api, `INSERT INTO webhooks (id, tenant_id, name, url, events, secret, secret_hint)
				VALUES ($2, $1, $3, 'https://example.com', '{*}', '', '')`, tenant, id, name)
			if deletedDaysAgo > 0 {
				asTenant(t, api, `UPDATE webhooks SET deleted_at = now() - make_interval(days => $3), active = false
					WHERE tenant_id = $1 AND id = $2`, tenant, id, deletedDaysAgo)
			}
			return id
		}
		insert("alive", 0)
		insert("deleted lately", 29)
		hasRows := insert("deleted long ago, with rows", 31)
		if err := insertRow(t.Context(), s.Queries(), queueRow{webhook: hasRows, event: "e", state: 0, due: time.Hour}); err != nil {
			t.Fatal(err)
		}
		gone := insert("deleted long ago", 31)
		exec(t, s, "INSERT INTO webhook_lanes (webhook_id, tenant_id, next_due_at) VALUES ($1, $2, 'infinity')", gone, tenant)
		exec(t, s, "INSERT INTO webhook_health (webhook_id, tenant_id, down) VALUES ($1, $2, true)", gone, tenant)
		generation := ask[int64](t, s, "SELECT generation FROM webhooks WHERE id = $1", gone)
		insert("created since", 0) // the tenant has moved on

		purgeNow(t, s)
		left := ask[[]string](t, s, "SELECT array_agg(name ORDER BY name) FROM webhooks")
		if want := []string{"alive", "created since", "deleted lately", "deleted long ago, with rows"}; !slices.Equal(left, want) {
			t.Errorf("left are %q, want %q", left, want)
		}
		if reload := ask[int64](t, s, "SELECT reload_below FROM tenants WHERE id = $1", tenant); reload != generation {
			t.Errorf("caches below generation %d reload, want those below %d, which have not seen the deletion", reload, generation)
		}
		if health := ask[int](t, s, "SELECT count(*) FROM webhook_health"); health != 0 {
			t.Errorf("the health of the removed webhook is left")
		}
		if lanes := ask[int](t, s, "SELECT count(*) FROM webhook_lanes"); lanes != 0 {
			t.Errorf("%d lanes are left of the removed webhook", lanes)
		}
	})

	t.Run("removes kept bodies that no row needs any more", func(t *testing.T) {
		t.Parallel()
		s := open(t, testenv.DB(t), testenv.Worker)
		const epoch = 7
		copies := db.KeepBodiesParams{Epoch: epoch}
		for seq := range int64(2*purgeChunk + 3) { // more than are looked at at a time
			copies.StreamSeqs = append(copies.StreamSeqs, seq)
			copies.Tenants = append(copies.Tenants, tenant)
			copies.Days = append(copies.Days, bus.Day(time.Now()))
			copies.Ids = append(copies.Ids, uuid.NewString())
			copies.Bodies = append(copies.Bodies, []byte("{}"))
		}
		q := s.Queries()
		if err := q.KeepBodies(t.Context(), copies); err != nil {
			t.Fatal(err)
		}
		needed := []int64{0, purgeChunk, 2*purgeChunk + 2}
		for i, seq := range needed {
			row := queueRow{event: copies.Ids[seq], epoch: epoch, seq: uint64(seq), state: int16(i + 1), due: time.Hour}
			if err := insertRow(t.Context(), q, row); err != nil {
				t.Fatal(err)
			}
		}
		// One of another stream, which counts anew, needs none of these.
		if err := insertRow(t.Context(), q, queueRow{event: copies.Ids[1], epoch: epoch + 1, seq: 1, due: time.Hour}); err != nil {
			t.Fatal(err)
		}
		purgeNow(t, s)
		left := ask[[]int64](t, s, "SELECT array_agg(stream_seq ORDER BY stream_seq) FROM event_bodies")
		if !slices.Equal(left, needed) {
			t.Errorf("left are %d bodies (%.5v), want %v", len(left), left, needed)
		}
	})

	t.Run("leaves a body to the row that somebody is about to insert for it", func(t *testing.T) {
		t.Parallel()
		database := testenv.DB(t)
		s := open(t, database, testenv.Worker)
		body := db.KeepBodiesParams{
			Epoch: 7, StreamSeqs: []int64{1}, Tenants: []uuid.UUID{tenant}, Days: []time.Time{bus.Day(time.Now())},
			Ids: []string{"e1"}, Bodies: [][]byte{[]byte("{}")},
		}
		if err := s.Queries().KeepBodies(t.Context(), body); err != nil {
			t.Fatal(err)
		}
		replay, err := s.Pool().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer replay.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // committed below
		if _, err := replay.Exec(t.Context(), "SELECT FROM event_store FOR SHARE"); err != nil {
			t.Fatal(err)
		}
		if err := db.New(replay).KeepBodies(t.Context(), body); err != nil { // is there already
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- newPurger(s, 0, 0, quiet()).Work(t.Context(), nil) }()
		super := open(t, database, testenv.Superuser)
		eventually(t, "the purger waits for the replay", func() bool {
			return ask[bool](t, super, `SELECT EXISTS (SELECT FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%LockEventStore%')`)
		})
		if err := insertRow(t.Context(), db.New(replay), queueRow{event: "e1", epoch: 7, seq: 1}); err != nil {
			t.Fatal(err)
		}
		if err := replay.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if bodies := ask[int](t, s, "SELECT count(*) FROM event_bodies"); bodies != 1 {
			t.Errorf("%d bodies are left, want the one that the new row needs", bodies)
		}
	})
}
