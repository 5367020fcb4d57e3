// Package api is the HTTP API: webhooks and what became of their deliveries, and
// the taking of events.
//
// Its interface is generated from the contract (api/openapi.yaml), which also
// says who may call what and which query parameters there are. Any number of
// processes serve the same: each keeps for itself only which keys it found valid in
// the last second, which tenants live, and how much each published.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/telemetry"
	"github.com/primezap/primezap/pkg/vault"
)

// Run serves until ctx ends, then finishes the requests it has, for 5 s at most.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	err := run(ctx, cfg, log)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // asked to end before it had begun
	}
	return err
}

func run(ctx context.Context, cfg Config, log *slog.Logger) error {
	keys, err := vault.Open([]byte(cfg.VaultKeyset))
	if err != nil {
		return fmt.Errorf("VAULT_KEYSET: %w", err)
	}
	database, err := store.Open(ctx, cfg.DatabaseURL, cfg.Connections)
	if err != nil {
		return err
	}
	defer database.Close()
	nc, err := bus.Connect(cfg.NATSURL, bus.UserAPI, log, cfg.NATSOptions...)
	if err != nil {
		return err
	}
	defer nc.Close()

	registry := telemetry.NewRegistry()
	var metrics prometheus.Registerer = registry
	if cfg.Metrics != nil {
		metrics = cfg.Metrics
	}
	server, err := New(cfg, Deps{Store: database, Vault: keys, NATS: nc, Metrics: metrics, Log: log}) //nolint:contextcheck // requests bring their own
	if err != nil {
		return err
	}
	defer server.Close()
	if err := server.checkTopology(ctx); err != nil {
		return err // says what is missing; there is nothing to serve without it
	}
	if cfg.Serve != nil {
		if cfg.Ready != nil {
			cfg.Ready("", server.Ready)
		}
		return server.While(ctx, func(ctx context.Context) error { return cfg.Serve(ctx, server) })
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.HTTPAddr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}

	serve := func(ctx context.Context) error {
		log.Info("api ready", "address", listener.Addr().String())
		if cfg.Ready != nil {
			cfg.Ready(listener.Addr().String(), server.Ready)
		}
		err := server.Serve(ctx, listener)
		log.Info("api stopped")
		return err
	}
	if cfg.Metrics != nil {
		return serve(ctx)
	}
	admin, err := telemetry.ListenAdmin(ctx, telemetry.AdminConfig{Addr: cfg.AdminAddr, Metrics: registry, Log: log, Ready: server.Ready})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	return admin.Beside(ctx, serve)
}
