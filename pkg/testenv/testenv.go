// Package testenv gives tests a real Postgres and a real NATS, set up as in
// production: the migrated schema, the streams, and the roles of each service
// with their own rights and no others.
//
// # Where they come from
//
//	TEST_DATABASE_URL, TEST_NATS_URL   servers that exist; each replaces one
//	TESTENV=containers                 testcontainers-go; TEST_POSTGRES_IMAGE and
//	                                   TEST_NATS_IMAGE name the images. An engine or
//	                                   image that is missing fails the test
//	neither                            Postgres from local binaries, nats-server
//	                                   inside the test binary: nothing to install
//	                                   beyond PostgreSQL
//
// Each test logs which it got. There is one server of a kind a test binary,
// started by the first test that asks and stopped by Main. Its files are below
// TMPDIR; on a tmpfs a database costs half the time.
//
// # How tests are kept apart
//
// A test gets a database of its own, cloned from a migrated template that
// nothing can connect to, and a NATS account of its own: the same streams and
// subjects, unseen by others. So tests run in parallel. The exception is
// TEST_NATS_URL: there are no accounts to give out on somebody's server, so its
// tests take turns, over all test binaries of this machine, and each begins by
// deleting the product's streams. A server without users (nats-server -js) will
// do, but then does not refuse what a role may not do. TEST_DATABASE_URL is a
// superuser's, and its server is for tests alone: the roles' passwords are set.
//
// # Crashes
//
// PrivateNATS and PrivatePostgres are servers of one test, to be killed and
// restarted: local processes whatever serves the rest.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"go.uber.org/goleak"
)

// Role is who a test connects as. Postgres and NATS know the services; the
// owner applies migrations, the admin streams.
type Role string

// The roles.
const (
	API       Role = "api"
	Worker    Role = "worker"
	Owner     Role = "owner"     // of the schema; Postgres alone
	Superuser Role = "superuser" // Postgres alone
	Admin     Role = "admin"     // NATS alone
)

// startTimeout bounds the start of a server, and what a test waits for one;
// stopTimeout the end of all.
const (
	startTimeout = 2 * time.Minute
	stopTimeout  = 30 * time.Second
)

// env is what the test binary has started.
var env struct {
	running bool // Main is at work

	mu    sync.Mutex
	dir   string                        // of all state, removed at the end
	lock  *flock.Flock                  // held on dir while we live
	stops []func(context.Context) error // run in reverse at the end
}

// Main runs the tests, stops what they started, and fails if goroutines are
// left. Every package that uses testenv has
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
func Main(m *testing.M) {
	serveIfAsked()
	env.running = true
	code := m.Run()
	if err := stopAll(); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "testenv:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// needMain fails a test of a binary whose servers nobody would stop.
func needMain(t testing.TB) {
	t.Helper()
	if !env.running {
		t.Fatal("testenv: this package needs func TestMain(m *testing.M) { testenv.Main(m) }")
	}
}

// atEnd has Main call stop.
func atEnd(stop func(context.Context) error) {
	env.mu.Lock()
	defer env.mu.Unlock()
	env.stops = append(env.stops, stop)
}

func stopAll() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	env.mu.Lock()
	defer env.mu.Unlock()
	var errs []error
	for _, stop := range slices.Backward(env.stops) {
		errs = append(errs, stop(ctx))
	}
	if env.lock != nil {
		errs = append(errs, os.RemoveAll(env.dir), env.lock.Close())
	}
	return errors.Join(errs...)
}

const dirPrefix = "primezap-test-"

// stateDir makes a directory for a server's state, in the system's temporary
// directory: short enough for sockets, and open to an unprivileged postmaster.
func stateDir(name string) (string, error) {
	env.mu.Lock()
	defer env.mu.Unlock()
	if env.lock == nil {
		dir, err := os.MkdirTemp("", dirPrefix)
		if err != nil {
			return "", err
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			return "", err
		}
		lock := flock.New(filepath.Join(dir, "lock"))
		if _, err := lock.TryLock(); err != nil {
			return "", err
		}
		env.dir, env.lock = dir, lock
		sweep(os.TempDir())
	}
	dir, err := os.MkdirTemp(env.dir, name+"-")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}

// sweep removes what test binaries left that were killed or timed out.
func sweep(root string) {
	dirs, _ := filepath.Glob(filepath.Join(root, dirPrefix+"*")) // the pattern is well formed
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err != nil || time.Since(info.ModTime()) < time.Minute {
			continue // it may be about to be locked
		}
		lock := flock.New(filepath.Join(dir, "lock"))
		if held, err := lock.TryLock(); err != nil || !held {
			continue
		}
		_ = os.RemoveAll(dir) // another user's stays
		_ = lock.Close()
	}
}

// containers says whether TESTENV asks for containers.
func containers() (bool, error) {
	switch mode := os.Getenv("TESTENV"); mode {
	case "":
		return false, nil
	case "containers":
		return true, nil
	default:
		return false, fmt.Errorf("TESTENV is %q, want containers or nothing", mode)
	}
}

// once starts a server for the first test that asks. The start has a time of
// its own: it outlives that test.
func once[T any](start func(ctx context.Context) (T, error)) func() (T, error) {
	return sync.OnceValues(func() (T, error) {
		ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
		defer cancel()
		return start(ctx)
	})
}

// warnings is a logger for servers: what is wrong, on standard error.
func warnings() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}
