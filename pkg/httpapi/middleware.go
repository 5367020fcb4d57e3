package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/problem"
)

// requestID names the request in answer and logs: as the client did, if that is
// fit for a log, else by a new id.
func requestID(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		id := c.Request().Header.Get(echo.HeaderXRequestID)
		if !loggable(id) {
			id = uuid.Must(uuid.NewV7()).String()
		}
		c.Response().Header().Set(echo.HeaderXRequestID, id)
		return next(c)
	}
}

func loggable(id string) bool {
	return 1 <= len(id) && len(id) <= 128 && !strings.ContainsFunc(id, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._:-", r))
	})
}

// requestMetrics tell what was asked and how it was answered.
type requestMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newRequestMetrics(registry prometheus.Registerer, service string) requestMetrics {
	of := prometheus.Labels{"service": service}
	m := requestMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "primezap_http_requests_total", Help: "Requests that were answered.", ConstLabels: of,
		}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "primezap_http_request_seconds", Help: "Time from a request's header to the end of its answer.", ConstLabels: of,
			Buckets: prometheus.ExponentialBuckets(0.001, 2.5, 12), // to 24 s
		}, []string{"method", "route"}),
	}
	registry.MustRegister(m.requests, m.seconds)
	return m
}

// observe counts and, at debug level, logs every request. It answers errors
// itself, so as to see their status.
func observe(metrics requestMetrics, log *slog.Logger) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			start := time.Now()
			if err := next(c); err != nil {
				c.Error(err)
			}
			took := time.Since(start)
			method, route, status := c.Request().Method, c.Path(), c.Response().Status
			if route == "" {
				method, route = "", "none" // both are the client's to invent
			}
			metrics.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
			metrics.seconds.WithLabelValues(method, route).Observe(took.Seconds())
			if ctx := c.Request().Context(); log.Enabled(ctx, slog.LevelDebug) {
				log.DebugContext(ctx, "request", "method", method, "route", route, "status", status, "took", took,
					"bytes", c.Response().Size, "requestId", c.Response().Header().Get(echo.HeaderXRequestID))
			}
			return nil
		}
	}
}

// cors lets pages of the origins call the API. None: no page may.
func cors(origins []string) echo.MiddlewareFunc {
	if len(origins) == 0 {
		return func(next echo.HandlerFunc) echo.HandlerFunc { return next }
	}
	allowed := func(origin string) (bool, error) {
		return slices.Contains(origins, "*") || slices.Contains(origins, origin), nil
	}
	return middleware.CORSWithConfig(middleware.CORSConfig{
		AllowOriginFunc: allowed, // exactly: the library would take patterns
		AllowMethods:    []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowHeaders: []string{
			echo.HeaderAuthorization, echo.HeaderContentType, auth.TenantHeader, "Idempotency-Key",
			echo.HeaderXRequestID, "traceparent",
			"apikey", "X-Client-Info", // what clients of edge functions send
		},
		ExposeHeaders: []string{"RateLimit", "RateLimit-Policy", echo.HeaderRetryAfter, echo.HeaderXRequestID, echo.HeaderLocation},
		MaxAge:        600,
	})
}

// timed ends a request that takes too long.
func timed(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		asked := c.Request()
		defer c.SetRequest(asked) // its context ends with the client, not with us
		ctx, cancel := context.WithTimeout(asked.Context(), requestTimeout)
		defer cancel()
		c.SetRequest(asked.WithContext(ctx))
		return next(c)
	}
}

// sized refuses a body of more bytes. Without an operation no body is read.
func sized(bytes int64) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			req := c.Request()
			req.Body = http.MaxBytesReader(c.Response(), req.Body, bytes)
			return next(c)
		}
	}
}

// living refuses requests that act for a deleted tenant: by a token, or by the
// platform that named it. A key of such a tenant is not found in the first place.
func living(tenants Tenants) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			ctx := c.Request().Context()
			p, _ := auth.FromContext(ctx)
			if p.KeyID == uuid.Nil || c.Request().Header.Get(auth.TenantHeader) != "" {
				if err := tenants.Refuse(ctx, p.Tenant); err != nil {
					return err
				}
			}
			return next(c)
		}
	}
}

// scoped asks for scopes of whoever makes the request.
func scoped(scopes []string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			for _, scope := range scopes {
				if _, err := auth.Require(c.Request().Context(), scope); err != nil {
					return err
				}
			}
			return next(c)
		}
	}
}

// known refuses query parameters that the operation does not have, and those
// given twice: a misspelt filter would show what was not asked for.
func known(names []string) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			if c.Request().URL.RawQuery == "" {
				return next(c)
			}
			query, err := url.ParseQuery(c.Request().URL.RawQuery)
			if err != nil {
				return problem.BadRequest("the query cannot be read").WithCause(err)
			}
			var faults []problem.FieldError
			for name, values := range query {
				switch {
				case !slices.Contains(names, name):
					faults = append(faults, problem.FieldError{Pointer: problem.Pointer(name), Detail: "is not a known query parameter"})
				case len(values) > 1:
					faults = append(faults, problem.FieldError{Pointer: problem.Pointer(name), Detail: "is given twice"})
				}
			}
			if len(faults) > 0 {
				return problem.Invalid(faults...)
			}
			return next(c)
		}
	}
}

func recovering() echo.MiddlewareFunc {
	return middleware.RecoverWithConfig(middleware.RecoverConfig{
		// The stack goes into the error, which is logged once, as any 500 is.
		LogErrorFunc: func(_ echo.Context, err error, stack []byte) error {
			return fmt.Errorf("panic: %w\n%s", err, stack)
		},
	})
}
