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
	script := commandsIn(t, "README.md", "walkthrough")
	port := freePort(t)
	if !strings.Contains(script, "127.0.0.1:9000") || !strings.Contains(script, "\nsleep 3\n") || !strings.Contains(script, "\nsleep 1\n") {
		t.Fatal("the walk-through is another one than this test knows")
	}
	// The port may be taken here, and a busy machine needs more than a few seconds.
	commands := strings.NewReplacer("127.0.0.1:9000", "127.0.0.1:"+port, "\nsleep 3\n", "\nsleep 10\n", "\nsleep 1\n", "\nsleep 5\n").Replace(script)
	stdout, stderr := i.paste(t, commands)

	// What the receiver printed, and the answers of curl, one of them the log.
	verified := regexp.MustCompile(`(\d{3}) verified (\S+) (\S+) (\{.*\})`).FindAllStringSubmatch(stdout, -1)
	if len(verified) != 3 || verified[0][1] != "500" || verified[1][1] != "204" || verified[0][2] != "deal.moved" || verified[0][3] != verified[1][3] {
		t.Fatalf("the receiver was to print one webhook twice, answered 500 and 204, and another one:\n%s%s", stdout, stderr)
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
	_, answer, found := strings.Cut(stdout, `{"data":`)
	var rows []struct {
		EventID string
		Attempt int
		Status  int
		Success bool
	}
	if !found || json.NewDecoder(strings.NewReader(answer)).Decode(&rows) != nil {
		t.Fatalf("there is no log:\n%s%s", stdout, stderr)
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

// tryLogin runs the commands with which docs/channels.md tries a login.
func tryLogin(t *testing.T, i *instance) {
	stdout, stderr := i.paste(t, commandsIn(t, "docs/channels.md", "login"))
	var exchanged struct {
		Pages             []struct{ ConnectionID *string }
		InstagramAccounts []struct{ ConnectionID *string }
		Warnings          []struct{ Reason string }
	}
	var subscribed struct{ Success bool }
	var listed struct{ Connections []json.RawMessage }
	answers := json.NewDecoder(strings.NewReader(stdout))
	for _, answer := range []any{&exchanged, &subscribed, &listed} {
		if err := answers.Decode(answer); err != nil {
			t.Fatalf("%v:\n%s%s", err, stdout, stderr)
		}
	}
	if len(exchanged.Pages) != 2 || len(exchanged.InstagramAccounts) != 1 || len(exchanged.Warnings) != 1 ||
		exchanged.Warnings[0].Reason != "page_without_token" || !subscribed.Success || len(listed.Connections) < 3 {
		t.Errorf("the login came to\n%s%s", stdout, stderr)
	}
}

// commandsIn are the commands of a document between <!-- name --> and <!-- /name -->.
func commandsIn(t *testing.T, document, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root(), document))
	if err != nil {
		t.Fatal(err)
	}
	_, part, begins := strings.Cut(string(text), "<!-- "+name+" -->")
	part, _, ends := strings.Cut(part, "<!-- /"+name+" -->")
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(part, -1)
	if !begins || !ends || len(blocks) == 0 {
		t.Fatalf("%s has no commands named %s", document, name)
	}
	var script strings.Builder
	for _, block := range blocks {
		script.WriteString(block[1])
	}
	return script.String()
}

// paste runs commands in one shell, with what the ready line of i says.
func (i *instance) paste(t *testing.T, commands string) (stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", commands)
	cmd.Dir = root()
	cmd.Env = append(os.Environ(), "URL="+i.ready.URL, "API_KEY="+i.ready.APIKey, "META="+i.ready.MetaSimulator)
	cmd.SysProcAttr = processAttr() // a group, with what the commands leave running
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Errorf("%v: %s%s", err, out.String(), errs.String())
		_ = cmd.Cancel()
	}
	return out.String(), errs.String()
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
