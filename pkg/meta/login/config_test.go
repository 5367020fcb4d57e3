package login_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
)

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg  login.Config
		want []string // in the error, a line each; none: valid
	}{
		"the zero value may be":             {},
		"all of it":                         {cfg: settings},
		"a redirect to this machine":        {cfg: login.Config{Redirects: config.List{"http://localhost:5173/callback", "http://127.0.0.1/"}}},
		"a dialog on this machine":          {cfg: login.Config{DialogURL: "http://127.0.0.1:9000"}},
		"an id that is none":                {login.Config{AppID: "10001/"}, []string{"FACEBOOK_APP_ID must be digits"}},
		"a dialog in clear":                 {login.Config{DialogURL: "http://www.facebook.com"}, []string{"META_DIALOG_URL must be https"}},
		"a dialog without a scheme":         {login.Config{DialogURL: "www.facebook.com"}, []string{"META_DIALOG_URL must be a URL like https://meta.example.com"}},
		"a dialog with a version":           {login.Config{DialogURL: "https://www.facebook.com/v3.2"}, []string{"META_DIALOG_URL must have no path"}},
		"a redirect in clear":               {login.Config{Redirects: config.List{redirect, "http://hush.example.com/"}}, []string{"OAUTH_REDIRECT_ALLOWLIST: URL 2 must be https"}},
		"a redirect with a fragment":        {login.Config{Redirects: config.List{redirect + "#"}}, []string{"OAUTH_REDIRECT_ALLOWLIST: URL 1 must have neither"}},
		"a redirect with a password":        {login.Config{Redirects: config.List{"https://u:hush@example.com/"}}, []string{"OAUTH_REDIRECT_ALLOWLIST: URL 1 must have neither"}},
		"a redirect that is a pattern":      {login.Config{Redirects: config.List{"*"}}, []string{"OAUTH_REDIRECT_ALLOWLIST: URL 1 must be a URL"}},
		"a key of 31 bytes":                 {login.Config{StateKey: "hush" + stateKey[5:]}, []string{"OAUTH_STATE_KEY must have 32 bytes"}},
		"scopes joined by something else":   {login.Config{Scopes: config.List{"pages_messaging instagram_basic"}}, []string{"OAUTH_SCOPES:"}},
		"a configuration's name for its id": {login.Config{ConfigID: "mine"}, []string{"OAUTH_CONFIG_ID must be digits"}},
		"all faults at once":                {login.Config{AppID: "x", StateKey: "hush"}, []string{"FACEBOOK_APP_ID", "OAUTH_STATE_KEY"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			if err := tc.cfg.Validate(); err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if len(got) != len(tc.want) {
				t.Fatalf("faults %q, want %q", got, tc.want)
			}
			for i, line := range got {
				if !strings.HasPrefix(line, tc.want[i]) || strings.Contains(line, "hush") {
					t.Errorf("fault %q, want %q, and nothing secret", line, tc.want[i])
				}
			}
		})
	}
}

func TestConfig_Missing(t *testing.T) {
	t.Parallel()
	if got := settings.Missing(&meta.Config{AppSecrets: config.List{appSecret}}); got != nil {
		t.Errorf("missing %q", got)
	}
	none := new(login.Config)
	want := []string{"FACEBOOK_APP_ID", "FACEBOOK_APP_SECRET", "OAUTH_REDIRECT_ALLOWLIST", "OAUTH_STATE_KEY"}
	if got := none.Missing(new(meta.Config)); !slices.Equal(got, want) {
		t.Errorf("missing %q, want %q", got, want)
	}
}

func TestConfig_Environment(t *testing.T) {
	for name, value := range map[string]string{
		"FACEBOOK_APP_ID": appID, "FACEBOOK_APP_SECRET": appSecret, "META_DIALOG_URL": "", "OAUTH_REDIRECT_ALLOWLIST": redirect + ", https://example.com/",
		"OAUTH_STATE_KEY": stateKey, "OAUTH_SCOPES": "", "OAUTH_CONFIG_ID": "5", "OAUTH_PKCE": "true",
	} {
		t.Setenv(name, value)
	}
	var cfg struct {
		Meta  meta.Config
		Login login.Config
	}
	if err := config.Load(&cfg); err != nil {
		t.Fatal(err)
	}
	got := cfg.Login
	if got.AppID != appID || got.DialogURL != "https://www.facebook.com" || len(got.Redirects) != 2 || got.StateKey != stateKey ||
		!slices.Equal(got.Scopes, login.DefaultScopes()) || got.ConfigID != "5" || !got.PKCE || got.Missing(&cfg.Meta) != nil {
		t.Errorf("read %+v", got)
	}
}
