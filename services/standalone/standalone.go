package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/db"
	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/localnats"
	"github.com/primezap/primezap/pkg/localpg"
	queries "github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/telemetry"
	"github.com/primezap/primezap/services/api"
	"github.com/primezap/primezap/services/worker"
)

const (
	databaseName = "primezap"
	startFor     = 60 * time.Second // Postgres may have to recover first
	stopFor      = 2 * time.Second  // then Postgres recovers at its next start
)

// ready is the line printed when everything answers.
type ready struct {
	Ready  bool      `json:"ready"`
	URL    string    `json:"url"`
	APIKey string    `json:"apiKey"`
	Tenant uuid.UUID `json:"tenantId"`
}

// Run runs everything until ctx ends. When everything answers it writes one line
// of JSON to out.
func Run(ctx context.Context, cfg Config, log *slog.Logger, out io.Writer) (err error) {
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("DATA_DIR: %w", err)
	}
	k, err := loadKeys(cfg.DataDir)
	if err != nil {
		return err
	}
	if cfg.APIKey != "" {
		k.APIKey = cfg.APIKey
	}
	if cfg.VaultKeyset != "" {
		k.VaultKeyset = json.RawMessage(cfg.VaultKeyset)
	}
	servers, err := startServers(ctx, cfg, k, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, servers.stop()) }()
	if err := prepare(ctx, cfg, k, servers); err != nil {
		return err
	}
	return runServices(ctx, cfg, k, servers, log, out)
}

// servers are Postgres and NATS, ours or given.
type servers struct {
	postgres *localpg.Server   // nil: given
	nats     *localnats.Server // nil: given

	admin    string                   // URL of a role that may make others
	database func(role string) string // URL of a role
	bus      func(user string) (string, []nats.Option)
}

func startServers(ctx context.Context, cfg Config, k keys, log *slog.Logger) (*servers, error) {
	ctx, cancel := context.WithTimeout(ctx, startFor)
	defer cancel()
	s := &servers{}
	var wg sync.WaitGroup
	var natsErr, postgresErr error
	wg.Go(func() { natsErr = s.startNATS(cfg, log) })
	wg.Go(func() { postgresErr = s.startPostgres(ctx, cfg, k, log) })
	wg.Wait()
	if err := errors.Join(natsErr, postgresErr); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *servers) startNATS(cfg Config, log *slog.Logger) (err error) {
	if cfg.NATSURL != "" {
		s.bus = func(string) (string, []nats.Option) { return cfg.NATSURL, nil }
		return nil
	}
	var users []localnats.User
	for _, u := range bus.Users() {
		users = append(users, localnats.User{Name: u.Name, Publish: u.Publish, Subscribe: u.Subscribe, Responses: u.Responses})
	}
	s.nats, err = localnats.Start(localnats.Config{
		Dir: filepath.Join(cfg.DataDir, "nats"), Users: users, SyncAlways: cfg.SyncAlways, Log: log,
	})
	if err != nil {
		return err
	}
	s.bus = func(user string) (string, []nats.Option) {
		return s.nats.URL(user), []nats.Option{s.nats.InProcess(user)}
	}
	return nil
}

func (s *servers) startPostgres(ctx context.Context, cfg Config, k keys, log *slog.Logger) (err error) {
	base := cfg.DatabaseURL
	if base == "" {
		s.postgres, err = localpg.Start(ctx, localpg.Config{Dir: filepath.Join(cfg.DataDir, "postgres"), Durable: true, Log: log})
		if err != nil {
			return err
		}
		base = s.postgres.URL(localpg.Superuser, "postgres")
	}
	parsed, err := url.Parse(base)
	if err != nil {
		return errors.New("DATABASE_URL is not a URL") // its text holds a password
	}
	s.admin = base
	s.database = func(role string) string {
		u := *parsed
		u.User, u.Path = url.UserPassword(role, k.DatabasePassword), "/"+databaseName
		return u.String()
	}
	return nil
}

func (s *servers) stop() error {
	var err error
	if s.nats != nil {
		err = s.nats.Stop()
	}
	if s.postgres != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopFor)
		defer cancel()
		err = errors.Join(err, s.postgres.Stop(ctx))
	}
	return err
}

// prepare does what cmd/migrate does, and stores the development key.
func prepare(ctx context.Context, cfg Config, k keys, s *servers) error {
	if err := db.Bootstrap(ctx, s.admin, databaseName); err != nil {
		return err
	}
	if err := db.SetPasswords(ctx, s.admin, k.DatabasePassword); err != nil {
		return err
	}
	if err := db.Migrate(ctx, s.database(db.RoleOwner)); err != nil {
		return err
	}
	if err := storeKey(ctx, k, s.database(db.RoleOwner)); err != nil {
		return err
	}
	address, options := s.bus(bus.UserAdmin)
	nc, err := bus.Connect(address, bus.UserAdmin, slog.New(slog.DiscardHandler), options...)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("JetStream: %w", err)
	}
	return bus.Apply(ctx, js, bus.Options{Replicas: 1, MaxBytes: cfg.EventsBytes, AckWait: cfg.Worker.AckWait})
}

func storeKey(ctx context.Context, k keys, owner string) error {
	conn, err := pgx.Connect(ctx, owner)
	if err != nil {
		return fmt.Errorf("store API key: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing is lost with it
	hash := auth.HashKey(k.APIKey)
	err = queries.New(conn).InsertAPIKey(ctx, queries.InsertAPIKeyParams{
		ID: uuid.Must(uuid.NewV7()), TenantID: k.Tenant, Name: "development", Hint: k.APIKey[len(k.APIKey)-4:],
		Hash: hash[:], Scopes: auth.Scopes(),
	})
	if err != nil {
		return fmt.Errorf("store API key: %w", err)
	}
	return nil
}

// runServices runs api and worker until ctx ends or one of them fails.
func runServices(ctx context.Context, cfg Config, k keys, s *servers, log *slog.Logger, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	registry := telemetry.NewRegistry()
	admin, err := telemetry.ListenAdmin(ctx, telemetry.AdminConfig{Addr: cfg.API.AdminAddr, Metrics: registry, Log: log})
	if err != nil {
		return err
	}

	apiReady, workerReady := make(chan string, 1), make(chan struct{}, 1)
	cfg.API.Log, cfg.Worker.Log = cfg.Log, cfg.Log
	cfg.API.Metrics, cfg.Worker.Metrics = registry, registry
	cfg.API.DatabaseURL, cfg.Worker.DatabaseURL = s.database(db.RoleAPI), s.database(db.RoleWorker)
	cfg.API.NATSURL, cfg.API.NATSOptions = s.bus(bus.UserAPI)
	cfg.Worker.NATSURL, cfg.Worker.NATSOptions = s.bus(bus.UserWorker)
	cfg.API.VaultKeyset, cfg.Worker.VaultKeyset = string(k.VaultKeyset), string(k.VaultKeyset)
	cfg.API.Ready = func(address string) { apiReady <- address }
	cfg.Worker.Ready = func() { workerReady <- struct{}{} }

	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	run := func(name string, service func() error) {
		wg.Go(func() {
			err := service()
			if err == nil && ctx.Err() == nil {
				err = errors.New("ended by itself")
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
				cancel(err)
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	run("admin", func() error { return admin.Run(ctx) })
	run("api", func() error { return api.Run(ctx, cfg.API, log) })
	run("worker", func() error { return worker.Run(ctx, cfg.Worker, log) })

	var address string
	for waiting := 2; waiting > 0 && ctx.Err() == nil; waiting-- {
		select {
		case address = <-apiReady:
		case <-workerReady:
		case <-ctx.Done():
		}
	}
	if ctx.Err() == nil {
		if err := json.NewEncoder(out).Encode(ready{true, "http://" + address, k.APIKey, k.Tenant}); err != nil {
			cancel(fmt.Errorf("print the ready line: %w", err))
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}
