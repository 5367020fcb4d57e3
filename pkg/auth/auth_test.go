package auth_test

import (
	"context"
	"encoding/hex"
	"errors"
	"regexp"
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/problem"
)

var (
	ours   = uuid.MustParse("0198f3a0-0000-7000-8000-000000000001")
	theirs = uuid.MustParse("0198f3a0-0000-7000-8000-000000000002")
)

func TestNewKey(t *testing.T) {
	t.Parallel()
	key := auth.NewKey()
	if !regexp.MustCompile(`^pz_[A-Za-z0-9_-]{43}$`).MatchString(key) {
		t.Errorf("key %q is not pz_ and 32 bytes in base64url", key)
	}
	if key == auth.NewKey() {
		t.Error("two keys are the same")
	}
}

func TestHashKey(t *testing.T) {
	t.Parallel()
	// printf pz_test | sha256sum: stored hashes must be found in later versions.
	const want = "991fa44c81f39dc540d2eaae25edd4f7053082a987b8229d582f48025047b05b"
	if got := auth.HashKey("pz_test"); hex.EncodeToString(got[:]) != want {
		t.Errorf("HashKey = %x, want %s", got, want)
	}
}

func TestPrincipal_For(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		scopes []string
		tenant uuid.UUID
		status int // of the problem; 0 for none
	}{
		{name: "its own tenant needs no scope", tenant: ours},
		{name: "another one needs platform", tenant: theirs, scopes: []string{auth.ScopePlatform}},
		{name: "no other scope will do", tenant: theirs, scopes: []string{
			auth.ScopeEventsWrite, auth.ScopeWebhooksRead, auth.ScopeWebhooksWrite, auth.ScopeChannelsWrite,
		}, status: 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := auth.Principal{Tenant: ours, Actor: "key:x", Scopes: tc.scopes}
			got, err := p.For(tc.tenant)
			if status := statusOf(err); status != tc.status {
				t.Fatalf("error %v, want status %d", err, tc.status)
			}
			if tc.status == 0 && (got.Tenant != tc.tenant || got.Actor != p.Actor || !slices.Equal(got.Scopes, p.Scopes)) {
				t.Errorf("got %+v, want the principal with tenant %s", got, tc.tenant)
			}
			if tc.status != 0 && got.Tenant != uuid.Nil {
				t.Errorf("a refused principal has tenant %s", got.Tenant)
			}
			if p.Tenant != ours {
				t.Error("the principal itself changed")
			}
		})
	}
}

func TestRequire(t *testing.T) {
	t.Parallel()
	reader := auth.WithPrincipal(t.Context(), auth.Principal{Tenant: ours, Scopes: []string{auth.ScopeWebhooksRead}})
	for _, tc := range []struct {
		name      string
		ctx       context.Context
		scope     string
		status    int
		challenge string
	}{
		{name: "a principal with the scope passes", ctx: reader, scope: auth.ScopeWebhooksRead},
		{
			name: "without the scope it is a 403 that names it", ctx: reader, scope: auth.ScopeWebhooksWrite, status: 403,
			challenge: `Bearer realm="primezap", error="insufficient_scope", scope="webhooks:write"`,
		},
		{
			name: "without a principal it is a 401", ctx: t.Context(), scope: auth.ScopeWebhooksRead, status: 401,
			challenge: `Bearer realm="primezap"`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p, err := auth.Require(tc.ctx, tc.scope)
			if statusOf(err) != tc.status {
				t.Fatalf("error %v, want status %d", err, tc.status)
			}
			if refused, ok := errors.AsType[*problem.Problem](err); ok {
				if got := refused.Header.Get("WWW-Authenticate"); got != tc.challenge {
					t.Errorf("challenge %q, want %q", got, tc.challenge)
				}
			} else if p.Tenant != ours {
				t.Errorf("principal of tenant %s, want %s", p.Tenant, ours)
			}
		})
	}
}

func TestScopes_PlatformImpliesNothing(t *testing.T) {
	t.Parallel()
	p := auth.Principal{Scopes: []string{auth.ScopePlatform}}
	for _, scope := range auth.Scopes() {
		if got, want := p.Has(scope), scope == auth.ScopePlatform; got != want {
			t.Errorf("Has(%s) = %t, want %t", scope, got, want)
		}
	}
}

// statusOf is the status of the problem that err is, 0 for nil and -1 for another error.
func statusOf(err error) int {
	if err == nil {
		return 0
	}
	if p, ok := errors.AsType[*problem.Problem](err); ok {
		return p.Status
	}
	return -1
}
