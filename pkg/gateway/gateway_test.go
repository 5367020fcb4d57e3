package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	contract "github.com/primezap/primezap/api"
	"github.com/primezap/primezap/pkg/gateway"
)

// service returns who answers a request, and the path that it saw.
func service(t *testing.T, target string) (name, path string) {
	t.Helper()
	answers := func(service string) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { name, path = service, r.URL.Path })
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	gateway.New(answers("api"), answers("oauth")).ServeHTTP(httptest.NewRecorder(), r)
	return name, path
}

func TestNew(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"/api/oauth/facebook":                       "oauth",
		"/api/oauth/":                               "oauth",
		"/functions/v1/facebook-oauth":              "oauth",
		"/integracoes/facebook/callback":            "oauth",
		"/oauth/facebook/callback?code=/api/events": "oauth",
		"/api/oauth":                                "api",
		"/api/oauthx":                               "api",
		"/api/events":                               "api",
		"/api/events?x=/api/oauth/":                 "api",
		"/webhooks/meta":                            "api",
		"/healthz":                                  "api",
		"/readyz":                                   "api",
		"/oauth":                                    "api",
		"/":                                         "api",
		"/nothing":                                  "api",
		"//api/oauth/facebook":                      "api",
		"/API/OAUTH/facebook":                       "api",
		"/x/../api/oauth/facebook":                  "api",
	} {
		t.Run(target+" is the "+want+"'s", func(t *testing.T) {
			t.Parallel()
			name, path := service(t, "http://gateway"+target)
			if asked, _, _ := strings.Cut(target, "?"); name != want || path != asked {
				t.Errorf("the %s got %s", name, path)
			}
		})
	}
}

// Every operation is served by the service that its tag names.
func TestNew_FollowsTheContract(t *testing.T) {
	t.Parallel()
	var document struct {
		Paths map[string]map[string]yaml.Node
	}
	if err := yaml.Unmarshal(contract.OpenAPI, &document); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]int)
	for path, methods := range document.Paths {
		for method, node := range methods {
			if method == "parameters" {
				continue
			}
			var operation struct{ Tags []string }
			if err := node.Decode(&operation); err != nil {
				t.Fatal(err)
			}
			want := "api"
			if slices.Contains(operation.Tags, "oauth") {
				want = "oauth"
			}
			if name, _ := service(t, "http://gateway"+strings.NewReplacer("{", "", "}", "").Replace(path)); name != want {
				t.Errorf("%s %s, of %v, is given to the %s", method, path, operation.Tags, name)
			}
			seen[want]++
		}
	}
	if seen["api"] == 0 || seen["oauth"] == 0 {
		t.Errorf("the contract has %v operations", seen)
	}
}

func TestOAuth(t *testing.T) {
	t.Parallel()
	t.Run("is what operators are told", func(t *testing.T) {
		t.Parallel()
		text, err := os.ReadFile("../../docs/operations.md")
		if err != nil {
			t.Fatal(err)
		}
		var quoted []string
		for _, prefix := range gateway.OAuth() {
			quoted = append(quoted, "`"+prefix+"`")
		}
		if list := strings.Join(quoted, ", "); !strings.Contains(string(text), list) {
			t.Errorf("docs/operations.md does not list %s", list)
		}
	})
	t.Run("is nobody's to change", func(t *testing.T) {
		t.Parallel()
		gateway.OAuth()[0] = "/"
		if name, _ := service(t, "http://gateway/api/events"); name != "api" {
			t.Errorf("events are given to the %s", name)
		}
	})
}
