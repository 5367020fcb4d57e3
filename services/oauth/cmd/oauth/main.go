// Command oauth connects pages and accounts by Facebook Login. `oauth --help` prints its settings.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/telemetry"
	"github.com/primezap/primezap/services/oauth"
)

func main() {
	var cfg oauth.Config
	config.ParseOrExit(&cfg)
	log := telemetry.NewLogger(os.Stderr, cfg.Log)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := oauth.Run(ctx, cfg, log); err != nil {
		fmt.Fprintln(os.Stderr, "oauth:", err)
		os.Exit(1) //nolint:gocritic // the signal handler goes with the process
	}
}
