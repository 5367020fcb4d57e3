// Package attempt makes one HTTP request to a customer's endpoint and reports
// what became of it. It decides what a failure is and how long to wait after
// one; it stores nothing and repeats nothing.
//
// One request may still reach a receiver twice. net/http sends it again, over
// another connection, where the kept-alive one turned out closed before a byte
// of the request was written, or where an HTTP/2 server says that it did not
// process it. A connection lost later than that is class reset, and the next
// attempt is the caller's: whether the receiver acted on the first is unknown.
package attempt

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/primezap/primezap/pkg/egress"
	"github.com/primezap/primezap/pkg/failpoint"
)

const (
	maxRead   = 64 << 10 // of an answer; a connection with more to come is closed
	maxStored = 4 << 10  // of what was read

	defaultTimeout     = 30 * time.Second
	defaultIdlePerHost = 256 // many endpoints may be at one host
	defaultIdle        = 2048
	idleTimeout        = 90 * time.Second
	maxAnswerHeader    = 64 << 10
	pingAfter          = 15 * time.Second // silence on an HTTP/2 connection before it is probed
	sessionCache       = 1024

	// What a dial has beyond an attempt's time, so that the attempt's own end
	// comes first and is the one told.
	dialSlack = time.Second
)

// Signer signs a body with a webhook's secrets.
type Signer interface {
	Hex(body []byte) string
	Standard(id string, at time.Time, body []byte) string
}

// Request is what to send where.
type Request struct {
	URL         string
	EventType   string
	EventID     string
	Body        []byte // sent as it is; not modified afterwards, net/http may read it after Do
	Signer      Signer
	Headers     []Header // the customer's own; reserved ones are not sent
	Traceparent string   // W3C; empty for none
}

// Config is a client's; the zero value is production's.
type Config struct {
	AllowHTTP  bool           // http URLs beside https ones
	AllowCIDRs []netip.Prefix // called although not public

	Timeout             time.Duration // of an attempt, all in all; 0: 30 s
	MaxIdleConnsPerHost int           // 0: 256
	MaxIdleConns        int           // over all hosts; 0: 2048

	RootCAs  *x509.CertPool   // nil: the system's
	Resolver egress.Resolver  // nil: the system's
	Now      func() time.Time // nil: time.Now
}

// Client makes attempts. It is safe for concurrent use; it does not limit how
// many there are.
type Client struct {
	policy    egress.Policy
	dialer    egress.Dialer
	tls       *tls.Config
	transport *http.Transport
	timeout   time.Duration
	now       func() time.Time
}

// NewClient returns a client; CloseIdle ends its connections.
func NewClient(cfg Config) *Client {
	policy := egress.Policy{AllowHTTP: cfg.AllowHTTP, AllowCIDRs: cfg.AllowCIDRs}
	c := &Client{
		policy: policy,
		dialer: egress.Dialer{Policy: policy, Resolver: cfg.Resolver},
		tls: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            cfg.RootCAs,
			NextProtos:         []string{"h2", "http/1.1"},
			ClientSessionCache: tls.NewLRUClientSessionCache(sessionCache),
		},
		timeout: orDefault(cfg.Timeout, defaultTimeout),
		now:     cfg.Now,
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.transport = &http.Transport{
		Proxy:                  nil, // a proxy would dial for us, unguarded
		DialContext:            c.dial,
		DialTLSContext:         c.dialTLS,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: pingAfter},
		DisableCompression:     true, // 64 KiB are 64 KiB
		MaxIdleConns:           orDefault(cfg.MaxIdleConns, defaultIdle),
		MaxIdleConnsPerHost:    orDefault(cfg.MaxIdleConnsPerHost, defaultIdlePerHost),
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxAnswerHeader,
	}
	return c
}

func orDefault[T int | time.Duration](value, fallback T) T {
	if value == 0 {
		return fallback
	}
	return value
}

// CloseIdle closes the connections that serve no attempt.
func (c *Client) CloseIdle() { c.transport.CloseIdleConnections() }

// conn is a connection as the transport holds it, below TLS where there is any.
type conn struct {
	net.Conn
	timing Timing // DNS, Connect and TLS; written before the transport gets it
}

// dial bounds itself: the transport goes on dialling when the attempt that
// wanted the connection got another one.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout+dialSlack)
	defer cancel()
	made, err := c.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return made, nil
}

func (c *Client) connect(ctx context.Context, network, address string) (*conn, error) {
	raw, err := c.dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	made := raw.(*egress.Conn)
	return &conn{Conn: made.Conn, timing: Timing{DNS: made.DNS, Connect: made.Connect}}, nil
}

// dialTLS also makes the handshake, to know its length and to tell its errors.
func (c *Client) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout+dialSlack)
	defer cancel()
	raw, err := c.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	cfg := c.tls.Clone()
	cfg.ServerName, _, _ = net.SplitHostPort(address) // connect has split it before
	start := time.Now()
	secure := tls.Client(raw, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, &handshakeError{err}
	}
	raw.timing.TLS = time.Since(start)
	return secure, nil
}

// call is what one attempt needs on the heap, in one piece.
type call struct {
	values    headers
	body      bytes.Reader
	trace     httptrace.ClientTrace
	timing    Timing
	connected bool        // written by RoundTrip's goroutine, read after it
	answered  atomic.Bool // written by the connection's reader
}

func (a *call) gotConn(info httptrace.GotConnInfo) {
	a.connected = true
	a.timing = Timing{}
	if info.Reused {
		return
	}
	raw := info.Conn
	if secure, ok := raw.(*tls.Conn); ok {
		raw = secure.NetConn()
	}
	if made, ok := raw.(*conn); ok {
		a.timing = made.timing
	}
}

func (a *call) gotFirstResponseByte() { a.answered.Store(true) }

// buffers hold what is read of an answer: what is stored, and room to drain.
var buffers = sync.Pool{New: func() any { return new([2 * maxStored]byte) }}

// Do makes the attempt. Whatever happens is an outcome: when ctx ends first it
// is of class interrupted.
func (c *Client) Do(ctx context.Context, r *Request) (o Outcome) {
	o.Start = c.now()
	defer func() { o.Duration = c.now().Sub(o.Start) }()
	target, err := c.policy.ParseURL(r.URL)
	if err != nil {
		o.Class, o.Message = explain(err, false)
		return o
	}

	a := &call{values: headers{
		event:        [1]string{r.EventType},
		hexSignature: [1]string{r.Signer.Hex(r.Body)},
		id:           [1]string{r.EventID},
		timestamp:    [1]string{strconv.FormatInt(o.Start.Unix(), 10)},
		signature:    [1]string{r.Signer.Standard(r.EventID, o.Start, r.Body)},
		traceparent:  [1]string{r.Traceparent},
	}}
	a.body.Reset(r.Body)
	a.trace = httptrace.ClientTrace{GotConn: a.gotConn, GotFirstResponseByte: a.gotFirstResponseByte}
	if failpoint.Enabled {
		a.trace.WroteRequest = func(httptrace.WroteRequestInfo) { failpoint.Hit("attempt.sent") }
	}
	own := sendable(r.Headers)
	attempt, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req := (&http.Request{
		Method: http.MethodPost,
		URL:    target,
		Header: a.values.header(own),
		// To net/http this very type is in memory: header and body go out in
		// one write. Another body costs a system call more.
		Body:          io.NopCloser(&a.body),
		ContentLength: int64(len(r.Body)),
		GetBody: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(r.Body)), nil
		},
	}).WithContext(httptrace.WithClientTrace(attempt, &a.trace))
	o.RequestHeaders = a.values.json(own)

	resp, err := c.transport.RoundTrip(req)
	o.Timing = a.timing
	if err != nil {
		doing := "no connection"
		if a.connected {
			doing = "no answer"
		}
		if !o.unfinished(ctx, attempt, c.timeout, doing) {
			o.Class, o.Message = explain(err, a.answered.Load())
		}
		return o
	}
	now := c.now()
	o.Timing.FirstByte = now.Sub(o.Start)
	o.Status = resp.StatusCode
	o.ResponseHeaders = responseJSON(resp.Header)
	o.judge(resp.Header, now)
	body, err := readBody(resp)
	o.ResponseBody = body
	if len(own) > 0 { // an endpoint may answer with what it got
		o.ResponseHeaders = []byte(veiled(string(o.ResponseHeaders), own, false))
		o.ResponseBody = veiled(body, own, true)
	}
	if err != nil && o.Success { // else the status says more
		o.Success = false
		if !o.unfinished(ctx, attempt, c.timeout, "the answer was not complete") {
			o.Class, o.Message = ClassBody, "the answer broke off"
		}
	}
	return o
}

// readBody reads up to 64 KiB of the answer, closes it and returns what is
// stored of it. With more to come, closing ends the connection.
func readBody(resp *http.Response) (string, error) {
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return "", nil // the connection itself, which has no end
	}
	buf := buffers.Get().(*[2 * maxStored]byte)
	defer buffers.Put(buf)
	var total int
	var err error
	for err == nil && total < maxRead {
		var n int
		if total < maxStored {
			n, err = resp.Body.Read(buf[total:maxStored])
		} else {
			n, err = resp.Body.Read(buf[maxStored:min(len(buf), maxStored+maxRead-total)])
		}
		total += n
	}
	if err == io.EOF {
		err = nil
	}
	return text(buf[:min(total, maxStored)], maxStored), err
}
