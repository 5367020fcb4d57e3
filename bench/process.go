package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// stopFor is how long a process may take to end by itself.
const stopFor = 15 * time.Second

// process is a running part of the benchmark.
type process struct {
	name    string
	control string // address with /debug/pprof, and the operations of a role
	cmd     *exec.Cmd
	stdin   io.Closer
	log     *os.File      // its stderr
	done    chan struct{} // closed by the goroutine that reaps the process
	err     error         // how it ended; read after done
}

// launch starts a program whose stderr goes to a file of its name in logs. ended
// is told when the process has ended, asked to or not.
func launch(logs, name string, cmd *exec.Cmd, ended func(*process)) (*process, error) {
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	var err error
	if p.log, err = os.Create(filepath.Join(logs, name+".log")); err != nil {
		return nil, fmt.Errorf("%s: log: %w", name, err)
	}
	cmd.Stderr = p.log
	cmd.SysProcAttr = processAttr()
	started := make(chan error, 1)
	go func() {
		// The kernel takes the thread that forked for the parent.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		_ = p.log.Close()
		close(p.done)
		ended(p)
	}()
	if err := <-started; err != nil {
		_ = p.log.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// launchRole starts a role of this program and returns what it says when ready.
func launchRole[R any](logs, name string, settings any, ended func(*process)) (*process, R, error) {
	var answer hello[R]
	self, err := os.Executable()
	if err != nil {
		return nil, answer.Ready, fmt.Errorf("%s: %w", name, err)
	}
	cmd := exec.Command(self, name)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, answer.Ready, fmt.Errorf("%s: %w", name, err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, answer.Ready, fmt.Errorf("%s: %w", name, err)
	}
	p, err := launch(logs, name, cmd, ended)
	if err != nil {
		return nil, answer.Ready, err
	}
	p.stdin = stdin
	if err := json.NewEncoder(stdin).Encode(settings); err != nil {
		return p, answer.Ready, fmt.Errorf("%s: settings: %w", name, err)
	}
	if err := json.NewDecoder(stdout).Decode(&answer); err != nil {
		return p, answer.Ready, fmt.Errorf("%s did not start (see %s): %w", name, p.log.Name(), err)
	}
	p.control = answer.Control
	return p, answer.Ready, nil
}

// stop asks the process to end, and kills it where it does not.
func (p *process) stop() error {
	if p.stdin != nil {
		_ = p.stdin.Close()
	} else {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
	}
	select {
	case <-p.done:
	case <-time.After(stopFor):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	if p.err != nil {
		return fmt.Errorf("%s (see %s): %w", p.name, p.log.Name(), p.err)
	}
	return nil
}
