// Package limits serves how much connections may send, and tells clients when one has
// sent enough.
package limits

import (
	"context"
	"fmt"
	"slices"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/rateheader"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/param"
)

// Service implements the operations on rate limits.
type Service struct {
	Store   *store.Store
	Limiter *ratelimit.Limiter
}

const updated = "rate_limit.updated" // in the audit log

// GetRateLimit serves GET /api/connections/{id}/rate-limit.
func (s *Service) GetRateLimit(ctx context.Context, req openapi.GetRateLimitRequestObject) (openapi.GetRateLimitResponseObject, error) {
	connection, err := connectionOf(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	windows, err := s.Limiter.Remaining(ctx, connection)
	if err != nil {
		return nil, err
	}
	limits := headers(windows)
	return openapi.GetRateLimit200JSONResponse{
		Body: show(connection, windows),
		Headers: openapi.GetRateLimit200ResponseHeaders{
			RateLimitPolicy: new(rateheader.Policy(limits...)), RateLimit: new(rateheader.State(limits...)),
		},
	}, nil
}

// SetRateLimit serves PUT /api/connections/{id}/rate-limit.
func (s *Service) SetRateLimit(ctx context.Context, req openapi.SetRateLimitRequestObject) (openapi.SetRateLimitResponseObject, error) {
	connection, err := connectionOf(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	limits, faults := Parse(*req.Body)
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	windows, err := s.change(ctx, connection, updated, func(l *ratelimit.Limiter) ([]ratelimit.State, error) {
		return l.Set(ctx, connection, limits)
	})
	if err != nil {
		return nil, fmt.Errorf("set the rate limit of connection %s: %w", connection.ID, err)
	}
	left := headers(windows)
	return openapi.SetRateLimit200JSONResponse{
		Body: show(connection, windows),
		Headers: openapi.SetRateLimit200ResponseHeaders{
			RateLimitPolicy: new(rateheader.Policy(left...)), RateLimit: new(rateheader.State(left...)),
		},
	}, nil
}

// ResetRateLimit serves POST /api/connections/{id}/rate-limit/reset.
func (s *Service) ResetRateLimit(ctx context.Context, req openapi.ResetRateLimitRequestObject) (openapi.ResetRateLimitResponseObject, error) {
	connection, err := connectionOf(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	var which []ratelimit.Window // none: all
	if req.Body != nil && req.Body.WindowType != nil {
		which = append(which, ratelimit.Window(*req.Body.WindowType))
		if !slices.Contains(ratelimit.Windows(), which[0]) {
			return nil, problem.Invalid(problem.FieldError{Pointer: "/windowType", Detail: "must be per_minute, per_hour or per_day"})
		}
	}
	windows, err := s.change(ctx, connection, "rate_limit.reset", func(l *ratelimit.Limiter) ([]ratelimit.State, error) {
		return l.Reset(ctx, connection, which...)
	})
	if err != nil {
		return nil, fmt.Errorf("reset the rate limit of connection %s: %w", connection.ID, err)
	}
	left := headers(windows)
	return openapi.ResetRateLimit200JSONResponse{
		Body: show(connection, windows),
		Headers: openapi.ResetRateLimit200ResponseHeaders{
			RateLimitPolicy: new(rateheader.Policy(left...)), RateLimit: new(rateheader.State(left...)),
		},
	}, nil
}

// change runs fn in a transaction, and records it together with what it did.
func (s *Service) change(ctx context.Context, connection ratelimit.Connection, action string, fn func(*ratelimit.Limiter) ([]ratelimit.State, error)) (windows []ratelimit.State, err error) {
	err = s.Store.InTenant(ctx, connection.Tenant, func(q *db.Queries) (err error) {
		windows, err = changeIn(ctx, q, s.Limiter.In(q), connection, action, fn)
		return err
	})
	return windows, err
}

// Set gives a connection limits of its own in q's transaction, which is one of the
// connection's tenant, and records it.
func Set(ctx context.Context, q *db.Queries, limiter *ratelimit.Limiter, connection ratelimit.Connection, limits map[ratelimit.Window]int64) error {
	_, err := changeIn(ctx, q, limiter.In(q), connection, updated, func(l *ratelimit.Limiter) ([]ratelimit.State, error) {
		return l.Set(ctx, connection, limits)
	})
	return err
}

func changeIn(ctx context.Context, q *db.Queries, limiter *ratelimit.Limiter, connection ratelimit.Connection, action string,
	fn func(*ratelimit.Limiter) ([]ratelimit.State, error),
) ([]ratelimit.State, error) {
	before, err := limiter.Lock(ctx, connection)
	if err != nil {
		return nil, err
	}
	after, err := fn(limiter)
	if err != nil {
		return nil, err
	}
	return after, audit.Record(ctx, q, audit.Change{
		Action: action, SubjectType: "connection", SubjectID: connection.ID.String(),
		Before: show(connection, before), After: show(connection, after),
	})
}

// Parse reads limits of a connection's own, for New and Set of connections, too. A
// window that is not among them takes the default.
func Parse(in openapi.RateLimitInput) (limits map[ratelimit.Window]int64, faults []problem.FieldError) {
	limits = make(map[ratelimit.Window]int64)
	for _, window := range ratelimit.Windows() {
		given := map[ratelimit.Window]*int{
			ratelimit.PerMinute: in.PerMinute, ratelimit.PerHour: in.PerHour, ratelimit.PerDay: in.PerDay,
		}[window]
		switch {
		case given == nil:
		case *given < 0 || *given > ratelimit.MaxLimit:
			faults = append(faults, problem.FieldError{
				Pointer: problem.Pointer(string(window)), Detail: fmt.Sprintf("must be 0 to %d", ratelimit.MaxLimit),
			})
		default:
			limits[window] = int64(*given)
		}
	}
	return limits, faults
}

func connectionOf(ctx context.Context, id string) (ratelimit.Connection, error) {
	connection, err := param.ID(id)
	if err != nil {
		return ratelimit.Connection{}, err
	}
	principal, _ := auth.FromContext(ctx)
	return ratelimit.Connection{Tenant: principal.Tenant, ID: connection}, nil
}

func show(connection ratelimit.Connection, windows []ratelimit.State) openapi.RateLimitState {
	state := openapi.RateLimitState{ConnectionID: connection.ID, Windows: make([]openapi.RateLimitWindow, len(windows))}
	for i, w := range windows {
		state.Windows[i] = openapi.RateLimitWindow{
			WindowType: openapi.WindowType(w.Window), MaxRequests: int(w.Limit), Used: int(w.Used), Remaining: int(w.Remaining()),
		}
		if !w.ResetsAt.IsZero() {
			state.Windows[i].ResetsAt = new(w.ResetsAt.UTC())
		}
	}
	return state
}

// headers are the windows as RateLimit headers have them. One that has not begun is
// whole.
func headers(windows []ratelimit.State) []rateheader.Limit {
	limits := make([]rateheader.Limit, len(windows))
	for i, w := range windows {
		limits[i] = rateheader.Limit{Name: string(w.Window), Quota: w.Limit, Window: w.Length, Left: w.Remaining(), Whole: w.ResetsIn}
	}
	return limits
}
