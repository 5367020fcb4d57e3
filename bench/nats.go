package main

import (
	"log/slog"
	"net/http"
	"os"

	"github.com/primezap/primezap/pkg/localnats"
)

// natsSettings are those of the role nats.
type natsSettings struct {
	Dir   string           `json:"dir"`
	Users []localnats.User `json:"users"` // with passwords
}

// natsReady says where it listens.
type natsReady struct {
	Address string `json:"address"`
}

// startNATS is the role nats: a nats-server as the product embeds it.
func startNATS(s natsSettings, _ *http.ServeMux) (natsReady, func() error, error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	server, err := localnats.Start(localnats.Config{Dir: s.Dir, Users: s.Users, Log: log})
	if err != nil {
		return natsReady{}, nil, err
	}
	return natsReady{server.Address()}, server.Stop, nil
}
