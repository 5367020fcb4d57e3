package main

import (
	"errors"
	"strings"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/telemetry"
	"github.com/primezap/primezap/services/api"
	"github.com/primezap/primezap/services/worker"
)

// Config is the settings of all services in one, with defaults for a machine
// that nobody set up.
type Config struct {
	DataDir     string `env:"DATA_DIR" envDefault:".primezap" help:"where streams, database and generated keys are kept"`
	DatabaseURL string `env:"DATABASE_URL" secret:"true" help:"Postgres as a role that may make roles and databases; unset: a private Postgres in DATA_DIR"`
	NATSURL     string `env:"NATS_URL" secret:"true" help:"NATS with JetStream as a user that may do everything; unset: a private nats-server in DATA_DIR"`
	VaultKeyset string `env:"VAULT_KEYSET" secret:"true" help:"Tink AEAD keyset in JSON that seals secrets at rest; unset: generated once and kept in DATA_DIR"`
	APIKey      string `env:"API_KEY" secret:"true" help:"fixed API key (pz_...) with every scope for the development tenant; unset: generated once and kept in DATA_DIR"`
	EventsBytes int64  `env:"EVENTS_MAX_BYTES" envDefault:"4294967296" help:"bound of the event store; beyond it events are refused with 503"`
	SyncAlways  bool   `env:"NATS_SYNC_ALWAYS" envDefault:"false" help:"accepted events survive a loss of power too, at a cost; false: those of the last second may not"`

	Log telemetry.LogConfig

	API    api.Config
	Worker worker.Config
}

// Validate reports settings that contradict one another.
func (c *Config) Validate() error {
	var errs []error
	if c.APIKey != "" && !strings.HasPrefix(c.APIKey, auth.KeyPrefix) {
		errs = append(errs, errors.New("API_KEY must begin with "+auth.KeyPrefix))
	}
	if c.EventsBytes < 16<<20 {
		errs = append(errs, errors.New("EVENTS_MAX_BYTES must be at least 16777216"))
	}
	return errors.Join(append(errs, c.API.Validate(), c.Worker.Validate())...)
}

// Defaults are for development: plain http endpoints on this machine.
func (*Config) Defaults() map[string]string {
	return map[string]string{
		"WEBHOOK_ALLOW_HTTP":  "true",
		"WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8,::1/128",
		"WORKER_GRACE":        "4s",
	}
}
