package localpg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// ownerDir makes the test binary the owner of a server, to be killed.
const ownerDir = "LOCALPG_TEST_OWNER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(ownerDir); dir != "" {
		own(dir)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if dir := seedDir.Load(); dir != nil {
			_ = os.RemoveAll(*dir)
		}
		os.Exit(code)
	}))
}

// seed is a stopped cluster, to be copied: that is faster than making one.
var (
	seedDir atomic.Pointer[string]
	seed    = sync.OnceValues(func() (string, error) {
		dir, err := os.MkdirTemp("", "localpg-seed-")
		if err != nil {
			return "", err
		}
		seedDir.Store(&dir)
		s, err := Start(context.Background(), Config{Dir: dir})
		if err != nil {
			return "", err
		}
		return filepath.Join(dir, "data"), s.Stop(context.Background())
	})
)

// seededDir is a stateDir with a cluster in it.
func seededDir(t *testing.T) string {
	t.Helper()
	dir := stateDir(t)
	data, err := seed()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "cp", "-Rp", data, dir).CombinedOutput(); err != nil {
		t.Fatalf("copy the seed: %v: %s", err, out)
	}
	return dir
}

// own starts a server, prints its URL, and goes on until it is killed.
func own(dir string) {
	s, err := Start(context.Background(), Config{Dir: dir, Durable: true})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(s.URL(Superuser, "postgres"))
	select {}
}

// owner is another process that owns a server.
type owner struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func startOwner(t *testing.T, dir string, change func(*exec.Cmd)) *owner {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), ownerDir+"="+dir)
	if change != nil {
		change(cmd)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o := &owner{cmd: cmd, out: bufio.NewReader(out)}
	t.Cleanup(o.kill)
	return o
}

func (o *owner) url(t *testing.T) string {
	t.Helper()
	line, err := o.out.ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error:") {
		t.Fatalf("owner: %s %v", line, err)
	}
	return strings.TrimSpace(line)
}

func (o *owner) kill() {
	_ = o.cmd.Process.Kill()
	_ = o.cmd.Wait()
}

// stateDir is a directory that an unprivileged postmaster can reach, unlike t.TempDir's.
func stateDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "localpg-test-") //nolint:usetesting // t.TempDir's parents are closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func startServer(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func dial(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func execute(t *testing.T, url string, statements ...string) {
	t.Helper()
	conn := dial(t, url)
	for _, s := range statements {
		if _, err := conn.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func scan[T any](t *testing.T, url, query string) (value T) {
	t.Helper()
	if err := dial(t, url).QueryRow(t.Context(), query).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

func admin(s *Server) string { return s.URL(Superuser, "postgres") }

func TestStart_Access(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{Dir: seededDir(t), Settings: map[string]string{"max_connections": "33"}})
	url := admin(s)
	for setting, want := range map[string]string{
		"listen_addresses":        "", // no TCP
		"max_connections":         "33",
		"autovacuum_naptime":      "3s",
		"fsync":                   "off",
		"server_encoding":         "UTF8",
		"log_min_error_statement": "panic",
	} {
		if got := scan[string](t, url, "SHOW "+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	if version := scan[int](t, url, "SELECT current_setting('server_version_num')::int / 10000"); version < minMajor {
		t.Errorf("version %d, want %d or later", version, minMajor)
	}
	if got := scan[string](t, url, "SELECT string_agg(c, '' ORDER BY c) FROM unnest(array['b', 'B', 'a', 'ä', 'z']) c"); got != "Babzä" {
		t.Errorf("texts sort as %q, want code points", got)
	}
	info, err := os.Stat(s.host)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's directory has mode %v, want nobody else to enter", info.Mode())
	}
	if data := filepath.Join(filepath.Dir(s.host), "data"); len(processes(t.Context(), data)) == 0 {
		t.Error("the postmaster is not found by its directory")
	}
}

func TestStart_Durable(t *testing.T) {
	t.Parallel()
	s := startServer(t, Config{Dir: seededDir(t), Durable: true})
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		if got := scan[string](t, admin(s), "SHOW "+setting); got != "on" {
			t.Errorf("%s is %q, want on", setting, got)
		}
	}
}

func TestStart_SecondOwnerIsRefused(t *testing.T) {
	t.Parallel()
	cfg := Config{Dir: seededDir(t)}
	first := startServer(t, cfg)
	if _, err := Start(t.Context(), cfg); !errors.Is(err, ErrInUse) {
		t.Fatalf("second start: %v, want %v", err, ErrInUse)
	}
	if got := scan[int](t, admin(first), "SELECT 1"); got != 1 {
		t.Error("the first owner's server does not answer any more")
	}
	stop(t, first)
	startServer(t, cfg)
}

// Whatever ended the last run, the next start goes on with what was committed,
// in well under 5 s.
func TestStart_After(t *testing.T) {
	t.Parallel()
	const rows = 1000
	fill := func(t *testing.T, url string) {
		t.Helper()
		execute(t, url, "CREATE TABLE kept (n int)", fmt.Sprintf("INSERT INTO kept SELECT generate_series(1, %d)", rows))
	}
	check := func(t *testing.T, dir string) {
		t.Helper()
		began := time.Now()
		s := startServer(t, Config{Dir: dir, Durable: true})
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the start took %s", took)
		}
		if got := scan[int](t, admin(s), "SELECT count(*) FROM kept"); got != rows {
			t.Errorf("%d rows after the restart, want %d", got, rows)
		}
	}

	t.Run("a stop, with a session still open", func(t *testing.T) {
		t.Parallel()
		cfg := Config{Dir: seededDir(t), Durable: true}
		s := startServer(t, cfg)
		fill(t, admin(s))
		stop(t, s)
		select {
		case <-s.Done():
		default:
			t.Error("Stop returned before the server ended")
		}
		check(t, cfg.Dir)
	})

	t.Run("the owner was killed", func(t *testing.T) {
		t.Parallel()
		dir := seededDir(t)
		o := startOwner(t, dir, nil)
		fill(t, o.url(t))
		o.kill()
		check(t, dir)
	})

	t.Run("the owner was killed and its postmaster runs on, with sessions at work", func(t *testing.T) {
		t.Parallel()
		dir := seededDir(t)
		s := startServer(t, Config{Dir: dir, Durable: true})
		fill(t, admin(s))
		stop(t, s)
		orphan := startOrphan(t, dir, s)
		for range 3 {
			conn := dial(t, admin(s))
			done := make(chan struct{})
			go func() { // is thrown out by the next start
				defer close(done)
				_, _ = conn.Exec(context.WithoutCancel(t.Context()), "INSERT INTO kept SELECT 1 FROM pg_sleep(600)")
			}()
			t.Cleanup(func() { <-done })
		}
		check(t, dir)
		if err := orphan.Wait(); err != nil {
			t.Errorf("the orphan ended by %v, want a clean end", err)
		}
	})

	t.Run("the postmaster was killed and a busy session runs on", func(t *testing.T) {
		t.Parallel()
		dir := seededDir(t)
		s := startServer(t, Config{Dir: dir, Durable: true})
		fill(t, admin(s))
		conn, done := dial(t, admin(s)), make(chan struct{})
		pid := conn.PgConn().PID()
		go func() {
			defer close(done)
			_, _ = conn.Exec(context.WithoutCancel(t.Context()), "DO 'BEGIN LOOP END LOOP; END'")
		}()
		t.Cleanup(func() { <-done })
		awaitBusy(t, admin(s), pid)
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		check(t, dir)
	})

	t.Run("the pid file's number belongs to another process of the same user by now", func(t *testing.T) {
		t.Parallel()
		dir := seededDir(t)
		s := startServer(t, Config{Dir: dir, Durable: true})
		fill(t, admin(s))
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		who, err := unprivileged(dir)
		if err != nil {
			t.Fatal(err)
		}
		bystander, err := startChild(exec.CommandContext(t.Context(), "sleep", "600"), who, syscall.SIGKILL, &serverLog{log: discard})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { bystander.signal(syscall.SIGKILL); <-bystander.done })
		stale := fmt.Sprintf("%d\n%s\n1700000000\n5432\n%s\n\n", bystander.cmd.Process.Pid, filepath.Join(dir, "data"), s.host)
		for _, file := range []string{filepath.Join(dir, "data", "postmaster.pid"), filepath.Join(s.host, ".s.PGSQL.5432.lock")} {
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(stale), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		check(t, dir)
		select {
		case <-bystander.done:
			t.Error("the other process was ended")
		default:
		}
	})

	t.Run("the pid file is empty", func(t *testing.T) {
		t.Parallel()
		dir := seededDir(t)
		s := startServer(t, Config{Dir: dir, Durable: true})
		fill(t, admin(s))
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "data", "postmaster.pid"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		check(t, dir)
	})
}

// startOrphan runs s's postmaster again as no living owner's.
func startOrphan(t *testing.T, dir string, s *Server) *exec.Cmd {
	t.Helper()
	who, err := unprivileged(dir)
	if err != nil {
		t.Fatal(err)
	}
	sockets, err := socketDir(dir, who, true)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(s.Source(), "postgres"), "-D", filepath.Join(dir, "data"), "-k", sockets, "-c", "listen_addresses=")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if who.switches {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(who.uid), Gid: uint32(who.gid)}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for {
		conn, err := pgx.Connect(t.Context(), admin(s))
		if err == nil {
			_ = conn.Close(t.Context())
			return cmd
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// awaitBusy returns once the session runs a statement.
func awaitBusy(t *testing.T, url string, pid uint32) {
	t.Helper()
	conn := dial(t, url)
	for busy := false; !busy; {
		if err := conn.QueryRow(t.Context(), "SELECT state = 'active' FROM pg_stat_activity WHERE pid = $1", pid).Scan(&busy); err != nil {
			t.Fatal(err)
		}
	}
}

// A kill at any moment of the first start leaves nothing that the next trips over.
func TestStart_AfterKillDuringTheFirst(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"data.init-*", "data.init-*/base/1/PG_VERSION", "data/postmaster.pid"} {
		t.Run("once there is "+moment, func(t *testing.T) {
			t.Parallel()
			dir := stateDir(t)
			o := startOwner(t, dir, nil)
			for seen := []string(nil); len(seen) == 0; {
				seen, _ = filepath.Glob(filepath.Join(dir, moment))
				time.Sleep(time.Millisecond)
			}
			o.kill()
			s := startServer(t, Config{Dir: dir})
			if got := scan[int](t, admin(s), "SELECT 1"); got != 1 {
				t.Error("no answer")
			}
			if half, _ := filepath.Glob(filepath.Join(dir, "data.init-*")); len(half) > 0 {
				t.Errorf("%v is left", half)
			}
		})
	}
}

func TestStart_Directory(t *testing.T) {
	t.Parallel()
	t.Run("too deep for a socket's path", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(stateDir(t), strings.Repeat("deep/", 25))
		s := startServer(t, Config{Dir: dir})
		if got := scan[int](t, admin(s), "SELECT 1"); got != 1 {
			t.Error("no answer")
		}
		stop(t, s)
		if _, err := os.Stat(s.host); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket's directory %s is left behind: %v", s.host, err)
		}
	})
	t.Run("below one that other users may not enter, and after a kill", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "closed")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(dir, "state")
		s := startServer(t, Config{Dir: dir})
		execute(t, admin(s), "CREATE TABLE kept AS SELECT 1 AS n")
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		s = startServer(t, Config{Dir: dir})
		if got := scan[int](t, admin(s), "SELECT n FROM kept"); got != 1 {
			t.Error("the row is gone")
		}
	})
	t.Run("reached through a symbolic link", func(t *testing.T) {
		t.Parallel()
		dir := seededDir(t)
		link := filepath.Join(stateDir(t), "link")
		if err := os.Symlink(dir, link); err != nil {
			t.Fatal(err)
		}
		s := startServer(t, Config{Dir: link})
		if len(processes(t.Context(), filepath.Join(dir, "data"))) == 0 {
			t.Errorf("the postmaster of %s is not recognised", s.Source())
		}
		if _, err := Start(t.Context(), Config{Dir: dir}); !errors.Is(err, ErrInUse) {
			t.Errorf("second start by the real path: %v, want %v", err, ErrInUse)
		}
	})
	t.Run("a socket directory of somebody else's making is not used", func(t *testing.T) {
		t.Parallel()
		dir := stateDir(t)
		if err := os.Mkdir(filepath.Join(dir, "run"), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, "run"), 0o777); err != nil {
			t.Fatal(err)
		}
		if _, err := Start(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "belongs to somebody else") {
			t.Errorf("start: %v, want the directory refused", err)
		}
	})
	t.Run("made by a version that is not here", func(t *testing.T) {
		t.Parallel()
		dir := stateDir(t)
		if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Start(t.Context(), Config{Dir: dir})
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "version 9") {
			t.Errorf("start: %v, want version 9 named as unavailable", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "data", "PG_VERSION")); err != nil {
			t.Errorf("the data was touched: %v", err)
		}
	})
}

func TestStart_SaysWhyItCannot(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	_, err := Start(t.Context(), Config{Dir: dir, Settings: map[string]string{"shared_buffers": "plenty"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers"`) {
		t.Errorf("start: %v, want the server's own words", err)
	}
	startServer(t, Config{Dir: dir}) // the directory is free again
}

// As root the servers above run as another user; this one is an ordinary
// user's throughout.
func TestStart_AsOrdinaryUser(t *testing.T) {
	t.Parallel()
	dir := stateDir(t)
	var change func(*exec.Cmd)
	if os.Geteuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		binary := filepath.Join(dir, "test-binary") // where go put it, nobody may not go
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		copyFile(t, self, binary)
		change = func(cmd *exec.Cmd) {
			cmd.Path, cmd.Dir = binary, dir
			cmd.Env = append(cmd.Env, "HOME="+dir)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		}
	}
	o := startOwner(t, filepath.Join(dir, "state"), change)
	url := o.url(t)
	execute(t, url, "CREATE TABLE kept AS SELECT 1 AS n")
	o.kill()
	// Taken over: by root, where the first was nobody's.
	s := startServer(t, Config{Dir: filepath.Join(dir, "state")})
	if got := scan[int](t, admin(s), "SELECT n FROM kept"); got != 1 {
		t.Error("the row is gone")
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestServer_Stop(t *testing.T) {
	t.Parallel()
	t.Run("with a context that has ended shuts down at once, says so and loses nothing", func(t *testing.T) {
		t.Parallel()
		cfg := Config{Dir: seededDir(t), Durable: true}
		s := startServer(t, cfg)
		execute(t, admin(s), "CREATE TABLE kept AS SELECT 1 AS n")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) { // it may have been that quick
			t.Errorf("Stop: %v", err)
		}
		s = startServer(t, cfg)
		if got := scan[int](t, admin(s), "SELECT n FROM kept"); got != 1 {
			t.Error("the row is gone")
		}
	})
	t.Run("of a server that has died frees the directory", func(t *testing.T) {
		t.Parallel()
		cfg := Config{Dir: seededDir(t)}
		s := startServer(t, cfg)
		s.proc.signal(syscall.SIGKILL)
		<-s.Done()
		stop(t, s)
		startServer(t, cfg)
	})
}

func TestConfig_Log(t *testing.T) {
	t.Parallel()
	var text lockedText
	s := startServer(t, Config{Dir: seededDir(t), Log: slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	execute(t, admin(s), "CREATE TABLE secrets (t text PRIMARY KEY)", "INSERT INTO secrets VALUES ('hunter2')")
	conn := dial(t, admin(s))
	if _, err := conn.Exec(t.Context(), "INSERT INTO secrets VALUES ('hunter2')"); err == nil {
		t.Fatal("a duplicate was accepted")
	}
	if got := text.String(); got != "" {
		t.Errorf("logged %q, want a statement's failure to be its client's affair", got)
	}
	if _, err := pgx.Connect(t.Context(), s.URL("nobody-we-know", "postgres")); err == nil {
		t.Fatal("an unknown role was accepted")
	}
	// The server logs first, but through a pipe.
	began := time.Now()
	for !strings.Contains(text.String(), "nobody-we-know") {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("logged %q, want the refused session", text.String())
		}
		time.Sleep(time.Millisecond)
	}
	if strings.Contains(s.proc.out.last(), "hunter2") {
		t.Errorf("a row's content got into the log: %s", s.proc.out.last())
	}
}

type lockedText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
