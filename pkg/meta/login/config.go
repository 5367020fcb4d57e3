package login

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/meta"
)

// Config is the app that people log in to. Its secret and the Graph API's address are
// those of [meta.Config]. The zero value of DialogURL and Scopes is their default.
type Config struct {
	AppID     string      `env:"FACEBOOK_APP_ID" help:"id of the Meta app that people log in to; unset: nobody can"`
	DialogURL string      `env:"META_DIALOG_URL" envDefault:"https://www.facebook.com" help:"address of the consent dialog, without a version; http is for this machine alone"`
	Redirects config.List `env:"OAUTH_REDIRECT_ALLOWLIST" help:"URLs that a login may come back to, comma separated and exactly as they are in Meta's dashboard; http is for this machine alone"`
	StateKey  string      `env:"OAUTH_STATE_KEY" secret:"true" help:"signs the state of logins: any 32 bytes or more, the same for all processes"`
	Scopes    config.List `env:"OAUTH_SCOPES" envDefault:"pages_show_list,pages_manage_metadata,pages_messaging,pages_read_engagement,instagram_basic,instagram_manage_messages" help:"the permissions that may be asked for, comma separated"`
	ConfigID  string      `env:"OAUTH_CONFIG_ID" help:"a configuration of Facebook Login for Business that gives tokens of users; it then says what is asked for, and OAUTH_SCOPES is what it holds"`
	PKCE      bool        `env:"OAUTH_PKCE" envDefault:"false" help:"bind codes to their login by PKCE as well, which Meta documents for OpenID alone"`
}

const (
	defaultDialogURL = "https://www.facebook.com"
	minStateKey      = 32 // bytes
)

var (
	idPattern    = regexp.MustCompile(`^[0-9]{1,32}$`)
	scopePattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)
)

// DefaultScopes are what messages of pages and Instagram accounts need.
func DefaultScopes() []string {
	return []string{"pages_show_list", "pages_manage_metadata", "pages_messaging", "pages_read_engagement", "instagram_basic", "instagram_manage_messages"}
}

// Missing are the names of the settings without which nobody can log in, and that are
// not set.
func (c *Config) Missing(platform *meta.Config) []string {
	var missing []string
	for _, setting := range []struct {
		name string
		set  bool
	}{
		{"FACEBOOK_APP_ID", c.AppID != ""},
		{"FACEBOOK_APP_SECRET", platform.Secret() != ""},
		{"OAUTH_REDIRECT_ALLOWLIST", len(c.Redirects) > 0},
		{"OAUTH_STATE_KEY", c.StateKey != ""},
	} {
		if !setting.set {
			missing = append(missing, setting.name)
		}
	}
	return missing
}

// Validate reports settings that cannot be meant; what is missing is none. None of its
// errors shows a secret.
func (c *Config) Validate() error {
	var errs []error
	if c.AppID != "" && !idPattern.MatchString(c.AppID) {
		errs = append(errs, errors.New("FACEBOOK_APP_ID must be digits"))
	}
	if _, err := meta.Origin(cmp.Or(c.DialogURL, defaultDialogURL)); err != nil {
		errs = append(errs, fmt.Errorf("META_DIALOG_URL %w", err))
	}
	for i, redirect := range c.Redirects {
		if err := checkRedirect(redirect); err != nil {
			errs = append(errs, fmt.Errorf("OAUTH_REDIRECT_ALLOWLIST: URL %d %w", i+1, err))
		}
	}
	if c.StateKey != "" && len(c.StateKey) < minStateKey {
		errs = append(errs, fmt.Errorf("OAUTH_STATE_KEY must have %d bytes or more", minStateKey))
	}
	for _, scope := range c.Scopes {
		if !scopePattern.MatchString(scope) {
			errs = append(errs, fmt.Errorf("OAUTH_SCOPES: %q is no permission", scope))
		}
	}
	if c.ConfigID != "" && !idPattern.MatchString(c.ConfigID) {
		errs = append(errs, errors.New("OAUTH_CONFIG_ID must be digits"))
	}
	return errors.Join(errs...)
}

func checkRedirect(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("must be a URL of https")
	case u.User != nil || strings.Contains(raw, "#"):
		return errors.New("must have neither user nor fragment")
	case u.Scheme == "http" && !meta.Loopback(u.Hostname()):
		return errors.New("must be https: codes come there; http is for this machine alone")
	}
	return nil
}

// MayRedirect says whether a login may come back to a URL: to one that is on the list,
// character for character, as Meta compares them.
func (c *Config) MayRedirect(redirectURI string) bool {
	return slices.Contains(c.Redirects, redirectURI)
}

// scopes are what may be asked for.
func (c *Config) scopes() []string {
	if len(c.Scopes) == 0 {
		return DefaultScopes()
	}
	return c.Scopes
}
