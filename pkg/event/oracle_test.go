package event_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/primezap/primezap/pkg/event"
)

// oracle is a running JavaScript engine that judges what Normalise does
// (testdata/oracle.mjs). It takes one question at a time.
type oracle struct {
	stdin  io.Writer
	stdout *bufio.Reader
}

// startOracle runs Node until the test ends. Without it the central promise of this
// package is untested, so its absence is a failure.
func startOracle(tb testing.TB) *oracle {
	tb.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		tb.Fatalf("these tests need Node.js on the PATH: %v", err)
	}
	cmd := exec.Command(node, "testdata/oracle.mjs")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatalf("stdin of node: %v", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatalf("stdout of node: %v", err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		tb.Fatalf("start node: %v", err)
	}
	tb.Cleanup(func() {
		_ = stdin.Close() // its loop ends with its input
		if err := cmd.Wait(); err != nil {
			tb.Errorf("node: %v\n%s", err, stderr.String())
		}
	})
	return &oracle{stdin: stdin, stdout: bufio.NewReader(stdout)}
}

// objection asks whether out, or the refusal err, is right for src; "" says it is.
func (o *oracle) objection(tb testing.TB, src, out []byte, err error) string {
	tb.Helper()
	question := struct {
		Src    []byte       `json:"src"`
		Out    []byte       `json:"out"`
		Reason event.Reason `json:"reason"`
	}{Src: src, Out: out}
	if err != nil {
		question.Out, question.Reason = nil, refusal(tb, err).Reason
	}
	line, err := json.Marshal(question)
	if err != nil {
		tb.Fatalf("question: %v", err)
	}
	if _, err := o.stdin.Write(append(line, '\n')); err != nil {
		tb.Fatalf("ask node: %v", err)
	}
	answer, err := o.stdout.ReadBytes('\n')
	if err != nil {
		tb.Fatalf("node's answer: %v", err)
	}
	var objection string
	if err := json.Unmarshal(answer, &objection); err != nil {
		tb.Fatalf("node's answer %q: %v", answer, err)
	}
	return objection
}

// check normalises src and reports whether it was accepted. It fails the test
// unless all that is promised of the result holds.
func (o *oracle) check(tb testing.TB, src []byte) bool {
	tb.Helper()
	out, err := event.Normalise(src)
	if objection := o.objection(tb, src, out, err); objection != "" {
		tb.Errorf("the normal form\n%q of\n%q %s", clip(out), clip(src), objection)
	}
	if err != nil {
		return false
	}
	if !json.Valid(out) || !utf8.Valid(out) {
		tb.Errorf("the normal form\n%q of\n%q is not JSON", clip(out), clip(src))
	}
	again, err := event.Normalise(out)
	if err != nil {
		// An approximate number such as 1e20 comes out as digits, which would be a
		// promise of exactness in a document that was sent to us.
		if e := refusal(tb, err); e.Reason != event.UnsafeInteger {
			tb.Errorf("the normal form\n%q of\n%q is refused itself: %v", clip(out), clip(src), err)
		}
	} else if string(again) != string(out) {
		tb.Errorf("the normal form of\n%q changes when it is normalised, from\n%q to\n%q", clip(src), clip(out), clip(again))
	}
	return true
}

func refusal(tb testing.TB, err error) *event.Error {
	tb.Helper()
	e, ok := errors.AsType[*event.Error](err)
	if !ok {
		tb.Fatalf("the error is a %T: %v", err, err)
	}
	return e
}

func clip(b []byte) []byte {
	const most = 2000
	if len(b) > most {
		return append(b[:most:most], "…"...)
	}
	return b
}
