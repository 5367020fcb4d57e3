package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertest"
	"github.com/riverqueue/river/rivertype"

	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/pkg/vault"
)

// rotation is an installation whose vault key is being replaced.
type rotation struct {
	*testing.T
	database    *testenv.Database
	store, api  *store.Store
	old, staged *vault.Vault // staged has both keys, and seals with the old one
	new         *vault.Vault // has both keys, and seals with the new one
}

func newRotation(t *testing.T) *rotation {
	t.Helper()
	var sets [3][]byte
	var err error
	if sets[0], err = vault.NewKeyset(); err == nil {
		if sets[1], err = vault.AddKey(sets[0]); err == nil {
			sets[2], err = vault.PromoteKey(sets[1])
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	d := testenv.DB(t)
	return &rotation{
		T: t, database: d, store: open(t, d, testenv.Worker), api: open(t, d, testenv.API),
		old: openVault(t, sets[0]), staged: openVault(t, sets[1]), new: openVault(t, sets[2]),
	}
}

func binding(id uuid.UUID, purpose string) vault.Binding {
	return vault.Binding{Tenant: tenant, Table: "webhooks", Row: id.String(), Purpose: purpose}
}

func (r *rotation) seal(v *vault.Vault, id uuid.UUID, purpose, plain string) []byte {
	r.Helper()
	sealed, err := v.Seal([]byte(plain), binding(id, purpose))
	if err != nil {
		r.Fatal(err)
	}
	return sealed
}

// hook inserts a webhook with all three ciphertexts, sealed with v.
func (r *rotation) hook(v *vault.Vault) uuid.UUID {
	r.Helper()
	id := uuid.Must(uuid.NewV7())
	asTenant(r.T, r.api, `INSERT INTO webhooks (id, tenant_id, name, url, events, secret, secret_hint, previous_secret, previous_secret_until, headers)
		VALUES ($2, $1, 'n', 'https://example.com', '{*}', $3, '', $4, now() + interval '1 day', $5)`, tenant, id,
		r.seal(v, id, "secret", "secret of "+id.String()), r.seal(v, id, "secret", "previous of "+id.String()), r.seal(v, id, "headers", "headers of "+id.String()))
	return id
}

// opens fails the test unless each ciphertext of the webhook is under the vault's
// primary key and holds what it did.
func (r *rotation) opens(v *vault.Vault, id uuid.UUID) {
	r.Helper()
	row, err := r.store.Queries().SealedWebhook(r.Context(), id)
	if err != nil {
		r.Fatal(err)
	}
	for _, c := range []struct {
		sealed        []byte
		purpose, want string
	}{{row.Secret, "secret", "secret of "}, {row.PreviousSecret, "secret", "previous of "}, {row.Headers, "headers", "headers of "}} {
		plain, err := v.Unseal(c.sealed, binding(id, c.purpose))
		key, _ := vault.KeyID(c.sealed)
		if err != nil || string(plain) != c.want+id.String() || key != v.PrimaryKeyID() {
			r.Errorf("webhook %s: %q under key %d, %v; want %q under %d", id, plain, key, err, c.want, v.PrimaryKeyID())
		}
	}
}

func tokenBinding(id uuid.UUID) vault.Binding {
	return vault.Binding{Tenant: tenant, Table: "connections", Row: id.String(), Purpose: "access_token"}
}

// connect inserts a connection whose token is sealed with v.
func (r *rotation) connect(v *vault.Vault) uuid.UUID {
	r.Helper()
	id := uuid.Must(uuid.NewV7())
	sealed, err := v.Seal([]byte("token of "+id.String()), tokenBinding(id))
	if err != nil {
		r.Fatal(err)
	}
	asTenant(r.T, r.api, `INSERT INTO connections (id, tenant_id, channel, name, external_id, credentials) VALUES ($2, $1, 'whatsapp', 'n', $3, $4)`,
		tenant, id, id.String(), sealed)
	return id
}

// holds fails the test unless the connection's token is under the vault's primary key
// and is what it was.
func (r *rotation) holds(v *vault.Vault, id uuid.UUID) {
	r.Helper()
	credentials := ask[[]byte](r.T, r.store, "SELECT credentials FROM connections WHERE id = $1", id)
	token, err := v.Unseal(credentials, tokenBinding(id))
	if key, _ := vault.KeyID(credentials); err != nil || key != v.PrimaryKeyID() || string(token) != "token of "+id.String() {
		r.Errorf("connection %s: %q under key %d, %v; want its token under %d", id, token, key, err, v.PrimaryKeyID())
	}
}

func (r *rotation) run(v *vault.Vault, log *slog.Logger, opts *river.InsertOpts) *rivertype.JobRow {
	r.Helper()
	tx, err := r.store.Pool().Begin(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	defer tx.Rollback(context.WithoutCancel(r.Context())) //nolint:errcheck // the job's row is not needed
	worker := rivertest.NewWorker(r.T, riverpgxv5.New(r.store.Pool()), &river.Config{Logger: quiet()}, newResealer(r.store, v, log))
	result, err := worker.Work(r.Context(), r.T, tx, resealArgs{}, opts)
	if err != nil {
		r.Fatal(err)
	}
	return result.Job
}

func TestResealer_Work(t *testing.T) {
	t.Parallel()
	const state = "SELECT row(generation, updated_at, secret_hint, previous_secret_until)::text FROM webhooks WHERE id = $1"

	t.Run("seals everything under the newest key, and changes nothing else", func(t *testing.T) {
		t.Parallel()
		r := newRotation(t)
		var ids []uuid.UUID
		for range 2*resealChunk + 3 {
			ids = append(ids, r.hook(r.old))
		}
		asTenant(t, r.api, "UPDATE webhooks SET previous_secret = NULL, headers = NULL WHERE tenant_id = $1 AND id = $2", tenant, ids[1])
		asTenant(t, r.api, "UPDATE webhooks SET deleted_at = now() WHERE tenant_id = $1 AND id = $2", tenant, ids[2])
		done := r.hook(r.new)
		before := ask[string](t, r.store, state, ids[0])
		r.run(r.new, quiet(), nil)
		for _, id := range slices.Delete(slices.Clone(ids), 1, 2) {
			r.opens(r.new, id)
		}
		row, err := r.store.Queries().SealedWebhook(t.Context(), ids[1])
		if err != nil || row.PreviousSecret != nil || row.Headers != nil {
			t.Errorf("what was absent became %x, %x, %v", row.PreviousSecret, row.Headers, err)
		}
		if after := ask[string](t, r.store, state, ids[0]); after != before {
			t.Errorf("%s became %s", before, after)
		}
		if n := ask[int](t, r.store, "SELECT reseals FROM webhooks WHERE id = $1", done); n != 0 {
			t.Error("what was under the newest key was sealed again")
		}
		r.run(r.new, quiet(), nil)
		if n := ask[int](t, r.store, "SELECT max(reseals) FROM webhooks"); n != 1 {
			t.Errorf("sealed %d times, want once", n)
		}
	})

	t.Run("seals connections' tokens too, with all webhooks or none", func(t *testing.T) {
		t.Parallel()
		r := newRotation(t)
		var ids []uuid.UUID
		for range resealChunk + 3 {
			ids = append(ids, r.connect(r.old))
		}
		unopened := r.connect(newVault(t)) // a key that nobody has
		ids = append(ids, r.connect(r.old))
		deleted := r.connect(r.old)
		asTenant(t, r.api, "UPDATE connections SET deleted_at = now(), credentials = NULL WHERE tenant_id = $1 AND id = $2", tenant, deleted)
		later := ask[string](t, r.store, "SELECT encode(credentials, 'hex') FROM connections WHERE id = $1", r.connect(r.new))
		updated := ask[time.Time](t, r.store, "SELECT max(updated_at) FROM connections")
		log, warnings := counting(slog.LevelWarn)
		r.run(r.new, log, nil)
		for _, id := range ids {
			r.holds(r.new, id)
		}
		if n := warnings.count.Load(); n != 1 {
			t.Errorf("%d warnings, want one of %s", n, unopened)
		}
		if !ask[bool](t, r.store, "SELECT credentials IS NULL FROM connections WHERE id = $1", deleted) {
			t.Error("a deleted connection has credentials again")
		}
		if !ask[bool](t, r.store, "SELECT EXISTS (SELECT FROM connections WHERE encode(credentials, 'hex') = $1)", later) {
			t.Error("what was under the newest key was sealed again")
		}
		if after := ask[time.Time](t, r.store, "SELECT max(updated_at) FROM connections"); !after.Equal(updated) {
			t.Error("connections look changed")
		}
	})

	t.Run("seals grants' tokens too", func(t *testing.T) {
		t.Parallel()
		r := newRotation(t)
		id := uuid.Must(uuid.NewV7())
		of := vault.Binding{Tenant: tenant, Table: "oauth_grants", Row: id.String(), Purpose: "access_token"}
		sealed, err := r.old.Seal([]byte("a user's"), of)
		if err != nil {
			t.Fatal(err)
		}
		asTenant(t, r.api, `INSERT INTO oauth_grants (id, tenant_id, user_id, user_name, credentials, scopes, missing_scopes) VALUES ($2, $1, 'u', 'n', $3, '{}', '{}')`, tenant, id, sealed)
		r.run(r.new, quiet(), nil)
		credentials := ask[[]byte](t, r.store, "SELECT credentials FROM oauth_grants WHERE id = $1", id)
		token, err := r.new.Unseal(credentials, of)
		if key, _ := vault.KeyID(credentials); err != nil || key != r.new.PrimaryKeyID() || string(token) != "a user's" {
			t.Errorf("%q under key %d, %v", token, key, err)
		}
	})

	t.Run("a token that is stored meanwhile stands", func(t *testing.T) {
		t.Parallel()
		r := newRotation(t)
		id := r.connect(r.old)
		row, err := r.store.Queries().SealedConnection(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		asTenant(t, r.api, "UPDATE connections SET credentials = '\\x02' WHERE tenant_id = $1 AND id = $2", tenant, id)
		if n, err := r.store.Queries().ResealConnection(t.Context(), []byte{1}, id, row.Credentials); n != 0 || err != nil {
			t.Errorf("it was replaced in %d rows, %v", n, err)
		}
	})

	t.Run("leaves what a later keyset seals with already", func(t *testing.T) {
		t.Parallel()
		r := newRotation(t)
		id := r.hook(r.new)
		r.run(r.staged, quiet(), nil)
		r.opens(r.new, id)
		if n := ask[int](t, r.store, "SELECT reseals FROM webhooks"); n != 0 {
			t.Error("the older keyset took the newer key away")
		}
	})

	t.Run("passes over what does not open, and says so once", func(t *testing.T) {
		t.Parallel()
		r := newRotation(t)
		for range 3 {
			r.hook(newVault(t)) // a key that nobody has
		}
		id := r.hook(r.old)
		log, warnings := counting(slog.LevelWarn)
		job := r.run(r.new, log, nil)
		r.opens(r.new, id)
		if n := warnings.count.Load(); n != 1 || job.State != rivertype.JobStateCompleted {
			t.Errorf("%d warnings, and the job is %s; want one, completed", n, job.State)
		}
	})

	t.Run("an edit made meanwhile wins", func(t *testing.T) {
		t.Parallel()
		for name, edit := range map[string]string{
			"of the secret":   "UPDATE webhooks SET secret = $2, updated_at = now() WHERE id = $1",
			"of the headers":  "UPDATE webhooks SET headers = $2, updated_at = now() WHERE id = $1",
			"end of a grace":  "UPDATE webhooks SET previous_secret = CASE WHEN $2::bytea IS NULL THEN $2 END, updated_at = now() WHERE id = $1",
			"start of one":    "UPDATE webhooks SET previous_secret = secret, secret = $2, updated_at = now() WHERE id = $1",
			"of no secret":    "UPDATE webhooks SET name = encode($2::bytea, 'hex') WHERE id = $1",
			"for all of them": "UPDATE webhooks SET secret = $2, previous_secret = $2, headers = $2 WHERE id = $1",
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				r := newRotation(t)
				id := r.hook(r.old)
				fresh := r.seal(r.old, id, "secret", "edited")
				const ciphertexts = "SELECT row(secret, previous_secret, headers)::text FROM webhooks WHERE id = $1"
				editing, err := r.api.Pool().Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer editing.Rollback(context.WithoutCancel(t.Context())) //nolint:errcheck // committed below
				if _, err := editing.Exec(t.Context(), "SELECT set_config('app.tenant_id', $1, true)", tenant.String()); err != nil {
					t.Fatal(err)
				}
				if _, err := editing.Exec(t.Context(), edit, id, fresh); err != nil {
					t.Fatal(err)
				}
				var edited string
				if err := editing.QueryRow(t.Context(), ciphertexts, id).Scan(&edited); err != nil {
					t.Fatal(err)
				}
				ended := make(chan error, 1)
				go func() {
					walk := sealWalk{resealer: newResealer(r.store, r.new, quiet())}
					_, err := walk.step(t.Context())
					ended <- err
				}()
				super := open(t, r.database, testenv.Superuser)
				eventually(t, "the job waits for the edit", func() bool {
					return ask[bool](t, super, `SELECT EXISTS (SELECT FROM pg_stat_activity
						WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%ResealWebhook%')`)
				})
				if err := editing.Commit(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				if name == "of no secret" {
					r.opens(r.new, id) // both stand
				} else if after := ask[string](t, r.store, ciphertexts, id); after != edited {
					t.Errorf("the edit was undone: %s became %s", edited, after)
				}
			})
		}
	})

	t.Run("goes on where it was when it comes back", func(t *testing.T) {
		t.Parallel()
		r := newRotation(t)
		first := r.hook(r.old)
		second := r.hook(r.old)
		metadata, err := json.Marshal(map[string]any{resumeAt: first})
		if err != nil {
			t.Fatal(err)
		}
		r.run(r.new, quiet(), &river.InsertOpts{Metadata: metadata})
		r.opens(r.old, first)
		r.opens(r.new, second)
	})

	t.Run("goes on in the table where it was", func(t *testing.T) {
		t.Parallel()
		r := newRotation(t)
		hook, first, second := r.hook(r.old), r.connect(r.old), r.connect(r.old)
		metadata, err := json.Marshal(map[string]any{resumeIn: 1, resumeAt: first})
		if err != nil {
			t.Fatal(err)
		}
		r.run(r.new, quiet(), &river.InsertOpts{Metadata: metadata})
		r.opens(r.old, hook)
		r.holds(r.old, first)
		r.holds(r.new, second)
	})

	t.Run("leaves where it came to", func(t *testing.T) {
		t.Parallel()
		r := newRotation(t)
		first := r.hook(r.old)
		walk := sealWalk{resealer: newResealer(r.store, r.new, quiet())}
		for range resealChunk {
			r.hook(r.new)
		}
		if more, err := walk.step(t.Context()); err != nil || !more || walk.table != 0 || walk.after == uuid.Nil || walk.after == first {
			t.Fatalf("after a chunk it is at %s of table %d, %v", walk.after, walk.table, err)
		}
		job := r.run(r.new, quiet(), nil)
		if at := string(metadataOf(t, job)[resumeIn]); at != fmt.Sprint(len(sealTables)) {
			t.Errorf("the job leaves %s, want it behind the last table", job.Metadata)
		}
	})
}

func metadataOf(t *testing.T, job *rivertype.JobRow) (metadata map[string]json.RawMessage) {
	t.Helper()
	if err := json.Unmarshal(job.Metadata, &metadata); err != nil {
		t.Fatal(err)
	}
	return metadata
}
