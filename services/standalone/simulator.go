package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta/metatest"
)

// What the ready line says of Meta.
const (
	metaSimulated  = "simulated"
	metaConfigured = "configured"
)

// webhookPath is where the api takes what Meta tells.
const webhookPath = "/webhooks/meta"

// simulator is a Meta of this process alone.
type simulator struct {
	server *metatest.Server
	url    string
}

// startSimulator starts a simulated Meta and points cfg's api at it, where no
// credentials of the real one are set; else it returns nil. Nothing of it outlives
// the process but its secrets, with which webhooks stay valid.
func startSimulator(ctx context.Context, cfg *Config, k keys, log *slog.Logger) (*simulator, error) {
	if len(cfg.API.Meta.Secrets()) > 0 {
		return nil, nil //nolint:nilnil // there is none, as asked
	}
	server := metatest.New(metatest.Config{
		AppSecret: k.MetaAppSecret, VerifyToken: k.MetaVerifyToken, Limits: metatest.DocumentedLimits(), Log: log,
		Quirks: metatest.Quirks{PageSize: 10}, // so that lists have more than one page
	})
	baseURL, err := server.Listen(ctx, cfg.SimulatorAddr)
	if err != nil {
		server.Close()
		return nil, fmt.Errorf("META_SIMULATOR_ADDR: %w", err)
	}
	cfg.API.Meta.AppSecrets, cfg.API.Meta.VerifyToken = config.List{k.MetaAppSecret}, k.MetaVerifyToken
	cfg.API.Meta.GraphURL = baseURL
	log.Warn("Meta is SIMULATED, as neither META_APP_SECRETS nor FACEBOOK_APP_SECRET is set: nothing reaches WhatsApp, Messenger or Instagram", "url", baseURL)
	return &simulator{server, baseURL}, nil
}

// tell completes the ready line, and has webhooks go to the api.
func (s *simulator) tell(line *ready) {
	if s == nil {
		line.Meta = metaConfigured
		return
	}
	line.Meta, line.MetaSimulator = metaSimulated, s.url
	s.server.SetCallback(line.URL + webhookPath)
}

func (s *simulator) close() {
	if s != nil {
		s.server.Close()
	}
}

// checkLoopback refuses an address that others could reach: whoever reaches the
// simulator may play anybody.
func checkLoopback(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return errors.New("must be host and port")
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return errors.New("must be of this machine alone, such as 127.0.0.1:8090")
	}
	return nil
}
