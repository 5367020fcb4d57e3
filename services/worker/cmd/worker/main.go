// Command worker runs the worker service. --help lists its settings.
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
	"github.com/primezap/primezap/services/worker"
)

func main() {
	tuneGC()
	uuid.EnableRandPool() // ids are no secrets; not in Run, which may share its process
	var cfg worker.Config
	config.ParseOrExit(&cfg)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := worker.Run(ctx, cfg, telemetry.NewLogger(os.Stderr, cfg.Log)); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1) //nolint:gocritic // the signal handler goes with the process
	}
}
