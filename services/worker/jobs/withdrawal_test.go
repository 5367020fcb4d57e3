package jobs

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/testenv"
)

// withdrawing is a system where somebody logged in for tenants.
type withdrawing struct {
	*testing.T
	store *store.Store
	super *store.Store
}

func newWithdrawing(t *testing.T) *withdrawing {
	t.Helper()
	database := testenv.DB(t)
	return &withdrawing{T: t, store: open(t, database, testenv.Worker), super: open(t, database, testenv.Superuser)}
}

// issued is when Meta says that something was taken back.
var issued = time.Now().Add(-time.Hour).Truncate(time.Second)

// grant is a login of a user for a tenant, with a page that came by it.
func (w *withdrawing) grant(owner uuid.UUID, user string, at time.Time) uuid.UUID {
	w.Helper()
	id := uuid.Must(uuid.NewV7())
	exec(w.T, w.super, `INSERT INTO oauth_grants (id, tenant_id, user_id, user_name, credentials, scopes, missing_scopes, granted_at)
		VALUES ($1, $2, $3, 'Ana Prado', 'sealed', '{pages_show_list}', '{}', $4)`, id, owner, user, at)
	exec(w.T, w.super, `INSERT INTO connections (id, tenant_id, channel, name, external_id, credentials, grant_id)
		VALUES (gen_random_uuid(), $1, 'facebook', 'n', $2::uuid::text, 'sealed', $2::uuid)`, owner, id)
	return id
}

// tell keeps what Meta told.
func (w *withdrawing) tell(kind, user string) uuid.UUID {
	w.Helper()
	id := uuid.Must(uuid.NewV7())
	exec(w.T, w.super, "INSERT INTO oauth_withdrawals (id, kind, code, request, user_id, issued_at) VALUES ($1::uuid, $2, $1::uuid::text, $1::uuid::text::bytea, $3, $4)", id, kind, user, issued)
	return id
}

func (w *withdrawing) work(ctx context.Context, id uuid.UUID) error {
	return newWithdrawer(w.store, quiet()).Work(ctx, &river.Job[jobs.GrantWithdrawal]{Args: jobs.GrantWithdrawal{ID: id}})
}

func (w *withdrawing) done(id uuid.UUID) {
	w.Helper()
	if err := w.work(w.Context(), id); err != nil {
		w.Fatal(err)
	}
	if !ask[bool](w.T, w.super, "SELECT completed_at IS NOT NULL AND user_id IS NULL FROM oauth_withdrawals WHERE id = $1", id) {
		w.Error("it is not completed, or still names the user")
	}
}

// state says what is left of a grant and of the connection that came by it.
func (w *withdrawing) state(owner, id uuid.UUID) string {
	w.Helper()
	return ask[string](w.T, w.super, `SELECT coalesce((SELECT status || CASE WHEN credentials IS NULL THEN '' ELSE ' with token' END FROM oauth_grants WHERE id = $2), 'gone')
		|| ', page' || (SELECT CASE WHEN credentials IS NULL THEN '' ELSE ' with token' END || CASE WHEN grant_id IS NULL THEN '' ELSE ' of a grant' END
			FROM connections WHERE tenant_id = $1 AND deleted_at IS NULL)`, owner, id)
}

const standing = "active with token, page with token of a grant"

func TestWithdrawer_Work(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]struct{ state, reason string }{
		"deauthorize": {"reconnect, page of a grant", "deauthorized"},
		"deletion":    {"gone, page", "data_deleted"},
	} {
		t.Run(kind+" ends what the user had allowed for every tenant, once, and nobody else's", func(t *testing.T) {
			t.Parallel()
			w := newWithdrawing(t)
			var owners, grants []uuid.UUID
			for range withdrawalPage + 2 {
				owner := uuid.Must(uuid.NewV7())
				owners, grants = append(owners, owner), append(grants, w.grant(owner, "555000111222333", issued.Add(-time.Hour)))
			}
			neighbour := uuid.Must(uuid.NewV7())
			spared := w.grant(neighbour, "7002", issued.Add(-time.Hour))
			id := w.tell(kind, "555000111222333")
			w.done(id)
			for i, owner := range owners {
				if got := w.state(owner, grants[i]); got != want.state {
					t.Fatalf("tenant %d: %s, want %s", i, got, want.state)
				}
			}
			if got := w.state(neighbour, spared); got != standing {
				t.Errorf("another user's: %s", got)
			}
			told := "SELECT count(*) FROM outbox WHERE event_type = 'connection.reconnect_required' AND convert_from(body, 'UTF8')::jsonb #>> '{data,reason}' = $1"
			if n := ask[int](t, w.super, told, want.reason); n != len(owners) {
				t.Errorf("%d events, want one for each of %d pages", n, len(owners))
			}
			audited := ask[int](t, w.super, "SELECT count(*) FROM audit_log")
			w.done(id)                              // as a worker does that was thought dead
			w.done(w.tell(kind, "555000111222333")) // and Meta tells again
			if n := ask[int](t, w.super, told, want.reason); n != len(owners) {
				t.Errorf("%d events after a repetition", n)
			}
			if n := ask[int](t, w.super, "SELECT count(*) FROM audit_log"); n != audited {
				t.Errorf("%d entries of the audit log after a repetition, want %d", n, audited)
			}
			if kind == "deletion" && ask[bool](t, w.super, "SELECT EXISTS (SELECT FROM audit_log a WHERE a::text LIKE '%Prado%' OR a::text LIKE '%555000111222333%')") {
				t.Error("the audit log names the user")
			}
		})
	}

	t.Run("a later login stands, and clocks may differ by some seconds", func(t *testing.T) {
		t.Parallel()
		w := newWithdrawing(t)
		for after, want := range map[time.Duration]string{
			-time.Hour: "gone, page", 0: "gone, page", clocksDiffer: "gone, page",
			clocksDiffer + time.Second: standing, time.Minute: standing,
		} {
			user, owner := fmt.Sprint(8000+after.Seconds()), uuid.Must(uuid.NewV7())
			id := w.grant(owner, user, issued.Add(after))
			w.done(w.tell("deletion", user))
			if got := w.state(owner, id); got != want {
				t.Errorf("a login %s after it: %s, want %s", after, got, want)
			}
		}
	})

	t.Run("Meta is asked of a login that came so soon after a removal that clocks may be to blame", func(t *testing.T) {
		t.Parallel()
		w := newWithdrawing(t)
		for after, want := range map[time.Duration]bool{900 * time.Millisecond: false, 5 * time.Second: true} {
			user, owner := fmt.Sprint(9000+after.Milliseconds()), uuid.Must(uuid.NewV7())
			id := w.grant(owner, user, issued.Add(after))
			exec(t, w.super, "UPDATE oauth_grants SET check_at = now() + interval '1 hour' WHERE id = $1", id)
			w.done(w.tell("deauthorize", user))
			stands := w.state(owner, id) == standing
			asked := ask[bool](t, w.super, "SELECT check_at <= now() FROM oauth_grants WHERE id = $1", id)
			if stands != want || asked != want {
				t.Errorf("a login %s after it stands: %t, and Meta is asked: %t; want %t", after, stands, asked, want)
			}
		}
	})

	t.Run("goes on where it was interrupted, and each tenant stands for itself", func(t *testing.T) {
		t.Parallel()
		w := newWithdrawing(t)
		var owners, grants []uuid.UUID
		for range 5 {
			owner := uuid.Must(uuid.NewV7())
			owners, grants = append(owners, owner), append(grants, w.grant(owner, "7001", issued.Add(-time.Hour)))
		}
		id := w.tell("deauthorize", "7001")
		exec(t, w.super, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$`)
		exec(t, w.super, fmt.Sprintf("CREATE TRIGGER refuse BEFORE UPDATE ON oauth_grants FOR EACH ROW WHEN (OLD.id = '%s') EXECUTE FUNCTION refuse()", grants[3]))
		if err := w.work(t.Context(), id); !snoozed(err) {
			t.Fatalf("%v, want it to wait", err)
		}
		var states []string
		for i, owner := range owners {
			states = append(states, w.state(owner, grants[i]))
		}
		ended := "reconnect, page of a grant"
		if want := []string{ended, ended, ended, standing, standing}; !slices.Equal(states, want) {
			t.Fatalf("%q, want %q", states, want)
		}
		if place := ask[uuid.UUID](t, w.super, "SELECT place FROM oauth_withdrawals"); place != grants[2] {
			t.Errorf("it stands at %s, want %s", place, grants[2])
		}
		exec(t, w.super, "DROP TRIGGER refuse ON oauth_grants")
		w.done(id)
		for i, owner := range owners {
			if got := w.state(owner, grants[i]); got != ended {
				t.Errorf("tenant %d: %s", i, got)
			}
		}
	})

	t.Run("a user whom nobody knows is done with at once, and so is a row that is gone", func(t *testing.T) {
		t.Parallel()
		w := newWithdrawing(t)
		w.done(w.tell("deletion", "9"))
		if err := w.work(t.Context(), uuid.New()); err != nil {
			t.Error(err)
		}
	})
}

func TestPurger_Work_Logins(t *testing.T) {
	t.Parallel()
	w := newWithdrawing(t)
	exec(t, w.super, `INSERT INTO oauth_withdrawals (id, kind, code, request, issued_at, completed_at)
		SELECT gen_random_uuid(), 'deletion', n::text, n::text::bytea, now(), now() - CASE WHEN n = 0 THEN interval '399 days' ELSE interval '401 days' END
		FROM generate_series(0, 2500) AS n`)
	exec(t, w.super, `INSERT INTO oauth_withdrawals (id, kind, code, request, user_id, issued_at, requested_at)
		VALUES (gen_random_uuid(), 'deletion', 'waits', 'waits', '7', now() - interval '2 years', now() - interval '2 years')`)
	exec(t, w.super, `INSERT INTO oauth_states (tenant_id, nonce, expires_at)
		SELECT $1, n::text, now() - CASE WHEN n = 0 THEN interval '50 minutes' ELSE interval '70 minutes' END FROM generate_series(0, 2500) AS n`, tenant)
	exec(t, w.super, "INSERT INTO oauth_states (tenant_id, nonce, expires_at) VALUES ($1, 'good', now() + interval '5 minutes')", tenant)
	purgeNow(t, w.store)
	if left, want := ask[[]string](t, w.super, "SELECT array_agg(code ORDER BY code) FROM oauth_withdrawals"), []string{"0", "waits"}; !slices.Equal(left, want) {
		t.Errorf("left are %d withdrawals (%.5q), want %q", len(left), left, want)
	}
	if left, want := ask[[]string](t, w.super, "SELECT array_agg(nonce ORDER BY nonce) FROM oauth_states"), []string{"0", "good"}; !slices.Equal(left, want) {
		t.Errorf("left are %d states (%.5q), want %q", len(left), left, want)
	}
}
