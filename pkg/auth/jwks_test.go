package auth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/primezap/primezap/pkg/auth"
)

// keyServer shows a set of keys, as an identity provider does.
type keyServer struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex
	answer http.HandlerFunc
	asked  int
	asks   chan struct{} // one for each request, dropped when full
}

func serveKeys(t *testing.T, keys ...jose.JSONWebKey) *keyServer {
	t.Helper()
	s := &keyServer{t: t, asks: make(chan struct{}, 1)}
	s.show(keys...)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked++
		answer := s.answer
		s.mu.Unlock()
		answer(w, r)
		select {
		case s.asks <- struct{}{}:
		default:
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// show changes the set.
func (s *keyServer) show(keys ...jose.JSONWebKey) {
	s.t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		s.t.Fatal(err)
	}
	s.answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) })
}

func (s *keyServer) answers(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// times is how often the server was asked.
func (s *keyServer) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// awaitAsked waits for a request that was answered after the call.
func (s *keyServer) awaitAsked() {
	s.t.Helper()
	for range 2 { // one may have been answered before
		select {
		case <-s.asks:
		case <-time.After(10 * time.Second):
			s.t.Fatal("the keys were not read")
		}
	}
}

func TestTokens_Rotation(t *testing.T) {
	t.Parallel()
	old, young := rsaSigner(t, "old"), ecSigner(t, "young")
	behind := serveKeys(t, old.public())
	tokens := tokensOf(t, auth.JWTConfig{JWKSURL: behind.URL})
	tokens.Pace(time.Hour, 0)
	accepts(t, tokens, old.sign(nil))
	behind.show(old.public(), young.public())
	accepts(t, tokens, young.sign(nil))
	accepts(t, tokens, old.sign(nil))
	if got := behind.times(); got != 2 {
		t.Errorf("keys were read %d times, want once for each unknown key", got)
	}
	behind.show(young.public())
	refuses(t, tokens, ecSigner(t, "unknown").sign(nil), 401) // reads the keys
	refuses(t, tokens, old.sign(nil), 401)
	accepts(t, tokens, young.sign(nil))
}

func TestTokens_UnknownKeysDoNotFlood(t *testing.T) {
	t.Parallel()
	known, unknown := ecSigner(t, "known"), ecSigner(t, "unknown")
	behind := serveKeys(t, known.public())
	tokens := tokensOf(t, auth.JWTConfig{JWKSURL: behind.URL})
	token := unknown.sign(nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { refuses(t, tokens, token, 401) })
	}
	wg.Wait()
	accepts(t, tokens, known.sign(nil))
	if got := behind.times(); got != 1 {
		t.Errorf("keys were read %d times within moments, want once", got)
	}
}

func TestTokens_Outage(t *testing.T) {
	t.Parallel()
	known, young := ecSigner(t, "known"), ecSigner(t, "young")
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{young.public()}})
	if err != nil {
		t.Fatal(err)
	}
	for name, away := range map[string]http.HandlerFunc{
		"answers with an error": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"breaks off":            func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"hangs":                 func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"shows a page instead":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"shows no keys":         func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"shows something else":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"error":"busy"}`)) },
		"shows more than a set has": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(append(set, bytes.Repeat([]byte(" "), 300<<10)...))
		},
		"shows a secret": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
		},
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/moved" {
				_, _ = w.Write(set)
				return
			}
			http.Redirect(w, r, "/moved", http.StatusFound)
		},
	} {
		t.Run("known keys stay when the URL "+name, func(t *testing.T) {
			t.Parallel()
			behind := serveKeys(t, known.public())
			tokens := tokensOf(t, auth.JWTConfig{JWKSURL: behind.URL})
			tokens.Pace(time.Hour, 0)
			accepts(t, tokens, known.sign(nil))
			behind.answers(away)
			refuses(t, tokens, young.sign(nil), 503) // nobody can say that it is not ours
			accepts(t, tokens, known.sign(nil))
			behind.show(known.public(), young.public())
			accepts(t, tokens, young.sign(nil))
		})
	}
	t.Run("keys that were never read are a 503", func(t *testing.T) {
		t.Parallel()
		behind := serveKeys(t)
		behind.Close()
		refuses(t, tokensOf(t, auth.JWTConfig{JWKSURL: behind.URL}), known.sign(nil), 503)
	})
	t.Run("a URL that is away is not asked for each token", func(t *testing.T) {
		t.Parallel()
		behind := serveKeys(t)
		tokens := tokensOf(t, auth.JWTConfig{JWKSURL: behind.URL})
		for range 5 {
			refuses(t, tokens, known.sign(nil), 503)
		}
		if got := behind.times(); got != 1 {
			t.Errorf("it was asked %d times within moments, want once", got)
		}
	})
}

func TestTokens_Run(t *testing.T) {
	t.Parallel()
	old, young := ecSigner(t, "old"), ecSigner(t, "young")
	behind := serveKeys(t, old.public())
	var log bytes.Buffer
	tokens := auth.NewTokens(auth.JWTConfig{JWKSURL: behind.URL}, slog.New(slog.NewTextHandler(&log, nil)))
	tokens.Pace(10*time.Millisecond, time.Hour) // no token makes it read
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { tokens.Run(ctx) })
	behind.awaitAsked()
	accepts(t, tokens, old.sign(nil))
	behind.show(young.public())
	behind.awaitAsked()
	behind.awaitAsked()
	accepts(t, tokens, young.sign(nil))
	refuses(t, tokens, old.sign(nil), 401)
	behind.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	behind.awaitAsked()
	behind.awaitAsked()
	token := young.sign(nil)
	accepts(t, tokens, token)
	stop()
	wg.Wait() // Run ends, and writes no more
	if says := log.String(); !strings.Contains(says, "status 502") || strings.Contains(says, token) {
		t.Errorf("logged %q", says)
	}
}

func TestTokens_KeyID(t *testing.T) {
	t.Parallel()
	t.Run("a token may leave it out where there is one key of its algorithm", func(t *testing.T) {
		t.Parallel()
		r, e := rsaSigner(t, ""), ecSigner(t, "")
		tokens := tokensOf(t, auth.JWTConfig{JWKSURL: serveKeys(t, r.public(), e.public()).URL})
		accepts(t, tokens, r.sign(nil))
		accepts(t, tokens, e.sign(nil))
	})
	t.Run("and not where there are two", func(t *testing.T) {
		t.Parallel()
		one, two := ecSigner(t, "1"), ecSigner(t, "2")
		tokens := tokensOf(t, auth.JWTConfig{JWKSURL: serveKeys(t, one.public(), two.public()).URL})
		one.kid = ""
		refuses(t, tokens, one.sign(nil), 401)
	})
	t.Run("keys that we do not know, or that encrypt, do no harm", func(t *testing.T) {
		t.Parallel()
		e, sealing := ecSigner(t, "e"), ecSigner(t, "sealing")
		behind := serveKeys(t)
		encrypt := sealing.public()
		encrypt.Use = "enc"
		var set [2]string
		for i, key := range []jose.JSONWebKey{encrypt, e.public()} {
			text, err := json.Marshal(key)
			if err != nil {
				t.Fatal(err)
			}
			set[i] = string(text)
		}
		behind.answers(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"XX","kid":"e"},{"kty":"OKP","crv":"X448","x":"AA"},` + set[0] + `,` + set[1] + `]}`))
		})
		tokens := tokensOf(t, auth.JWTConfig{JWKSURL: behind.URL})
		accepts(t, tokens, e.sign(nil))
		refuses(t, tokens, sealing.sign(nil), 401)
	})
}
