package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/egress"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/services/api/internal/audit"
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
	"github.com/primezap/primezap/services/api/internal/strict"
	"github.com/primezap/primezap/services/api/internal/webhooks"
)

const (
	maxBody   = 1 << 20  // of a request, where the contract says nothing else
	maxHeader = 32 << 10 // all headers of a request

	// The slowest operation, a test call, answers within 35 s.
	requestTimeout = 40 * time.Second
	readTimeout    = 30 * time.Second
	writeTimeout   = 50 * time.Second
	idleTimeout    = 2 * time.Minute

	shutdownTimeout = 5 * time.Second // standalone ends within 10 s, Postgres last

	databaseAway = 2 * time.Second // until a client should come again
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
	deps    Deps
	js      jetstream.JetStream
	echo    *echo.Echo
	tokens  *auth.Tokens
	tenants *privacy.Tenants
	graph   *meta.Client
}

// New makes a server. Of cfg it reads what concerns requests: origins, tokens, the
// egress policy, limits, classes.
func New(cfg Config, deps Deps) (*Server, error) {
	doc, err := readContract()
	if err != nil {
		return nil, err
	}
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
	known := remember(lookup{deps.Store}, time.Now)
	s := &Server{deps: deps, js: js, echo: echo.New(), tokens: auth.NewTokens(cfg.JWT, deps.Log), tenants: privacy.NewTenants(deps.Store, time.Now), graph: graph}
	s.routes(cfg, doc, auth.Middleware(known, s.tokens), handlers{
		Service: &webhooks.Service{
			Store: deps.Store, Vault: deps.Vault, NATS: deps.NATS,
			Policy: egress.Policy{AllowHTTP: cfg.AllowHTTP, AllowCIDRs: cfg.AllowCIDRs}, Max: cfg.MaxWebhooks,
			Jobs: inserter,
		},
		events: &ingest.Service{
			Store: deps.Store, Publisher: publisher, Classes: ingest.NewClasses(cfg.LiveRate, cfg.LiveBurst),
			Tenants: s.tenants, Limit: ingest.NewLimit(cfg.MaxRate),
			Metrics: ingest.NewMetrics(deps.Metrics), Log: deps.Log,
		},
		eventLog:    &eventlog.Service{Store: deps.Store, JetStream: js},
		forgetting:  &privacy.Service{Store: deps.Store, JetStream: js, Jobs: inserter, Deleted: func() { known.forget(); s.tenants.Forget() }},
		auditLog:    &audit.Service{Store: deps.Store},
		access:      &keys.Service{Store: deps.Store, Max: cfg.MaxAPIKeys, Revoked: known.forget},
		rateLimits:  &limits.Service{Store: deps.Store, Limiter: limiter},
		metaUpdates: inbound.New(deps.Store, cfg.Meta, s.tenants, deps.Metrics, deps.Log),
		connected:   &connections.Service{Store: deps.Store, Vault: deps.Vault, Meta: graph, Limiter: limiter, Max: cfg.MaxConnections},
		contactBook: &contacts.Service{Store: deps.Store},
		inbox:       &conversations.Service{Store: deps.Store},
		operations:  operations{ready: s.Ready, document: doc.json},
	})
	return s, nil
}

type (
	events      = ingest.Service
	eventLog    = eventlog.Service
	access      = keys.Service
	auditLog    = audit.Service
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
	*access
	*forgetting
	*rateLimits
	*metaUpdates
	*connected
	*contactBook
	*inbox
	operations
}

func (s *Server) routes(cfg Config, doc document, authenticate echo.MiddlewareFunc, h openapi.StrictServerInterface) {
	e := s.echo
	e.Binder = strict.Binder{}
	e.HTTPErrorHandler = problem.ErrorHandler(s.deps.Log, explain)
	e.Use(
		requestID,
		observe(newRequestMetrics(s.deps.Metrics), s.deps.Log),
		cors(cfg.CORSOrigins),
		recovering(),
		timed,
	)
	each := make(map[string][]echo.MiddlewareFunc)
	for id, op := range doc.operations {
		each[id] = append(each[id], sized(cmp.Or(op.maxBody, maxBody)))
		if !op.public {
			each[id] = append(each[id], authenticate, living(s.tenants), scoped(op.scopes))
		}
		each[id] = append(each[id], known(op.queries))
	}
	openapi.RegisterHandlersWithOptions(e, openapi.NewStrictHandler(h, nil), openapi.RegisterHandlersOptions{OperationMiddlewares: each})
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

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

// Serve answers requests on listener until ctx ends, then finishes those it has,
// for 5 s at most. It closes listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.deps.Log.Handler(), slog.LevelDebug), // what clients do to their connections
	}
	reading, stop := context.WithCancel(ctx)
	var tokens sync.WaitGroup
	tokens.Go(func() { s.tokens.Run(reading) })
	defer s.graph.Close()
	defer tokens.Wait()
	defer stop()
	served := make(chan error, 1) // sent once, received once below
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		s.deps.Log.Warn("requests were cut off at shutdown", "error", errors.Join(err, server.Close()))
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// explain turns errors of the layers below into what a client can act on.
func explain(err error) *problem.Problem {
	if errors.Is(err, store.ErrNotFound) {
		return problem.NotFound("there is nothing with this id").WithCause(err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return problem.Unavailable(databaseAway, "the request took too long").WithCause(err)
	}
	_, refused := errors.AsType[*pgconn.ConnectError](err)
	_, broken := errors.AsType[*net.OpError](err)
	if refused || broken || pgconn.SafeToRetry(err) || errors.Is(err, io.ErrUnexpectedEOF) {
		return problem.Unavailable(databaseAway, "the database cannot be reached").WithCause(err)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && away(pg.Code) {
		return problem.Unavailable(databaseAway, "the database is busy or restarting").WithCause(err)
	}
	return nil
}

// away tells the SQLSTATEs of a server that cannot serve just now: lack of
// resources, an operator's shutdown, a statement that took too long.
func away(code string) bool {
	switch code[:min(2, len(code))] {
	case "08", "53", "57":
		return true
	}
	return false
}

func recovering() echo.MiddlewareFunc {
	return middleware.RecoverWithConfig(middleware.RecoverConfig{
		// The stack goes into the error, which is logged once, as any 500 is.
		LogErrorFunc: func(_ echo.Context, err error, stack []byte) error {
			return fmt.Errorf("panic: %w\n%s", err, stack)
		},
	})
}
