package problem

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
)

// statusClientClosed is nginx's code for a client that hung up before its answer:
// nobody reads it but logs and metrics.
const statusClientClosed = 499

// ErrorHandler is the one place where errors become answers. In this order: a
// *Problem is sent as it is; mapError, which may be nil, turns errors of the
// layers below into problems, or answers nil for those it does not know;
// *http.MaxBytesError is a 413; echo's own errors keep their code; all else is a
// 500 whose cause is logged and not sent. A client that hung up gets no body.
// Problems of 500 and above are logged as errors with their cause.
func ErrorHandler(log *slog.Logger, mapError func(error) *Problem) echo.HTTPErrorHandler {
	return func(err error, c echo.Context) {
		ctx := c.Request().Context()
		attrs := []any{
			slog.String("method", c.Request().Method),
			slog.String("route", c.Path()),
			slog.String("requestId", requestID(c)),
			slog.Any("error", err),
		}
		switch {
		case c.Response().Committed:
			log.ErrorContext(ctx, "request ended after its answer began", attrs...)
			return
		case errors.Is(err, context.Canceled) && ctx.Err() != nil:
			log.DebugContext(ctx, "client hung up", attrs...)
			c.Response().WriteHeader(statusClientClosed)
			return
		}
		p := *from(err, mapError)
		if p.Status >= http.StatusInternalServerError {
			log.ErrorContext(ctx, "request refused", append(attrs, slog.Int("status", p.Status))...)
		}
		p.Instance = c.Request().URL.EscapedPath()
		p.RequestID = requestID(c)
		if err := send(c, &p); err != nil {
			log.WarnContext(ctx, "problem not sent", append(attrs, slog.Any("sendError", err))...)
		}
	}
}

// from finds the problem in err, or the one that err amounts to.
func from(err error, mapError func(error) *Problem) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if mapError != nil {
		if p := mapError(err); p != nil {
			return p
		}
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return TooLarge(tooLarge.Limit)
	}
	if he, ok := errors.AsType[*echo.HTTPError](err); ok && he.Code >= 400 && he.Code < 600 {
		return New(he.Code, "", echoDetail(he))
	}
	return New(http.StatusInternalServerError, "", "the request failed on our side; its requestId finds the cause in our logs")
}

// echoDetail returns echo's message where it was written for the client: not with
// a 5xx, and not where an inner error stands beside it, as the message then is that
// error's text (echo's binder) with names of Go types in it.
func echoDetail(he *echo.HTTPError) string {
	message, _ := he.Message.(string)
	if he.Code >= 500 || he.Internal != nil || message == http.StatusText(he.Code) {
		return ""
	}
	return message
}

func send(c echo.Context, p *Problem) error {
	header := c.Response().Header()
	for name, values := range p.Header {
		header[http.CanonicalHeaderKey(name)] = slices.Clone(values)
	}
	if p.RetryAfter > 0 {
		seconds := (p.RetryAfter + time.Second - 1) / time.Second // never earlier than meant
		header.Set(echo.HeaderRetryAfter, strconv.FormatInt(int64(seconds), 10))
	}
	if c.Request().Method == http.MethodHead {
		header.Set(echo.HeaderContentType, ContentType)
		return c.NoContent(p.Status)
	}
	body, err := json.Marshal(p)
	if err != nil {
		return errors.Join(err, c.NoContent(p.Status))
	}
	return c.Blob(p.Status, ContentType, body)
}

// requestID is the id that echo's RequestID middleware gave the request and its answer.
func requestID(c echo.Context) string {
	return c.Response().Header().Get(echo.HeaderXRequestID)
}
