// Command standalone runs all of PrimeZap Integrations in one process, with a
// nats-server and a Postgres of its own: what `make run` starts.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/telemetry"
)

func main() {
	uuid.EnableRandPool() // ids are no secrets; here, as nothing else runs yet
	var cfg Config
	config.ParseOrExit(&cfg)
	log := telemetry.NewLogger(os.Stderr, cfg.Log)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := Run(ctx, cfg, log, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "standalone:", err)
		os.Exit(1) //nolint:gocritic // the signal handler goes with the process
	}
}
