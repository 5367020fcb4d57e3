package meta

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"time"

	"github.com/primezap/primezap/pkg/config"
)

// Config is how Meta is spoken with, and how it speaks with us. The zero value of
// GraphURL, GraphVersion and Timeout is their default.
type Config struct {
	AppSecrets   config.List   `env:"META_APP_SECRETS" secret:"true" help:"secrets of the Meta apps whose webhooks are taken, comma separated; unset: FACEBOOK_APP_SECRET"`
	AppSecret    string        `env:"FACEBOOK_APP_SECRET" secret:"true" help:"secret of the Meta app: it proves our own calls and logs in; unset: the first of META_APP_SECRETS"`
	VerifyToken  string        `env:"META_VERIFY_TOKEN" secret:"true" help:"the token that was entered beside the webhook's URL in Meta's dashboard; needs an app secret"`
	GraphURL     string        `env:"META_GRAPH_URL" envDefault:"https://graph.facebook.com" help:"address of the Graph API, without a version; http is for this machine alone"`
	GraphVersion string        `env:"META_GRAPH_VERSION" envDefault:"v25.0" help:"version of the Graph API"`
	Timeout      time.Duration `env:"META_GRAPH_TIMEOUT" envDefault:"10s" help:"how long a call of the Graph API may take"`
}

const (
	defaultURL     = "https://graph.facebook.com"
	defaultVersion = "v25.0"
	defaultTimeout = 10 * time.Second
	maxTimeout     = 5 * time.Minute
)

var versionPattern = regexp.MustCompile(`^v[0-9]+\.[0-9]+$`)

// Secrets are those whose webhooks are taken; none where nothing is configured.
func (c *Config) Secrets() []string {
	switch {
	case len(c.AppSecrets) > 0:
		return c.AppSecrets
	case c.AppSecret != "":
		return []string{c.AppSecret}
	default:
		return nil
	}
}

// Secret is the app's own, which proves our calls; empty where none is configured.
func (c *Config) Secret() string {
	if c.AppSecret == "" && len(c.AppSecrets) > 0 {
		return c.AppSecrets[0]
	}
	return c.AppSecret
}

// Version is that of the Graph API.
func (c *Config) Version() string { return cmp.Or(c.GraphVersion, defaultVersion) }

// Validate reports settings that cannot be meant. None of its errors shows a
// secret.
func (c *Config) Validate() error {
	var errs []error
	if c.VerifyToken != "" && len(c.Secrets()) == 0 {
		errs = append(errs, errors.New("META_VERIFY_TOKEN needs META_APP_SECRETS or FACEBOOK_APP_SECRET: without a secret no update can be verified"))
	}
	if _, err := Origin(cmp.Or(c.GraphURL, defaultURL)); err != nil {
		errs = append(errs, fmt.Errorf("META_GRAPH_URL %w", err))
	}
	if !versionPattern.MatchString(c.Version()) {
		errs = append(errs, fmt.Errorf("META_GRAPH_VERSION: %q is no version like %s", c.GraphVersion, defaultVersion))
	}
	if c.Timeout < 0 || c.Timeout > maxTimeout {
		errs = append(errs, fmt.Errorf("META_GRAPH_TIMEOUT must be positive and at most %s", maxTimeout))
	}
	return errors.Join(errs...)
}

// Origin reads the address of one of Meta's hosts, or of what stands in for it on this
// machine. Its errors do not show the URL, which may hold a password by mistake.
func Origin(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("must be a URL like https://meta.example.com")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("must have neither user, query nor fragment")
	case u.Path != "" && u.Path != "/":
		return nil, errors.New("must have no path: the version belongs in META_GRAPH_VERSION")
	case u.Scheme == "http" && !Loopback(u.Hostname()):
		return nil, errors.New("must be https: what goes there is secret; http is for this machine alone")
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// Loopback says whether a host is this machine.
func Loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
