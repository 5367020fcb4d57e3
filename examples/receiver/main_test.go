package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/webhook"
)

const (
	id   = "0199ffa0-1c00-7100-8a00-3f2b6d1e9c00"
	body = `{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{}}`
)

// deliver sends sent to r with the signatures of signed, and returns the status.
func deliver(t *testing.T, r *receiver, secret, signed, sent string) int {
	t.Helper()
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodPost, "/anywhere", strings.NewReader(sent))
	signer.Sign(req.Header, id, "deal.moved", time.Now(), []byte(signed))
	answer := httptest.NewRecorder()
	r.ServeHTTP(answer, req)
	return answer.Code
}

func TestReceiver_ServeHTTP(t *testing.T) {
	t.Parallel()
	secret := webhook.NewSecret()
	for _, tc := range []struct {
		name         string
		signedWith   string
		signed, sent string
		status       int
		line         string // what is printed after the time; nothing when empty
	}{
		{
			name: "a webhook signed with the secret is verified", signedWith: secret, signed: body, sent: body,
			status: http.StatusNoContent, line: "204 verified deal.moved " + id + " " + body,
		},
		{
			name: "another secret is refused", signedWith: webhook.NewSecret(), signed: body, sent: body,
			status: http.StatusUnauthorized, line: "401 NOT VERIFIED",
		},
		{
			name: "a stranger's control characters are quoted", signedWith: secret, signed: body, sent: "\x1b[2J\n204 verified",
			status: http.StatusUnauthorized, line: `"\x1b[2J\n204 verified"`,
		},
		{
			name: "a body beyond 1 MiB is not read", signedWith: secret, signed: "", sent: strings.Repeat("x", maxBody+1),
			status: http.StatusBadRequest,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if got := deliver(t, newReceiver(secret, 0, &out), tc.signedWith, tc.signed, tc.sent); got != tc.status {
				t.Errorf("answered %d, want %d", got, tc.status)
			}
			if tc.line == "" {
				if out.Len() > 0 {
					t.Errorf("printed %q, want nothing", &out)
				}
				return
			}
			line := regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3} (.*)\n$`).FindStringSubmatch(out.String())
			if line == nil || !strings.Contains(line[1], tc.line) {
				t.Errorf("printed %q, want one line with %q", &out, tc.line)
			}
		})
	}
}

func TestReceiver_FailsTheFirst(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	secret := webhook.NewSecret()
	r := newReceiver(secret, 2, &out)
	statuses := []int{deliver(t, r, webhook.NewSecret(), body, body)} // not counted
	for range 3 {
		statuses = append(statuses, deliver(t, r, secret, body, body))
	}
	if want := []int{401, 500, 500, 204}; !slices.Equal(statuses, want) {
		t.Errorf("answered %v, want %v", statuses, want)
	}
	if got := strings.Count(out.String(), "500 verified"); got != 2 {
		t.Errorf("%d lines say 500, want 2:\n%s", got, &out)
	}
}

func TestReceiver_RefusesOtherMethods(t *testing.T) {
	t.Parallel()
	answer := httptest.NewRecorder()
	newReceiver(webhook.NewSecret(), 0, &bytes.Buffer{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	if answer.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET answered %d, want %d", answer.Code, http.StatusMethodNotAllowed)
	}
}
