// Package ratelimit bounds how many messages a connection sends in a minute, an hour
// and a day.
//
// Each is a fixed window: it begins with the first message after the one before it
// ended, and lets its limit through. The table integration_rate_limits is the state,
// a row a window. All that changes a connection's windows locks them first, in one
// order, and judges by the database's clock as it is then, so never more than the
// limit is granted in a window, however many processes ask; see docs/adr/0013.
//
// A window that has nothing in it has not begun. One that lies in the future, after
// the clock stepped back, is moved to begin now with what it holds: it is never over
// its limit, and never lasts longer than its length.
package ratelimit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

// Limiter takes from the windows of connections. Its methods may be used from several
// goroutines; all of them return store.ErrNotFound for a connection that is not the
// tenant's, or is deleted.
type Limiter struct {
	queries  *db.Queries
	inTenant func(context.Context, uuid.UUID, func(*db.Queries) error) error
	limits   []int64
	lengths  []time.Duration
	tries    int // of a take that others get in the way of
}

// New makes a limiter over s, which may be the api's or the worker's.
func New(s *store.Store, cfg Config) *Limiter {
	return newLimiter(s, cfg, time.Minute, time.Hour, 24*time.Hour)
}

func newLimiter(s *store.Store, cfg Config, lengths ...time.Duration) *Limiter {
	return &Limiter{
		queries: s.Queries(), inTenant: s.InTenant,
		limits: []int64{cfg.PerMinute, cfg.PerHour, cfg.PerDay}, lengths: lengths, tries: 3,
	}
}

// In is the limiter within a transaction, which must be one of the connection's
// tenant (store.InTenant). It then holds the windows' locks until its end.
func (l *Limiter) In(q *db.Queries) *Limiter {
	in := *l
	in.queries = q
	in.tries = 1 // the transaction is repeated as a whole
	in.inTenant = func(_ context.Context, _ uuid.UUID, fn func(*db.Queries) error) error { return fn(q) }
	return &in
}

var errNotPositive = errors.New("rate limit: the number of messages must be positive")

// Check says whether the window would let one message through: nil or a *Refusal. It
// changes nothing.
func (l *Limiter) Check(ctx context.Context, connection Connection, window Window) error {
	windows, err := l.Remaining(ctx, connection)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(windows, func(s State) bool { return s.Window == window })
	if at < 0 {
		return unknown(window)
	}
	if r := refusal(connection, 1, windows, windows[at:at+1]); r != nil {
		return r
	}
	return nil
}

// Take takes n messages from all windows, or from none: then the error is a *Refusal.
// It is one round trip.
func (l *Limiter) Take(ctx context.Context, connection Connection, n int64) (Receipt, error) {
	if n < 1 {
		return Receipt{}, errNotPositive
	}
	var rows []db.TakeRateLimitsRow
	for try := 1; ; try++ {
		var err error
		rows, err = l.queries.TakeRateLimits(ctx, db.TakeRateLimitsParams{
			TenantID: connection.Tenant, ConnectionID: connection.ID, N: n,
			Kinds: kinds(Windows()), Limits: l.limits, Seconds: l.seconds(),
		})
		if err == nil {
			break
		}
		if try == l.tries || !store.Repeatable(err) {
			return Receipt{}, fmt.Errorf("take from the rate limit of connection %s: %w", connection.ID, err)
		}
	}
	if len(rows) == 0 {
		return Receipt{}, store.ErrNotFound
	}
	windows := make([]State, len(rows))
	for i, row := range rows {
		windows[i] = l.state(db.ReadRateLimitsRow{
			Kind: row.Kind, Ceiling: row.Ceiling, Overridden: row.Overridden, Used: row.Used,
			Begun: row.Begun, Starts: row.Starts, Ends: row.Ends, Moment: row.Moment,
		})
	}
	sortWindows(windows)
	if !rows[0].Granted {
		return Receipt{}, refusal(connection, n, windows, windows)
	}
	receipt := Receipt{Connection: connection, N: n, Starts: make(map[Window]time.Time, len(windows)), Windows: windows}
	for _, s := range windows {
		receipt.Starts[s.Window] = s.Start
	}
	return receipt, nil
}

// Remaining is the state of all windows.
func (l *Limiter) Remaining(ctx context.Context, connection Connection) (windows []State, err error) {
	err = l.inTenant(ctx, connection.Tenant, func(q *db.Queries) error {
		windows, err = l.read(ctx, q, connection)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the rate limit of connection %s: %w", connection.ID, err)
	}
	return windows, nil
}

// Refund gives n messages of a receipt back, those that were not sent after all, to
// the windows that they were taken from: not to one that began since, be it that the
// old one ended, was reset or was moved.
func (l *Limiter) Refund(ctx context.Context, receipt Receipt, n int64) error {
	if n < 1 || n > receipt.N {
		return fmt.Errorf("rate limit: refund %d of %d messages", n, receipt.N)
	}
	params := db.RefundRateLimitsParams{ConnectionID: receipt.Connection.ID, N: n}
	for window, start := range receipt.Starts {
		params.Kinds, params.Starts = append(params.Kinds, string(window)), append(params.Starts, start)
	}
	_, err := l.change(ctx, receipt.Connection, func(q *db.Queries) error { return q.RefundRateLimits(ctx, params) })
	if err != nil {
		return fmt.Errorf("refund to the rate limit of connection %s: %w", receipt.Connection.ID, err)
	}
	return nil
}

// Reset ends windows, so that the next message begins new ones: those given, or all
// where none is. The answer is the state of all.
func (l *Limiter) Reset(ctx context.Context, connection Connection, which ...Window) ([]State, error) {
	if len(which) == 0 {
		which = Windows()
	}
	for _, window := range which {
		if !slices.Contains(Windows(), window) {
			return nil, unknown(window)
		}
	}
	windows, err := l.change(ctx, connection, func(q *db.Queries) error {
		return q.ResetRateLimits(ctx, connection.ID, kinds(which))
	})
	if err != nil {
		return nil, fmt.Errorf("reset the rate limit of connection %s: %w", connection.ID, err)
	}
	return windows, nil
}

// Set gives the connection limits of its own; a window without one here follows the
// configuration. What is used of a window stays used. The answer is the state of all.
func (l *Limiter) Set(ctx context.Context, connection Connection, limits map[Window]int64) ([]State, error) {
	for window, limit := range limits {
		if !slices.Contains(Windows(), window) {
			return nil, unknown(window)
		}
		if limit < 0 || limit > MaxLimit {
			return nil, fmt.Errorf("rate limit: %s must be 0 to %d", window, MaxLimit)
		}
	}
	params := db.SetRateLimitsParams{ConnectionID: connection.ID, Kinds: kinds(Windows())}
	for i, window := range Windows() {
		limit, own := limits[window]
		if !own {
			limit = l.limits[i]
		}
		params.Limits, params.Overridden = append(params.Limits, limit), append(params.Overridden, own)
	}
	windows, err := l.change(ctx, connection, func(q *db.Queries) error { return q.SetRateLimits(ctx, params) })
	if err != nil {
		return nil, fmt.Errorf("set the rate limit of connection %s: %w", connection.ID, err)
	}
	return windows, nil
}

// Lock is Remaining, and keeps the windows as they are until the transaction ends. It
// is for limiters in one.
func (l *Limiter) Lock(ctx context.Context, connection Connection) ([]State, error) {
	return l.change(ctx, connection, func(*db.Queries) error { return nil })
}

// change runs fn with the windows locked, and returns them as it left them.
func (l *Limiter) change(ctx context.Context, connection Connection, fn func(*db.Queries) error) (windows []State, err error) {
	err = l.inTenant(ctx, connection.Tenant, func(q *db.Queries) error {
		live, err := q.LockRateLimits(ctx, db.LockRateLimitsParams{
			TenantID: connection.Tenant, ConnectionID: connection.ID, Kinds: kinds(Windows()), Limits: l.limits,
		})
		if err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		if !live {
			return store.ErrNotFound
		}
		if err := fn(q); err != nil {
			return err
		}
		windows, err = l.read(ctx, q, connection)
		return err
	})
	return windows, err
}

func (l *Limiter) read(ctx context.Context, q *db.Queries, connection Connection) ([]State, error) {
	rows, err := q.ReadRateLimits(ctx, db.ReadRateLimitsParams{
		TenantID: connection.Tenant, ConnectionID: connection.ID, Kinds: kinds(Windows()), Limits: l.limits, Seconds: l.seconds(),
	})
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, store.ErrNotFound
	}
	windows := make([]State, len(rows))
	for i, row := range rows {
		windows[i] = l.state(row)
	}
	sortWindows(windows)
	return windows, nil
}

func (l *Limiter) state(row db.ReadRateLimitsRow) State {
	window := Window(row.Kind)
	s := State{
		Window: window, Limit: row.Ceiling, Overridden: row.Overridden, Used: row.Used,
		Length: l.lengths[slices.Index(Windows(), window)],
	}
	if row.Begun {
		s.Start, s.ResetsAt, s.ResetsIn = row.Starts, row.Ends, row.Ends.Sub(row.Moment)
	}
	return s
}

func (l *Limiter) seconds() []float64 {
	seconds := make([]float64, len(l.lengths))
	for i, length := range l.lengths {
		seconds[i] = length.Seconds()
	}
	return seconds
}

func kinds(windows []Window) []string {
	names := make([]string, len(windows))
	for i, window := range windows {
		names[i] = string(window)
	}
	return names
}

func sortWindows(windows []State) {
	slices.SortFunc(windows, func(a, b State) int {
		return cmp.Compare(slices.Index(Windows(), a.Window), slices.Index(Windows(), b.Window))
	})
}

func unknown(window Window) error { return fmt.Errorf("rate limit: there is no window %q", window) }
