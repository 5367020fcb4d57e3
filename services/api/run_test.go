package api_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/services/api"
)

// settings are those of a process of its own.
func settings(t *testing.T, database interface{ URL(testenv.Role) string }, account *testenv.Account) api.Config {
	t.Helper()
	keyset, err := vault.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return api.Config{
		HTTPAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", DatabaseURL: database.URL(testenv.API), NATSURL: account.URL(testenv.API),
		VaultKeyset: string(keyset), LiveRate: 200, LiveBurst: 1000, Connections: 2,
	}
}

// running starts Run and returns the address it serves, what cancels it, and its
// result.
func running(t *testing.T, cfg api.Config) (address string, cancel func(), ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	ready, done := make(chan string, 1), make(chan error, 1)
	cfg.Ready = func(address string, _ func(context.Context) error) { ready <- address }
	go func() { done <- api.Run(ctx, cfg, slog.New(slog.DiscardHandler)) }() // every caller receives its result
	select {
	case address = <-ready:
	case err := <-done:
		t.Fatalf("ended before it was ready: %v", err)
	}
	return address, cancel, done
}

// open says whether address takes connections.
func open(t *testing.T, address string) bool {
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func TestRun_ServesUntilCancelled(t *testing.T) {
	t.Parallel()
	cfg := settings(t, testenv.DB(t), testenv.NATS(t))
	cfg.Metrics = prometheus.NewRegistry()
	address, cancel, ended := running(t, cfg)
	res, err := http.Get("http://" + address + "/readyz") //nolint:noctx // the test's end is its end
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("/readyz answers %d", res.StatusCode)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
	if open(t, address) {
		t.Error("the port is still open")
	}
	http.DefaultClient.CloseIdleConnections()
}

// A request that is under way when the process is asked to end gets its answer.
func TestRun_FinishesRequests(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook("")
	address, cancel, ended := running(t, settings(t, f.database, f.account))
	refuse := make(chan struct{}) // closed once the port is
	calls := f.answerTests(func(bus.TestCall) any {
		<-refuse
		return bus.TestResult{Success: true, Status: 204}
	})
	var wg sync.WaitGroup
	wg.Go(func() {
		<-calls
		cancel()
		for open(t, address) {
			runtime.Gosched() // the shutdown closes it first of all
		}
		close(refuse)
	})
	f.send("http://"+address, "POST", hooksPath+"/"+h.ID.String()+"/test", nil).is(http.StatusOK)
	wg.Wait()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}

// A composing program gets the handler, and no port is opened.
func TestRun_IsServedByWhoComposesIt(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	taken, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	cfg := settings(t, testenv.DB(t), testenv.NATS(t))
	cfg.HTTPAddr, cfg.AdminAddr = taken.Addr().String(), taken.Addr().String()
	told := 0
	cfg.Ready = func(address string, check func(context.Context) error) {
		told++
		if address != "" || check(ctx) != nil {
			t.Errorf("is told of %q, and of what is not ready: %v", address, check(ctx))
		}
	}
	cfg.Serve = func(ctx context.Context, handler http.Handler) error {
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodGet, "/readyz", nil))
		if told != 1 || answer.Code != http.StatusOK {
			t.Errorf("told %d times, /readyz answers %d %s", told, answer.Code, answer.Body)
		}
		cancel()
		<-ctx.Done()
		return nil
	}
	if err := api.Run(ctx, cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Error(err)
	}
}

func TestRun_SaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	database, account := testenv.DB(t), testenv.NATS(t)
	admin := account.Connect(t, testenv.Admin)
	if _, err := admin.Request("$JS.API.STREAM.DELETE."+bus.StreamEvents, nil, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	for want, adjust := range map[string]func(*api.Config){
		"stream EVENTS":       func(*api.Config) {},
		"VAULT_KEYSET":        func(c *api.Config) { c.VaultKeyset = "{}" },
		"connect to database": func(c *api.Config) { c.DatabaseURL = "postgres://127.0.0.1:1/x" },
		"connect to NATS": func(c *api.Config) {
			c.NATSURL, c.NATSOptions = "nats://127.0.0.1:1", []nats.Option{nats.RetryOnFailedConnect(false)}
		},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			cfg := settings(t, database, account)
			adjust(&cfg)
			err := api.Run(t.Context(), cfg, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want one that names %s", err, want)
			}
		})
	}
}

func TestRun_StopsAtAnyMoment(t *testing.T) {
	t.Parallel()
	cfg := settings(t, testenv.DB(t), testenv.NATS(t))
	testenv.StressStop(t, func(ctx context.Context) error { return api.Run(ctx, cfg, slog.New(slog.DiscardHandler)) })
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		adjust func(*api.Config)
		want   []string
	}{
		{name: "the defaults are valid", adjust: func(*api.Config) {}},
		{name: "origins and *", adjust: func(c *api.Config) { c.CORSOrigins = config.List{"https://a.example", "http://localhost:5173", "*"} }},
		{name: "a URL is no origin", adjust: func(c *api.Config) { c.CORSOrigins = config.List{"https://a.example/"} }, want: []string{"https://a.example/"}},
		{name: "a name is no origin", adjust: func(c *api.Config) { c.CORSOrigins = config.List{"a.example", "null"} }, want: []string{"a.example", "null"}},
		{name: "rates must be positive", adjust: func(c *api.Config) { c.LiveRate, c.LiveBurst, c.Connections = 0, 0, 0 }, want: []string{"EVENTS_LIVE_RATE", "EVENTS_LIVE_BURST", "API_DB_CONNECTIONS"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := api.Config{LiveRate: 200, LiveBurst: 1000, Connections: 8}
			tc.adjust(&cfg)
			err := cfg.Validate()
			if len(tc.want) == 0 && err != nil {
				t.Errorf("refused: %v", err)
			}
			for _, want := range tc.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v does not name %s", err, want)
				}
			}
		})
	}
}
