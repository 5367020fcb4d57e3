package meta_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta"
)

const (
	secret = "the-app-secret"
	token  = "EAABtheaccesstoken0123456789"
)

// got is a request as it came.
type got struct {
	method, path  string
	query         url.Values
	authorization string
	contentType   string
	body          string
	uri           string
	from          string // address of the connection
}

// graph is a Graph API that answers as it is told and keeps what it was asked.
type graph struct {
	*httptest.Server

	mu       sync.Mutex
	requests []got
}

func serve(t *testing.T, answer http.HandlerFunc) *graph {
	t.Helper()
	g := new(graph)
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		g.mu.Lock()
		g.requests = append(g.requests, got{
			r.Method, r.URL.Path, r.URL.Query(), r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(body), r.RequestURI, r.RemoteAddr,
		})
		g.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(g.Close)
	return g
}

func (g *graph) asked() []got {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.requests
}

// says answers with a status and a body.
func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// client calls the Graph API at a URL.
func client(t *testing.T, cfg meta.Config, at string) *meta.Client {
	t.Helper()
	cfg.GraphURL = at
	c, err := meta.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

var withSecrets = meta.Config{AppSecrets: config.List{secret, "an older one"}}

func TestClient_Requests(t *testing.T) {
	t.Parallel()
	proof := meta.Proof(secret, token)
	bearer := "Bearer " + token
	params := url.Values{"fields": {"id,name"}, "limit": {"5"}}
	for _, tc := range []struct {
		name string
		cfg  meta.Config
		call func(ctx context.Context, c *meta.Client) (*meta.Response, error)
		want got
	}{
		{
			"a read has its parameters and the proof in the query", withSecrets,
			func(ctx context.Context, c *meta.Client) (*meta.Response, error) {
				return c.Get(ctx, token, meta.Path{"123_456", "accounts"}, params)
			},
			got{method: "GET", path: "/v25.0/123_456/accounts", authorization: bearer,
				query: url.Values{"fields": {"id,name"}, "limit": {"5"}, "appsecret_proof": {proof}}},
		},
		{
			"a body is JSON, its parameters are in the query", withSecrets,
			func(ctx context.Context, c *meta.Client) (*meta.Response, error) {
				return c.Post(ctx, token, meta.Path{"123", "messages"}, url.Values{"a": {"b c"}}, map[string]string{"to": "+55"})
			},
			got{method: "POST", path: "/v25.0/123/messages", authorization: bearer, contentType: "application/json", body: `{"to":"+55"}`,
				query: url.Values{"a": {"b c"}, "appsecret_proof": {proof}}},
		},
		{
			"without a body the parameters are a form", withSecrets,
			func(ctx context.Context, c *meta.Client) (*meta.Response, error) {
				return c.Post(ctx, token, meta.Path{"123", "subscribed_apps"}, url.Values{"subscribed_fields": {"messages"}}, nil)
			},
			got{method: "POST", path: "/v25.0/123/subscribed_apps", authorization: bearer, contentType: "application/x-www-form-urlencoded",
				body: "appsecret_proof=" + proof + "&subscribed_fields=messages", query: url.Values{}},
		},
		{
			"a deletion is as a read", withSecrets,
			func(ctx context.Context, c *meta.Client) (*meta.Response, error) {
				return c.Delete(ctx, token, meta.Path{"123"}, nil)
			},
			got{method: "DELETE", path: "/v25.0/123", authorization: bearer, query: url.Values{"appsecret_proof": {proof}}},
		},
		{
			"each token has its own proof", withSecrets,
			func(ctx context.Context, c *meta.Client) (*meta.Response, error) {
				return c.Get(ctx, "another", meta.Path{"me"}, nil)
			},
			got{method: "GET", path: "/v25.0/me", authorization: "Bearer another", query: url.Values{"appsecret_proof": {meta.Proof(secret, "another")}}},
		},
		{
			"without an app secret there is no proof, and the version is the config's", meta.Config{GraphVersion: "v26.0"},
			func(ctx context.Context, c *meta.Client) (*meta.Response, error) {
				return c.Get(ctx, token, meta.Path{"me"}, nil)
			},
			got{method: "GET", path: "/v26.0/me", authorization: bearer, query: url.Values{}},
		},
		{
			"without a token there is neither header nor proof", withSecrets,
			func(ctx context.Context, c *meta.Client) (*meta.Response, error) {
				return c.Get(ctx, "", meta.Path{"oauth", "access_token"}, nil)
			},
			got{method: "GET", path: "/v25.0/oauth/access_token", query: url.Values{}},
		},
		{
			"an app's own token has no proof", withSecrets,
			func(ctx context.Context, c *meta.Client) (*meta.Response, error) {
				return c.Get(ctx, "10001|"+secret, meta.Path{"debug_token"}, nil)
			},
			got{method: "GET", path: "/v25.0/debug_token", authorization: "Bearer 10001|" + secret, query: url.Values{}},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := serve(t, says(200, `{"id":"1"}`))
			res, err := tc.call(t.Context(), client(t, tc.cfg, g.URL))
			if err != nil || res.Status != 200 || string(res.Body) != `{"id":"1"}` {
				t.Fatalf("answer %+v, %v", res, err)
			}
			asked := g.asked()
			if len(asked) != 1 {
				t.Fatalf("asked %d times", len(asked))
			}
			if strings.Contains(asked[0].uri, token) {
				t.Errorf("the token is in the URL %s", asked[0].uri)
			}
			asked[0].uri, asked[0].from = "", ""
			if !reflect.DeepEqual(asked[0], tc.want) {
				t.Errorf("asked %+v\nwant  %+v", asked[0], tc.want)
			}
		})
	}
	if len(params) != 2 {
		t.Errorf("the caller's parameters became %v", params)
	}
}

func TestClient_Path(t *testing.T) {
	t.Parallel()
	g := serve(t, says(200, `{}`))
	c := client(t, withSecrets, g.URL)
	for _, path := range []meta.Path{
		nil, {}, {""}, {"123", ""}, {"."}, {".."}, {"123", "..", "me"}, {"a/b"}, {"a?b"}, {"a#b"}, {"a%2Fb"}, {"a b"}, {`a\b`}, {"ä"}, {"a\n"},
		{strings.Repeat("1", 513)},
	} {
		if _, err := c.Get(t.Context(), token, path, nil); !errors.Is(err, meta.ErrPath) {
			t.Errorf("path %q: %v, want ErrPath", path, err)
		}
	}
	if asked := g.asked(); len(asked) != 0 {
		t.Errorf("asked for %+v", asked)
	}
}

func TestClient_Token(t *testing.T) {
	t.Parallel()
	g := serve(t, says(200, `{}`))
	c := client(t, withSecrets, g.URL)
	for _, token := range []string{"a b", "a\r\nX-Evil: 1", " a", "ä", "a\x7f"} {
		_, err := c.Get(t.Context(), token, meta.Path{"me"}, nil)
		if !errors.Is(err, meta.ErrToken) {
			t.Errorf("token %q: %v, want ErrToken", token, err)
		}
	}
	if asked := g.asked(); len(asked) != 0 {
		t.Errorf("asked for %+v", asked)
	}
}

func TestClient_Answers(t *testing.T) {
	t.Parallel()
	t.Run("usage comes with a success and with an error", func(t *testing.T) {
		t.Parallel()
		for _, status := range []int{200, 400} {
			g := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("X-App-Usage", `{"call_count":28}`)
				w.Header().Set("X-Business-Use-Case-Usage", `{"1":[{"type":"whatsapp","estimated_time_to_regain_access":2}]}`)
				says(status, `{}`)(w, r)
			})
			res, err := client(t, withSecrets, g.URL).Get(t.Context(), token, meta.Path{"me"}, nil)
			var usage meta.Usage
			if failed, ok := errors.AsType[*meta.Error](err); ok {
				usage = failed.Usage
			} else if res != nil {
				usage = res.Usage
			}
			if usage.App == nil || usage.App.Calls != 28 || usage.RegainAccess() != 2*time.Minute {
				t.Errorf("status %d: usage %+v", status, usage)
			}
		}
	})
	t.Run("an answer of 1 MiB is read, a longer one is not", func(t *testing.T) {
		t.Parallel()
		for _, more := range []int{0, 1} {
			g := serve(t, says(200, `"`+strings.Repeat("x", 1<<20-2+more)+`"`))
			res, err := client(t, withSecrets, g.URL).Get(t.Context(), token, meta.Path{"me"}, nil)
			if more == 0 && (err != nil || len(res.Body) != 1<<20) || more == 1 && !errors.Is(err, meta.ErrOutcomeUnknown) {
				t.Errorf("%d bytes more: %v", more, err)
			}
		}
	})
	t.Run("an error that is too long is still one", func(t *testing.T) {
		t.Parallel()
		g := serve(t, says(400, strings.Repeat("x", 2<<20)))
		_, err := client(t, withSecrets, g.URL).Get(t.Context(), token, meta.Path{"me"}, nil)
		if failed, ok := errors.AsType[*meta.Error](err); !ok || failed.Class != meta.Permanent {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a redirect is not followed", func(t *testing.T) {
		t.Parallel()
		elsewhere := serve(t, says(200, `{"id":"1"}`))
		g := serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		})
		_, err := client(t, withSecrets, g.URL).Post(t.Context(), token, meta.Path{"me"}, nil, struct{}{})
		if failed, ok := errors.AsType[*meta.Error](err); !ok || failed.Status != http.StatusTemporaryRedirect {
			t.Errorf("error %v", err)
		}
		if asked := elsewhere.asked(); len(asked) != 0 {
			t.Errorf("followed with %+v", asked)
		}
	})
	t.Run("another form than expected is unknown, and not shown", func(t *testing.T) {
		t.Parallel()
		g := serve(t, says(200, `{"number":5511900000001}`))
		res, err := client(t, withSecrets, g.URL).Get(t.Context(), token, meta.Path{"me"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Number string `json:"number"`
		}
		if err := res.Decode(&answer); !errors.Is(err, meta.ErrOutcomeUnknown) || strings.Contains(err.Error(), "5511") {
			t.Errorf("error %v", err)
		}
		var numbers struct {
			Number json.Number `json:"number"`
		}
		if err := res.Decode(&numbers); err != nil || numbers.Number != "5511900000001" {
			t.Errorf("decoded %+v, %v", numbers, err)
		}
	})
	t.Run("a body that is no JSON of ours is not sent", func(t *testing.T) {
		t.Parallel()
		g := serve(t, says(200, `{}`))
		if _, err := client(t, withSecrets, g.URL).Post(t.Context(), token, meta.Path{"me"}, nil, make(chan int)); err == nil {
			t.Error("no error")
		}
		if asked := g.asked(); len(asked) != 0 {
			t.Errorf("asked for %+v", asked)
		}
	})
}

// hang answers nothing until its client has gone.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// closed is the URL of a port that nobody listens on.
func closed(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	return s.URL
}

// mute accepts connections and says nothing on them.
func mute(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, conn)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
		for _, conn := range conns {
			_ = conn.Close()
		}
	})
	return l.Addr().String()
}

func TestClient_WithoutAnswer(t *testing.T) {
	t.Parallel()
	untrusted := func(t *testing.T) string {
		s := httptest.NewUnstartedServer(says(200, `{}`))
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	answering := func(answer http.HandlerFunc) func(t *testing.T) string {
		return func(t *testing.T) string { return serve(t, answer).URL }
	}
	for _, tc := range []struct {
		name    string
		at      func(t *testing.T) string
		timeout time.Duration
		want    error
	}{
		{"nobody listens", closed, 0, meta.ErrNotSent},
		{"the name does not resolve", func(*testing.T) string { return "https://graph.invalid" }, 0, meta.ErrNotSent},
		{"the certificate is not trusted", untrusted, 0, meta.ErrNotSent},
		{"the handshake takes too long", func(t *testing.T) string { return "https://" + mute(t) }, 50 * time.Millisecond, meta.ErrNotSent},
		{"the answer takes too long", answering(hang), 50 * time.Millisecond, meta.ErrOutcomeUnknown},
		{"the connection breaks before the answer", answering(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), 0, meta.ErrOutcomeUnknown},
		{"the connection breaks within the answer", answering(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"messages":`)
		}), 0, meta.ErrOutcomeUnknown},
		{"the answer stops", answering(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"messages":`)
			_ = http.NewResponseController(w).Flush()
			hang(w, r)
		}), 50 * time.Millisecond, meta.ErrOutcomeUnknown},
		{"the answer is a page", answering(says(200, `<html>`)), 0, meta.ErrOutcomeUnknown},
		{"the answer is empty", answering(says(200, ``)), 0, meta.ErrOutcomeUnknown},
		{"a gateway answers", answering(says(504, `<html>`)), 0, meta.ErrOutcomeUnknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := client(t, meta.Config{AppSecret: secret, Timeout: tc.timeout}, tc.at(t))
			begun := time.Now()
			_, err := c.Post(t.Context(), token, meta.Path{"123", "messages"}, nil, struct{}{})
			if took := time.Since(begun); tc.timeout > 0 && took > 5*time.Second {
				t.Errorf("took %s, want the config's timeout", took)
			}
			unsent, unknown := errors.Is(err, meta.ErrNotSent), errors.Is(err, meta.ErrOutcomeUnknown)
			if !errors.Is(err, tc.want) || unsent && unknown {
				t.Errorf("error %v, want it to be %v alone", err, tc.want)
			}
			if tc.timeout > 0 && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v, want the timeout as its cause", err)
			}
			hides(t, err)
		})
	}
	t.Run("the caller gives up before", func(t *testing.T) {
		t.Parallel()
		g := serve(t, says(200, `{}`))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := client(t, withSecrets, g.URL).Get(ctx, token, meta.Path{"me"}, nil)
		if !errors.Is(err, meta.ErrNotSent) || !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("the caller gives up after", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		g := serve(t, func(w http.ResponseWriter, r *http.Request) { cancel(); hang(w, r) })
		_, err := client(t, withSecrets, g.URL).Get(ctx, token, meta.Path{"me"}, nil)
		if !errors.Is(err, meta.ErrOutcomeUnknown) || !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a message is not sent a second time on another connection", func(t *testing.T) {
		t.Parallel()
		var calls atomic.Int32
		g := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) > 1 { // the first leaves a connection to be used again
				panic(http.ErrAbortHandler)
			}
			says(200, `{}`)(w, r)
		})
		c := client(t, withSecrets, g.URL)
		for range 2 {
			_, err := c.Post(t.Context(), token, meta.Path{"123", "messages"}, nil, struct{}{})
			if err != nil && !errors.Is(err, meta.ErrOutcomeUnknown) {
				t.Error(err)
			}
		}
		if n := len(g.asked()); n != 2 {
			t.Errorf("asked %d times for 2 messages", n)
		}
	})
}

// hides fails if anything in err shows what is secret.
func hides(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
	}
	for _, text := range texts(err) {
		for name, value := range map[string]string{"token": token, "proof": meta.Proof(secret, token), "app secret": secret} {
			if strings.Contains(text, value) {
				t.Errorf("the %s is shown by %s", name, text)
			}
		}
	}
}

// texts are all ways to print err and what it wraps.
func texts(err error) []string {
	if err == nil {
		return nil
	}
	all := []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err)}
	if raw, err := json.Marshal(err); err == nil {
		all = append(all, string(raw))
	}
	switch e := err.(type) { //nolint:errorlint // the tree is walked by hand
	case interface{ Unwrap() error }:
		all = append(all, texts(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			all = append(all, texts(err)...)
		}
	}
	return all
}

func TestClient_Secrets(t *testing.T) {
	t.Parallel()
	t.Run("an error that quotes the call does not show them", func(t *testing.T) {
		t.Parallel()
		g := serve(t, func(w http.ResponseWriter, r *http.Request) {
			quoted := r.Header.Get("Authorization") + " " + r.RequestURI + " " + secret
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{
				"message": quoted, "type": quoted, "fbtrace_id": quoted, "error_user_title": quoted, "error_user_msg": quoted,
				"error_data": map[string]string{"details": quoted}, "code": 190,
			}})
		})
		_, err := client(t, withSecrets, g.URL).Get(t.Context(), token, meta.Path{"me"}, nil)
		failed, ok := errors.AsType[*meta.Error](err)
		if !ok || !strings.HasPrefix(failed.Message, "Bearer [hidden] /v25.0/me?appsecret_proof=[hidden] ") {
			t.Errorf("error %+v", failed)
		}
		hides(t, err)
	})
	t.Run("nor one that quotes a parameter that is secret", func(t *testing.T) {
		t.Parallel()
		var g *graph
		g = serve(t, func(w http.ResponseWriter, r *http.Request) {
			asked := g.asked()
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": r.URL.RawQuery + asked[len(asked)-1].body}})
		})
		params := url.Values{"id": {"visible"}}
		for _, name := range []string{"client_secret", "code", "code_verifier", "fb_exchange_token", "input_token"} {
			params.Set(name, "hush+of "+name)
		}
		c := client(t, withSecrets, g.URL)
		for _, call := range []func(context.Context, string, meta.Path, url.Values) (*meta.Response, error){
			c.Get, c.Delete,
			func(ctx context.Context, token string, path meta.Path, params url.Values) (*meta.Response, error) {
				return c.Post(ctx, token, path, params, nil)
			},
		} {
			_, err := call(t.Context(), "", meta.Path{"oauth", "access_token"}, params)
			failed, ok := errors.AsType[*meta.Error](err)
			if !ok || strings.Contains(failed.Message, "hush") || !strings.Contains(failed.Message, "id=visible") {
				t.Errorf("error %+v", failed)
			}
		}
	})
	t.Run("nor do those of calls that are not made", func(t *testing.T) {
		t.Parallel()
		c := client(t, withSecrets, "http://127.0.0.1:1")
		_, err := c.Get(t.Context(), token+"\n", meta.Path{"me"}, nil)
		hides(t, err)
		_, err = c.Get(t.Context(), token, meta.Path{token + "/"}, nil)
		hides(t, err)
	})
}

func TestClient_HTTP(t *testing.T) {
	t.Parallel()
	post := func(t *testing.T, c *meta.Client) (*http.Response, error) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL("oauth", "access_token"), strings.NewReader("code=1"))
		if err != nil {
			t.Fatal(err)
		}
		return c.HTTP().Do(req)
	}
	for _, tc := range []struct {
		name   string
		with   http.HandlerFunc
		status int
		body   string
	}{
		{"a success is handed on", says(200, `{"id":"1"}`), 200, `{"id":"1"}`},
		{"so is an error, whatever its form", says(502, `<html>`), 502, `<html>`},
		{"a success that is an error does not look like one", says(200, `{"error":{"code":190}}`), 400, `{"error":{"code":190}}`},
		{"a redirect is not followed", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusPermanentRedirect)
		}, 308, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := serve(t, tc.with)
			res, err := post(t, client(t, withSecrets, g.URL))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != tc.status || string(body) != tc.body {
				t.Errorf("status %d, %s, %v", res.StatusCode, body, err)
			}
			if asked := g.asked(); len(asked) != 1 || asked[0].path != "/v25.0/oauth/access_token" || asked[0].body != "code=1" {
				t.Errorf("asked %+v", asked)
			}
		})
	}
	for _, tc := range []struct {
		name string
		at   string
		want error
	}{
		{"nobody listens", closed(t), meta.ErrNotSent},
		{"the answer is a page", serve(t, says(200, `<html>`)).URL, meta.ErrOutcomeUnknown},
		{"the answer is too long", serve(t, says(200, `"`+strings.Repeat("x", 1<<20)+`"`)).URL, meta.ErrOutcomeUnknown},
		{"the answer takes too long", serve(t, hang).URL, meta.ErrOutcomeUnknown},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := withSecrets
			cfg.Timeout = 50 * time.Millisecond
			if tc.name != "the answer takes too long" {
				cfg.Timeout = 0
			}
			res, err := post(t, client(t, cfg, tc.at))
			if !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if res != nil {
				_ = res.Body.Close()
			}
		})
	}
}

func TestClient_Connections(t *testing.T) {
	t.Parallel()
	t.Run("calls one after another share one", func(t *testing.T) {
		t.Parallel()
		g := serve(t, says(200, `{}`))
		c := client(t, withSecrets, g.URL)
		for range 5 {
			if _, err := c.Get(t.Context(), token, meta.Path{"me"}, nil); err != nil {
				t.Fatal(err)
			}
		}
		for _, asked := range g.asked() {
			if asked.from != g.asked()[0].from {
				t.Errorf("asked from %s, and before from %s", asked.from, g.asked()[0].from)
			}
		}
	})
	t.Run("a call has its own, also where HTTP/2 is spoken", func(t *testing.T) {
		t.Parallel()
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			says(200, fmt.Sprintf(`"%s"`, r.Proto))(w, r)
		}))
		s.EnableHTTP2 = true
		s.StartTLS()
		t.Cleanup(s.Close)
		c := client(t, withSecrets, s.URL)
		c.Trust(s.Certificate())
		res, err := c.Get(t.Context(), token, meta.Path{"me"}, nil)
		if err != nil || string(res.Body) != `"HTTP/1.1"` {
			t.Errorf("answer %+v, %v", res, err)
		}
	})
	t.Run("the 65th call at a time waits, and has not been sent", func(t *testing.T) {
		t.Parallel()
		const most = 64
		arrived, release := make(chan struct{}, 2*most), make(chan struct{})
		g := serve(t, func(w http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			<-release
			says(200, `{}`)(w, r)
		})
		c := client(t, withSecrets, g.URL)
		var calls sync.WaitGroup
		for range most {
			calls.Go(func() {
				if _, err := c.Get(t.Context(), token, meta.Path{"me"}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		for range most {
			<-arrived
		}
		impatient := client(t, meta.Config{}, g.URL) // another pool: the server itself takes more
		calls.Go(func() { _, _ = impatient.Get(t.Context(), token, meta.Path{"me"}, nil) })
		<-arrived
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := c.Get(ctx, token, meta.Path{"me"}, nil); !errors.Is(err, meta.ErrNotSent) {
			t.Errorf("error %v, want ErrNotSent", err)
		}
		close(release)
		calls.Wait()
		if n := len(g.asked()); n != most+1 {
			t.Errorf("asked %d times", n)
		}
	})
}
