package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
)

// fixture is a limiter as the api's role, over a database of its own.
type fixture struct {
	*testing.T
	database *testenv.Database
	super    *pgxpool.Pool
	api      *store.Store
	limiter  *Limiter
	tenant   uuid.UUID
}

func newFixture(t *testing.T, cfg Config, lengths ...time.Duration) *fixture {
	t.Helper()
	f := &fixture{T: t, database: testenv.DB(t), tenant: uuid.New()}
	var err error
	f.super, err = pgxpool.New(t.Context(), f.database.URL(testenv.Superuser))
	f.check(err)
	t.Cleanup(f.super.Close)
	f.api = f.open(testenv.API, 8)
	f.limiter = New(f.api, cfg)
	if len(lengths) > 0 {
		f.limiter = newLimiter(f.api, cfg, lengths...)
	}
	return f
}

func (f *fixture) open(role testenv.Role, conns int) *store.Store {
	f.Helper()
	s, err := store.Open(f.Context(), f.database.URL(role), conns)
	f.check(err)
	f.Cleanup(s.Close)
	return s
}

func (f *fixture) check(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// connect makes a connection of the fixture's tenant.
func (f *fixture) connect() Connection {
	f.Helper()
	c := Connection{Tenant: f.tenant, ID: uuid.New()}
	f.exec("INSERT INTO connections (id, tenant_id, channel, name, external_id) VALUES ($1, $2, 'whatsapp', 'test', $3)", c.ID, c.Tenant, c.ID.String())
	return c
}

func (f *fixture) exec(sql string, args ...any) {
	f.Helper()
	_, err := f.super.Exec(f.Context(), sql, args...)
	f.check(err)
}

// take takes n, which must be granted.
func (f *fixture) take(c Connection, n int64) Receipt {
	f.Helper()
	receipt, err := f.limiter.Take(f.Context(), c, n)
	f.check(err)
	return receipt
}

// refused takes n, which must not be granted.
func (f *fixture) refused(c Connection, n int64) *Refusal {
	f.Helper()
	_, err := f.limiter.Take(f.Context(), c, n)
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok {
		f.Fatalf("take %d: %v, want a refusal", n, err)
	}
	return refusal
}

// used is what is used of the windows, the shortest first.
func (f *fixture) used(c Connection) [3]int64 {
	f.Helper()
	windows, err := f.limiter.Remaining(f.Context(), c)
	f.check(err)
	return [3]int64{windows[0].Used, windows[1].Used, windows[2].Used}
}

func (f *fixture) wantUsed(c Connection, want ...int64) {
	f.Helper()
	if got := f.used(c); got != [3]int64(want) {
		f.Errorf("used are %v, want %v", got, want)
	}
}

var defaults = Config{PerMinute: 60, PerHour: 1000, PerDay: 10_000}

func TestLimiter_Take(t *testing.T) {
	t.Parallel()
	t.Run("takes from all windows, whose state stands in the table", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, defaults)
		c := f.connect()
		before := time.Now().Add(-time.Minute)
		receipt := f.take(c, 3)
		f.take(c, 2)
		f.wantUsed(c, 5, 5, 5)
		for i, want := range []struct {
			limit  int64
			length time.Duration
		}{{60, time.Minute}, {1000, time.Hour}, {10_000, 24 * time.Hour}} {
			s := receipt.Windows[i]
			if s.Window != Windows()[i] || s.Limit != want.limit || s.Overridden || s.Used != 3 || s.Remaining() != want.limit-3 ||
				s.Length != want.length || s.Start.Before(before) || !s.ResetsAt.Equal(s.Start.Add(want.length)) || s.ResetsIn != want.length {
				t.Errorf("after 3 messages: %+v", s)
			}
			var count, limit int64
			var start, end time.Time
			f.check(f.super.QueryRow(t.Context(), `SELECT request_count, max_requests, window_start, window_end
				FROM integration_rate_limits WHERE connection_id = $1 AND window_type = $2`, c.ID, s.Window).Scan(&count, &limit, &start, &end))
			if count != 5 || limit != want.limit || !start.Equal(s.Start) || !end.Equal(s.ResetsAt) || !receipt.Starts[s.Window].Equal(start) {
				t.Errorf("%s has %d of %d from %s to %s, want 5 of %d from %s", s.Window, count, limit, start, end, want.limit, s.Start)
			}
		}
	})
	t.Run("takes all or nothing", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, Config{PerMinute: 10, PerHour: 10, PerDay: 5})
		c := f.connect()
		f.take(c, 4)
		r := f.refused(c, 2)
		if r.Window != PerDay || r.Limit != 5 || r.Remaining() != 1 || r.Never || r.Requested != 2 || r.ResetsIn <= 23*time.Hour || len(r.Windows) != 3 {
			t.Errorf("refused by %+v, want per_day with 1 of 5 remaining", r)
		}
		f.wantUsed(c, 4, 4, 4)
		f.take(c, 1)
	})
	t.Run("names the window that refuses for longest", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, Config{PerMinute: 5, PerHour: 5, PerDay: 100})
		c := f.connect()
		f.take(c, 5)
		if r := f.refused(c, 1); r.Window != PerHour || r.Remaining() != 0 || r.ResetsIn <= time.Minute {
			t.Errorf("refused by %+v, want per_hour", r)
		}
	})
	t.Run("more than a limit can never be granted", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, Config{PerMinute: 5, PerHour: 20, PerDay: 10})
		c := f.connect()
		r := f.refused(c, 6)
		if !r.Never || r.Window != PerMinute || !r.ResetsAt.IsZero() {
			t.Errorf("6 of 5, 20 and 10: %+v, want never, for per_minute", r)
		}
		f.take(c, 5)
		if r := f.refused(c, 11); !r.Never || r.Window != PerMinute {
			t.Errorf("11 of 5, 20 and 10: %+v, want never, for per_minute", r)
		}
		if r := f.refused(c, 5); r.Never {
			t.Errorf("5 of 5: %+v, want it to be possible later", r)
		}
	})
	t.Run("a limit of 0 lets nothing through, ever", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, Config{PerMinute: 5, PerHour: 0, PerDay: 10})
		if r := f.refused(f.connect(), 1); !r.Never || r.Window != PerHour {
			t.Errorf("refused by %+v, want per_hour, never", r)
		}
	})
	t.Run("none and less are errors", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, defaults)
		c := f.connect()
		for _, n := range []int64{0, -1} {
			if _, err := f.limiter.Take(t.Context(), c, n); !errors.Is(err, errNotPositive) {
				t.Errorf("take %d: %v, want %v", n, err, errNotPositive)
			}
		}
		f.wantUsed(c, 0, 0, 0)
	})
	t.Run("a window begins with the first message after the one before ended", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, Config{PerMinute: 2, PerHour: 100, PerDay: 100})
		c := f.connect()
		first := f.take(c, 2)
		_ = f.refused(c, 1)
		f.exec("UPDATE integration_rate_limits SET window_start = window_start - interval '2 minutes', window_end = window_end - interval '2 minutes' WHERE connection_id = $1 AND window_type = 'per_minute'", c.ID)
		windows, err := f.limiter.Remaining(t.Context(), c)
		f.check(err)
		if s := windows[0]; s.Used != 0 || !s.ResetsAt.IsZero() {
			t.Errorf("an ended window reads %+v, want one that has not begun", s)
		}
		second := f.take(c, 1)
		f.wantUsed(c, 1, 3, 3)
		if start := second.Starts[PerMinute]; !start.After(first.Starts[PerMinute]) || !second.Windows[0].ResetsAt.Equal(start.Add(time.Minute)) {
			t.Errorf("the second window is %+v, the first began at %s", second.Windows[0], first.Starts[PerMinute])
		}
		if !second.Starts[PerHour].Equal(first.Starts[PerHour]) {
			t.Error("the hour began again with the minute")
		}
	})
	t.Run("a full window refuses without a lock", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, Config{PerMinute: 1, PerHour: 100, PerDay: 100})
		c := f.connect()
		f.take(c, 1)
		tx, err := f.super.Begin(t.Context())
		f.check(err)
		defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
		_, err = tx.Exec(t.Context(), "SELECT FROM integration_rate_limits WHERE connection_id = $1 FOR UPDATE", c.ID)
		f.check(err)
		_ = f.refused(c, 1) // waits for nobody
	})
}

func TestLimiter_Clock(t *testing.T) {
	t.Parallel()
	// ahead moves a connection's windows as a clock would leave them that was ahead.
	ahead := func(f *fixture, c Connection) {
		f.exec("UPDATE integration_rate_limits SET window_start = window_start + interval '3 days', window_end = window_end + interval '3 days' WHERE connection_id = $1", c.ID)
	}
	t.Run("after it stepped back a window keeps its count and begins now", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, Config{PerMinute: 5, PerHour: 10, PerDay: 10})
		c := f.connect()
		f.take(c, 3)
		ahead(f, c)
		f.wantUsed(c, 3, 3, 3)
		receipt := f.take(c, 2)
		f.wantUsed(c, 5, 5, 5)
		for _, s := range receipt.Windows {
			if s.ResetsIn != s.Length {
				t.Errorf("%s ends in %s, want %s", s.Window, s.ResetsIn, s.Length)
			}
		}
		_ = f.refused(c, 1)
	})
	t.Run("a window that is full is moved once, and ends", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, Config{PerMinute: 3, PerHour: 100, PerDay: 100})
		c := f.connect()
		f.take(c, 3)
		ahead(f, c)
		first := f.refused(c, 1)
		if first.ResetsIn != time.Minute {
			t.Errorf("refused for %s, want a minute", first.ResetsIn)
		}
		if again := f.refused(c, 1); !again.ResetsAt.Equal(first.ResetsAt) {
			t.Errorf("refused until %s, then until %s", first.ResetsAt, again.ResetsAt)
		}
	})
}

func TestLimiter_Check(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Config{PerMinute: 2, PerHour: 100, PerDay: 100})
	c := f.connect()
	f.check(f.limiter.Check(t.Context(), c, PerMinute))
	f.wantUsed(c, 0, 0, 0)
	f.take(c, 2)
	f.check(f.limiter.Check(t.Context(), c, PerHour))
	err := f.limiter.Check(t.Context(), c, PerMinute)
	if r, ok := errors.AsType[*Refusal](err); !ok || r.Window != PerMinute || r.Requested != 1 {
		t.Errorf("a full minute: %v, want a refusal", err)
	}
	if err := f.limiter.Check(t.Context(), c, "per_year"); err == nil {
		t.Error("a window that there is not: no error")
	}
}

func TestLimiter_Refund(t *testing.T) {
	t.Parallel()
	t.Run("gives back to the windows that it was taken from", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, defaults)
		c := f.connect()
		receipt := f.take(c, 5)
		f.take(c, 1)
		f.check(f.limiter.Refund(t.Context(), receipt, 2))
		f.wantUsed(c, 4, 4, 4)
		f.check(f.limiter.Refund(t.Context(), receipt, 3))
		f.check(f.limiter.Refund(t.Context(), receipt, 3)) // once too often
		f.wantUsed(c, 0, 0, 0)
	})
	t.Run("gives nothing to a window that began since", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, defaults)
		c := f.connect()
		receipt := f.take(c, 5)
		f.exec("UPDATE integration_rate_limits SET window_start = window_start - interval '2 minutes', window_end = window_end - interval '2 minutes' WHERE connection_id = $1 AND window_type = 'per_minute'", c.ID)
		f.take(c, 5)
		f.check(f.limiter.Refund(t.Context(), receipt, 5))
		f.wantUsed(c, 5, 5, 5)
	})
	t.Run("gives nothing to a window that was reset since", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, defaults)
		c := f.connect()
		receipt := f.take(c, 5)
		_, err := f.limiter.Reset(t.Context(), c)
		f.check(err)
		f.take(c, 5)
		f.check(f.limiter.Refund(t.Context(), receipt, 5))
		f.wantUsed(c, 5, 5, 5)
	})
	t.Run("is for what was taken and no more", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, defaults)
		c := f.connect()
		receipt := f.take(c, 2)
		f.take(c, 2)
		for _, n := range []int64{0, -1, 3} {
			if err := f.limiter.Refund(t.Context(), receipt, n); err == nil {
				t.Errorf("refunded %d of 2", n)
			}
		}
		f.wantUsed(c, 4, 4, 4)
	})
}

func TestLimiter_Reset(t *testing.T) {
	t.Parallel()
	f := newFixture(t, defaults)
	c := f.connect()
	first := f.take(c, 5)
	windows, err := f.limiter.Reset(t.Context(), c, PerHour)
	f.check(err)
	if windows[0].Used != 5 || windows[1].Used != 0 || !windows[1].ResetsAt.IsZero() || windows[2].Used != 5 {
		t.Errorf("after the hour was reset: %+v", windows)
	}
	second := f.take(c, 1)
	f.wantUsed(c, 6, 1, 6)
	if !second.Starts[PerHour].After(first.Starts[PerHour]) || !second.Starts[PerDay].Equal(first.Starts[PerDay]) {
		t.Errorf("windows begin at %v, then at %v", first.Starts, second.Starts)
	}
	_, err = f.limiter.Reset(t.Context(), c)
	f.check(err)
	f.wantUsed(c, 0, 0, 0)
	if _, err := f.limiter.Reset(t.Context(), c, "per_year"); err == nil {
		t.Error("reset a window that there is not")
	}
}

func TestLimiter_Set(t *testing.T) {
	t.Parallel()
	t.Run("keeps what is used", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, defaults)
		c := f.connect()
		f.take(c, 5)
		windows, err := f.limiter.Set(t.Context(), c, map[Window]int64{PerMinute: 3, PerDay: 20_000})
		f.check(err)
		if s := windows[0]; s.Limit != 3 || !s.Overridden || s.Used != 5 || s.Remaining() != 0 {
			t.Errorf("a limit below what is used: %+v", s)
		}
		if s := windows[1]; s.Limit != 1000 || s.Overridden {
			t.Errorf("a window without a limit of its own: %+v", s)
		}
		_ = f.refused(c, 1)
	})
	t.Run("a window without a limit of its own follows the configuration", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, Config{PerMinute: 10, PerHour: 10, PerDay: 10})
		c := f.connect()
		_, err := f.limiter.Set(t.Context(), c, map[Window]int64{PerHour: 7})
		f.check(err)
		f.take(c, 5)
		f.limiter = New(f.api, Config{PerMinute: 6, PerHour: 100, PerDay: 100})
		windows, err := f.limiter.Remaining(t.Context(), c)
		f.check(err)
		if windows[0].Limit != 6 || windows[1].Limit != 7 || windows[2].Limit != 100 {
			t.Errorf("limits after the settings changed: %+v", windows)
		}
		f.take(c, 1)
		if r := f.refused(c, 1); r.Window != PerMinute || r.Limit != 6 {
			t.Errorf("refused by %+v, want the minute's new 6", r)
		}
		f.limiter = New(f.api, Config{PerMinute: 100, PerHour: 100, PerDay: 100})
		f.take(c, 1)
		if r := f.refused(c, 1); r.Window != PerHour || r.Limit != 7 {
			t.Errorf("refused by %+v, want the hour's own 7", r)
		}
		_, err = f.limiter.Set(t.Context(), c, nil)
		f.check(err)
		f.take(c, 93)
	})
	t.Run("refuses what no limit is", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, defaults)
		c := f.connect()
		for _, limits := range []map[Window]int64{{PerDay: -1}, {PerDay: MaxLimit + 1}, {"per_year": 1}} {
			if _, err := f.limiter.Set(t.Context(), c, limits); err == nil {
				t.Errorf("set %v", limits)
			}
		}
	})
	t.Run("within a transaction ends with it", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, defaults)
		c := f.connect()
		undone := errors.New("undone")
		err := f.api.InTenant(t.Context(), f.tenant, func(q *db.Queries) error {
			windows, err := f.limiter.In(q).Set(t.Context(), c, map[Window]int64{PerDay: 1})
			if err != nil {
				return err
			}
			if windows[2].Limit != 1 {
				return fmt.Errorf("%+v", windows)
			}
			return undone
		})
		if !errors.Is(err, undone) {
			t.Fatal(err)
		}
		f.take(c, 2)
	})
}

func TestLimiter_Tenants(t *testing.T) {
	t.Parallel()
	f := newFixture(t, defaults)
	c := f.connect()
	deleted := f.connect()
	f.take(deleted, 1)
	f.exec("UPDATE connections SET deleted_at = now() WHERE id = $1", deleted.ID)
	for name, role := range map[string]*store.Store{"the api's role": f.api, "the worker's role": f.open(testenv.Worker, 2)} {
		limiter := New(role, defaults)
		for what, other := range map[string]Connection{
			"another tenant's connection": {Tenant: uuid.New(), ID: c.ID},
			"an unknown connection":       {Tenant: f.tenant, ID: uuid.New()},
			"a deleted connection":        deleted,
		} {
			for call, fn := range map[string]func() error{
				"Take":      func() error { _, err := limiter.Take(t.Context(), other, 1); return err },
				"Take all":  func() error { _, err := limiter.Take(t.Context(), other, 1_000_000); return err },
				"Check":     func() error { return limiter.Check(t.Context(), other, PerDay) },
				"Remaining": func() error { _, err := limiter.Remaining(t.Context(), other); return err },
				"Reset":     func() error { _, err := limiter.Reset(t.Context(), other); return err },
				"Set":       func() error { _, err := limiter.Set(t.Context(), other, nil); return err },
				"Refund":    func() error { return limiter.Refund(t.Context(), Receipt{Connection: other, N: 1}, 1) },
			} {
				if err := fn(); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("%s, %s of %s: %v, want not found", name, call, what, err)
				}
			}
		}
		if _, err := limiter.Take(t.Context(), c, 1); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	f.wantUsed(c, 2, 2, 2)
	// One tenant's transaction does not become another's.
	err := f.api.InTenant(t.Context(), uuid.New(), func(q *db.Queries) error {
		_, err := f.limiter.In(q).Take(t.Context(), c, 1)
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("in another tenant's transaction: %v, want not found", err)
	}
	f.wantUsed(c, 2, 2, 2)
}

func TestLimiter_RowsMadeAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Config{PerMinute: 8, PerHour: 100, PerDay: 100})
	for range 20 {
		c := f.connect()
		var granted atomic.Int64
		var takers sync.WaitGroup
		for range 16 {
			takers.Go(func() {
				_, err := f.limiter.Take(t.Context(), c, 1)
				if _, refused := errors.AsType[*Refusal](err); refused {
					return
				}
				if err != nil {
					t.Error(err)
				}
				granted.Add(1)
			})
		}
		takers.Wait()
		if granted.Load() != 8 {
			t.Errorf("granted %d of 16, want 8", granted.Load())
		}
	}
}

// TestLimiter_DeletedMeanwhile takes from a connection that is being deleted: either
// it is granted before, or it waits and there is no such connection.
func TestLimiter_DeletedMeanwhile(t *testing.T) {
	t.Parallel()
	for _, begun := range []bool{true, false} {
		t.Run(fmt.Sprintf("whose windows have begun: %t", begun), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, defaults)
			c := f.connect()
			if begun {
				f.take(c, 1)
			}
			taken := make(chan error, 1)
			f.check(f.api.InTenant(t.Context(), f.tenant, func(q *db.Queries) error {
				if _, err := q.LockConnection(t.Context(), c.ID, f.tenant); err != nil {
					return err
				}
				_, err := q.DeleteConnection(t.Context(), c.ID, f.tenant)
				if err := errors.Join(err, q.ForgetRateLimits(t.Context(), c.ID)); err != nil {
					return err
				}
				go func() {
					_, err := f.limiter.Take(t.Context(), c, 1)
					taken <- err
				}()
				for waits := false; !waits && len(taken) == 0; {
					if err := f.super.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_stat_activity
						WHERE datname = current_database() AND usename = 'primezap_api' AND wait_event_type = 'Lock')`).Scan(&waits); err != nil {
						return err
					}
				}
				return nil
			}))
			if err := <-taken; !errors.Is(err, store.ErrNotFound) {
				t.Errorf("take: %v, want not found", err)
			}
			var left int
			f.check(f.super.QueryRow(t.Context(), "SELECT count(*) FROM integration_rate_limits").Scan(&left))
			if left != 0 {
				t.Errorf("%d windows of the deleted connection are left", left)
			}
		})
	}
}

func TestLimiter_NoDeadlocks(t *testing.T) {
	t.Parallel()
	f := newFixture(t, Config{PerMinute: 1 << 20, PerHour: 1 << 20, PerDay: 1 << 20})
	connections := make([]Connection, 40)
	for i := range connections {
		connections[i] = f.connect()
	}
	var takers sync.WaitGroup
	for taker := range 8 {
		takers.Go(func() {
			for round := range 100 {
				c := connections[(taker*7+round)%len(connections)]
				receipt, err := f.limiter.Take(t.Context(), c, 2)
				switch round % 4 {
				case 0:
					err = errors.Join(err, f.limiter.Refund(t.Context(), receipt, 1))
				case 1:
					_, failed := f.limiter.Reset(t.Context(), c, PerHour, PerMinute)
					err = errors.Join(err, failed)
				case 2:
					_, failed := f.limiter.Set(t.Context(), c, map[Window]int64{PerDay: 1 << 21})
					err = errors.Join(err, failed)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	takers.Wait()
	var deadlocks int
	f.check(f.super.QueryRow(t.Context(), "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").Scan(&deadlocks))
	if deadlocks != 0 {
		t.Errorf("%d deadlocks", deadlocks)
	}
}

// Who deletes or repairs rows by hand need not know the order of the locks.
func TestLimiter_Take_OutlivesADeadlock(t *testing.T) {
	t.Parallel()
	f := newFixture(t, defaults)
	c := f.connect()
	f.take(c, 1)
	// It is the take that looks for a deadlock, once both wait.
	f.exec("ALTER DATABASE " + f.database.Name + " SET deadlock_timeout = '5s'")
	f.limiter = New(f.open(testenv.API, 2), defaults)
	other, err := f.super.Begin(t.Context())
	f.check(err)
	_, err = other.Exec(t.Context(), "SET LOCAL deadlock_timeout = '1min'")
	f.check(err)
	defer func() { _ = other.Rollback(context.WithoutCancel(t.Context())) }()
	lock := func(window Window) {
		_, err := other.Exec(t.Context(), "SELECT FROM integration_rate_limits WHERE connection_id = $1 AND window_type = $2 FOR UPDATE", c.ID, window)
		f.check(err)
	}
	lock(PerMinute)
	taken := make(chan error, 1) // sent once
	go func() {
		_, err := f.limiter.Take(t.Context(), c, 1)
		taken <- err
	}()
	for waits := false; !waits; { // holds the others, and waits for this one
		f.check(f.super.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')").Scan(&waits))
	}
	lock(PerDay)
	f.check(other.Commit(t.Context()))
	f.check(<-taken)
	f.wantUsed(c, 2, 2, 2)
}

func TestLimiter_Settings(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{{PerMinute: -1}, {PerHour: MaxLimit + 1}, {PerDay: -5}} {
		if c.Validate() == nil {
			t.Errorf("%+v: no fault", c)
		}
	}
	if c := defaults; c.Validate() != nil {
		t.Errorf("the defaults: %v", c.Validate())
	}
}
