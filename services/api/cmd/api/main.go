// Command api serves the HTTP API. `api --help` prints its settings.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/telemetry"
	"github.com/primezap/primezap/services/api"
)

func main() {
	var cfg api.Config
	config.ParseOrExit(&cfg)
	log := telemetry.NewLogger(os.Stderr, cfg.Log)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := api.Run(ctx, cfg, log); err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1) //nolint:gocritic // the signal handler goes with the process
	}
}
