package db_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// connect opens a connection that nobody has used.
func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func run(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// list returns the rows of a query.
func list[T any](t testing.TB, conn *pgx.Conn, to pgx.RowToFunc[T], sql string, args ...any) []T {
	t.Helper()
	rows, err := conn.Query(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	got, err := pgx.CollectRows(rows, to)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return got
}

// one returns the only value of a query.
func one[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	got := list(t, conn, pgx.RowTo[T], sql, args...)
	if len(got) != 1 {
		t.Fatalf("%s: %d rows, want 1", sql, len(got))
	}
	return got[0]
}
