package telemetry_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/telemetry"
)

// serveAdmin runs an admin server until the test ends, and returns its URL.
func serveAdmin(t *testing.T, cfg telemetry.AdminConfig) string {
	t.Helper()
	cfg.Addr = "127.0.0.1:0"
	cfg.Log = slog.New(slog.DiscardHandler)
	if cfg.Metrics == nil {
		cfg.Metrics = telemetry.NewRegistry()
	}
	admin, err := telemetry.ListenAdmin(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- admin.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v, want nil after its context", err)
		}
	})
	return "http://" + admin.Addr().String()
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestAdmin_Serves(t *testing.T) {
	t.Parallel()
	registry := telemetry.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "primezap_test_total", Help: "Test."})
	registry.MustRegister(counter)
	counter.Add(3)
	url := serveAdmin(t, telemetry.AdminConfig{Metrics: registry})
	for path, want := range map[string]string{
		"/metrics":             "primezap_test_total 3\n",
		"/metrics?":            "go_goroutines ",
		"/healthz":             "ok\n",
		"/readyz":              "ready\n",
		"/debug/pprof/":        "heap",
		"/debug/pprof/cmdline": "telemetry.test",
		"/debug/pprof/symbol":  "num_symbols",
	} {
		if status, body := get(t, url+path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("GET %s: %d %.200q, want 200 with %q", path, status, body, want)
		}
	}
	if status, _ := get(t, url+"/"); status != http.StatusNotFound {
		t.Errorf("GET /: %d, want 404", status)
	}
}

func TestAdmin_Readyz(t *testing.T) {
	t.Parallel()
	deadline := make(chan bool, 1)
	url := serveAdmin(t, telemetry.AdminConfig{Ready: func(ctx context.Context) error {
		_, bounded := ctx.Deadline()
		deadline <- bounded
		return errors.New("postgres: connection refused")
	}})
	if status, body := get(t, url+"/readyz"); status != http.StatusServiceUnavailable || body != "not ready: postgres: connection refused\n" {
		t.Errorf("GET /readyz: %d %q, want 503 with the reason", status, body)
	}
	if !<-deadline {
		t.Error("the check may take as long as it likes")
	}
	if status, _ := get(t, url+"/healthz"); status != http.StatusOK {
		t.Errorf("GET /healthz: %d, want 200: a restart would not help", status)
	}
}

func TestAdmin_RunReturnsTheAddress(t *testing.T) {
	t.Parallel()
	admin, err := telemetry.ListenAdmin(t.Context(), telemetry.AdminConfig{
		Addr: "127.0.0.1:0", Metrics: telemetry.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := admin.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	again, err := new(net.ListenConfig).Listen(t.Context(), "tcp", admin.Addr().String())
	if err != nil {
		t.Fatalf("the address is still taken: %v", err)
	}
	again.Close()
}

func TestAdmin_Beside(t *testing.T) {
	t.Parallel()
	listen := func(t *testing.T) *telemetry.Admin {
		t.Helper()
		admin, err := telemetry.ListenAdmin(t.Context(), telemetry.AdminConfig{
			Addr: "127.0.0.1:0", Metrics: telemetry.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		return admin
	}
	broken := errors.New("broken")

	t.Run("is seen until the work has ended", func(t *testing.T) {
		t.Parallel()
		admin := listen(t)
		ctx, stop := context.WithCancel(t.Context())
		err := admin.Beside(ctx, func(ctx context.Context) error {
			stop()
			<-ctx.Done()
			if status, _ := get(t, "http://"+admin.Addr().String()+"/healthz"); status != http.StatusOK { //nolint:contextcheck // the test's own; that of the work has ended
				t.Errorf("while the work ends, /healthz answers %d", status)
			}
			return broken
		})
		if !errors.Is(err, broken) {
			t.Errorf("Beside = %v, want the work's error", err)
		}
	})

	t.Run("does not go on working unseen", func(t *testing.T) {
		t.Parallel()
		admin := listen(t)
		gone, stop := context.WithCancel(t.Context())
		stop()
		if err := admin.Run(gone); err != nil { // its address is given back
			t.Fatal(err)
		}
		err := admin.Beside(t.Context(), func(ctx context.Context) error {
			<-ctx.Done()
			return nil
		})
		if err == nil || !strings.HasPrefix(err.Error(), "admin: serve: ") {
			t.Errorf("Beside = %v, want why it could not be seen", err)
		}
	})
}

func TestListenAdmin_TakenAddress(t *testing.T) {
	t.Parallel()
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = telemetry.ListenAdmin(t.Context(), telemetry.AdminConfig{Addr: taken.Addr().String()})
	if err == nil || !strings.HasPrefix(err.Error(), "admin: listen: ") {
		t.Errorf("error %v, want one that says what was tried", err)
	}
}
