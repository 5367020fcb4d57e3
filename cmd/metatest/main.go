// Command metatest serves a simulated Graph API of Meta, as package metatest
// describes it. Nothing of it reaches Meta. --help lists its settings, and GET / of
// what it serves what can be called.
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
	"os/signal"
	"syscall"
	"time"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta/metatest"
	"github.com/primezap/primezap/pkg/telemetry"
)

// Config is the settings. Those that the product has too have its names.
type Config struct {
	Addr         string        `env:"META_SIMULATOR_ADDR" envDefault:"127.0.0.1:8090" help:"address to listen on; it asks for no credentials; port 0 picks one"`
	AppID        string        `env:"FACEBOOK_APP_ID" envDefault:"10001" help:"id of the app"`
	RedirectURIs config.List   `env:"META_REDIRECT_URIS" help:"where logins may end, comma separated; unset: anywhere on loopback"`
	AppSecrets   config.List   `env:"META_APP_SECRETS" secret:"true" envDefault:"simulated-app-secret" help:"secret of the app, which signs webhooks; of several, comma separated, the first"`
	VerifyToken  string        `env:"META_VERIFY_TOKEN" secret:"true" envDefault:"simulated-verify-token" help:"token of the challenge"`
	CallbackURL  string        `env:"META_CALLBACK_URL" help:"where webhooks go, such as http://127.0.0.1:8080/webhooks/meta; unset: nowhere"`
	RequireProof bool          `env:"META_REQUIRE_PROOF" envDefault:"false" help:"refuse calls without appsecret_proof; a wrong one is refused in any case"`
	Latency      time.Duration `env:"META_SIMULATOR_LATENCY" envDefault:"0s" help:"how long each answer takes"`
	NoLimits     bool          `env:"META_SIMULATOR_NO_LIMITS" envDefault:"false" help:"take any number of messages a second; false: as many as Meta"`
	Window       bool          `env:"META_SIMULATOR_WINDOW" envDefault:"false" help:"let messages on WhatsApp that are no templates fail where the person has not written for 24 hours"`
	NoStatuses   bool          `env:"META_SIMULATOR_NO_STATUSES" envDefault:"false" help:"tell nothing of messages that were accepted"`
	PageSize     int           `env:"META_SIMULATOR_PAGE_SIZE" envDefault:"10" help:"how many pages a list of a user's pages shows at a time, whatever is asked for; 0: as many as Meta, a hundred"`
	Seed         uint64        `env:"META_SIMULATOR_SEED" envDefault:"0" help:"the same ids and chance at each start; 0: others each time"`

	Log telemetry.LogConfig
}

// Validate reports settings that cannot be meant.
func (c *Config) Validate() error {
	var errs []error
	if u, err := url.Parse(c.CallbackURL); c.CallbackURL != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		errs = append(errs, errors.New("META_CALLBACK_URL must be a URL of http or https"))
	}
	if len(c.AppSecrets) == 0 {
		errs = append(errs, errors.New("META_APP_SECRETS must not be empty"))
	}
	if c.Latency < 0 {
		errs = append(errs, errors.New("META_SIMULATOR_LATENCY must not be negative"))
	}
	if c.PageSize < 0 {
		errs = append(errs, errors.New("META_SIMULATOR_PAGE_SIZE must not be negative"))
	}
	return errors.Join(errs...)
}

func main() {
	var cfg Config
	config.ParseOrExit(&cfg)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, cfg, telemetry.NewLogger(os.Stderr, cfg.Log), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "metatest:", err)
		os.Exit(1) //nolint:gocritic // the signal handler goes with the process
	}
}

// run serves until ctx ends. Once it listens it writes one line of JSON to out.
func run(ctx context.Context, cfg Config, log *slog.Logger, out io.Writer) error {
	simulator := metatest.New(metatest.Config{
		AppID: cfg.AppID, App: metatest.App{RedirectURIs: cfg.RedirectURIs}, AppSecret: cfg.AppSecrets[0], VerifyToken: cfg.VerifyToken, CallbackURL: cfg.CallbackURL, RequireProof: cfg.RequireProof,
		Latency: cfg.Latency, Window: cfg.Window, Statuses: metatest.Statuses{None: cfg.NoStatuses}, Limits: limits(cfg), Quirks: metatest.Quirks{PageSize: cfg.PageSize}, Seed: cfg.Seed, Log: log,
	})
	defer simulator.Close()
	baseURL, err := simulator.Listen(ctx, cfg.Addr)
	if err != nil {
		return err
	}
	log.Warn("this Meta is simulated: nothing reaches WhatsApp, Messenger or Instagram", "url", baseURL)
	line := struct {
		Ready     bool   `json:"ready"`
		Simulated bool   `json:"simulated"`
		URL       string `json:"url"`
		Callback  string `json:"callbackUrl,omitempty"`
	}{true, true, baseURL, cfg.CallbackURL}
	if err := json.NewEncoder(out).Encode(line); err != nil {
		return fmt.Errorf("print the ready line: %w", err)
	}
	<-ctx.Done()
	return nil
}

func limits(cfg Config) metatest.Limits {
	if cfg.NoLimits {
		return metatest.Limits{}
	}
	return metatest.DocumentedLimits()
}
