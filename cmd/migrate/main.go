// Command migrate brings Postgres and JetStream to what this version of the
// services needs. It may run as often as one likes, also while they work, and
// never goes back.
//
// migrate --help lists its other commands, and the settings.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/db"
	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/store"
	queries "github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/telemetry"
)

// database is what both uses need.
type database struct {
	URL string `env:"DATABASE_URL,required" secret:"true" help:"Postgres as the role primezap_owner"`
}

// migration is what the migration needs beside it.
type migration struct {
	Database     database
	BootstrapURL string        `env:"BOOTSTRAP_URL" secret:"true" help:"Postgres as a superuser, to any database but ours: makes roles and database first"`
	NATSURL      string        `env:"NATS_URL,required" secret:"true" help:"NATS as the user admin"`
	Replicas     int           `env:"NATS_REPLICAS" envDefault:"1" help:"copies of each stream: 1 or 3"`
	MaxBytes     int64         `env:"EVENTS_MAX_BYTES" envDefault:"8589934592" help:"bound of the event store; beyond it events are refused with 503"`
	AckWait      time.Duration `env:"WORKER_ACK_WAIT" envDefault:"30s" help:"how long a fresh event belongs to a worker without a sign of life; the workers' setting too"`
	Log          telemetry.LogConfig
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	var err error
	switch command(os.Args) {
	case "api-key":
		err = apiKey(ctx, os.Args[2:], os.Stdout)
	case "keyset":
		err = printKeyset(os.Args[2:], os.Stdout)
	case "vault-keys":
		err = vaultKeys(ctx, os.Args[2:], os.Stdout)
	default:
		if asksHelp(os.Args[1:]) {
			fmt.Print(commands)
		}
		var cfg migration
		config.ParseOrExit(&cfg)
		err = migrate(ctx, cfg, telemetry.NewLogger(os.Stderr, cfg.Log))
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "migrate:", err)
		os.Exit(1) //nolint:gocritic // the signal handler goes with the process
	}
}

// commands stands before the settings, which are those of migrate alone.
const commands = `Commands:

  migrate             apply migrations and the JetStream topology
  migrate api-key     store an API key, and print it; -h lists its flags
  migrate keyset      print a keyset for the vault: new, add, promote or remove ID
  migrate vault-keys  list the vault's keys, and how many things need each

`

// asksHelp reports whether the settings are going to be printed.
func asksHelp(args []string) bool {
	return slices.Contains(args, "-h") || slices.Contains(args, "--help")
}

// command is the first argument, empty without one.
func command(args []string) string {
	if len(args) < 2 {
		return ""
	}
	return args[1]
}

// migrate applies migrations, then the topology.
func migrate(ctx context.Context, cfg migration, log *slog.Logger) error {
	if cfg.BootstrapURL != "" {
		target, err := pgx.ParseConfig(cfg.Database.URL)
		if err != nil {
			return fmt.Errorf("DATABASE_URL: %w", err)
		}
		if err := db.Bootstrap(ctx, cfg.BootstrapURL, target.Database); err != nil {
			return err
		}
	}
	if err := db.Migrate(ctx, cfg.Database.URL); err != nil {
		return err
	}
	log.Info("the schema is up to date")
	floors, err := consumerFloors(ctx, cfg.Database.URL)
	if err != nil {
		return err
	}
	nc, err := bus.Connect(cfg.NATSURL, bus.UserAdmin, log)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("JetStream: %w", err)
	}
	if err := bus.Apply(ctx, js, bus.Options{Replicas: cfg.Replicas, MaxBytes: cfg.MaxBytes, AckWait: cfg.AckWait, Floors: floors}); err != nil {
		return err
	}
	log.Info("the streams are up to date")
	return nil
}

// consumerFloors is how far the consumers were, as Postgres has it: one that is
// gone is made again from there.
func consumerFloors(ctx context.Context, url string) (map[string]bus.Floor, error) {
	owner, err := store.Open(ctx, url, 1)
	if err != nil {
		return nil, err
	}
	defer owner.Close()
	return store.Floors(ctx, owner.Queries())
}

// apiKey stores a key and prints it: it is shown nowhere else.
func apiKey(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("migrate api-key", flag.ContinueOnError)
	tenant := flags.String("tenant", "", "`id` of the tenant that the key is for")
	name := flags.String("name", "", "what the key is for")
	scopes := flags.String("scopes", "", "what it may do, comma separated: "+strings.Join(auth.Scopes(), ", "))
	key := flags.String("key", "", "the key itself, pz_…; made up when absent")
	if err := flags.Parse(args); err != nil {
		return err
	}
	params, shown, err := newKey(*tenant, *name, *scopes, *key)
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if err != nil {
		return err
	}
	var cfg database
	if err := config.Load(&cfg); err != nil {
		return err
	}
	owner, err := store.Open(ctx, cfg.URL, 1)
	if err != nil {
		return err
	}
	defer owner.Close()
	if err := owner.Queries().InsertAPIKey(ctx, params); err != nil {
		return fmt.Errorf("store API key: %w", err)
	}
	_, err = fmt.Fprintln(out, shown)
	return err
}

// keyBytes bounds a key that is given: as random as it may be, it is not short.
const (
	minKeyBytes = 24
	maxKeyBytes = 256
)

// newKey checks what was asked for. All faults are joined.
func newKey(tenant, name, scopes, key string) (_ queries.InsertAPIKeyParams, shown string, err error) {
	var errs []error
	id, err := uuid.Parse(tenant)
	if err != nil || id == uuid.Nil {
		errs = append(errs, errors.New("-tenant must be a UUID"))
	}
	if name == "" {
		errs = append(errs, errors.New("-name is required"))
	}
	granted := slices.Sorted(strings.SplitSeq(scopes, ","))
	granted = slices.Compact(granted)
	for _, scope := range granted {
		if !slices.Contains(auth.Scopes(), scope) {
			errs = append(errs, fmt.Errorf("-scopes: %q is none of %s", scope, strings.Join(auth.Scopes(), ", ")))
		}
	}
	if key == "" {
		key = auth.NewKey()
	}
	visible := func(r rune) bool { return r <= ' ' || r > '~' }
	if !strings.HasPrefix(key, "pz_") || len(key) < minKeyBytes || len(key) > maxKeyBytes || strings.ContainsFunc(key, visible) {
		errs = append(errs, errors.New("-key must be pz_ and more, 24 to 256 visible ASCII characters in all"))
	}
	hash := auth.HashKey(key)
	return queries.InsertAPIKeyParams{
		ID: uuid.Must(uuid.NewV7()), TenantID: id, Name: name, Hint: key[max(0, len(key)-4):], Hash: hash[:], Scopes: granted,
	}, key, errors.Join(errs...)
}
