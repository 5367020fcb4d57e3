package testenv

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/primezap/primezap/db"
	"github.com/primezap/primezap/pkg/localpg"
)

func TestDB_Roles(t *testing.T) {
	t.Parallel()
	d := DB(t)
	for role, want := range map[Role]string{API: db.RoleAPI, Worker: db.RoleWorker, Owner: db.RoleOwner} {
		if got := scan[string](t, d.URL(role), "SELECT current_user"); got != want {
			t.Errorf("%s is %s in Postgres, want %s", role, got, want)
		}
		if scan[bool](t, d.URL(role), "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user") {
			t.Errorf("%s is a superuser or bypasses row level security", role)
		}
	}
	if got := scan[string](t, d.URL(Superuser), "SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user"); got != "true" {
		t.Error("the superuser is none")
	}
	if got := scan[string](t, d.URL(Owner), "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"); got != db.RoleOwner {
		t.Errorf("the database belongs to %s, want %s", got, db.RoleOwner)
	}
	// Bootstrap's settings of a role hold in a clone too.
	if got := scan[string](t, d.URL(Worker), "SHOW statement_timeout"); got == "0" {
		t.Error("the worker has no statement timeout")
	}
}

func TestDB_IsMigratedAndTheTestsOwn(t *testing.T) {
	t.Parallel()
	a, b := DB(t), DB(t)
	run(t, a.URL(Owner), "CREATE TABLE only_here ()")
	for url, want := range map[string]bool{a.URL(Owner): true, b.URL(Owner): false} {
		if got := scan[bool](t, url, "SELECT to_regclass('only_here') IS NOT NULL"); got != want {
			t.Errorf("the table of one test is there: %t, want %t", got, want)
		}
		if !scan[bool](t, url, "SELECT to_regclass('webhooks') IS NOT NULL") {
			t.Error("not migrated")
		}
	}
}

func TestDB_IsDropped(t *testing.T) {
	t.Parallel()
	var name string
	t.Run("when its test ends, with a session still open", func(t *testing.T) {
		d := DB(t)
		name = d.Name
		if _, err := pgx.Connect(t.Context(), d.URL(API)); err != nil { // never closed: the server does
			t.Fatal(err)
		}
	})
	if scan[bool](t, DB(t).URL(Superuser), "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name) {
		t.Error("the database is still there")
	}
}

func TestDB_TemplateIsClosed(t *testing.T) {
	t.Parallel()
	d := DB(t)
	_, err := pgx.Connect(t.Context(), d.server.as(Superuser, d.server.template))
	if e, ok := errors.AsType[*pgconn.PgError](err); !ok || e.Code != "55000" {
		t.Errorf("connect to the template: %v, want it refused (55000)", err)
	}
}

// ownPostgres is a server whose preparation is the test's.
func ownPostgres(t *testing.T) (server *localpg.Server, dir string) {
	t.Helper()
	dir, err := stateDir("own-postgres")
	if err != nil {
		t.Fatal(err)
	}
	if server, err = startLocal(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stopLocal(server); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	return server, dir
}

func TestNewPostgres_ServerOfSeveralTestBinaries(t *testing.T) {
	t.Parallel()
	server, _ := ownPostgres(t)
	super := server.URL(localpg.Superuser, "postgres")
	templates := func() int {
		return scan[int](t, super, "SELECT count(*) FROM pg_database WHERE datname LIKE 'primezap\\_template\\_%' AND datistemplate")
	}
	prepare := func() *postgres {
		p, err := newPostgres(t.Context(), "test", super)
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(p.pool.Close)
		return p
	}

	var binaries sync.WaitGroup
	for range 4 {
		binaries.Go(func() { prepare() })
	}
	binaries.Wait()
	if n := templates(); n != 1 {
		t.Fatalf("%d templates after four preparations at once, want 1", n)
	}
	p := prepare()
	if p == nil {
		return
	}

	// As if killed amidst the migrations.
	run(t, super, "ALTER DATABASE "+quote(p.template)+" WITH IS_TEMPLATE false ALLOW_CONNECTIONS true")
	run(t, p.as(Superuser, p.template), "DROP TABLE goose_db_version CASCADE")
	// And what runs of other days left.
	for _, name := range []string{"primezap_template_20200101_abc", "primezap_test_20200101_abc", "primezap_test_20990101_abc", "customers"} {
		run(t, super, "CREATE DATABASE "+name)
	}
	run(t, super, "ALTER DATABASE primezap_template_20200101_abc WITH IS_TEMPLATE true")

	if p = prepare(); p == nil {
		return
	}
	if n := templates(); n != 1 {
		t.Errorf("%d templates after a killed preparation, want 1", n)
	}
	if !scan[bool](t, p.lend(t).URL(Owner), "SELECT to_regclass('goose_db_version') IS NOT NULL") {
		t.Error("the half-made template was used")
	}
	for name, want := range map[string]bool{
		"primezap_template_20200101_abc": false, "primezap_test_20200101_abc": false,
		"primezap_test_20990101_abc": true, "customers": true,
	} {
		if got := scan[bool](t, super, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name); got != want {
			t.Errorf("%s is there: %t, want %t", name, got, want)
		}
	}
}

func TestNewPostgres_ServerThatAsksForPasswords(t *testing.T) {
	t.Parallel()
	server, dir := ownPostgres(t)
	open := server.URL(localpg.Superuser, "postgres")
	run(t, open, "ALTER ROLE postgres PASSWORD 'of the superuser'")
	if err := os.WriteFile(filepath.Join(dir, "data", "pg_hba.conf"), []byte("local all all scram-sha-256\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, open, "SELECT pg_reload_conf()")
	super, err := url.Parse(open)
	if err != nil {
		t.Fatal(err)
	}
	super.User = url.UserPassword(localpg.Superuser, "of the superuser")
	p, err := newPostgres(t.Context(), "test", super.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.pool.Close)
	d := p.lend(t)
	for _, role := range []Role{API, Worker, Owner, Superuser} {
		if got := scan[int](t, d.URL(role), "SELECT 1"); got != 1 {
			t.Errorf("%s gets no answer", role)
		}
	}
	if _, err := pgx.Connect(t.Context(), server.URL(db.RoleAPI, d.Name)); err == nil {
		t.Error("a role connected without its password: the server does not ask for one, and this test proves nothing")
	}
}
