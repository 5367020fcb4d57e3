package login_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
)

const (
	short = `{"access_token":"EAABshort01234567890123456","token_type":"bearer","expires_in":5108}`
	long  = `{"access_token":"` + userToken + `","token_type":"bearer","expires_in":5183944}`
)

// codes are how often the code came.
func codes(calls []call) (n int) {
	for _, c := range calls {
		if c.params.Get("code") != "" {
			n++
		}
	}
	return n
}

func TestApp_Exchange(t *testing.T) {
	t.Parallel()
	t.Run("a code becomes a token that lives long", func(t *testing.T) {
		t.Parallel()
		g := serve(t, says(short, long))
		got, err := app(t, settings, g.URL).Exchange(t.Context(), code, redirect, verifier)
		if want := (login.Token{AccessToken: userToken, ExpiresAt: noon.Add(5183944 * time.Second)}); err != nil || got != want {
			t.Fatalf("token %#v, %v; want %#v", got, err, want)
		}
		const uri = "/v25.0/oauth/access_token" // nothing secret in it
		want := []call{
			{"POST", uri, "", url.Values{"client_id": {appID}, "client_secret": {appSecret}, "redirect_uri": {redirect}, "code": {code},
				"grant_type": {"authorization_code"}, "code_verifier": {verifier}}, uri},
			{"POST", uri, "", url.Values{"client_id": {appID}, "client_secret": {appSecret},
				"grant_type": {"fb_exchange_token"}, "fb_exchange_token": {"EAABshort01234567890123456"}}, uri},
		}
		if asked := g.asked(); !reflect.DeepEqual(asked, want) {
			t.Errorf("asked %+v\nwant  %+v", asked, want)
		}
	})
	t.Run("the end is asked for where the answer does not say it", func(t *testing.T) {
		t.Parallel()
		for body, want := range map[string]time.Time{
			`{"data":{"is_valid":true,"expires_at":1768184000}}`: time.Unix(1768184000, 0).UTC(),
			`{"data":{"is_valid":true,"expires_at":0}}`:          {},
		} {
			g := serve(t, says(`{"access_token":"EAABshort01234567890123456"}`, `{"access_token":"`+userToken+`"}`, body))
			got, err := app(t, settings, g.URL).Exchange(t.Context(), code, redirect, "")
			if err != nil || got.AccessToken != userToken || !got.ExpiresAt.Equal(want) {
				t.Errorf("token %#v, %v; want it until %s", got, err, want)
			}
			last := g.asked()[2]
			if last.path != "/v25.0/debug_token" || last.token != appID+"|"+appSecret || last.params.Get("input_token") != userToken || last.params.Has("appsecret_proof") {
				t.Errorf("asked %+v", last)
			}
			if _, ok := g.asked()[0].params["code_verifier"]; ok {
				t.Error("a verifier was sent that there is not")
			}
		}
	})
	t.Run("once there is a token, a failure that passes is waited out", func(t *testing.T) {
		t.Parallel()
		g := serve(t, func(w http.ResponseWriter, c call, before int) {
			switch before {
			case 0:
				_, _ = io.WriteString(w, short)
			case 1:
				refuses(w, 500, 2, 0, "away")
			case 2:
				w.WriteHeader(http.StatusBadGateway)
			default:
				_, _ = io.WriteString(w, long)
			}
		})
		if got, err := app(t, settings, g.URL).Exchange(t.Context(), code, redirect, ""); err != nil || got.AccessToken != userToken {
			t.Errorf("token %#v, %v", got, err)
		}
		if asked := g.asked(); len(asked) != 4 || codes(asked) != 1 {
			t.Errorf("asked %d times, with the code %d times", len(asked), codes(asked))
		}
	})
	for name, tc := range map[string]struct {
		cfg            login.Config
		code, redirect string
		want           error
	}{
		"not where it may not come back to": {settings, code, redirect + "/", login.ErrRedirect},
		"not without the app":               {login.Config{Redirects: settings.Redirects}, code, redirect, login.ErrNotConfigured},
		"not without a code":                {settings, "", redirect, login.ErrCode},
		"not of what can be no code":        {settings, "a\nb", redirect, login.ErrCode},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serve(t, says(short, long))
			if _, err := app(t, tc.cfg, g.URL).Exchange(t.Context(), tc.code, tc.redirect, ""); !errors.Is(err, tc.want) || len(g.asked()) > 0 {
				t.Errorf("error %v after %d calls; want %v", err, len(g.asked()), tc.want)
			}
		})
	}
}

func TestApp_ExchangeFails(t *testing.T) {
	t.Parallel()
	quoting := fmt.Sprintf("about %s %s %s %s", code, verifier, appSecret, url.QueryEscape(code))
	refusing := func(status, code, subcode int, message string) answer {
		return func(w http.ResponseWriter, _ call, _ int) { refuses(w, status, code, subcode, message+" "+quoting) }
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("the code was taken to %s %s", r.Method, r.URL)
	}))
	t.Cleanup(elsewhere.Close)
	for name, tc := range map[string]struct {
		with answer
		want error
		meta *meta.Error // what matters of it; nil: it is none
	}{
		"the code has been used, as the subcode says": {refusing(400, 100, 36009, "?"), login.ErrCodeUsed, &meta.Error{Code: 100, Subcode: 36009, Class: meta.Permanent}},
		"the code has been used, as the message says": {refusing(400, 100, 0, "This authorization code has been used."), login.ErrCodeUsed, &meta.Error{Code: 100, Class: meta.Permanent}},
		"the code has expired":                        {refusing(400, 100, 36007, "This authorization code has expired."), login.ErrCodeExpired, &meta.Error{Code: 100, Subcode: 36007, Class: meta.Permanent}},
		"the code is for another redirect":            {refusing(400, 100, 36008, "?"), login.ErrCodeRedirect, &meta.Error{Code: 100, Subcode: 36008, Class: meta.Permanent}},
		"the code is none":                            {refusing(400, 100, 0, "Invalid verification code format."), login.ErrCode, &meta.Error{Code: 100, Class: meta.Permanent}},
		"the app's secret is wrong":                   {refusing(400, 1, 0, "Error validating client secret."), login.ErrApp, &meta.Error{Code: 1, Class: meta.Permanent}},
		"there is no such app":                        {refusing(400, 101, 0, "Error validating application."), login.ErrApp, &meta.Error{Code: 101, Class: meta.Permanent}},
		"Meta throttles":                              {refusing(400, 4, 0, "Application request limit reached"), nil, &meta.Error{Code: 4, Class: meta.RateLimited}},
		"Meta is away, which passes":                  {refusing(500, 2, 0, "away"), nil, &meta.Error{Code: 2, Class: meta.Retryable}},
		"a success is an error":                       {refusing(200, 190, 458, "removed"), nil, &meta.Error{Code: 190, Subcode: 458, Class: meta.Auth}},
		"a gateway answers":                           {func(w http.ResponseWriter, _ call, _ int) { w.WriteHeader(502); _, _ = io.WriteString(w, quoting) }, meta.ErrOutcomeUnknown, &meta.Error{Class: meta.Retryable}},
		"the answer is no token":                      {says(`{"token_type":"bearer"}`), meta.ErrOutcomeUnknown, nil},
		"the answer is a page":                        {says(`<html>` + quoting), meta.ErrOutcomeUnknown, nil},
		"the answer is of another form":               {says(`{"access_token":{"secret":"` + code + `"}}`), meta.ErrOutcomeUnknown, nil},
		"the answer breaks off": {func(w http.ResponseWriter, _ call, _ int) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"access_token":"`)
		}, meta.ErrOutcomeUnknown, nil},
		"the connection breaks": {func(http.ResponseWriter, call, int) { panic(http.ErrAbortHandler) }, meta.ErrOutcomeUnknown, nil},
		"the answer leads somewhere else": {func(w http.ResponseWriter, _ call, _ int) {
			w.Header().Set("Location", elsewhere.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, nil, &meta.Error{Class: meta.Permanent}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serve(t, tc.with)
			_, err := app(t, settings, g.URL).Exchange(t.Context(), code, redirect, verifier)
			if tc.want != nil && !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			failed, ok := errors.AsType[*meta.Error](err)
			switch {
			case ok != (tc.meta != nil):
				t.Errorf("error %#v, want %+v", failed, tc.meta)
			case ok && (failed.Code != tc.meta.Code || failed.Subcode != tc.meta.Subcode || failed.Class != tc.meta.Class || failed.Code != 0 && failed.FBTraceID != "AbC"):
				t.Errorf("error %#v, want %+v", failed, tc.meta)
			}
			hides(t, err)
			if asked := g.asked(); len(asked) != 1 || codes(asked) != 1 {
				t.Errorf("asked %d times, with the code %d times; want it once", len(asked), codes(asked))
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		g := serve(t, says(short))
		g.Close()
		_, err := app(t, settings, g.URL).Exchange(t.Context(), code, redirect, verifier)
		if !errors.Is(err, meta.ErrNotSent) {
			t.Errorf("error %v", err)
		}
		hides(t, err)
	})
	t.Run("the caller gives up", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		g := serve(t, func(w http.ResponseWriter, _ call, _ int) {
			cancel()
			_ = http.NewResponseController(w).Flush()
		})
		_, err := app(t, settings, g.URL).Exchange(ctx, code, redirect, verifier)
		if !errors.Is(err, meta.ErrOutcomeUnknown) || codes(g.asked()) != 1 {
			t.Errorf("error %v with %d codes", err, codes(g.asked()))
		}
		hides(t, err)
	})
}

func TestApp_Refresh(t *testing.T) {
	t.Parallel()
	t.Run("a token that has expired is an error of class auth, and not tried again", func(t *testing.T) {
		t.Parallel()
		g := serve(t, func(w http.ResponseWriter, c call, _ int) {
			refuses(w, 400, 190, 463, "Session has expired: "+c.params.Get("fb_exchange_token"))
		})
		_, err := app(t, settings, g.URL).Refresh(t.Context(), userToken)
		if failed, ok := errors.AsType[*meta.Error](err); !ok || failed.Class != meta.Auth || failed.Subcode != 463 || !strings.HasSuffix(failed.Message, "[hidden]") {
			t.Errorf("error %#v", err)
		}
		hides(t, err)
		if n := len(g.asked()); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
	t.Run("what does not pass is given up after three tries", func(t *testing.T) {
		t.Parallel()
		g := serve(t, func(w http.ResponseWriter, _ call, _ int) { refuses(w, 500, 1, 0, "") })
		if _, err := app(t, settings, g.URL).Refresh(t.Context(), userToken); err == nil || len(g.asked()) != 3 {
			t.Errorf("error %v after %d calls", err, len(g.asked()))
		}
	})
	t.Run("a secret that is wrong is not tried again, and no failure that passes", func(t *testing.T) {
		t.Parallel()
		g := serve(t, func(w http.ResponseWriter, _ call, _ int) { refuses(w, 400, 1, 0, "Error validating client secret.") })
		_, err := app(t, settings, g.URL).Refresh(t.Context(), userToken)
		if failed, ok := errors.AsType[*meta.Error](err); !errors.Is(err, login.ErrApp) || !ok || failed.Code != 1 || failed.Class != meta.Permanent || len(g.asked()) != 1 {
			t.Errorf("error %v after %d calls", err, len(g.asked()))
		}
		hides(t, err)
	})
	t.Run("an answer without a token is none", func(t *testing.T) {
		t.Parallel()
		g := serve(t, says(`{"access_token":"","expires_in":5}`))
		if got, err := app(t, settings, g.URL).Refresh(t.Context(), userToken); !errors.Is(err, meta.ErrOutcomeUnknown) {
			t.Errorf("token %#v, %v", got, err)
		}
	})
	t.Run("a token does not show when it is printed", func(t *testing.T) {
		t.Parallel()
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(verb, login.Token{AccessToken: userToken}); strings.Contains(text, userToken) {
				t.Error(text)
			}
			if text := fmt.Sprintf(verb, login.Page{AccessToken: userToken}); strings.Contains(text, userToken) {
				t.Error(text)
			}
		}
	})
}

func TestApp_Debug(t *testing.T) {
	t.Parallel()
	t.Run("ids and times may be numbers or texts", func(t *testing.T) {
		t.Parallel()
		want := login.Info{
			Valid: true, AppID: appID, Type: "USER", UserID: "777", Scopes: []string{"pages_messaging"},
			IssuedAt: time.Unix(1763000000, 0).UTC(), DataAccessExpiresAt: time.Unix(1770776000, 0).UTC(),
			Granular: []login.GranularScope{{Scope: "pages_messaging", Targets: []string{"100000000000001"}}, {Scope: "instagram_basic"}},
		}
		for _, body := range []string{
			`{"data":{"app_id":"10001","type":"USER","is_valid":true,"issued_at":1763000000,"expires_at":0,"data_access_expires_at":1770776000,"user_id":"777",
				"scopes":["pages_messaging"],"granular_scopes":[{"scope":"pages_messaging","target_ids":["100000000000001"]},{"scope":"instagram_basic"}]}}`,
			`{"data":{"app_id":10001,"type":"USER","is_valid":"true","issued_at":"1763000000","data_access_expires_at":"1770776000","user_id":777,
				"scopes":["pages_messaging"],"granular_scopes":[{"scope":"pages_messaging","target_ids":[100000000000001]},{"scope":"instagram_basic","target_ids":null}]}}`,
		} {
			got, err := app(t, settings, serve(t, says(body)).URL).Debug(t.Context(), userToken)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("info %+v, %v\nwant %+v", got, err, want)
			}
		}
	})
	t.Run("a token that is not valid is no error, and says why", func(t *testing.T) {
		t.Parallel()
		g := serve(t, says(`{"data":{"is_valid":false,"error":{"code":190,"subcode":463,"message":"expired"},"scopes":[]}}`))
		got, err := app(t, settings, g.URL).Debug(t.Context(), userToken)
		if err != nil || got.Valid || got.Code != 190 || got.Subcode != 463 {
			t.Errorf("info %+v, %v", got, err)
		}
	})
	t.Run("a refusal is about the app's own token, not about the other one", func(t *testing.T) {
		t.Parallel()
		g := serve(t, func(w http.ResponseWriter, _ call, _ int) {
			refuses(w, 401, 190, 0, "Invalid OAuth access token signature.")
		})
		_, err := app(t, settings, g.URL).Debug(t.Context(), userToken)
		if failed, ok := errors.AsType[*meta.Error](err); !errors.Is(err, login.ErrApp) || !ok || failed.Code != 190 || failed.Class != meta.Permanent {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a refusal does not show the token", func(t *testing.T) {
		t.Parallel()
		g := serve(t, func(w http.ResponseWriter, c call, _ int) { refuses(w, 400, 100, 0, "what is "+c.uri+" of "+c.token) })
		_, err := app(t, settings, g.URL).Debug(t.Context(), userToken)
		hides(t, err)
	})
	t.Run("an answer without data is none", func(t *testing.T) {
		t.Parallel()
		if _, err := app(t, settings, serve(t, says(`{}`)).URL).Debug(t.Context(), userToken); !errors.Is(err, meta.ErrOutcomeUnknown) {
			t.Errorf("error %v", err)
		}
	})
}
