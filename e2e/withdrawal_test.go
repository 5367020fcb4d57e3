package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/meta/metatest"
)

// Somebody connects their page for two tenants, and takes it back at Meta: from Meta's
// call to the page that says that it is done.
func TestOAuth_Withdrawal(t *testing.T) {
	t.Parallel()
	graph := metatest.New(metatest.Config{AppSecret: appSecret})
	sys := start(t, setup{APIs: 1, Workers: 1, OAuths: 1, OAuthEnv: loginEnv(graph.Start(t))})
	service := sys.OAuths[0]
	base := urlOf(service) + "/oauth/facebook/"
	if err := graph.SetApp(metatest.App{DeauthorizeURL: base + "deauthorize", DeletionURL: base + "data-deletion"}); err != nil {
		t.Fatal(err)
	}
	for name, tell := range map[string]struct {
		call func(user string) (metatest.Answered, error)
		left int // grants
		page string
	}{
		"removing the app": {func(user string) (metatest.Answered, error) {
			return graph.Deauthorize(t.Context(), metatest.Notice{User: user, Padded: true})
		}, 2, "Removal of access completed"},
		"asking for deletion": {func(user string) (metatest.Answered, error) {
			return graph.RequestDeletion(t.Context(), metatest.Notice{User: user})
		}, 0, "Data deletion completed"},
	} {
		user, page := newManager(graph)
		for range 2 {
			tenant := sys.Tenant().Via(service)
			begun, err := tenant.Consent(t.Context(), graph, metatest.Choice{User: user})
			if err != nil {
				t.Fatal(err)
			}
			if err := tenant.Act(t.Context(), begun, http.StatusOK, nil); err != nil {
				t.Fatal(err)
			}
		}
		answered, err := tell.call(user)
		if err != nil || answered.Status != http.StatusOK {
			t.Fatalf("%s: %+v, %v", name, answered, err)
		}
		var told struct{ URL string }
		if err := json.Unmarshal([]byte(answered.Body), &told); err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, func() error {
			res, err := http.Get(told.URL) //nolint:noctx,gosec // the test's end is its end; the service's own URL
			if err != nil {
				return err
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(body), tell.page) {
				return fmt.Errorf("%s: the page answers %d, %w", name, res.StatusCode, err)
			}
			return nil
		})
		if n := sys.Count("SELECT count(*) FROM oauth_grants WHERE user_id = $1", user); n != tell.left {
			t.Errorf("%s: %d grants are left, want %d", name, n, tell.left)
		}
		if n := sys.Count("SELECT (SELECT count(*) FROM oauth_grants WHERE user_id = $1 AND credentials IS NOT NULL) + (SELECT count(*) FROM connections WHERE external_id = $2 AND credentials IS NOT NULL)", user, page); n != 0 {
			t.Errorf("%s: %d tokens are left", name, n)
		}
		if n := sys.Count("SELECT count(*) FROM oauth_withdrawals WHERE user_id IS NOT NULL"); n != 0 {
			t.Errorf("%s: whose it was is still known", name)
		}
	}
}
