package oauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/services/oauth"
)

const (
	portuguesePath = "/integracoes/facebook/callback"
	englishPath    = "/oauth/facebook/callback"
)

// private fails the test unless the answer is a page that lets nothing in but its own
// style and script, and that nobody keeps.
func (a answer) private() {
	a.Helper()
	for name, want := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "unsafe-none",
		"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "X-Robots-Tag": "noindex, nofollow",
	} {
		if got := a.header.Get(name); got != want {
			a.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if vary := strings.Join(a.header.Values("Vary"), ","); !strings.Contains(vary, "Accept-Language") {
		a.Errorf("Vary: %q", vary)
	}
	hash := func(tag string) string {
		inside := regexp.MustCompile(`(?s)<` + tag + `>(.*?)</` + tag + `>`).FindSubmatch(a.body)
		if inside == nil {
			return "'none'"
		}
		sum := sha256.Sum256(inside[1])
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	want := "default-src 'none'; script-src " + hash("script") + "; style-src " + hash("style") + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	if got := a.header.Get("Content-Security-Policy"); got != want {
		a.Errorf("Content-Security-Policy: %q, want %q", got, want)
	}
}

// heading is the first one of a page, in the language that comes first.
func (a answer) heading() string {
	found := regexp.MustCompile(`<h1>(.*?)</h1>`).FindSubmatch(a.body)
	if found == nil {
		return ""
	}
	return string(found[1])
}

func TestCallback(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *oauth.Config) {
		c.CORSOrigins = config.List{"*", "https://app.example.com", "http://localhost:5173"}
	})
	t.Run("is the same whatever the URL says, and nothing of that is logged", func(t *testing.T) {
		plain := f.do(http.MethodGet, portuguesePath, "").is(http.StatusOK)
		plain.private()
		for _, query := range []string{
			"?code=AQDa-code_that-nobody.may%23see&state=AQDa-state",
			"?error=AQDa-error&error_reason=%3Cscript%3E&error_description=AQDa-why&state=AQDa-state",
			"?code=AQDa-1&code=AQDa-2&anything=AQDa-else",
			"?code=AQDa-%zz;AQDa",
		} {
			a := f.do(http.MethodGet, portuguesePath+query, "").is(http.StatusOK)
			a.private()
			if string(a.body) != string(plain.body) {
				t.Errorf("%s: another page", query)
			}
			for name, values := range a.header {
				if strings.Contains(strings.Join(values, " "), "AQDa") {
					t.Errorf("%s: header %s", query, name)
				}
			}
		}
		if logged := f.logs.String(); !strings.Contains(logged, portuguesePath) || strings.Contains(logged, "AQDa") {
			t.Errorf("logged:\n%s", logged)
		}
	})

	t.Run("is for the origins that are named, and for no pattern", func(t *testing.T) {
		a := f.do(http.MethodGet, englishPath, "").is(http.StatusOK)
		if want := ` data-targets="https://app.example.com http://localhost:5173">`; !strings.Contains(string(a.body), want) {
			t.Errorf("the page has no %s", want)
		}
	})

	t.Run("says first what the reader reads", func(t *testing.T) {
		for _, tc := range []struct{ path, accept, language, heading string }{
			{portuguesePath, "", "pt-BR", "Concluindo a conexão…"},
			{englishPath, "", "en", "Finishing the connection…"},
			{portuguesePath, "en-GB,en;q=0.9", "en", "Finishing the connection…"},
			{englishPath, "de, pt-PT;q=0.8, en;q=0.7", "pt-BR", "Concluindo a conexão…"},
			{englishPath, "pt;q=0.1, en;q=0.7", "en", "Finishing the connection…"},
			{portuguesePath, "ja", "pt-BR", "Concluindo a conexão…"},
			{englishPath, "\xff;;=", "en", "Finishing the connection…"},
		} {
			a := f.do(http.MethodGet, tc.path, "", "Accept-Language", tc.accept).is(http.StatusOK)
			if got := a.header.Get("Content-Language"); got != tc.language || a.heading() != tc.heading {
				t.Errorf("%s in %q: %s, %q", tc.path, tc.accept, got, a.heading())
			}
			for _, both := range []string{`lang="pt-BR"`, `lang="en"`} {
				if !strings.Contains(string(a.body), both) {
					t.Errorf("nothing is in %s", both)
				}
			}
		}
	})

	t.Run("answers HEAD as GET", func(t *testing.T) {
		for _, path := range []string{portuguesePath, englishPath} {
			a := f.do(http.MethodHead, path+"?code=x", "").is(http.StatusOK)
			if len(a.body) > 0 || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d bytes, %v", len(a.body), a.header)
			}
		}
	})
}
