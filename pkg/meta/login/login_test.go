package login_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
)

func TestApp_AuthURL(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte(verifier))
	configured := settings
	configured.ConfigID = "555"
	usual := func(more ...string) url.Values {
		v := url.Values{"response_type": {"code"}, "client_id": {appID}, "redirect_uri": {redirect}, "state": {"s.t"}}
		for i := 0; i < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	const all = "pages_show_list,pages_manage_metadata,pages_messaging,pages_read_engagement,instagram_basic,instagram_manage_messages"
	for name, tc := range map[string]struct {
		cfg     login.Config
		scopes  []string
		options login.AuthOptions
		want    url.Values
	}{
		"asks for all six scopes, joined by commas": {settings, nil, login.AuthOptions{}, usual("scope", all)},
		"asks for some of them, each once":          {settings, []string{"instagram_basic", "pages_messaging", "instagram_basic"}, login.AuthOptions{}, usual("scope", "instagram_basic,pages_messaging")},
		"a configuration takes the place of scopes": {configured, []string{"pages_messaging"}, login.AuthOptions{}, usual("config_id", "555")},
		"asks again for what was declined":          {settings, nil, login.AuthOptions{AuthType: login.Rerequest}, usual("scope", all, "auth_type", "rerequest")},
		"renews the access to data":                 {settings, nil, login.AuthOptions{AuthType: login.Reauthorize}, usual("scope", all, "auth_type", "reauthorize")},
		"shows a challenge for the verifier": {settings, nil, login.AuthOptions{Verifier: verifier},
			usual("scope", all, "code_challenge", base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method", "S256")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := app(t, tc.cfg, "").AuthURL(redirect, "s.t", tc.scopes, tc.options)
			if err != nil {
				t.Fatal(err)
			}
			base, query, _ := strings.Cut(got, "?")
			params, err := url.ParseQuery(query)
			if base != "https://www.facebook.com/v25.0/dialog/oauth" || err != nil || !reflect.DeepEqual(params, tc.want) {
				t.Errorf("URL %s\nhas %v, %v\nwant %v", base, params, err, tc.want)
			}
		})
	}
	for name, tc := range map[string]struct {
		cfg      login.Config
		redirect string
		scopes   []string
		want     error
	}{
		"not without the app":                 {login.Config{Redirects: config.List{redirect}}, redirect, nil, login.ErrNotConfigured},
		"not to where it may not come back":   {settings, redirect + "/", nil, login.ErrRedirect},
		"not for more than may be":            {settings, redirect, []string{"pages_messaging", "ads_management"}, login.ErrScope},
		"not for more where it is configured": {configured, redirect, []string{"ads_management"}, login.ErrScope},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := app(t, tc.cfg, "").AuthURL(tc.redirect, "s.t", tc.scopes, login.AuthOptions{}); !errors.Is(err, tc.want) {
				t.Errorf("URL %q, %v; want %v", got, err, tc.want)
			}
		})
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	if _, err := login.New(login.Config{AppID: "x"}, meta.Config{}, nil, nil); err == nil {
		t.Error("an app of settings that cannot be meant")
	}
}
