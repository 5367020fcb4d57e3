package main

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/telemetry"
	"github.com/primezap/primezap/services/api"
	"github.com/primezap/primezap/services/oauth"
	"github.com/primezap/primezap/services/worker"
)

// Config is the settings of all services in one, with defaults for a machine
// that nobody set up.
type Config struct {
	DataDir       string `env:"DATA_DIR" envDefault:".primezap" help:"where streams, database and generated keys are kept"`
	DatabaseURL   string `env:"DATABASE_URL" secret:"true" help:"Postgres as a superuser; its database (primezap, if it names none or postgres) gets the schema, the services' roles new passwords; unset: a private Postgres in DATA_DIR"`
	NATSURL       string `env:"NATS_URL" secret:"true" help:"NATS with JetStream as a user that may do everything; unset: a private nats-server in DATA_DIR"`
	VaultKeyset   string `env:"VAULT_KEYSET" secret:"true" help:"Tink AEAD keyset in JSON that seals secrets at rest; unset: generated once and kept in DATA_DIR"`
	APIKey        string `env:"API_KEY" secret:"true" help:"fixed API key (pz_...) with every scope for the development tenant; unset: generated once and kept in DATA_DIR"`
	EventsBytes   int64  `env:"EVENTS_MAX_BYTES" envDefault:"4294967296" help:"bound of the event store; beyond it events are refused with 503"`
	SimulatorAddr string `env:"META_SIMULATOR_ADDR" envDefault:"127.0.0.1:8090" help:"address of the simulated Meta that serves where neither META_APP_SECRETS nor FACEBOOK_APP_SECRET is set; port 0 picks one"`
	SyncAlways    bool   `env:"NATS_SYNC_ALWAYS" envDefault:"false" help:"accepted events survive a loss of power too, at a cost; false: those of the last second may not"`

	Log telemetry.LogConfig

	// What several have is one setting for all, explained by the first.
	API    api.Config
	Worker worker.Config
	OAuth  oauth.Config
}

// maxKeyLen is the longest API key that requests may carry.
const maxKeyLen = 256

// Validate reports settings that cannot be meant. None of its errors shows a
// secret.
func (c *Config) Validate() error {
	var errs []error
	unfit := func(r rune) bool { return r <= ' ' || r > '~' } // for a header
	if key, ok := strings.CutPrefix(c.APIKey, auth.KeyPrefix); c.APIKey != "" &&
		(!ok || key == "" || len(c.APIKey) > maxKeyLen || strings.ContainsFunc(key, unfit)) {
		errs = append(errs, fmt.Errorf("API_KEY must be %s and more, at most %d visible ASCII characters in all", auth.KeyPrefix, maxKeyLen))
	}
	if u, err := url.Parse(c.DatabaseURL); c.DatabaseURL != "" && (err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql") {
		errs = append(errs, errors.New("DATABASE_URL must be a URL, postgres://user:password@host:port/database"))
	}
	if c.EventsBytes < 16<<20 {
		errs = append(errs, errors.New("EVENTS_MAX_BYTES must be at least 16777216"))
	}
	if err := checkLoopback(c.SimulatorAddr); err != nil {
		errs = append(errs, fmt.Errorf("META_SIMULATOR_ADDR %w", err))
	}
	return distinct(append(errs, c.API.Validate(), c.Worker.Validate(), c.OAuth.Validate())...)
}

// distinct joins errors, a line each: what services say of a setting that they share is
// said once.
func distinct(errs ...error) error {
	var said []string
	var different []error
	for _, err := range errs {
		if err == nil {
			continue
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if !slices.Contains(said, line) {
				said = append(said, line)
				different = append(different, errors.New(line))
			}
		}
	}
	return errors.Join(different...)
}

// Defaults are for development: plain http endpoints on this machine, and an end
// that comes within the time of a supervisor's patience.
func (*Config) Defaults() map[string]string {
	return map[string]string{
		"WEBHOOK_ALLOW_HTTP":  "true",
		"WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8,::1/128",
		"WORKER_GRACE":        "3s",
	}
}
