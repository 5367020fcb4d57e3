// Package db holds the schema: the roles, the migrations and what applies them.
// The queries beside it (db/queries) are compiled by sqlc into pkg/store/db.
package db

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // goose speaks database/sql
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed bootstrap.sql
var bootstrap string

//go:embed migrations/*.sql
var migrations embed.FS

// Names of the roles that bootstrap.sql makes.
const (
	RoleOwner  = "primezap_owner"
	RoleAPI    = "primezap_api"
	RoleWorker = "primezap_worker"
)

// partitionDaysAhead is how many days of partitions exist before they are needed.
const partitionDaysAhead = 3

// Bootstrap makes the roles and, unless it exists, database name owned by the
// owner role. url is a superuser's, to any database but that one. Idempotent,
// and safe from several processes at once.
func Bootstrap(ctx context.Context, url, name string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost with it
	// Roles belong to the whole cluster, and two ALTER ROLE at once collide.
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext('primezap.bootstrap'))"); err != nil {
		return fmt.Errorf("bootstrap: lock: %w", err)
	}
	if _, err := conn.Exec(ctx, bootstrap); err != nil {
		return fmt.Errorf("bootstrap: roles: %w", err)
	}
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists); err != nil {
		return fmt.Errorf("bootstrap: look for database: %w", err)
	}
	if exists {
		return nil
	}
	create := "CREATE DATABASE " + pgx.Identifier{name}.Sanitize() + " OWNER " + RoleOwner
	if _, err := conn.Exec(ctx, create); err != nil {
		return fmt.Errorf("bootstrap: create database: %w", err)
	}
	return nil
}

// Migrations are the goose files, for a test that walks them down and up.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// Migrate applies what is missing and makes the first partitions. url is the
// owner role's. Runs of several processes follow one another.
func Migrate(ctx context.Context, url string) error {
	conn, err := sql.Open("pgx", url)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer conn.Close() //nolint:errcheck // nothing is lost with it
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, Migrations(), goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	today := time.Now().UTC()
	if _, err := conn.ExecContext(ctx, "SELECT ensure_partitions($1::date, $2::date)",
		today.AddDate(0, 0, -1), today.AddDate(0, 0, partitionDaysAhead)); err != nil {
		return fmt.Errorf("migrate: make partitions: %w", err)
	}
	return nil
}
