package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/primezap/primezap/pkg/store/db"
)

// Round is statements that go to the server together and are answered together:
// one round trip, however many they are. In a transaction each still has a
// snapshot of its own, taken when those before it are done.
type Round struct{ batch pgx.Batch }

// Len is the number of statements queued.
func (r *Round) Len() int { return r.batch.Len() }

// Do queues an :exec query.
func (r *Round) Do(call func(*db.Queries) error) error {
	return call(db.New(queue{&r.batch}))
}

// Ask queues a :many query, whose rows Send puts into rows. It calls call twice:
// for the statement, then with its answer.
func Ask[Row any](r *Round, rows *[]Row, call func(*db.Queries) ([]Row, error)) error {
	var asked question
	if _, err := call(db.New(&asked)); !errors.Is(err, errAsked) {
		return errors.Join(errNotMany, err)
	}
	r.batch.Queue(asked.sql, asked.args...).Query(func(answer pgx.Rows) (err error) {
		*rows, err = call(db.New(answered{answer}))
		return err
	})
	return nil
}

// Send makes the round trip in tx. Its error is that of the first statement which
// failed.
func (r *Round) Send(ctx context.Context, tx pgx.Tx) error {
	if r.Len() == 0 {
		return nil
	}
	return tx.SendBatch(ctx, &r.batch).Close()
}

var (
	errAsked   = errors.New("the statement is noted")
	errNotMany = errors.New("only a :many query can be asked in a round")
)

// question is a db.DBTX that notes the one statement it is given.
type question struct {
	sql  string
	args []any
}

func (*question) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, errNotMany
}

func (q *question) Query(_ context.Context, sql string, args ...any) (pgx.Rows, error) {
	q.sql, q.args = sql, args
	return nil, errAsked
}

func (*question) QueryRow(context.Context, string, ...any) pgx.Row { return failedRow{} }

// answered is a db.DBTX that has the rows already.
type answered struct{ rows pgx.Rows }

func (answered) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, errNotMany
}

func (a answered) Query(context.Context, string, ...any) (pgx.Rows, error) { return a.rows, nil }

func (answered) QueryRow(context.Context, string, ...any) pgx.Row { return failedRow{} }
