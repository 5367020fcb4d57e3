package testenv

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/localnats"
	"github.com/primezap/primezap/pkg/localpg"
)

// NATSProcess is a nats-server of one test, in a process of its own. Its
// address stays the same over restarts, so clients find it again.
type NATSProcess struct {
	Account
	t      testing.TB
	config localnats.Config
	cmd    *exec.Cmd // nil when it does not run
	stdin  io.Closer // its end asks the server to stop
}

// PrivateNATS gives t a nats-server that it may kill and restart.
func PrivateNATS(t testing.TB) *NATSProcess {
	t.Helper()
	needMain(t)
	dir, err := stateDir("private-nats")
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	n := &NATSProcess{t: t, config: localnats.Config{Dir: dir}}
	for _, u := range bus.Users() {
		n.config.Users = append(n.config.Users, localUser(u))
	}
	t.Cleanup(func() {
		if n.cmd != nil {
			n.Kill()
		}
		_ = os.RemoveAll(dir)
	})
	n.Restart()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := n.manage(ctx, apply); err != nil {
		t.Fatalf("testenv: apply the topology: %v", err)
	}
	return n
}

// Dir is where the server keeps its files.
func (n *NATSProcess) Dir() string { return n.config.Dir }

// Kill ends the server with kill -9.
func (n *NATSProcess) Kill() {
	n.t.Helper()
	n.end(func() error { return n.cmd.Process.Kill() })
}

// Stop ends the server the orderly way.
func (n *NATSProcess) Stop() {
	n.t.Helper()
	n.end(n.stdin.Close)
}

func (n *NATSProcess) end(how func() error) {
	n.t.Helper()
	if n.cmd == nil {
		n.t.Fatal("testenv: the private nats-server does not run")
	}
	if err := how(); err != nil {
		n.t.Fatalf("testenv: end the private nats-server: %v", err)
	}
	_ = n.cmd.Wait() // it was told to
	_ = n.stdin.Close()
	n.cmd = nil
}

// Restart runs the server on what the last one left, and returns once it
// takes connections. One that runs is killed first.
func (n *NATSProcess) Restart() {
	n.t.Helper()
	if n.cmd != nil {
		n.Kill()
	}
	address, err := n.start()
	if err != nil {
		n.t.Fatalf("testenv: start the private nats-server: %v", err)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		n.t.Fatalf("testenv: start the private nats-server: %v", err)
	}
	n.config.Port, _ = strconv.Atoi(port) // the server's own figure
	n.urls = make(map[Role]string)
	for _, u := range n.config.Users {
		n.urls[Role(u.Name)] = (&url.URL{Scheme: "nats", Host: address, User: url.UserPassword(u.Name, u.Password)}).String()
	}
}

// serveVariable makes a test binary a nats-server. It holds the configuration.
const serveVariable = "PRIMEZAP_TESTENV_SERVE_NATS"

func (n *NATSProcess) start() (address string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	config, err := json.Marshal(n.config)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(context.WithoutCancel(n.t.Context()), self) // ended by us alone
	cmd.Env = append(os.Environ(), serveVariable+"="+string(config))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // not a terminal's Ctrl-C: its order is ours
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = cmd.Process.Kill()
		return "", fmt.Errorf("it ended: %w", cmd.Wait())
	}
	n.cmd, n.stdin = cmd, stdin
	return strings.TrimSpace(line), nil
}

// serveIfAsked is the other side of start. The process ends with its standard
// input, so it never outlives the test that started it.
func serveIfAsked() {
	text := os.Getenv(serveVariable)
	if text == "" {
		return
	}
	var config localnats.Config
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		fail(err)
	}
	config.Log = warnings()
	server, err := localnats.Start(config)
	if err != nil {
		fail(err)
	}
	fmt.Println(server.Address())
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := server.Stop(); err != nil {
		fail(err)
	}
	os.Exit(0)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "testenv:", err)
	os.Exit(1)
}

// PostgresProcess is a Postgres of one test with one migrated database. Its
// address stays the same over restarts.
type PostgresProcess struct {
	t        testing.TB
	dir      string
	server   *localpg.Server // nil when it does not run
	database *Database
}

// PrivatePostgres gives t a Postgres that it may kill and restart.
func PrivatePostgres(t testing.TB) *PostgresProcess {
	t.Helper()
	needMain(t)
	dir, err := stateDir("private-postgres")
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	p := &PostgresProcess{t: t, dir: dir}
	t.Cleanup(func() {
		if p.server != nil {
			p.Stop()
		}
		_ = os.RemoveAll(dir)
	})
	p.Restart()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	prepared, err := newPostgres(ctx, p.server.Source(), p.server.URL(localpg.Superuser, "postgres"))
	if err != nil {
		t.Fatalf("testenv: %v", err)
	}
	defer prepared.pool.Close()
	if p.database, err = prepared.clone(ctx); err != nil {
		t.Fatalf("testenv: %v", err)
	}
	return p
}

// URL is where role connects: API, Worker, Owner or Superuser.
func (p *PostgresProcess) URL(role Role) string { return p.database.URL(role) }

// Kill ends the server with kill -9.
func (p *PostgresProcess) Kill() {
	p.t.Helper()
	p.end((*localpg.Server).Kill)
}

// Stop ends the server by a fast shutdown.
func (p *PostgresProcess) Stop() {
	p.t.Helper()
	p.end(stopLocal)
}

func (p *PostgresProcess) end(how func(*localpg.Server) error) {
	p.t.Helper()
	if p.server == nil {
		p.t.Fatal("testenv: the private Postgres does not run")
	}
	if err := how(p.server); err != nil {
		p.t.Fatalf("testenv: end the private Postgres: %v", err)
	}
	p.server = nil
}

// Restart runs the server on what the last one left, and returns once it takes
// connections. One that runs is killed first.
func (p *PostgresProcess) Restart() {
	p.t.Helper()
	if p.server != nil {
		p.Kill()
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), startTimeout)
	defer cancel()
	server, err := startLocal(ctx, p.dir)
	if err != nil {
		p.t.Fatalf("testenv: start the private Postgres: %v", err)
	}
	p.server = server
}
