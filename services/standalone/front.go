package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/primezap/primezap/pkg/gateway"
	"github.com/primezap/primezap/pkg/httpapi"
)

// front is the listener that the HTTP services have in common. Each hands it a handler
// and stays until no request is in hand any more: what a request needs is the service's.
type front struct {
	listener   net.Listener
	log        *slog.Logger
	api, oauth chan http.Handler // each is sent to once, by its service, and received from by run
	done       chan struct{}     // closed by run
}

// listen takes the address and serves nothing yet. The front is to be closed.
func listen(ctx context.Context, address string, log *slog.Logger) (*front, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("HTTP_ADDR: %w", err)
	}
	return &front{
		listener: listener, log: log,
		api: make(chan http.Handler, 1), oauth: make(chan http.Handler, 1), done: make(chan struct{}),
	}, nil
}

// url is where it is reached on this machine.
func (f *front) url() string { return urlOf(f.listener.Addr().String()) }

// serve is a service's way to have its requests answered.
func (f *front) serve(handlers chan<- http.Handler) func(context.Context, http.Handler) error {
	return func(ctx context.Context, handler http.Handler) error {
		handlers <- handler
		<-ctx.Done()
		<-f.done
		return nil
	}
}

// run serves from when all services are there until ctx ends. It says when it begins.
func (f *front) run(ctx context.Context, begins chan<- struct{}) error {
	defer close(f.done)
	var api, oauth http.Handler
	for api == nil || oauth == nil {
		select {
		case api = <-f.api:
		case oauth = <-f.oauth:
		case <-ctx.Done():
			return nil
		}
	}
	begins <- struct{}{}
	return httpapi.Serve(ctx, f.listener, gateway.New(api, oauth), f.log)
}

// close gives the address back; run has, if it served.
func (f *front) close() { _ = f.listener.Close() }
