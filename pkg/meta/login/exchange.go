package login

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/primezap/primezap/pkg/meta"
)

// The reasons why Meta does not take a code. They come with the [*meta.Error].
var (
	ErrCode         = errors.New("the code is not one that Meta gave")
	ErrCodeUsed     = errors.New("the code has been used")
	ErrCodeExpired  = errors.New("the code has expired")
	ErrCodeRedirect = errors.New("the code is for another redirect URI")
)

// Token is a user's, and lives for about sixty days.
type Token struct {
	AccessToken string
	ExpiresAt   time.Time // zero: never
}

// String is for errors and logs: without the token.
func (t Token) String() string { return "token until " + t.ExpiresAt.Format(time.RFC3339) }

// GoString is String.
func (t Token) GoString() string { return t.String() }

// Exchange makes a token of the code that somebody came back with. verifier is the
// state's. The code is sent once, and is no good for another call when this one fails,
// unless with ErrNotConfigured or ErrRedirect.
func (a *App) Exchange(ctx context.Context, code, redirectURI, verifier string) (Token, error) {
	switch {
	case a.cfg.AppID == "" || a.secret == "":
		return Token{}, fmt.Errorf("exchange code: %w", ErrNotConfigured)
	case !a.cfg.MayRedirect(redirectURI):
		return Token{}, fmt.Errorf("exchange code: %w", ErrRedirect)
	case !opaque(code):
		return Token{}, fmt.Errorf("exchange code: %w", ErrCode)
	}
	var params []oauth2.AuthCodeOption
	if verifier != "" {
		params = append(params, oauth2.VerifierOption(verifier))
	}
	short, err := a.protocol(redirectURI).Exchange(context.WithValue(ctx, oauth2.HTTPClient, a.graph.HTTP()), code, params...)
	if err != nil {
		return Token{}, fmt.Errorf("exchange code: %w", a.refusal(err, code, verifier))
	}
	return a.Refresh(ctx, short.AccessToken)
}

// refusal is the error of an exchange without what the library shows of the answer.
func (a *App) refusal(err error, code, verifier string) error {
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok {
		// Of the client, or the library's about an answer that it cannot read.
		for _, kind := range []error{meta.ErrNotSent, meta.ErrOutcomeUnknown} {
			if !errors.Is(err, kind) {
				continue
			}
			if wrapped, ok := errors.AsType[*url.Error](err); ok {
				return wrapped.Err
			}
		}
		return fmt.Errorf("read answer: %w", meta.ErrOutcomeUnknown)
	}
	failed := meta.ReadError(refused.Response.StatusCode, refused.Response.Header, refused.Body, code, verifier, a.secret)
	if failed == nil {
		return fmt.Errorf("read answer: %w", meta.ErrOutcomeUnknown)
	}
	if reason := codeReason(failed); reason != nil {
		return fmt.Errorf("%w: %w", reason, failed)
	}
	return appFault(failed, false)
}

// codeReason is what an error says of the code; nil where it says nothing.
func codeReason(e *meta.Error) error {
	if e.Code != 100 {
		return nil
	}
	message := strings.ToLower(e.Message)
	switch {
	case e.Subcode == 36009 || strings.Contains(message, "code has been used"):
		return ErrCodeUsed
	case e.Subcode == 36007 || strings.Contains(message, "code has expired"):
		return ErrCodeExpired
	case e.Subcode == 36008 || strings.Contains(message, "redirect_uri"):
		return ErrCodeRedirect
	case strings.Contains(message, "verification code") || strings.Contains(message, "code_verifier"):
		return ErrCode
	}
	return nil
}

// Refresh makes a token that lives for sixty days of one that has not expired yet; the
// old one is to be replaced. An error of class [meta.Auth] means that somebody has to
// log in anew.
func (a *App) Refresh(ctx context.Context, token string) (Token, error) {
	if a.cfg.AppID == "" || a.secret == "" {
		return Token{}, fmt.Errorf("extend token: %w", ErrNotConfigured)
	}
	asked := a.now()
	res, err := a.again(ctx, func() (*meta.Response, error) {
		return a.graph.Post(ctx, "", meta.Path{"oauth", "access_token"}, url.Values{
			"grant_type":        {"fb_exchange_token"},
			"client_id":         {a.cfg.AppID},
			"client_secret":     {a.secret},
			"fb_exchange_token": {token},
		}, nil)
	})
	if err != nil {
		return Token{}, fmt.Errorf("extend token: %w", err)
	}
	var answer struct {
		AccessToken string  `json:"access_token"`
		ExpiresIn   seconds `json:"expires_in"`
	}
	if err := res.Decode(&answer); err != nil {
		return Token{}, fmt.Errorf("extend token: %w", err)
	}
	if !opaque(answer.AccessToken) {
		return Token{}, fmt.Errorf("extend token: %w: there is no token in the answer", meta.ErrOutcomeUnknown)
	}
	if answer.ExpiresIn > 0 {
		return Token{answer.AccessToken, asked.Add(time.Duration(answer.ExpiresIn) * time.Second).UTC()}, nil
	}
	info, err := a.Debug(ctx, answer.AccessToken)
	if err != nil {
		return Token{}, fmt.Errorf("extend token: %w", err)
	}
	return Token{answer.AccessToken, info.ExpiresAt}, nil
}

const maxOpaque = 4 << 10 // bytes

// opaque says whether a text looks as any code or token may.
func opaque(text string) bool {
	return text != "" && len(text) <= maxOpaque && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}
