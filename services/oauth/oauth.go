// Package oauth is the service by which customers connect Facebook pages and Instagram
// accounts: they log in to Facebook in a pop-up, and what they allow there becomes
// connections.
//
// Any number of processes serve the same. Each keeps for itself only how often each
// tenant called, which keys it found valid in the last second, and which tenants live.
// It needs Postgres and Meta, and nothing else: events leave by the outbox.
package oauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

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

	registry := telemetry.NewRegistry()
	var metrics prometheus.Registerer = registry
	if cfg.Metrics != nil {
		metrics = cfg.Metrics
	}
	server, err := New(cfg, Deps{Store: database, Vault: keys, Metrics: metrics, Log: log}) //nolint:contextcheck // requests bring their own
	if err != nil {
		return err
	}
	defer server.Close()
	if cfg.Serve != nil {
		return server.While(ctx, func(ctx context.Context) error { return cfg.Serve(ctx, server) })
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.HTTPAddr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	admin, err := telemetry.ListenAdmin(ctx, telemetry.AdminConfig{Addr: cfg.AdminAddr, Metrics: registry, Log: log, Ready: server.Ready})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	return admin.Beside(ctx, func(ctx context.Context) error {
		log.Info("oauth ready", "address", listener.Addr().String())
		err := server.Serve(ctx, listener)
		log.Info("oauth stopped")
		return err
	})
}
