package grant_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/pkg/vault"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// fixture is a database of its own, and what services work with.
type fixture struct {
	*testing.T
	api, worker, super *store.Store
	vault              *vault.Vault
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	database := testenv.DB(t)
	f := &fixture{T: t}
	for role, into := range map[testenv.Role]**store.Store{testenv.API: &f.api, testenv.Worker: &f.worker, testenv.Superuser: &f.super} {
		s, err := store.Open(t.Context(), database.URL(role), 8)
		f.check(err)
		t.Cleanup(s.Close)
		*into = s
	}
	keyset, err := vault.NewKeyset()
	f.check(err)
	f.vault, err = vault.Open(keyset)
	f.check(err)
	return f
}

func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func tenant() uuid.UUID { return uuid.Must(uuid.NewV7()) }

// login is one of Rafaela's.
func login(token string) grant.Login {
	return grant.Login{UserID: "7770001", UserName: "Rafaela Nogueira", Permission: grant.Permission{
		Token: token, ExpiresAt: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), DataAccessExpiresAt: time.Date(2027, 2, 3, 4, 5, 6, 0, time.UTC),
		Scopes: []string{"pages_messaging"}, Missing: []string{"instagram_basic"},
	}}
}

func (f *fixture) save(of uuid.UUID, in grant.Login) (row db.OauthGrant, err error) {
	err = f.api.InTenant(f.Context(), of, func(q *db.Queries) (err error) {
		row, err = grant.Save(f.Context(), q, f.vault, of, "user:1", in)
		return err
	})
	return row, err
}

func (f *fixture) mustSave(of uuid.UUID, in grant.Login) db.OauthGrant {
	f.Helper()
	row, err := f.save(of, in)
	f.check(err)
	return row
}

func (f *fixture) read(of, id uuid.UUID) (g grant.Grant, err error) {
	err = f.api.InTenant(f.Context(), of, func(q *db.Queries) (err error) {
		g, err = grant.Read(f.Context(), q, f.vault, of, id)
		return err
	})
	return g, err
}

func (f *fixture) mustRead(row db.OauthGrant) grant.Grant {
	f.Helper()
	g, err := f.read(row.TenantID, row.ID)
	f.check(err)
	return g
}

// row is a grant as a worker sees it, before a job asks Meta.
func (f *fixture) row(row db.OauthGrant) db.OauthGrant {
	f.Helper()
	got, err := f.worker.Queries().GetGrant(f.Context(), row.ID, row.TenantID)
	f.check(err)
	return got
}

func (f *fixture) exec(sql string, args ...any) {
	f.Helper()
	_, err := f.super.Pool().Exec(f.Context(), sql, args...)
	f.check(err)
}

func (f *fixture) count(sql string, args ...any) (n int) {
	f.Helper()
	f.check(f.super.Pool().QueryRow(f.Context(), sql, args...).Scan(&n))
	return n
}

// audited are what a tenant's audit log has of grants, oldest first.
func (f *fixture) audited(of uuid.UUID) (actions []string) {
	f.Helper()
	rows, err := f.super.Pool().Query(f.Context(),
		"SELECT action || ' ' || actor FROM audit_log WHERE tenant_id = $1 AND subject_type = 'grant' ORDER BY created_at, id", of)
	f.check(err)
	actions, err = pgx.CollectRows(rows, pgx.RowTo[string])
	f.check(err)
	return actions
}

func (f *fixture) expectAudited(of uuid.UUID, want ...string) {
	f.Helper()
	if got := f.audited(of); !slices.Equal(got, want) {
		f.Errorf("audited %q, want %q", got, want)
	}
}

// connect connects pages by a grant.
func (f *fixture) connect(row db.OauthGrant, pages ...string) (rows []db.Connection) {
	f.Helper()
	var accounts []connection.Account
	for _, page := range pages {
		accounts = append(accounts, connection.Account{Channel: messaging.Facebook, ExternalID: page, Name: page, Token: "EAAP-" + page, GrantID: &row.ID})
	}
	f.check(f.api.InTenant(f.Context(), row.TenantID, func(q *db.Queries) error {
		connector := &connection.Connector{Vault: f.vault, Limiter: ratelimit.New(f.api, ratelimit.Config{PerMinute: 1, PerHour: 1, PerDay: 1})}
		outcomes, err := connector.Connect(f.Context(), q, row.TenantID, "user:1", accounts)
		for _, o := range outcomes {
			rows, err = append(rows, o.Connection), errors.Join(err, o.Err)
		}
		return err
	}))
	f.exec("DELETE FROM outbox")
	return rows
}

func (f *fixture) connection(row db.Connection) db.Connection {
	f.Helper()
	got, err := f.worker.Queries().GetConnection(f.Context(), row.ID, row.TenantID)
	f.check(err)
	return got
}

// raised are the connections and reasons of the events in the outbox, as the catalogue
// has them.
func (f *fixture) raised() (events []string) {
	f.Helper()
	rows, err := f.super.Pool().Query(f.Context(), "SELECT event_type, body FROM outbox ORDER BY id")
	f.check(err)
	var what string
	var body []byte
	_, err = pgx.ForEachRow(rows, []any{&what, &body}, func() error {
		if faults := event.Validate(event.Type(what), body); faults != nil {
			return fmt.Errorf("%s: %v", body, faults)
		}
		var e struct {
			Data struct {
				Connection struct{ ExternalID, Status string }
				Reason     string
			}
		}
		if err := json.Unmarshal(body, &e); err != nil {
			return err
		}
		events = append(events, fmt.Sprint(what, " ", e.Data.Connection.ExternalID, " ", e.Data.Connection.Status, " ", e.Data.Reason))
		return nil
	})
	f.check(err)
	return events
}

// refuse is Refuse in a transaction of the tenant.
func (f *fixture) refuse(s *store.Store, read db.OauthGrant, reason connection.Reason) (refused bool) {
	f.Helper()
	f.check(s.InTenant(f.Context(), read.TenantID, func(q *db.Queries) (err error) {
		refused, err = grant.Refuse(f.Context(), q, read, reason)
		return err
	}))
	return refused
}

func TestSave_SealsTheTokenForItsRow(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b := tenant(), tenant()
	row := f.mustSave(a, login("EAAB-first"))
	if strings.Contains(string(row.Credentials), "EAAB") {
		t.Error("the token is stored as it is")
	}
	g := f.mustRead(row)
	if g.Token() != "EAAB-first" || g.Row.ID != row.ID {
		t.Errorf("read %s, token %q", g, g.Token())
	}
	encoded, err := json.Marshal(g)
	f.check(err)
	for _, shown := range []string{fmt.Sprintf("%v", g), fmt.Sprintf("%+v", g), fmt.Sprintf("%#v", g), fmt.Sprint(&g), string(encoded), fmt.Sprintf("%+v %#v", login("EAAB"), login("EAAB"))} {
		if strings.Contains(shown, "EAAB") {
			t.Errorf("shown as %s", shown)
		}
	}
	if _, err := f.read(b, row.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant's: %v, want ErrNotFound", err)
	}
	fresh, err := grant.Reseal(f.vault, a, row.ID, row.Credentials)
	f.check(err)
	f.exec("UPDATE oauth_grants SET credentials = $1 WHERE id = $2", fresh, row.ID)
	if g := f.mustRead(row); g.Token() != "EAAB-first" {
		t.Errorf("sealed again it is %q", g.Token())
	}
	// A ciphertext that is moved to another row opens nowhere.
	other := f.mustSave(b, login("EAAB-second"))
	f.exec("UPDATE oauth_grants SET credentials = $1 WHERE id = $2", row.Credentials, other.ID)
	if _, err := f.read(b, other.ID); !errors.Is(err, vault.ErrSealed) {
		t.Errorf("with another row's ciphertext: %v, want ErrSealed", err)
	}
}

func TestSave_AnotherLoginRenewsTheGrant(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	first := f.mustSave(of, login("EAAB-first"))
	f.exec("UPDATE oauth_grants SET told_expires_at = expires_at, told_data_access_at = data_access_expires_at, check_at = '2099-01-01'")
	f.refuse(f.worker, f.row(first), connection.TokenRefused)
	in := login("EAAB-second")
	in.UserName, in.Scopes, in.Missing, in.DataAccessExpiresAt = "Rafaela N. Lima", nil, nil, time.Time{}
	got := f.mustSave(of, in)
	view := grant.Show(got)
	if got.ID != first.ID || view.Status != grant.Active || view.UserName != "Rafaela N. Lima" || len(view.GrantedScopes)+len(view.MissingScopes) != 0 ||
		view.DataAccessExpiresAt != nil || !view.ExpiresAt.Equal(in.ExpiresAt) || !got.GrantedAt.After(first.GrantedAt) {
		t.Errorf("renewed: %+v", view)
	}
	if got.ToldExpiresAt == nil || got.ToldDataAccessAt != nil || got.CheckAt.After(time.Now().Add(time.Hour)) {
		t.Errorf("told of %v and %v, looked at next at %s", got.ToldExpiresAt, got.ToldDataAccessAt, got.CheckAt)
	}
	if g := f.mustRead(got); g.Token() != "EAAB-second" {
		t.Errorf("the token is %q", g.Token())
	}
	f.expectAudited(of, "grant.created user:1", "grant.token_refused system", "grant.renewed user:1")
	if n := f.count("SELECT count(*) FROM audit_log WHERE (coalesce(before::text, '') || coalesce(after::text, '')) ~ 'Rafaela|7770001|EAAB'"); n != 0 {
		t.Errorf("%d rows of audit name the user or the token", n)
	}
	if n := f.count("SELECT count(*) FROM audit_log WHERE before IS NULL AND after IS NULL"); n != 0 {
		t.Errorf("%d rows of audit show nothing", n)
	}
}

func TestSave_NotOfAnyNumberOfUsers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b := tenant(), tenant()
	known := f.mustSave(a, login("EAAB"))
	f.exec("INSERT INTO oauth_grants (id, tenant_id, user_id, user_name, scopes, missing_scopes) SELECT gen_random_uuid(), $1, n::text, 'n', '{}', '{}' FROM generate_series(1, 98) AS n", a)
	errs := make([]error, 4)
	var racing sync.WaitGroup
	for i := range errs {
		racing.Go(func() {
			in := login("EAAB")
			in.UserID = fmt.Sprint("racer ", i)
			_, errs[i] = f.save(a, in)
		})
	}
	racing.Wait()
	full := 0
	for _, err := range errs {
		if errors.Is(err, grant.ErrTooMany) {
			full++
		} else if err != nil {
			t.Error(err)
		}
	}
	if full != 3 {
		t.Errorf("%d of 4 found no room, want one to find the last", full)
	}
	if got := f.mustSave(a, login("EAAB-new")); got.ID != known.ID {
		t.Error("a user who is known has another grant")
	}
	f.mustSave(b, login("EAAB"))
	var rows []db.OauthGrant
	f.check(f.api.InTenant(t.Context(), a, func(q *db.Queries) (err error) {
		rows, err = grant.List(t.Context(), q, a)
		return err
	}))
	if len(rows) != 100 || slices.ContainsFunc(rows, func(r db.OauthGrant) bool { return r.TenantID != a }) {
		t.Errorf("listed %d grants, want the tenant's 100", len(rows))
	}
}

func TestSave_OneUserTwiceAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	var racing sync.WaitGroup
	for i := range 6 {
		racing.Go(func() {
			if _, err := f.save(of, login(fmt.Sprint("EAAB-", i))); err != nil {
				t.Error(err)
			}
		})
	}
	racing.Wait()
	if n := f.count("SELECT count(*) FROM oauth_grants"); n != 1 {
		t.Errorf("%d grants, want one", n)
	}
}

func TestRenew_StandsBackForALogin(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustSave(of, login("EAAB-first"))
	renew := func(g grant.Grant, token string) (got db.OauthGrant, err error) {
		in := login(token)
		in.ExpiresAt = in.ExpiresAt.AddDate(0, 2, 0)
		err = f.worker.InTenant(t.Context(), of, func(q *db.Queries) (err error) {
			got, err = grant.Renew(t.Context(), q, f.vault, "system", g, in.Permission)
			return err
		})
		return got, err
	}
	used := f.mustRead(row)
	f.exec("UPDATE oauth_grants SET told_expires_at = expires_at, told_data_access_at = data_access_expires_at")
	fresh, err := grant.Reseal(f.vault, of, row.ID, row.Credentials)
	f.check(err)
	f.exec("UPDATE oauth_grants SET credentials = $1", fresh) // the same token
	got, err := renew(used, "EAAB-refreshed")
	f.check(err)
	if got.ToldExpiresAt != nil || got.ToldDataAccessAt == nil || !got.GrantedAt.Equal(row.GrantedAt) || f.mustRead(row).Token() != "EAAB-refreshed" {
		t.Errorf("refreshed: %+v", got)
	}
	f.expectAudited(of, "grant.created user:1", "grant.refreshed system")

	used = f.mustRead(row)
	f.mustSave(of, login("EAAB-login"))
	if _, err := renew(used, "EAAB-late"); !errors.Is(err, grant.ErrReplaced) || f.mustRead(row).Token() != "EAAB-login" {
		t.Errorf("after a login: %v, want ErrReplaced", err)
	}
	used = f.mustRead(row)
	f.refuse(f.worker, f.row(row), connection.TokenRefused)
	if _, err := renew(used, "EAAB-late"); !errors.Is(err, grant.ErrReplaced) {
		t.Errorf("after a refusal: %v, want ErrReplaced", err)
	}
	if g, err := f.read(of, row.ID); !errors.Is(err, grant.ErrReconnect) || g.Row.ID != row.ID {
		t.Errorf("read: %v, want ErrReconnect and the row", err)
	}
}

func TestRefuse_ATokenLeavesThePages(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustSave(of, login("EAAB"))
	page := f.connect(row, "9001")[0]
	read := f.row(row)
	for i, want := range []bool{true, false} {
		if got := f.refuse(f.worker, read, connection.TokenRefused); got != want {
			t.Errorf("refused for the %d. time: %t", i+1, got)
		}
	}
	if got := f.row(row); got.Status != "reconnect" || got.Credentials != nil {
		t.Errorf("the grant: %+v", got)
	}
	if got := f.connection(page); got.Status != "active" || got.Credentials == nil || got.SubscriptionCheckAt == nil {
		t.Errorf("its page, which is to be looked at soon: %+v", got)
	}
	if events := f.raised(); events != nil {
		t.Errorf("raised %q", events)
	}
	f.expectAudited(of, "grant.created user:1", "grant.token_refused system")
}

func TestRefuse_WhatCameSinceStands(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustSave(of, login("EAAB"))
	page := f.connect(row, "9001")[0]
	old := f.row(row)
	f.check(f.worker.InTenant(t.Context(), of, func(q *db.Queries) error {
		_, err := grant.Renew(t.Context(), q, f.vault, "system", f.mustRead(row), login("EAAB-refreshed").Permission)
		return err
	}))
	if f.refuse(f.worker, old, connection.TokenRefused) {
		t.Error("a token that was refreshed meanwhile was refused")
	}
	f.mustSave(of, login("EAAB-login"))
	for _, reason := range []connection.Reason{connection.TokenRefused, connection.Deauthorized, connection.DataDeleted} {
		if f.refuse(f.worker, old, reason) {
			t.Errorf("%s: a login since did not stand", reason)
		}
	}
	if got := f.connection(page); got.Credentials == nil || f.mustRead(row).Token() != "EAAB-login" {
		t.Error("a token is gone")
	}
}

func TestRefuse_WhatTheUserTookBack(t *testing.T) {
	t.Parallel()
	for _, reason := range []connection.Reason{connection.Deauthorized, connection.DataDeleted} {
		for _, role := range []string{"api", "worker"} {
			t.Run(string(reason)+" on the role of "+role, func(t *testing.T) {
				t.Parallel()
				f := newFixture(t)
				s := map[string]*store.Store{"api": f.api, "worker": f.worker}[role]
				a, b := tenant(), tenant()
				row, other := f.mustSave(a, login("EAAB")), f.mustSave(b, login("EAAB"))
				rows := f.connect(row, "9001", "9002", "9003")
				elsewhere := f.connect(other, "9004")[0]
				f.exec("UPDATE connections SET status = 'paused' WHERE id = $1", rows[1].ID)
				f.exec("UPDATE connections SET status = 'reconnect', token_refused = true WHERE id = $1", rows[2].ID)
				read := f.row(row)
				if !f.refuse(s, read, reason) {
					t.Error("it was not refused")
				}
				f.refuse(s, read, reason)
				if reason == connection.Deauthorized { // Meta tells of both
					if got := f.row(row); got.Status != "reconnect" || got.Credentials != nil {
						t.Errorf("the grant: %+v", got)
					}
					f.expectAudited(a, "grant.created user:1", "grant.deauthorized system")
					f.refuse(s, read, connection.DataDeleted)
				} else {
					f.expectAudited(a, "grant.created user:1", "grant.data_deleted system")
				}
				if n := f.count("SELECT count(*) FROM oauth_grants WHERE tenant_id = $1", a); n != 0 {
					t.Error("the grant of a user whose data is to be deleted is still there")
				}
				for i, status := range []string{"reconnect", "paused", "reconnect"} {
					if got := f.connection(rows[i]); got.Status != status || got.Credentials != nil || !got.TokenRefused || got.GrantID != nil {
						t.Errorf("connection %d: %+v", i, got)
					}
				}
				err := f.worker.InTx(t.Context(), func(q *db.Queries) error {
					_, err := connection.ForUse(t.Context(), q, f.vault, a, rows[0].ID)
					return err
				})
				if !errors.Is(err, connection.ErrReconnect) {
					t.Errorf("used: %v, want ErrReconnect", err)
				}
				want := []string{
					"connection.reconnect_required 9001 reconnect " + string(reason), "connection.reconnect_required 9002 paused " + string(reason),
				}
				if got := f.raised(); !slices.Equal(got, want) {
					t.Errorf("raised %q, want %q", got, want)
				}
				if n := f.count("SELECT count(*) FROM audit_log WHERE action = 'connection.' || $1", string(reason)); n != 3 {
					t.Errorf("audited %d connections, want 3", n)
				}
				if got := f.connection(elsewhere); got.Credentials == nil || f.mustRead(other).Token() != "EAAB" {
					t.Error("another tenant's grant went, too")
				}
			})
		}
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	of := tenant()
	row := f.mustSave(of, login("EAAB"))
	page := f.connect(row, "9001")[0]
	f.check(f.api.InTenant(t.Context(), of, func(q *db.Queries) error {
		locked, err := grant.Lock(t.Context(), q, of, row.ID)
		if err != nil {
			return err
		}
		return grant.Remove(t.Context(), q, "user:2", locked)
	}))
	if _, err := f.read(of, row.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("read: %v, want ErrNotFound", err)
	}
	if got := f.connection(page); got.GrantID != nil || got.Credentials == nil {
		t.Errorf("a connection that was left: %+v", got)
	}
	f.expectAudited(of, "grant.created user:1", "grant.deleted user:2")
}

func TestUseState_OfTwoAtOnceOneWins(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	a, b := tenant(), tenant()
	use := func(of uuid.UUID) error {
		return f.api.InTenant(t.Context(), of, func(q *db.Queries) error {
			return grant.UseState(t.Context(), q, of, "nonce", time.Now().Add(time.Minute))
		})
	}
	errs := make([]error, 6)
	var racing sync.WaitGroup
	for i := range errs {
		racing.Go(func() { errs[i] = use(a) })
	}
	racing.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, grant.ErrStateUsed) {
			t.Errorf("lost with %v, want ErrStateUsed", err)
		}
	}
	if won != 1 {
		t.Errorf("%d won, want one", won)
	}
	f.check(use(b))
}
