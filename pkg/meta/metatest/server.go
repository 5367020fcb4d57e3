package metatest

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/primezap/primezap/pkg/messaging"
)

// The app that calls belong to, unless Config names another one.
const (
	DefaultAppID       = "10001"
	DefaultAppSecret   = "simulated-app-secret"
	DefaultVerifyToken = "simulated-verify-token"
)

// Config says how the simulated Meta behaves. Its zero value is useful: the default
// world, every call answered at once, no limits, no webhooks.
type Config struct {
	AppID        string
	AppSecret    string // signs webhooks; what appsecret_proof is checked against
	VerifyToken  string
	RequireProof bool   // refuse calls without appsecret_proof; a wrong one is refused in any case
	CallbackURL  string // where webhooks go; empty: none are sent
	App          App    // what its dashboard says of logins
	Window       bool   // WhatsApp: but for templates, messages to who has not written for 24 hours fail with 131047

	World    *World // nil: DefaultWorld
	Limits   Limits
	Statuses Statuses
	Quirks   Quirks
	Latency  time.Duration // of every answer of the Graph API

	// Backoff is how long after a webhook that was not answered 200 it is sent again;
	// after the last one it is given up. Nil: 1, 2, 4, 8, 15 and 30 s.
	Backoff []time.Duration
	// Keep is how many sends are remembered; 0: 20 000. The moments of a million are
	// besides, for Peak.
	Keep int
	Seed uint64           // of ids, order and chance; 0: another one each time
	Now  func() time.Time // of limits, records and timestamps; nil: time.Now
	Log  *slog.Logger     // nil: silence
}

// appName is what the app is called.
const appName = "PrimeZap"

// App is what an app's dashboard says of logins.
type App struct {
	RedirectURIs   []string            `json:"redirectUris,omitempty"`   // where logins may end; none: anywhere on loopback
	Configurations map[string][]string `json:"configurations,omitempty"` // of Facebook Login for Business: permissions, by config_id
	DeauthorizeURL string              `json:"deauthorizeUrl,omitempty"` // told of users who take back what they allowed; empty: nobody is
	DeletionURL    string              `json:"deletionUrl,omitempty"`    // told of users who want their data deleted
}

// Server is the simulated Graph API. It is safe for concurrent use.
type Server struct {
	cfg   Config
	mux   *http.ServeMux
	hooks *courier

	listening sync.WaitGroup // for what Listen began
	requests  sync.WaitGroup // in hand; added to while not closed

	mu         sync.Mutex
	closed     bool
	servers    []*http.Server
	random     *rand.Rand
	world      World
	dead       map[string]*GraphError // by token
	began      time.Time
	app        App
	quirks     Quirks
	grants     map[string]*grant // by user
	tokens     tokens
	codes      codes
	subscribed map[string][]string // fields, by page
	limits     Limits
	statuses   Statuses
	faults     []*Fault
	used       usage
	wrote      map[pair]time.Time // when a person last wrote to a number
	record     record
	nextFault  int
}

// New makes a Server. It is to be closed.
func New(cfg Config) *Server {
	cfg.AppID = cmp.Or(cfg.AppID, DefaultAppID)
	cfg.AppSecret = cmp.Or(cfg.AppSecret, DefaultAppSecret)
	cfg.VerifyToken = cmp.Or(cfg.VerifyToken, DefaultVerifyToken)
	cfg.Keep = cmp.Or(cfg.Keep, 20_000)
	cfg.Seed = cmp.Or(cfg.Seed, rand.Uint64())
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Backoff == nil {
		cfg.Backoff = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 30 * time.Second}
	}
	world := DefaultWorld()
	if cfg.World != nil {
		world = cfg.World.clone()
	}
	s := &Server{
		cfg: cfg, world: world, limits: cfg.Limits, statuses: cfg.Statuses, quirks: cfg.Quirks,
		random: rand.New(rand.NewPCG(cfg.Seed, cfg.Seed)), // chance, no secret
		dead:   make(map[string]*GraphError), wrote: make(map[pair]time.Time),
		began: cfg.Now(), app: cfg.App, grants: make(map[string]*grant), tokens: newTokens(),
		codes: codes{all: make(map[string]*code)}, subscribed: make(map[string][]string),
		used: newUsage(), record: newRecord(cfg.Keep),
		hooks: newCourier(cfg.AppSecret, cfg.CallbackURL, cfg.Backoff, cfg.Log),
	}
	s.mux = s.routes()
	return s
}

// ServeHTTP answers as graph.facebook.com does, and below /simulate as nothing at
// Meta does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	s.requests.Add(1)
	s.mu.Unlock()
	defer s.requests.Done()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.hooks.ctx, cancel)() //nolint:contextcheck // the server's life, beside the request's
	s.mux.ServeHTTP(w, r.WithContext(ctx))
}

// Listen serves on an address, host and port, until Close. It returns the base URL.
func (s *Server) Listen(ctx context.Context, addr string) (baseURL string, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("simulated Meta: %w", err)
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", errors.Join(http.ErrServerClosed, listener.Close())
	}
	s.servers = append(s.servers, server)
	s.listening.Go(func() { _ = server.Serve(listener) }) // ends by Close alone
	return "http://" + listener.Addr().String(), nil
}

// tester is what Start needs of a *testing.T: this package is in programs too, where
// package testing has no place.
type tester interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, a ...any)
}

// Start serves on a free port of loopback until the test ends, and returns the base
// URL.
func (s *Server) Start(t tester) (baseURL string) {
	t.Helper()
	baseURL, err := s.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(s.Close)
	return baseURL
}

// Close ends what Listen began, and all webhooks under way. It returns when nothing
// runs any more; requests in hand are cut off.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	servers := s.servers
	s.servers = nil
	s.mu.Unlock()
	for _, server := range servers {
		_ = server.Close() // of listeners that are ours
	}
	s.hooks.close()
	s.listening.Wait()
	s.requests.Wait()
}

// SetCallback changes where webhooks go; those that wait go there too.
func (s *Server) SetCallback(url string) { s.hooks.setURL(url) }

// now is the time by the configured clock.
func (s *Server) now() time.Time { return s.cfg.Now() }

// text is n random characters. The caller holds mu.
func (s *Server) text(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(s.random.Uint32())
	}
	return base64.RawURLEncoding.EncodeToString(b)[:n]
}

// newID is an id of a message as the channel writes it. The caller holds mu.
func (s *Server) newID(channel messaging.Channel) string {
	switch channel {
	case messaging.WhatsApp:
		return "wamid.HBgM" + s.text(44)
	case messaging.Instagram:
		return "aWdfZAG1faXRlb" + s.text(64)
	default:
		return "m_" + s.text(64)
	}
}
