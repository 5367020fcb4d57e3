package localpg

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// minMajor is the oldest version that the schema runs on.
const minMajor = 15

// socketPort is part of the socket's file name and no TCP port.
const socketPort = "5432"

// maxSocketPath is what sockaddr_un holds on macOS, less the final NUL; Linux
// allows three bytes more.
const maxSocketPath = 103

// identity is the user that Postgres runs as; it refuses root.
type identity struct {
	uid, gid int
	switches bool // not our own: processes must change to it
}

// unprivileged chooses the identity: our own, but as root the owner of the data
// directory in dir, so that root may take over what a user began; else user
// postgres; else nobody.
func unprivileged(dir string) (identity, error) {
	if os.Geteuid() != 0 {
		return identity{uid: os.Geteuid(), gid: os.Getegid()}, nil
	}
	if info, err := os.Stat(filepath.Join(dir, "data")); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			return identity{uid: int(st.Uid), gid: int(st.Gid), switches: true}, nil
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if uidErr == nil && gidErr == nil && uid > 0 {
			return identity{uid: uid, gid: gid, switches: true}, nil
		}
	}
	return identity{}, errors.New("postgres does not run as root, and there is neither a user postgres nor a user nobody")
}

// own hands path over to the identity.
func (i identity) own(path string) error {
	if !i.switches {
		return nil
	}
	return os.Chown(path, i.uid, i.gid)
}

// binaries are the programs of one installation.
type binaries struct {
	dir   string
	major int
}

func (b binaries) path(name string) string { return filepath.Join(b.dir, name) }

// places are the directories of packages, for filepath.Glob.
var places = []string{
	"/usr/lib/postgresql/*/bin", // Debian
	"/usr/pgsql-*/bin",          // Red Hat
	"/usr/libexec/postgresql*",  // Alpine
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// findBinaries looks for an installation of this major version, or where major
// is 0 for any that is new enough: first PATH's, then the newest.
func findBinaries(ctx context.Context, who identity, major int) (binaries, bool) {
	wanted := func(b binaries, ok bool) bool {
		return ok && (b.major == major || major == 0 && b.major >= minMajor)
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			if b, ok := inspect(ctx, who, filepath.Dir(path)); wanted(b, ok) {
				return b, true
			}
		}
	}
	var found []binaries
	patterns := slices.Clone(places)
	if dir, err := fetchDir(); err == nil {
		patterns = append(patterns, filepath.Join(dir, "bin"))
	}
	for _, pattern := range patterns {
		dirs, _ := filepath.Glob(pattern) // the patterns are well formed
		for _, dir := range dirs {
			if b, ok := inspect(ctx, who, dir); wanted(b, ok) {
				found = append(found, b)
			}
		}
	}
	if len(found) == 0 {
		return binaries{}, false
	}
	return slices.MaxFunc(found, func(a, b binaries) int { return cmp.Compare(a.major, b.major) }), true
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// inspect tells whether dir holds programs that the identity can run, and which.
func inspect(ctx context.Context, who identity, dir string) (binaries, bool) {
	b := binaries{dir: dir}
	if _, err := os.Stat(b.path("initdb")); err != nil {
		return b, false
	}
	out := &serverLog{log: discard}
	cmd := exec.CommandContext(ctx, b.path("postgres"), "--version")
	cmd.Dir = "/"
	if err := run(cmd, who, out); err != nil {
		return b, false
	}
	match := versionPattern.FindStringSubmatch(out.last())
	if match == nil {
		return b, false
	}
	b.major, _ = strconv.Atoi(match[1])
	return b, true
}

// dataMajor is the version that made the data directory, 0 if there is none.
func dataMajor(data string) (int, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the version of the data: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("read the version of the data in %s: %w", data, err)
	}
	return major, nil
}

// startBinaries runs local programs on cfg.Dir, which the caller has locked.
func startBinaries(ctx context.Context, cfg Config, bin binaries, who identity, out *serverLog) (*Server, error) {
	data := filepath.Join(cfg.Dir, "data")
	if err := initData(ctx, cfg, bin, who, data, out); err != nil {
		return nil, err
	}
	if err := stopOrphan(ctx, data, cfg.Log); err != nil {
		return nil, err
	}
	sockets, err := socketDir(cfg.Dir, who, bin.enter(ctx, who, cfg.Dir) == nil)
	if err != nil {
		return nil, err
	}
	url := connURL(sockets, socketPort, Superuser, "", "postgres")

	args := []string{"-k", sockets, "-c", "listen_addresses=", "-c", "port=" + socketPort}
	for name, value := range settings(cfg) {
		args = append(args, "-c", name+"="+value)
	}
	// Parent gone: committed data is safe either way, a clean end spares the recovery.
	onDeath := syscall.SIGINT
	if !cfg.Durable {
		onDeath = syscall.SIGQUIT
	}
	for {
		out.forget()
		cmd, err := bin.onData(context.WithoutCancel(ctx), who, data, "postgres", args...) // it outlives the start
		if err != nil {
			return nil, err
		}
		proc, err := startChild(cmd, who, onDeath, out)
		closeAll(cmd.ExtraFiles)
		if err != nil {
			return nil, fmt.Errorf("start postgres: %w", err)
		}
		if err = awaitReady(ctx, url, proc); err == nil {
			return &Server{
				host: sockets, port: socketPort, source: bin.dir, proc: proc,
				kill: func() { proc.signal(syscall.SIGKILL) },
			}, nil
		}
		proc.signal(syscall.SIGQUIT)
		<-proc.done
		// Sessions of a killed postmaster notice its end within moments, and
		// until then Postgres keeps the directory from a new one.
		if ctx.Err() != nil || !strings.Contains(out.last(), "shared memory block") {
			return nil, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// enter fails if who may not enter dir.
func (b binaries) enter(ctx context.Context, who identity, dir string) error {
	if !who.switches {
		return nil
	}
	cmd := exec.CommandContext(ctx, b.path("postgres"), "--version")
	cmd.Dir = dir
	return run(cmd, who, &serverLog{log: discard})
}

// onData is a command of the installation that works on directory data, as who.
func (b binaries) onData(ctx context.Context, who identity, data, name string, args ...string) (*exec.Cmd, error) {
	path, open := data, []*os.File(nil)
	if b.enter(ctx, who, data) != nil {
		var dir *os.File
		var err error
		if path, dir, err = unreachable(data); err != nil {
			return nil, err
		}
		open = append(open, dir)
	}
	cmd := exec.CommandContext(ctx, b.path(name), append([]string{"-D", path}, args...)...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + b.dir + ":/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.ExtraFiles = open
	return cmd, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// initData makes the data directory unless it is there. It is made under
// another name and renamed, so a kill in between leaves nothing half-made
// under this one.
func initData(ctx context.Context, cfg Config, bin binaries, who identity, data string, out *serverLog) error {
	half, _ := filepath.Glob(data + ".init-*") // the pattern is well formed
	for _, dir := range half {
		_ = os.RemoveAll(dir)
	}
	if _, err := os.Stat(data); err == nil {
		return nil
	}
	made, err := os.MkdirTemp(cfg.Dir, filepath.Base(data)+".init-")
	if err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if err := who.own(made); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	args := []string{"-U", Superuser, "-A", "trust", "-E", "UTF8", "--no-instructions"}
	args = append(args, localeArgs(bin.major)...)
	if !cfg.Durable {
		args = append(args, "--no-sync")
	}
	cmd, err := bin.onData(ctx, who, made, "initdb", args...)
	if err != nil {
		return err
	}
	defer closeAll(cmd.ExtraFiles)
	if err := run(cmd, who, out); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if err := os.Rename(made, data); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	return nil
}

// localeArgs choose an order of texts that is the same on every machine: by
// code point, with the case rules of Unicode where there is a way.
func localeArgs(major int) []string {
	switch {
	case major >= 17:
		return []string{"--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"}
	case runtime.GOOS == "linux":
		return []string{"--locale=C.UTF-8"}
	default:
		return []string{"--locale=C"}
	}
}

// stopOrphan ends what a killed owner left running in data, and removes the pid
// file, which would keep a new postmaster out if its number is in use again.
func stopOrphan(ctx context.Context, data string, log *slog.Logger) error {
	// To a postmaster: fast, at once, killed. Its children take them in their stride.
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGQUIT, syscall.SIGKILL} {
		left := processes(ctx, data)
		if len(left) == 0 {
			break
		}
		log.Info("stopping the postgres that an earlier run left behind", "pids", left, "signal", sig.String())
		for _, pid := range left {
			if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("stop the postgres of an earlier run, process %d: %w", pid, err)
			}
		}
		if err := awaitEnd(ctx, data); err != nil {
			return fmt.Errorf("stop the postgres of an earlier run, processes %v: %w", left, err)
		}
	}
	if err := os.Remove(filepath.Join(data, "postmaster.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the stale pid file: %w", err)
	}
	return nil
}

// awaitEnd returns when nothing runs in data any more or that has had its grace.
func awaitEnd(ctx context.Context, data string) error {
	grace := time.After(stopGrace)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for len(processes(ctx, data)) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grace:
			return nil
		case <-tick.C:
		}
	}
	return nil
}

// socketDir makes an empty directory for the socket that only the identity can
// enter: in dir, or where that path is too long for a socket or out of the
// identity's reach, in the system's temporary directory under a name derived
// from dir.
func socketDir(dir string, who identity, reachable bool) (string, error) {
	path := filepath.Join(dir, "run")
	if len(path)+len("/.s.PGSQL."+socketPort) > maxSocketPath || !reachable {
		sum := sha256.Sum256([]byte(dir))
		path = filepath.Join(os.TempDir(), "primezap-pg-"+hex.EncodeToString(sum[:6]))
	}
	if len(path)+len("/.s.PGSQL."+socketPort) > maxSocketPath {
		return "", fmt.Errorf("socket directory: %s is too long, set TMPDIR to a shorter one", path)
	}
	// Whatever is there is ours, of an earlier run, or else not to be trusted.
	info, err := os.Lstat(path)
	if err == nil {
		st, ok := info.Sys().(*syscall.Stat_t)
		if !info.IsDir() || !ok || int(st.Uid) != who.uid || info.Mode().Perm() != 0o700 {
			return "", fmt.Errorf("socket directory: %s belongs to somebody else", path)
		}
		// A socket's lock file bars the way like a pid file, and the number in it
		// may be another process's by now.
		if err := os.RemoveAll(path); err != nil {
			return "", fmt.Errorf("clear the socket directory: %w", err)
		}
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return "", fmt.Errorf("make the socket directory: %w", err)
	}
	if err := who.own(path); err != nil {
		return "", fmt.Errorf("make the socket directory: %w", err)
	}
	return path, nil
}
