// Package db holds the schema: the roles, the migrations and what applies them.
// The queries beside it (db/queries) are compiled by sqlc into pkg/store/db.
package db

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed bootstrap.sql
var bootstrap string

//go:embed river.sql
var river string

//go:embed migrations/*.sql
var migrations embed.FS

// Names of the roles that bootstrap.sql makes.
const (
	RoleOwner  = "primezap_owner"
	RoleAPI    = "primezap_api"
	RoleWorker = "primezap_worker"
)

// PartitionDaysAhead is how many days of partitions exist before they are needed.
const PartitionDaysAhead = 3

// Bootstrap makes the roles and, unless it exists, database name owned by the
// owner role. url is a superuser's, to any database but that one. Idempotent,
// and safe from several processes at once.
func Bootstrap(ctx context.Context, url, name string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
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

// SetPasswords gives the three login roles password. url is a superuser's. Where
// an operator set their passwords, or uses certificates, it is not called.
func SetPasswords(ctx context.Context, url, password string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("set passwords: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for _, role := range []string{RoleOwner, RoleAPI, RoleWorker} {
		var statement string
		err := conn.QueryRow(ctx, "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", role, password).Scan(&statement)
		if err == nil {
			_, err = conn.Exec(ctx, statement)
		}
		if err != nil {
			return fmt.Errorf("set password of %s: %w", role, err)
		}
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

// Migrate applies what is missing, River's tables included, and makes the first
// partitions. url is the owner role's. Runs of several processes follow one
// another.
func Migrate(ctx context.Context, url string) error {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer pool.Close()
	conn := stdlib.OpenDBFromPool(pool) // goose speaks database/sql
	defer conn.Close()
	locked, err := lockMigrations(ctx, conn)
	if err != nil {
		return fmt.Errorf("migrate: lock: %w", err)
	}
	defer locked.Close() // and with the pool's connections, the lock
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, Migrations())
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	// River's log would go to standard output; its errors are returned as well.
	rivers, err := rivermigrate.New(riverpgxv5.New(pool), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("migrate River's tables: %w", err)
	}
	if _, err := rivers.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate River's tables: %w", err)
	}
	if _, err := pool.Exec(ctx, river); err != nil {
		return fmt.Errorf("migrate: grants on River's tables: %w", err)
	}
	today := time.Now().UTC()
	if _, err := pool.Exec(ctx, "SELECT ensure_partitions($1::date, $2::date)",
		today.AddDate(0, 0, -1), today.AddDate(0, 0, PartitionDaysAhead)); err != nil {
		return fmt.Errorf("migrate: make partitions: %w", err)
	}
	return nil
}

// lockMigrations waits its turn, up to five minutes, and returns the connection
// that holds the lock. It asks again and again: a statement that waits would hold
// a snapshot, and the owner's lock_timeout would end it.
func lockMigrations(ctx context.Context, pool *sql.DB) (*sql.Conn, error) {
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300)) // seconds, times
	if err != nil {
		return nil, err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if err := locker.SessionLock(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}
