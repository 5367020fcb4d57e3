package testenv

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/testcontainers/testcontainers-go"
	tcpostgres "github.com/testcontainers/testcontainers-go/modules/postgres"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/primezap/primezap/pkg/localnats"
	"github.com/primezap/primezap/pkg/localpg"
)

// The images, unless TEST_POSTGRES_IMAGE and TEST_NATS_IMAGE name others.
const (
	postgresImage = localpg.DefaultImage
	natsImage     = "nats:2.15-alpine"
)

func postgresContainer(ctx context.Context) (source, super string, err error) {
	image := cmp.Or(os.Getenv("TEST_POSTGRES_IMAGE"), postgresImage)
	container, err := tcpostgres.Run(ctx, image,
		tcpostgres.WithUsername(localpg.Superuser), tcpostgres.WithPassword("test"), tcpostgres.WithDatabase("postgres"),
		// Texts sort by code point, as in the local servers.
		testcontainers.WithEnv(map[string]string{"POSTGRES_INITDB_ARGS": "--locale=C"}),
		testcontainers.WithCmdArgs("-c", "max_connections="+maxConnections, "-c", "full_page_writes=off", "-c", "autovacuum_naptime=3s"),
		tcpostgres.BasicWaitStrategies())
	if container != nil {
		atEnd(func(ctx context.Context) error { return container.Terminate(ctx) })
	}
	if err != nil {
		return "", "", fmt.Errorf("container of %s: %w", image, err)
	}
	super, err = container.ConnectionString(ctx, "sslmode=disable")
	return "container of " + image, super, err
}

func natsContainer(ctx context.Context) (*natsServer, error) {
	image := cmp.Or(os.Getenv("TEST_NATS_IMAGE"), natsImage)
	accounts, users := newAccounts()
	container, err := testcontainers.Run(ctx, image,
		testcontainers.WithFiles(testcontainers.ContainerFile{
			Reader: strings.NewReader(localnats.Accounts(users)), ContainerFilePath: "/accounts.conf", FileMode: 0o644,
		}),
		testcontainers.WithCmd("-c", "/accounts.conf", "-a", "0.0.0.0", "-p", "4222", "-m", "8222", "-js", "-sd", "/data"),
		testcontainers.WithExposedPorts("4222/tcp", "8222/tcp"),
		testcontainers.WithWaitStrategy(wait.ForHTTP("/healthz").WithPort("8222/tcp")))
	if container != nil {
		atEnd(func(ctx context.Context) error { return container.Terminate(ctx) })
	}
	if err != nil {
		return nil, fmt.Errorf("container of %s: %w", image, err)
	}
	host, err := container.PortEndpoint(ctx, "4222/tcp", "")
	if err != nil {
		return nil, fmt.Errorf("container of %s: %w", image, err)
	}
	return accounts.at("container of "+image, host), nil
}
