// Package auth says who makes a request, for which tenant, and what they may do.
package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/problem"
)

// Scopes of API keys. None includes another.
const (
	ScopeEventsWrite   = "events:write"   // publish events
	ScopeWebhooksRead  = "webhooks:read"  // read webhooks, their logs and queues
	ScopeWebhooksWrite = "webhooks:write" // change webhooks, test, retry, replay
	ScopeChannelsWrite = "channels:write" // connect channels and send through them
	ScopePlatform      = "platform"       // act for any tenant: the CRM itself
)

// Scopes lists every scope.
func Scopes() []string {
	return []string{ScopeEventsWrite, ScopeWebhooksRead, ScopeWebhooksWrite, ScopeChannelsWrite, ScopePlatform}
}

// Principal is who makes a request.
type Principal struct {
	// Tenant is the one whose data the request sees: the key's or token's own, or the
	// one that a platform key named.
	Tenant uuid.UUID
	// KeyID is the API key's id; the zero one for a token's user.
	KeyID uuid.UUID
	// Actor is how the audit log names the principal: "key:" and the key's id, or
	// "user:" and the token's subject.
	Actor string
	// Scopes are what the principal may do.
	Scopes []string
}

// Has says whether the principal has the scope.
func (p Principal) Has(scope string) bool { return slices.Contains(p.Scopes, scope) }

// For returns the principal acting for tenant. For another tenant than its own it
// needs the platform scope; without, the error is a problem with status 403.
func (p Principal) For(tenant uuid.UUID) (Principal, error) {
	if tenant != p.Tenant && !p.Has(ScopePlatform) {
		return Principal{}, problem.Forbidden("only keys with the scope " + ScopePlatform + " may act for another tenant")
	}
	p.Tenant = tenant
	return p, nil
}

type contextKey struct{}

// WithPrincipal returns a context that carries p.
func WithPrincipal(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, contextKey{}, p)
}

// FromContext returns the principal that Middleware put into ctx, or false.
func FromContext(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(contextKey{}).(Principal)
	return p, ok
}

// Require returns the principal in ctx if it has the scope. The error is a problem:
// 401 without a principal, 403 without the scope.
func Require(ctx context.Context, scope string) (Principal, error) {
	p, ok := FromContext(ctx)
	if !ok {
		return Principal{}, unauthorized("", "this needs an API key or a token")
	}
	if !p.Has(scope) {
		// RFC 6750, 3.1: names the scope that would do.
		challenge := fmt.Sprintf(`Bearer realm="primezap", error="insufficient_scope", scope=%q`, scope)
		return Principal{}, problem.Forbidden("this needs the scope "+scope).WithHeader("WWW-Authenticate", challenge)
	}
	return p, nil
}

// KeyPrefix begins every API key: it tells them from other credentials, and secret scanners what they found.
const KeyPrefix = "pz_"

// NewKey makes an API key: pz_ and 32 random bytes in base64url. It is shown once;
// we keep its hash.
func NewKey() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: see crypto/rand
	return KeyPrefix + base64.RawURLEncoding.EncodeToString(random[:])
}

// HashKey is what is stored of a key, and what it is looked up by. A key is too
// random to be guessed, so one round of SHA-256 without salt is enough.
func HashKey(key string) [sha256.Size]byte { return sha256.Sum256([]byte(key)) }
