package oauth

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	contract "github.com/primezap/primezap/api"
	"github.com/primezap/primezap/pkg/access"
	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/grant/renewal"
	"github.com/primezap/primezap/pkg/httpapi"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/services/oauth/internal/asked"
	"github.com/primezap/primezap/services/oauth/internal/callback"
	"github.com/primezap/primezap/services/oauth/internal/consent"
	"github.com/primezap/primezap/services/oauth/internal/facebook"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
	"github.com/primezap/primezap/services/oauth/internal/pages"
	"github.com/primezap/primezap/services/oauth/internal/withdrawal"
)

// Deps are what a server works with. It closes none of them.
type Deps struct {
	Store   *store.Store // as the api's role
	Vault   *vault.Vault
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// Server is the service without its listener.
type Server struct {
	*httpapi.Server
	cfg   Config
	deps  Deps
	graph *meta.Client
}

// New makes a server.
func New(cfg Config, deps Deps) (*Server, error) {
	graph, err := meta.NewClient(cfg.Meta)
	if err != nil {
		return nil, fmt.Errorf("client of the Graph API: %w", err)
	}
	known, tenants := access.NewKeys(deps.Store, time.Now), access.NewTenants(deps.Store, time.Now)
	server, err := httpapi.New(httpapi.Options{
		Service: "oauth", Contract: contract.OpenAPI, Origins: cfg.CORSOrigins, Keys: known, Tokens: auth.NewTokens(cfg.JWT, deps.Log),
		Tenants: tenants, Metrics: deps.Metrics, Log: deps.Log,
	})
	if err != nil {
		return nil, err
	}
	s := &Server{Server: server, cfg: cfg, deps: deps, graph: graph}
	app, err := login.New(cfg.Login, cfg.Meta, graph, time.Now)
	if err != nil {
		return nil, fmt.Errorf("log in to Facebook: %w", err)
	}
	missing := cfg.Login.Missing(&cfg.Meta)
	var states *login.States
	if len(missing) > 0 {
		deps.Log.Info("nobody can log in to Facebook: settings are missing", "settings", strings.Join(missing, ", "))
	} else if states, err = login.NewStates(cfg.Login.StateKey, time.Now); err != nil {
		return nil, fmt.Errorf("log in to Facebook: %w", err)
	}
	inserter, err := jobs.NewInserter()
	if err != nil {
		return nil, err
	}
	connector := &connection.Connector{
		Vault: deps.Vault, Limiter: ratelimit.New(deps.Store, cfg.RateLimits), Jobs: inserter, Max: cfg.MaxConnections,
	}
	logins := &consent.Service{
		Login: cfg.Login, App: app, States: states, Store: deps.Store, Vault: deps.Vault, Connector: connector,
		Simulated: cfg.Simulated, Times: consent.DefaultTimes(),
	}
	connected := &pages.Service{
		AppID: cfg.Login.AppID, App: app, Store: deps.Store, Vault: deps.Vault, Connector: connector,
		Renewer: &renewal.Renewer{Store: deps.Store, Vault: deps.Vault, App: app},
	}
	landing, err := callback.New(cfg.CORSOrigins)
	if err != nil {
		return nil, err
	}
	takenBack := &withdrawal.Service{Store: deps.Store, Jobs: inserter, Secrets: cfg.Meta.Secrets(), PublicURL: cfg.PublicURL}
	actions := slices.Concat(logins.Actions(), connected.Actions())
	h := handlers{facebook.New(missing, cfg.ActionsPerMinute, actions...), landing, takenBack}
	operations := s.Operations()
	for _, id := range []string{"facebookOAuth", "facebookOAuthFunction"} {
		operations[id] = slices.Concat([]echo.MiddlewareFunc{facebook.Private}, operations[id])
	}
	for _, id := range []string{"deauthorizeFacebook", "deleteFacebookData"} {
		operations[id] = append(operations[id], withdrawal.Form, asked.Middleware)
	}
	for _, id := range []string{"facebookCallback", "facebookCallbackInEnglish", "getFacebookDataDeletion"} {
		operations[id] = append(operations[id], asked.Middleware)
	}
	server.ServeOperations(s.Ready)
	strict := openapi.NewStrictHandler(h, nil)
	openapi.RegisterHandlersWithOptions(s.Router(), strict, openapi.RegisterHandlersOptions{OperationMiddlewares: operations})
	headers := openapi.ServerInterfaceWrapper{Handler: strict} // of the pages: their GET without what is to be read
	s.Router().HEAD("/integracoes/facebook/callback", headers.FacebookCallback, operations["facebookCallback"]...)
	s.Router().HEAD("/oauth/facebook/callback", headers.FacebookCallbackInEnglish, operations["facebookCallbackInEnglish"]...)
	s.Router().HEAD("/oauth/facebook/data-deletion/:code", headers.GetFacebookDataDeletion, operations["getFacebookDataDeletion"]...)
	return s, nil
}

// handlers implements the contract, a room for each subject.
type handlers struct {
	*facebook.Service
	*callbackPage
	*withdrawals
}

type (
	callbackPage = callback.Service
	withdrawals  = withdrawal.Service
)

// Ready says why requests cannot be served now, nil if they can.
func (s *Server) Ready(ctx context.Context) error {
	if missing := s.cfg.Login.Missing(&s.cfg.Meta); len(missing) > 0 {
		return facebook.NotConfigured(missing)
	}
	if err := s.deps.Store.Ping(ctx); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return nil
}

// Close ends the connections to Meta.
func (s *Server) Close() { s.graph.Close() }
