// Package localpg runs a private Postgres (15 or later) for `make run` and for
// tests, without a fixed port, a system service or anything to install by hand.
//
// # Where it comes from
//
// Binaries on PATH, of a distribution's package or of Homebrew come first, then
// a Docker engine if one answers, then binaries fetched by
// fergusstrange/embedded-postgres into the user's cache directory. State that
// exists decides: a data directory is only ever opened by its own major version,
// and one made in a container only in a container.
//
// # Who owns what
//
// Start holds a lock on Dir until Stop; another start on it is ErrInUse. Under
// that lock the directory is ours alone, so whatever a killed owner left there
// is cleaned up: its postmaster is stopped (never adopted: its settings may be
// others, and nobody would reap it), a stale pid file is removed even where the
// number now belongs to another process, a half-made data directory is dropped.
// What was committed is kept through all of this; against loss of power only if
// Durable.
//
// # Access
//
// Local binaries listen on a unix socket alone, in a directory that only the
// user they run as (and root) can enter; any role connects without a password. As
// root the postmaster runs as user postgres, else as nobody. A container
// listens on a port of 127.0.0.1 and its superuser has a random password.
package localpg

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/jackc/pgx/v5"
)

// Superuser is the role that the cluster is made with.
const Superuser = "postgres"

// DefaultImage is the image of the Docker fallback.
const DefaultImage = "postgres:18-alpine"

var (
	// ErrInUse says that a live process holds the directory.
	ErrInUse = errors.New("the directory is in use by another process")
	// ErrUnavailable says that no usable Postgres was found and none could be fetched.
	ErrUnavailable = errors.New("no usable Postgres")
)

// Config says how a server is to be run. Only Dir is required.
type Config struct {
	// Dir keeps the state. It is made if it is missing, and belongs to the
	// server while it runs.
	Dir string
	// Durable makes commits survive a loss of power. Without it they survive
	// every kill but not that: right for tests, and several times faster.
	Durable bool
	// Settings override single server settings (postgresql.conf names).
	Settings map[string]string
	// Image is used if Docker has to serve; default DefaultImage.
	Image string
	// Log gets the server's log: fatal lines as warnings, all others at debug.
	// Details of rows and statements are left out at the source. Default: none.
	Log *slog.Logger
}

var discard = slog.New(slog.DiscardHandler)

// Server is a running Postgres.
type Server struct {
	host, port string // socket directory and its port number, or 127.0.0.1 and a TCP port
	password   string // of Superuser; empty on a socket
	source     string
	proc       *child
	kill       func() // ends the server as a crash would; proc ends by it
	lock       *flock.Flock
}

// backend starts a server on a directory that start has locked.
type backend func(ctx context.Context, cfg Config, out *serverLog) (*Server, error)

// Start runs a server on cfg.Dir and returns once it answers. ctx bounds the
// start alone; recovery after a crash may take a while, so leave it some room.
// It returns ErrInUse or ErrUnavailable, wrapped, where they apply.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	return start(ctx, cfg, choose)
}

func start(ctx context.Context, cfg Config, with backend) (_ *Server, err error) {
	began := time.Now()
	cfg.Log = cmp.Or(cfg.Log, discard)
	cfg.Image = cmp.Or(cfg.Image, DefaultImage)
	// Absolute and without symbolic links: processes are recognised by this path.
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, fmt.Errorf("localpg: state directory: %w", err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("localpg: make state directory: %w", err)
	}
	if cfg.Dir, err = filepath.EvalSymlinks(cfg.Dir); err != nil {
		return nil, fmt.Errorf("localpg: state directory: %w", err)
	}

	lock := flock.New(filepath.Join(cfg.Dir, "lock"))
	if err := acquire(ctx, lock); err != nil {
		return nil, fmt.Errorf("localpg: lock %s: %w", cfg.Dir, err)
	}
	defer func() {
		if err != nil {
			_ = lock.Close()
		}
	}()

	out := &serverLog{log: cfg.Log}
	s, err := with(ctx, cfg, out)
	if err != nil {
		return nil, fmt.Errorf("localpg: %w", err)
	}
	s.lock = lock
	out.setLoud(true)
	cfg.Log.Info("postgres is ready", "source", s.source, "dir", cfg.Dir, "took", time.Since(began).Round(time.Millisecond).String())
	return s, nil
}

// acquire takes the lock. A process that its owner was just starting when it
// was killed holds a copy until it executes its program: such a lock is worth
// waiting for.
func acquire(ctx context.Context, lock *flock.Flock) error {
	patience, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := lock.TryLockContext(patience, 20*time.Millisecond)
	if err != nil && patience.Err() != nil && ctx.Err() == nil {
		return ErrInUse
	}
	return err
}

// choose picks the backend: see the package comment for the order.
func choose(ctx context.Context, cfg Config, out *serverLog) (*Server, error) {
	if _, err := os.Stat(containerFile(cfg.Dir)); err == nil {
		return startContainer(ctx, cfg, out)
	}
	major, err := dataMajor(filepath.Join(cfg.Dir, "data"))
	if err != nil {
		return nil, err
	}
	who, err := unprivileged(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if bin, ok := findBinaries(ctx, who, major); ok {
		return startBinaries(ctx, cfg, bin, who, out)
	}
	if major == 0 && engineAnswers(ctx) {
		return startContainer(ctx, cfg, out)
	}
	bin, err := fetchBinaries(ctx, who, major)
	if err != nil {
		return nil, err
	}
	return startBinaries(ctx, cfg, bin, who, out)
}

// Source says what serves, for a log line: "/usr/lib/postgresql/15/bin" or
// "docker postgres:18-alpine".
func (s *Server) Source() string { return s.source }

// URL is a connection string for user and database. The password of a
// container's superuser is in it; other roles have those they are given.
func (s *Server) URL(user, database string) string {
	return connURL(s.host, s.port, user, s.password, database)
}

func connURL(host, port, user, password, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(user), Path: "/" + database}
	if user == Superuser && password != "" {
		u.User = url.UserPassword(user, password)
	}
	q := url.Values{}
	if filepath.IsAbs(host) {
		q.Set("host", host)
		q.Set("port", port)
	} else {
		u.Host = host + ":" + port
		q.Set("sslmode", "disable")
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// Done is closed when the server has ended, asked to or not.
func (s *Server) Done() <-chan struct{} { return s.proc.done }

// Stop ends the server: a fast shutdown, which rolls back what is open; an
// immediate one when ctx ends first, whose recovery is the next start's. It
// frees the directory in any case, and may be called twice.
func (s *Server) Stop(ctx context.Context) error {
	s.proc.out.setLoud(false)
	err := s.proc.stop(ctx, s.kill)
	if filepath.IsAbs(s.host) {
		_ = os.RemoveAll(s.host) // where it is outside of Dir, nobody else would
	}
	return errors.Join(err, s.lock.Close())
}

// Kill ends the server as a crash would, and frees the directory. It is for
// tests of what survives that.
func (s *Server) Kill() error {
	s.proc.out.setLoud(false)
	s.kill()
	<-s.proc.done
	return s.lock.Close()
}

// settings are cfg's, over ours.
func settings(cfg Config) map[string]string {
	set := map[string]string{
		"max_connections":         "200",
		"shared_buffers":          "256MB",
		"huge_pages":              "off",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		"jit":                     "off", // short statements never earn the compilation back
		"autovacuum_naptime":      "3s",  // a queue's dead rows are reread by every claim until they go
		"log_error_verbosity":     "terse",
		"log_min_error_statement": "panic", // no row, no statement text in a log
		"log_line_prefix":         "",
	}
	if !cfg.Durable {
		set["shared_buffers"] = "64MB" // many test binaries share a machine
		set["fsync"] = "off"           // synchronous_commit stays on: without it a kill loses commits
		set["full_page_writes"] = "off"
		set["wal_level"] = "minimal"
		set["max_wal_senders"] = "0"
	}
	maps.Copy(set, cfg.Settings)
	return set
}

// awaitReady returns once the server takes connections, or says why it does not.
func awaitReady(ctx context.Context, connURL string, proc *child) error {
	cfg, err := pgx.ParseConfig(connURL)
	if err != nil {
		return fmt.Errorf("connection string: %w", err)
	}
	cfg.ConnectTimeout = 2 * time.Second
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.ConnectConfig(ctx, cfg)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-proc.done:
			return fmt.Errorf("the server ended while starting: %w\n%s", cmp.Or(proc.err, errEnded), proc.out.last())
		case <-ctx.Done():
			return fmt.Errorf("await the first connection: %w", errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

var errEnded = errors.New("exit status 0")

// stopGrace is what a server gets between two signals when nobody waits longer.
const stopGrace = 3 * time.Second

// stop ends the process: SIGINT (fast) until ctx ends, then SIGQUIT (immediate),
// then kill. The signals are those of postmaster, and docker run hands them on.
func (c *child) stop(ctx context.Context, kill func()) error {
	select {
	case <-c.done:
		return nil
	default:
		c.signal(syscall.SIGINT)
	}
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
	}
	c.signal(syscall.SIGQUIT)
	select {
	case <-c.done:
		return fmt.Errorf("localpg: stopped at once instead of fast: %w", ctx.Err())
	case <-time.After(stopGrace):
	}
	kill()
	<-c.done
	return fmt.Errorf("localpg: killed, as it did not stop: %w", ctx.Err())
}
