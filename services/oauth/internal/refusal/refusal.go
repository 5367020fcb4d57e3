// Package refusal is what clients are told of that Meta, a login or what is stored
// refuses: problems, and warnings where the rest went well. Both have Meta's code,
// subcode and fbtrace_id, by which its support finds the call, and no token.
package refusal

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/problem"
)

// Of makes of an error the problem that it is for a client. One that is a problem
// already, or none that is known here, stays as it is; nil stays nil.
func Of(err error) error {
	if err == nil {
		return nil
	}
	if _, done := errors.AsType[*problem.Problem](err); done {
		return err
	}
	if errors.Is(err, login.ErrApp) {
		return said(ofApp(err), err)
	}
	for _, known := range sentinels {
		if errors.Is(err, known.err) {
			return said(known.problem(), err)
		}
	}
	if failed, ok := errors.AsType[*meta.Error](err); ok {
		return said(ofMeta(failed), err)
	}
	switch {
	case errors.Is(err, meta.ErrNotSent), errors.Is(err, meta.ErrOutcomeUnknown):
		return unreachable("Meta did not answer, or not in a form that can be read").WithCause(err)
	case errors.Is(err, meta.ErrToken):
		return metaRefused("no access token looks like this").WithCause(err)
	case errors.Is(err, meta.ErrPath):
		return metaRefused("no id of Meta's looks like this").WithCause(err)
	case errors.Is(err, meta.ErrOtherAccount):
		return metaRefused("the token is another account's").WithCause(err)
	}
	return err
}

// said is a problem with its cause, and with Meta's codes if there is an answer of
// Meta's in it.
func said(p *problem.Problem, err error) *problem.Problem {
	if failed, ok := errors.AsType[*meta.Error](err); ok {
		p = failed.On(p)
	}
	return p.WithCause(err)
}

const anew = "begin the login anew"

// sentinels are the errors of logins and of what is stored.
var sentinels = []struct {
	err     error
	problem func() *problem.Problem
}{
	{login.ErrRedirect, func() *problem.Problem {
		return Field("redirectUri", "is not on the list of those that are allowed").WithType(problem.TypeOAuthRedirectMismatch)
	}},
	{login.ErrStateRedirect, otherRedirect},
	{login.ErrCodeRedirect, otherRedirect},
	{login.ErrScope, func() *problem.Problem { return Field("scopes", "asks for more than may be asked for") }},
	{login.ErrStateForged, otherState},
	{login.ErrStateOwner, otherState},
	{login.ErrStateExpired, func() *problem.Problem {
		return Field("state", "has expired: a login may take ten minutes").WithType(problem.TypeOAuthStateExpired)
	}},
	{login.ErrCodeUsed, func() *problem.Problem {
		return problem.Conflict("Meta was given the code before: " + anew).WithType(problem.TypeOAuthCodeUsed)
	}},
	{login.ErrCodeExpired, func() *problem.Problem {
		return Field("code", "has expired: "+anew).WithType(problem.TypeOAuthCodeExpired)
	}},
	{login.ErrCode, func() *problem.Problem {
		return Field("code", "is not one that Meta gave: "+anew).WithType(problem.TypeOAuthCodeInvalid)
	}},
	{login.ErrNotConfigured, func() *problem.Problem {
		return problem.Unavailable(0, "a setting is missing without which nobody can log in").WithType(problem.TypeOAuthNotConfigured)
	}},
	{grant.ErrStateUsed, func() *problem.Problem {
		return problem.Conflict("the state was used before: " + anew).WithType(problem.TypeOAuthStateUsed)
	}},
	{grant.ErrReconnect, func() *problem.Problem { return Reconnect("Meta takes the user's token no more: log in again") }},
	{grant.ErrReplaced, func() *problem.Problem {
		return problem.Conflict("somebody logged in again meanwhile, or took it back: read what is connected now")
	}},
	{grant.ErrTooMany, func() *problem.Problem {
		return problem.Forbidden("as many people as may have logged in for the tenant: disconnect one first")
	}},
	{connection.ErrGrant, func() *problem.Problem {
		return Reconnect("what the user had allowed was taken back meanwhile: log in again")
	}},
	{connection.ErrTaken, func() *problem.Problem {
		return problem.Conflict("the account is connected already").WithType(problem.TypeConnectionTaken)
	}},
	{connection.ErrReconnect, func() *problem.Problem { return Reconnect("Meta takes the token no more: log in again") }},
	{connection.ErrPaused, func() *problem.Problem {
		return problem.Conflict("the connection is paused: make it active first")
	}},
}

func otherRedirect() *problem.Problem {
	return Field("redirectUri", "is not the one that the login began with").WithType(problem.TypeOAuthRedirectMismatch)
}

func otherState() *problem.Problem {
	return Field("state", "is not one that get_auth_url gave to this user").WithType(problem.TypeOAuthStateInvalid)
}

// Field is a problem with one field of the request.
func Field(name, detail string) *problem.Problem {
	return problem.Invalid(problem.FieldError{Pointer: problem.Pointer(name), Detail: detail})
}

// Reconnect asks for another login.
func Reconnect(detail string) *problem.Problem {
	return problem.Conflict(detail).WithType(problem.TypeReconnectRequired)
}

// Dead asks for another login, since a token is not valid, with what Meta says of it.
func Dead(info login.Info, detail string) *problem.Problem {
	said := &meta.Error{Coded: info.Code != 0, Code: info.Code, Subcode: info.Subcode}
	return said.On(Reconnect(detail))
}

// Permission says what was not granted, where that is known.
func Permission(detail string, missing ...string) *problem.Problem {
	p := problem.Forbidden(detail).WithType(problem.TypeOAuthPermissionMissing)
	if len(missing) > 0 {
		p = p.WithExtension("missingScopes", missing)
	}
	return p
}

// ofApp is the problem of an app that Meta does not take. One of a proof may also mean
// that the token is not the app's.
func ofApp(err error) *problem.Problem {
	if failed, ok := errors.AsType[*meta.Error](err); ok && failed.Code == 100 {
		return metaRefused("the token is another app's, or FACEBOOK_APP_SECRET is not the app's secret")
	}
	return problem.Unavailable(0, "Meta does not take the app's id and secret: FACEBOOK_APP_ID and FACEBOOK_APP_SECRET are to be looked at").
		WithType(problem.TypeOAuthNotConfigured)
}

// ofMeta is the problem of what Meta answered.
func ofMeta(e *meta.Error) *problem.Problem {
	switch {
	case e.Throttled():
		return problem.TooManyRequests(e.Usage.RegainAccess(), "Meta takes no more calls for now").WithType(problem.TypeMetaThrottled)
	case e.Class == meta.Retryable:
		return unreachable(words("Meta cannot do it now", e))
	case e.Class == meta.Auth:
		return Reconnect(words("Meta takes the token no more: log in again", e))
	case e.Class == meta.Permission:
		return Permission(words("Meta asks for a permission that was not granted", e))
	}
	return metaRefused(words("Meta refuses it", e))
}

// words are ours and Meta's.
func words(ours string, e *meta.Error) string {
	if e.Message == "" {
		return ours
	}
	return fmt.Sprintf("%s: %s", ours, e.Message)
}

// Unusable is what Meta answered, and what nobody can go on with.
func Unusable(detail string) *problem.Problem { return unreachable(detail) }

func metaRefused(detail string) *problem.Problem {
	return problem.New(http.StatusUnprocessableEntity, "", detail).WithType(problem.TypeMetaRefused)
}

func unreachable(detail string) *problem.Problem {
	return problem.New(http.StatusBadGateway, "", detail).WithType(problem.TypeMetaUnreachable)
}
