package metatest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/metatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second // of what takes milliseconds

// fast is a back-off that tests need not wait for.
var fast = []time.Duration{time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond}

// callback is what webhooks are posted to.
type callback struct {
	URL string

	mu       sync.Mutex
	got      []hook
	statuses []int // of the answers to come; 200 after the last
	verify   string
}

// hook is a webhook that came.
type hook struct {
	Body      []byte
	Signature string
	Answered  int
}

func newCallback(t *testing.T, statuses ...int) *callback {
	c := &callback{statuses: statuses}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.URL = server.URL + "/webhooks/meta"
	return c
}

func (c *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		if q := r.URL.Query(); q.Get("hub.mode") == "subscribe" && q.Get("hub.verify_token") == c.verify {
			_, _ = io.WriteString(w, q.Get("hub.challenge"))
			return
		}
		w.WriteHeader(http.StatusForbidden)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	status := http.StatusOK
	if len(c.statuses) > 0 {
		status, c.statuses = c.statuses[0], c.statuses[1:]
	}
	c.got = append(c.got, hook{body, r.Header.Get("X-Hub-Signature-256"), status})
	w.WriteHeader(status)
}

func (c *callback) hooks() []hook {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.got)
}

// settled waits until all webhooks are done and returns those that came.
func (c *callback) settled(t *testing.T, s *metatest.Server) []hook {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	return c.hooks()
}

// verified fails if a webhook is not signed with the app's secret.
func (h hook) verified(t *testing.T, secret string) {
	t.Helper()
	if !meta.VerifySignature([]string{secret}, h.Signature, h.Body) {
		t.Errorf("the signature %q is not by the secret", h.Signature)
	}
}

// simulated is a server with its URL, and a callback where one was asked for.
type simulated struct {
	*metatest.Server
	url string
}

func start(t *testing.T, cfg metatest.Config) simulated {
	t.Helper()
	if cfg.Backoff == nil {
		cfg.Backoff = fast
	}
	s := metatest.New(cfg)
	return simulated{s, s.Start(t)}
}

// client keeps no connection, which would outlive its test.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

// do calls, and returns what the caller sees.
func (s simulated) do(t *testing.T, method, path, token, body string) (status int, header http.Header, answer []byte, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, answer, err
}

// call is do for what is answered whole: it decodes the answer.
func (s simulated) call(t *testing.T, method, path, token, body string) (status int, answer map[string]any) {
	t.Helper()
	status, _, content, err := s.do(t, method, path, token, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if len(content) > 0 {
		answer = decode(t, content)
	}
	return status, answer
}

func decode(t *testing.T, content []byte) (v map[string]any) {
	t.Helper()
	if err := json.NewDecoder(bytes.NewReader(content)).Decode(&v); err != nil {
		t.Fatalf("%s: %v", content, err)
	}
	return v
}

// at follows names and numbers into JSON; it is nil where that leads nowhere.
func at(v any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			list, _ := v.([]any)
			if step >= len(list) {
				return nil
			}
			v = list[step]
		}
	}
	return v
}

// code is an error's, 0 without one.
func code(answer map[string]any) (code, subcode int) {
	c, _ := at(answer, "error", "code").(float64)
	sub, _ := at(answer, "error", "error_subcode").(float64)
	return int(c), int(sub)
}

const numberPath = "/v25.0/" + metatest.DefaultNumberID + "/messages"

// textTo is a send of a text.
func textTo(to string) string {
	return `{"messaging_product": "whatsapp", "to": "` + to + `", "type": "text", "text": {"body": "oi"}, "biz_opaque_callback_data": "job-1"}`
}

// send sends a text, which must be accepted, and returns its id.
func (s simulated) send(t *testing.T, to string) string {
	t.Helper()
	status, answer := s.call(t, http.MethodPost, numberPath, metatest.DefaultNumberToken, textTo(to))
	id, _ := at(answer, "messages", 0, "id").(string)
	if status != http.StatusOK || id == "" {
		t.Fatalf("a send is answered %d %v", status, answer)
	}
	return id
}
