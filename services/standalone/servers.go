package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
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
	"github.com/primezap/primezap/pkg/store"
	queries "github.com/primezap/primezap/pkg/store/db"
)

const (
	databaseName = "primezap"
	maintenance  = "postgres"       // the database that every server has
	startFor     = 60 * time.Second // Postgres may have to recover first
)

// servers are Postgres and NATS, ours or given.
type servers struct {
	log      *slog.Logger
	postgres *localpg.Server   // nil: given
	nats     *localnats.Server // nil: given

	name     string                       // of our database
	root     func(database string) string // URL of a superuser
	database func(role string) string     // URL of a role, to our database
	bus      func(user string) (string, []nats.Option)
}

// startServers starts what is not given. After an error, what has started is
// still to be stopped.
func startServers(ctx context.Context, cfg Config, k keys, log *slog.Logger) (*servers, error) {
	s := &servers{log: log}
	ctx, cancel := context.WithTimeout(ctx, startFor)
	defer cancel()
	var wg sync.WaitGroup
	var natsErr, postgresErr error
	wg.Go(func() { natsErr = s.startNATS(cfg) }) //nolint:contextcheck // bounds itself
	wg.Go(func() { postgresErr = s.startPostgres(ctx, cfg, k.DatabasePassword) })
	wg.Wait()
	return s, errors.Join(natsErr, postgresErr)
}

func (s *servers) startNATS(cfg Config) (err error) {
	if cfg.NATSURL != "" {
		s.bus = func(string) (string, []nats.Option) { return cfg.NATSURL, nil }
		return nil
	}
	var users []localnats.User
	for _, u := range bus.Users() {
		users = append(users, localnats.User{Name: u.Name, Publish: u.Publish, Subscribe: u.Subscribe, Responses: u.Responses})
	}
	s.nats, err = localnats.Start(localnats.Config{
		Dir: filepath.Join(cfg.DataDir, "nats"), Users: users, SyncAlways: cfg.SyncAlways, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.bus = func(user string) (string, []nats.Option) {
		return s.nats.URL(user), []nats.Option{s.nats.InProcess(user)}
	}
	return nil
}

// startPostgres starts a server unless the URL of one is given. Our database is
// the one that a given URL names.
func (s *servers) startPostgres(ctx context.Context, cfg Config, password string) (err error) {
	address := cfg.DatabaseURL
	if address == "" {
		s.postgres, err = localpg.Start(ctx, localpg.Config{Dir: filepath.Join(cfg.DataDir, "postgres"), Durable: true, Log: s.log})
		if err != nil {
			return err
		}
		address = s.postgres.URL(localpg.Superuser, maintenance)
	}
	base, err := url.Parse(address)
	if err != nil {
		return errors.New("DATABASE_URL is not a URL") // the cause quotes it, with its password
	}
	if s.name = strings.TrimPrefix(base.Path, "/"); s.name == "" || s.name == maintenance {
		s.name = databaseName
	}
	s.root = func(database string) string {
		u := *base
		u.Path = "/" + database
		return u.String()
	}
	s.database = func(role string) string {
		u := *base
		u.User, u.Path = url.UserPassword(role, password), "/"+s.name
		query := u.Query()
		query.Del("user") // these would win
		query.Del("password")
		u.RawQuery = query.Encode()
		return u.String()
	}
	return nil
}

// openDatabase lets the owner role make the schema in a database that somebody
// else made.
func (s *servers) openDatabase(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.root(s.name))
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	grants := "GRANT ALL ON DATABASE " + pgx.Identifier{s.name}.Sanitize() + " TO " + db.RoleOwner +
		"; GRANT ALL ON SCHEMA public TO " + db.RoleOwner + " WITH GRANT OPTION"
	if _, err := conn.Exec(ctx, grants); err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	return nil
}

// watch returns when ctx ends, or with errEnded when Postgres does.
func (s *servers) watch(ctx context.Context) error {
	if s.postgres == nil {
		<-ctx.Done()
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.postgres.Done():
		return errEnded
	}
}

// stop ends what was started. A Postgres that is not done when ctx ends is
// stopped at once; its next start recovers.
func (s *servers) stop(ctx context.Context) error {
	var errs []error
	if s.nats != nil {
		errs = append(errs, s.nats.Stop())
	}
	if s.postgres != nil {
		err := s.postgres.Stop(ctx)
		if err != nil && ctx.Err() != nil {
			s.log.Warn("postgres was stopped before it was done; its next start recovers", "error", err)
			err = nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// prepare does what cmd/migrate does, and stores the API key. It returns the
// key's tenant.
func (s *servers) prepare(ctx context.Context, cfg Config, k keys) (uuid.UUID, error) {
	if err := db.Bootstrap(ctx, s.root(maintenance), s.name); err != nil {
		return uuid.Nil, err
	}
	if err := db.SetPasswords(ctx, s.root(maintenance), k.DatabasePassword); err != nil {
		return uuid.Nil, err
	}
	if s.postgres == nil {
		if err := s.openDatabase(ctx); err != nil {
			return uuid.Nil, err
		}
	}
	if err := db.Migrate(ctx, s.database(db.RoleOwner)); err != nil {
		return uuid.Nil, err
	}
	tenant, floors, err := s.fill(ctx, k)
	if err != nil {
		return uuid.Nil, err
	}
	address, options := s.bus(bus.UserAdmin)
	nc, err := bus.Connect(address, bus.UserAdmin, slog.New(slog.DiscardHandler), options...)
	if err != nil {
		return uuid.Nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return uuid.Nil, fmt.Errorf("JetStream: %w", err)
	}
	return tenant, bus.Apply(ctx, js, bus.Options{Replicas: 1, MaxBytes: cfg.EventsBytes, AckWait: cfg.Worker.AckWait, Floors: floors})
}

// fill stores the API key unless it is there, and returns whose it is and how far
// the consumers were: one that is gone is made again from there.
func (s *servers) fill(ctx context.Context, k keys) (tenant uuid.UUID, floors map[string]bus.Floor, err error) {
	owner, err := store.Open(ctx, s.database(db.RoleOwner), 1)
	if err != nil {
		return uuid.Nil, nil, err
	}
	defer owner.Close()
	hash := auth.HashKey(k.APIKey)
	err = owner.Queries().InsertAPIKey(ctx, queries.InsertAPIKeyParams{
		ID: uuid.Must(uuid.NewV7()), TenantID: k.Tenant, Name: "development", Hint: k.APIKey[max(0, len(k.APIKey)-4):],
		Hash: hash[:], Scopes: auth.Scopes(),
	})
	if err != nil {
		return uuid.Nil, nil, fmt.Errorf("store API key: %w", err)
	}
	if floors, err = store.Floors(ctx, owner.Queries()); err != nil {
		return uuid.Nil, nil, err
	}

	// A fixed key may be older than this DATA_DIR, and another tenant's then.
	api, err := store.Open(ctx, s.database(db.RoleAPI), 1)
	if err != nil {
		return uuid.Nil, nil, err
	}
	defer api.Close()
	key, err := api.Queries().FindAPIKey(ctx, hash[:])
	if errors.Is(err, pgx.ErrNoRows) {
		return uuid.Nil, nil, errors.New("the API key has been revoked")
	}
	if err != nil {
		return uuid.Nil, nil, fmt.Errorf("look up API key: %w", err)
	}
	return key.TenantID, floors, nil
}
