// Package store opens Postgres as one of the product's roles and runs tenant
// transactions. The queries themselves are sqlc's, in pkg/store/db.
package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxuuid "github.com/vgarvardt/pgx-google-uuid/v5"

	"github.com/primezap/primezap/pkg/store/db"
)

// ErrNotFound is the answer for a row that is not there, or is another tenant's.
var ErrNotFound = errors.New("not found")

// Found is the error of a query for one row: ErrNotFound where there was none.
func Found(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	return err
}

// Store is a pool of connections of one role.
type Store struct {
	pool *pgxpool.Pool
}

// Open connects to url with at most conns connections (0: pgx's default) and
// asks the server for an answer once.
func Open(ctx context.Context, url string, conns int) (*Store, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	if conns > 0 {
		config.MaxConns = int32(min(conns, 1<<15)) //nolint:gosec // bounded just here
	}
	config.ConnConfig.RuntimeParams["timezone"] = "UTC"
	config.MaxConnIdleTime = 5 * time.Minute
	config.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		pgxuuid.Register(conn.TypeMap())
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to database: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect to database: %w", err)
	}
	return &Store{pool: pool}, nil
}

// Close waits for connections in use and closes the pool.
func (s *Store) Close() { s.pool.Close() }

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.pool.Ping(ctx) }

// Queries run each statement on its own, as the pool's role: a worker's view
// over all tenants, or the definer functions of the api.
func (s *Store) Queries() *db.Queries { return db.New(s.pool) }

// Pool gives the pool to what must hold one connection (an advisory lock) or
// send a batch.
func (s *Store) Pool() *pgxpool.Pool { return s.pool }

// InTx runs fn in one READ COMMITTED transaction, each statement with a
// snapshot of its own. fn may run again: a deadlock's victim and a transaction
// that could not be serialised are repeated after a moment, three runs at most.
func (s *Store) InTx(ctx context.Context, fn func(*db.Queries) error) error {
	return s.inTx(ctx, pgx.TxOptions{}, func(tx pgx.Tx) error { return fn(db.New(tx)) })
}

func (s *Store) inTx(ctx context.Context, options pgx.TxOptions, fn func(pgx.Tx) error) error {
	const tries = 3
	for try := 1; ; try++ {
		err := pgx.BeginTxFunc(ctx, s.pool, options, fn)
		if err == nil || try == tries || !Repeatable(err) {
			return err
		}
		// Whoever waited for our rows takes them first: a victim that is faster
		// would meet the same deadlock.
		select {
		case <-time.After(5*time.Millisecond + rand.N(20*time.Millisecond)):
		case <-ctx.Done():
			return err
		}
	}
}

// InTenant runs fn in a transaction that sees tenant's rows and no others. The
// setting ends with the transaction: a pooled connection carries nothing over.
func (s *Store) InTenant(ctx context.Context, tenant uuid.UUID, fn func(*db.Queries) error) error {
	return s.InTenantTx(ctx, tenant, func(_ pgx.Tx, q *db.Queries) error { return fn(q) })
}

// InTenantTx is InTenant for what needs the transaction itself beside the
// queries: inserting a job.
func (s *Store) InTenantTx(ctx context.Context, tenant uuid.UUID, fn func(pgx.Tx, *db.Queries) error) error {
	// One round trip. Nothing in an id needs to be quoted.
	begin := pgx.TxOptions{BeginQuery: "begin; select set_config('app.tenant_id', '" + tenant.String() + "', true)"}
	return s.inTx(ctx, begin, func(tx pgx.Tx) error { return fn(tx, db.New(tx)) })
}

// Repeatable reports whether the server undid the transaction for a reason that
// running it again may get past (SQLSTATE 40001, 40P01).
func Repeatable(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (pg.Code == "40001" || pg.Code == "40P01")
}

// Batch collects statements into one round trip, which the server runs as one
// implicit transaction: all of them or none.
type Batch struct {
	*db.Queries
	batch *pgx.Batch
}

// NewBatch returns an empty batch. Only its :exec queries can be used: they are
// queued, and answer when Commit does.
func NewBatch() *Batch {
	batch := &pgx.Batch{}
	return &Batch{Queries: db.New(queue{batch}), batch: batch}
}

// Len is the number of statements queued.
func (b *Batch) Len() int { return b.batch.Len() }

// Commit sends the batch. An error that is no *pgconn.PgError leaves unknown
// whether it was committed.
func (s *Store) Commit(ctx context.Context, b *Batch) error {
	if b.Len() == 0 {
		return nil
	}
	return s.pool.SendBatch(ctx, b.batch).Close()
}

// queue is a db.DBTX that only remembers.
type queue struct{ batch *pgx.Batch }

var errNotExec = errors.New("a batch takes :exec queries alone")

func (q queue) Exec(_ context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	// sqlc's first line names the query and its kind. An :execrows query would
	// read a count here that nobody knows yet.
	if name, _, _ := strings.Cut(sql, "\n"); strings.HasSuffix(name, ":execrows") {
		return pgconn.CommandTag{}, errNotExec
	}
	q.batch.Queue(sql, args...)
	return pgconn.CommandTag{}, nil
}

func (q queue) Query(context.Context, string, ...any) (pgx.Rows, error) { return nil, errNotExec }

func (q queue) QueryRow(context.Context, string, ...any) pgx.Row {
	return failedRow{}
}

type failedRow struct{}

func (failedRow) Scan(...any) error { return errNotExec }
