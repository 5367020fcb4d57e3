package worker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/telemetry"
)

// Config is a worker's settings.
type Config struct {
	AdminAddr   string `env:"ADMIN_ADDR" envDefault:"127.0.0.1:8081" help:"address of metrics, health and profiles"`
	DatabaseURL string `env:"DATABASE_URL,required" secret:"true" help:"Postgres as the role primezap_worker"`
	NATSURL     string `env:"NATS_URL,required" secret:"true" help:"NATS as the user worker"`
	VaultKeyset string `env:"VAULT_KEYSET,required" secret:"true" help:"Tink AEAD keyset in JSON that seals secrets at rest"`

	AllowHTTP  bool         `env:"WEBHOOK_ALLOW_HTTP" envDefault:"false" help:"deliver to http URLs too"`
	AllowCIDRs config.CIDRs `env:"WEBHOOK_ALLOW_CIDRS" help:"networks delivered to although they are not public, comma separated"`

	Attempts       int           `env:"WORKER_ATTEMPTS" envDefault:"4096" help:"attempts in flight at once"`
	AttemptTimeout time.Duration `env:"WORKER_ATTEMPT_TIMEOUT" envDefault:"30s" help:"how long an attempt may take in all"`
	Lease          time.Duration `env:"WORKER_LEASE" envDefault:"45s" help:"how long a delivery in flight belongs to this worker; longer than an attempt"`
	AckWait        time.Duration `env:"WORKER_ACK_WAIT" envDefault:"30s" help:"how long a fresh event belongs to this worker without a sign of life"`
	Grace          time.Duration `env:"WORKER_GRACE" envDefault:"8s" help:"how long attempts may go on after a signal to stop"`
	MatchBytes     int           `env:"WORKER_MATCH_BYTES" envDefault:"167772160" help:"memory for the copy of webhooks that events are matched with; below GOMEMLIMIT, which is 256MiB unless set"`
	Connections    int           `env:"WORKER_DB_CONNECTIONS" envDefault:"8" help:"connections to Postgres; background jobs may have as many again"`

	DisableAfter     time.Duration `env:"WORKER_DISABLE_AFTER" envDefault:"24h" help:"how long a webhook's deliveries fail, without a success, before it is disabled; the same for all workers"`
	DisableExhausted int           `env:"WORKER_DISABLE_EXHAUSTED" envDefault:"20" help:"how many deliveries in a row must have been given up as well"`

	AuditRetention time.Duration `env:"AUDIT_RETENTION" envDefault:"9600h" help:"how long the audit log is kept: 400 days"`
	MessageDays    int           `env:"WORKER_MESSAGE_DAYS" envDefault:"90" help:"days that messages of channels are kept, at least 8; 0: for ever"`

	Meta        meta.Config
	AppID       string        `env:"FACEBOOK_APP_ID" help:"id of the Meta app that people log in to; unset: nobody can"`
	RenewBefore time.Duration `env:"OAUTH_RENEW_BEFORE" envDefault:"168h" help:"how long before its end a user's token is renewed, and an end told of that cannot be put off"`

	Log telemetry.LogConfig

	// NATSOptions are a composing program's: credentials, an in-process server.
	NATSOptions []nats.Option
	// Metrics, where set, takes the worker's metrics; no admin server is started.
	Metrics prometheus.Registerer
	// Ready, where set, is told once the worker works, and what says whether it can.
	Ready func(check func(context.Context) error)
}

// Meta tells of a message again for up to seven days, until it was heard: one that
// is not there any more would be taken for a new one.
const (
	minMessageDays = 8
	maxMessageDays = 36_500
)

// A user's token lives for sixty days: one that is renewed long before would be renewed
// for ever.
const (
	minRenewBefore = time.Hour
	maxRenewBefore = 30 * 24 * time.Hour
)

// login is the app that people have logged in to.
func (c *Config) login() login.Config { return login.Config{AppID: c.AppID} }

// Validate reports settings that contradict one another.
func (c *Config) Validate() error {
	app := c.login()
	errs := []error{c.Meta.Validate(), app.Validate()}
	if c.RenewBefore != 0 && c.RenewBefore < minRenewBefore || c.RenewBefore > maxRenewBefore {
		errs = append(errs, fmt.Errorf("OAUTH_RENEW_BEFORE must be %s to %s", minRenewBefore, maxRenewBefore))
	}
	if c.Attempts < 1 {
		errs = append(errs, errors.New("WORKER_ATTEMPTS must be positive"))
	}
	if c.Lease < c.AttemptTimeout+5*time.Second {
		errs = append(errs, fmt.Errorf("WORKER_LEASE must be at least 5s longer than WORKER_ATTEMPT_TIMEOUT (%s)", c.AttemptTimeout))
	}
	if c.AckWait < 5*time.Second {
		errs = append(errs, errors.New("WORKER_ACK_WAIT must be at least 5s"))
	}
	if c.AuditRetention < 24*time.Hour {
		errs = append(errs, errors.New("AUDIT_RETENTION must be at least 24h"))
	}
	if c.MessageDays != 0 && c.MessageDays < minMessageDays || c.MessageDays > maxMessageDays {
		errs = append(errs, fmt.Errorf("WORKER_MESSAGE_DAYS must be 0, or %d to %d", minMessageDays, maxMessageDays))
	}
	if c.MatchBytes < 1<<20 {
		errs = append(errs, errors.New("WORKER_MATCH_BYTES must be at least 1048576"))
	}
	if c.Connections < 4 {
		errs = append(errs, errors.New("WORKER_DB_CONNECTIONS must be at least 4"))
	}
	if c.DisableAfter < time.Minute {
		errs = append(errs, errors.New("WORKER_DISABLE_AFTER must be at least 1m"))
	}
	if c.DisableExhausted < 1 || c.DisableExhausted > math.MaxInt32 {
		errs = append(errs, errors.New("WORKER_DISABLE_EXHAUSTED must be positive, and fit 32 bits"))
	}
	return errors.Join(errs...)
}
