package metatest_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/metatest"
)

// Each fault as the product's client sees it.
func TestServer_Faults(t *testing.T) {
	t.Parallel()
	const ana, davi = "+5511900000001", "+5511900000002"
	path := meta.Path{metatest.DefaultNumberID, "messages"}
	body := func(to string) any {
		return map[string]any{"messaging_product": "whatsapp", "to": to, "type": "text", "text": map[string]any{"body": "oi"}}
	}
	// faulty is a server with a fault, and what its client gets for a send.
	faulty := func(t *testing.T, f metatest.Fault, timeout time.Duration) (s simulated, send func(to string) (*meta.Response, error)) {
		t.Helper()
		s = start(t, metatest.Config{})
		if _, err := s.Inject(f); err != nil {
			t.Fatal(err)
		}
		c := clientOf(t, s, timeout)
		return s, func(to string) (*meta.Response, error) {
			return c.Post(t.Context(), metatest.DefaultNumberToken, path, nil, body(to))
		}
	}

	t.Run("an error comes for the next calls, and nothing is done", func(t *testing.T) {
		t.Parallel()
		s, send := faulty(t, metatest.Fault{Kind: metatest.FaultError, Next: 2, Error: &metatest.GraphError{Code: 131000, Subcode: 7, Transient: true, Status: 503}}, patience)
		for range 2 {
			_, err := send(ana)
			failed, ok := errors.AsType[*meta.Error](err)
			if !ok || failed.Code != 131000 || failed.Subcode != 7 || !failed.Transient || failed.Status != 503 || failed.Class != meta.Retryable || failed.FBTraceID == "" {
				t.Errorf("the client gets %v", err)
			}
		}
		if _, err := send(ana); err != nil || len(s.Sent()) != 1 || len(s.Faults()) != 0 {
			t.Errorf("after them the client gets %v; recorded %v", err, s.Sent())
		}
	})
	t.Run("an answer quotes what the call brought, as an error or as no JSON", func(t *testing.T) {
		t.Parallel()
		for name, failed := range map[string]*metatest.GraphError{"an error": {Code: 100}, "no JSON": nil} {
			s := start(t, metatest.Config{})
			if _, err := s.Inject(metatest.Fault{Kind: metatest.FaultEcho, Next: 1, Error: failed}); err != nil {
				t.Fatal(err)
			}
			_, _, body, err := s.do(t, http.MethodGet, "/me?secret=the-parameter", metatest.DefaultUserToken, "")
			quotes := strings.Contains(string(body), "the-parameter") && strings.Contains(string(body), metatest.DefaultUserToken)
			if err != nil || !quotes || json.Valid(body) != (failed != nil) {
				t.Errorf("%s: answered %s (%v)", name, body, err)
			}
		}
	})
	t.Run("a share of calls fails", func(t *testing.T) {
		t.Parallel()
		s, send := faulty(t, metatest.Fault{Kind: metatest.FaultError, Share: 0.5, Error: &metatest.GraphError{Code: 2}}, patience)
		const calls = 100
		failed := 0
		for range calls {
			if _, err := send(ana); err != nil {
				failed++
			}
		}
		if failed < calls/5 || failed > calls*4/5 || len(s.Sent()) != calls-failed { // 1 in 10⁹ misses that
			t.Errorf("%d of %d calls failed, %d are recorded", failed, calls, len(s.Sent()))
		}
		s.ClearFaults()
		if _, err := send(ana); err != nil {
			t.Errorf("cleared: %v", err)
		}
	})
	t.Run("a fault meets the calls that it is for", func(t *testing.T) {
		t.Parallel()
		s, send := faulty(t, metatest.Fault{Kind: metatest.FaultError, Next: 1, Call: "send", Object: metatest.DefaultNumberID, To: ana, Error: &metatest.GraphError{Code: 131056}}, patience)
		if status, _ := s.call(t, http.MethodGet, "/v25.0/"+metatest.DefaultNumberID, metatest.DefaultNumberToken, ""); status != http.StatusOK {
			t.Errorf("a read is answered %d", status)
		}
		if _, err := send(davi); err != nil {
			t.Errorf("to another person: %v", err)
		}
		_, err := send(ana)
		if failed, ok := errors.AsType[*meta.Error](err); !ok || failed.Class != meta.RateLimitedRecipient {
			t.Errorf("to the person: %v", err)
		}
	})
	t.Run("a reset before acceptance leaves the outcome unknown, and nothing done", func(t *testing.T) {
		t.Parallel()
		s, send := faulty(t, metatest.Fault{Kind: metatest.FaultReset, Next: 1}, patience)
		if _, err := send(ana); !errors.Is(err, meta.ErrOutcomeUnknown) || len(s.Sent()) != 0 {
			t.Errorf("the client gets %v; recorded %v", err, s.Sent())
		}
	})
	t.Run("a lost answer leaves the outcome unknown, and all done", func(t *testing.T) {
		t.Parallel()
		s, send := faulty(t, metatest.Fault{Kind: metatest.FaultLostAnswer, Next: 1}, patience)
		_, err := send(ana)
		if sent := s.Sent(); !errors.Is(err, meta.ErrOutcomeUnknown) || len(sent) != 1 || sent[0].Answered {
			t.Errorf("the client gets %v; recorded %+v", err, sent)
		}
	})
	t.Run("malformed JSON leaves the outcome unknown, and all done", func(t *testing.T) {
		t.Parallel()
		s, send := faulty(t, metatest.Fault{Kind: metatest.FaultMalformed, Next: 1}, patience)
		if _, err := send(ana); !errors.Is(err, meta.ErrOutcomeUnknown) || len(s.Sent()) != 1 {
			t.Errorf("the client gets %v; recorded %v", err, s.Sent())
		}
	})
	t.Run("a slow body comes whole to who waits, and not to who does not", func(t *testing.T) {
		t.Parallel()
		s, send := faulty(t, metatest.Fault{Kind: metatest.FaultSlowBody, Delay: metatest.Ms(50 * time.Millisecond), Next: 1}, patience)
		began := time.Now()
		if _, err := send(ana); err != nil || time.Since(began) < 50*time.Millisecond || len(s.Sent()) != 1 {
			t.Errorf("the client gets %v after %s", err, time.Since(began))
		}
		s, send = faulty(t, metatest.Fault{Kind: metatest.FaultSlowBody, Delay: metatest.Ms(time.Hour), Next: 1}, 100*time.Millisecond)
		if _, err := send(ana); !errors.Is(err, meta.ErrOutcomeUnknown) || len(s.Sent()) != 1 {
			t.Errorf("the client gets %v; recorded %v", err, s.Sent())
		}
	})
	t.Run("a page of HTML is no answer of the Graph API", func(t *testing.T) {
		t.Parallel()
		s, send := faulty(t, metatest.Fault{Kind: metatest.FaultHTML, Next: 1}, patience)
		_, err := send(ana)
		if failed, ok := errors.AsType[*meta.Error](err); !ok || failed.Status != 500 || failed.Coded || len(s.Sent()) != 0 {
			t.Errorf("the client gets %v; recorded %v", err, s.Sent())
		}
	})
	t.Run("latency is added to an answer", func(t *testing.T) {
		t.Parallel()
		_, send := faulty(t, metatest.Fault{Kind: metatest.FaultLatency, Delay: metatest.Ms(50 * time.Millisecond), Next: 1}, patience)
		began := time.Now()
		if _, err := send(ana); err != nil || time.Since(began) < 50*time.Millisecond {
			t.Errorf("the client gets %v after %s", err, time.Since(began))
		}
		s := start(t, metatest.Config{Latency: time.Hour})
		if _, err := clientOf(t, s, 50*time.Millisecond).Post(t.Context(), metatest.DefaultNumberToken, path, nil, body(ana)); !errors.Is(err, meta.ErrOutcomeUnknown) || len(s.Sent()) != 0 {
			t.Errorf("the client gets %v; recorded %v", err, s.Sent())
		}
	})
	t.Run("a message may fail after it was accepted", func(t *testing.T) {
		t.Parallel()
		back := newCallback(t)
		s, send := faulty(t, metatest.Fault{Kind: metatest.FaultFailed, Next: 1, Error: &metatest.GraphError{Code: 131053}}, patience)
		s.SetCallback(back.URL)
		if _, err := send(ana); err != nil {
			t.Fatal(err)
		}
		hooks := back.settled(t, s.Server)
		if len(hooks) != 1 {
			t.Fatalf("%d webhooks came", len(hooks))
		}
		st := at(decode(t, hooks[0].Body), "entry", 0, "changes", 0, "value", "statuses", 0)
		if at(st, "status") != "failed" || at(st, "errors", 0, "code") != 131053.0 {
			t.Errorf("the status is %v", st)
		}
	})
	t.Run("a fault that says nothing is refused", func(t *testing.T) {
		t.Parallel()
		s := start(t, metatest.Config{})
		for want, f := range map[string]metatest.Fault{
			"kind": {Kind: "flood", Next: 1}, "code": {Kind: metatest.FaultError, Next: 1}, "next or share": {Kind: metatest.FaultReset},
			"share must be": {Kind: metatest.FaultReset, Share: 2}, "status": {Kind: metatest.FaultError, Next: 1, Error: &metatest.GraphError{Code: 1, Status: 200}},
		} {
			if _, err := s.Inject(f); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error %v, want one of %q", f, err, want)
			}
		}
	})
}
