package attempt

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestClient_Do_RequestOnTheWire(t *testing.T) {
	t.Parallel()
	type sent struct {
		head string
		body []byte
	}
	got := make(chan sent, 1) // sent by the receiver, received once below
	addr := receiver(t, func(e *exchange) {
		head, body, err := e.request()
		if err != nil {
			t.Errorf("read the request: %v", err)
		}
		got <- sent{head, body}
		e.answer(ok)
	})
	at := time.Date(2025, 10, 20, 12, 0, 0, 0, time.UTC)
	client := newClient(t, Config{Now: func() time.Time { return at }})
	r := requestTo("http://" + addr + "/hook?a=b")
	r.Traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r.Headers = []Header{
		{Name: "X-Api-Key", Value: "topsecret"},
		{Name: "x-lower", Value: "kept"},
		{Name: "transfer-encoding", Value: "chunked"},
		{Name: "Webhook-Id", Value: "forged"},
		{Name: "content-length", Value: "1"},
		{Name: "host", Value: "elsewhere.example"},
		{Name: "X-Split", Value: "a\r\nX-Injected: b"},
	}
	o := client.Do(t.Context(), r)
	if !o.Success || o.Status != 200 || o.Class != ClassNone || o.Message != "" || o.ResponseBody != "ok" {
		t.Fatalf("outcome %+v", o)
	}
	wire := <-got
	if !bytes.Equal(wire.body, r.Body) {
		t.Errorf("body %q, want the given bytes", wire.body)
	}
	want := []string{
		"Content-Length: " + fmt.Sprint(len(r.Body)),
		"Content-Type: application/json",
		"Host: " + addr,
		"User-Agent: PrimeZap-Webhook/1.0",
		"X-Api-Key: topsecret",
		"X-Webhook-Event: deal.moved",
		"X-Webhook-Signature: " + r.Signer.Hex(r.Body),
		"traceparent: " + r.Traceparent,
		"webhook-id: evt_1",
		"webhook-signature: " + r.Signer.Standard("evt_1", at, r.Body),
		"webhook-timestamp: 1760961600",
		"x-lower: kept",
	}
	first, rest, _ := strings.Cut(strings.TrimSuffix(wire.head, "\r\n"), "\r\n")
	if first != "POST /hook?a=b HTTP/1.1" {
		t.Errorf("request line %q", first)
	}
	lines := strings.Split(rest, "\r\n")
	slices.Sort(lines)
	if !slices.Equal(lines, want) {
		t.Errorf("headers on the wire:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}

	var logged map[string]string
	if err := json.Unmarshal(o.RequestHeaders, &logged); err != nil {
		t.Fatalf("logged headers %s: %v", o.RequestHeaders, err)
	}
	for _, line := range want {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "Host", "Content-Length":
			continue
		case "X-Api-Key", "x-lower":
			value = "••••"
		}
		if logged[name] != value {
			t.Errorf("logged %s: %q, want %q", name, logged[name], value)
		}
	}
	if len(logged) != len(want)-2 {
		t.Errorf("logged %v, more than was sent", logged)
	}
}

func TestClient_Do_WithoutTraceparent(t *testing.T) {
	t.Parallel()
	o := newClient(t, Config{}).Do(t.Context(), requestTo("http://"+answering(t, ok)))
	if !o.Success || bytes.Contains(o.RequestHeaders, []byte("traceparent")) || !json.Valid(o.RequestHeaders) {
		t.Errorf("outcome %+v with headers %s", o, o.RequestHeaders)
	}
}

func TestClient_Do_Classes(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	_ = closed.Close()
	notFound := resolverFunc(func(context.Context, string) ([]netip.Addr, error) {
		return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	})
	servfail := resolverFunc(func(context.Context, string) ([]netip.Addr, error) {
		return nil, &net.DNSError{Err: "server misbehaving", IsTemporary: true, IsTimeout: true}
	})
	mixed := resolverFunc(func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.0.0.1")}, nil
	})
	raw := func(answer string) func(t *testing.T) string {
		return func(t *testing.T) string { return "http://" + answering(t, answer) }
	}
	at := func(url string) func(t *testing.T) string { return func(*testing.T) string { return url } }
	for _, tc := range []struct {
		name     string
		url      func(t *testing.T) string
		resolver resolverFunc
		class    Class
		message  string
		status   int
	}{
		{name: "a name that does not exist", url: at("http://nowhere.example/"), resolver: notFound,
			class: ClassDNS, message: "the name has no address"},
		{name: "a name server that does not answer", url: at("http://nowhere.example/"), resolver: servfail,
			class: ClassDNS, message: "the name could not be looked up"},
		{name: "a name with one private address", url: at("http://" + strings.Replace(nobody, "127.0.0.1", "mixed.example", 1)), resolver: mixed,
			class: ClassBlocked, message: "the URL resolves to a private or reserved address"},
		{name: "a private address", url: at("http://10.0.0.1/"),
			class: ClassBlocked, message: "the URL must not point to a private or reserved address"},
		{name: "another scheme", url: at("ftp://127.0.0.1/"),
			class: ClassBlocked, message: "the URL must be an absolute http or https URL"},
		{name: "a closed port", url: at("http://" + nobody),
			class: ClassRefused, message: "the endpoint refused the connection"},
		{name: "a connection reset instead of an answer", url: func(t *testing.T) string {
			return "http://" + receiver(t, func(e *exchange) { _, _, _ = e.request(); e.reset() })
		}, class: ClassReset, message: "the connection was closed before an answer"},
		{name: "a connection closed instead of an answer", url: raw(""),
			class: ClassReset, message: "the connection was closed before an answer"},
		{name: "a connection closed within the header", url: raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"),
			class: ClassReset, message: "the connection was closed before an answer"},
		{name: "an answer that is not HTTP", url: raw("SSH-2.0-OpenSSH_9.6\r\n\r\n"),
			class: ClassBody, message: "the answer is not readable as HTTP"},
		{name: "an answer with too large a header", url: raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n"),
			class: ClassBody, message: "the answer is not readable as HTTP"},
		{name: "a body shorter than announced", url: raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
			class: ClassBody, message: "the answer broke off", status: 200},
		{name: "broken chunks", url: raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
			class: ClassBody, message: "the answer broke off", status: 200},
		{name: "a client's error", url: raw("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
			class: ClassStatus, message: "the endpoint answered 404", status: 404},
		{name: "a server's error, its body broken off", url: raw("HTTP/1.1 500 X\r\nContent-Length: 10\r\n\r\nhalf"),
			class: ClassStatus, message: "the endpoint answered 500", status: 500},
		{name: "a status beyond those that exist", url: raw("HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"),
			class: ClassStatus, message: "the endpoint answered 999", status: 999},
		{name: "not modified", url: raw("HTTP/1.1 304 Not Modified\r\n\r\n"),
			class: ClassRedirect, message: "the endpoint answered 304: redirects are not followed", status: 304},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{Timeout: time.Minute} // no case may depend on it
			if tc.resolver != nil {
				cfg.Resolver = tc.resolver
			}
			o := newClient(t, cfg).Do(t.Context(), requestTo(tc.url(t)))
			if o.Class != tc.class || o.Message != tc.message || o.Status != tc.status || o.Success {
				t.Errorf("got %q %q, status %d, success %t; want %q %q, status %d",
					o.Class, o.Message, o.Status, o.Success, tc.class, tc.message, tc.status)
			}
		})
	}
}

func TestClient_Do_SuccessIs2xx(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		"200 OK\r\nContent-Length: 0", "202 Accepted\r\nContent-Length: 0", "204 No Content", "299 X\r\nContent-Length: 0",
	} {
		o := newClient(t, Config{}).Do(t.Context(), requestTo("http://"+answering(t, "HTTP/1.1 "+answer+"\r\n\r\n")))
		if !o.Success || o.Class != ClassNone || o.Message != "" {
			t.Errorf("%q: outcome %+v", answer, o)
		}
	}
}

func TestClient_Do_SwitchingProtocolsIsNotReadOn(t *testing.T) {
	t.Parallel()
	addr := receiver(t, func(e *exchange) {
		_, _, _ = e.request()
		e.answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		e.untilClosed()
	})
	o := newClient(t, Config{Timeout: time.Minute}).Do(t.Context(), requestTo("http://"+addr))
	if o.Class != ClassStatus || o.Status != 101 {
		t.Errorf("outcome %+v, want class status", o)
	}
}

func TestClient_Do_Timeouts(t *testing.T) {
	t.Parallel()
	const limit = 100 * time.Millisecond
	answer := func(s string) func(*exchange) {
		return func(e *exchange) {
			_, _, _ = e.request()
			e.answer(s)
			e.untilClosed()
		}
	}
	for _, tc := range []struct {
		name    string
		scheme  string
		serve   func(*exchange)
		status  int
		class   Class
		message string
	}{
		{name: "no TLS handshake", scheme: "https://", serve: (*exchange).untilClosed,
			class: ClassTimeout, message: "no connection within 100ms"},
		{name: "no answer", serve: answer(""),
			class: ClassTimeout, message: "no answer within 100ms"},
		{name: "half a header", serve: answer("HTTP/1.1 200 OK\r\nX: y"),
			class: ClassTimeout, message: "no answer within 100ms"},
		{name: "half a body", serve: answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), status: 200,
			class: ClassTimeout, message: "the answer was not complete within 100ms"},
		{name: "half the body of an error", serve: answer("HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\nhalf"), status: 500,
			class: ClassStatus, message: "the endpoint answered 500"},
		{name: "an answer that trickles", serve: func(e *exchange) {
			_, _, _ = e.request()
			e.answer("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
			for tick := time.Tick(time.Millisecond); ; <-tick {
				if _, err := io.WriteString(e.Conn, "."); err != nil {
					return
				}
			}
		}, status: 200, class: ClassTimeout, message: "the answer was not complete within 100ms"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			scheme := tc.scheme
			if scheme == "" {
				scheme = "http://"
			}
			o := newClient(t, Config{Timeout: limit}).Do(t.Context(), requestTo(scheme+receiver(t, tc.serve)))
			if o.Class != tc.class || o.Message != tc.message || o.Status != tc.status || o.Success {
				t.Errorf("got %q %q, status %d; want %q %q, status %d",
					o.Class, o.Message, o.Status, tc.class, tc.message, tc.status)
			}
			if o.Duration < limit || o.Duration > 50*limit {
				t.Errorf("took %s, want about %s", o.Duration, limit)
			}
		})
	}
	t.Run("a name server that hangs", func(t *testing.T) {
		t.Parallel()
		hang := resolverFunc(func(ctx context.Context, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		o := newClient(t, Config{Timeout: limit, Resolver: hang}).Do(t.Context(), requestTo("http://hang.example/"))
		if o.Class != ClassTimeout || o.Message != "no connection within 100ms" {
			t.Errorf("got %q %q, want a timeout", o.Class, o.Message)
		}
	})
}

func TestClient_Do_Interrupted(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, answer string }{
		{name: "while it waits for the answer"},
		{name: "while it reads the body", answer: "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			ctx, stop := context.WithCancel(t.Context())
			addr := receiver(t, func(e *exchange) {
				_, _, _ = e.request()
				e.answer(tc.answer)
				stop()
				e.untilClosed()
			})
			o := newClient(t, Config{Timeout: time.Minute}).Do(ctx, requestTo("http://"+addr))
			if o.Class != ClassInterrupted || o.Message != "the worker stopped during the attempt" || o.Success {
				t.Errorf("outcome %+v, want interrupted", o)
			}
		})
	}
}

func TestClient_Do_BlocksLiteralsBeforeAnyConnection(t *testing.T) {
	t.Parallel()
	var accepted atomic.Int32
	addr := receiver(t, func(*exchange) { accepted.Add(1) })
	_, port, _ := net.SplitHostPort(addr)
	client := NewClient(Config{AllowHTTP: true, Timeout: 10 * time.Second, Resolver: resolverFunc(
		func(context.Context, string) ([]netip.Addr, error) { // as getaddrinfo reads the odd forms
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		})})
	t.Cleanup(client.CloseIdle)
	for _, host := range []string{
		"127.0.0.1", "127.0.0.1.", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "0", "0.0.0.0",
		"localhost", "localhost.", "any.localhost", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
		"[0:0:0:0:0:0:0:1]", "[::1%25lo]", "[64:ff9b::7f00:1]", "１２７.0.0.1", "private.example",
	} {
		o := client.Do(t.Context(), requestTo("http://"+host+":"+port+"/"))
		if o.Class != ClassBlocked || o.Success {
			t.Errorf("%s: got %q %q, want blocked", host, o.Class, o.Message)
		}
	}
	if n := accepted.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

func TestClient_Do_HTTPOnlyWhereAllowed(t *testing.T) {
	t.Parallel()
	client := NewClient(Config{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	t.Cleanup(client.CloseIdle)
	o := client.Do(t.Context(), requestTo("http://"+answering(t, ok)))
	if o.Class != ClassBlocked || o.Message != "the URL must use https" {
		t.Errorf("got %q %q, want blocked", o.Class, o.Message)
	}
}

func TestClient_Do_LocalhostInDevelopment(t *testing.T) {
	t.Parallel()
	_, port, _ := net.SplitHostPort(answering(t, ok))
	if o := newClient(t, Config{}).Do(t.Context(), requestTo("http://localhost:"+port)); !o.Success {
		t.Errorf("got %q %q, want success", o.Class, o.Message)
	}
}

func TestClient_Do_NeverFollowsRedirects(t *testing.T) {
	t.Parallel()
	var visited atomic.Int32
	second := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited.Add(1) }))
	t.Cleanup(second.Close)
	client := newClient(t, Config{})
	for _, status := range []int{301, 302, 303, 307, 308} {
		first := answering(t, fmt.Sprintf("HTTP/1.1 %d X\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", status, second.URL))
		if o := client.Do(t.Context(), requestTo("http://"+first)); o.Class != ClassRedirect || o.Status != status {
			t.Errorf("%d: outcome %+v, want class redirect", status, o)
		}
	}
	if n := visited.Load(); n != 0 {
		t.Errorf("the second URL was visited %d times", n)
	}
}

// Not parallel, and so before all parallel tests: net/http reads the
// environment's proxies once.
func TestClient_Do_IgnoresTheEnvironmentsProxy(t *testing.T) {
	var proxied atomic.Int32
	proxy := receiver(t, func(*exchange) { proxied.Add(1) })
	t.Setenv("HTTP_PROXY", "http://"+proxy)
	addr := answering(t, ok)
	here := resolverFunc(func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	})
	_, port, _ := net.SplitHostPort(addr)
	o := newClient(t, Config{Resolver: here}).Do(t.Context(), requestTo("http://hook.example:"+port))
	if !o.Success || proxied.Load() != 0 {
		t.Errorf("outcome %+v with %d calls of the proxy", o, proxied.Load())
	}
}

func TestClient_Do_EndlessBody(t *testing.T) {
	t.Parallel()
	connections := make(chan struct{}, 2) // sent by each connection's end
	addr := receiver(t, func(e *exchange) {
		defer func() { connections <- struct{}{} }()
		_, _, _ = e.request()
		e.answer("HTTP/1.1 200 OK\r\n\r\n")
		part := strings.Repeat("x", 16<<10)
		for {
			if _, err := io.WriteString(e.Conn, part); err != nil {
				return
			}
		}
	})
	client := newClient(t, Config{Timeout: time.Minute})
	o := client.Do(t.Context(), requestTo("http://"+addr))
	if !o.Success || o.ResponseBody != strings.Repeat("x", 4096) {
		t.Errorf("success %t, class %q, %d bytes stored; want success and 4096", o.Success, o.Class, len(o.ResponseBody))
	}
	<-connections // it is closed with more to come, or this would hang
}

func TestClient_Do_LongBodyLeavesTheConnectionUsable(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("y", 60<<10))
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	client := newClient(t, Config{})
	for range 3 {
		if o := client.Do(t.Context(), requestTo(server.URL)); !o.Success || len(o.ResponseBody) != 4096 {
			t.Errorf("outcome %q, %d bytes stored", o.Class, len(o.ResponseBody))
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for three attempts, want 1", n)
	}
}

func TestClient_Do_DoesNotInflate(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	_, _ = w.Write(make([]byte, 1<<20))
	_ = w.Close()
	accepts := make(chan bool, 1)
	addr := receiver(t, func(e *exchange) {
		head, _, _ := e.request()
		accepts <- strings.Contains(strings.ToLower(head), "accept-encoding")
		e.answer(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", bomb.Len(), bomb.String()))
	})
	o := newClient(t, Config{}).Do(t.Context(), requestTo("http://"+addr))
	if <-accepts {
		t.Error("the request invites a compressed answer")
	}
	if !o.Success || !strings.HasPrefix(o.ResponseBody, "\x1f\uFFFD") {
		t.Errorf("class %q, body begins %q, want gzip's own bytes", o.Class, o.ResponseBody[:min(8, len(o.ResponseBody))])
	}
}

func TestClient_Do_KeptAliveConnections(t *testing.T) {
	t.Parallel()
	t.Run("are reused, and cost no phases then", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		t.Cleanup(server.Close)
		client := newClient(t, Config{})
		first := client.Do(t.Context(), requestTo(strings.Replace(server.URL, "127.0.0.1", "localhost", 1)))
		again := client.Do(t.Context(), requestTo(strings.Replace(server.URL, "127.0.0.1", "localhost", 1)))
		if !first.Success || first.Timing.DNS <= 0 || first.Timing.Connect <= 0 || first.Timing.TLS != 0 || first.Timing.FirstByte <= 0 {
			t.Errorf("first attempt: %+v", first)
		}
		if again.Timing.DNS != 0 || again.Timing.Connect != 0 || again.Timing.FirstByte <= 0 || again.Timing.FirstByte > again.Duration {
			t.Errorf("second attempt: %+v in %s", again.Timing, again.Duration)
		}
	})
	t.Run("lost after the request was written are a reset, not a silent repetition", func(t *testing.T) {
		t.Parallel()
		var requests atomic.Int32
		addr := receiver(t, func(e *exchange) {
			for {
				if _, _, err := e.request(); err != nil {
					return
				}
				if requests.Add(1) > 1 {
					return
				}
				e.answer(ok)
			}
		})
		client := newClient(t, Config{})
		r := requestTo("http://" + addr)
		r.Headers = []Header{{Name: "Idempotency-Key", Value: "makes net/http repeat"}}
		if o := client.Do(t.Context(), r); !o.Success {
			t.Fatalf("first attempt: %+v", o)
		}
		if o := client.Do(t.Context(), r); o.Class != ClassReset {
			t.Errorf("second attempt: %q %q, want reset", o.Class, o.Message)
		}
		if n := requests.Load(); n != 2 {
			t.Errorf("the receiver saw %d requests, want 2", n)
		}
	})
	t.Run("that fail before a byte is written are replaced", func(t *testing.T) {
		t.Parallel()
		bodies := make(chan string, 2)
		addr := receiver(t, func(e *exchange) {
			for {
				_, body, err := e.request()
				if err != nil {
					return
				}
				bodies <- string(body)
				e.answer(ok)
			}
		})
		client := newClient(t, Config{})
		var broken atomic.Bool
		client.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			made, err := client.dial(ctx, network, address)
			return &breakable{Conn: made, broken: &broken}, err
		}
		r := requestTo("http://" + addr)
		for _, which := range []string{"first", "second"} {
			if o := client.Do(t.Context(), r); !o.Success {
				t.Fatalf("%s attempt: %q %q", which, o.Class, o.Message)
			}
			if body := <-bodies; body != string(r.Body) {
				t.Errorf("%s attempt: the receiver got %q", which, body)
			}
			broken.Store(true)
		}
	})
	t.Run("closed while idle are replaced", func(t *testing.T) {
		t.Parallel()
		var requests atomic.Int32
		addr := receiver(t, func(e *exchange) { // keeps alive in word only
			if _, _, err := e.request(); err == nil {
				requests.Add(1)
				e.answer(ok)
			}
		})
		client := newClient(t, Config{})
		for range 20 {
			o := client.Do(t.Context(), requestTo("http://"+addr))
			// Reset is right where the request was on its way when the close came.
			if !o.Success && o.Class != ClassReset {
				t.Errorf("outcome %+v", o)
			}
		}
		if requests.Load() < 10 {
			t.Errorf("the receiver saw %d of 20 requests", requests.Load())
		}
	})
}

// breakable is a connection whose first write after broken is set fails whole.
type breakable struct {
	net.Conn
	broken *atomic.Bool
}

func (b *breakable) Write(p []byte) (int, error) {
	if b.broken.Swap(false) {
		return 0, syscall.EPIPE
	}
	return b.Conn.Write(p)
}

func TestClient_Do_ResponseText(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, body, want string }{
		{name: "NUL is removed", body: "a\x00b\x00", want: "ab"},
		{name: "broken UTF-8 is marked", body: "a\xffb\xc3", want: "a\uFFFDb\uFFFD"},
		{name: "a character cut at 4 KiB is dropped", body: strings.Repeat("x", 4094) + "€uro", want: strings.Repeat("x", 4094)},
		{name: "a character ending at 4 KiB is kept", body: strings.Repeat("x", 4093) + "€uro", want: strings.Repeat("x", 4093) + "€"},
		{name: "marks do not make it longer than 4 KiB", body: strings.Repeat("\xffx", 4096), want: strings.Repeat("\uFFFDx", 1024)},
		{name: "exactly 4 KiB", body: strings.Repeat("x", 4096), want: strings.Repeat("x", 4096)},
		{name: "a broken end of a whole body is marked", body: "\xe2\x82", want: "\uFFFD"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			addr := answering(t, fmt.Sprintf("HTTP/1.1 500 X\r\nContent-Length: %d\r\n\r\n%s", len(tc.body), tc.body))
			if o := newClient(t, Config{}).Do(t.Context(), requestTo("http://"+addr)); o.ResponseBody != tc.want {
				t.Errorf("stored %d bytes %.40q, want %d bytes %.40q", len(o.ResponseBody), o.ResponseBody, len(tc.want), tc.want)
			}
		})
	}
}

func TestClient_Do_ResponseHeaders(t *testing.T) {
	t.Parallel()
	stored := func(t *testing.T, head string) map[string]string {
		t.Helper()
		addr := answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"+head+"\r\n")
		o := newClient(t, Config{}).Do(t.Context(), requestTo("http://"+addr))
		if len(o.ResponseHeaders) > 8<<10 {
			t.Errorf("%d bytes of headers", len(o.ResponseHeaders))
		}
		var h map[string]string
		if err := json.Unmarshal(o.ResponseHeaders, &h); err != nil {
			t.Fatalf("headers %q: %v", o.ResponseHeaders, err)
		}
		return h
	}
	t.Run("are readable, whatever is in them", func(t *testing.T) {
		t.Parallel()
		h := stored(t, "X-Quote: a\"b\\c\r\nX-Latin: caf\xe9\r\nX-Two: 1\r\nX-Two: 2\r\nX-Utf: é\r\n")
		for name, want := range map[string]string{
			"X-Quote": `a"b\c`, "X-Latin": "caf\uFFFD", "X-Two": "1, 2", "X-Utf": "é", "Content-Length": "0",
		} {
			if h[name] != want {
				t.Errorf("%s is %q, want %q", name, h[name], want)
			}
		}
	})
	t.Run("are at most 64", func(t *testing.T) {
		t.Parallel()
		var head strings.Builder
		for i := range 100 {
			fmt.Fprintf(&head, "X-%03d: v\r\n", i)
		}
		if h := stored(t, head.String()); len(h) != 64 || h["X-000"] != "v" || h["X-099"] != "" {
			t.Errorf("%d stored, X-000 %q, X-099 %q; want the first 64", len(h), h["X-000"], h["X-099"])
		}
	})
	t.Run("are at most 8 KiB, large ones left out", func(t *testing.T) {
		t.Parallel()
		large := strings.Repeat("v", 5<<10)
		h := stored(t, "X-1: "+large+"\r\nX-2: "+large+"\r\nX-3: small\r\n")
		if h["X-1"] != large || h["X-2"] != "" || h["X-3"] != "small" {
			t.Errorf("X-1 %d bytes, X-2 %d, X-3 %q", len(h["X-1"]), len(h["X-2"]), h["X-3"])
		}
	})
}

func TestClient_Do_RetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2025, 10, 20, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name, value string
		status      int
		want        time.Duration
	}{
		{name: "seconds on a 429", status: 429, value: "120", want: 2 * time.Minute},
		{name: "seconds on a 503", status: 503, value: "120", want: 2 * time.Minute},
		{name: "seconds on a 500 are ignored", status: 500, value: "120"},
		{name: "seconds on a 200 are ignored", status: 200, value: "120"},
		{name: "a date", status: 503, value: "Mon, 20 Oct 2025 12:05:00 GMT", want: 5 * time.Minute},
		{name: "a date that has passed", status: 503, value: "Mon, 20 Oct 2025 11:00:00 GMT"},
		{name: "a date far away is cut", status: 503, value: "Tue, 20 Oct 2026 12:00:00 GMT", want: time.Hour},
		{name: "a day is cut to an hour", status: 429, value: "86400", want: time.Hour},
		{name: "more than a number holds is cut", status: 429, value: "99999999999999999999999", want: time.Hour},
		{name: "a negative number is ignored", status: 429, value: "-5"},
		{name: "words are ignored", status: 429, value: "soon"},
		{name: "none", status: 429},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			addr := answering(t, fmt.Sprintf("HTTP/1.1 %d X\r\nContent-Length: 0\r\nRetry-After: %s\r\n\r\n", tc.status, tc.value))
			client := newClient(t, Config{Now: func() time.Time { return now }})
			if o := client.Do(t.Context(), requestTo("http://"+addr)); o.RetryAfter != tc.want || o.Status != tc.status {
				t.Errorf("status %d, Retry-After %q: %s, want %s", o.Status, tc.value, o.RetryAfter, tc.want)
			}
		})
	}
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"": `""`, "plain": `"plain"`, `a"b\c`: `"a\"b\\c"`, "tab\t": `"tab\t"`, "é": `"é"`,
		"a\x00b": `"ab"`, "\xff": `"\ufffd"`, "\x7f": "\"\x7f\"",
	} {
		if got := string(appendString(nil, s)); got != want {
			t.Errorf("appendString(%q) = %s, want %s", s, got, want)
		}
	}
}
