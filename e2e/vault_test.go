package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/primezap/primezap/pkg/vault"
)

// TestVaultRotation replaces the vault's key as docs/operations.md says, while
// webhooks are edited and events delivered. In the end nothing is under the old
// key, processes that do not have it any more open everything, and each webhook
// has what was edited last.
func TestVaultRotation(t *testing.T) {
	t.Parallel()
	sys := start(t, setup{APIs: 1, Workers: 1})
	tenant, r := sys.Tenant(), newReceiver(t)
	var hooks []*edited
	for range 8 {
		e := r.Endpoint()
		hook := tenant.SubscribeWith(e, webhookInput{Events: []string{"*"}, Headers: map[string]string{"X-Token": "first"}})
		e.VerifyWith("") // which secret signs is a matter of the moment, until the end
		hooks = append(hooks, &edited{id: hook.ID, endpoint: e, secret: hook.Secret, token: "first"})
	}

	// One that nobody edits: its secret is sealed again by the job alone.
	untouched := &edited{endpoint: r.Endpoint(), token: "first", edits: -1}
	hook := tenant.SubscribeWith(untouched.endpoint, webhookInput{Events: []string{"*"}, Headers: map[string]string{"X-Token": "first"}})
	untouched.id, untouched.secret = hook.ID, hook.Secret

	var current atomic.Pointer[client] // whom edits are sent to
	current.Store(tenant)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- keepEditing(ctx, &current, hooks) }()
	defer stop()

	keys := []byte(sys.keyset)
	workers, apis := sys.Workers[0], sys.APIs[0]
	deploy := func(change func([]byte) ([]byte, error)) {
		t.Helper()
		var err error
		if keys, err = change(keys); err != nil {
			t.Fatal(err)
		}
		// Both run for a moment: the first to be replaced is not the first that seals.
		api := sys.StartAPI("VAULT_KEYSET=" + string(keys))
		tenant = tenant.Via(api)
		current.Store(tenant)
		worker := sys.StartWorker("VAULT_KEYSET=" + string(keys))
		id := tenant.Publish("deal.moved")
		for _, h := range hooks {
			h.endpoint.AwaitEvent(t, id, 1, soon)
		}
		for _, old := range []*process{workers, apis} {
			old.Terminate()
			old.AwaitExit(exitWithin)
		}
		workers, apis = worker, api
	}
	open := func() *vault.Vault {
		t.Helper()
		v, err := vault.Open(keys)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	old := open().PrimaryKeyID()
	deploy(vault.AddKey)
	deploy(vault.PromoteKey)
	prefix := open().Prefixes()[0]
	eventually(t, soon, func() error {
		n, err := sys.count(`SELECT count(*) FROM webhooks, unnest(ARRAY[secret, previous_secret, headers]) AS sealed
			WHERE substring(sealed FROM 1 FOR 5) <> $1`, prefix)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d ciphertexts are under the old key", n)
		}
		return err
	})
	deploy(func(keys []byte) ([]byte, error) { return vault.RemoveKey(keys, old) })
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}

	id := tenant.Publish("deal.moved")
	for _, h := range append(hooks, untouched) {
		d := h.endpoint.AwaitEvent(t, id, 1, soon)[0]
		if err := d.Verify(h.secret); err != nil {
			t.Errorf("webhook %s after %d edits: %v", h.id, h.edits, err)
		}
		if got := d.Header.Get("X-Token"); got != h.token {
			t.Errorf("webhook %s after %d edits: its header has the value %q, want %q", h.id, h.edits, got, h.token)
		}
		if h.edits == 0 {
			t.Errorf("webhook %s was not edited", h.id)
		}
	}
}

// edited is a webhook that somebody edits over and over.
type edited struct {
	id       string
	endpoint *endpoint
	edits    int
	secret   string // as of the last edit
	token    string // its header's value
}

// keepEditing edits hooks in turn until ctx ends.
func keepEditing(ctx context.Context, current *atomic.Pointer[client], hooks []*edited) error {
	for n := 0; ctx.Err() == nil; n++ {
		h, c := hooks[n%len(hooks)], current.Load()
		path := "/api/custom-webhooks/" + h.id
		whole := context.WithoutCancel(ctx) // an edit is made, or it is not begun
		var err error
		switch n / len(hooks) % 4 {
		case 0:
			secret := fmt.Sprintf("the secret of edit %06d", n)
			if err = c.Do(whole, http.MethodPatch, path, map[string]any{"secret": secret}, http.StatusOK, nil); err == nil {
				h.secret = secret
			}
		case 1:
			token := fmt.Sprintf("token of edit %06d", n)
			if err = c.Do(whole, http.MethodPatch, path, map[string]any{"headers": map[string]string{"X-Token": token}}, http.StatusOK, nil); err == nil {
				h.token = token
			}
		case 2:
			err = c.Do(whole, http.MethodPatch, path, map[string]any{"headers": map[string]string{"x-token": "••••"}, "name": fmt.Sprint("edit ", n)}, http.StatusOK, nil)
		case 3:
			var hook webhookInfo
			if err = c.Do(whole, http.MethodPost, path+"/regenerate-secret", nil, http.StatusOK, &hook); err == nil {
				h.secret = hook.Secret
			}
		}
		if err != nil {
			return fmt.Errorf("edit %d: %w", n, err)
		}
		h.edits++
	}
	return nil
}
