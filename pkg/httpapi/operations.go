package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/primezap/primezap/pkg/problem"
)

const (
	probeTimeout = 3 * time.Second // probes give up after a few seconds
	notReady     = 2 * time.Second
)

// Readiness says why requests cannot be served now, nil if they can. A *problem.Problem
// is shown as it is; what else is missing is for the log alone, since anybody may ask.
type Readiness func(context.Context) error

// ServeOperations serves what operators ask every service: /healthz, /readyz and
// /openapi.json.
func (s *Server) ServeOperations(ready Readiness) {
	for _, o := range []struct {
		id, path string
		handler  echo.HandlerFunc
	}{
		{"getHealth", "/healthz", func(c echo.Context) error { return c.JSON(http.StatusOK, ok) }},
		{"getReadiness", "/readyz", func(c echo.Context) error {
			if err := checkReady(c.Request().Context(), ready); err != nil {
				return err
			}
			return c.JSON(http.StatusOK, ok)
		}},
		{"getOpenAPI", "/openapi.json", func(c echo.Context) error {
			c.Response().Header().Set(echo.HeaderCacheControl, "no-cache")
			return c.Blob(http.StatusOK, echo.MIMEApplicationJSON, s.document)
		}},
	} {
		s.echo.GET(o.path, o.handler, s.operations[o.id]...)
	}
}

// ok is how a service says that it is well.
var ok = struct {
	Status string `json:"status"`
}{"ok"}

func checkReady(ctx context.Context, ready Readiness) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err := ready(ctx)
	if err == nil {
		return nil
	}
	if p, known := errors.AsType[*problem.Problem](err); known {
		return p
	}
	return problem.Unavailable(notReady, "the service is not ready").WithCause(err)
}
