package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/httpapi"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/telemetry"
)

// Config is the service's settings.
type Config struct {
	HTTPAddr    string `env:"HTTP_ADDR" envDefault:"127.0.0.1:8080" help:"address of the HTTP API; port 0 picks one"`
	AdminAddr   string `env:"ADMIN_ADDR" envDefault:"127.0.0.1:8082" help:"address of metrics, health and profiles"`
	DatabaseURL string `env:"DATABASE_URL,required" secret:"true" help:"Postgres as the role primezap_api"`
	NATSURL     string `env:"NATS_URL,required" secret:"true" help:"NATS as the user api"`
	VaultKeyset string `env:"VAULT_KEYSET,required" secret:"true" help:"Tink AEAD keyset in JSON that seals secrets at rest"`

	JWT        auth.JWTConfig
	RateLimits ratelimit.Config

	Meta meta.Config

	CORSOrigins config.List  `env:"CORS_ORIGINS" help:"origins of the front end, whose pages may call and get what a login brings, comma separated, or * (to which no login is given)"`
	AllowHTTP   bool         `env:"WEBHOOK_ALLOW_HTTP" envDefault:"false" help:"take webhooks with http URLs too"`
	AllowCIDRs  config.CIDRs `env:"WEBHOOK_ALLOW_CIDRS" help:"networks that webhooks may point to although they are not public, comma separated"`

	MaxWebhooks int `env:"TENANT_MAX_WEBHOOKS" envDefault:"1000" help:"webhooks that a tenant may have; 0: as many as it likes"`
	MaxAPIKeys  int `env:"TENANT_MAX_API_KEYS" envDefault:"100" help:"API keys that a tenant may have; 0: as many as it likes"`
	// Of Meta's, not of Postgres's.
	MaxConnections int `env:"TENANT_MAX_CONNECTIONS" envDefault:"100" help:"connections to Meta that a tenant may have; 0: as many as it likes"`

	LiveRate  float64 `env:"EVENTS_LIVE_RATE" envDefault:"200" help:"events of a tenant a second that go before those of busier tenants, in each process"`
	LiveBurst int     `env:"EVENTS_LIVE_BURST" envDefault:"1000" help:"how many of them at once"`
	MaxRate   int     `env:"EVENTS_MAX_RATE" envDefault:"0" help:"events of a tenant a second beyond which they are refused with 429, in each process; above EVENTS_LIVE_RATE; 0: no limit"`

	Connections int `env:"API_DB_CONNECTIONS" envDefault:"8" help:"connections to Postgres"`

	Log telemetry.LogConfig

	// NATSOptions are a composing program's: credentials, an in-process server.
	NATSOptions []nats.Option
	// Metrics, where set, are a composing program's to show: there is no admin server.
	Metrics prometheus.Registerer
	// Serve, where set, is a composing program's: it serves requests until ctx ends, and
	// there is no listener.
	Serve func(ctx context.Context, handler http.Handler) error
	// Ready, where set, is told once requests are served: host and port, unless there is
	// no listener, and what says whether they can be.
	Ready func(address string, check func(context.Context) error)
}

// maxLimit is how many things of a kind are still counted at each creation.
const maxLimit = 1_000_000

// Validate reports settings that cannot be meant.
func (c *Config) Validate() error {
	errs := []error{c.JWT.Validate(), c.RateLimits.Validate(), c.Meta.Validate()}
	for _, origin := range c.CORSOrigins {
		if err := httpapi.ValidateOrigin(origin); err != nil {
			errs = append(errs, fmt.Errorf("CORS_ORIGINS: %w", err))
		}
	}
	if c.MaxWebhooks < 0 || c.MaxWebhooks > maxLimit {
		errs = append(errs, fmt.Errorf("TENANT_MAX_WEBHOOKS must be 0 to %d", maxLimit))
	}
	if c.MaxAPIKeys < 0 || c.MaxAPIKeys > maxLimit {
		errs = append(errs, fmt.Errorf("TENANT_MAX_API_KEYS must be 0 to %d", maxLimit))
	}
	if c.MaxConnections < 0 || c.MaxConnections > maxLimit {
		errs = append(errs, fmt.Errorf("TENANT_MAX_CONNECTIONS must be 0 to %d", maxLimit))
	}
	if !(c.LiveRate > 0) {
		errs = append(errs, errors.New("EVENTS_LIVE_RATE must be positive"))
	}
	if c.LiveBurst < 1 {
		errs = append(errs, errors.New("EVENTS_LIVE_BURST must be positive"))
	}
	if c.MaxRate < 0 || c.MaxRate > 0 && float64(c.MaxRate) <= c.LiveRate {
		errs = append(errs, errors.New("EVENTS_MAX_RATE must be 0 or above EVENTS_LIVE_RATE"))
	}
	if c.Connections < 2 {
		errs = append(errs, errors.New("API_DB_CONNECTIONS must be at least 2"))
	}
	return errors.Join(errs...)
}
