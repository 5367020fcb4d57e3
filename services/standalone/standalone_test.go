package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/db"
	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/gateway"
	"github.com/primezap/primezap/pkg/localnats"
	"github.com/primezap/primezap/pkg/localpg"
)

// A single instance, from its first start to its end: each start makes a
// database cluster, which is most of what these tests cost.
func TestStandalone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	i := start(t, dir)
	t.Logf("ready on a new DATA_DIR in %s", i.took.Round(time.Millisecond))
	if i.took > 30*time.Second { // under 5 s where nothing else runs
		t.Errorf("ready only after %s", i.took)
	}

	t.Run("everything answers once the ready line is printed", func(t *testing.T) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(i.stdout.String()), &fields); err != nil {
			t.Fatal(err)
		}
		if len(fields) != 6 || fields["ready"] != true || fields["meta"] != metaSimulated || !strings.HasPrefix(i.ready.URL, "http://127.0.0.1:") ||
			!strings.HasPrefix(i.ready.APIKey, auth.KeyPrefix) || i.ready.Tenant == uuid.Nil {
			t.Errorf("the ready line is %s", i.stdout.String())
		}
		for _, path := range []string{"/healthz", "/readyz", "/openapi.json", "/api/custom-webhooks", "/api/event-types"} {
			i.call(t, http.MethodGet, path, "", http.StatusOK, nil)
		}
		for _, prefix := range gateway.OAuth() { // the route is nobody's, and its absence is counted by whom it would be
			i.call(t, http.MethodGet, prefix+"nothing/of-it", "", http.StatusNotFound, nil)
		}
	})
	t.Run("the admin server shows the metrics of all services", func(t *testing.T) {
		metrics := get(t, i.admin(t)+"/metrics")
		for _, name := range []string{`primezap_http_requests_total{method="GET",route="/readyz",service="api"`, `primezap_http_requests_total{method="",route="none",service="oauth",status="404"} ` + strconv.Itoa(len(gateway.OAuth())), "primezap_attempts_running", "go_goroutines"} {
			if !strings.Contains(metrics, "\n"+name) {
				t.Errorf("/metrics lacks %s", name)
			}
		}
	})
	t.Run("Meta is simulated, and says so", func(t *testing.T) {
		if page := get(t, i.ready.MetaSimulator+"/"); !strings.Contains(page, "SIMULATED") || !strings.Contains(page, i.ready.URL+webhookPath) {
			t.Errorf("the simulator's page is %s", page)
		}
		if log := i.stderr.String(); !strings.Contains(log, "Meta is SIMULATED") {
			t.Error("the log does not say so")
		}
	})
	t.Run("generated keys are for their owner's eyes", func(t *testing.T) {
		info, err := os.Stat(filepath.Join(dir, "keys.json"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("keys.json has mode %s", info.Mode())
		}
	})
	t.Run("a second instance on the directory says why it cannot", func(t *testing.T) {
		second := launch(t, dir)
		began := time.Now()
		if code := second.awaitExit(t, exitWithin); code != 1 {
			t.Errorf("ended with code %d, want 1", code)
		}
		t.Logf("ended after %s", time.Since(began).Round(time.Millisecond))
		if says, want := second.stderr.String(), "standalone: DATA_DIR "+dir+": in use by another process\n"; says != want {
			t.Errorf("says %q, want %q", says, want)
		}
		if out := second.stdout.String(); out != "" {
			t.Errorf("prints %s", out)
		}
		i.call(t, http.MethodGet, "/readyz", "", http.StatusOK, nil)
	})
	t.Run("the README's walk-through does what it says", func(t *testing.T) { walkThrough(t, i) })
	t.Run("so does the login of docs/channels.md", func(t *testing.T) { tryLogin(t, i) })
	t.Run("another instance on another directory", func(t *testing.T) { testStartingUp(t, i) })

	i.terminate(t)
	if lines := strings.Count(i.stdout.String(), "\n"); lines != 1 {
		t.Errorf("%d lines on standard output, want one: %s", lines, i.stdout.String())
	}
	for line := range strings.Lines(i.stderr.String()) {
		if record := (logRecord{}); json.Unmarshal([]byte(line), &record) != nil || record.Msg == "" {
			t.Errorf("no log record: %s", line)
		} else if record.Level == "ERROR" || record.Level == "WARN" && record.Msg != "postgres" && !strings.Contains(record.Msg, "SIMULATED") { // to Postgres a cancelled query is a lost client
			t.Errorf("a quiet life logs %s", line)
		}
	}
	showsNoSecret(t, i, dir)
}

// testStartingUp stops an instance at several moments of its start, then lets it
// come up beside other.
func testStartingUp(t *testing.T, other *instance) {
	dir := t.TempDir()
	database := filepath.Join(dir, "postgres")
	for _, moment := range []struct {
		name string
		come func(i *instance) bool
	}{
		{"when keys are there", func(*instance) bool { return exists(filepath.Join(dir, "keys.json")) }},
		{"while the database cluster is made", func(*instance) bool { return exists(filepath.Join(database, "data.init-*", "base", "*", "PG_VERSION")) }},
		{"when Postgres answers", func(i *instance) bool { return strings.Contains(i.stderr.String(), "postgres is ready") }},
	} {
		t.Run("stops "+moment.name, func(t *testing.T) {
			i := launch(t, dir)
			eventually(t, readyWithin, func() error {
				if moment.come(i) {
					return nil
				}
				return i.running("not yet")
			})
			i.terminate(t)
			if out := i.stdout.String(); out != "" {
				t.Errorf("prints %s", out)
			}
			if says := i.stderr.String(); strings.Contains(says, "standalone:") || strings.Contains(says, `"ERROR"`) {
				t.Errorf("says %s", says)
			}
		})
	}

	const appSecret = "secret-of-a-real-app"
	i := start(t, dir, "FACEBOOK_APP_SECRET="+appSecret)
	if i.ready.Meta != metaConfigured || i.ready.MetaSimulator != "" || strings.Contains(i.stderr.String(), "SIMULATED") {
		t.Errorf("with credentials of Meta's the ready line is %s", i.stdout.String())
	}
	var refused struct{ Type, Detail string }
	i.act(t, map[string]any{"action": "get_auth_url", "redirectUri": i.ready.URL + callbackPaths()[0]}, http.StatusServiceUnavailable, &refused)
	if refused.Type != "urn:primezap:problem:oauth-not-configured" || !strings.Contains(refused.Detail, "FACEBOOK_APP_ID") || strings.Contains(refused.Detail, ",") {
		t.Errorf("without the app's id a login is refused with %+v", refused)
	}
	showsNoSecret(t, i, dir, appSecret)
	if i.ready.URL == other.ready.URL || i.ready.APIKey == other.ready.APIKey || i.ready.Tenant == other.ready.Tenant {
		t.Errorf("two instances say %+v and %+v", other.ready, i.ready)
	}
	for _, at := range []*instance{i, other} {
		at.call(t, http.MethodGet, "/readyz", "", http.StatusOK, nil)
	}
	err := i.do(t.Context(), http.MethodGet, "/api/custom-webhooks", "", http.StatusUnauthorized, nil, "Authorization", "Bearer "+other.ready.APIKey)
	if err != nil {
		t.Errorf("another instance's key: %v", err)
	}
	i.terminate(t)
}

func exists(pattern string) bool {
	found, _ := filepath.Glob(pattern) // the patterns are well formed
	return len(found) > 0
}

// What was accepted survives the end of the program, whichever way that comes.
func TestStandalone_GoesOn(t *testing.T) {
	t.Parallel()
	const delay = 10 * time.Second // of a retry: longer than it takes to kill
	r := newReceiver(t)
	dir := t.TempDir()
	debug := "LOG_LEVEL=debug"

	first := start(t, dir, debug)
	ok := first.subscribe(t, r.URL("/ok"), "deal.moved", "1")
	fails := first.subscribe(t, r.URL("/fails"), "contact.created", fmt.Sprint(delay.Seconds()))
	first.publish(t, "contact.created", 1)
	eventually(t, soon, func() error {
		queue := list[struct{ State string }](t, first, "/api/custom-webhooks/"+fails.ID+"/queue")
		if len(queue) != 1 || queue[0].State != "retrying" {
			return fmt.Errorf("the queue of a failing webhook is %v", queue)
		}
		return nil
	})
	below := descendants(t, first.cmd.Process.Pid)
	accepted := first.publish(t, "deal.moved", 200)
	// A postmaster follows its parent, but not before its children have ended.
	for _, p := range processes(t) {
		if slices.Contains(below, p.pid) && p.parent != first.cmd.Process.Pid {
			_ = syscall.Kill(p.pid, syscall.SIGSTOP) // it may have ended
		}
	}
	first.kill(t)
	if n, left := len(r.At("/fails")), alive(t, below); n != 1 || len(left) == 0 {
		t.Fatalf("%d attempts before the end, want one; it left the processes %v behind", n, left)
	}

	second := start(t, dir, debug)
	t.Run("after kill -9 and with a postmaster left behind", func(t *testing.T) {
		t.Logf("ready again in %s", second.took.Round(time.Millisecond))
		if left := alive(t, below); len(left) > 0 {
			t.Errorf("processes %v are left of the first run", left)
		}
		if second.ready.APIKey != first.ready.APIKey || second.ready.Tenant != first.ready.Tenant {
			t.Errorf("became %+v, was %+v", second.ready, first.ready)
		}
		if hooks := list[hook](t, second, "/api/custom-webhooks"); len(hooks) != 2 {
			t.Errorf("the webhooks are %v, want two", hooks)
		}
		if rows := list[any](t, second, "/api/custom-webhooks/"+fails.ID+"/logs"); len(rows) == 0 {
			t.Error("no log row is there")
		}
		r.AwaitEvents(t, "/ok", accepted, 1)
		for _, d := range r.At("/ok") {
			verify(t, d, ok.Secret)
		}
		attempts := r.Await(t, "/fails", 2)
		verify(t, attempts[1], fails.Secret)
		if gap := attempts[1].Arrived.Sub(attempts[0].Arrived); attempts[1].ID != attempts[0].ID || gap < delay {
			t.Errorf("the retry of %s is of %s, %s later", attempts[0].ID, attempts[1].ID, gap)
		}
	})

	hangs := second.subscribe(t, r.URL("/hangs"), "lead.qualified", "1")
	interrupted := second.publish(t, "lead.qualified", 3)
	r.AwaitEvents(t, "/hangs", interrupted, 1)
	t.Run("stops with attempts and a request in flight", func(t *testing.T) {
		var calling sync.WaitGroup
		defer calling.Wait()
		calling.Go(func() {
			// It may be answered or broken off, and must not keep the program.
			_ = second.do(t.Context(), http.MethodPost, "/api/custom-webhooks/"+hangs.ID+"/test", "", http.StatusOK, nil)
		})
		r.Await(t, "/hangs", len(interrupted)+1)
		second.terminate(t)
	})

	if data := filepath.Join(dir, "postgres", "data"); exists(data) { // Postgres is no container
		// Of a process that runs: whoever asks the system alone would wait for it.
		stale := fmt.Sprintf("%d\n%s\n%d\n5432\n\n\n\nready\n", os.Getpid(), data, time.Now().Unix())
		if err := os.WriteFile(filepath.Join(data, "postmaster.pid"), []byte(stale), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const fixed, other = "pz_fixed-1", "pz_fixed-2"
	third := start(t, dir, debug, "API_KEY="+fixed)
	t.Run("a start after it makes the interrupted attempts again", func(t *testing.T) {
		r.AwaitEvents(t, "/hangs", interrupted, 2)
	})
	t.Run("API_KEY is a key of the development tenant with every scope", func(t *testing.T) {
		if third.ready.APIKey != fixed || third.ready.Tenant != first.ready.Tenant {
			t.Errorf("became %+v, was %+v", third.ready, first.ready)
		}
		if hooks := list[hook](t, third, "/api/custom-webhooks"); len(hooks) != 3 {
			t.Errorf("the webhooks are %v, want three", hooks)
		}
		tenant := []string{auth.TenantHeader, uuid.NewString()}
		third.subscribe(t, r.URL("/ok"), "deal.moved", "1", tenant...)
		if hooks := list[hook](t, third, "/api/custom-webhooks", tenant...); len(hooks) != 1 {
			t.Errorf("another tenant has the webhooks %v, want its own", hooks)
		}
		body := fmt.Sprintf(`{"event": "deal.moved", "data": %s, "tenantId": %q}`, dealData, uuid.NewString())
		third.call(t, http.MethodPost, eventsPath, body, http.StatusAccepted, nil)
	})
	interrupted = third.publish(t, "lead.qualified", 3)
	r.AwaitEvents(t, "/hangs", interrupted, 1)
	third.terminate(t)
	if says := third.stderr.String(); strings.Contains(says, "have not stopped in time") {
		t.Error("a service did not stop with attempts in flight")
	}

	fourth := start(t, dir, debug, "API_KEY="+other)
	r.AwaitEvents(t, "/hangs", interrupted, 2)
	t.Run("API_KEY may change", func(t *testing.T) {
		if fourth.ready.APIKey != other || fourth.ready.Tenant != first.ready.Tenant {
			t.Errorf("became %+v, was %+v", fourth.ready, first.ready)
		}
		if hooks := list[hook](t, fourth, "/api/custom-webhooks"); len(hooks) != 3 {
			t.Errorf("the webhooks are %v, want three", hooks)
		}
	})
	t.Run("the end of its Postgres is its own", func(t *testing.T) {
		for _, p := range processes(t) {
			if p.parent == fourth.cmd.Process.Pid {
				_ = syscall.Kill(p.pid, syscall.SIGKILL)
			}
		}
		if code := fourth.awaitExit(t, exitWithin); code != 1 {
			t.Errorf("ended with code %d, want 1", code)
		}
		if says := fourth.stderr.String(); !strings.Contains(says, "postgres: "+errEnded.Error()) {
			t.Errorf("does not say why it ended: %s", fourth.stderr.tail())
		}
	})
	for _, i := range []*instance{first, second, third, fourth} {
		showsNoSecret(t, i, dir, ok.Secret, fails.Secret, hangs.Secret)
	}
}

// showsNoSecret checks the log of an instance.
func showsNoSecret(t *testing.T, i *instance, dir string, more ...string) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	var k keys
	if err := json.Unmarshal(content, &k); err != nil {
		t.Fatal(err)
	}
	var keyset struct {
		Key []struct{ KeyData struct{ Value string } }
	}
	if err := json.Unmarshal(k.VaultKeyset, &keyset); err != nil || len(keyset.Key) == 0 || keyset.Key[0].KeyData.Value == "" {
		t.Fatalf("the keyset is not as Tink writes it: %v", err)
	}
	for _, secret := range append(more, i.ready.APIKey, k.APIKey, k.DatabasePassword, k.MetaAppSecret, k.MetaVerifyToken, k.OAuthStateKey, keyset.Key[0].KeyData.Value) {
		if strings.Contains(i.stderr.String(), secret) {
			t.Errorf("the log shows %s", secret)
		}
	}
}

// Servers that are given are used, with the roles of production.
func TestStandalone_GivenServers(t *testing.T) {
	t.Parallel()
	server := t.TempDir()
	postgres, err := localpg.Start(t.Context(), localpg.Config{Dir: server})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := postgres.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	root := localnats.User{Name: "root", Publish: []string{">"}, Subscribe: []string{">"}}
	nats, err := localnats.Start(localnats.Config{Dir: t.TempDir(), Users: []localnats.User{root}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := nats.Stop(); err != nil {
			t.Error(err)
		}
	})
	super, err := pgx.Connect(t.Context(), postgres.URL(localpg.Superuser, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(context.WithoutCancel(t.Context()))
	// Roles need passwords, and the database is the superuser's.
	rules := "local all " + localpg.Superuser + " trust\nlocal all all scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(server, "data", "pg_hba.conf"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"SELECT pg_reload_conf()", "CREATE DATABASE crm"} {
		if _, err := super.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}

	env := []string{
		"DATABASE_URL=" + postgres.URL(localpg.Superuser, "crm"), "NATS_URL=" + nats.URL(root.Name), "API_KEY=pz_given-servers",
	}
	dir := t.TempDir()
	first := start(t, dir, env...)
	if _, err := pgx.Connect(t.Context(), postgres.URL(db.RoleAPI, "crm")); err == nil {
		t.Error("a role connected without its password: the server does not ask for one")
	}
	r := newReceiver(t)
	made := first.subscribe(t, r.URL("/fails"), "deal.moved", "1")
	first.publish(t, "deal.moved", 1)
	for _, d := range r.Await(t, "/fails", 2) {
		verify(t, d, made.Secret)
	}
	// Its admin server asks both services: either may be the one that cannot work.
	for _, service := range []string{"worker", "api"} {
		role := "primezap_" + service
		lock := func(login string) {
			t.Helper()
			for _, statement := range []string{
				"ALTER ROLE " + role + " " + login,
				"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '" + role + "'",
			} {
				if _, err := super.Exec(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
		}
		ready := func(status int, says string) {
			t.Helper()
			eventually(t, soon, func() error {
				got, body, err := first.readiness(t)
				if err == nil && (got != status || !strings.HasPrefix(body, says)) {
					err = fmt.Errorf("/readyz answers %d %q, want %d %q", got, body, status, says)
				}
				return err
			})
		}
		lock("NOLOGIN")
		ready(http.StatusServiceUnavailable, "not ready: "+service+": ")
		lock("LOGIN")
		ready(http.StatusOK, "ready")
	}
	for _, name := range []string{"postgres", "nats"} {
		if exists(filepath.Join(dir, name)) {
			t.Errorf("there is a %s in DATA_DIR", name)
		}
	}
	in, err := pgx.Connect(t.Context(), postgres.URL(localpg.Superuser, "crm"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close(context.WithoutCancel(t.Context()))
	var owner string
	var unprivileged bool
	if err := in.QueryRow(t.Context(), "SELECT tableowner FROM pg_tables WHERE tablename = 'webhooks'").Scan(&owner); err != nil || owner != db.RoleOwner {
		t.Errorf("webhooks belong to %q (%v), want %s", owner, err, db.RoleOwner)
	}
	err = in.QueryRow(t.Context(), `SELECT bool_and(NOT rolsuper AND NOT rolbypassrls) AND count(DISTINCT usename) >= 2 FROM pg_stat_activity
		JOIN pg_roles ON rolname = usename WHERE datname = 'crm' AND pid <> pg_backend_pid()`).Scan(&unprivileged)
	if err != nil || !unprivileged {
		t.Errorf("the services' roles are not those of production (%v)", err)
	}
	first.terminate(t)

	busy := launch(t, dir, append(env, "HTTP_ADDR="+strings.TrimPrefix(r.URL(""), "http://"))...)
	if code := busy.awaitExit(t, exitWithin); code != 1 || !strings.Contains(busy.stderr.String(), "standalone: HTTP_ADDR: listen") {
		t.Errorf("on a port that is taken: code %d, says %s", code, busy.stderr.tail())
	}

	// The key is older than this DATA_DIR, and another tenant's than the one made here.
	second := start(t, t.TempDir(), env...)
	if second.ready.Tenant != first.ready.Tenant {
		t.Errorf("the key's tenant is %s, and the ready line says %s", first.ready.Tenant, second.ready.Tenant)
	}
	if hooks := list[hook](t, second, "/api/custom-webhooks"); len(hooks) != 1 {
		t.Errorf("the webhooks are %v, want one", hooks)
	}
	second.terminate(t)
}

func TestSettings(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, args []string, env ...string) (code int, stdout, stderr string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Env = append(env, "DATA_DIR="+filepath.Join(t.TempDir(), "unused"))
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil {
			if _, ended := errors.AsType[*exec.ExitError](err); !ended {
				t.Fatal(err)
			}
		}
		return cmd.ProcessState.ExitCode(), out.String(), errs.String()
	}
	t.Run("--help prints each with its default and meaning, and no secret", func(t *testing.T) {
		t.Parallel()
		code, help, _ := run(t, []string{"--help"}, "API_KEY=pz_secret")
		if code != 0 || strings.Contains(help, "pz_secret") {
			t.Errorf("code %d: %s", code, help)
		}
		for name, value := range map[string]string{
			"HTTP_ADDR": "127.0.0.1:8080", "ADMIN_ADDR": "127.0.0.1:8082", "DATA_DIR": ".primezap", "DATABASE_URL": "-", "NATS_URL": "-",
			"LOG_LEVEL": "info", "LOG_FORMAT": "-", "CORS_ORIGINS": "-", "WEBHOOK_ALLOW_HTTP": "true",
			"WEBHOOK_ALLOW_CIDRS": "127.0.0.0/8,::1/128", "API_KEY": "-", "VAULT_KEYSET": "-", "META_SIMULATOR_ADDR": "127.0.0.1:8090",
			"FACEBOOK_APP_ID": "-", "META_DIALOG_URL": "https://www.facebook.com", "OAUTH_STATE_KEY": "-", "OAUTH_REDIRECT_ALLOWLIST": "-",
		} {
			var found [][]string
			for line := range strings.Lines(help) {
				if fields := strings.Fields(line); len(fields) > 0 && fields[0] == name {
					found = append(found, fields)
				}
			}
			if len(found) != 1 || len(found[0]) < 4 || found[0][1] != value {
				t.Errorf("%s is explained as %v, want once, with %s", name, found, value)
			}
		}
		seen := make(map[string]bool)
		for line := range strings.Lines(help) {
			if name, _, ok := strings.Cut(strings.TrimSpace(line), "  "); ok && strings.HasPrefix(line, "  ") {
				if seen[name] {
					t.Errorf("%s is explained twice", name)
				}
				seen[name] = true
			}
		}
	})
	for name, tc := range map[string]struct{ env, names string }{
		"a key without its prefix":            {"API_KEY=secret-1", "API_KEY"},
		"a key that no header can carry":      {"API_KEY=pz_secret-1 ", "API_KEY"},
		"a key that is a prefix alone":        {"API_KEY=pz_", "API_KEY"},
		"a database that is not named by URL": {"DATABASE_URL=host=secret-1", "DATABASE_URL"},
		"a database of another kind":          {"DATABASE_URL=mysql://secret-1@localhost", "DATABASE_URL"},
		"a level that is none":                {"LOG_LEVEL=loud", "LOG_LEVEL"},
		"a worker's setting":                  {"WORKER_LEASE=1s", "WORKER_LEASE"},
		"an api's setting":                    {"CORS_ORIGINS=nonsense", "CORS_ORIGINS"},
		"the oauth service's":                 {"OAUTH_STATE_KEY=secret-1", "OAUTH_STATE_KEY"},
		"a simulated Meta for everybody":      {"META_SIMULATOR_ADDR=:8090", "META_SIMULATOR_ADDR"},
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := run(t, nil, tc.env)
			if code != 2 || stdout != "" || strings.Count(stderr, tc.names) != 1 || strings.Contains(stderr, "secret-1") {
				t.Errorf("code %d, says %s%s", code, stdout, stderr)
			}
		})
	}
}

func TestStandalone_SaysWhyItCannotStart(t *testing.T) {
	t.Parallel()
	const nowhere = "postgres://root:secret-1@127.0.0.1:1/x"
	for name, tc := range map[string]struct {
		put      func(dir string) error
		env, why string
	}{
		"a database that is away":  {why: "127.0.0.1:1"},
		"no place for the streams": {put: func(dir string) error { return os.WriteFile(filepath.Join(dir, "nats"), nil, 0o600) }, why: "localnats"},
		"unreadable keys":          {put: func(dir string) error { return os.WriteFile(filepath.Join(dir, "keys.json"), nil, 0o600) }, why: "keys.json"},
		"no place at all":          {env: "DATA_DIR=/dev/null", why: "DATA_DIR"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if tc.put != nil {
				if err := tc.put(dir); err != nil {
					t.Fatal(err)
				}
			}
			i := launch(t, dir, "DATABASE_URL="+nowhere, tc.env)
			if code := i.awaitExit(t, exitWithin); code != 1 {
				t.Errorf("ended with code %d, want 1", code)
			}
			says := i.stderr.String()
			if !strings.Contains(says, "standalone: ") || !strings.Contains(says, tc.why) || strings.Contains(says, "secret-1") || i.stdout.String() != "" {
				t.Errorf("says %s", says)
			}
		})
	}
}

func TestAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const d = time.Second
		ctx, end := context.WithCancel(t.Context())
		later, release := after(ctx, d)
		defer release()
		time.Sleep(2 * d)
		end()
		began := time.Now()
		if later.Err() != nil {
			t.Error("ended with the first")
		}
		<-later.Done()
		if took := time.Since(began); took != d {
			t.Errorf("ended %s after the first, want %s", took, d)
		}
	})
}

func TestLoadKeys(t *testing.T) {
	t.Parallel()
	t.Run("reads what it has written", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		made, err := loadKeys(dir)
		if err != nil {
			t.Fatal(err)
		}
		again, err := loadKeys(dir)
		if err != nil {
			t.Fatal(err)
		}
		if made.MetaAppSecret == "" || made.MetaVerifyToken == "" || made.MetaAppSecret != again.MetaAppSecret || made.MetaVerifyToken != again.MetaVerifyToken {
			t.Error("the second secrets of Meta are others")
		}
		if made.APIKey != again.APIKey || made.Tenant != again.Tenant || made.DatabasePassword != again.DatabasePassword || !sameJSON(t, made.VaultKeyset, again.VaultKeyset) {
			t.Error("the second keys are others")
		}
	})
	t.Run("does not take what a killed process has half-written", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		part := filepath.Join(dir, "keys.json.part")
		if err := os.WriteFile(part, []byte(`{"tenantId":`), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := loadKeys(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(part); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("half a file is left: %v", err)
		}
		info, err := os.Stat(filepath.Join(dir, "keys.json"))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("the keys have mode %s", info.Mode())
		}
	})
	for name, of := range map[string]struct {
		has   string
		stays func(keys) bool
	}{
		"before Meta was simulated": {"", func(keys) bool { return true }},
		"before one could log in": {`, "metaAppSecret": "s", "metaVerifyToken": "v"`, func(k keys) bool {
			return k.MetaAppSecret == "s" && k.MetaVerifyToken == "v"
		}},
	} {
		t.Run("completes the keys of a version "+name+", and leaves those as they are", func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			old := `{"tenantId": "7f1a3d52-1111-4222-8333-444455556666", "apiKey": "pz_1", "vaultKeyset": {"key": []}, "databasePassword": "x"` + of.has + `}`
			if err := os.WriteFile(filepath.Join(dir, "keys.json"), []byte(old), 0o600); err != nil {
				t.Fatal(err)
			}
			first, err := loadKeys(dir)
			if err != nil {
				t.Fatal(err)
			}
			second, err := loadKeys(dir)
			if err != nil || !of.stays(first) || first.MetaAppSecret == "" || first.MetaVerifyToken == "" || len(first.OAuthStateKey) < 32 ||
				second.MetaAppSecret != first.MetaAppSecret || second.MetaVerifyToken != first.MetaVerifyToken || second.OAuthStateKey != first.OAuthStateKey {
				t.Errorf("what was added is not kept (%v)", err)
			}
			if second.APIKey != "pz_1" || second.DatabasePassword != "x" || second.Tenant.String() != "7f1a3d52-1111-4222-8333-444455556666" || !sameJSON(t, second.VaultKeyset, []byte(`{"key": []}`)) {
				t.Error("the keys have become others")
			}
		})
	}
	for name, content := range map[string]string{
		"an unreadable file": "{", "a file without keyset": `{"tenantId": "7f1a3d52-1111-4222-8333-444455556666", "apiKey": "pz_1", "databasePassword": "x"}`,
	} {
		t.Run("never replaces "+name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keys.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := loadKeys(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want one that names the file", err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != content {
				t.Errorf("the file is %s (%v)", got, err)
			}
		})
	}
}

func sameJSON(t *testing.T, a, b json.RawMessage) bool {
	t.Helper()
	var x, y bytes.Buffer
	if err := errors.Join(json.Compact(&x, a), json.Compact(&y, b)); err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(x.Bytes(), y.Bytes())
}

func TestURLOf(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080",
		"0.0.0.0:8080":   "http://127.0.0.1:8080",
		"[::]:8080":      "http://127.0.0.1:8080",
		"[::1]:8080":     "http://[::1]:8080",
	} {
		if got := urlOf(address); got != want {
			t.Errorf("urlOf(%s) = %s, want %s", address, got, want)
		}
	}
}

// get reads a page.
// readiness is what the admin server says at /readyz.
func (i *instance) readiness(t *testing.T) (status int, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, i.admin(t)+"/readyz", nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	var read bytes.Buffer
	_, err = read.ReadFrom(resp.Body)
	return resp.StatusCode, read.String(), err
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s (%v)", url, resp.Status, err)
	}
	return body.String()
}
