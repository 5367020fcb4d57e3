// Package localnats runs a nats-server with JetStream inside the process, for
// `make run` and for tests. It listens on a loopback port of the system's choice,
// and every client needs one of its users.
//
// Streams live in files below Dir. A PubAck survives kill -9 at once; a loss of
// power only what is older than SyncInterval, or everything with SyncAlways.
package localnats

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// ErrInUse says that a live server holds the directory.
var ErrInUse = errors.New("the directory is in use by another server")

// DefaultSyncInterval is how often files are synced to disk.
const DefaultSyncInterval = time.Second

// defaultAccount is where users without an account belong.
const defaultAccount = "PRIMEZAP"

// User is a client and all that it may do. An empty list allows nothing.
type User struct {
	Name      string
	Password  string   // default: a random one, in URL
	Account   string   // streams and subjects of accounts never meet; default: one common account
	Publish   []string // subjects, wildcards allowed
	Subscribe []string
	Responses bool // may answer requests, on whatever reply subject they bring
}

// Config says how a server is to be run. Dir and Users are required.
type Config struct {
	Dir          string
	Users        []User
	Port         int // default: any free one
	SyncInterval time.Duration
	SyncAlways   bool
	// Log gets warnings and errors, and the rest at debug level. Default: none.
	Log *slog.Logger
}

// Server is a running nats-server.
type Server struct {
	nats  *server.Server
	users map[string]User
	lock  *flock.Flock
}

// Start runs a server and returns once it takes connections, which is after
// JetStream has recovered its streams. ErrInUse, wrapped, says that Dir is taken.
func Start(cfg Config) (_ *Server, err error) {
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	s := &Server{users: make(map[string]User)}
	cfg.Users = slices.Clone(cfg.Users)
	for i, u := range cfg.Users {
		u.Password = cmp.Or(u.Password, rand.Text())
		cfg.Users[i], s.users[u.Name] = u, u
	}

	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("localnats: make state directory: %w", err)
	}
	// Two servers would write over each other's files, and neither would notice.
	s.lock = flock.New(filepath.Join(cfg.Dir, "lock"))
	if err := acquire(s.lock); err != nil {
		return nil, fmt.Errorf("localnats: lock %s: %w", cfg.Dir, err)
	}
	defer func() {
		if err != nil {
			_ = s.lock.Close()
		}
	}()

	opts := &server.Options{
		ServerName:             "primezap-local",
		Host:                   "127.0.0.1",
		Port:                   cmp.Or(cfg.Port, server.RANDOM_PORT),
		JetStream:              true,
		StoreDir:               cfg.Dir,
		SyncInterval:           cmp.Or(cfg.SyncInterval, DefaultSyncInterval),
		SyncAlways:             cfg.SyncAlways,
		DisableJetStreamBanner: true,
		NoSigs:                 true, // signals are the program's
	}
	if err := opts.ProcessConfigString(Accounts(cfg.Users)); err != nil {
		return nil, fmt.Errorf("localnats: users: %w", err)
	}
	if s.nats, err = server.NewServer(opts); err != nil {
		return nil, fmt.Errorf("localnats: %w", err)
	}
	log := &bridge{log: cfg.Log}
	s.nats.SetLoggerV2(log, cfg.Log.Enabled(context.Background(), slog.LevelDebug), false, false)
	s.nats.Start() // recovers the streams, then listens; says by Fatalf alone that it did not
	if fatal := log.fatal.Load(); fatal != nil || !s.nats.ReadyForConnections(readyTimeout) {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
		return nil, fmt.Errorf("localnats: start: %s", *cmp.Or(fatal, new("not ready in time")))
	}
	return s, nil
}

// acquire takes the lock. A process that its owner was just starting when it
// was killed holds a copy until it executes its program: such a lock is worth
// waiting for.
func acquire(lock *flock.Flock) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err := lock.TryLockContext(ctx, 20*time.Millisecond)
	if err != nil && ctx.Err() != nil {
		return ErrInUse
	}
	return err
}

const readyTimeout = 10 * time.Second

// URL is where user connects, with its password.
func (s *Server) URL(user string) string {
	u := url.URL{Scheme: "nats", Host: s.Address(), User: url.UserPassword(user, s.users[user].Password)}
	return u.String()
}

// Address is where the server listens: 127.0.0.1 and its port.
func (s *Server) Address() string { return s.nats.Addr().String() }

// InProcess connects user without a socket.
func (s *Server) InProcess(user string) nats.Option {
	return func(o *nats.Options) error {
		o.InProcessServer = s.nats
		o.User, o.Password = user, s.users[user].Password
		return nil
	}
}

// Stop writes out what JetStream still holds, ends the server and frees the
// directory. Clients see the connection close.
func (s *Server) Stop() error {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
	return s.lock.Close()
}

// Accounts is the part of a nats-server configuration file that declares users
// and their accounts, all with JetStream: for a server in a container.
func Accounts(users []User) string {
	byAccount := make(map[string][]User)
	for _, u := range users {
		u.Account = cmp.Or(u.Account, defaultAccount)
		byAccount[u.Account] = append(byAccount[u.Account], u)
	}
	var b strings.Builder
	b.WriteString("accounts {\n")
	for account, users := range byAccount {
		fmt.Fprintf(&b, "  %s {\n    jetstream: enabled\n    users: [\n", account)
		for _, u := range users {
			fmt.Fprintf(&b, "      {user: %q, password: %q, permissions: {publish: %s, subscribe: %s, allow_responses: %t}}\n",
				u.Name, u.Password, permission(u.Publish), permission(u.Subscribe), u.Responses)
		}
		b.WriteString("    ]\n  }\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// permission spells an empty list out: the server takes it for no restriction.
func permission(allow []string) string {
	if len(allow) == 0 {
		return `{deny: [">"]}`
	}
	quoted := make([]string, len(allow))
	for i, subject := range allow {
		quoted[i] = strconv.Quote(subject)
	}
	return "{allow: [" + strings.Join(quoted, ", ") + "]}"
}

// bridge hands the server's log to slog.
type bridge struct {
	log   *slog.Logger
	fatal atomic.Pointer[string] // the first fatal error: the server goes on without what failed
}

func (b *bridge) Noticef(format string, v ...any) { b.say(slog.LevelDebug, format, v...) }
func (b *bridge) Debugf(format string, v ...any)  { b.say(slog.LevelDebug, format, v...) }
func (b *bridge) Tracef(string, ...any)           {} // would show payloads
func (b *bridge) Errorf(format string, v ...any)  { b.say(slog.LevelError, format, v...) }

func (b *bridge) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Plaintext passwords detected") {
		return // of a configuration file; ours are in memory, and hashing would cost every connect
	}
	b.say(slog.LevelWarn, format, v...)
}

func (b *bridge) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	b.fatal.CompareAndSwap(nil, &text)
	b.say(slog.LevelError, format, v...)
}

func (b *bridge) say(level slog.Level, format string, v ...any) {
	b.log.Log(context.Background(), level, "nats", "line", fmt.Sprintf(format, v...))
}
