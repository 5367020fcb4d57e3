package metatest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/primezap/primezap/pkg/meta/metatest"
)

func TestServer_Page(t *testing.T) {
	t.Parallel()
	s := start(t, metatest.Config{CallbackURL: "http://127.0.0.1:1/webhooks/meta", AppSecret: "app-secret-1", VerifyToken: "verify-token-1"})
	s.AddPerson(metatest.Person{Name: `<script>alert("x")</script>`, PSID: "1"})
	read := func(t *testing.T, path string) (string, http.Header) {
		t.Helper()
		status, header, body, err := s.do(t, http.MethodGet, path, "", "")
		if err != nil || status != http.StatusOK {
			t.Fatalf("answered %d (%v)", status, err)
		}
		return string(body), header
	}
	for lang, says := range map[string]string{"en": "SIMULATED: this is not Meta", "pt-BR": "SIMULADO: esta não é a Meta"} {
		t.Run("says in "+lang+" that all is simulated, and what there is", func(t *testing.T) {
			t.Parallel()
			page, header := read(t, "/?lang="+lang)
			for _, part := range []string{
				says, `<html lang="` + lang + `">`, metatest.DefaultNumberID, metatest.DefaultPageToken, metatest.DefaultAccountID, "http://127.0.0.1:1/webhooks/meta",
				"POST /simulate/message", "&#34;target&#34;: &#34;wamid.", "nfm_reply", "story_mention",
			} {
				if !strings.Contains(page, part) {
					t.Errorf("lacks %q", part)
				}
			}
			if header.Get("Content-Language") != lang {
				t.Errorf("is said to be in %q", header.Get("Content-Language"))
			}
			if empty := regexp.MustCompile(`<(th|h1|h2|h3|title)>\s*<`).FindString(page); empty != "" || strings.Contains(page, "&lt;no value") {
				t.Errorf("a word is missing at %s", empty)
			}
			for _, never := range []string{"<script", "app-secret-1", "verify-token-1"} {
				if strings.Contains(page, never) {
					t.Errorf("shows %s", never)
				}
			}
		})
	}
	t.Run("takes nothing from elsewhere, and runs nothing", func(t *testing.T) {
		t.Parallel()
		page, header := read(t, "/")
		_, rest, _ := strings.Cut(page, "<style>")
		style, _, _ := strings.Cut(rest, "</style>")
		sum := sha256.Sum256([]byte(style))
		policy := header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"';") || strings.Contains(policy, "unsafe") {
			t.Errorf("the policy %q does not fit the style", policy)
		}
		tokens := html.NewTokenizer(strings.NewReader(page))
		for kind := tokens.Next(); kind != html.ErrorToken; kind = tokens.Next() {
			for _, attribute := range tokens.Token().Attr {
				if attribute.Key == "src" || attribute.Key == "style" || strings.HasPrefix(attribute.Key, "on") || attribute.Key == "href" && !strings.HasPrefix(attribute.Val, "/?lang=") {
					t.Errorf("has the attribute %s=%q", attribute.Key, attribute.Val)
				}
			}
		}
	})
}
