package attempt

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// certificate is a self-signed one for 127.0.0.1 or for another host, valid
// until an hour after now; it stands for its own authority.
func certificate(t *testing.T, host string, until time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host},
		NotBefore: until.Add(-24 * time.Hour), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// secureServer answers over TLS as cfg says.
func secureServer(t *testing.T, cfg *tls.Config, http2 bool, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = cfg
	server.EnableHTTP2 = http2
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func nothing(http.ResponseWriter, *http.Request) {}

func TestClient_Do_TLS(t *testing.T) {
	t.Parallel()
	tomorrow := time.Now().Add(24 * time.Hour)
	good, trusted := certificate(t, "127.0.0.1", tomorrow)
	other, otherTrusted := certificate(t, "other.example", tomorrow)
	old, oldTrusted := certificate(t, "127.0.0.1", time.Now().Add(-time.Hour))
	serve := func(cfg *tls.Config) func(*testing.T) string {
		return func(t *testing.T) string { return secureServer(t, cfg, false, nothing) }
	}
	for _, tc := range []struct {
		name    string
		url     func(*testing.T) string
		roots   *x509.CertPool
		message string
	}{
		{name: "an unknown authority", url: serve(&tls.Config{Certificates: []tls.Certificate{good}}),
			message: "the certificate is not from a known authority, or an intermediate certificate is missing"},
		{name: "another host's certificate", url: serve(&tls.Config{Certificates: []tls.Certificate{other}}), roots: otherTrusted,
			message: "the certificate is not for this host name"},
		{name: "an expired certificate", url: serve(&tls.Config{Certificates: []tls.Certificate{old}}), roots: oldTrusted,
			message: "the certificate has expired or is not valid yet"},
		{name: "an old protocol", url: serve(&tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}), roots: trusted,
			message: "the endpoint refused the TLS session: tls: protocol version not supported"},
		{name: "a client certificate asked for", url: serve(&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}), roots: trusted,
			message: "the endpoint refused the TLS session: tls: certificate required"},
		{name: "plain http on the port", url: func(t *testing.T) string {
			return "https://" + receiver(t, func(e *exchange) { e.answer("HTTP/1.1 400 Bad Request\r\n\r\n"); e.untilClosed() })
		}, message: "the endpoint does not speak TLS on this port"},
		{name: "a connection closed in the handshake", url: func(t *testing.T) string {
			return "https://" + receiver(t, func(e *exchange) { _, _ = e.read.ReadByte() })
		}, message: "the connection was closed during the TLS handshake"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := newClient(t, Config{RootCAs: tc.roots}).Do(t.Context(), requestTo(tc.url(t)))
			if o.Class != ClassTLS || o.Message != tc.message || o.Success || o.Status != 0 {
				t.Errorf("got %q %q, status %d; want tls %q", o.Class, o.Message, o.Status, tc.message)
			}
		})
	}
}

func TestClient_Do_AbortedByTheHandler(t *testing.T) {
	t.Parallel()
	certified, roots := certificate(t, "127.0.0.1", time.Now().Add(24*time.Hour))
	for _, http2 := range []bool{false, true} { // there a closed connection, here a reset stream
		url := secureServer(t, &tls.Config{Certificates: []tls.Certificate{certified}}, http2,
			func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		if o := newClient(t, Config{RootCAs: roots}).Do(t.Context(), requestTo(url)); o.Class != ClassReset {
			t.Errorf("http2 %t: got %q %q, want reset", http2, o.Class, o.Message)
		}
	}
}

func TestClient_Do_SpeaksHTTP2WhereOffered(t *testing.T) {
	t.Parallel()
	certified, roots := certificate(t, "127.0.0.1", time.Now().Add(24*time.Hour))
	for _, tc := range []struct {
		proto string
		http2 bool
	}{{"HTTP/1.1", false}, {"HTTP/2.0", true}} {
		t.Run(tc.proto, func(t *testing.T) {
			t.Parallel()
			r := requestTo(secureServer(t, &tls.Config{Certificates: []tls.Certificate{certified}}, tc.http2,
				func(w http.ResponseWriter, got *http.Request) {
					body, _ := io.ReadAll(got.Body)
					_, _ = io.WriteString(w, got.Proto+" "+got.Header.Get("webhook-id")+" "+string(body))
				}))
			client := newClient(t, Config{RootCAs: roots})
			first := client.Do(t.Context(), r)
			if want := tc.proto + " evt_1 " + string(r.Body); first.ResponseBody != want {
				t.Errorf("answered %q, want %q", first.ResponseBody, want)
			}
			if first.Timing.DNS != 0 || first.Timing.Connect <= 0 || first.Timing.TLS <= 0 {
				t.Errorf("a new connection's phases: %+v", first.Timing)
			}
			if again := client.Do(t.Context(), r); !again.Success || again.Timing.Connect != 0 || again.Timing.TLS != 0 {
				t.Errorf("a reused connection: %q, phases %+v", again.Class, again.Timing)
			}
		})
	}
}
