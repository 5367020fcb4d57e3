package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/testenv"
)

// program is the one that users build.
var program string

func TestMain(m *testing.M) {
	var err error
	if program, err = build("standalone", "./services/standalone"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	testenv.Main(m)
}

// root is the repository's.
func root() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir
}

// build builds into bin/, which git ignores, so that a second run need not link
// again.
func build(name, pkg string) (path string, err error) {
	dir := filepath.Join(root(), "bin", "test")
	temp := filepath.Join(dir, "tmp") // on the same file system: the program is moved into its place as a whole
	if err := os.MkdirAll(temp, 0o755); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	path = filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, pkg)
	cmd.Dir = root()
	cmd.Env = append(os.Environ(), "GOTMPDIR="+temp)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return path, nil
}

// Bounds of what may take long on a busy machine, which is no fault.
const (
	readyWithin = 60 * time.Second
	exitWithin  = 30 * time.Second // where no shorter time is promised
	soon        = 60 * time.Second // also what is promised after kill -9
)

// instance is a run of the program. It is used by its test's goroutine.
type instance struct {
	ready          ready // the line it printed
	stdout, stderr *output
	took           time.Duration // from the start to that line

	cmd    *exec.Cmd
	exited chan struct{} // closed when it was reaped
}

// launch runs the program on dir and does not wait. It is killed when t ends,
// unless it has ended before.
func launch(t testing.TB, dir string, env ...string) *instance {
	t.Helper()
	i := &instance{stdout: &output{}, stderr: &output{}, exited: make(chan struct{})}
	i.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), program) // ended by the test alone
	// Nothing of the tester's own environment but where programs are.
	i.cmd.Env = slices.Concat([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"),
		"DATA_DIR=" + dir, "HTTP_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "META_SIMULATOR_ADDR=127.0.0.1:0",
	}, env)
	i.cmd.Stdout, i.cmd.Stderr = i.stdout, i.stderr
	i.cmd.SysProcAttr = processAttr()
	started := make(chan error, 1)
	go func() { // ends with the process
		runtime.LockOSThread() // the kernel ends a child when the thread that started it ends
		err := i.cmd.Start()
		started <- err
		if err == nil {
			_ = i.cmd.Wait() // read from ProcessState
		}
		close(i.exited)
	}()
	if err := <-started; err != nil {
		t.Fatalf("start the program: %v", err)
	}
	t.Cleanup(func() {
		i.signal(syscall.SIGKILL)
		<-i.exited
		if t.Failed() {
			t.Logf("standard error of the instance on %s:\n%s", dir, i.stderr.tail())
		}
	})
	return i
}

// start runs the program on dir until it is ready.
func start(t testing.TB, dir string, env ...string) *instance {
	t.Helper()
	began := time.Now()
	i := launch(t, dir, env...)
	eventually(t, readyWithin, func() error {
		if line := i.stdout.String(); strings.HasSuffix(line, "\n") {
			return nil
		}
		return i.running("not ready")
	})
	i.took = time.Since(began)
	if err := json.Unmarshal([]byte(i.stdout.String()), &i.ready); err != nil {
		t.Fatalf("the ready line %q: %v", i.stdout.String(), err)
	}
	return i
}

// running is the error what, which to wait for makes sense; a process that has
// ended stops its test.
func (i *instance) running(what string) error {
	select {
	case <-i.exited:
		return fmt.Errorf("%w: %s: %s\n%s", errFinal, what, i.cmd.ProcessState, i.stderr.tail())
	default:
		return errors.New(what)
	}
}

func (i *instance) signal(sig syscall.Signal) { _ = i.cmd.Process.Signal(sig) } // it may have ended

// awaitExit returns the exit code: -1 after a signal.
func (i *instance) awaitExit(t testing.TB, within time.Duration) int {
	t.Helper()
	select {
	case <-i.exited:
	case <-time.After(within):
		t.Fatalf("still runs after %s", within)
	}
	return i.cmd.ProcessState.ExitCode()
}

// terminate asks the program to end and judges how it does: within 10 s, with
// code 0, leaving no process.
func (i *instance) terminate(t testing.TB) {
	t.Helper()
	below := descendants(t, i.cmd.Process.Pid)
	began := time.Now()
	i.signal(syscall.SIGTERM)
	code := i.awaitExit(t, exitWithin)
	took := time.Since(began)
	t.Logf("ended %s after SIGTERM", took.Round(time.Millisecond))
	if code != 0 || took > 10*time.Second {
		t.Errorf("ended with code %d after %s, want 0 within 10s", code, took)
	}
	if left := alive(t, below); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

// kill ends the program with SIGKILL.
func (i *instance) kill(t testing.TB) {
	t.Helper()
	i.signal(syscall.SIGKILL)
	i.awaitExit(t, exitWithin)
}

// admin is the admin server's URL, which is logged.
func (i *instance) admin(t testing.TB) string {
	t.Helper()
	var address string
	eventually(t, soon, func() error { // two pipes keep no order
		for line := range strings.Lines(i.stderr.String()) {
			var record logRecord
			if json.Unmarshal([]byte(line), &record) == nil && record.Msg == "admin ready" {
				address = record.Address
				return nil
			}
		}
		return i.running("no admin server is logged")
	})
	return "http://" + address
}

type logRecord struct{ Level, Msg, Address string }

// client calls without keeping connections, which would outlive an instance.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// call calls the API, checks the status and decodes the answer into to.
func (i *instance) call(t testing.TB, method, path, body string, status int, to any, header ...string) {
	t.Helper()
	if err := i.do(t.Context(), method, path, body, status, to, header...); err != nil {
		t.Fatal(err)
	}
}

// do is call for any goroutine, and for what is tried again.
func (i *instance) do(ctx context.Context, method, path, body string, status int, to any, header ...string) error {
	req, err := http.NewRequestWithContext(ctx, method, i.ready.URL+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+i.ready.APIKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for pair := range slices.Chunk(header, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != status {
		return fmt.Errorf("%s %s: %s, want %d: %s", method, path, resp.Status, status, answer)
	}
	if to == nil {
		return nil
	}
	return json.Unmarshal(answer, to)
}

// hook is a webhook as the API shows it.
type hook struct {
	ID, URL, Secret string
}

// subscribe makes a webhook for events to url.
func (i *instance) subscribe(t testing.TB, url, event, retry string, header ...string) hook {
	t.Helper()
	var made hook
	body := fmt.Sprintf(`{"name": %q, "url": %q, "events": [%q], "retry": {"delaysSeconds": [%s]}}`, t.Name(), url, event, retry)
	i.call(t, http.MethodPost, "/api/custom-webhooks", body, http.StatusCreated, &made, header...)
	return made
}

// eventsPath takes dealData, which is no whole deal.
const eventsPath = "/api/events?strict=false"

const dealData = `{"deal": {"id": "d-1", "valueCents": 398000}}`

// publish publishes n events of a type in one request.
func (i *instance) publish(t testing.TB, event string, n int) (ids []string) {
	t.Helper()
	one := fmt.Sprintf(`{"event": %q, "data": %s}`, event, dealData)
	var answer struct{ Data []struct{ ID string } }
	i.call(t, http.MethodPost, eventsPath, "["+strings.Join(slices.Repeat([]string{one}, n), ",")+"]", http.StatusAccepted, &answer)
	for _, accepted := range answer.Data {
		ids = append(ids, accepted.ID)
	}
	return ids
}

// list is the first page of a list.
func list[T any](t testing.TB, i *instance, path string, header ...string) []T {
	t.Helper()
	var answer struct{ Data []T }
	i.call(t, http.MethodGet, path, "", http.StatusOK, &answer, header...)
	return answer.Data
}

// output takes what a process writes.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// tail is what is worth showing of a failure.
func (o *output) tail() string {
	text := o.String()
	return text[max(0, len(text)-20_000):]
}

// descendants are the processes below pid.
func descendants(t testing.TB, pid int) []int {
	t.Helper()
	children := make(map[int][]int)
	for _, p := range processes(t) {
		children[p.parent] = append(children[p.parent], p.pid)
	}
	below := slices.Clone(children[pid])
	for n := 0; n < len(below); n++ {
		below = append(below, children[below[n]]...)
	}
	return below
}

// alive are those of pids that have not ended.
func alive(t testing.TB, pids []int) (left []int) {
	t.Helper()
	for _, p := range processes(t) {
		if slices.Contains(pids, p.pid) {
			left = append(left, p.pid)
		}
	}
	return left
}

type process struct{ pid, parent int }

// processes are all that run. Those that have ended and await their parent,
// which may be a container's idle first process, do not.
func processes(t testing.TB) (running []process) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ps", "-A", "-o", "pid=,ppid=,stat=").Output()
	if err != nil {
		t.Fatalf("list the processes: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[2], "Z") {
			continue
		}
		pid, pidErr := strconv.Atoi(fields[0])
		parent, parentErr := strconv.Atoi(fields[1])
		if pidErr != nil || parentErr != nil {
			t.Fatalf("list the processes: %q", line)
		}
		running = append(running, process{pid, parent})
	}
	return running
}

var errFinal = errors.New("waiting makes no sense")

// eventually repeats check until it finds nothing wrong, and fails with what it
// found last.
func eventually(t testing.TB, within time.Duration, check func() error) {
	t.Helper()
	deadline := time.After(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if errors.Is(err, errFinal) {
			t.Fatal(err)
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("still after %s: %v", within, err)
		}
	}
}
