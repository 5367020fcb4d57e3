// Package client publishes events to PrimeZap from a Go program, such as a CRM's
// back end. It depends on the standard library alone.
//
// A [Client] gathers the events of all goroutines for a few milliseconds and
// sends them in arrays, so that many calls of [Client.Publish] cost few requests.
// Each call returns what became of its own event: the id under which it was
// accepted, or why it was not.
//
// # Nothing lost, nothing twice
//
// An array is sent under one Idempotency-Key, the same bytes each time, until the
// API has decided on every event of it or [Config.GiveUpAfter] has passed. A
// connection that breaks, an API that restarts or an answer that gets lost leads
// to a repetition, which the API recognises: what it accepted the first time keeps
// its id and is not delivered a second time.
//
// An error that is [ErrUnknown] leaves the outcome open. An event that has an ID
// of its own ([Event.ID]) may then simply be published again, also by another
// process: of two events with one id only the first is delivered.
//
// # Order
//
// Events that were published one after another, each after the last one's id was
// returned, are accepted in that order. Those published at the same time are not
// in any.
package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Config is how a client works. URL and APIKey have no default; zero means the
// default elsewhere.
type Config struct {
	URL    string // of the API, such as https://primezap.example.com
	APIKey string // with the scope events:write

	// TenantID is whose events these are. Default: the key's own tenant; another
	// one needs the scope platform.
	TenantID string

	// HTTPClient sends the requests. Default: one of the client's own, which follows
	// no redirects. Its Timeout, if any, bounds each request beside RequestTimeout.
	HTTPClient *http.Client

	// BatchSize is how many events a request holds at most. Default 100; the API
	// takes up to 500.
	BatchSize int
	// Linger is how long an event waits for others to go with it, also when none
	// comes. Default 5 ms.
	Linger time.Duration
	// MaxPending is how many events the client holds, waiting and under way; beyond
	// it Publish blocks. Default 2000.
	MaxPending int
	// MaxRequests is how many requests are under way at a time. Default 4.
	MaxRequests int

	// RequestTimeout bounds one request. Default 30 s.
	RequestTimeout time.Duration
	// GiveUpAfter is how long a batch is sent again while the API is away or busy.
	// Default 1 min; the API knows an Idempotency-Key for 24 h.
	GiveUpAfter time.Duration

	// SkipSchemas has the API take data that the event type's schema refuses.
	SkipSchemas bool
}

// maxBatchSize and maxRequestBytes are the API's bounds of a request.
const (
	maxBatchSize    = 500
	maxRequestBytes = 1 << 20
)

// Errors of [Client.Publish]; a refusal by the API is a [*Problem].
var (
	// ErrClosed means that the client was closed before the event was sent.
	ErrClosed = errors.New("client: closed")
	// ErrTooLarge means that the event alone is longer than a request may be.
	ErrTooLarge = errors.New("client: event longer than 1 MiB")
	// ErrUnknown means that the event was sent, or may have been, and that nobody
	// said what became of it: it may have been accepted or not. The error wraps what
	// went wrong last.
	ErrUnknown = errors.New("client: it is not known whether the event was accepted")
)

// Client publishes events. It is safe for concurrent use. One is enough for a
// program; it runs goroutines until [Client.Close].
type Client struct {
	cfg      Config
	endpoint string // POST /api/events
	http     *http.Client
	owned    bool // http is the client's own

	queue *queue
	work  context.Context // of requests; ended by abort
	abort context.CancelFunc
	ended chan struct{} // closed by run, its last act
}

// New returns a client and starts it. The error joins all that is wrong with cfg.
func New(cfg Config) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.setDefaults()
	endpoint, err := url.JoinPath(cfg.URL, "/api/events")
	if err != nil {
		return nil, fmt.Errorf("client: URL: %w", err)
	}
	if cfg.SkipSchemas {
		endpoint += "?strict=false"
	}
	c := &Client{
		cfg: cfg, endpoint: endpoint, http: cfg.HTTPClient,
		queue: newQueue(cfg.MaxPending, cfg.BatchSize, cfg.Linger),
		ended: make(chan struct{}),
	}
	if c.http == nil {
		c.http, c.owned = newHTTPClient(cfg.MaxRequests), true
	}
	c.work, c.abort = context.WithCancel(context.Background())
	go c.run() // Close waits for it
	return c, nil
}

func (cfg *Config) validate() error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf("client: "+format, args...)) }
	if u, err := url.Parse(cfg.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" ||
		u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		fault("URL must be http or https and a host, and may have a path")
	}
	if cfg.APIKey == "" {
		fault("APIKey is required")
	}
	if cfg.BatchSize < 0 || cfg.BatchSize > maxBatchSize {
		fault("BatchSize must be 1 to %d", maxBatchSize)
	}
	for name, n := range map[string]int{"MaxPending": cfg.MaxPending, "MaxRequests": cfg.MaxRequests} {
		if n < 0 {
			fault("%s must be positive", name)
		}
	}
	for name, d := range map[string]time.Duration{
		"Linger": cfg.Linger, "RequestTimeout": cfg.RequestTimeout, "GiveUpAfter": cfg.GiveUpAfter,
	} {
		if d < 0 {
			fault("%s must be positive", name)
		}
	}
	return errors.Join(errs...)
}

func (cfg *Config) setDefaults() {
	setDefault(&cfg.BatchSize, 100)
	setDefault(&cfg.Linger, 5*time.Millisecond)
	setDefault(&cfg.MaxPending, 2000)
	setDefault(&cfg.MaxRequests, 4)
	setDefault(&cfg.RequestTimeout, 30*time.Second)
	setDefault(&cfg.GiveUpAfter, time.Minute)
}

func setDefault[T comparable](setting *T, value T) {
	var zero T
	if *setting == zero {
		*setting = value
	}
}

// newHTTPClient keeps a connection for each request that may be under way. A
// redirect is an answer like any other: to follow it would turn a POST into a GET.
func newHTTPClient(connections int) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = connections
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Publish publishes an event and returns its id once the API has stored it. It
// blocks while the client holds [Config.MaxPending] events.
//
// The error is a [*Problem] where the API refused the event, which is final;
// [ErrClosed] or [ErrTooLarge]; ctx's own error where ctx ended before the event
// was sent; [ErrUnknown], wrapping the cause, where it was sent and its fate is
// open; or what is wrong with the event's Data.
func (c *Client) Publish(ctx context.Context, event Event) (id string, err error) {
	it, err := newItem(event)
	if err != nil {
		return "", err
	}
	if err := c.queue.put(ctx, it); err != nil {
		return "", err
	}
	return c.await(ctx, it)
}

// Result is what became of an event: an ID or, as described at [Client.Publish],
// an Err.
type Result struct {
	ID  string
	Err error
}

// PublishAll publishes events and returns what became of each, in their order.
// They need not fit into one request, and may share requests with others.
func (c *Client) PublishAll(ctx context.Context, events []Event) []Result {
	results := make([]Result, len(events))
	items := make([]*item, len(events))
	for i, event := range events {
		it, err := newItem(event)
		if err == nil {
			err = c.queue.put(ctx, it)
		}
		if err != nil {
			results[i].Err = err
			continue
		}
		items[i] = it
	}
	for i, it := range items {
		if it != nil {
			results[i].ID, results[i].Err = c.await(ctx, it)
		}
	}
	return results
}

// await returns what becomes of an item that is in the queue.
func (c *Client) await(ctx context.Context, it *item) (string, error) {
	select {
	case <-it.settled:
	case <-ctx.Done():
		if c.queue.withdraw(it) {
			return "", ctx.Err()
		}
		select {
		case <-it.settled: // at the same moment
		default:
			return "", fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
		}
	}
	return it.id, it.err
}

// Close sends what is waiting, waits until all is decided on, and ends the
// client; Publish returns [ErrClosed] from its beginning on. When ctx ends first,
// requests are broken off: events that were under way are [ErrUnknown], those
// that were not sent [ErrClosed], and Close returns ctx's error. The client's
// goroutines have ended when Close returns. It may be called more than once.
func (c *Client) Close(ctx context.Context) error {
	c.queue.close()
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
	}
	c.abort()
	<-c.ended
	return fmt.Errorf("client: broken off: %w", ctx.Err())
}

// run sends batches until the queue is closed and empty.
func (c *Client) run() {
	defer close(c.ended)
	defer c.abort()
	var sends sync.WaitGroup
	slots := make(chan struct{}, c.cfg.MaxRequests)
	for {
		slots <- struct{}{} // a slot first: while all are taken, batches fill up
		batch := c.queue.take()
		if batch == nil {
			break
		}
		sends.Go(func() {
			defer func() { <-slots }()
			c.send(batch, time.Now().Add(c.cfg.GiveUpAfter))
		})
	}
	sends.Wait()
	if c.owned {
		c.http.CloseIdleConnections()
	}
}
