package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/httpapi"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/telemetry"
)

// Config is the service's settings. Those of Meta's app may be missing: then it says so.
type Config struct {
	HTTPAddr    string `env:"HTTP_ADDR" envDefault:"127.0.0.1:8083" help:"address of the service; port 0 picks one"`
	AdminAddr   string `env:"ADMIN_ADDR" envDefault:"127.0.0.1:8084" help:"address of metrics, health and profiles"`
	DatabaseURL string `env:"DATABASE_URL,required" secret:"true" help:"Postgres as the role primezap_api"`
	VaultKeyset string `env:"VAULT_KEYSET,required" secret:"true" help:"Tink AEAD keyset in JSON that seals secrets at rest"`

	JWT        auth.JWTConfig
	RateLimits ratelimit.Config
	Meta       meta.Config
	Login      login.Config

	CORSOrigins      config.List `env:"CORS_ORIGINS" help:"origins of the front end, whose pages may call and get what a login brings, comma separated, or * (to which no login is given)"`
	PublicURL        string      `env:"OAUTH_PUBLIC_URL" help:"where Meta's users reach the service, such as https://api.example.com; unset: the host that Meta called"`
	ActionsPerMinute int         `env:"OAUTH_ACTIONS_PER_MINUTE" envDefault:"60" help:"actions of a tenant a minute, in each process; 0: no limit"`
	MaxConnections   int         `env:"TENANT_MAX_CONNECTIONS" envDefault:"100" help:"connections to Meta that a tenant may have; 0: as many as it likes"`

	Connections int `env:"OAUTH_DB_CONNECTIONS" envDefault:"4" help:"connections to Postgres"`

	Log telemetry.LogConfig

	// Simulated says that Meta is not the real one.
	Simulated bool
	// Metrics, where set, are a composing program's to show: there is no admin server.
	Metrics prometheus.Registerer
	// Serve, where set, is a composing program's: it serves requests until ctx ends, and
	// there is no listener.
	Serve func(ctx context.Context, handler http.Handler) error
}

const (
	maxConnections      = 1_000_000
	maxActionsPerMinute = 1_000_000
)

// Validate reports settings that cannot be meant; what of Meta's app is missing is none.
func (c *Config) Validate() error {
	errs := []error{c.JWT.Validate(), c.RateLimits.Validate(), c.Meta.Validate(), c.Login.Validate()}
	for _, origin := range c.CORSOrigins {
		if err := httpapi.ValidateOrigin(origin); err != nil {
			errs = append(errs, fmt.Errorf("CORS_ORIGINS: %w", err))
		}
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" || u.User != nil) {
		errs = append(errs, errors.New("OAUTH_PUBLIC_URL must be a URL such as https://api.example.com"))
	}
	if c.ActionsPerMinute < 0 || c.ActionsPerMinute > maxActionsPerMinute {
		errs = append(errs, fmt.Errorf("OAUTH_ACTIONS_PER_MINUTE must be 0 to %d", maxActionsPerMinute))
	}
	if c.MaxConnections < 0 || c.MaxConnections > maxConnections {
		errs = append(errs, fmt.Errorf("TENANT_MAX_CONNECTIONS must be 0 to %d", maxConnections))
	}
	if c.Connections < 1 {
		errs = append(errs, errors.New("OAUTH_DB_CONNECTIONS must be positive"))
	}
	return errors.Join(errs...)
}
