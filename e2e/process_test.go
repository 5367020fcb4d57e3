package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Bounds of what a process may take. Generous: a busy machine is no fault.
const (
	readyWithin = 60 * time.Second
	exitWithin  = 30 * time.Second
)

// process is one of our programs at work. It is used by its test's goroutine
// alone. A process that ends without having been told to fails the test, as
// does one with a data race; after a failure its log is shown.
type process struct {
	t     testing.TB
	name  string
	path  string
	ready string   // the log message that says it works
	env   []string // settings of every run

	cmd    *exec.Cmd
	log    *processLog
	exited chan struct{} // of the run: closed when it was reaped
	told   bool          // to end, or its end was awaited
}

// newProcess registers a process; Start runs it.
func newProcess(t testing.TB, name, path, ready string, env []string) *process {
	p := &process{t: t, name: name, path: path, ready: ready, env: env, log: newProcessLog()}
	t.Cleanup(func() {
		if p.running() {
			p.told = true
			p.signal(syscall.SIGKILL)
			<-p.exited
		}
		p.checkEnd()
		if t.Failed() {
			t.Logf("the log of %s:\n%s", p.name, p.log.tail())
		}
	})
	return p
}

// Start runs the process, with env over its settings, and returns once it is
// ready.
func (p *process) Start(env ...string) {
	p.t.Helper()
	p.Launch(env...)
	p.AwaitReady()
}

// Launch runs the process and does not wait: for one that is to be killed
// wherever it may be.
func (p *process) Launch(env ...string) {
	p.t.Helper()
	if p.running() {
		p.t.Fatalf("%s runs already", p.name)
	}
	p.checkEnd()
	p.log.expect(p.ready)
	p.cmd = exec.CommandContext(context.WithoutCancel(p.t.Context()), p.path) // ended by the test alone
	p.cmd.Env = slices.Concat(p.env, env)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = processAttr()
	p.exited, p.told = make(chan struct{}), false
	started := make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan struct{}) { // ends with the process
		// The kernel ends a child when the thread that started it ends.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // read from ProcessState
		}
		close(exited)
	}(p.cmd, p.exited)
	if err := <-started; err != nil {
		p.t.Fatalf("start %s: %v", p.name, err)
	}
}

// AwaitReady returns once the process says that it works.
func (p *process) AwaitReady() {
	p.t.Helper()
	select {
	case <-p.log.found:
	case <-p.exited:
		p.t.Fatalf("%s ended before it was ready: %s", p.name, p.cmd.ProcessState)
	case <-time.After(readyWithin):
		p.t.Fatalf("%s is not ready after %s", p.name, readyWithin)
	}
}

// ReadyField is a field of the log record that said it was ready.
func (p *process) ReadyField(name string) string {
	var fields map[string]any
	_ = json.Unmarshal(p.log.readyLine(), &fields) // absent and unreadable are the same to the caller
	value, _ := fields[name].(string)
	return value
}

// Kill ends the process with SIGKILL.
func (p *process) Kill() {
	p.t.Helper()
	p.tell(syscall.SIGKILL)
	p.AwaitExit(exitWithin)
}

// Terminate asks the process to end, with SIGTERM, and returns at once.
func (p *process) Terminate() {
	p.t.Helper()
	p.tell(syscall.SIGTERM)
}

func (p *process) tell(sig syscall.Signal) {
	p.t.Helper()
	if !p.running() {
		p.t.Fatalf("%s does not run any more: %s", p.name, p.cmd.ProcessState)
	}
	p.told = true
	p.signal(sig)
}

// AwaitExit waits for the end of the process, however it comes, and returns its
// exit code: -1 after a signal.
func (p *process) AwaitExit(within time.Duration) int {
	p.t.Helper()
	p.told = true
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		p.t.Fatalf("%s still runs after %s", p.name, within)
		return 0
	}
}

// Exited is closed when the process has ended.
func (p *process) Exited() <-chan struct{} { return p.exited }

func (p *process) running() bool {
	if p.exited == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

func (p *process) signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) } // it may have ended by itself

// checkEnd judges a run that is over.
func (p *process) checkEnd() {
	if p.exited == nil {
		return
	}
	if !p.told {
		p.t.Errorf("%s ended by itself: %s", p.name, p.cmd.ProcessState)
	}
	if p.log.raced() {
		p.t.Errorf("%s has a data race", p.name)
	}
	p.exited = nil
}

// keepLines is how much of a process's log is shown.
const keepLines = 400

// processLog takes the output of a process's runs.
type processLog struct {
	mu      sync.Mutex
	partial []byte
	whole   bool // keep all lines; set before the first run
	lines   []string
	race    bool
	wanted  string
	line    []byte        // the wanted one
	found   chan struct{} // closed when it came
}

func newProcessLog() *processLog { return &processLog{} }

// expect waits for a record with a message, from now on.
func (l *processLog) expect(message string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wanted, l.line, l.found = message, nil, make(chan struct{})
}

// Write takes output as it comes, in pieces of any size.
func (l *processLog) Write(output []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.partial = append(l.partial, output...)
	for {
		line, rest, whole := bytes.Cut(l.partial, []byte("\n"))
		if !whole {
			return len(output), nil
		}
		l.take(line)
		l.partial = bytes.Clone(rest)
	}
}

func (l *processLog) take(line []byte) {
	if len(l.lines) == 2*keepLines && !l.whole {
		l.lines = slices.Clone(l.lines[keepLines:])
	}
	l.lines = append(l.lines, string(line))
	l.race = l.race || bytes.Contains(line, []byte("WARNING: DATA RACE"))
	var record struct{ Msg string }
	if l.wanted != "" && json.Unmarshal(line, &record) == nil && record.Msg == l.wanted {
		l.wanted, l.line = "", bytes.Clone(line)
		close(l.found)
	}
}

func (l *processLog) readyLine() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.line
}

func (l *processLog) raced() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.race
}

func (l *processLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines[max(0, len(l.lines)-keepLines):], "\n")
}

// all is what the process has written: the whole of it where that is kept.
func (l *processLog) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n") + "\n" + string(l.partial)
}
