package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	schema "github.com/primezap/primezap/db"
	"github.com/primezap/primezap/pkg/histogram"
	"github.com/primezap/primezap/pkg/localpg"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

// What the statistics are filled with: a webhook that subscribes to everything and
// is called evenly for 30 days, and others that are as busy, so that its hours do
// not lie together. Each hour has a row for each event type and status, and one for
// each of these durations' buckets.
const (
	statsDays      = 30
	statsAnswers   = 200
	statsLongest   = 2000 // milliseconds
	statsDurations = 60
)

var statsStatuses = []int16{200, 204, 429, 500, 0}

// statsFigures is what the answer of GET …/stats takes.
type statsFigures struct {
	Attempts   int64 // of the webhook, as the next two
	HourRows   int64
	BucketRows int64
	Hours      statsTimes // before days are summed up
	Days       statsTimes // since
}

// statsTimes are of the whole answer, as a client on this machine sees it.
type statsTimes struct{ Median, P95 time.Duration }

// measureStatistics fills in attempts and asks the API for their statistics, before
// and after days that are over were summed up. The plans go to a file beside the
// results.
func measureStatistics(ctx context.Context, attempts int, st *stack) (f statsFigures, err error) {
	hooks, err := st.webhookIDs(ctx)
	if err != nil {
		return f, err
	}
	super, err := pgxpool.New(ctx, st.postgres.URL(localpg.Superuser, databaseName))
	if err != nil {
		return f, fmt.Errorf("connect: %w", err)
	}
	defer super.Close()
	if err := fillStatistics(ctx, super, attempts, hooks); err != nil {
		return f, err
	}
	count := func(sql string) (n int64) {
		err = errors.Join(err, super.QueryRow(ctx, sql, hooks[0]).Scan(&n))
		return n
	}
	f.HourRows = count("SELECT count(*) FROM webhook_stats_hourly WHERE webhook_id = $1")
	f.BucketRows = count("SELECT count(*) FROM webhook_durations_hourly WHERE webhook_id = $1")
	f.Attempts = count("SELECT count(*) FROM webhook_logs WHERE webhook_id = $1 AND created_at >= date_trunc('hour', now()) - interval '30 days'")
	if err != nil {
		return f, fmt.Errorf("count: %w", err)
	}
	if f.Hours, err = st.askStatistics(ctx, hooks[0], f.Attempts); err != nil {
		return f, err
	}
	if err := sumUp(ctx, st.database(schema.RoleWorker), hooks); err != nil {
		return f, err
	}
	if _, err := super.Exec(ctx, "VACUUM (ANALYZE) webhook_stats_daily"); err != nil {
		return f, fmt.Errorf("vacuum: %w", err)
	}
	if f.Days, err = st.askStatistics(ctx, hooks[0], f.Attempts); err != nil {
		return f, err
	}
	return f, st.explainStatistics(ctx, hooks[0])
}

// webhookIDs are those of the first tenant.
func (st *stack) webhookIDs(ctx context.Context) ([]uuid.UUID, error) {
	var list struct{ Data []struct{ ID uuid.UUID } }
	if err := st.get(ctx, "/api/custom-webhooks?limit=100", &list); err != nil {
		return nil, err
	}
	var ids []uuid.UUID
	for _, hook := range list.Data {
		ids = append(ids, hook.ID)
	}
	return ids, nil
}

func (st *stack) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, st.apiURL+path, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+st.apiKey)
	body, err := do(http.DefaultClient, req, http.StatusOK)
	if err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return json.Unmarshal(body, into)
}

// fillStatistics writes logs of the first webhook, and the hours of all.
func fillStatistics(ctx context.Context, super *pgxpool.Pool, attempts int, hooks []uuid.UUID) error {
	var durations []int32
	var buckets []int16
	for i := range statsDurations {
		ms := int32(math.Exp(math.Log(statsLongest) * float64(i+1) / statsDurations))
		durations, buckets = append(durations, ms), append(buckets, histogram.Bucket(ms))
	}
	var types []string
	for _, t := range published() {
		types = append(types, string(t.Type))
	}
	return pgx.BeginFunc(ctx, super, func(tx pgx.Tx) error {
		for _, step := range []struct {
			sql  string
			args []any
		}{
			{sql: "SET LOCAL session_replication_role = replica"}, // without the triggers of results that come late
			{sql: "SELECT ensure_partitions(current_date - $1::int, current_date)", args: []any{statsDays}},
			{sql: "CREATE TEMP TABLE took ON COMMIT DROP AS SELECT n, ms, bucket FROM unnest($1::int[], $2::smallint[]) WITH ORDINALITY AS t(ms, bucket, n)", args: []any{durations, buckets}},
			{sql: `INSERT INTO webhook_logs (webhook_id, created_at, id, tenant_id, delivery_id, event_id, event_type, attempt, kind, counted, success, status, duration_ms)
				SELECT w.id, now() - (g.n::float8 / $2) * $3 * interval '1 day', gen_random_uuid(), w.tenant_id, gen_random_uuid(), 'e' || g.n,
					($4::text[])[1 + g.n % $5], 1, 0, true, s.status BETWEEN 200 AND 299, s.status, t.ms
				FROM webhooks w CROSS JOIN generate_series(1, $2::int) AS g(n)
				CROSS JOIN LATERAL (SELECT CASE WHEN g.n % 7 > 0 THEN 200::smallint ELSE ($6::smallint[])[1 + g.n / 7 % $7] END AS status) AS s
				JOIN took t ON t.n = 1 + g.n % $8
				WHERE w.id = $1`, args: []any{hooks[0], attempts, statsDays, types, len(types), statsStatuses, len(statsStatuses), statsDurations}},
			{sql: `INSERT INTO webhook_stats_hourly (webhook_id, hour, event_type, status, tenant_id, total, successful, duration_ms_sum)
				SELECT w.id, l.hour, l.event_type, l.status, w.tenant_id, l.total, l.successful, l.duration
				FROM (SELECT date_trunc('hour', created_at) AS hour, event_type, status, count(*) AS total,
					count(*) FILTER (WHERE success) AS successful, sum(duration_ms) AS duration
					FROM webhook_logs WHERE webhook_id = $1 GROUP BY 1, 2, 3) AS l
				JOIN webhooks w ON w.id = ANY($2) ORDER BY l.hour, random()`, args: []any{hooks[0], hooks}},
			{sql: `INSERT INTO webhook_durations_hourly (webhook_id, hour, bucket, tenant_id, total)
				SELECT w.id, l.hour, l.bucket, w.tenant_id, l.total
				FROM (SELECT date_trunc('hour', l.created_at) AS hour, t.bucket, count(*) AS total
					FROM webhook_logs l JOIN (SELECT DISTINCT ms, bucket FROM took) t ON t.ms = l.duration_ms
					WHERE l.webhook_id = $1 GROUP BY 1, 2) AS l
				JOIN webhooks w ON w.id = ANY($2) ORDER BY l.hour, random()`, args: []any{hooks[0], hooks}},
		} {
			if _, err := tx.Exec(ctx, step.sql, step.args...); err != nil {
				return fmt.Errorf("fill statistics: %.60s: %w", step.sql, err)
			}
		}
		return nil
	})
}

// sumUp does what the worker's job does once a day is over.
func sumUp(ctx context.Context, url string, hooks []uuid.UUID) error {
	worker, err := store.Open(ctx, url, 1)
	if err != nil {
		return err
	}
	defer worker.Close()
	today := time.Now().UTC().Truncate(24 * time.Hour)
	for days := range statsDays + 1 {
		day := today.AddDate(0, 0, -days)
		err := worker.Queries().SumUpDay(ctx, db.SumUpDayParams{Day: day, WebhookIds: hooks, Begins: day, Ends: day.AddDate(0, 0, 1)})
		if err != nil {
			return fmt.Errorf("sum up: %w", err)
		}
	}
	return nil
}

// askStatistics asks for a webhook's, one answer after another, and makes sure
// that they are of so many attempts.
func (st *stack) askStatistics(ctx context.Context, hook uuid.UUID, attempts int64) (t statsTimes, err error) {
	var took []time.Duration
	for range statsAnswers {
		var answer struct {
			Stats struct{ TotalCalls int64 }
		}
		begun := time.Now()
		if err := st.get(ctx, "/api/custom-webhooks/"+hook.String()+"/stats", &answer); err != nil {
			return t, err
		}
		took = append(took, time.Since(begun))
		if answer.Stats.TotalCalls != attempts {
			return t, fmt.Errorf("statistics tell of %d attempts, the logs of %d", answer.Stats.TotalCalls, attempts)
		}
	}
	slices.Sort(took)
	return statsTimes{Median: took[len(took)/2], P95: took[len(took)*95/100]}, nil
}

// explainStatistics writes the plans of the answer's queries, as the api's role
// makes them, to statistics.txt.
func (st *stack) explainStatistics(ctx context.Context, hook uuid.UUID) error {
	file, err := os.Create(filepath.Join(st.home.results, "statistics.txt"))
	if err != nil {
		return fmt.Errorf("write plans: %w", err)
	}
	defer file.Close()
	api, err := store.Open(ctx, st.database(schema.RoleAPI), 1)
	if err != nil {
		return err
	}
	defer api.Close()
	now := time.Now().UTC()
	from := now.AddDate(0, 0, -statsDays).Truncate(time.Hour)
	today := now.Truncate(24 * time.Hour)
	begins, ends := []time.Time{from, today}, []time.Time{from.AddDate(0, 0, 1).Truncate(24 * time.Hour), now}
	return pgx.BeginFunc(ctx, api.Pool(), func(tx pgx.Tx) error {
		if err := db.New(tx).SetTenant(ctx, st.plan.Tenants[0].String()); err != nil {
			return err
		}
		e := &explainer{tx: tx, to: file}
		q := db.New(e)
		_, _ = q.DailyStats(ctx, hook, from, now)
		_, _ = q.HourlyStats(ctx, begins, ends, hook)
		_, _ = q.HourlyDurations(ctx, begins, ends, hook)
		return e.err
	})
}

// explainer writes the plan of each query that it is asked, and answers none.
type explainer struct {
	tx  pgx.Tx
	to  io.Writer
	err error
}

var errExplained = errors.New("explained")

// Query implements db.DBTX.
func (e *explainer) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	rows, err := e.tx.Query(ctx, "EXPLAIN (ANALYZE, BUFFERS) "+sql, args...)
	if err == nil {
		var lines []string
		if lines, err = pgx.CollectRows(rows, pgx.RowTo[string]); err == nil {
			fmt.Fprintln(e.to, sql)
			for _, line := range lines {
				fmt.Fprintln(e.to, line)
			}
		}
	}
	e.err = errors.Join(e.err, err)
	return nil, errExplained
}

// Exec implements db.DBTX.
func (e *explainer) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, errExplained
}

// QueryRow implements db.DBTX.
func (e *explainer) QueryRow(context.Context, string, ...any) pgx.Row { return noRow{} }

type noRow struct{}

func (noRow) Scan(...any) error { return errExplained }

func (f statsFigures) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "statistics of %d attempts in %d days\tmedian\tp95\n", f.Attempts, statsDays)
	for _, row := range []struct {
		name  string
		times statsTimes
	}{
		{"days summed up", f.Days},
		{fmt.Sprintf("hours alone: %d and %d rows", f.HourRows, f.BucketRows), f.Hours},
	} {
		fmt.Fprintf(t, "%s\t%s\t%s\n", row.name, row.times.Median.Round(10*time.Microsecond), row.times.P95.Round(10*time.Microsecond))
	}
	return t.Flush()
}
