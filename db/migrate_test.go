package db_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver that goose uses
	"github.com/pressly/goose/v3"

	"github.com/primezap/primezap/db"
	"github.com/primezap/primezap/pkg/localpg"
	"github.com/primezap/primezap/pkg/testenv"
)

// schema is all of schema public as the catalogue tells it, a line for each
// thing, in order.
func schema(t testing.TB, super *pgx.Conn) []string {
	t.Helper()
	return list(t, super, pgx.RowTo[string], `
		WITH here AS (SELECT c.* FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace)
		SELECT format('relation %s %s of %s, security %s forced %s, options %s, grants %s, partition %s by %s', c.relname, c.relkind,
		  pg_get_userbyid(c.relowner), c.relrowsecurity, c.relforcerowsecurity, c.reloptions,
		  ARRAY(SELECT a::text FROM unnest(c.relacl) a ORDER BY 1), pg_get_expr(c.relpartbound, c.oid), CASE c.relkind WHEN 'p' THEN pg_get_partkeydef(c.oid) END)
		FROM here c WHERE c.relkind <> 'i'
		UNION ALL
		-- The place counts what is there: dropped columns leave gaps.
		SELECT format('column %s.%s, place %s, %s not null %s, default %s, generated %s identity %s, grants %s', c.relname, a.attname,
		  row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), format_type(a.atttypid, a.atttypmod), a.attnotnull,
		  pg_get_expr(d.adbin, d.adrelid), a.attgenerated, a.attidentity, a.attacl)
		FROM here c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
		WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
		UNION ALL
		SELECT format('index %s, options %s', pg_get_indexdef(c.oid), c.reloptions) FROM here c WHERE c.relkind IN ('i', 'I')
		UNION ALL
		SELECT format('constraint %s on %s: %s', o.conname, c.relname, pg_get_constraintdef(o.oid)) FROM here c JOIN pg_constraint o ON o.conrelid = c.oid
		UNION ALL
		SELECT format('policy %s', p) FROM pg_policies p WHERE p.schemaname = 'public'
		UNION ALL
		SELECT format('trigger %s %s', g.tgenabled, pg_get_triggerdef(g.oid)) FROM here c JOIN pg_trigger g ON g.tgrelid = c.oid WHERE NOT g.tgisinternal
		UNION ALL
		SELECT format('function of %s, grants %s: %s', pg_get_userbyid(p.proowner), ARRAY(SELECT a::text FROM unnest(p.proacl) a ORDER BY 1), pg_get_functiondef(p.oid))
		FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace AND p.prokind = 'f'
		UNION ALL
		SELECT format('type %s %s', y.typname, y.typtype) FROM pg_type y WHERE y.typnamespace = 'public'::regnamespace AND y.typrelid = 0 AND y.typelem = 0
		UNION ALL
		SELECT format('schema grants %s', ARRAY(SELECT a::text FROM unnest(n.nspacl) a ORDER BY 1)) FROM pg_namespace n WHERE n.nspname = 'public'
		ORDER BY 1`)
}

// changes tells two schemas apart.
func changes(before, after []string) string {
	var b strings.Builder
	for _, line := range before {
		if !slices.Contains(after, line) {
			fmt.Fprintf(&b, "\n- %s", line)
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			fmt.Fprintf(&b, "\n+ %s", line)
		}
	}
	return b.String()
}

func TestMigrations_EachDownUndoesItsUp(t *testing.T) {
	t.Parallel()
	d := testenv.DB(t)
	super := connect(t, d.URL(testenv.Superuser))
	// As the role that migrates: a superuser may do more.
	conn, err := sql.Open("pgx", d.URL(testenv.Owner))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, db.Migrations())
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context(), d.URL(testenv.Owner)); err != nil { // again: the days may have moved on
		t.Fatal(err)
	}
	whole := schema(t, super)

	if _, err := provider.DownTo(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	for _, line := range schema(t, super) {
		// River's tables are its own migrations', goose's its memory of ours.
		others := strings.Contains(line, riversPrefix) || strings.Contains(line, " goose_db_version")
		made := strings.HasPrefix(line, "relation") || strings.HasPrefix(line, "policy") || strings.HasPrefix(line, "function")
		if !others && (made || strings.Contains(line, db.RoleAPI) || strings.Contains(line, db.RoleWorker) || strings.Contains(line, roleDefiner)) {
			t.Errorf("all migrations are undone, and it is left: %s", line)
		}
	}

	steps := [][]string{schema(t, super)} // what stands after so many migrations
	for {
		if _, err := provider.UpByOne(t.Context()); errors.Is(err, goose.ErrNoNextVersion) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, schema(t, super))
	}
	if want := len(provider.ListSources()) + 1; len(steps) != want {
		t.Fatalf("%d steps, want %d", len(steps), want)
	}
	for i := len(steps) - 2; i >= 0; i-- {
		if changes(steps[i], steps[i+1]) == "" {
			t.Errorf("migration %d changes nothing that is looked at", i+1)
		}
		if _, err := provider.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := changes(steps[i], schema(t, super)); diff != "" {
			t.Errorf("after migration %d was undone:%s", i+1, diff)
		}
	}

	if err := db.Migrate(t.Context(), d.URL(testenv.Owner)); err != nil {
		t.Fatal(err)
	}
	if diff := changes(whole, schema(t, super)); diff != "" {
		t.Errorf("after up, down and up:%s", diff)
	}
}

// newServer is a Postgres that knows none of our roles yet.
func newServer(t testing.TB) *localpg.Server {
	t.Helper()
	server, err := localpg.Start(t.Context(), localpg.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return server
}

// A first installation: several programs start at once on a server that has
// nothing yet.
func TestBootstrapAndMigrate_SeveralAtOnceOnANewServer(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	const name = "primezap"
	root := server.URL(localpg.Superuser, "postgres")
	atOnce(t, 4, func() error { return db.Bootstrap(t.Context(), root, name) })
	if got := one[string](t, connect(t, root), "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1", name); got != db.RoleOwner {
		t.Errorf("the database belongs to %s", got)
	}
	atOnce(t, 2, func() error { return db.Migrate(t.Context(), server.URL(db.RoleOwner, name)) })

	super := connect(t, server.URL(localpg.Superuser, name))
	made := schema(t, super)
	if !slices.ContainsFunc(made, func(line string) bool { return strings.HasPrefix(line, "policy") }) {
		t.Error("not migrated")
	}
	days := one[int](t, super, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'events'::regclass")
	if want := db.PartitionDaysAhead + 2; days != want { // yesterday, today, and those ahead
		t.Errorf("%d days of events, want %d", days, want)
	}
	run(t, super, "INSERT INTO tenants (id) VALUES ($1)", tenantA)
	// All of it again, by programs that start later.
	atOnce(t, 2, func() error {
		return errors.Join(db.Bootstrap(t.Context(), root, name), db.Migrate(t.Context(), server.URL(db.RoleOwner, name)))
	})
	if diff := changes(made, schema(t, super)); diff != "" {
		t.Errorf("the second time changed:%s", diff)
	}
	if n := one[int](t, super, "SELECT count(*) FROM tenants"); n != 1 {
		t.Errorf("%d tenants after the second time, want the one that was there", n)
	}
}

func atOnce(t testing.TB, n int, fn func() error) {
	t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if err := fn(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestMigrate_NeedsTheOwner(t *testing.T) {
	t.Parallel()
	if err := db.Migrate(t.Context(), testenv.DB(t).URL(testenv.Worker)); !denied(err) {
		t.Errorf("migrated by the worker: %v, want it denied", err)
	}
}

func TestSetPasswords(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	root := server.URL(localpg.Superuser, "postgres")
	if err := db.Bootstrap(t.Context(), root, "primezap"); err != nil {
		t.Fatal(err)
	}
	const password = `it's "a" pass\word`
	if err := db.SetPasswords(t.Context(), root, password); err != nil {
		t.Fatal(err)
	}
	super := connect(t, root)
	with := list(t, super, pgx.RowTo[string], "SELECT rolname FROM pg_authid WHERE starts_with(rolname, 'primezap_') AND rolpassword IS NOT NULL ORDER BY 1")
	if want := []string{db.RoleAPI, db.RoleOwner, db.RoleWorker}; !slices.Equal(with, want) {
		t.Errorf("roles with a password: %v, want %v", with, want)
	}
	for _, secret := range list(t, super, pgx.RowTo[string], "SELECT rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL") {
		if strings.Contains(secret, password) || !strings.HasPrefix(secret, "SCRAM-SHA-256$") {
			t.Error("a password is kept as it is")
		}
	}
}
