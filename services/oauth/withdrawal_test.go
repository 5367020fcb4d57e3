package oauth_test

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta/metatest"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/services/oauth"
)

const (
	deauthorizePath = "/oauth/facebook/deauthorize"
	deletionPath    = "/oauth/facebook/data-deletion"
	formType        = "application/x-www-form-urlencoded"
)

// told is what Meta is answered.
type told struct {
	URL  string `json:"url"`
	Code string `json:"confirmation_code"`
}

// tell posts a signed request, as Meta does.
func (f *fixture) tell(path string, n metatest.Notice, headers ...string) answer {
	f.Helper()
	form := url.Values{"signed_request": {f.graph.SignedRequest(n)}}
	return f.do(http.MethodPost, path, form.Encode(), append([]string{"Content-Type", formType}, headers...)...)
}

func TestWithdrawal_Take(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	issued := time.Now().Add(-time.Hour).Truncate(time.Second)

	t.Run("is kept with the job that does it, and answered with a page and its code", func(t *testing.T) {
		for path, kind := range map[string]string{deauthorizePath: "deauthorize", deletionPath: "deletion"} {
			a := f.tell(path, metatest.Notice{User: "7001", IssuedAt: issued}).is(http.StatusOK)
			got := into[told](a)
			if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(got.Code) || got.URL != f.server.URL+deletionPath+"/"+got.Code {
				t.Errorf("answered %+v", got)
			}
			if a.header.Get("Cache-Control") != "no-store" {
				t.Error("the answer may be kept")
			}
			if n := f.count(`oauth_withdrawals w JOIN river_job j ON j.args = jsonb_build_object('id', w.id) AND j.kind = 'grant_withdrawal'
				WHERE w.code = $1 AND w.kind = $2 AND w.user_id = '7001' AND w.issued_at = $3`, got.Code, kind, issued); n != 1 {
				t.Errorf("%d rows with a job", n)
			}
		}
	})

	t.Run("is the same however often and in whichever form it comes", func(t *testing.T) {
		before := f.count("river_job WHERE kind = 'grant_withdrawal'")
		notices := []metatest.Notice{
			{User: "7002", IssuedAt: issued}, {User: "7002", IssuedAt: issued, Padded: true}, {User: "7002", IssuedAt: issued, NumericID: true},
		}
		codes := make([]string, 9)
		var wg sync.WaitGroup
		for i := range codes {
			wg.Go(func() { codes[i] = into[told](f.tell(deletionPath, notices[i%3])).Code })
		}
		wg.Wait()
		for _, code := range codes {
			if code != codes[0] || code == "" {
				t.Fatalf("codes %q", codes)
			}
		}
		if n := f.count("river_job WHERE kind = 'grant_withdrawal'") - before; n != 1 {
			t.Errorf("%d jobs", n)
		}
		for name, other := range map[string]answer{
			"another time": f.tell(deletionPath, metatest.Notice{User: "7002", IssuedAt: issued.Add(time.Second)}),
			"another user": f.tell(deletionPath, metatest.Notice{User: "7003", IssuedAt: issued}),
			"another kind": f.tell(deauthorizePath, metatest.Notice{User: "7002", IssuedAt: issued}),
		} {
			if into[told](other.is(http.StatusOK)).Code == codes[0] {
				t.Errorf("%s has the same code", name)
			}
		}
	})

	t.Run("issued in the future counts as issued now", func(t *testing.T) {
		f.tell(deauthorizePath, metatest.Notice{User: "7004", IssuedAt: time.Now().Add(48 * time.Hour)}).is(http.StatusOK)
		if n := f.count("oauth_withdrawals WHERE user_id = '7004' AND issued_at > now()"); n != 0 {
			t.Error("it would end logins to come")
		}
	})

	t.Run("is refused where it is not Meta's, or cannot be read", func(t *testing.T) {
		before := f.count("oauth_withdrawals")
		signed := f.graph.SignedRequest(metatest.Notice{User: "7005"})
		field := func(value string) string { return url.Values{"signed_request": {value}}.Encode() }
		for _, tc := range []struct {
			name, body, media string
			status            int
			pointers          []string
		}{
			{name: "another secret", body: field(f.graph.SignedRequest(metatest.Notice{User: "1", Secret: "another"})), status: 401},
			{name: "no signature", body: field("." + strings.Split(signed, ".")[1]), status: 401},
			{name: "no dot", body: field("abc"), status: 401},
			{name: "a changed text", body: field(signed[:len(signed)-4] + "AAAA"), status: 401},
			{name: "another algorithm", body: field(f.graph.SignedRequest(metatest.Notice{User: "1", Algorithm: "none"})), status: 400},
			{name: "a user that is none", body: field(f.graph.SignedRequest(metatest.Notice{User: "x"})), status: 400},
			{name: "no form", body: "signed_request=%zz", status: 400},
			{name: "no field", body: "signed=x", status: 422, pointers: []string{"/signed_request"}},
			{name: "an empty field", body: "signed_request=", status: 422, pointers: []string{"/signed_request"}},
			{name: "no body", status: 422, pointers: []string{"/signed_request"}},
			{name: "a field twice", body: field(signed) + "&" + field(signed), status: 422, pointers: []string{"/signed_request"}},
			{name: "a field that is too long", body: field(strings.Repeat("a", 8193)), status: 422, pointers: []string{"/signed_request"}},
			{name: "too long a form", body: field(strings.Repeat("a", 17_000)), status: 413},
			{name: "JSON", body: `{"signed_request":"` + signed + `"}`, media: "application/json", status: 415},
			{name: "parts", body: field(signed), media: "multipart/form-data; boundary=x", status: 415},
			{name: "no media type", body: field(signed), media: " ", status: 415},
		} {
			for _, path := range []string{deauthorizePath, deletionPath} {
				media := tc.media
				if media == "" {
					media = formType
				}
				g := *f
				t.Run(tc.name, func(t *testing.T) {
					g.T = t
					g.do(http.MethodPost, path, tc.body, "Content-Type", media).refuses(tc.status, blank, tc.pointers...)
				})
			}
		}
		f.do(http.MethodPost, deletionPath+"?signed_request="+signed, "", "Content-Type", formType).is(422)
		if n := f.count("oauth_withdrawals") - before; n != 0 {
			t.Errorf("%d are kept", n)
		}
		if strings.Contains(f.logs.String(), strings.Split(signed, ".")[1]) {
			t.Error("a signed request is logged")
		}
	})

	t.Run("takes fields that Meta may add, and a charset", func(t *testing.T) {
		form := url.Values{"signed_request": {f.graph.SignedRequest(metatest.Notice{User: "7006"})}, "new": {"1"}}
		f.do(http.MethodPost, deauthorizePath, form.Encode(), "Content-Type", formType+"; charset=UTF-8").is(http.StatusOK)
	})
}

func TestWithdrawal_Take_Settings(t *testing.T) {
	t.Parallel()
	t.Run("without a secret nothing is taken, which says why", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, func(c *oauth.Config) { c.Meta.AppSecret = "" })
		f.tell(deletionPath, metatest.Notice{User: "1"}).refuses(http.StatusServiceUnavailable, problem.TypeOAuthNotConfigured)
	})
	t.Run("any of the secrets may have signed, and the public URL is answered", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, func(c *oauth.Config) {
			c.Meta.AppSecrets, c.PublicURL = config.List{"old", metatest.DefaultAppSecret}, "https://api.example.com/base/"
		})
		for _, secret := range []string{"old", ""} {
			got := into[told](f.tell(deletionPath, metatest.Notice{User: "1", Secret: secret}).is(http.StatusOK))
			if got.URL != "https://api.example.com/base"+deletionPath+"/"+got.Code {
				t.Errorf("answered %s", got.URL)
			}
		}
	})
	t.Run("a host that is not this machine is called by https, whatever a proxy says", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, nil)
		form := url.Values{"signed_request": {f.graph.SignedRequest(metatest.Notice{User: "1"})}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.server.URL+deletionPath, strings.NewReader(form.Encode()))
		f.check(err)
		req.Host = "api.example.com:8443"
		req.Header.Set("Content-Type", formType)
		req.Header.Set("X-Forwarded-Proto", "ftp")
		req.Header.Set("X-Forwarded-Host", "evil.example.com")
		res, err := f.server.Client().Do(req)
		f.check(err)
		defer res.Body.Close()
		var body [512]byte
		n, _ := res.Body.Read(body[:])
		if !strings.Contains(string(body[:n]), `"https://api.example.com:8443`+deletionPath+"/") {
			t.Errorf("answered %s", body[:n])
		}
	})
}

func TestWithdrawal_Status(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	add := func(kind, code string, done bool) string {
		id := uuid.Must(uuid.NewV7())
		completed, user := "NULL", "'7001'"
		if done {
			completed, user = "'2026-03-04 05:06:07Z'", "NULL"
		}
		_, err := f.owner.Pool().Exec(t.Context(), fmt.Sprintf(`INSERT INTO oauth_withdrawals (id, kind, code, request, user_id, issued_at, requested_at, completed_at)
			VALUES ($1, $2, $3, $3::text::bytea, %s, now(), '2026-03-02 12:00:00Z', %s)`, user, completed), id, kind, code)
		f.check(err)
		return code
	}
	code := func(n int) string { return fmt.Sprintf("%032x", n) }
	for _, tc := range []struct {
		name, code  string
		status      int
		pt, en      string
		texts, none []string
	}{
		{
			name: "a deletion that is under way", code: add("deletion", code(1), false), status: 200, pt: "Exclusão de dados em andamento", en: "Data deletion under way",
			texts: []string{"02/03/2026, 12:00 UTC", "2 March 2026, 12:00 UTC"}, none: []string{"7001"},
		},
		{
			name: "a deletion that is done", code: add("deletion", code(2), true), status: 200, pt: "Exclusão de dados concluída", en: "Data deletion completed",
			texts: []string{"02/03/2026, 12:00 UTC", "04/03/2026, 05:06 UTC", "4 March 2026, 05:06 UTC"},
		},
		{name: "a removal that is under way", code: add("deauthorize", code(3), false), status: 200, pt: "Remoção do acesso em andamento", en: "Removal of access under way", none: []string{"7001"}},
		{name: "a removal that is done", code: add("deauthorize", code(4), true), status: 200, pt: "Remoção do acesso concluída", en: "Removal of access completed"},
		{name: "a code that nothing has", code: code(5), status: 404, pt: "Pedido não encontrado", en: "Request not found", none: []string{code(5)}},
		{name: "what is no code", code: "%3Cscript%3Ealert(1)%3C%2Fscript%3E?a=b&a=c", status: 404, pt: "Pedido não encontrado", en: "Request not found", none: []string{"alert", "<script"}},
		{name: "a NUL", code: "%00", status: 404, pt: "Pedido não encontrado", en: "Request not found"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := *f
			g.T = t
			at := deletionPath + "/" + tc.code
			pt := g.do(http.MethodGet, at, "").is(tc.status)
			pt.private()
			en := g.do(http.MethodGet, at, "", "Accept-Language", "en").is(tc.status)
			if pt.heading() != tc.pt || en.heading() != tc.en || !strings.Contains(string(pt.body), tc.en) {
				t.Errorf("%q, in English %q", pt.heading(), en.heading())
			}
			for _, text := range tc.texts {
				if !strings.Contains(string(pt.body), text) {
					t.Errorf("it does not say %q", text)
				}
			}
			for _, text := range tc.none {
				if strings.Contains(string(pt.body), text) {
					t.Errorf("it says %q", text)
				}
			}
			if head := g.do(http.MethodHead, at, "").is(tc.status); len(head.body) > 0 || head.header.Get("Cache-Control") != "no-store" {
				t.Errorf("HEAD: %d bytes, %v", len(head.body), head.header)
			}
		})
	}
	if logged := f.logs.String(); strings.Contains(logged, code(1)) || !strings.Contains(logged, deletionPath+"/:code") {
		t.Error("a code is logged")
	}
}
