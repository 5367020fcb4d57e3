package auth_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/problem"
)

const (
	tenantKey   = "pz_tenant"
	platformKey = "pz_platform"
	brokenKey   = "pz_broken" // the look-up itself fails
)

// keys is a Lookup over the three keys above.
type keys struct{}

func (keys) LookupKey(_ context.Context, hash []byte) (auth.Principal, error) {
	is := func(key string) bool {
		want := auth.HashKey(key)
		return bytes.Equal(hash, want[:])
	}
	switch {
	case is(tenantKey):
		return auth.Principal{Tenant: ours, Scopes: []string{auth.ScopeEventsWrite}}, nil
	case is(platformKey):
		return auth.Principal{Tenant: ours, Scopes: []string{auth.ScopePlatform}}, nil
	case is(brokenKey):
		return auth.Principal{}, errors.New("postgres: connection refused")
	default:
		return auth.Principal{}, auth.ErrUnknownKey
	}
}

func TestMiddleware(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name          string
		authorization []string
		tenant        []string // X-Tenant-Id
		status        int
		body          string // the tenant, or a part of the problem
		challenge     string
	}{
		{name: "a key acts for its own tenant", authorization: []string{"Bearer " + tenantKey}, status: 200, body: ours.String()},
		{name: "the scheme's case does not matter", authorization: []string{"bearer " + tenantKey}, status: 200, body: ours.String()},
		{name: "a key may name its own tenant", authorization: []string{"Bearer " + tenantKey}, tenant: []string{ours.String()}, status: 200, body: ours.String()},
		{name: "and no other", authorization: []string{"Bearer " + tenantKey}, tenant: []string{theirs.String()}, status: 403, body: "scope platform"},
		{name: "a platform key has a tenant by default", authorization: []string{"Bearer " + platformKey}, status: 200, body: ours.String()},
		{name: "and may name any", authorization: []string{"Bearer " + platformKey}, tenant: []string{theirs.String()}, status: 200, body: theirs.String()},
		{name: "a tenant that is no UUID is a 400 naming the header", authorization: []string{"Bearer " + platformKey}, tenant: []string{"acme"}, status: 400, body: "X-Tenant-Id"},
		{name: "so is a UUID in another form", authorization: []string{"Bearer " + platformKey}, tenant: []string{"{" + theirs.String() + "}"}, status: 400, body: "X-Tenant-Id"},
		{name: "so is the nil UUID", authorization: []string{"Bearer " + platformKey}, tenant: []string{uuid.Nil.String()}, status: 400, body: "X-Tenant-Id"},
		{name: "so is an empty one", authorization: []string{"Bearer " + platformKey}, tenant: []string{""}, status: 400, body: "X-Tenant-Id"},
		{name: "so are two tenants", authorization: []string{"Bearer " + platformKey}, tenant: []string{theirs.String(), ours.String()}, status: 400, body: "X-Tenant-Id"},
		{name: "no credential is a 401 without an error code", status: 401, challenge: `Bearer realm="primezap"`},
		{name: "another scheme is a 401", authorization: []string{"Basic " + tenantKey}, status: 401, challenge: `Bearer realm="primezap", error="invalid_request"`},
		{name: "two credentials are a 401", authorization: []string{"Bearer " + tenantKey, "Bearer " + platformKey}, status: 401, challenge: `Bearer realm="primezap", error="invalid_request"`},
		{name: "a credential that is no key is a 401", authorization: []string{"Bearer eyJhbGciOi"}, status: 401, challenge: `Bearer realm="primezap", error="invalid_token"`},
		{name: "an unknown key is a 401", authorization: []string{"Bearer pz_guess"}, status: 401, challenge: `Bearer realm="primezap", error="invalid_token"`},
		{name: "a key too long to be one is not looked up", authorization: []string{"Bearer " + brokenKey + strings.Repeat("x", 300)}, status: 401, body: "is no API key", challenge: `Bearer realm="primezap", error="invalid_token"`},
		{name: "a look-up that fails is no 401", authorization: []string{"Bearer " + brokenKey}, status: 500},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := echo.New()
			e.HTTPErrorHandler = problem.ErrorHandler(slog.New(slog.DiscardHandler), nil)
			e.GET("/", func(c echo.Context) error {
				p, ok := auth.FromContext(c.Request().Context())
				if !ok {
					t.Error("the request passed without a principal")
				}
				return c.String(http.StatusOK, p.Tenant.String())
			}, auth.Middleware(keys{}, nil))
			req := httptest.NewRequest(http.MethodGet, "/", nil)
			req.Header["Authorization"] = tc.authorization
			req.Header["X-Tenant-Id"] = tc.tenant
			rec := httptest.NewRecorder()
			e.ServeHTTP(rec, req)
			if rec.Code != tc.status || !strings.Contains(rec.Body.String(), tc.body) {
				t.Errorf("got %d %s; want %d with %q", rec.Code, rec.Body, tc.status, tc.body)
			}
			if got := rec.Header().Get("WWW-Authenticate"); got != tc.challenge {
				t.Errorf("challenge %q, want %q", got, tc.challenge)
			}
		})
	}
}
