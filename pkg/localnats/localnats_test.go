package localnats_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/primezap/primezap/pkg/localnats"
)

// serveDir makes the test binary a server to be killed.
const serveDir = "LOCALNATS_TEST_SERVE_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveDir); dir != "" {
		s, err := localnats.Start(localnats.Config{Dir: dir, Users: []localnats.User{root}})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(s.URL(root.Name))
		select {}
	}
	goleak.VerifyTestMain(m)
}

var root = localnats.User{Name: "root", Password: "secret", Publish: []string{">"}, Subscribe: []string{">"}}

func start(t *testing.T, cfg localnats.Config) *localnats.Server {
	t.Helper()
	s, err := localnats.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func connect(t *testing.T, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func stream(t *testing.T, nc *nats.Conn, name string) jetstream.Stream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{"a.>"}, Storage: jetstream.FileStorage})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStart_Users(t *testing.T) {
	t.Parallel()
	violations := make(chan error, 16)
	s := start(t, localnats.Config{Dir: t.TempDir(), Users: []localnats.User{
		root,
		{Name: "reader", Subscribe: []string{"in.*", "_INBOX.>"}},
		{Name: "writer", Publish: []string{"in.*"}, Subscribe: []string{"_INBOX.>"}},
		{Name: "answerer", Subscribe: []string{"ask"}, Responses: true},
		{Name: "elsewhere", Account: "OTHER", Publish: []string{">"}, Subscribe: []string{">"}},
	}})
	as := func(user string) *nats.Conn {
		return connect(t, s.URL(user), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err }))
	}
	subscribe := func(nc *nats.Conn, subject string) *nats.Subscription {
		sub, err := nc.SubscribeSync(subject)
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		return sub
	}
	refused := func(what string) {
		t.Helper()
		select {
		case err := <-violations:
			if !errors.Is(err, nats.ErrPermissionViolation) {
				t.Errorf("%s: %v, want a permission violation", what, err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s was not refused", what)
		}
	}
	reader, writer, all := as("reader"), as("writer"), as("root")

	if _, err := nats.Connect(strings.Replace(s.URL("reader"), ":", ":x", 2)); err == nil {
		t.Error("a wrong password was accepted")
	}
	if _, err := nats.Connect("nats://" + s.Address()); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("without a user: %v, want an authorization error", err)
	}

	in := subscribe(reader, "in.*")
	if err := writer.Publish("in.a", []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if msg, err := in.NextMsg(5 * time.Second); err != nil || string(msg.Data) != "hello" {
		t.Errorf("what is allowed does not arrive: %v", err)
	}

	_ = writer.Publish("out.a", nil)
	refused("publishing beyond the list")
	_ = reader.Publish("in.a", nil)
	refused("publishing with an empty list")
	_, _ = reader.SubscribeSync("out.*")
	refused("subscribing beyond the list")

	answerer := as("answerer")
	if _, err := answerer.Subscribe("ask", func(m *nats.Msg) { _ = m.Respond([]byte("yes")) }); err != nil {
		t.Fatal(err)
	}
	if err := answerer.Flush(); err != nil {
		t.Fatal(err)
	}
	if msg, err := all.Request("ask", nil, 5*time.Second); err != nil || string(msg.Data) != "yes" {
		t.Errorf("a user with responses does not answer: %v", err)
	}

	// The other account has a subscription on everything and must hear nothing.
	elsewhere := as("elsewhere")
	other := subscribe(elsewhere, "in.*")
	if err := all.Publish("in.a", nil); err != nil {
		t.Fatal(err)
	}
	if err := all.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := elsewhere.Publish("in.own", nil); err != nil {
		t.Fatal(err)
	}
	if msg, err := other.NextMsg(5 * time.Second); err != nil || msg.Subject != "in.own" {
		t.Errorf("first message in the other account: %v, %v; want its own", msg, err)
	}
	stream(t, all, "S")
	stream(t, elsewhere, "S") // the same name and subjects
}

func TestStart_StreamsSurvive(t *testing.T) {
	t.Parallel()
	const messages = 1000
	publish := func(t *testing.T, nc *nats.Conn) {
		t.Helper()
		stream(t, nc, "S")
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		for range messages {
			if _, err := js.PublishAsync("a.b", []byte("body")); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-js.PublishAsyncComplete():
		case <-time.After(10 * time.Second):
			t.Fatal("publishing was not acknowledged")
		}
	}
	check := func(t *testing.T, dir string) {
		t.Helper()
		s := start(t, localnats.Config{Dir: dir, Users: []localnats.User{root}})
		info, err := stream(t, connect(t, s.URL("root")), "S").Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if info.State.Msgs != messages {
			t.Errorf("%d messages after the restart, want %d", info.State.Msgs, messages)
		}
	}
	t.Run("a stop", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s, err := localnats.Start(localnats.Config{Dir: dir, Users: []localnats.User{root}})
		if err != nil {
			t.Fatal(err)
		}
		publish(t, connect(t, s.URL("root"), nats.NoReconnect()))
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		check(t, dir)
	})
	t.Run("kill -9 right after the acknowledgements", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), serveDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		url, err := bufio.NewReader(out).ReadString('\n')
		if err == nil {
			publish(t, connect(t, strings.TrimSpace(url), nats.NoReconnect()))
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err != nil {
			t.Fatal(err)
		}
		check(t, dir)
	})
}

func TestStart_Refuses(t *testing.T) {
	t.Parallel()
	t.Run("a second server on the directory, until the first has stopped", func(t *testing.T) {
		t.Parallel()
		cfg := localnats.Config{Dir: t.TempDir(), Users: []localnats.User{root}}
		first, err := localnats.Start(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := localnats.Start(cfg); !errors.Is(err, localnats.ErrInUse) {
			t.Errorf("second start: %v, want %v", err, localnats.ErrInUse)
		}
		if err := first.Stop(); err != nil {
			t.Fatal(err)
		}
		start(t, cfg)
	})
	t.Run("a port that is taken, saying so, and frees the directory", func(t *testing.T) {
		t.Parallel()
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer taken.Close()
		cfg := localnats.Config{Dir: t.TempDir(), Users: []localnats.User{root}, Port: taken.Addr().(*net.TCPAddr).Port}
		if _, err := localnats.Start(cfg); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("start: %v, want the address in use", err)
		}
		cfg.Port = 0
		start(t, cfg)
	})
}

func TestServer_InProcess(t *testing.T) {
	t.Parallel()
	s := start(t, localnats.Config{Dir: t.TempDir(), Users: []localnats.User{root}})
	nc := connect(t, "", s.InProcess("root"))
	if addr := nc.ConnectedAddr(); addr != "pipe" {
		t.Errorf("connected to %s, want no socket", addr)
	}
	stream(t, nc, "S")
}

func TestConfig_Log(t *testing.T) {
	t.Parallel()
	var text lockedBuffer
	log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s := start(t, localnats.Config{Dir: t.TempDir(), Users: []localnats.User{root}, Log: log})
	if got := text.String(); got != "" {
		t.Errorf("a good start logs %q, want nothing at warn", got)
	}
	if _, err := nats.Connect("nats://who:secret-of-who@" + s.Address()); err == nil {
		t.Fatal("an unknown user was accepted")
	}
	// The server logs before it answers.
	if got := text.String(); !strings.Contains(got, "authentication error") || strings.Contains(got, "secret-of-who") {
		t.Errorf("a refused user logs %q, want the refusal without the password", got)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
