package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// roles are the parts that bench is itself, each as a process of its own. A role
// reads its settings as one JSON value from stdin, answers with one line of JSON
// when it is ready, and works until stdin is closed: it ends with its parent,
// however that ends.
var roles = map[string]func() error{
	"nats":  func() error { return serve(startNATS) },
	"sink":  func() error { return serve(startSink) },
	"raw":   func() error { return serve(startRaw) },
	"drive": func() error { return serve(startDriver) },
	"meta":  func() error { return serve(startMeta) },
}

// hello is a role's answer.
type hello[R any] struct {
	Control string `json:"control"` // address of its control port
	Ready   R      `json:"ready"`
}

// serve runs a role: start gets its settings, and the mux of its control port.
func serve[S, R any](start func(S, *http.ServeMux) (ready R, stop func() error, err error)) error {
	signal.Ignore(syscall.SIGINT) // a terminal's goes to all of us; the parent decides
	var settings S
	if err := json.NewDecoder(os.Stdin).Decode(&settings); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	ready, stop, err := start(settings, mux)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(fmt.Errorf("control port: %w", err), stop())
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // ends by Close below
	if err := json.NewEncoder(os.Stdout).Encode(hello[R]{listener.Addr().String(), ready}); err != nil {
		return errors.Join(err, server.Close(), stop())
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, it is the end
	err = server.Close()
	serving.Wait()
	return errors.Join(err, stop())
}

// handle puts an operation on a control port.
func handle[In, Out any](mux *http.ServeMux, path string, do func(context.Context, In) (Out, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out, err := do(r.Context(), in)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(out) // a caller that hung up needs no answer
	})
}

// nothing is the input or output of an operation that has none.
type nothing struct{}

// call asks a role's control port.
func call[Out, In any](ctx context.Context, control, path string, in In) (out Out, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return out, fmt.Errorf("%s: %w", path, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+control+path, bytes.NewReader(body))
	if err != nil {
		return out, fmt.Errorf("%s: %w", path, err)
	}
	answer, err := do(http.DefaultClient, req, http.StatusOK)
	if err != nil {
		return out, fmt.Errorf("%s: %w", path, err)
	}
	if err := json.Unmarshal(answer, &out); err != nil {
		return out, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}

// do makes a request and returns the body of the answer, which must be of status.
func do(client *http.Client, req *http.Request, status int) ([]byte, error) {
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != status {
		return nil, fmt.Errorf("%s %s: %s: %.500s", req.Method, req.URL.Path, resp.Status, body)
	}
	return body, nil
}
