package meta_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta"
)

func TestConfig_Secrets(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg  meta.Config
		want []string
	}{
		"none are none":                         {},
		"the list comes before the single one":  {meta.Config{AppSecrets: config.List{"a", "b"}, AppSecret: "c"}, []string{"a", "b"}},
		"the single one stands in for the list": {meta.Config{AppSecret: "c"}, []string{"c"}},
		"a list without values is as unset":     {meta.Config{AppSecrets: config.List{}, AppSecret: "c"}, []string{"c"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tc.cfg.Secrets(); !slices.Equal(got, tc.want) {
				t.Errorf("secrets %q, want %q", got, tc.want)
			}
		})
	}
}

func TestConfig_Secret(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg  meta.Config
		want string
	}{
		"none is none":                          {},
		"the first of the list is the app's":    {meta.Config{AppSecrets: config.List{"a", "b"}}, "a"},
		"the app's own comes before the list's": {meta.Config{AppSecrets: config.List{"a", "b"}, AppSecret: "c"}, "c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tc.cfg.Secret(); got != tc.want {
				t.Errorf("secret %q, want %q", got, tc.want)
			}
		})
	}
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		cfg  meta.Config
		want []string // in the error, a line each; none: valid
	}{
		"the zero value is the default": {},
		"https anywhere":                {cfg: meta.Config{GraphURL: "https://graph.example.com:8443/"}},
		"http to this machine":          {cfg: meta.Config{GraphURL: "http://127.0.0.1:9000"}},
		"http to this machine by name":  {cfg: meta.Config{GraphURL: "http://localhost:9000"}},
		"http to this machine in IPv6":  {cfg: meta.Config{GraphURL: "http://[::1]:9000"}},
		"a verify token with a secret":  {cfg: meta.Config{VerifyToken: "v", AppSecret: "s"}},
		"http elsewhere":                {meta.Config{GraphURL: "http://graph.facebook.com"}, []string{"META_GRAPH_URL must be https"}},
		"http to what begins like it":   {meta.Config{GraphURL: "http://localhost.example.com"}, []string{"META_GRAPH_URL must be https"}},
		"a version in the URL":          {meta.Config{GraphURL: "https://graph.facebook.com/v25.0"}, []string{"META_GRAPH_URL must have no path: the version belongs in META_GRAPH_VERSION"}},
		"a password in the URL":         {meta.Config{GraphURL: "https://u:hush@graph.facebook.com"}, []string{"META_GRAPH_URL must have neither user"}},
		"a query":                       {meta.Config{GraphURL: "https://graph.facebook.com?"}, []string{"META_GRAPH_URL must have neither user"}},
		"another scheme":                {meta.Config{GraphURL: "ftp://graph.facebook.com"}, []string{"META_GRAPH_URL must be a URL like"}},
		"no URL":                        {meta.Config{GraphURL: "graph.facebook.com"}, []string{"META_GRAPH_URL must be a URL like"}},
		"a version without its v":       {meta.Config{GraphVersion: "25.0"}, []string{`META_GRAPH_VERSION: "25.0"`}},
		"a version that leads away":     {meta.Config{GraphVersion: "v25.0/../v1.0"}, []string{"META_GRAPH_VERSION"}},
		"a version with a line break":   {meta.Config{GraphVersion: "v25.0\n"}, []string{"META_GRAPH_VERSION"}},
		"all faults at once, one a line": {
			meta.Config{VerifyToken: "hush", GraphURL: "x", GraphVersion: "x", Timeout: -1},
			[]string{"META_VERIFY_TOKEN needs", "META_GRAPH_URL", "META_GRAPH_VERSION", "META_GRAPH_TIMEOUT"},
		},
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
					t.Errorf("fault %q, want %q, and no secret", line, tc.want[i])
				}
			}
			if _, err := meta.NewClient(tc.cfg); (err == nil) != (len(tc.want) == 0) {
				t.Errorf("NewClient: %v", err)
			}
		})
	}
}

func TestConfig_Environment(t *testing.T) {
	for name, value := range map[string]string{
		"META_APP_SECRETS": "one, two", "FACEBOOK_APP_SECRET": "three", "META_VERIFY_TOKEN": "verify",
		"META_GRAPH_URL": "", "META_GRAPH_VERSION": "", "META_GRAPH_TIMEOUT": "",
	} {
		t.Setenv(name, value)
	}
	var cfg struct{ meta.Config }
	if err := config.Load(&cfg); err != nil {
		t.Fatal(err)
	}
	if got := cfg.Secrets(); !slices.Equal(got, []string{"one", "two"}) || cfg.VerifyToken != "verify" ||
		cfg.GraphURL != "https://graph.facebook.com" || cfg.GraphVersion != "v25.0" {
		t.Errorf("read %+v", cfg)
	}
	var usage bytes.Buffer
	if err := config.Usage(&usage, &cfg); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"META_APP_SECRETS", "FACEBOOK_APP_SECRET", "META_VERIFY_TOKEN", "META_GRAPH_URL", "META_GRAPH_VERSION", "META_GRAPH_TIMEOUT"} {
		if !strings.Contains(usage.String(), name) {
			t.Errorf("--help does not name %s", name)
		}
	}
}
