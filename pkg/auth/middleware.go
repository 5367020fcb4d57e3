package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/primezap/primezap/pkg/problem"
)

// TenantHeader names the tenant that a platform key acts for.
const TenantHeader = "X-Tenant-Id"

// maxKeyLen bounds what anybody can make us hash; our own keys have 46 bytes.
const maxKeyLen = 256

// ErrUnknownKey is a Lookup's answer to a hash that belongs to no live key.
var ErrUnknownKey = errors.New("unknown API key")

// Lookup finds the key with a hash made by HashKey. It returns ErrUnknownKey for
// none, revoked or expired; any other error means that nobody knows, and becomes
// the request's.
type Lookup interface {
	LookupKey(ctx context.Context, hash []byte) (Principal, error)
}

// Middleware lets only requests with a valid credential pass, and puts their
// Principal into the request's context. A nil tokens takes API keys alone. All
// errors of its own are problems: 401 with WWW-Authenticate for a missing or
// unknown credential, 400 for a X-Tenant-Id that is no UUID, 403 for one that the
// credential may not act for, and those of Tokens.Verify.
func Middleware(lookup Lookup, tokens *Tokens) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			req := c.Request()
			p, err := authenticate(req.Context(), lookup, tokens, req.Header)
			if err != nil {
				return err
			}
			if p, err = actingFor(p, req.Header); err != nil {
				return err
			}
			c.SetRequest(req.WithContext(WithPrincipal(req.Context(), p)))
			return next(c)
		}
	}
}

// authenticate decides by the credential's form who checks it: pz_ means an API
// key, anything else a token.
func authenticate(ctx context.Context, lookup Lookup, tokens *Tokens, header http.Header) (Principal, error) {
	values := header.Values(echo.HeaderAuthorization)
	if len(values) == 0 {
		return Principal{}, unauthorized("", "the request has no Authorization header")
	}
	scheme, credential, _ := strings.Cut(values[0], " ")
	switch {
	case len(values) > 1 || !strings.EqualFold(scheme, "Bearer"):
		return Principal{}, unauthorized("invalid_request", "Authorization must be one value: Bearer and an API key or a token")
	case tokens != nil && !strings.HasPrefix(credential, KeyPrefix):
		return tokens.Verify(ctx, credential)
	case !strings.HasPrefix(credential, KeyPrefix) || len(credential) > maxKeyLen:
		return Principal{}, unauthorized("invalid_token", "the credential is no API key")
	}
	hash := HashKey(credential)
	p, err := lookup.LookupKey(ctx, hash[:])
	switch {
	case errors.Is(err, ErrUnknownKey):
		return Principal{}, unauthorized("invalid_token", "the API key is unknown or revoked")
	case err != nil:
		return Principal{}, fmt.Errorf("auth: look up API key: %w", err)
	}
	return p, nil
}

// actingFor applies the X-Tenant-Id header, if there is one.
func actingFor(p Principal, header http.Header) (Principal, error) {
	values := header.Values(TenantHeader)
	if len(values) == 0 {
		return p, nil
	}
	tenant, ok := parseTenant(values[0])
	if !ok || len(values) > 1 {
		return Principal{}, problem.BadRequest(TenantHeader + " must be one tenant's UUID")
	}
	return p.For(tenant)
}

// unauthorized is a 401 whose challenge carries an error code of RFC 6750, if any.
func unauthorized(code, detail string) *problem.Problem {
	challenge := `Bearer realm="primezap"`
	if code != "" {
		challenge += fmt.Sprintf(", error=%q", code)
	}
	return problem.Unauthorized(challenge, detail)
}
