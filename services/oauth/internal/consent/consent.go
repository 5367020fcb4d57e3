// Package consent is a login by Facebook, from where somebody is sent to until what
// they allowed is connected.
//
// A state is used up before its code goes to Meta, in a transaction of its own: of two
// exchanges with it one goes on, and Meta gets a code once. From then on the login can
// only be finished or begun anew. So what cannot be read of one page or account is a
// warning; what the login cannot do without ends it, and says so; and a client that hangs
// up ends nothing. No call of Meta is made within a transaction, and all that came of the
// login is stored in one.
package consent

import (
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/services/oauth/internal/facebook"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
)

// Service does the actions of logins.
type Service struct {
	Login     login.Config
	App       *login.App
	States    *login.States // nil where the settings are missing: then no action comes here
	Store     *store.Store
	Vault     *vault.Vault
	Connector *connection.Connector
	Simulated bool // Meta is not the real one
	Times     Times
}

// Times bound an exchange, whatever Meta does. Together they are to be less than a
// request may take, so that there is time to store what was read.
type Times struct {
	Reading   time.Duration // all that Meta is asked
	Instagram time.Duration // of it, the accounts; what is not read then is a warning
	Storing   time.Duration
}

// DefaultTimes are for requests of 40 s.
func DefaultTimes() Times {
	return Times{Reading: 26 * time.Second, Instagram: 10 * time.Second, Storing: 10 * time.Second}
}

// Actions are those of this package.
func (s *Service) Actions() []facebook.Action {
	return []facebook.Action{
		facebook.On("get_auth_url", s.authURL),
		facebook.On("exchange_code", s.exchange),
	}
}

// Bounds of the contract, in characters.
const (
	maxRedirect    = 2048
	maxOpaque      = 4096 // of a code or a state
	maxScopes      = 50
	maxErrorName   = 200
	maxErrorCode   = 20
	maxErrorReason = 200
	maxErrorText   = 1000
)

// authURL says where to send somebody's browser to.
func (s *Service) authURL(ctx context.Context, in openapi.GetAuthURLAction) (any, error) {
	var faults faults
	faults.bounded("redirectUri", in.RedirectURI, maxRedirect)
	if len(in.Scopes) > maxScopes {
		faults.add(fmt.Sprintf("must have at most %d items", maxScopes), "scopes")
	}
	for i, scope := range in.Scopes[:min(len(in.Scopes), maxScopes)] {
		if _, err := s.App.Asked([]string{scope}); err != nil {
			faults.add("is not a permission that may be asked for", "scopes", i)
		}
	}
	authType := login.AuthType(in.AuthType)
	switch authType {
	case "", login.Rerequest, login.Reauthorize:
	default:
		faults.add("must be one of reauthorize, rerequest", "authType")
	}
	if err := faults.err(); err != nil {
		return nil, err
	}
	if !s.Login.MayRedirect(in.RedirectURI) {
		return nil, login.ErrRedirect
	}
	asked, err := s.App.Asked(in.Scopes)
	if err != nil {
		return nil, err
	}
	text, state, err := s.States.Make(claims(ctx, in.RedirectURI), asked, s.Login.PKCE)
	if err != nil {
		return nil, err
	}
	to, err := s.App.AuthURL(in.RedirectURI, text, asked, login.AuthOptions{AuthType: authType, Verifier: state.Verifier})
	if err != nil {
		return nil, err
	}
	return openapi.AuthURL{AuthURL: to, State: text, ExpiresAt: state.Expires, Simulated: s.Simulated}, nil
}

// claims are what a state is bound to: who asks, for whom.
func claims(ctx context.Context, redirectURI string) login.Claims {
	p, _ := auth.FromContext(ctx)
	return login.Claims{Tenant: p.Tenant, User: p.Actor, RedirectURI: redirectURI}
}

// faults are those of a request.
type faults []problem.FieldError

func (f *faults) add(detail string, at ...any) {
	*f = append(*f, problem.FieldError{Pointer: problem.Pointer(at...), Detail: detail})
}

// bounded asks for a text of at most so many characters.
func (f *faults) bounded(name, text string, most int) {
	if utf8.RuneCountInString(text) > most {
		f.add(fmt.Sprintf("must have at most %d characters", most), name)
	}
}

func (f *faults) err() error {
	if len(*f) > 0 {
		return problem.Invalid(*f...)
	}
	return nil
}
