package testenv

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/jackc/pgx/v5"
)

func TestMain(m *testing.M) { Main(m) }

func TestSweep(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dirOf := func(name string, age time.Duration) string {
		dir := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Join(dir, "postgres-1"), 0o700); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(dir, when, when); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	abandoned := dirOf(dirPrefix+"abandoned", time.Hour)
	fresh := dirOf(dirPrefix+"fresh", time.Second)
	foreign := dirOf("something-else", time.Hour)
	alive := dirOf(dirPrefix+"alive", time.Hour)
	lock := flock.New(filepath.Join(alive, "lock"))
	if _, err := lock.TryLock(); err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	when := time.Now().Add(-time.Hour) // the lock file made it young again
	if err := os.Chtimes(alive, when, when); err != nil {
		t.Fatal(err)
	}

	sweep(root)
	for dir, want := range map[string]bool{abandoned: false, fresh: true, foreign: true, alive: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s: %v, want it kept: %t", filepath.Base(dir), err, want)
		}
	}
}

func dial(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func scan[T any](t *testing.T, url, query string, args ...any) (value T) {
	t.Helper()
	if err := dial(t, url).QueryRow(t.Context(), query, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

func run(t *testing.T, url, statement string) {
	t.Helper()
	if _, err := dial(t, url).Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
