package localpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a started process that does not outlive us where the system can
// promise that (Linux).
type child struct {
	cmd  *exec.Cmd
	out  *serverLog
	done chan struct{} // closed by the goroutine that reaps the process
	err  error         // the end of the process; read after done
}

// startChild starts cmd in a process group of its own, so that a terminal's
// Ctrl-C reaches us alone and we decide the order of stopping. When we die,
// however that happens, the kernel sends it onDeath.
//
// That signal comes when the *thread* that forked ends, and Go ends idle
// threads: so the goroutine that starts the process keeps its thread to itself
// until it has reaped it.
func startChild(cmd *exec.Cmd, who identity, onDeath syscall.Signal, out *serverLog) (*child, error) {
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second // a grandchild that lives on may hold the pipe
	cmd.SysProcAttr = processAttr(onDeath)
	if who.switches {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(who.uid), Gid: uint32(who.gid)}
	}
	c := &child{cmd: cmd, out: out, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with this goroutine
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		c.err = cmd.Wait()
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

// signal sends sig unless the process has ended.
func (c *child) signal(sig os.Signal) { _ = c.cmd.Process.Signal(sig) }

// run is startChild for a command that ends by itself; a failure carries its output.
func run(cmd *exec.Cmd, who identity, out *serverLog) error {
	c, err := startChild(cmd, who, syscall.SIGKILL, out)
	if err != nil {
		return err
	}
	<-c.done
	if c.err != nil && !errors.Is(c.err, exec.ErrWaitDelay) {
		return fmt.Errorf("%s: %w\n%s", cmd.Path, c.err, out.last())
	}
	return nil
}

// serverLog turns a server's output into log records and remembers its end for
// error messages.
type serverLog struct {
	log *slog.Logger

	mu      sync.Mutex
	partial []byte
	tail    []string
	loud    bool // neither starting nor stopping: a fatal line is news
}

const tailLines = 20

// Write takes output as it comes, in pieces of any size.
func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, p...)
	for {
		line, rest, ok := bytes.Cut(l.partial, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.line(string(line))
		l.partial = slices.Clone(rest)
	}
}

func (l *serverLog) line(text string) {
	if text == "" {
		return
	}
	if len(l.tail) == tailLines {
		l.tail = l.tail[1:]
	}
	l.tail = append(l.tail, text)
	level := slog.LevelDebug
	fatal := strings.HasPrefix(text, "FATAL:") || strings.HasPrefix(text, "PANIC:")
	ordinary := strings.HasSuffix(text, "due to administrator command") || // DROP DATABASE … FORCE
		strings.HasSuffix(text, "connection to client lost") // a killed worker's
	if fatal && l.loud && !ordinary {
		level = slog.LevelWarn
	}
	l.log.Log(context.Background(), level, "postgres", "line", text)
}

// setLoud says whether the server is up: a session refused or ended before or
// after that is no news.
func (l *serverLog) setLoud(loud bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loud = loud
}

// forget drops what last would give.
func (l *serverLog) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tail = nil
}

// last is the end of the output.
func (l *serverLog) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(append(slices.Clone(l.tail), string(l.partial)), "\n")
}
