package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/meta/metatest"
)

// What the ready line says of Meta.
const (
	metaSimulated  = "simulated"
	metaConfigured = "configured"
)

// What of ours Meta calls, or has browsers call.
const (
	webhookPath     = "/webhooks/meta"
	deauthorizePath = "/oauth/facebook/deauthorize"
	deletionPath    = "/oauth/facebook/data-deletion"
)

// callbackPaths are where logins come back to.
func callbackPaths() []string {
	return []string{"/integracoes/facebook/callback", "/oauth/facebook/callback"}
}

// simulator is a Meta of this process alone.
type simulator struct {
	server *metatest.Server
	url    string
}

// startSimulator starts a simulated Meta and points all services of cfg at it, where no
// credentials of the real one are set; else it returns nil. It calls ours, which is
// where they are reached. Nothing of it outlives the process but its secrets, with which
// webhooks stay valid.
func startSimulator(ctx context.Context, cfg *Config, k keys, ours string, log *slog.Logger) (*simulator, error) {
	if len(cfg.API.Meta.Secrets()) > 0 {
		return nil, nil //nolint:nilnil // there is none, as asked
	}
	app := metatest.App{
		RedirectURIs: cfg.OAuth.Login.Redirects, DeauthorizeURL: ours + deauthorizePath, DeletionURL: ours + deletionPath,
	}
	if id := cfg.OAuth.Login.ConfigID; id != "" {
		app.Configurations = map[string][]string{id: cfg.OAuth.Login.Scopes}
	}
	server := metatest.New(metatest.Config{
		AppSecret: k.MetaAppSecret, VerifyToken: k.MetaVerifyToken, App: app, CallbackURL: ours + webhookPath,
		Limits: metatest.DocumentedLimits(), Log: log,
		Quirks: metatest.Quirks{PageSize: 10}, // so that lists have more than one page
	})
	baseURL, err := server.Listen(ctx, cfg.SimulatorAddr)
	if err != nil {
		server.Close()
		return nil, fmt.Errorf("META_SIMULATOR_ADDR: %w", err)
	}
	for _, platform := range cfg.platforms() {
		platform.AppSecrets, platform.AppSecret, platform.VerifyToken = config.List{k.MetaAppSecret}, k.MetaAppSecret, k.MetaVerifyToken
		platform.GraphURL = baseURL
	}
	for _, app := range cfg.apps() {
		app.AppID, app.DialogURL = metatest.DefaultAppID, baseURL
	}
	cfg.Worker.AppID, cfg.OAuth.Simulated = metatest.DefaultAppID, true
	log.Warn("Meta is SIMULATED, as neither META_APP_SECRETS nor FACEBOOK_APP_SECRET is set: nothing reaches WhatsApp, Messenger or Instagram", "url", baseURL)
	return &simulator{server, baseURL}, nil
}

// platforms are the settings of Meta, one for each service that has them.
func (c *Config) platforms() []*meta.Config {
	return []*meta.Config{&c.API.Meta, &c.OAuth.Meta, &c.Worker.Meta}
}

// apps are the settings of logins, one for each service that has them.
func (c *Config) apps() []*login.Config { return []*login.Config{&c.OAuth.Login} }

// completeLogin sets what logins need and nobody has set, as far as it is ours to say:
// what signs their state, and where they come back to, which is here.
func (c *Config) completeLogin(k keys, ours string) {
	for _, app := range c.apps() {
		if app.StateKey == "" {
			app.StateKey = k.OAuthStateKey
		}
		if len(app.Redirects) == 0 {
			app.Redirects = callbacks(ours)
		}
	}
}

// callbacks are the URLs of the callback pages, by each name that this machine has for
// itself; none where others could listen on the way.
func callbacks(ours string) (urls config.List) {
	u, err := url.Parse(ours)
	if err != nil || !meta.Loopback(u.Hostname()) {
		return nil
	}
	hosts := []string{u.Host}
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if host != u.Hostname() {
			hosts = append(hosts, net.JoinHostPort(host, u.Port()))
		}
	}
	for _, host := range hosts {
		for _, path := range callbackPaths() {
			urls = append(urls, u.Scheme+"://"+host+path)
		}
	}
	return urls
}

// tell completes the ready line.
func (s *simulator) tell(line *ready) {
	if s == nil {
		line.Meta = metaConfigured
		return
	}
	line.Meta, line.MetaSimulator = metaSimulated, s.url
}

func (s *simulator) close() {
	if s != nil {
		s.server.Close()
	}
}

// checkLoopback refuses an address that others could reach: whoever reaches the
// simulator may play anybody.
func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("must be host and port")
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return errors.New("must be of this machine alone, such as 127.0.0.1:8090")
	}
	return nil
}
