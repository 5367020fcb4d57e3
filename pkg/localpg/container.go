package localpg

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// container is what is kept about a cluster that lives in Docker. Its name is
// random and kept in the state directory: who removes the directory starts
// anew, as with local binaries.
type container struct {
	Name     string `json:"name"` // of the container and of the volume with the data
	Port     int    `json:"port"` // kept while it is free, so that a restart moves nobody
	Password string `json:"password"`
}

func containerFile(dir string) string { return filepath.Join(dir, "container.json") }

// engineAnswers says whether there is a Docker that we may use.
func engineAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return docker(ctx, "version", "--format", "{{.Server.Version}}") == nil
}

// docker runs the Docker client to its end.
func docker(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("docker %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return nil
}

// startContainer runs cfg.Image, in the foreground of a Docker client that
// hands our signals on: to everybody else it is a postmaster. Killed with us,
// that client leaves the container running, and the next start stops it.
func startContainer(ctx context.Context, cfg Config, out *serverLog) (*Server, error) {
	c, err := loadContainer(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := removeContainer(ctx, c.Name); err != nil {
		return nil, err
	}
	if err := c.pickPort(cfg.Dir); err != nil {
		return nil, err
	}

	args := []string{
		"run", "--rm", "--name", c.Name,
		"--label", "primezap.directory=" + cfg.Dir,
		"--publish", "127.0.0.1:" + strconv.Itoa(c.Port) + ":5432",
		// The parent of every image's own data directory, which differs by version.
		"--volume", c.Name + ":/var/lib/postgresql",
		"--env", "PGDATA=/var/lib/postgresql/primezap",
		"--env", "POSTGRES_PASSWORD", // the value stays out of the list of processes
		"--env", "POSTGRES_INITDB_ARGS=--locale=C", // by code point; known to every image
		"--stop-signal", "SIGINT",
		"--shm-size", "256m",
		cfg.Image, "postgres",
	}
	for name, value := range settings(cfg) {
		args = append(args, "-c", name+"="+value)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "docker", args...) // it outlives the start
	cmd.Env = append(os.Environ(), "POSTGRES_PASSWORD="+c.Password)
	proc, err := startChild(cmd, identity{}, syscall.SIGINT, out)
	if err != nil {
		return nil, fmt.Errorf("start docker: %w", err)
	}
	s := &Server{
		host: "127.0.0.1", port: strconv.Itoa(c.Port), password: c.Password,
		source: "docker " + cfg.Image, proc: proc,
		kill: func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
			defer cancel()
			if docker(ctx, "kill", "--signal", "KILL", c.Name) != nil {
				proc.signal(syscall.SIGKILL)
			}
		},
	}
	// The image's own set-up runs a server without TCP: the first that answers
	// here is the real one.
	if err := awaitReady(ctx, s.URL(Superuser, "postgres"), proc); err != nil {
		s.kill()
		<-proc.done
		return nil, err
	}
	return s, nil
}

// removeContainer ends one of an earlier run, by a fast shutdown, and returns
// when its name is free: the engine removes it after it has ended (--rm), and
// says no more than that it is about to.
func removeContainer(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 4*stopGrace)
	defer cancel()
	// Both fail where there is none.
	_ = docker(ctx, "stop", "--time", strconv.Itoa(int(stopGrace.Seconds())), name)
	_ = docker(ctx, "rm", "--force", name)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for docker(ctx, "container", "inspect", name) == nil {
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove the container %s of an earlier run: %w", name, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// loadContainer reads the container's record, or begins one.
func loadContainer(dir string) (c container, err error) {
	text, err := os.ReadFile(containerFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return container{Name: "primezap-postgres-" + strings.ToLower(rand.Text()[:12]), Password: rand.Text()}, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return c, fmt.Errorf("read the container's record: %w", err)
	}
	return c, nil
}

// pickPort keeps the last port if it is free, else takes another, and writes the record.
func (c *container) pickPort(dir string) error {
	free, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(c.Port))
	if err != nil {
		free, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return fmt.Errorf("find a free port: %w", err)
	}
	c.Port = free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode the container's record: %w", err)
	}
	if err := os.WriteFile(containerFile(dir), text, 0o600); err != nil {
		return fmt.Errorf("keep the container's record: %w", err)
	}
	return nil
}
