package refusal_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/services/oauth/internal/refusal"
)

func answered(class meta.Class, code int) *meta.Error {
	return &meta.Error{Status: 400, Coded: true, Code: code, Subcode: 7, Class: class, Message: "words", FBTraceID: "trace"}
}

func TestOf(t *testing.T) {
	t.Parallel()
	busy := answered(meta.RateLimited, 80001)
	busy.Usage.Business = []meta.BusinessLoad{{RegainAccess: 5 * time.Minute}}
	transient := answered(meta.Retryable, 4) // as Meta has it
	for _, tc := range []struct {
		name   string
		err    error
		status int
		kind   string
		at     string
		code   int // of Meta; 0: nothing of Meta's is told
		retry  time.Duration
	}{
		{name: "a token that is refused", err: answered(meta.Auth, 190), status: 409, kind: problem.TypeReconnectRequired, code: 190},
		{name: "a permission", err: answered(meta.Permission, 200), status: 403, kind: problem.TypeOAuthPermissionMissing, code: 200},
		{name: "throttling, with the time that Meta says", err: busy, status: 429, kind: problem.TypeMetaThrottled, code: 80001, retry: 5 * time.Minute},
		{name: "throttling that Meta calls transient", err: transient, status: 429, kind: problem.TypeMetaThrottled, code: 4},
		{name: "what passes", err: answered(meta.Retryable, 2), status: 502, kind: problem.TypeMetaUnreachable, code: 2},
		{name: "what cannot be", err: answered(meta.Permanent, 100), status: 422, kind: problem.TypeMetaRefused, code: 100},
		{name: "an account that is blocked", err: answered(meta.Policy, 368), status: 422, kind: problem.TypeMetaRefused, code: 368},
		{name: "no answer", err: meta.ErrNotSent, status: 502, kind: problem.TypeMetaUnreachable},
		{name: "an answer that was lost", err: fmt.Errorf("%w: %w", meta.ErrOutcomeUnknown, context.DeadlineExceeded), status: 502, kind: problem.TypeMetaUnreachable},
		{name: "a text that is no token", err: meta.ErrToken, status: 422, kind: problem.TypeMetaRefused},
		{name: "a text that is no id", err: meta.ErrPath, status: 422, kind: problem.TypeMetaRefused},
		{name: "another account's token", err: meta.ErrOtherAccount, status: 422, kind: problem.TypeMetaRefused},
		{name: "the app's secret", err: fmt.Errorf("%w: %w", login.ErrApp, answered(meta.Permanent, 1)), status: 503, kind: problem.TypeOAuthNotConfigured, code: 1},
		{name: "a proof that does not fit the token", err: fmt.Errorf("%w: %w", login.ErrApp, answered(meta.Permanent, 100)), status: 422, kind: problem.TypeMetaRefused, code: 100},
		{name: "a code", err: fmt.Errorf("%w: %w", login.ErrCode, answered(meta.Permanent, 100)), status: 422, kind: problem.TypeOAuthCodeInvalid, at: "/code", code: 100},
		{name: "a code by its form", err: login.ErrCode, status: 422, kind: problem.TypeOAuthCodeInvalid, at: "/code"},
		{name: "a code that was used", err: fmt.Errorf("%w: %w", login.ErrCodeUsed, answered(meta.Permanent, 100)), status: 409, kind: problem.TypeOAuthCodeUsed, code: 100},
		{name: "a code that has expired", err: fmt.Errorf("%w: %w", login.ErrCodeExpired, answered(meta.Permanent, 100)), status: 422, kind: problem.TypeOAuthCodeExpired, at: "/code", code: 100},
		{name: "a code for another URI", err: fmt.Errorf("%w: %w", login.ErrCodeRedirect, answered(meta.Permanent, 100)), status: 422, kind: problem.TypeOAuthRedirectMismatch, at: "/redirectUri", code: 100},
		{name: "a URI", err: login.ErrRedirect, status: 422, kind: problem.TypeOAuthRedirectMismatch, at: "/redirectUri"},
		{name: "scopes", err: login.ErrScope, status: 422, kind: "about:blank", at: "/scopes"},
		{name: "a state", err: login.ErrStateForged, status: 422, kind: problem.TypeOAuthStateInvalid, at: "/state"},
		{name: "another user's state", err: login.ErrStateOwner, status: 422, kind: problem.TypeOAuthStateInvalid, at: "/state"},
		{name: "a state for another URI", err: login.ErrStateRedirect, status: 422, kind: problem.TypeOAuthRedirectMismatch, at: "/redirectUri"},
		{name: "a state that has expired", err: login.ErrStateExpired, status: 422, kind: problem.TypeOAuthStateExpired, at: "/state"},
		{name: "a state that was used", err: grant.ErrStateUsed, status: 409, kind: problem.TypeOAuthStateUsed},
		{name: "no settings", err: login.ErrNotConfigured, status: 503, kind: problem.TypeOAuthNotConfigured},
		{name: "a grant without a token", err: grant.ErrReconnect, status: 409, kind: problem.TypeReconnectRequired},
		{name: "a grant that is gone", err: connection.ErrGrant, status: 409, kind: problem.TypeReconnectRequired},
		{name: "a grant that was renewed", err: grant.ErrReplaced, status: 409, kind: "about:blank"},
		{name: "too many grants", err: grant.ErrTooMany, status: 403, kind: "about:blank"},
		{name: "a connection without a token", err: connection.ErrReconnect, status: 409, kind: problem.TypeReconnectRequired},
		{name: "a paused connection", err: connection.ErrPaused, status: 409, kind: "about:blank"},
		{name: "an account that is connected", err: connection.ErrTaken, status: 409, kind: problem.TypeConnectionTaken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := refusal.Of(fmt.Errorf("do it: %w", tc.err))
			p, ok := errors.AsType[*problem.Problem](got)
			if !ok {
				t.Fatalf("%v is no problem", got)
			}
			at := ""
			if len(p.Errors) > 0 {
				at = p.Errors[0].Pointer
			}
			if p.Status != tc.status || p.Type != tc.kind && (p.Type != "" || tc.kind != "about:blank") || at != tc.at || p.RetryAfter != tc.retry || p.Detail == "" {
				t.Errorf("%+v", p)
			}
			if !errors.Is(got, tc.err) {
				t.Error("its cause is lost")
			}
			var want map[string]any
			if tc.code != 0 {
				want = map[string]any{"metaCode": tc.code, "metaSubcode": 7, "fbtraceId": "trace"}
			}
			if !reflect.DeepEqual(p.Extensions, want) {
				t.Errorf("extensions %v, want %v", p.Extensions, want)
			}
		})
	}
	if refusal.Of(nil) != nil {
		t.Error("a refusal of nothing")
	}
	done := problem.NotFound("gone").WithCause(answered(meta.Auth, 190))
	if got := refusal.Of(fmt.Errorf("do it: %w", done)); !errors.Is(got, error(done)) {
		t.Errorf("a problem becomes %v", got)
	}
	unknown := errors.New("who knows")
	if got := refusal.Of(unknown); !errors.Is(got, unknown) || reflect.TypeOf(got) != reflect.TypeOf(unknown) {
		t.Errorf("an unknown error becomes %v", got)
	}
}

func TestWarning(t *testing.T) {
	t.Parallel()
	w := refusal.Warning(refusal.NotRevoked, "Meta did not take it back", "", "", fmt.Errorf("revoke: %w", answered(meta.Auth, 190)))
	if w.Reason != "not_revoked" || w.Message != "Meta did not take it back: words" || w.PageID != nil || w.AccountID != nil ||
		*w.MetaCode != 190 || *w.MetaSubcode != 7 || *w.FbtraceID != "trace" {
		t.Errorf("%+v", w)
	}
	w = refusal.Left(login.Warning{Reason: login.InstagramUnreadable, Page: "1", Account: "2", Err: context.DeadlineExceeded})
	if w.Message != "Instagram account 2 of page 1 cannot be read" || *w.PageID != "1" || *w.AccountID != "2" || w.MetaCode != nil || w.FbtraceID != nil {
		t.Errorf("%+v", w)
	}
	for _, reason := range []login.Reason{login.PageUnreadable, login.PageWithoutToken, login.PagesCut, login.InstagramUnreadable} {
		if refusal.Left(login.Warning{Reason: reason}).Message == "" {
			t.Errorf("%s says nothing", reason)
		}
	}
}
