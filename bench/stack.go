package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/primezap/primezap/db"
	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/localnats"
	"github.com/primezap/primezap/pkg/localpg"
	"github.com/primezap/primezap/pkg/vault"
)

const (
	databaseName = "primezap"
	postgresName = "postgres"
	startFor     = 60 * time.Second
)

// profiled are the processes with a profile to take.
var profiled = []string{"api", "worker", "nats", "sink", "drive"}

// profiledInbound are those of -inbound.
var profiledInbound = []string{standaloneName, postgresName}

// home is where the repository is.
type home struct {
	root    string
	results string
}

func findHome(ctx context.Context) (home, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOWORK").Output()
	if err != nil {
		return home{}, fmt.Errorf("go env GOWORK: %w", err)
	}
	work := strings.TrimSpace(string(out))
	if work == "" || work == "off" {
		return home{}, errors.New("run it inside the repository: it builds the services")
	}
	h := home{root: filepath.Dir(work), results: filepath.Join(filepath.Dir(work), "bench", "results")}
	if err := os.MkdirAll(h.results, 0o755); err != nil {
		return home{}, fmt.Errorf("make %s: %w", h.results, err)
	}
	return h, nil
}

// revision is the commit that is measured; empty where there is no git.
func revision(ctx context.Context, root string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", root, "describe", "--always", "--dirty").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// stack is everything that is measured, running.
type stack struct {
	home  home
	dir   string
	bin   string
	meter *meter
	plan  *plan

	postgres *localpg.Server
	// postgresSettings are set before the start.
	postgresSettings map[string]string
	processes        []*process // in the order of their start
	natsAddr         string
	sinkAddrs        []string
	apiURL           string
	apiKey           string
	keyset           string
	passwords        string // of all roles and users

	cancel context.CancelCauseFunc // called when a process ends unasked
	asked  chan struct{}           // closed by stop
}

// start builds and starts everything. From then on a process that ends unasked
// cancels ctx by cancel.
func start(ctx context.Context, cancel context.CancelCauseFunc, s settings, h home) (*stack, error) {
	return assemble(ctx, cancel, s, h, func(st *stack) []func(context.Context) error {
		return []func(context.Context) error{
			func(context.Context) error {
				return st.build(ctx, "cmd/migrate", "services/api/cmd/api", "services/worker/cmd/worker")
			}, // the first one takes its time
			st.startPostgres, st.startNATS, st.migrate,
			func(context.Context) error { return st.startSink(s) },
			st.startServices,
			func(context.Context) error { return st.createWebhooks(ctx) }, // their number is free
			func(context.Context) error { return st.startClients(s) },
		}
	})
}

// startDatabase starts Postgres alone, with the schema.
func startDatabase(ctx context.Context, cancel context.CancelCauseFunc, s settings, h home) (*stack, error) {
	return assemble(ctx, cancel, s, h, func(st *stack) []func(context.Context) error {
		return []func(context.Context) error{st.startPostgres, func(ctx context.Context) error { return db.Migrate(ctx, st.database(db.RoleOwner)) }}
	})
}

func assemble(ctx context.Context, cancel context.CancelCauseFunc, s settings, h home, steps func(*stack) []func(context.Context) error) (_ *stack, err error) {
	st := &stack{home: h, cancel: cancel, asked: make(chan struct{}), passwords: rand.Text()}
	defer func() {
		if err != nil {
			err = errors.Join(err, st.stop(ctx))
		}
	}()
	if st.meter, err = newMeter(); err != nil {
		return nil, err
	}
	if st.plan, err = newPlan(s.Tenants, s.Webhooks); err != nil {
		return nil, err
	}
	keyset, err := vault.NewKeyset()
	if err != nil {
		return nil, fmt.Errorf("make keyset: %w", err)
	}
	st.keyset = string(keyset)
	if st.dir, err = os.MkdirTemp(onDisk(s.Dir), "primezap-bench-"); err != nil {
		return nil, fmt.Errorf("make a directory: %w", err)
	}
	if err := os.Chmod(st.dir, 0o755); err != nil { // Postgres may run as another user
		return nil, fmt.Errorf("open the directory: %w", err)
	}
	st.bin = filepath.Join(st.dir, "bin")
	for _, step := range steps(st) {
		starting, done := context.WithTimeout(ctx, startFor)
		err := step(starting)
		done()
		if err != nil {
			return nil, because(ctx, err)
		}
	}
	return st, nil
}

// onDisk is a directory that is no file system in memory, on which syncing would
// cost nothing.
func onDisk(dir string) string {
	if dir != "" {
		return dir
	}
	if info, err := os.Stat("/var/tmp"); err == nil && info.IsDir() {
		return "/var/tmp"
	}
	return os.TempDir()
}

// because prefers the reason for which everything was stopped to what came of it.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func (st *stack) build(ctx context.Context, programs ...string) error {
	args := []string{"build", "-o", st.bin + string(filepath.Separator)}
	for _, program := range programs {
		args = append(args, "github.com/primezap/primezap/"+program)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = st.home.root
	if err := os.MkdirAll(st.bin, 0o755); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

func (st *stack) startPostgres(ctx context.Context) (err error) {
	dir := filepath.Join(st.dir, "postgres")
	st.postgres, err = localpg.Start(ctx, localpg.Config{Dir: dir, Durable: true, Settings: st.postgresSettings})
	if err != nil {
		return err
	}
	// A container's processes are not ours to see.
	pid, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err == nil {
		first, _, _ := strings.Cut(string(pid), "\n")
		if n, err := strconv.Atoi(first); err == nil {
			st.meter.roots[n] = postgresName
		}
	}
	super := st.postgres.URL(localpg.Superuser, "postgres")
	if err := db.Bootstrap(ctx, super, databaseName); err != nil {
		return err
	}
	return db.SetPasswords(ctx, super, st.passwords)
}

// database is where a role connects.
func (st *stack) database(role string) string {
	u, err := url.Parse(st.postgres.URL(role, databaseName))
	if err != nil {
		panic(err) // made of a url.URL
	}
	u.User = url.UserPassword(role, st.passwords)
	return u.String()
}

func (st *stack) startNATS(context.Context) error {
	settings := natsSettings{Dir: filepath.Join(st.dir, "nats")}
	for _, u := range bus.Users() {
		settings.Users = append(settings.Users, localnats.User{
			Name: u.Name, Password: st.passwords, Publish: u.Publish, Subscribe: u.Subscribe, Responses: u.Responses,
		})
	}
	ready, err := addRole[natsReady](st, "nats", settings)
	st.natsAddr = ready.Address
	return err
}

// migrate makes schema and streams, and an API key of the first tenant that may
// do everything, also for the others.
func (st *stack) migrate(ctx context.Context) error {
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, filepath.Join(st.bin, "migrate"), args...)
		cmd.Env = append(os.Environ(), "DATABASE_URL="+st.database(db.RoleOwner), "NATS_URL="+st.bus(bus.UserAdmin), "LOG_LEVEL=warn")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("migrate: %w\n%s", err, stderr.Bytes())
		}
		return strings.TrimSpace(string(out)), nil
	}
	if _, err := run(); err != nil {
		return err
	}
	key, err := run("api-key", "-tenant", st.plan.Tenants[0].String(), "-name", "bench", "-scopes", strings.Join(auth.Scopes(), ","))
	st.apiKey = key
	return err
}

// bus is where a user connects.
func (st *stack) bus(user string) string {
	u := url.URL{Scheme: "nats", Host: st.natsAddr, User: url.UserPassword(user, st.passwords)}
	return u.String()
}

func (st *stack) startSink(s settings) error {
	ready, err := addRole[sinkReady](st, "sink", sinkSettings{Ports: s.Hosts, Slow: s.Slow})
	st.sinkAddrs = ready.Addresses
	return err
}

// startServices starts api and worker as a production would, but for endpoints on
// this machine and for a tenant that may be as busy as it likes. What is set in
// the environment reaches them too, to try settings out.
func (st *stack) startServices(ctx context.Context) error {
	addrs, err := freeAddresses(3)
	if err != nil {
		return err
	}
	common := []string{
		"VAULT_KEYSET=" + st.keyset, "WEBHOOK_ALLOW_HTTP=true", "WEBHOOK_ALLOW_CIDRS=127.0.0.0/8", "LOG_FORMAT=json",
	}
	env := func(own ...string) []string {
		given := append([]string{"EVENTS_LIVE_RATE=1e9", "EVENTS_LIVE_BURST=1000000000"}, os.Environ()...)
		return append(append(given, common...), own...) // of two, the last counts
	}
	if err := st.addService("api", addrs[0], env("HTTP_ADDR="+addrs[1], "ADMIN_ADDR="+addrs[0],
		"DATABASE_URL="+st.database(db.RoleAPI), "NATS_URL="+st.bus(bus.UserAPI))); err != nil {
		return err
	}
	if err := st.addService("worker", addrs[2], env("ADMIN_ADDR="+addrs[2],
		"DATABASE_URL="+st.database(db.RoleWorker), "NATS_URL="+st.bus(bus.UserWorker))); err != nil {
		return err
	}
	st.apiURL = "http://" + addrs[1]
	return errors.Join(awaitReady(ctx, addrs[0]), awaitReady(ctx, addrs[2]))
}

func (st *stack) startClients(s settings) error {
	if _, err := addRole[nothing](st, "raw", nothing{}); err != nil {
		return err
	}
	_, err := addRole[nothing](st, "drive", driverSettings{
		URL: st.apiURL, Key: st.apiKey, Plan: *st.plan, Sink: st.control("sink"),
		Feeders: s.Feeders, Batch: s.Batch, Bound: s.Outstanding,
	})
	return err
}

// createWebhooks makes them through the API, each with one subscription.
func (st *stack) createWebhooks(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	defer client.CloseIdleConnections()
	for i := range st.plan.Webhooks {
		group.Go(func() error {
			tenant, subscription := st.plan.subscription(i)
			body, err := json.Marshal(map[string]any{
				"name": "endpoint " + strconv.Itoa(i), "events": []string{string(subscription)},
				"url": "http://" + st.sinkAddrs[i%len(st.sinkAddrs)] + "/hook/" + strconv.Itoa(i),
			})
			if err != nil {
				return err
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, st.apiURL+"/api/custom-webhooks", bytes.NewReader(body))
			if err != nil {
				return err
			}
			req.Header.Set("Authorization", "Bearer "+st.apiKey)
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("X-Tenant-Id", tenant.String())
			if _, err := do(client, req, http.StatusCreated); err != nil {
				return fmt.Errorf("create webhook %d: %w", i, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// addRole starts a role of this program.
func addRole[R any](st *stack, name string, settings any) (R, error) {
	p, ready, err := launchRole[R](st.home.results, name, settings, st.ended)
	st.add(p)
	return ready, err
}

// addService starts a program that was built, with its profiles at admin.
func (st *stack) addService(name, admin string, env []string) error {
	cmd := exec.Command(filepath.Join(st.bin, name))
	cmd.Env, cmd.Dir = env, st.dir
	p, err := launch(st.home.results, name, cmd, st.ended)
	if err != nil {
		return err
	}
	p.control = admin
	st.add(p)
	return nil
}

func (st *stack) add(p *process) {
	if p != nil {
		st.processes = append(st.processes, p)
		st.meter.roots[p.cmd.Process.Pid] = p.name
	}
}

var errByItself = errors.New("nobody asked it to")

// ended stops everything when a process ends that nobody asked to.
func (st *stack) ended(p *process) {
	select {
	case <-st.asked:
	default:
		st.cancel(fmt.Errorf("%s ended (see %s): %w", p.name, p.log.Name(), cmp.Or(p.err, errByItself)))
	}
}

// control is a process's control port.
func (st *stack) control(name string) string {
	i := slices.IndexFunc(st.processes, func(p *process) bool { return p.name == name })
	return st.processes[i].control // a wrong name is a programmer's error
}

// stop ends everything, in the reverse order of the start, and removes what it kept.
func (st *stack) stop(ctx context.Context) error {
	close(st.asked)
	var errs []error
	for _, p := range slices.Backward(st.processes) {
		errs = append(errs, p.stop())
	}
	if st.postgres != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopFor)
		defer cancel()
		errs = append(errs, st.postgres.Stop(ctx))
	}
	if st.dir != "" {
		errs = append(errs, os.RemoveAll(st.dir))
	}
	return errors.Join(errs...)
}

// freeAddresses are loopback addresses that nobody listens on now.
func freeAddresses(n int) (addrs []string, err error) {
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer listener.Close() // only after all were found: no port twice
		addrs = append(addrs, listener.Addr().String())
	}
	return addrs, nil
}

// awaitReady asks an admin server until it says ready.
func awaitReady(ctx context.Context, admin string) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", http.NoBody)
		if err != nil {
			return err
		}
		if _, err = do(http.DefaultClient, req, http.StatusOK); err == nil {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("await %s: %w", admin, errors.Join(ctx.Err(), err))
		}
	}
}
