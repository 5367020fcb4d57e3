// Package asked tells operations what they need of a request beyond its parameters and
// its body.
package asked

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"
)

type key struct{}

// Middleware makes the request known to the operation that serves it.
func Middleware(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		req := c.Request()
		c.SetRequest(req.WithContext(context.WithValue(req.Context(), key{}, req)))
		return next(c)
	}
}

func of(ctx context.Context) *http.Request {
	req, _ := ctx.Value(key{}).(*http.Request)
	return req
}

// Languages is the Accept-Language of the request.
func Languages(ctx context.Context) string {
	if req := of(ctx); req != nil {
		return req.Header.Get("Accept-Language")
	}
	return ""
}

// Host is where the request came to, as its sender says.
func Host(ctx context.Context) string {
	if req := of(ctx); req != nil {
		return req.Host
	}
	return ""
}
