package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	contract "github.com/primezap/primezap/api"
	"github.com/primezap/primezap/pkg/access"
	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/egress"
	"github.com/primezap/primezap/pkg/httpapi"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/services/api/internal/auditlog"
	"github.com/primezap/primezap/services/api/internal/connections"
	"github.com/primezap/primezap/services/api/internal/contacts"
	"github.com/primezap/primezap/services/api/internal/conversations"
	"github.com/primezap/primezap/services/api/internal/eventlog"
	"github.com/primezap/primezap/services/api/internal/inbound"
	"github.com/primezap/primezap/services/api/internal/ingest"
	"github.com/primezap/primezap/services/api/internal/keys"
	"github.com/primezap/primezap/services/api/internal/limits"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/privacy"
	"github.com/primezap/primezap/services/api/internal/webhooks"
)

// Deps are what a server works with. It closes none of them.
type Deps struct {
	Store   *store.Store // as the api's role
	Vault   *vault.Vault
	NATS    *nats.Conn // as the api's user
	Metrics prometheus.Registerer
	Log     *slog.Logger
}

// Server is the service without its listener.
type Server struct {
	*httpapi.Server
	deps  Deps
	js    jetstream.JetStream
	graph *meta.Client
}

// New makes a server. Of cfg it reads what concerns requests: origins, tokens, the
// egress policy, limits, classes.
func New(cfg Config, deps Deps) (*Server, error) {
	js, err := jetstream.New(deps.NATS)
	if err != nil {
		return nil, fmt.Errorf("JetStream: %w", err)
	}
	publisher, err := bus.NewPublisher(deps.NATS)
	if err != nil {
		return nil, err
	}
	inserter, err := jobs.NewInserter()
	if err != nil {
		return nil, err
	}
	graph, err := meta.NewClient(cfg.Meta)
	if err != nil {
		return nil, fmt.Errorf("client of the Graph API: %w", err)
	}
	limiter := ratelimit.New(deps.Store, cfg.RateLimits)
	known, tenants := access.NewKeys(deps.Store, time.Now), access.NewTenants(deps.Store, time.Now)
	server, err := httpapi.New(httpapi.Options{
		Service: "api", Contract: contract.OpenAPI, Origins: cfg.CORSOrigins, Keys: known, Tokens: auth.NewTokens(cfg.JWT, deps.Log),
		Tenants: tenants, Metrics: deps.Metrics, Log: deps.Log,
	})
	if err != nil {
		return nil, err
	}
	s := &Server{Server: server, deps: deps, js: js, graph: graph}
	h := handlers{
		Service: &webhooks.Service{
			Store: deps.Store, Vault: deps.Vault, NATS: deps.NATS,
			Policy: egress.Policy{AllowHTTP: cfg.AllowHTTP, AllowCIDRs: cfg.AllowCIDRs}, Max: cfg.MaxWebhooks,
			Jobs: inserter,
		},
		events: &ingest.Service{
			Store: deps.Store, Publisher: publisher, Classes: ingest.NewClasses(cfg.LiveRate, cfg.LiveBurst),
			Tenants: tenants, Limit: ingest.NewLimit(cfg.MaxRate),
			Metrics: ingest.NewMetrics(deps.Metrics), Log: deps.Log,
		},
		eventLog:    &eventlog.Service{Store: deps.Store, JetStream: js},
		forgetting:  &privacy.Service{Store: deps.Store, JetStream: js, Jobs: inserter, Deleted: func() { known.Forget(); tenants.Forget() }},
		auditLog:    &auditlog.Service{Store: deps.Store},
		apiKeys:     &keys.Service{Store: deps.Store, Max: cfg.MaxAPIKeys, Revoked: known.Forget},
		rateLimits:  &limits.Service{Store: deps.Store, Limiter: limiter},
		metaUpdates: inbound.New(deps.Store, cfg.Meta, tenants, deps.Metrics, deps.Log),
		connected:   &connections.Service{Store: deps.Store, Vault: deps.Vault, Meta: graph, Limiter: limiter, Max: cfg.MaxConnections},
		contactBook: &contacts.Service{Store: deps.Store},
		inbox:       &conversations.Service{Store: deps.Store},
	}
	server.ServeOperations(s.Ready)
	openapi.RegisterHandlersWithOptions(s.Router(), openapi.NewStrictHandler(h, nil), openapi.RegisterHandlersOptions{OperationMiddlewares: s.Operations()})
	return s, nil
}

type (
	events      = ingest.Service
	eventLog    = eventlog.Service
	apiKeys     = keys.Service
	auditLog    = auditlog.Service
	forgetting  = privacy.Service
	rateLimits  = limits.Service
	metaUpdates = inbound.Service
	connected   = connections.Service
	contactBook = contacts.Service
	inbox       = conversations.Service
)

// handlers implements the contract, a room for each subject.
type handlers struct {
	*webhooks.Service
	*events
	*eventLog
	*auditLog
	*apiKeys
	*forgetting
	*rateLimits
	*metaUpdates
	*connected
	*contactBook
	*inbox
}

// Ready says why requests cannot be served now, nil if they can.
func (s *Server) Ready(ctx context.Context) error {
	if err := s.deps.Store.Ping(ctx); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	if !s.deps.NATS.IsConnected() {
		return errors.New("NATS is not connected")
	}
	return s.checkTopology(ctx)
}

func (s *Server) checkTopology(ctx context.Context) error { return bus.Check(ctx, s.js) }

// Close ends the connections to Meta.
func (s *Server) Close() { s.graph.Close() }
