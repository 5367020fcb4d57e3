// Package login is Facebook Login: it sends people to Meta's consent dialog, makes a
// token of what they come back with, and reads and does what an app may that they have
// allowed something: their pages, the Instagram accounts of these, and webhooks.
//
// A code is sent to Meta once, whatever happens, since it is good once. What can be
// asked again is asked again, a few times, when Meta is not well: after the code is
// used up, a failure would send the person through the dialog anew.
//
// Errors are those of package meta besides the ones here, and hold no token, code or
// secret. Of lists, what cannot be read is left out and told as a [Warning].
package login

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/primezap/primezap/pkg/meta"
)

var (
	// ErrNotConfigured means that a login needs a setting that is not there; see
	// [Config.Missing].
	ErrNotConfigured = errors.New("login is not configured")
	// ErrRedirect means that the URL to come back to is not one that is allowed.
	ErrRedirect = errors.New("not a redirect URI that is allowed")
	// ErrScope means that more is asked for than may be.
	ErrScope = errors.New("not a permission that may be asked for")
)

// App is the Meta app that people log in to. It is safe for concurrent use.
type App struct {
	cfg    Config
	secret string
	dialog string // the URL
	graph  *meta.Client
	now    func() time.Time
	pause  time.Duration // before something is asked again
}

// New returns the app of cfg, whose secret is platform's. Settings may be missing; the
// error is cfg's. The client is the caller's to close, and made of platform too.
func New(cfg Config, platform meta.Config, graph *meta.Client, now func() time.Time) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	dialog, err := meta.Origin(cmp.Or(cfg.DialogURL, defaultDialogURL))
	if err != nil {
		return nil, fmt.Errorf("META_DIALOG_URL %w", err)
	}
	return &App{
		cfg:    cfg,
		secret: platform.Secret(),
		dialog: dialog.JoinPath(platform.Version(), "dialog", "oauth").String(),
		graph:  graph,
		now:    now,
		pause:  200 * time.Millisecond,
	}, nil
}

// AuthType is why somebody is sent to the dialog again.
type AuthType string

// The reasons.
const (
	// Rerequest asks again for what was declined, which the dialog passes over otherwise.
	Rerequest AuthType = "rerequest"
	// Reauthorize renews the access to data, which ends 90 days after somebody's last use.
	Reauthorize AuthType = "reauthorize"
)

// AuthOptions are what may differ from dialog to dialog.
type AuthOptions struct {
	AuthType AuthType
	Verifier string // of PKCE: [State.Verifier]; empty: without
}

// Asked is what a login asks for that wants scopes: all that may be asked for where it
// names none. The error is ErrScope.
func (a *App) Asked(scopes []string) ([]string, error) {
	all := a.cfg.scopes()
	if len(scopes) == 0 {
		return slices.Clone(all), nil
	}
	var asked []string
	for i, scope := range scopes {
		if !slices.Contains(all, scope) {
			return nil, fmt.Errorf("permission %d of %d: %w", i+1, len(scopes), ErrScope)
		}
		if !slices.Contains(asked, scope) {
			asked = append(asked, scope)
		}
	}
	return asked, nil
}

// AuthURL is where to send somebody's browser to. A configuration of Facebook Login for
// Business is asked for instead of scopes, where there is one: people allow all of it or
// nothing. The errors are ErrNotConfigured, ErrRedirect and ErrScope.
func (a *App) AuthURL(redirectURI, state string, scopes []string, options AuthOptions) (string, error) {
	if a.cfg.AppID == "" {
		return "", fmt.Errorf("dialog: %w", ErrNotConfigured)
	}
	if !a.cfg.MayRedirect(redirectURI) {
		return "", fmt.Errorf("dialog: %w", ErrRedirect)
	}
	asked, err := a.Asked(scopes)
	if err != nil {
		return "", fmt.Errorf("dialog: %w", err)
	}
	var params []oauth2.AuthCodeOption
	if a.cfg.ConfigID != "" {
		params = append(params, oauth2.SetAuthURLParam("config_id", a.cfg.ConfigID))
	} else {
		params = append(params, oauth2.SetAuthURLParam("scope", strings.Join(asked, ","))) // the library joins by spaces
	}
	switch options.AuthType {
	case "":
	case Rerequest, Reauthorize:
		params = append(params, oauth2.SetAuthURLParam("auth_type", string(options.AuthType)))
	default:
		return "", fmt.Errorf("dialog: there is no auth_type %q", options.AuthType)
	}
	if options.Verifier != "" {
		params = append(params, oauth2.S256ChallengeOption(options.Verifier))
	}
	return a.protocol(redirectURI).AuthCodeURL(state, params...), nil
}

// protocol is OAuth as this app speaks it.
func (a *App) protocol(redirectURI string) *oauth2.Config {
	return &oauth2.Config{
		ClientID:     a.cfg.AppID,
		ClientSecret: a.secret,
		RedirectURL:  redirectURI,
		Endpoint: oauth2.Endpoint{
			AuthURL:  a.dialog,
			TokenURL: a.graph.URL("oauth", "access_token"),
			// Left to find out, the library would send a code that is refused a second time.
			AuthStyle: oauth2.AuthStyleInParams,
		},
	}
}

// token is the app's own; it is for what is not somebody's.
func (a *App) token() (string, error) {
	if a.cfg.AppID == "" || a.secret == "" {
		return "", ErrNotConfigured
	}
	return a.cfg.AppID + "|" + a.secret, nil
}

// tries is how often something is asked for that can be asked for again.
const tries = 3

// again calls until it succeeds, or fails in a way that would be the same again.
func (a *App) again(ctx context.Context, call func() (*meta.Response, error)) (*meta.Response, error) {
	for try := 1; ; try++ {
		res, err := call()
		err = appFault(err, false)
		if err == nil || try == tries || !passing(err) {
			return res, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(time.Duration(try) * a.pause):
		}
	}
}

// passing says whether a call that changes nothing may succeed soon.
func passing(err error) bool {
	if failed, ok := errors.AsType[*meta.Error](err); ok {
		return failed.Class == meta.Retryable && !failed.Throttled()
	}
	return errors.Is(err, meta.ErrNotSent) || errors.Is(err, meta.ErrOutcomeUnknown)
}

// read is a GET of the Graph API.
func (a *App) read(ctx context.Context, token string, path meta.Path, params url.Values) (*meta.Response, error) {
	return a.again(ctx, func() (*meta.Response, error) { return a.graph.Get(ctx, token, path, params) })
}
