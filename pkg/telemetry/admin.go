package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// adminGrace is how long scrapes and profiles in hand may still take at shutdown.
const adminGrace = time.Second

// readyTimeout bounds one answer of /readyz; probes give up after a few seconds.
const readyTimeout = 3 * time.Second

// AdminConfig describes the admin server of a process.
type AdminConfig struct {
	// Addr is host and port to listen on. Port 0 picks a free one.
	Addr string
	// Metrics are shown at /metrics.
	Metrics prometheus.Gatherer
	// Ready says why the process cannot work now, or nil when it can; it is asked
	// at every GET /readyz, with 3 s to answer. Without it, /readyz always says ready.
	Ready func(context.Context) error
	// Log gets the server's own complaints.
	Log *slog.Logger
}

// Admin serves what operators need and customers must not reach: /metrics,
// /healthz (the process answers), /readyz (it can work) and /debug/pprof. It asks
// for no credentials, so its address belongs on loopback or a private network.
type Admin struct {
	listener net.Listener
	server   *http.Server
}

// ListenAdmin takes the address and serves nothing yet: whoever gets an Admin must
// call Run, which also gives the address back.
func ListenAdmin(ctx context.Context, cfg AdminConfig) (*Admin, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("admin: listen: %w", err)
	}
	mux := http.NewServeMux()
	errorLog := slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn)
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{ErrorLog: errorLog}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeLine(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if cfg.Ready == nil {
			writeLine(w, http.StatusOK, "ready")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if err := cfg.Ready(ctx); err != nil {
			writeLine(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
			return
		}
		writeLine(w, http.StatusOK, "ready")
	})
	// By name: importing pprof also fills http.DefaultServeMux, which nobody serves.
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return &Admin{
		listener: listener,
		// No write timeout: a profile takes as long as its reader asks for.
		server: &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ErrorLog: errorLog},
	}, nil
}

// Addr is the address taken, with the port that was picked.
func (a *Admin) Addr() net.Addr { return a.listener.Addr() }

// Run serves until ctx is cancelled, gives requests in hand one second more, and
// returns nil; or the error for which serving ended by itself.
func (a *Admin) Run(ctx context.Context) error {
	served := make(chan error, 1) // sent once, received once below
	go func() { served <- a.server.Serve(a.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("admin: serve: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), adminGrace)
	defer cancel()
	if err := a.server.Shutdown(grace); err != nil {
		_ = a.server.Close() // a profile is not worth waiting for
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: serve: %w", err)
	}
	return nil
}

// Beside serves while work runs, until it has ended: its end is seen too. When
// serving fails, work is asked to end.
func (a *Admin) Beside(ctx context.Context, work func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1) // sent once, received once below
	go func() {
		served <- a.Run(serving)
		cancel()
	}()
	err := work(ctx)
	stop()
	return errors.Join(err, <-served)
}

func writeLine(w http.ResponseWriter, status int, line string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(line + "\n")) // a probe that hung up needs no answer
}
