package testenv

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/localnats"
)

// Account is NATS as one test sees it: the product's streams, empty at first,
// and a user for each role.
type Account struct {
	urls   map[Role]string
	shared bool // on a server that may hold streams of others
}

// NATS gives t an account with the streams and consumers of pkg/bus. It is
// cleared and given to another test when t ends.
func NATS(t testing.TB) *Account {
	t.Helper()
	needMain(t)
	server, err := sharedNATS()
	if err != nil {
		t.Fatalf("testenv: nats: %v", err)
	}
	return server.lend(t)
}

func (s *natsServer) lend(t testing.TB) *Account {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	account, free, err := s.lease(ctx)
	if err != nil {
		t.Fatalf("testenv: wait for a NATS account (is there one in use by this test already?): %v", err)
	}
	t.Cleanup(func() {
		defer free()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := account.manage(ctx, account.clear); err != nil {
			t.Errorf("testenv: clear the NATS account: %v", err)
		}
	})
	if err := account.manage(ctx, account.clear, apply); err != nil {
		t.Fatalf("testenv: prepare the NATS account: %v", err)
	}
	t.Logf("testenv: an account on %s", s.source)
	return account
}

// URL is where role connects: API, Worker or Admin.
func (a *Account) URL(role Role) string {
	u, ok := a.urls[role]
	if !ok {
		panic("testenv: NATS has no role " + string(role))
	}
	return u
}

// Connect connects t as role, the way a service does, and closes at its end.
func (a *Account) Connect(t testing.TB, role Role) *nats.Conn {
	t.Helper()
	nc, err := a.connect(role)
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func (a *Account) connect(role Role) (*nats.Conn, error) {
	return bus.Connect(a.URL(role), string(role), slog.New(slog.DiscardHandler))
}

// manage does steps as the admin.
func (a *Account) manage(ctx context.Context, steps ...func(context.Context, jetstream.JetStream) error) error {
	nc, err := a.connect(Admin)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for _, step := range steps {
		if err := step(ctx, js); err != nil {
			return err
		}
	}
	return nil
}

// apply makes the topology.
func apply(ctx context.Context, js jetstream.JetStream) error {
	return bus.Apply(ctx, js, bus.Options{Replicas: 1, MaxBytes: 256 << 20}) // room for any test
}

// clear deletes the account's streams; where others may have some, the product's.
func (a *Account) clear(ctx context.Context, js jetstream.JetStream) error {
	names := []string{bus.StreamEvents, bus.StreamPoison}
	if !a.shared {
		names = nil
		list := js.StreamNames(ctx)
		for name := range list.Name() {
			names = append(names, name)
		}
		if err := list.Err(); err != nil {
			return fmt.Errorf("list streams: %w", err)
		}
	}
	for _, name := range names {
		if err := js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("delete stream %s: %w", name, err)
		}
	}
	return nil
}

// natsServer gives accounts to tests.
type natsServer struct {
	source string
	// lease waits for a free account; free gives it back.
	lease func(ctx context.Context) (account *Account, free func(), err error)
}

var sharedNATS = once(func(ctx context.Context) (*natsServer, error) {
	if address := os.Getenv("TEST_NATS_URL"); address != "" {
		return existingNATS(address, os.TempDir())
	}
	inContainer, err := containers()
	if err != nil {
		return nil, err
	}
	if inContainer {
		return natsContainer(ctx)
	}
	dir, err := stateDir("nats")
	if err != nil {
		return nil, err
	}
	accounts, users := newAccounts()
	server, err := localnats.Start(localnats.Config{Dir: dir, Users: users, Log: warnings()})
	if err != nil {
		return nil, err
	}
	atEnd(func(context.Context) error { return server.Stop() })
	return accounts.at("nats-server in this process", server.Address()), nil
})

// accountPool is who may use a server of our own.
type accountPool []map[Role]*url.Userinfo

// poolSize is how many tests of a binary may have NATS at a time; more wait.
// Go runs as many at once as there are processors. An account that nobody uses
// costs nothing.
const poolSize = 64

// newAccounts declares accounts that each have the product's users.
func newAccounts() (accountPool, []localnats.User) {
	accounts := make(accountPool, poolSize)
	var users []localnats.User
	for i := range accounts {
		name := fmt.Sprintf("TEST%d", i)
		accounts[i] = make(map[Role]*url.Userinfo)
		for _, u := range bus.Users() {
			user := localUser(u)
			// Names are the server's, not the account's.
			user.Account, user.Name = name, name+"-"+u.Name
			users = append(users, user)
			accounts[i][Role(u.Name)] = url.UserPassword(user.Name, user.Password)
		}
	}
	return accounts, users
}

func localUser(u bus.User) localnats.User {
	return localnats.User{Name: u.Name, Password: rand.Text(), Publish: u.Publish, Subscribe: u.Subscribe, Responses: u.Responses}
}

// at is the pool on the server that listens on host.
func (p accountPool) at(source, host string) *natsServer {
	unused := make(chan *Account, len(p))
	for _, users := range p {
		account := &Account{urls: make(map[Role]string)}
		for role, user := range users {
			account.urls[role] = (&url.URL{Scheme: "nats", Host: host, User: user}).String()
		}
		unused <- account
	}
	return &natsServer{source: source, lease: func(ctx context.Context) (*Account, func(), error) {
		select {
		case account := <-unused:
			return account, func() { unused <- account }, nil
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("all %d are in use: %w", len(p), ctx.Err())
		}
	}}
}

// existingNATS is the server of TEST_NATS_URL, whose one account tests take in
// turns: who holds the lock file in locks. The users are called like the roles
// and share the URL's password.
func existingNATS(address, locks string) (*natsServer, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("TEST_NATS_URL: %w", err)
	}
	password, _ := u.User.Password()
	account := &Account{urls: make(map[Role]string), shared: true}
	for _, user := range bus.Users() {
		as := *u
		as.User = url.UserPassword(user.Name, password)
		account.urls[Role(user.Name)] = as.String()
	}
	// The lock of a test binary that is killed goes with it.
	sum := sha256.Sum256([]byte(u.Host))
	file := filepath.Join(locks, "primezap-test-nats-"+hex.EncodeToString(sum[:6])+".lock")
	return &natsServer{source: "nats-server of TEST_NATS_URL", lease: func(ctx context.Context) (*Account, func(), error) {
		turn := flock.New(file)
		if _, err := turn.TryLockContext(ctx, 10*time.Millisecond); err != nil {
			return nil, nil, fmt.Errorf("take a turn on TEST_NATS_URL (%s): %w", file, err)
		}
		return account, func() { _ = turn.Close() }, nil
	}}, nil
}
