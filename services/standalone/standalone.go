package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/primezap/primezap/db"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/telemetry"
	"github.com/primezap/primezap/services/api"
	"github.com/primezap/primezap/services/oauth"
	"github.com/primezap/primezap/services/worker"
)

// A supervisor waits ten seconds for an end. Nothing is lost with what has not
// ended by then: its next start recovers.
const (
	servicesStopFor = 7 * time.Second
	serversStopFor  = 8500 * time.Millisecond // also counted from the first moment
)

var errEnded = errors.New("ended by itself")

// ready is the line printed when everything answers.
type ready struct {
	Ready         bool      `json:"ready"`
	URL           string    `json:"url"`
	APIKey        string    `json:"apiKey"`
	Tenant        uuid.UUID `json:"tenantId"`
	Meta          string    `json:"meta"` // simulated or configured
	MetaSimulator string    `json:"metaSimulator,omitempty"`
}

// Run runs everything until asked ends or a part fails. When everything answers
// it writes one line of JSON to out. To be asked to end is no error, however
// early.
func Run(asked context.Context, cfg Config, log *slog.Logger, out io.Writer) (err error) {
	began := time.Now()
	unlock, err := lockDir(asked, cfg.DataDir)
	if err != nil {
		return unless(asked, err)
	}
	defer unlock()
	k, err := loadKeys(cfg.DataDir)
	if err != nil {
		return err
	}
	if cfg.APIKey != "" {
		k.APIKey = cfg.APIKey
	}
	if cfg.VaultKeyset != "" {
		k.VaultKeyset = json.RawMessage(cfg.VaultKeyset)
	}

	ctx, end := context.WithCancel(asked) // ends also when a part has failed
	stopping, stopped := after(ctx, serversStopFor)
	defer stopped()
	s, err := startServers(ctx, cfg, k, log)
	defer func() {
		end()
		err = errors.Join(err, s.stop(stopping))
	}()
	if err != nil {
		return unless(asked, err)
	}
	if k.Tenant, err = s.prepare(ctx, cfg, k); err != nil {
		return unless(asked, err)
	}
	entry, err := listen(ctx, cfg.API.HTTPAddr, log)
	if err != nil {
		return unless(asked, err)
	}
	defer entry.close()
	cfg.completeLogin(k, entry.url())
	simulated, err := startSimulator(ctx, &cfg, k, entry.url(), log)
	if err != nil {
		return unless(asked, err)
	}
	defer simulated.close()
	return runServices(ctx, cfg, k, s, entry, log, func() error {
		line := ready{Ready: true, URL: entry.url(), APIKey: k.APIKey, Tenant: k.Tenant}
		simulated.tell(&line)
		if err := json.NewEncoder(out).Encode(line); err != nil {
			return fmt.Errorf("print the ready line: %w", err)
		}
		log.Info("standalone ready", "url", line.URL, "took", time.Since(began).Round(time.Millisecond).String())
		return nil
	})
}

// runServices runs api, oauth and worker until ctx ends or one of them fails. Once all
// answer it calls ready.
func runServices(ctx context.Context, cfg Config, k keys, s *servers, entry *front, log *slog.Logger, ready func() error) error {
	registry := telemetry.NewRegistry()
	var readiness telemetry.Readiness
	apiCheck, workerCheck := readiness.Expect("api"), readiness.Expect("worker")
	admin, err := telemetry.ListenAdmin(ctx, telemetry.AdminConfig{Addr: cfg.API.AdminAddr, Metrics: registry, Log: log, Ready: readiness.Ready})
	if err != nil {
		return err
	}
	log.Info("admin ready", "address", admin.Addr().String())

	httpReady, workerReady := make(chan struct{}, 1), make(chan struct{}, 1)
	cfg.API.Log, cfg.OAuth.Log, cfg.Worker.Log = cfg.Log, cfg.Log, cfg.Log
	cfg.API.Metrics, cfg.OAuth.Metrics, cfg.Worker.Metrics = registry, registry, registry
	cfg.API.DatabaseURL, cfg.OAuth.DatabaseURL, cfg.Worker.DatabaseURL = s.database(db.RoleAPI), s.database(db.RoleAPI), s.database(db.RoleWorker)
	cfg.API.NATSURL, cfg.API.NATSOptions = s.bus(bus.UserAPI)
	cfg.Worker.NATSURL, cfg.Worker.NATSOptions = s.bus(bus.UserWorker)
	keyset := string(k.VaultKeyset)
	cfg.API.VaultKeyset, cfg.OAuth.VaultKeyset, cfg.Worker.VaultKeyset = keyset, keyset, keyset
	cfg.API.Serve, cfg.OAuth.Serve = entry.serve(entry.api), entry.serve(entry.oauth)
	cfg.API.Ready = func(_ string, check func(context.Context) error) { apiCheck(check) }
	cfg.Worker.Ready = func(check func(context.Context) error) {
		workerCheck(check)
		workerReady <- struct{}{}
	}

	group, ctx := errgroup.WithContext(ctx)
	run := func(name string, part func() error) {
		group.Go(func() error {
			err := part()
			switch {
			case ctx.Err() == nil && err == nil:
				err = errEnded
			case ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
				return nil // as asked, perhaps before it had begun
			}
			return fmt.Errorf("%s: %w", name, err)
		})
	}
	run("admin", func() error { return admin.Run(ctx) })
	run("postgres", func() error { return s.watch(ctx) })
	run("http", func() error { return entry.run(ctx, httpReady) })
	run("api", func() error { return api.Run(ctx, cfg.API, log) })
	run("oauth", func() error { return oauth.Run(ctx, cfg.OAuth, log) })
	run("worker", func() error { return worker.Run(ctx, cfg.Worker, log) })
	group.Go(func() error {
		for range 2 {
			select {
			case <-httpReady:
			case <-workerReady:
			case <-ctx.Done():
				return nil
			}
		}
		return ready()
	})

	stopping, stopped := after(ctx, servicesStopFor)
	defer stopped()
	ended := make(chan error, 1) // sent once, received at most once below
	go func() { ended <- group.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-stopping.Done():
		log.Warn("services have not stopped in time; what they leave behind goes on at the next start")
		return nil
	}
}

// after returns a context that ends the time d after ctx has.
func after(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(d, cancel)
		context.AfterFunc(later, func() { timer.Stop() })
	})
	return later, func() { stop(); cancel() }
}

// unless drops the error of a start that was given up because asked ended.
func unless(asked context.Context, err error) error {
	if asked.Err() != nil {
		return nil //nolint:nilerr // dropping it is the purpose
	}
	return err
}

// urlOf is the URL of a listener. One on all addresses is reached on this
// machine by a loopback address.
func urlOf(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "http://" + address
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
