package problem_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/primezap/primezap/pkg/problem"
)

// serve answers req with an echo whose only handler fails with err, and returns
// the answer and what was logged.
func serve(t *testing.T, req *http.Request, mapError func(error) *problem.Problem, handler echo.HandlerFunc) (*httptest.ResponseRecorder, string) {
	t.Helper()
	var logged bytes.Buffer
	e := echo.New()
	e.Use(middleware.RequestID())
	e.HTTPErrorHandler = problem.ErrorHandler(
		slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelInfo})), mapError)
	e.Any("/api/things/:id", handler)
	rec := httptest.NewRecorder()
	req.Header.Set("X-Request-Id", "req-1")
	e.ServeHTTP(rec, req)
	return rec, logged.String()
}

func failing(err error) echo.HandlerFunc { return func(echo.Context) error { return err } }

var errRowGone = errors.New("row gone")

func mapRowGone(err error) *problem.Problem {
	if errors.Is(err, errRowGone) {
		return problem.NotFound("no such thing")
	}
	return nil
}

func TestErrorHandler_Answer(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		err        error
		status     int
		detail     string
		retryAfter string
	}{
		{name: "a problem is sent as it is", err: problem.Conflict("in flight"), status: 409, detail: "in flight"},
		{name: "a wrapped problem too", err: fmt.Errorf("create: %w", problem.Conflict("taken")), status: 409, detail: "taken"},
		{name: "an error that mapError knows is what it says", err: fmt.Errorf("get: %w", errRowGone), status: 404, detail: "no such thing"},
		{name: "a problem goes before mapError", err: problem.Conflict("taken").WithCause(errRowGone), status: 409, detail: "taken"},
		{
			name: "a body over its limit is a 413 that names the limit, whatever wraps it",
			err:  echo.NewHTTPError(400, "read").SetInternal(&http.MaxBytesError{Limit: 1024}), status: 413,
			detail: "the body is larger than 1024 bytes",
		},
		{name: "echo's errors keep their code", err: echo.ErrUnsupportedMediaType, status: 415},
		{name: "echo's own words for the client are kept", err: echo.NewHTTPError(400, "invalid format for page"), status: 400, detail: "invalid format for page"},
		{name: "echo's words about an inner error are not", err: echo.NewHTTPError(400, "expected=api.Hook").SetInternal(errors.New("x")), status: 400},
		{name: "nor its words about our own failure", err: echo.NewHTTPError(503, "pool at 10.0.0.7 is empty"), status: 503},
		{name: "a code that is no error is a 500", err: echo.NewHTTPError(204), status: 500, detail: "the request failed on our side; its requestId finds the cause in our logs"},
		{name: "Retry-After is rounded up to whole seconds", err: problem.Unavailable(1100*time.Millisecond, "away"), status: 503, detail: "away", retryAfter: "2"},
		{name: "a whole second stays one", err: problem.TooManyRequests(time.Second, "slower"), status: 429, detail: "slower", retryAfter: "1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rec, _ := serve(t, httptest.NewRequest(http.MethodGet, "/api/things/a%2Fb?q=1", nil), mapRowGone, failing(tc.err))
			var got problem.Problem
			if err := json.Unmarshal(rec.Body.Bytes(), &got); err != nil {
				t.Fatalf("body %q: %v", rec.Body, err)
			}
			if rec.Code != tc.status || got.Status != tc.status || got.Detail != tc.detail {
				t.Errorf("got %d, body status %d, detail %q; want %d, %q", rec.Code, got.Status, got.Detail, tc.status, tc.detail)
			}
			if got.Instance != "/api/things/a%2Fb" || got.RequestID != "req-1" || got.Title == "" || got.Type != "about:blank" {
				t.Errorf("instance %q, requestId %q, title %q, type %q", got.Instance, got.RequestID, got.Title, got.Type)
			}
			if h := rec.Header(); h.Get("Content-Type") != "application/problem+json" || h.Get("Retry-After") != tc.retryAfter {
				t.Errorf("Content-Type %q, Retry-After %q; want problem JSON and %q", h.Get("Content-Type"), h.Get("Retry-After"), tc.retryAfter)
			}
		})
	}
}

func TestErrorHandler_UnknownError(t *testing.T) {
	t.Parallel()
	rec, logged := serve(t, httptest.NewRequest(http.MethodGet, "/api/things/1", nil), mapRowGone,
		failing(errors.New("relation webhooks does not exist")))
	if rec.Code != http.StatusInternalServerError {
		t.Errorf("status %d, want 500", rec.Code)
	}
	if strings.Contains(rec.Body.String(), "relation") {
		t.Errorf("the client was shown the cause: %s", rec.Body)
	}
	for _, want := range []string{"relation webhooks does not exist", `"requestId":"req-1"`, `"route":"/api/things/:id"`, `"level":"ERROR"`} {
		if !strings.Contains(logged, want) {
			t.Errorf("log %q lacks %q", logged, want)
		}
	}
}

func TestErrorHandler_ClientErrorsAreNotLogged(t *testing.T) {
	t.Parallel()
	_, logged := serve(t, httptest.NewRequest(http.MethodGet, "/api/things/1", nil), nil, failing(problem.NotFound("no")))
	if logged != "" {
		t.Errorf("logged %q, want nothing: anybody can cause it", logged)
	}
}

func TestErrorHandler_ClientHungUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	req := httptest.NewRequest(http.MethodGet, "/api/things/1", nil).WithContext(ctx)
	rec, logged := serve(t, req, nil, func(c echo.Context) error {
		cancel()
		return fmt.Errorf("query: %w", c.Request().Context().Err())
	})
	if rec.Code != 499 || rec.Body.Len() != 0 || logged != "" {
		t.Errorf("status %d, body %q, log %q; want 499 and neither", rec.Code, rec.Body, logged)
	}
}

func TestErrorHandler_OurOwnCancellationIsA500(t *testing.T) {
	t.Parallel()
	rec, _ := serve(t, httptest.NewRequest(http.MethodGet, "/api/things/1", nil), nil, failing(context.Canceled))
	if rec.Code != http.StatusInternalServerError {
		t.Errorf("status %d, want 500: the client still waits", rec.Code)
	}
}

func TestErrorHandler_CommittedAnswerIsLeftAlone(t *testing.T) {
	t.Parallel()
	rec, logged := serve(t, httptest.NewRequest(http.MethodGet, "/api/things/1", nil), nil, func(c echo.Context) error {
		if err := c.String(http.StatusOK, "half"); err != nil {
			return err
		}
		return errors.New("disk full")
	})
	if rec.Code != http.StatusOK || rec.Body.String() != "half" {
		t.Errorf("got %d %q, want the answer as it was", rec.Code, rec.Body)
	}
	if !strings.Contains(logged, "disk full") {
		t.Errorf("log %q lacks the error", logged)
	}
}

func TestErrorHandler_Headers(t *testing.T) {
	t.Parallel()
	shared := problem.Unauthorized("Bearer", "no credentials")
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		t.Run(method+" carries the problem's headers", func(t *testing.T) {
			t.Parallel()
			rec, _ := serve(t, httptest.NewRequest(method, "/api/things/1", nil), nil, failing(shared))
			if got := rec.Header().Values("WWW-Authenticate"); rec.Code != 401 || len(got) != 1 || got[0] != "Bearer" {
				t.Errorf("status %d, WWW-Authenticate %q; want 401 and one Bearer", rec.Code, got)
			}
			body, err := io.ReadAll(rec.Body)
			if err != nil {
				t.Fatal(err)
			}
			if (len(body) == 0) != (method == http.MethodHead) {
				t.Errorf("%s got a body of %d bytes", method, len(body))
			}
		})
	}
}

func TestErrorHandler_UnencodableExtension(t *testing.T) {
	t.Parallel()
	rec, _ := serve(t, httptest.NewRequest(http.MethodGet, "/api/things/1", nil), nil,
		failing(problem.Conflict("taken").WithExtension("f", func() {})))
	if rec.Code != http.StatusConflict {
		t.Errorf("status %d, want 409 all the same", rec.Code)
	}
}
