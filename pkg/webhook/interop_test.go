package webhook_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/webhook"
)

const customSecret = "correct horse battery staple"

// receiver is a program in interop/receivers, as docs/receiving-webhooks.md shows it to
// customers.
type receiver struct {
	file string
	// program and arguments that run it in interop.
	command []string
	// checksHex: it looks at X-Webhook-Signature, which no timestamp guards.
	checksHex bool
}

func TestInterop_NodeLibraries(t *testing.T) {
	t.Parallel()
	needNode(t)
	needFile(t, "interop/vectors.test.js")
	cmd := exec.CommandContext(t.Context(), "node", "--test", "vectors.test.js")
	cmd.Dir = "interop"
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("node --test vectors.test.js: %v\n%s", err, out)
	}
}

// Deliveries of a real HTTP client reach the receivers that customers run.
func TestInterop_NodeReceivers(t *testing.T) {
	t.Parallel()
	needNode(t)
	for _, r := range []receiver{
		{file: "express-json.js", checksHex: true},
		{file: "express-raw.js"},
		{file: "express-svix.js"},
		{file: "node.js"},
	} {
		r.command = []string{"node", filepath.Join("receivers", r.file)}
		testReceiver(t, r)
	}
}

// Those in other languages.
func TestInterop_OtherReceivers(t *testing.T) {
	t.Parallel()
	for _, r := range []receiver{
		{file: "python.py", command: []string{"python3", "receivers/python.py"}},
		{file: "php.php", command: []string{"php", "-S", "127.0.0.1:0", "receivers/php.php"}},
	} {
		if _, err := exec.LookPath(r.command[0]); err != nil {
			t.Errorf("Python 3.9 and PHP 8, or newer, must be on the PATH: %v", err)
			continue
		}
		testReceiver(t, r)
	}
}

// What docs/receiving-webhooks.md shows is what these tests run, and its vector is ours.
func TestInterop_DocsShowTestedCode(t *testing.T) {
	t.Parallel()
	docs, err := os.ReadFile("../../docs/receiving-webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"express-json.js", "express-raw.js", "node.js", "python.py", "php.php"} {
		program, err := os.ReadFile(filepath.Join("interop", "receivers", file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(docs, program) {
			t.Errorf("docs/receiving-webhooks.md does not show interop/receivers/%s as it is", file)
		}
	}
	example, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, handler, _ := strings.Cut(string(example), "// docs: from here\n")
	handler, _, found := strings.Cut(handler, "// docs: to here\n")
	if !found || !strings.Contains(string(docs), strings.TrimSpace(handler)) {
		t.Error("docs/receiving-webhooks.md does not show the handler of example_test.go as it is")
	}
	v := readVectors(t).Vectors[1]
	for _, part := range []string{v.Secret, v.ID, fmt.Sprint(v.Timestamp), v.Body, v.Hex, v.Standard} {
		if !strings.Contains(string(docs), part) {
			t.Errorf("docs/receiving-webhooks.md does not quote %s of the vector %q", part, v.Name)
		}
	}
}

// needNode fails the test where the JavaScript receivers cannot run.
func needNode(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatalf("Node.js 20 or newer must be on the PATH: %v", err)
	}
	if _, err := os.Stat("interop/node_modules/.package-lock.json"); err != nil {
		t.Fatalf("the npm packages of pkg/webhook/interop are not installed, run make deps: %v", err)
	}
}

// needFile fails the test where name is missing. It also makes go test run it
// again, rather than quote its cache, when a program that we start has changed.
func needFile(t *testing.T, name string) {
	t.Helper()
	if _, err := os.Stat(name); err != nil {
		t.Fatal(err)
	}
}

// testReceiver runs r once with a generated secret and once with a custom one,
// and sends it deliveries that it must accept or refuse.
func testReceiver(t *testing.T, r receiver) {
	t.Helper()
	needFile(t, filepath.Join("interop", "receivers", r.file))
	for _, kind := range []struct{ name, secret string }{
		{name: "generated secret", secret: secret},
		{name: "custom secret", secret: customSecret},
	} {
		t.Run(r.file+" with a "+kind.name, func(t *testing.T) {
			t.Parallel()
			url := start(t, r.command, kind.secret)
			signer := newSigner(t, kind.secret)
			now := time.Now()
			long := fmt.Appendf(nil, `{"event":"message.received","timestamp":"2025-10-20T12:00:00Z","data":{"text":"%s"}}`,
				strings.Repeat("ç", 127<<10)) // just under 256 KiB
			deal := []byte(`{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{"value":1499.9}}`)
			changed := bytes.Replace(deal, []byte("1499.9"), []byte("1499.8"), 1)
			expect := func(what string, want int, h http.Header, body []byte) {
				t.Helper()
				if got := post(t, url, h, body); got != want {
					t.Errorf("%s: answered %d, want %d", what, got, want)
				}
			}
			sign := func(s *webhook.Signer, at time.Time, body []byte) http.Header {
				h := http.Header{}
				s.Sign(h, eventID, "deal.moved", at, body)
				return h
			}

			for _, v := range readVectors(t).Vectors {
				if !v.NotOurs {
					body := []byte(v.Body)
					expect(v.Name, http.StatusNoContent, sign(signer, now, body), body)
				}
			}
			expect("a body of nearly 256 KiB", http.StatusNoContent, sign(signer, now, long), long)
			expect("a changed body", http.StatusUnauthorized, sign(signer, now, deal), changed)
			expect("another secret", http.StatusUnauthorized, sign(newSigner(t, otherSecret), now, deal), deal)
			expect("no signature", http.StatusUnauthorized, http.Header{"Content-Type": {webhook.ContentType}}, deal)

			replaced := newSigner(t, otherSecret, kind.secret)
			aged, inGrace := http.StatusUnauthorized, http.StatusNoContent
			if r.checksHex { // no time in it, and in a grace period only the new secret
				aged, inGrace = http.StatusNoContent, http.StatusUnauthorized
			}
			expect("signed ten minutes ago", aged, sign(signer, now.Add(-10*time.Minute), deal), deal)
			expect("signed ten minutes ahead", aged, sign(signer, now.Add(10*time.Minute), deal), deal)
			expect("signed beside a new secret", inGrace, sign(replaced, now, deal), deal)
		})
	}
}

// listening finds the port in what a receiver prints when it is ready.
var listening = regexp.MustCompile(`(?:^listening on |127\.0\.0\.1:)(\d+)`)

// start runs a receiver in interop until the test ends, and returns its URL.
func start(t *testing.T, command []string, secret string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Dir = "interop"
	cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret, "PORT=0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %v: %v", command, err)
	}
	var printed strings.Builder    // the goroutine's until drained is closed
	ports := make(chan string, 1)  // receives the first port, if there is one
	drained := make(chan struct{}) // closed when the program has closed its output
	go func() {
		defer close(drained)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			fmt.Fprintln(&printed, lines.Text())
			if found := listening.FindStringSubmatch(lines.Text()); found != nil {
				select {
				case ports <- found[1]:
				default:
				}
			}
		}
	}()
	t.Cleanup(func() {
		<-drained // t.Context has ended, and with it the program
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%v printed:\n%s", command, printed.String())
		}
	})
	select {
	case port := <-ports:
		return "http://127.0.0.1:" + port + "/webhooks"
	case <-drained:
		t.Fatalf("%v ended before it listened", command)
		return ""
	}
}

// post delivers body and returns the status.
func post(t *testing.T, url string, h http.Header, body []byte) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Error(err)
	}
	return resp.StatusCode
}
