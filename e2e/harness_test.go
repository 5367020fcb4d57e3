// Package e2e tests the whole system: the real programs as processes, a real
// Postgres and a real nats-server, with the roles of production, and receivers
// that verify what they get.
//
// A test starts a [system], makes a tenant ([system.Tenant]) and endpoints
// ([receiver.Endpoint]), subscribes them ([client.Subscribe]) and publishes.
// Nothing sleeps: tests wait for what a receiver got ([endpoint.Await]), for
// what the API says ([eventually]), or until nothing is left to do
// ([system.AwaitIdle]).
//
// Tests of how long something takes run one after another, before the others.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/pkg/vault"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// setup says what a test needs.
type setup struct {
	APIs, Workers, OAuths int      // processes, started and ready
	Variant               *variant // of the programs; default: checked
	APIEnv                []string // settings beside the ones that every test has
	WorkerEnv             []string
	OAuthEnv              []string
	WholeLogs             bool // keep what processes write, all of it

	// Database and NATS default to the test's own on the shared servers. A test
	// that kills one brings a testenv.PrivatePostgres or testenv.PrivateNATS.
	Database server
	NATS     server
}

// server is where a role connects.
type server interface {
	URL(role testenv.Role) string
}

// system is an installation of the product, a test's own. It is used by its
// test's goroutine.
type system struct {
	t        testing.TB
	setup    setup
	keyset   string
	database *pgxpool.Pool // as the superuser: row level security would hide what is to be seen
	js       jetstream.JetStream

	APIs    []*process
	Workers []*process
	OAuths  []*process
}

// start brings up an installation. It is taken down when t ends.
func start(t testing.TB, s setup) *system {
	t.Helper()
	if s.Variant == nil {
		s.Variant = checked
	}
	if s.Database == nil {
		s.Database = testenv.DB(t)
	}
	if s.NATS == nil {
		s.NATS = testenv.NATS(t)
	}
	keyset, err := vault.NewKeyset()
	if err != nil {
		t.Fatalf("make a keyset: %v", err)
	}
	sys := &system{t: t, setup: s, keyset: string(keyset)}
	if sys.database, err = pgxpool.New(t.Context(), s.Database.URL(testenv.Superuser)); err != nil {
		t.Fatalf("connect to the database: %v", err)
	}
	t.Cleanup(sys.database.Close)
	nc, err := bus.Connect(s.NATS.URL(testenv.Admin), bus.UserAdmin, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if sys.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	for range s.APIs {
		sys.newAPI().Launch()
	}
	for range s.Workers {
		sys.newWorker().Launch()
	}
	for range s.OAuths {
		sys.newOAuth().Launch()
	}
	for _, p := range slices.Concat(sys.APIs, sys.Workers, sys.OAuths) {
		p.AwaitReady()
	}
	for _, p := range slices.Concat(sys.APIs, sys.OAuths) {
		sys.awaitReadiness(p)
	}
	return sys
}

// StartAPI starts a further api process, with env over the settings of all.
func (s *system) StartAPI(env ...string) *process {
	s.t.Helper()
	p := s.newAPI()
	p.Start(env...)
	s.awaitReadiness(p)
	return p
}

// StartWorker starts a further worker process, with env over the settings of all.
func (s *system) StartWorker(env ...string) *process {
	s.t.Helper()
	p := s.newWorker()
	p.Start(env...)
	return p
}

func (s *system) newAPI() *process {
	name := fmt.Sprintf("api %d", len(s.APIs)+1)
	p := newProcess(s.t, name, s.setup.Variant.program(s.t, "api"), "api ready", s.env(testenv.API,
		"HTTP_ADDR=127.0.0.1:0",
		// No result may depend on where a process runs.
		"TZ=Asia/Tokyo"))
	p.env = append(p.env, s.setup.APIEnv...)
	p.log.whole = s.setup.WholeLogs
	s.APIs = append(s.APIs, p)
	return p
}

func (s *system) newWorker() *process {
	name := fmt.Sprintf("worker %d", len(s.Workers)+1)
	p := newProcess(s.t, name, s.setup.Variant.program(s.t, "worker"), "worker ready", s.env(testenv.Worker, "TZ=America/Sao_Paulo"))
	p.env = append(p.env, s.setup.WorkerEnv...)
	p.log.whole = s.setup.WholeLogs
	s.Workers = append(s.Workers, p)
	return p
}

func (s *system) newOAuth() *process {
	name := fmt.Sprintf("oauth %d", len(s.OAuths)+1)
	p := newProcess(s.t, name, s.setup.Variant.program(s.t, "oauth"), "oauth ready", s.env(testenv.API,
		"HTTP_ADDR=127.0.0.1:0",
		"NATS_URL=", // it has no business there
		"TZ=Pacific/Auckland"))
	p.env = append(p.env, s.setup.OAuthEnv...)
	p.log.whole = s.setup.WholeLogs
	s.OAuths = append(s.OAuths, p)
	return p
}

// env is what the programs have in common. Nothing of the tester's own
// environment is in it.
func (s *system) env(role testenv.Role, more ...string) []string {
	return append([]string{
		"ADMIN_ADDR=127.0.0.1:0",
		"DATABASE_URL=" + s.setup.Database.URL(role),
		"NATS_URL=" + s.setup.NATS.URL(role),
		"VAULT_KEYSET=" + s.keyset,
		"WEBHOOK_ALLOW_HTTP=true",
		"WEBHOOK_ALLOW_CIDRS=127.0.0.0/8",
		"LOG_FORMAT=json",
		"GORACE=halt_on_error=1",
	}, more...)
}

// awaitReadiness waits until an api, or an oauth, says at /readyz that it can serve.
func (s *system) awaitReadiness(p *process) {
	s.t.Helper()
	eventually(s.t, readyWithin, func() error {
		req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, urlOf(p)+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: /readyz says %s", p.name, resp.Status)
		}
		return errors.Join(err, resp.Body.Close())
	})
}

// urlOf is where an api, or an oauth, serves.
func urlOf(p *process) string { return "http://" + p.ReadyField("address") }

// Tenant makes a tenant with an API key that has the scopes, or without any all
// but platform, and returns a client that calls the first api with it.
func (s *system) Tenant(scopes ...string) *client {
	s.t.Helper()
	if len(scopes) == 0 {
		scopes = slices.DeleteFunc(auth.Scopes(), func(scope string) bool { return scope == auth.ScopePlatform })
	}
	tenant := uuid.New()
	return &client{t: s.t, api: s.APIs[0], tenant: tenant, key: s.KeyOf(tenant, scopes...)}
}

// KeyOf makes an API key of a tenant.
func (s *system) KeyOf(tenant uuid.UUID, scopes ...string) string {
	s.t.Helper()
	key := auth.NewKey()
	hash := auth.HashKey(key)
	conn, err := pgx.Connect(s.t.Context(), s.setup.Database.URL(testenv.Owner)) // who makes the first key in production
	if err != nil {
		s.t.Fatalf("store an API key: %v", err)
	}
	defer conn.Close(context.WithoutCancel(s.t.Context()))
	err = db.New(conn).InsertAPIKey(s.t.Context(), db.InsertAPIKeyParams{
		ID: uuid.Must(uuid.NewV7()), TenantID: tenant, Name: "test", Hint: key[len(key)-4:], Hash: hash[:], Scopes: scopes,
	})
	if err != nil {
		s.t.Fatalf("store an API key: %v", err)
	}
	return key
}

// Exec runs a statement as a role of Postgres.
func (s *system) Exec(role testenv.Role, statement string, args ...any) {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.setup.Database.URL(role))
	if err != nil {
		s.t.Fatalf("connect as %s: %v", role, err)
	}
	defer conn.Close(context.WithoutCancel(s.t.Context()))
	if _, err := conn.Exec(s.t.Context(), statement, args...); err != nil {
		s.t.Fatalf("%s: %v", statement, err)
	}
}

// Count is the one number that a query answers, whoever's rows they are.
func (s *system) Count(query string, args ...any) int {
	s.t.Helper()
	n, err := s.count(query, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *system) count(query string, args ...any) (n int, err error) {
	if err := s.database.QueryRow(s.t.Context(), query, args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("%s: %w", query, err)
	}
	return n, nil
}

// AwaitIdle returns once nothing is left to do: every event is acked, and what
// is in the queue is exhausted. Nothing that was published before can arrive
// any more.
func (s *system) AwaitIdle(within time.Duration) {
	s.t.Helper()
	eventually(s.t, within, func() error {
		for _, name := range []string{bus.ConsumerLive, bus.ConsumerBulk} {
			consumer, err := s.js.Consumer(s.t.Context(), bus.StreamEvents, name)
			if err != nil {
				return fmt.Errorf("look at %s: %w", name, err)
			}
			if info := consumer.CachedInfo(); info.NumPending > 0 || info.NumAckPending > 0 {
				return fmt.Errorf("%s: %d events to come, %d not acked", name, info.NumPending, info.NumAckPending)
			}
		}
		var queue *string // what is in it, for who has to find out why
		err := s.database.QueryRow(s.t.Context(), `
			SELECT string_agg(format('%s in state %s, attempt %s, due in %s, lane due in %s, its turn in %s, blocked until %s, %s',
				n, state, attempt, due - now(), nullif(next_due_at, 'infinity') - now(), nullif(turn_at, '-infinity') - now(),
				blocked_until, CASE WHEN backlog THEN 'backlogged' ELSE 'fresh' END), '; ')
			FROM (SELECT webhook_id, count(*) AS n, state, attempt, min(due_at) AS due FROM webhook_queue WHERE state < 3 GROUP BY 1, 3, 4) AS q
			LEFT JOIN webhook_lanes USING (webhook_id)`).Scan(&queue)
		if err == nil && queue != nil {
			err = fmt.Errorf("deliveries in the queue: %s", *queue)
		}
		return err
	})
}

// eventually repeats check until it finds nothing wrong, and fails with what it
// found last.
func eventually(t testing.TB, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("still after %s: %v", within, err)
		}
	}
}
