// Package worker delivers events to customers' webhooks.
//
//	intake ─► match ─► dispatch ─► attempt ─► ledger ─► ack
//	                      ▲
//	          lanes ──────┘   (due rows of the queue in Postgres)
//	            ▲
//	          health         (recovers, warns, disables: what the ledger found)
//
// The stream owns an event until the ledger has its entry; from then on each
// delivery that is not done is a row of the queue. Both survive this process.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/telemetry"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/dispatch"
	"github.com/primezap/primezap/services/worker/endpoint"
	"github.com/primezap/primezap/services/worker/health"
	"github.com/primezap/primezap/services/worker/intake"
	"github.com/primezap/primezap/services/worker/jobs"
	"github.com/primezap/primezap/services/worker/lanes"
	"github.com/primezap/primezap/services/worker/ledger"
	"github.com/primezap/primezap/services/worker/match"
	"github.com/primezap/primezap/services/worker/outbox"
)

// flushFor is how long the ledger may write on after the last attempt.
const flushFor = 1500 * time.Millisecond

// Run works until ctx ends, then finishes what it began, within the grace
// period, and leaves the rest to others.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	keys, err := vault.Open([]byte(cfg.VaultKeyset))
	if err != nil {
		return fmt.Errorf("VAULT_KEYSET: %w", err)
	}
	database, err := store.Open(ctx, cfg.DatabaseURL, cfg.Connections)
	if err != nil {
		return err
	}
	defer database.Close()
	// Jobs have connections of their own: however long their statements take,
	// deliveries do not wait for one.
	background, err := store.Open(ctx, cfg.DatabaseURL, cfg.Connections)
	if err != nil {
		return err
	}
	defer background.Close()
	nc, err := bus.Connect(cfg.NATSURL, bus.UserWorker, log, cfg.NATSOptions...)
	if err != nil {
		return err
	}
	defer nc.Close()
	graph, err := meta.NewClient(cfg.Meta)
	if err != nil {
		return err
	}
	defer graph.Close()
	app, err := newApp(cfg, graph, log)
	if err != nil {
		return err
	}
	w, err := newWorker(ctx, cfg, log, database, background, nc, keys, app)
	if err != nil {
		return err
	}
	if cfg.Metrics != nil {
		w.register(cfg.Metrics)
		return w.run(ctx)
	}
	registry := telemetry.NewRegistry()
	w.register(registry)
	admin, err := telemetry.ListenAdmin(ctx, telemetry.AdminConfig{Addr: cfg.AdminAddr, Metrics: registry, Log: log, Ready: w.ready})
	if err != nil {
		return err
	}
	return admin.Beside(ctx, w.run)
}

// worker is the parts of a running worker.
type worker struct {
	cfg      Config
	log      *slog.Logger
	database *store.Store
	nc       *nats.Conn
	js       jetstream.JetStream
	pool     *dispatch.Pool
	ledger   *ledger.Ledger
	intake   *intake.Intake
	lanes    *lanes.Claimer
	outbox   *outbox.Relay
	health   *health.Keeper
	jobs     *jobs.Runner
	opener   endpoint.Opener

	repaired prometheus.Counter
}

func newWorker(ctx context.Context, cfg Config, log *slog.Logger, database, background *store.Store, nc *nats.Conn, keys *vault.Vault, app *login.App) (*worker, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("JetStream: %w", err)
	}
	if err := bus.Check(ctx, js); err != nil {
		return nil, err
	}
	publisher, err := bus.NewPublisher(nc)
	if err != nil {
		return nil, err
	}
	w := &worker{
		cfg: cfg, log: log, database: database, nc: nc, js: js, opener: endpoint.NewOpener(keys),
		ledger: ledger.New(database, log),
		repaired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "primezap_lanes_repaired_total", Help: "Lanes that had lost their wake-up; there should be none.",
		}),
	}
	w.pool = dispatch.New(attempt.NewClient(attempt.Config{
		AllowHTTP: cfg.AllowHTTP, AllowCIDRs: cfg.AllowCIDRs, Timeout: cfg.AttemptTimeout,
	}), cfg.Attempts)
	w.intake = intake.New(context.WithoutCancel(ctx), intake.Config{
		JetStream: js, Publisher: publisher, Matcher: match.New(database.Queries(), w.opener, cfg.MatchBytes, log), Pool: w.pool, Ledger: w.ledger,
		Floors: floors{database.Queries()}, Lease: cfg.Lease, Topology: bus.Options{Replicas: replicas(ctx, js), AckWait: cfg.AckWait},
		Log: log,
	})
	w.lanes = lanes.New(lanes.Config{
		Store: database, Pool: w.pool, Bodies: &bodies{js: js}, Opener: w.opener, Results: w.ledger, Lease: cfg.Lease, Log: log,
	}, func(n int) { w.repaired.Add(float64(n)) })
	w.outbox = outbox.New(database, publisher, log)
	w.health = health.New(database, cfg.DisableAfter, log)
	w.ledger.Disable = ledger.Disable{After: cfg.DisableAfter, Exhausted: cfg.DisableExhausted}
	w.ledger.Gone = w.health.Wake
	if w.jobs, err = jobs.New(jobs.Config{
		Store: background, JetStream: js, Vault: keys, AuditRetention: cfg.AuditRetention,
		MessageRetention: time.Duration(cfg.MessageDays) * 24 * time.Hour, Lease: cfg.Lease, App: app, RenewBefore: cfg.RenewBefore, Log: log,
	}); err != nil {
		return nil, err
	}
	return w, nil
}

// newApp is the app that people have logged in to; nil, which it says once, where it is
// not configured.
func newApp(cfg Config, graph *meta.Client, log *slog.Logger) (*login.App, error) {
	if cfg.AppID == "" || cfg.Meta.Secret() == "" {
		log.Info("FACEBOOK_APP_ID or FACEBOOK_APP_SECRET is not set: users' tokens are not renewed, and pages not subscribed again")
		return nil, nil //nolint:nilnil // there is none
	}
	return login.New(cfg.login(), cfg.Meta, graph, time.Now)
}

// run starts every part and stops them in the order of the data's way.
func (w *worker) run(ctx context.Context) error {
	// What finishes work outlives what begins it.
	work, endWork := context.WithCancel(context.WithoutCancel(ctx))
	defer endWork()
	var finishing, beginning sync.WaitGroup
	finishing.Go(func() { w.ledger.Run(work) })
	watch, endWatch := context.WithCancel(work)
	defer endWatch()
	finishing.Go(func() { w.intake.Watch(watch) })

	tests, err := w.answerTests(ctx)
	if err != nil {
		endWork()
		w.ledger.Close()
		finishing.Wait()
		return err
	}
	var jobsErr error
	beginning.Go(func() { w.intake.Run(ctx) })
	beginning.Go(func() { w.lanes.Run(ctx) })
	beginning.Go(func() { w.outbox.Run(ctx) })
	beginning.Go(func() { w.health.Run(ctx) })
	beginning.Go(func() { jobsErr = w.jobs.Run(ctx) })
	w.log.Info("worker ready")
	if w.cfg.Ready != nil {
		w.cfg.Ready(w.ready)
	}
	<-ctx.Done()
	w.log.Info("worker stopping")
	beginning.Wait()

	grace, cancel := context.WithTimeout(work, w.cfg.Grace)
	defer cancel()
	var ending sync.WaitGroup
	ending.Go(func() { tests.stop(grace) })
	ending.Go(func() { w.pool.Close(grace) })
	ending.Wait() // the last outcome has been handed over
	abandon := time.AfterFunc(flushFor, endWork)
	defer abandon.Stop()
	w.intake.Drain()
	w.intake.Wait()
	endWatch()
	w.ledger.Close()
	finishing.Wait()
	if err := w.nc.FlushTimeout(flushFor); err != nil {
		w.log.Warn("acks may be lost; the events come again and are found in the ledger", "error", err)
	}
	w.log.Info("worker stopped")
	return jobsErr
}

// ready is what /readyz asks.
func (w *worker) ready(ctx context.Context) error {
	if !w.nc.IsConnected() {
		return errors.New("NATS is not connected")
	}
	return w.database.Ping(ctx)
}

func (w *worker) register(r prometheus.Registerer) {
	r.MustRegister(w.outbox.Metrics()...)
	r.MustRegister(w.jobs.Metrics()...)
	r.MustRegister(w.repaired,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "primezap_attempts_running", Help: "Attempts in flight.",
		}, func() float64 { return float64(w.pool.Running()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "primezap_events_held", Help: "Events fetched and not yet acked.",
		}, func() float64 { return float64(w.intake.Held()) }),
	)
}

// replicas is how the stream is replicated: a consumer made again is so too.
func replicas(ctx context.Context, js jetstream.JetStream) int {
	stream, err := js.Stream(ctx, bus.StreamEvents)
	if err != nil {
		return 1
	}
	return stream.CachedInfo().Config.Replicas
}
