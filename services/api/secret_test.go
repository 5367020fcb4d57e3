package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRegenerateSecret(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	const first = "a secret of the customer's own"
	h := f.newHook(`,"secret":"` + first + `"`)
	path := hooksPath + "/" + h.ID.String() + "/regenerate-secret"
	regenerate := func(body string, previous string, grace time.Duration) hook {
		t.Helper()
		got := into[hook](f.do("POST", path, body).is(http.StatusOK))
		row := f.row(h.ID)
		if !strings.HasPrefix(got.Secret, "whsec_") || got.Secret == previous || got.SecretHint != "whsec_…"+got.Secret[len(got.Secret)-4:] ||
			got.SecretHint != row.SecretHint || f.unseal(row, row.Secret, "secret") != got.Secret || got.Name != h.Name || !got.Retry.AutoRecover {
			t.Errorf("%s: answered %+v", body, got)
		}
		if grace == 0 {
			if row.PreviousSecret != nil || row.PreviousSecretUntil != nil {
				t.Errorf("%s: a secret signs on", body)
			}
			return got
		}
		if f.unseal(row, row.PreviousSecret, "secret") != previous {
			t.Errorf("%s: another secret signs beside the new one", body)
		}
		if left := time.Until(*row.PreviousSecretUntil); left > grace || left < grace-time.Minute {
			t.Errorf("%s: the old secret signs for %s more, want %s", body, left, grace)
		}
		return got
	}
	second := regenerate("", first, 24*time.Hour).Secret
	third := regenerate(`{"gracePeriodSeconds":60}`, second, time.Minute).Secret // ends the grace of the first
	fourth := regenerate(`{"gracePeriodSeconds":604800}`, third, 7*24*time.Hour).Secret
	fifth := regenerate(`{"gracePeriodSeconds":null}`, fourth, 24*time.Hour).Secret
	sixth := regenerate(`{}`, fifth, 24*time.Hour).Secret
	regenerate(`{"gracePeriodSeconds":0}`, sixth, 0)

	if shown := into[hook](f.do("GET", hooksPath+"/"+h.ID.String(), "")); shown.Secret != "" {
		t.Error("the secret is shown again")
	}
	before := f.row(h.ID)
	for _, body := range []string{`{"gracePeriodSeconds":-1}`, `{"gracePeriodSeconds":604801}`, `{"gracePeriodSeconds":"1"}`, `{"gracePeriodSeconds":1.5}`} {
		f.do("POST", path, body).refuses(422, "/gracePeriodSeconds")
	}
	f.do("POST", path, `{"grace":1}`).refuses(422, "/grace")
	f.do("POST", path, `{`).refuses(400)
	if after := f.row(h.ID); after.Generation != before.Generation {
		t.Error("what was refused changed the webhook")
	}
}

// Each of several at once replaces the secret of another one: they form a chain,
// of which the last signs, and the last but one beside it.
func TestRegenerateSecret_AtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	h := f.newHook("")
	path := hooksPath + "/" + h.ID.String()
	const n = 8
	var all sync.WaitGroup
	answers := make(chan hook, n)
	for range n {
		all.Go(func() { answers <- into[hook](f.do("POST", path+"/regenerate-secret", "")) })
	}
	all.Wait()
	close(answers)
	hints := map[string]string{} // of the secrets that were answered
	for a := range answers {
		hints[a.SecretHint] = a.Secret
	}
	if len(hints) != n {
		t.Fatalf("%d different secrets were answered, want %d", len(hints), n)
	}
	entries := f.audit("?action=webhook.secret_regenerated")
	if len(entries) != n {
		t.Fatalf("%d entries, want %d", len(entries), n)
	}
	next := map[string]string{}
	for _, e := range entries {
		next[hint(t, e.Before)] = hint(t, e.After)
	}
	at := h.SecretHint
	var last string
	for range n {
		last, at = at, next[at]
	}
	row := f.row(h.ID)
	if row.SecretHint != at || f.unseal(row, row.Secret, "secret") != hints[at] || f.unseal(row, row.PreviousSecret, "secret") != hints[last] {
		t.Errorf("the chain ends at %s after %s, the webhook signs with %s", at, last, row.SecretHint)
	}
}

// hint is the hint of the secret that a webhook had, as the audit log shows it.
func hint(t *testing.T, state json.RawMessage) string {
	t.Helper()
	var shown struct{ SecretHint string }
	if err := json.Unmarshal(state, &shown); err != nil {
		t.Fatal(err)
	}
	return shown.SecretHint
}
