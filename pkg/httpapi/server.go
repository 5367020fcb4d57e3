// Package httpapi is what the HTTP services have in common: who may do what by the
// contract, how errors are answered, bounds of time and size, metrics, and an end
// that finishes what was begun.
package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/strict"
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
)

// Tenants says which tenants are no more.
type Tenants interface {
	// Refuse returns a problem if the tenant was deleted.
	Refuse(ctx context.Context, tenant uuid.UUID) error
}

// Options are what a server is made of. It closes none of them.
type Options struct {
	Service  string   // its name in metrics
	Contract []byte   // OpenAPI in YAML
	Origins  []string // whose pages may call it; "*" for all
	Keys     auth.Lookup
	Tokens   *auth.Tokens
	Tenants  Tenants
	Metrics  prometheus.Registerer
	Log      *slog.Logger
}

// Server serves operations of a contract. Those it gets by Router, with the
// middlewares that Operations has for each.
type Server struct {
	echo       *echo.Echo
	document   []byte
	operations map[string][]echo.MiddlewareFunc
	tokens     *auth.Tokens
	log        *slog.Logger
}

// New makes a server without operations. The error is the contract's.
func New(o Options) (*Server, error) {
	doc, err := readContract(o.Contract)
	if err != nil {
		return nil, err
	}
	e := echo.New()
	e.Binder = strict.Binder{}
	e.HTTPErrorHandler = problem.ErrorHandler(o.Log, explain)
	e.Use(
		requestID,
		observe(newRequestMetrics(o.Metrics, o.Service), o.Log),
		cors(o.Origins),
		recovering(),
		timed,
	)
	authenticate := auth.Middleware(o.Keys, o.Tokens)
	each := make(map[string][]echo.MiddlewareFunc)
	for id, op := range doc.operations {
		each[id] = append(each[id], sized(cmp.Or(op.maxBody, maxBody)))
		if !op.public {
			each[id] = append(each[id], authenticate, living(o.Tenants), scoped(op.scopes))
		}
		if !op.open {
			each[id] = append(each[id], known(op.queries))
		}
	}
	return &Server{echo: e, document: doc.json, operations: each, tokens: o.Tokens, log: o.Log}, nil
}

// Router is where operations are registered.
func (s *Server) Router() *echo.Echo { return s.echo }

// Operations are the middlewares of each operation, by its id.
func (s *Server) Operations() map[string][]echo.MiddlewareFunc { return s.operations }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// Serve answers requests on listener until ctx ends, as the function Serve does.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	return s.While(ctx, func(ctx context.Context) error { return Serve(ctx, listener, s, s.log) })
}

// While keeps the keys that tokens are signed with up to date for as long as serve
// runs. Serve does it by itself; who serves s by other means does it by While.
func (s *Server) While(ctx context.Context, serve func(context.Context) error) error {
	reading, stop := context.WithCancel(ctx)
	var tokens sync.WaitGroup
	tokens.Go(func() { s.tokens.Run(reading) })
	defer tokens.Wait()
	defer stop()
	return serve(ctx)
}

// Serve lets handler answer requests on listener until ctx ends, within the bounds of
// all services, then has it finish those it has, for 5 s at most. It closes listener.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what clients do to their connections
	}
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
		log.Warn("requests were cut off at shutdown", "error", errors.Join(err, server.Close()))
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// ValidateOrigin reports what is neither an origin nor "*".
func ValidateOrigin(origin string) error {
	u, err := url.Parse(origin)
	if origin != "*" && (err != nil || u.Host == "" || origin != u.Scheme+"://"+u.Host) {
		return fmt.Errorf("%q is neither * nor an origin like https://app.example.com", origin)
	}
	return nil
}
