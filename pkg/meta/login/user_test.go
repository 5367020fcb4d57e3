package login_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"testing"

	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
)

// proves fails where a call has not the proof of its token.
func proves(t *testing.T, calls []call) {
	t.Helper()
	if len(calls) == 0 {
		t.Error("nothing was asked")
	}
	for _, c := range calls {
		if c.token == "" || c.params.Get("appsecret_proof") != meta.Proof(appSecret, c.token) {
			t.Errorf("%s %s has the proof %q", c.method, c.path, c.params.Get("appsecret_proof"))
		}
	}
}

func TestApp_Me(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		body string
		want login.User
	}{
		"all of it":           {`{"id":"777","name":"Olívia","email":"o@example.com","picture":{"data":{"url":"https://cdn.example.com/p.jpg"}}}`, login.User{ID: "777", Name: "Olívia", Email: "o@example.com", PictureURL: "https://cdn.example.com/p.jpg"}},
		"no more than an id":  {`{"id":777}`, login.User{ID: "777"}},
		"a picture that runs": {`{"id":"777","name":null,"picture":{"data":{"url":"javascript:alert(1)"}}}`, login.User{ID: "777"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serve(t, says(tc.body))
			if got, err := app(t, settings, g.URL).Me(t.Context(), userToken); err != nil || got != tc.want {
				t.Errorf("user %+v, %v; want %+v", got, err, tc.want)
			}
			proves(t, g.asked())
		})
	}
	t.Run("nobody", func(t *testing.T) {
		t.Parallel()
		if _, err := app(t, settings, serve(t, says(`{"name":"x"}`)).URL).Me(t.Context(), userToken); !errors.Is(err, meta.ErrOutcomeUnknown) {
			t.Errorf("error %v", err)
		}
	})
}

func TestApp_Permissions(t *testing.T) {
	t.Parallel()
	g := serve(t, says(`{"data":[{"permission":"public_profile","status":"granted"},{"permission":"pages_messaging","status":"granted"},
		{"permission":"instagram_basic","status":"declined"},{"permission":"pages_show_list","status":"expired"}]}`))
	granted, missing, err := app(t, settings, g.URL).Permissions(t.Context(), userToken, []string{"pages_messaging", "pages_show_list", "instagram_basic", "pages_manage_metadata"})
	if err != nil || !slices.Equal(granted, []string{"pages_messaging", "public_profile"}) ||
		!slices.Equal(missing, []string{"pages_show_list", "instagram_basic", "pages_manage_metadata"}) {
		t.Errorf("granted %q, missing %q, %v", granted, missing, err)
	}
	proves(t, g.asked())
}

func TestApp_Revoke(t *testing.T) {
	t.Parallel()
	refusing := func(code, subcode int) answer {
		return func(w http.ResponseWriter, _ call, _ int) { refuses(w, 400, code, subcode, "") }
	}
	for name, tc := range map[string]struct {
		with answer
		code int // of the error; 0: none
	}{
		"true is a success":                      {says(`true`), 0},
		"an object is a success":                 {says(`{"success":"true"}`), 0},
		"a user who did so already is one":       {refusing(190, 458), 0},
		"a token that has expired is none":       {refusing(190, 463), 190},
		"a user who is another's concern is not": {refusing(100, 458), 100},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := serve(t, tc.with)
			err := app(t, settings, g.URL).Revoke(t.Context(), "777", userToken)
			failed, ok := errors.AsType[*meta.Error](err)
			if ok != (tc.code != 0) || err != nil && (!ok || failed.Code != tc.code) {
				t.Errorf("error %v", err)
			}
			proves(t, g.asked())
			if c := g.asked()[0]; c.method != "DELETE" || c.path != "/v25.0/777/permissions" || c.token != userToken {
				t.Errorf("asked %+v", c)
			}
		})
	}
	t.Run("an answer that is no success is none", func(t *testing.T) {
		t.Parallel()
		if err := app(t, settings, serve(t, says(`{"success":false}`)).URL).Revoke(t.Context(), "777", userToken); !errors.Is(err, meta.ErrOutcomeUnknown) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("nobody else is reached", func(t *testing.T) {
		t.Parallel()
		if err := app(t, settings, serve(t, says(`true`)).URL).Revoke(t.Context(), url.PathEscape("../me"), userToken); !errors.Is(err, meta.ErrPath) {
			t.Errorf("error %v", err)
		}
	})
}
