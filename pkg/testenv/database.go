package testenv

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/primezap/primezap/db"
	"github.com/primezap/primezap/pkg/localpg"
)

// Database is a migrated database of one test.
type Database struct {
	Name   string
	server *postgres
}

// DB gives t a database. It is dropped when t ends, whoever is connected then.
func DB(t testing.TB) *Database {
	t.Helper()
	needMain(t)
	server, err := sharedPostgres()
	if err != nil {
		t.Fatalf("testenv: postgres: %v", err)
	}
	return server.lend(t)
}

func (p *postgres) lend(t testing.TB) *Database {
	t.Helper()
	d, err := p.clone(t.Context())
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	t.Cleanup(func() {
		if err := p.drop(d.Name); err != nil {
			t.Errorf("testenv: %v", err)
		}
	})
	t.Logf("testenv: database %s on postgres from %s", d.Name, p.source)
	return d
}

// URL is where role connects: API, Worker, Owner or Superuser.
func (d *Database) URL(role Role) string { return d.server.as(role, d.Name) }

// postgres is a server with the product's roles and a migrated template.
type postgres struct {
	source   string
	super    *url.URL      // a superuser's, to a database that always exists
	password string        // of the product's roles; empty where none is asked for
	template string        // the database that tests get copies of
	pool     *pgxpool.Pool // the superuser's
}

var sharedPostgres = once(func(ctx context.Context) (*postgres, error) {
	source, super, err := postgresServer(ctx)
	if err != nil {
		return nil, err
	}
	p, err := newPostgres(ctx, source, super)
	if err != nil {
		return nil, err
	}
	atEnd(func(context.Context) error { p.pool.Close(); return nil })
	return p, nil
})

// postgresServer finds or starts the shared server.
func postgresServer(ctx context.Context) (source, super string, err error) {
	if super := os.Getenv("TEST_DATABASE_URL"); super != "" {
		return "TEST_DATABASE_URL", super, nil
	}
	inContainer, err := containers()
	if err != nil {
		return "", "", err
	}
	if inContainer {
		return postgresContainer(ctx)
	}
	dir, err := stateDir("postgres")
	if err != nil {
		return "", "", err
	}
	server, err := startLocal(ctx, dir)
	if err != nil {
		return "", "", err
	}
	atEnd(server.Stop)
	return server.Source(), server.URL(localpg.Superuser, "postgres"), nil
}

func startLocal(ctx context.Context, dir string) (*localpg.Server, error) {
	return localpg.Start(ctx, localpg.Config{Dir: dir, Log: warnings(), Settings: map[string]string{
		"autovacuum_naptime": "1min", // dozens of databases, each for a moment
		"max_connections":    maxConnections,
	}})
}

// maxConnections is enough for a dozen whole systems: tests with parallel subtests
// keep theirs while others start.
const maxConnections = "600"

func stopLocal(server *localpg.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Stop(ctx)
}

// newPostgres prepares the server behind super, a superuser's URL.
func newPostgres(ctx context.Context, source, super string) (*postgres, error) {
	p := &postgres{source: source}
	var err error
	if p.super, err = url.Parse(super); err != nil {
		return nil, fmt.Errorf("the superuser's URL: %w", err)
	}
	if secret, asked := p.super.User.Password(); asked {
		// The same in every test binary that uses the server.
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte("primezap test roles"))
		p.password = hex.EncodeToString(mac.Sum(nil)[:16])
	}
	if p.pool, err = pgxpool.New(ctx, super); err != nil {
		return nil, fmt.Errorf("connect as the superuser: %w", err)
	}
	if p.template, err = p.prepare(ctx); err != nil {
		p.pool.Close()
		return nil, fmt.Errorf("prepare the template: %w", err)
	}
	return p, nil
}

// The names that databases here have: of a day, so that what killed runs left
// on a server that lives on is known for old.
const (
	templatePrefix = "primezap_template_"
	clonePrefix    = "primezap_test_"
	dayLayout      = "20060102"
)

// prepare makes roles and template, once a server however many test binaries
// ask at a time, and returns the template's name.
func (p *postgres) prepare(ctx context.Context) (string, error) {
	fingerprint, err := migrationsFingerprint()
	if err != nil {
		return "", err
	}
	// Partitions are made from today on: tomorrow needs another one.
	template := templatePrefix + time.Now().UTC().Format(dayLayout) + "_" + fingerprint
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return "", fmt.Errorf("connect as the superuser: %w", err)
	}
	defer conn.Release()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext('primezap.testenv'))"); err != nil {
		return "", fmt.Errorf("lock: %w", err)
	}
	defer func() { // a killed binary's ends with its connection
		_, _ = conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock(hashtext('primezap.testenv'))")
	}()
	if err := dropOld(ctx, conn.Conn()); err != nil {
		return "", err
	}
	var exists, whole bool
	err = conn.QueryRow(ctx, "SELECT count(*) > 0, count(*) FILTER (WHERE datistemplate) > 0 FROM pg_database WHERE datname = $1", template).Scan(&exists, &whole)
	if err != nil {
		return "", fmt.Errorf("look for the template: %w", err)
	}
	if exists && !whole { // killed while it was migrated
		if err := execute(ctx, conn.Conn(), "DROP DATABASE "+quote(template)+" WITH (FORCE)"); err != nil {
			return "", err
		}
	}
	if err := db.Bootstrap(ctx, p.super.String(), template); err != nil {
		return "", err
	}
	if p.password != "" {
		if err := db.SetPasswords(ctx, p.super.String(), p.password); err != nil {
			return "", err
		}
	}
	if whole {
		return template, nil
	}
	if err := db.Migrate(ctx, p.as(Owner, template)); err != nil {
		return "", err
	}
	// From here on nothing connects to it, so no test can leave anything there.
	return template, execute(ctx, conn.Conn(), "ALTER DATABASE "+quote(template)+" WITH ALLOW_CONNECTIONS false IS_TEMPLATE true")
}

// migrationsFingerprint names the schema by what makes it.
func migrationsFingerprint() (string, error) {
	sum := sha256.New()
	files := db.Migrations()
	err := fs.WalkDir(files, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, path)
		fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the migrations: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)[:6]), nil
}

// dropOld drops templates and clones of days before yesterday.
func dropOld(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `SELECT datname FROM pg_database WHERE datname ~ $1 AND split_part(datname, '_', 3) < $2`,
		"^("+templatePrefix+"|"+clonePrefix+")[0-9]{8}_", time.Now().UTC().AddDate(0, 0, -1).Format(dayLayout))
	if err != nil {
		return fmt.Errorf("look for old databases: %w", err)
	}
	old, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for old databases: %w", err)
	}
	for _, name := range old {
		if err := execute(ctx, conn, "ALTER DATABASE "+quote(name)+" WITH IS_TEMPLATE false"); err != nil {
			return err
		}
		if err := execute(ctx, conn, "DROP DATABASE "+quote(name)+" WITH (FORCE)"); err != nil {
			return err
		}
	}
	return nil
}

// clone makes a database for a test.
func (p *postgres) clone(ctx context.Context) (*Database, error) {
	d := &Database{Name: clonePrefix + time.Now().UTC().Format(dayLayout) + "_" + strings.ToLower(rand.Text()[:12]), server: p}
	_, err := p.pool.Exec(ctx, "CREATE DATABASE "+quote(d.Name)+" TEMPLATE "+quote(p.template)+" OWNER "+db.RoleOwner+" STRATEGY "+cloneStrategy)
	if err != nil {
		return nil, fmt.Errorf("clone the template: %w", err)
	}
	return d, nil
}

// cloneStrategy is the cheaper one where nothing is synced: 52 ms against 71 on
// ext4 with PostgreSQL 15 and 450 files, which are most of the cost.
const cloneStrategy = "file_copy"

func (p *postgres) drop(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if _, err := p.pool.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop %s: %w", name, err)
	}
	return nil
}

// as is role's URL of database.
func (p *postgres) as(role Role, database string) string {
	u := *p.super
	u.Path = "/" + database
	var name string
	switch role {
	case Superuser:
		return u.String()
	case Owner:
		name = db.RoleOwner
	case API:
		name = db.RoleAPI
	case Worker:
		name = db.RoleWorker
	default:
		panic("testenv: Postgres has no role " + string(role))
	}
	u.User = url.User(name)
	if p.password != "" {
		u.User = url.UserPassword(name, p.password)
	}
	return u.String()
}

func execute(ctx context.Context, conn *pgx.Conn, statement string) error {
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
