package httpapi

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
)

const databaseAway = 2 * time.Second // until a client should come again

// explain turns errors of the layers below into what a client can act on.
func explain(err error) *problem.Problem {
	if errors.Is(err, store.ErrNotFound) {
		return problem.NotFound("there is nothing with this id").WithCause(err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return problem.Unavailable(databaseAway, "the request took too long").WithCause(err)
	}
	_, refused := errors.AsType[*pgconn.ConnectError](err)
	_, broken := errors.AsType[*net.OpError](err)
	if refused || broken || pgconn.SafeToRetry(err) || errors.Is(err, io.ErrUnexpectedEOF) {
		return problem.Unavailable(databaseAway, "the database cannot be reached").WithCause(err)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && away(pg.Code) {
		return problem.Unavailable(databaseAway, "the database is busy or restarting").WithCause(err)
	}
	return nil
}

// away tells the SQLSTATEs of a server that cannot serve just now: lack of
// resources, an operator's shutdown, a statement that took too long.
func away(code string) bool {
	switch code[:min(2, len(code))] {
	case "08", "53", "57":
		return true
	}
	return false
}
