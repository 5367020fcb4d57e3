package attempt

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newClient returns a client that may call this machine over http.
func newClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	cfg.AllowHTTP = true
	cfg.AllowCIDRs = append(cfg.AllowCIDRs, netip.MustParsePrefix("127.0.0.0/8"))
	c := NewClient(cfg)
	t.Cleanup(c.CloseIdle)
	return c
}

// keySigner signs with one key in both schemes.
type keySigner []byte

func (k keySigner) Hex(body []byte) string {
	mac := hmac.New(sha256.New, k)
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

func (k keySigner) Standard(id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, k)
	mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func requestTo(url string) *Request {
	return &Request{
		URL: url, EventType: "deal.moved", EventID: "evt_1",
		Body: []byte(`{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{}}`), Signer: keySigner("key"),
	}
}

// resolverFunc answers look-ups without a network.
type resolverFunc func(ctx context.Context, host string) ([]netip.Addr, error)

func (f resolverFunc) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	return f(ctx, host)
}

// exchange is one connection of a receiver, in the hands of a test.
type exchange struct {
	net.Conn
	read *bufio.Reader
}

// request reads one request whole, and returns its head as it was on the wire.
func (e *exchange) request() (head string, body []byte, err error) {
	length := 0
	for {
		line, err := e.read.ReadString('\n')
		if err != nil {
			return head, nil, err
		}
		if line == "\r\n" {
			break
		}
		head += line
		if value, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
	}
	body = make([]byte, length)
	_, err = io.ReadFull(e.read, body)
	return head, body, err
}

func (e *exchange) answer(s string) { _, _ = io.WriteString(e.Conn, s) }

// untilClosed returns when the client has closed the connection.
func (e *exchange) untilClosed() { _, _ = io.Copy(io.Discard, e.read) }

// reset ends the connection by a RST.
func (e *exchange) reset() {
	_ = e.Conn.(*net.TCPConn).SetLinger(0)
	_ = e.Conn.Close()
}

// receiver listens on this machine and hands each connection to serve, in a
// goroutine that the test's end waits for; it returns its address. The
// connection is closed when serve returns.
func receiver(t testing.TB, serve func(*exchange)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				serve(&exchange{Conn: conn, read: bufio.NewReader(conn)})
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}

// answering is a receiver that answers each request with s and closes.
func answering(t testing.TB, s string) string {
	t.Helper()
	return receiver(t, func(e *exchange) {
		if _, _, err := e.request(); err == nil {
			e.answer(s)
		}
	})
}
