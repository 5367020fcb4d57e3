package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	schema "github.com/primezap/primezap/db"
	"github.com/primezap/primezap/pkg/localpg"
	"github.com/primezap/primezap/pkg/ratelimit"
	"github.com/primezap/primezap/pkg/store"
)

// What takes from rate limits are measured with.
const (
	takers          = 16 // at a time, each with a connection to Postgres
	takeConnections = 1000
)

// takeSlice is what was done in one stretch of time.
type takeSlice struct {
	PerSecond float64
	P50, P99  time.Duration
	CPU       float64 // microseconds each: Postgres and bench
}

// takeFigures compare takes with statements that update one row.
type takeFigures struct {
	Takers, Connections int
	Kinds               []takeKind
}

// takeKind is a way of taking, and the raw statement that it is measured against.
type takeKind struct {
	Name      string
	Raw, Take []takeSlice
	raw, take func(context.Context) error
}

// measureTakes alternates slices of both, for one hot connection and for many, and
// lastly for a connection that has none left.
func measureTakes(ctx context.Context, s settings, st *stack) (f takeFigures, err error) {
	defer func() {
		if err != nil {
			err = because(ctx, err)
		}
	}()
	super, err := pgxpool.New(ctx, st.postgres.URL(localpg.Superuser, databaseName))
	if err != nil {
		return f, fmt.Errorf("connect: %w", err)
	}
	defer super.Close()
	api, err := store.Open(ctx, st.database(schema.RoleAPI), takers)
	if err != nil {
		return f, err
	}
	defer api.Close()
	for _, sql := range []string{
		"CREATE TABLE raw (id integer PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 50)",
		fmt.Sprintf("INSERT INTO raw SELECT i, 0 FROM generate_series(0, %d) AS i", takeConnections-1),
		"GRANT SELECT, UPDATE ON raw TO " + schema.RoleAPI,
	} {
		if _, err := super.Exec(ctx, sql); err != nil {
			return f, fmt.Errorf("make the raw table: %w", err)
		}
	}
	connections := make([]ratelimit.Connection, takeConnections)
	for i := range connections {
		c := ratelimit.Connection{Tenant: st.plan.Tenants[0], ID: uuid.Must(uuid.NewV7())}
		if _, err := super.Exec(ctx, "INSERT INTO connections (id, tenant_id, channel, name, external_id) VALUES ($1, $2, 'whatsapp', 'bench', $3)",
			c.ID, c.Tenant, c.ID.String()); err != nil {
			return f, fmt.Errorf("make connections: %w", err)
		}
		connections[i] = c
	}
	limiter := ratelimit.New(api, ratelimit.Config{PerMinute: ratelimit.MaxLimit, PerHour: ratelimit.MaxLimit, PerDay: ratelimit.MaxLimit})
	raw := func(id func() int) func(context.Context) error {
		return func(ctx context.Context) error {
			var n int64
			return api.Pool().QueryRow(ctx, "UPDATE raw SET n = n + 1 WHERE id = $1 RETURNING n", id()).Scan(&n)
		}
	}
	take := func(id func() int) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := limiter.Take(ctx, connections[id()], 1)
			return err
		}
	}
	hot, each := func() int { return 0 }, func() int { return rand.N(takeConnections) }
	full := ratelimit.New(api, ratelimit.Config{})
	f = takeFigures{Takers: takers, Connections: takeConnections, Kinds: []takeKind{
		{Name: "one hot connection", raw: raw(hot), take: take(hot)},
		{Name: fmt.Sprintf("%d connections", takeConnections), raw: raw(each), take: take(each)},
		{Name: "refused, one connection", raw: raw(hot), take: func(ctx context.Context) error {
			_, err := full.Take(ctx, connections[0], 1)
			if _, refused := errors.AsType[*ratelimit.Refusal](err); !refused {
				return fmt.Errorf("a limit of 0 granted: %w", err)
			}
			return nil
		}},
	}}
	for i := range s.Slices + 1 {
		progress("slice %d of %d", i, s.Slices)
		for k := range f.Kinds {
			kind := &f.Kinds[k]
			bare, err := st.takeSlice(ctx, s.Slice, kind.raw)
			if err != nil {
				return f, err
			}
			ours, err := st.takeSlice(ctx, s.Slice, kind.take)
			if err != nil {
				return f, err
			}
			if i > 0 { // the first makes rows, plans and connections
				kind.Raw, kind.Take = append(kind.Raw, bare), append(kind.Take, ours)
			}
		}
	}
	return f, nil
}

// takeSlice has all takers call do for so long.
func (st *stack) takeSlice(ctx context.Context, length time.Duration, do func(context.Context) error) (s takeSlice, err error) {
	before, err := st.meter.cpu()
	if err != nil {
		return s, err
	}
	begun := time.Now()
	times := make([][]time.Duration, takers)
	group, ctx := errgroup.WithContext(ctx)
	for i := range takers {
		group.Go(func() error {
			for time.Since(begun) < length {
				asked := time.Now()
				if err := do(ctx); err != nil {
					return err
				}
				times[i] = append(times[i], time.Since(asked))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return s, err
	}
	took := time.Since(begun)
	after, err := st.meter.cpu()
	if err != nil {
		return s, err
	}
	all := slices.Sorted(slices.Values(slices.Concat(times...)))
	s.PerSecond = float64(len(all)) / took.Seconds()
	s.P50, s.P99 = all[len(all)/2], all[len(all)*99/100]
	for name, total := range after.byName {
		s.CPU += (total - before.byName[name]) * 1e6 / float64(len(all))
	}
	return s, nil
}

func (f takeFigures) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%d at a time\ttakes/s\tp50\tp99\tCPU µs\traw/s\traw CPU µs\tof raw\n", f.Takers)
	for _, kind := range f.Kinds {
		ratios := make([]float64, len(kind.Take))
		for i := range ratios {
			ratios[i] = kind.Take[i].PerSecond / kind.Raw[i].PerSecond
		}
		fmt.Fprintf(t, "%s\t%.0f\t%s\t%s\t%.0f\t%.0f\t%.0f\t%.0f %%\n", kind.Name,
			medianOf(kind.Take, func(s takeSlice) float64 { return s.PerSecond }),
			time.Duration(medianOf(kind.Take, func(s takeSlice) float64 { return float64(s.P50) })).Round(10*time.Microsecond),
			time.Duration(medianOf(kind.Take, func(s takeSlice) float64 { return float64(s.P99) })).Round(10*time.Microsecond),
			medianOf(kind.Take, func(s takeSlice) float64 { return s.CPU }),
			medianOf(kind.Raw, func(s takeSlice) float64 { return s.PerSecond }),
			medianOf(kind.Raw, func(s takeSlice) float64 { return s.CPU }), 100*median(ratios))
	}
	return t.Flush()
}

// runTakes is the mode of its own.
func runTakes(ctx context.Context, cancel context.CancelCauseFunc, s settings, h home) error {
	st, err := startDatabase(ctx, cancel, s, h)
	if err != nil {
		return err
	}
	figures, err := measureTakes(ctx, s, st)
	if err := errors.Join(err, st.stop(ctx)); err != nil {
		return err
	}
	return figures.print(os.Stdout)
}
