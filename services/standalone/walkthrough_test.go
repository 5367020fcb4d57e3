package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// walkThrough runs the commands of the README in one shell, as one who pastes
// them, against i.
func walkThrough(t *testing.T, i *instance) {
	text, err := os.ReadFile(filepath.Join(root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, part, begins := strings.Cut(string(text), "<!-- walkthrough -->")
	part, _, ends := strings.Cut(part, "<!-- /walkthrough -->")
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(part, -1)
	if !begins || !ends || len(blocks) == 0 {
		t.Fatal("the README has no walk-through")
	}
	var script strings.Builder
	for _, block := range blocks {
		script.WriteString(block[1])
	}
	port := freePort(t)
	if !strings.Contains(script.String(), "127.0.0.1:9000") || !strings.Contains(script.String(), "\nsleep 3\n") || !strings.Contains(script.String(), "\nsleep 1\n") {
		t.Fatal("the walk-through is another one than this test knows")
	}
	// The port may be taken here, and a busy machine needs more than a few seconds.
	commands := strings.NewReplacer("127.0.0.1:9000", "127.0.0.1:"+port, "\nsleep 3\n", "\nsleep 10\n", "\nsleep 1\n", "\nsleep 5\n").Replace(script.String())

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", commands)
	cmd.Dir = root()
	cmd.Env = append(os.Environ(), "URL="+i.ready.URL, "API_KEY="+i.ready.APIKey, "META="+i.ready.MetaSimulator)
	cmd.SysProcAttr = processAttr() // a group, with the receiver
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("%v: %s%s", err, stdout.String(), stderr.String())
		_ = cmd.Cancel()
	}

	// What the receiver printed, and the answers of curl, one of them the log.
	verified := regexp.MustCompile(`(\d{3}) verified (\S+) (\S+) (\{.*\})`).FindAllStringSubmatch(stdout.String(), -1)
	if len(verified) != 3 || verified[0][1] != "500" || verified[1][1] != "204" || verified[0][2] != "deal.moved" || verified[0][3] != verified[1][3] {
		t.Fatalf("the receiver was to print one webhook twice, answered 500 and 204, and another one:\n%s%s", stdout.String(), stderr.String())
	}
	var received struct {
		Data struct {
			Message struct{ Channel, Type, Text string }
			Contact struct{ Name, Phone string }
		}
	}
	if err := json.Unmarshal([]byte(verified[2][4]), &received); err != nil || verified[2][1] != "204" || verified[2][2] != "message.received" ||
		received.Data.Message.Channel != "whatsapp" || received.Data.Message.Type != "text" || received.Data.Message.Text != "Oi! Ainda há cadeiras?" ||
		received.Data.Contact.Name != "Ana Souza" || received.Data.Contact.Phone != "+5511900000001" {
		t.Errorf("the message came as %s (%v)", verified[2][0], err)
	}
	_, answer, found := strings.Cut(stdout.String(), `{"data":`)
	var rows []struct {
		EventID string
		Attempt int
		Status  int
		Success bool
	}
	if !found || json.NewDecoder(strings.NewReader(answer)).Decode(&rows) != nil {
		t.Fatalf("there is no log:\n%s%s", stdout.String(), stderr.String())
	}
	if len(rows) != 2 || rows[0].Status != 204 || !rows[0].Success || rows[1].Status != 500 || rows[1].Success ||
		rows[0].EventID != verified[0][3] || rows[1].EventID != verified[0][3] {
		t.Errorf("the log is %+v", rows)
	}
	if conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+port); err == nil {
		conn.Close()
		t.Error("the receiver still runs")
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
