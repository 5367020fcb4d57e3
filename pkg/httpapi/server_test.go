package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/httpapi"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// contract has an operation of each kind that the server treats differently.
const contract = `
openapi: 3.1.0
security:
  - apiKey: [things:read]
paths:
  /strict:
    parameters: [{name: X-Tenant-Id, in: header}]
    get:
      operationId: strict
      security: []
      parameters:
        - {name: limit, in: query}
        - {$ref: "#/components/parameters/page"}
        - {name: X-Header, in: header}
  /any:
    get: {operationId: any, security: [], x-any-query: true}
  /small:
    post: {operationId: small, security: [], requestBody: {x-max-bytes: 8}}
  /large:
    post: {operationId: large, security: []}
  /private:
    get: {operationId: private}
  /healthz:
    get: {operationId: getHealth, security: []}
  /readyz:
    get: {operationId: getReadiness, security: []}
  /openapi.json:
    get: {operationId: getOpenAPI, security: []}
components:
  parameters:
    page: {name: page, in: query}
`

// nobody knows no key and no tenant.
type nobody struct{}

func (nobody) LookupKey(context.Context, []byte) (auth.Principal, error) {
	return auth.Principal{}, problem.Unauthorized("", "unknown")
}

func (nobody) Refuse(context.Context, uuid.UUID) error { return nil }

// newServer makes a server whose operations of the contract answer 204 once they have
// read the body.
func newServer(t *testing.T, adjust func(*httpapi.Options)) *httpapi.Server {
	t.Helper()
	options := httpapi.Options{
		Service: "test", Contract: []byte(contract), Keys: nobody{}, Tenants: nobody{},
		Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	}
	if adjust != nil {
		adjust(&options)
	}
	s, err := httpapi.New(options)
	if err != nil {
		t.Fatal(err)
	}
	for path, id := range map[string]string{"/strict": "strict", "/any": "any", "/small": "small", "/large": "large", "/private": "private"} {
		s.Router().Any(path, func(c echo.Context) error {
			if _, err := io.Copy(io.Discard, c.Request().Body); err != nil {
				return err
			}
			return c.NoContent(http.StatusNoContent)
		}, s.Operations()[id]...)
	}
	return s
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func call(t *testing.T, handler http.Handler, method, target, body string) answer {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body)))
	return answer{recorder.Code, recorder.Header(), recorder.Body.Bytes()}
}

// pointers are the faults of a problem.
func (a answer) pointers(t *testing.T) (pointers []string) {
	t.Helper()
	var refusal struct{ Errors []struct{ Pointer string } }
	if err := json.Unmarshal(a.body, &refusal); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	for _, fault := range refusal.Errors {
		pointers = append(pointers, fault.Pointer)
	}
	slices.Sort(pointers)
	return pointers
}

func TestServer_QueryParameters(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	s.ServeOperations(func(context.Context) error { return nil })
	for name, tc := range map[string]struct {
		target   string
		status   int
		pointers []string
	}{
		"none is no fault":                             {"/strict", 204, nil},
		"those of the contract are taken":              {"/strict?limit=1&page=2", 204, nil},
		"others are refused, each by name":             {"/strict?limt=1&X-Header=1&~/=1&limit=1", 422, []string{"/X-Header", "/limt", "/~0~1"}},
		"one that is given twice is refused":           {"/strict?limit=1&limit=1", 422, []string{"/limit"}},
		"what cannot be read is refused":               {"/strict?limit=%zz", 400, nil},
		"x-any-query takes all":                        {"/any?limit=1&code=x&code=y", 204, nil},
		"x-any-query takes what nobody can read":       {"/any?%zz=%zz&;;;=1", 204, nil},
		"an operation of operators' has its own alone": {"/healthz?x=1", 422, []string{"/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := call(t, s, http.MethodGet, tc.target, "")
			if a.status != tc.status {
				t.Fatalf("answers %d %s, want %d", a.status, a.body, tc.status)
			}
			if a.status == 422 && !slices.Equal(a.pointers(t), tc.pointers) {
				t.Errorf("faults at %v, want %v", a.pointers(t), tc.pointers)
			}
		})
	}
}

func TestServer_Bounds(t *testing.T) {
	t.Parallel()
	s := newServer(t, nil)
	for name, tc := range map[string]struct {
		path          string
		bytes, status int
	}{
		"x-max-bytes is taken":            {"/small", 8, 204},
		"more is refused":                 {"/small", 9, 413},
		"without it a mebibyte is taken":  {"/large", 1 << 20, 204},
		"more than a mebibyte is refused": {"/large", 1<<20 + 1, 413},
		"who is not known sends no body":  {"/private", 1 << 21, 401},
		"a path that is nobody's is none": {"/nothing", 1 << 21, 404},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if a := call(t, s, http.MethodPost, tc.path, strings.Repeat("x", tc.bytes)); a.status != tc.status {
				t.Errorf("answers %d %s, want %d", a.status, a.body, tc.status)
			}
		})
	}
}

func TestServer_ServeOperations(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		ready  error
		status int
		says   string
		hides  string
		retry  string
	}{
		"a service that is ready says so":               {nil, 200, `{"status":"ok"}`, "", ""},
		"a problem is shown as it is":                   {problem.Unavailable(0, "A_SETTING is not set").WithType("urn:x"), 503, `"detail":"A_SETTING is not set"`, "", ""},
		"what else is missing is for the log alone":     {errors.New("postgres: dial 10.1.2.3"), 503, "the service is not ready", "10.1.2.3", "2"},
		"a problem that is wrapped is shown as it is":   {fmt.Errorf("check: %w", problem.Unavailable(0, "A_SETTING is not set")), 503, "A_SETTING is not set", "check", ""},
		"what takes too long is for the log alone also": {context.DeadlineExceeded, 503, "the service is not ready", "deadline", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, nil)
			s.ServeOperations(func(ctx context.Context) error {
				if deadline, bounded := ctx.Deadline(); !bounded || time.Until(deadline) > 3*time.Second {
					t.Error("a probe may take for ever")
				}
				return tc.ready
			})
			a := call(t, s, http.MethodGet, "/readyz", "")
			if a.status != tc.status || !strings.Contains(string(a.body), tc.says) || tc.hides != "" && strings.Contains(string(a.body), tc.hides) || a.header.Get("Retry-After") != tc.retry {
				t.Errorf("answers %d %v %s", a.status, a.header, a.body)
			}
			if a := call(t, s, http.MethodGet, "/healthz", ""); a.status != 200 || string(bytes.TrimSpace(a.body)) != `{"status":"ok"}` {
				t.Errorf("/healthz answers %d %s", a.status, a.body)
			}
		})
	}
	t.Run("the contract is served as JSON, and asked for anew", func(t *testing.T) {
		t.Parallel()
		s := newServer(t, nil)
		s.ServeOperations(func(context.Context) error { return nil })
		a := call(t, s, http.MethodGet, "/openapi.json", "")
		var document struct {
			OpenAPI string
			Paths   map[string]map[string]any
		}
		if err := json.Unmarshal(a.body, &document); err != nil || document.OpenAPI != "3.1.0" || document.Paths["/any"]["get"] == nil {
			t.Errorf("%s: %v", a.body, err)
		}
		if a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-cache" {
			t.Errorf("its header is %v", a.header)
		}
	})
}

func TestNew_RefusesAContractItCannotKeepTo(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"one that is no YAML":          "paths: [",
		"one with two kinds of access": "paths: {/x: {get: {operationId: x, security: [{apiKey: []}, {basic: []}]}}}",
		"one with another access":      "paths: {/x: {get: {operationId: x, security: [{basic: []}]}}}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := httpapi.New(httpapi.Options{Contract: []byte(text), Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler)})
			if err == nil || !strings.HasPrefix(err.Error(), "contract: ") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// serving runs Serve and returns its address, what ends it, and its result.
func serving(t *testing.T, handler http.Handler) (url string, end func(), ended <-chan error) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	done := make(chan error, 1) // received by every caller
	go func() { done <- httpapi.Serve(ctx, listener, handler, slog.New(slog.DiscardHandler)) }()
	return "http://" + listener.Addr().String(), cancel, done
}

// get asks without keeping a connection.
func get(ctx context.Context, url string, header http.Header) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	req.Close = true
	maps.Copy(req.Header, header)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

func TestServe(t *testing.T) {
	t.Parallel()
	t.Run("finishes what it has begun and takes nothing new", func(t *testing.T) {
		t.Parallel()
		begun, finish := make(chan struct{}), make(chan struct{})
		url, end, ended := serving(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(begun)
			<-finish
			w.WriteHeader(http.StatusTeapot)
		}))
		got := make(chan error, 1)
		go func() {
			status, err := get(t.Context(), url, nil)
			if err == nil && status != http.StatusTeapot {
				err = fmt.Errorf("answered %d", status)
			}
			got <- err
		}()
		<-begun
		end()
		for {
			conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				break // the port is closed first of all
			}
			conn.Close()
		}
		select {
		case err := <-ended:
			t.Errorf("ended with a request in hand: %v", err)
		default:
		}
		close(finish)
		if err := <-got; err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Run("cuts off what takes longer than five seconds", func(t *testing.T) {
		t.Parallel()
		begun := make(chan struct{})
		url, end, ended := serving(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(begun)
			<-r.Context().Done()
		}))
		got := make(chan error, 1)
		go func() {
			_, err := get(t.Context(), url, nil)
			got <- err
		}()
		<-begun
		began := time.Now()
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 5*time.Second || took > 7*time.Second { // of the nine that a supervisor waits
			t.Errorf("ended after %s", took)
		}
		if err := <-got; err == nil {
			t.Error("the request was answered")
		}
	})
	t.Run("refuses an endless header", func(t *testing.T) {
		t.Parallel()
		url, end, ended := serving(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		if status, err := get(t.Context(), url, http.Header{"X": {strings.Repeat("x", 64<<10)}}); err != nil || status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("answers %d, %v", status, err)
		}
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Run("says that its listener is gone", func(t *testing.T) {
		t.Parallel()
		listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
		if err := httpapi.Serve(t.Context(), listener, http.NotFoundHandler(), slog.New(slog.DiscardHandler)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("error %v", err)
		}
	})
}

// Whoever serves a server by other means than Serve keeps its tokens' keys all the same.
func TestServer_While(t *testing.T) {
	t.Parallel()
	read := make(chan struct{}, 100)
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"keys":[]}`) // the client's end is the test's
		read <- struct{}{}
	}))
	t.Cleanup(keys.Close)
	s := newServer(t, func(o *httpapi.Options) {
		o.Tokens = auth.NewTokens(auth.JWTConfig{JWKSURL: keys.URL}, o.Log)
	})
	failed := errors.New("served enough")
	err := s.While(t.Context(), func(ctx context.Context) error {
		select {
		case <-read:
		case <-time.After(10 * time.Second):
			t.Error("the keys are not read")
		}
		return errors.Join(failed, ctx.Err())
	})
	if !errors.Is(err, failed) || errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of what served", err)
	}
}
