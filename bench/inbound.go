package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/localpg"
)

// Whom messages go to, and who writes them.
const (
	inboundTenants   = 2
	inboundAccounts  = 4
	inboundPeople    = 2000 // of each account
	inboundPosts     = 512  // in flight, at most
	inboundWarmFor   = 3 * time.Second
	inboundDrainFor  = 3 * time.Minute
	inboundCountEach = 250 * time.Millisecond
)

const standaloneName = "standalone"

// inboundFigures is what a run found.
type inboundFigures struct {
	Load      metaLoad
	Result    metaResult
	CPU       map[string]float64 // microseconds a message, by process, until all was delivered
	Others    float64            // processors that others used meanwhile
	Drain     time.Duration      // from the last answer until everything was delivered
	Stored    int64              // messages, in the whole run
	Recorded  int64              // events in the ledger
	Delivered int64              // different messages that arrived at the webhook
	Twice     int64              // deliveries of one that was there
	Sent      int64
	Peak      map[string]uint64
}

// startInbound starts one standalone over a Postgres of its own, connects accounts
// to it and subscribes the sink to what is received.
func startInbound(ctx context.Context, cancel context.CancelCauseFunc, s settings, h home) (*stack, error) {
	secret := rand.Text()
	return assemble(ctx, cancel, s, h, func(st *stack) []func(context.Context) error {
		return []func(context.Context) error{
			func(context.Context) error { return st.build(ctx, "services/standalone") },
			func(ctx context.Context) error {
				if slices.Contains(s.Profile, postgresName) {
					st.postgresSettings = map[string]string{
						"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.track_planning": "on",
					}
				}
				return st.startPostgres(ctx)
			},
			func(context.Context) error { return st.startSink(settings{Hosts: 1}) },
			func(ctx context.Context) error { return st.startStandalone(ctx, secret) },
			func(ctx context.Context) error { return st.connectAccounts(ctx, secret) },
		}
	})
}

func (st *stack) startStandalone(ctx context.Context, secret string) error {
	addrs, err := freeAddresses(2)
	if err != nil {
		return err
	}
	st.apiKey, st.apiURL = auth.NewKey(), "http://"+addrs[0]
	env := append(os.Environ(),
		"DATA_DIR="+filepath.Join(st.dir, standaloneName), "DATABASE_URL="+st.postgres.URL(localpg.Superuser, databaseName),
		"HTTP_ADDR="+addrs[0], "ADMIN_ADDR="+addrs[1], "API_KEY="+st.apiKey, "META_APP_SECRETS="+secret, "LOG_FORMAT=json")
	if err := st.addService(standaloneName, addrs[1], env); err != nil {
		return err
	}
	return awaitReady(ctx, addrs[1])
}

// connectAccounts makes connections and webhooks through the API, and starts who
// plays Meta.
func (st *stack) connectAccounts(ctx context.Context, secret string) error {
	tenants := make([]uuid.UUID, inboundTenants)
	for i := range tenants {
		tenants[i] = uuid.New()
		err := st.create(ctx, tenants[i], "/api/custom-webhooks", map[string]any{
			"name": "CRM", "url": "http://" + st.sinkAddrs[0] + inboundPath, "events": []string{"message.received"},
		})
		if err != nil {
			return err
		}
	}
	meta := metaSettings{URL: st.apiURL, Secret: secret, People: inboundPeople}
	for i := range inboundAccounts {
		account := strconv.Itoa(800_001 + i)
		err := st.create(ctx, tenants[i%len(tenants)], "/api/connections?verify=false", map[string]any{
			"channel": "whatsapp", "name": "number " + account, "externalId": account, "credentials": map[string]string{"accessToken": "EAAbench"},
		})
		if err != nil {
			return err
		}
		meta.Accounts = append(meta.Accounts, account)
	}
	_, err := addRole[nothing](st, "meta", meta)
	return err
}

// create makes something of a tenant's.
func (st *stack) create(ctx context.Context, tenant uuid.UUID, path string, what any) error {
	body, err := json.Marshal(what)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, st.apiURL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+st.apiKey)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Tenant-Id", tenant.String())
	if _, err := do(http.DefaultClient, req, http.StatusCreated); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	return nil
}

// measureInbound has messages arrive, and follows them to the webhook.
func measureInbound(ctx context.Context, s settings, st *stack) (f inboundFigures, err error) {
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
	f.Load = metaLoad{PerSecond: s.Rate, Duration: s.For, Connections: inboundPosts}
	warm := metaLoad{PerSecond: s.Rate / 4, Duration: inboundWarmFor, Connections: inboundPosts}
	if _, err := st.inboundSlice(ctx, &f, warm); err != nil {
		return f, err
	}
	profiled := make(chan error, 1) // sent once
	if slices.Contains(s.Profile, standaloneName) {
		go func() { profiled <- st.fetchProfile(ctx, standaloneName, standaloneName+"-inbound") }()
	} else {
		profiled <- nil
	}
	progress("%.0f messages a second for %s", s.Rate, s.For)
	if slices.Contains(s.Profile, postgresName) {
		if _, err := super.Exec(ctx, "CREATE EXTENSION pg_stat_statements"); err != nil {
			return f, fmt.Errorf("count statements: %w", err)
		}
	}
	before, err := st.meter.cpu()
	if err != nil {
		return f, err
	}
	begun := time.Now()
	if f.Result, err = st.inboundSlice(ctx, &f, f.Load); err != nil {
		return f, errors.Join(err, <-profiled)
	}
	took := time.Since(begun)
	after, err := st.meter.cpu()
	if err := errors.Join(err, <-profiled); err != nil {
		return f, err
	}
	f.CPU = map[string]float64{}
	used := 0.0
	for name, total := range after.byName {
		spent := total - before.byName[name]
		used += spent
		if name != "bench" {
			f.CPU[name] = spent * 1e6 / float64(f.Result.Messages)
		}
	}
	f.Others = max(0, (after.busy-before.busy-used)/took.Seconds())
	if f.Peak, err = st.meter.memory(); err != nil {
		return f, err
	}
	if slices.Contains(s.Profile, postgresName) {
		if err := st.writeStatements(ctx, super, f.Result.Messages); err != nil {
			return f, err
		}
	}
	return f, f.count(ctx, super)
}

// writeStatements says in results/statements.txt what Postgres spent its time on.
func (st *stack) writeStatements(ctx context.Context, super *pgxpool.Pool, messages int64) error {
	rows, err := super.Query(ctx, `SELECT format('%s µs a message, %s of them planning, %s calls of %s ms, %s rows: %s',
		round(1000 * (total_exec_time + total_plan_time)::numeric / $1, 1), round(1000 * total_plan_time::numeric / $1, 1), calls,
		round(mean_exec_time::numeric, 2), rows, left(regexp_replace(query, '\s+', ' ', 'g'), 300)) FROM pg_stat_statements ORDER BY total_exec_time + total_plan_time DESC LIMIT 60`, messages)
	if err != nil {
		return fmt.Errorf("read statements: %w", err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("read statements: %w", err)
	}
	return os.WriteFile(filepath.Join(st.home.results, "statements.txt"), []byte(strings.Join(lines, "\n")+"\n"), 0o644)
}

// inboundSlice sends messages and waits until they have arrived at the webhook.
func (st *stack) inboundSlice(ctx context.Context, f *inboundFigures, load metaLoad) (metaResult, error) {
	result, err := call[metaResult](ctx, st.control("meta"), "/send", load)
	if err != nil {
		return result, err
	}
	f.Sent += result.Messages
	answered := time.Now()
	for {
		now, err := call[counts](ctx, st.control("sink"), "/counts", nothing{})
		if err != nil {
			return result, err
		}
		f.Delivered, f.Twice, f.Drain = now.Delivered, now.Again, time.Since(answered)
		if f.Delivered >= f.Sent || f.Drain > inboundDrainFor {
			return result, nil
		}
		if err := pause(ctx, inboundCountEach); err != nil {
			return result, err
		}
	}
}

// count asks the tables what became of the messages. The ledger's entry follows a
// delivery by a moment.
func (f *inboundFigures) count(ctx context.Context, super *pgxpool.Pool) error {
	for deadline := time.Now().Add(10 * time.Second); ; {
		err := super.QueryRow(ctx, "SELECT (SELECT count(*) FROM messages WHERE starts_with(external_id, $1)), (SELECT count(*) FROM events WHERE type = 'message.received')",
			inboundMark).Scan(&f.Stored, &f.Recorded)
		if err != nil {
			return fmt.Errorf("count: %w", err)
		}
		if f.Recorded >= f.Sent || time.Now().After(deadline) {
			return nil
		}
		if err := pause(ctx, inboundCountEach); err != nil {
			return err
		}
	}
}

var errLost = errors.New("not every message was stored, recorded and delivered exactly once")

// check is an error unless every message is there once.
func (f *inboundFigures) check() error {
	if f.Stored != f.Sent || f.Recorded != f.Sent || f.Delivered != f.Sent {
		return errLost
	}
	return nil
}

func (f *inboundFigures) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "inbound\t%d messages in %d posts, %.0f a second for %s\n", f.Result.Messages, f.Result.Posts, f.Result.PerSecond, f.Load.Duration)
	a := f.Result.Answered
	fmt.Fprintf(t, "answered within\tp50 %.0f ms, p95 %.0f ms, p99 %.0f ms, at most %.0f ms\n", a.P50, a.P95, a.P99, a.Max)
	fmt.Fprintf(t, "posts repeated\t%d\n", f.Result.Again)
	fmt.Fprintf(t, "of all %d\t%d stored, %d recorded, %d delivered, %d delivered again\n", f.Sent, f.Stored, f.Recorded, f.Delivered, f.Twice)
	fmt.Fprintf(t, "all delivered\t%s after the last answer\n", f.Drain.Round(10*time.Millisecond))
	var parts []string
	sum := 0.0
	for _, name := range costliest(f.CPU) {
		if name != total {
			parts = append(parts, fmt.Sprintf("%s %.0f", name, f.CPU[name]))
			sum += f.CPU[name]
		}
	}
	fmt.Fprintf(t, "CPU µs a message\t%.0f: %s\n", sum, strings.Join(parts, ", "))
	fmt.Fprintf(t, "peak MiB\t%s %d, %s %d\n", standaloneName, f.Peak[standaloneName]>>20, postgresName, f.Peak[postgresName]>>20)
	fmt.Fprintf(t, "others used\t%.1f of %d cores\n", f.Others, runtime.NumCPU())
	return t.Flush()
}

// runInbound is the mode of its own.
func runInbound(ctx context.Context, cancel context.CancelCauseFunc, s settings, h home) error {
	st, err := startInbound(ctx, cancel, s, h)
	if err != nil {
		return err
	}
	figures, err := measureInbound(ctx, s, st)
	if err := errors.Join(err, st.stop(ctx)); err != nil {
		return err
	}
	return errors.Join(figures.print(os.Stdout), figures.check())
}
