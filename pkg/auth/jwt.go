package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/problem"
)

// JWTConfig says which tokens are taken: those signed with a secret, or those
// signed with one of the keys behind a URL. With neither, API keys alone are.
type JWTConfig struct {
	Secret     string      `env:"JWT_HS256_SECRET" secret:"true" help:"takes JSON Web Tokens signed with HS256 and this secret, of at least 32 bytes"`
	JWKSURL    string      `env:"JWT_JWKS_URL" help:"takes JSON Web Tokens signed with one of the public keys at this https URL, which are read anew every few minutes"`
	Algorithms config.List `env:"JWT_ALGORITHMS" help:"their algorithms, comma separated: HS256 with a secret; RS256, ES256 and EdDSA, also the default, with a URL"`
	Audience   config.List `env:"JWT_AUDIENCE" help:"audiences of which a token must name one, comma separated; unset: not checked"`
	Issuer     string      `env:"JWT_ISSUER" help:"the issuer that a token must name; unset: not checked"`
}

const minSecretLen = 32 // bytes; RFC 7518, 3.2

var (
	symmetric  = []string{string(jose.HS256)}
	asymmetric = []string{string(jose.RS256), string(jose.ES256), string(jose.EdDSA)}
)

// algorithms are those of the config, or the default of its source.
func (c *JWTConfig) algorithms() []string {
	switch {
	case len(c.Algorithms) > 0:
		return c.Algorithms
	case c.Secret != "":
		return symmetric
	default:
		return asymmetric
	}
}

// Validate reports settings that cannot be meant. None of its errors shows the
// secret.
func (c *JWTConfig) Validate() error {
	var errs []error
	possible := asymmetric
	switch {
	case c.Secret != "" && c.JWKSURL != "":
		return errors.New("JWT_HS256_SECRET and JWT_JWKS_URL must not both be set")
	case c.Secret != "":
		possible = symmetric
		if len(c.Secret) < minSecretLen {
			errs = append(errs, fmt.Errorf("JWT_HS256_SECRET must have at least %d bytes", minSecretLen))
		}
	case c.JWKSURL != "":
		if !confidential(c.JWKSURL) {
			errs = append(errs, errors.New("JWT_JWKS_URL must be an https URL without user and fragment; http is for this machine alone"))
		}
	case len(c.Algorithms)+len(c.Audience) > 0 || c.Issuer != "":
		return errors.New("JWT_ALGORITHMS, JWT_AUDIENCE and JWT_ISSUER need JWT_HS256_SECRET or JWT_JWKS_URL")
	}
	for _, name := range c.Algorithms {
		if !slices.Contains(possible, name) {
			errs = append(errs, fmt.Errorf("JWT_ALGORITHMS: %q is none of %s", name, strings.Join(possible, ", ")))
		}
	}
	return errors.Join(errs...)
}

// confidential says whether what is read from a URL comes from there unchanged:
// whoever can change the keys can sign.
func confidential(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return false
	}
	if u.Scheme == "https" {
		return true
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "http" && (u.Hostname() == "localhost" || err == nil && ip.IsLoopback())
}

const (
	maxTokenLen = 16 << 10 // bytes
	maxSubject  = 255      // characters, as in OpenID Connect
	leeway      = 30 * time.Second
)

// Tokens checks JSON Web Tokens.
type Tokens struct {
	algorithms []jose.SignatureAlgorithm
	expected   jwt.Expected
	secret     []byte
	keys       *keySet // nil with a secret
}

// NewTokens checks as cfg, which is valid, says; nil if it says that no tokens
// are taken.
func NewTokens(cfg JWTConfig, log *slog.Logger) *Tokens {
	if cfg.Secret == "" && cfg.JWKSURL == "" {
		return nil
	}
	t := &Tokens{expected: jwt.Expected{Issuer: cfg.Issuer, AnyAudience: jwt.Audience(cfg.Audience)}}
	for _, name := range cfg.algorithms() {
		t.algorithms = append(t.algorithms, jose.SignatureAlgorithm(name))
	}
	if cfg.Secret != "" {
		t.secret = []byte(cfg.Secret)
	} else {
		t.keys = newKeySet(cfg.JWKSURL, log)
	}
	return t
}

// Run reads the keys behind the URL now and then, until ctx ends. Without it they
// are read when a token names an unknown one. A nil Tokens has nothing to do.
func (t *Tokens) Run(ctx context.Context) {
	if t != nil && t.keys != nil {
		t.keys.run(ctx)
	}
}

// Verify returns the user whom a token names. All errors are problems: 401 for a
// token that is not valid now, 403 for one without a tenant, 503 while the key
// that it names can be neither found nor ruled out. Nothing of the token is in
// any of them.
func (t *Tokens) Verify(ctx context.Context, token string) (Principal, error) {
	if len(token) > maxTokenLen {
		return Principal{}, invalidToken("the token is too long")
	}
	parsed, err := jwt.ParseSigned(token, t.algorithms)
	if err != nil {
		return Principal{}, invalidToken("the credential is neither an API key nor a token that is signed as it must be")
	}
	var claims jwt.Claims
	var about tenancy
	if err := t.verify(ctx, parsed, &claims, &about); err != nil {
		return Principal{}, err
	}
	if err := t.check(claims); err != nil {
		return Principal{}, err
	}
	tenant, ok := about.tenant()
	if !ok {
		return Principal{}, problem.Forbidden("the token names no tenant: org_id or app_metadata.organization_id must be its UUID")
	}
	return Principal{Tenant: tenant, Actor: "user:" + claims.Subject, Scopes: userScopes()}, nil
}

// userScopes are what a token's user may do: everything but act for other tenants.
func userScopes() []string {
	return slices.DeleteFunc(Scopes(), func(scope string) bool { return scope == ScopePlatform })
}

// verify reads the claims once a key has verified the signature.
func (t *Tokens) verify(ctx context.Context, token *jwt.JSONWebToken, claims ...any) error {
	if t.keys == nil {
		if token.Claims(t.secret, claims...) != nil {
			return invalidToken("the token's signature does not match, or its claims cannot be read")
		}
		return nil
	}
	// What the header says is believed only so far as to choose among our keys.
	keys, err := t.keys.find(ctx, token.Headers[0])
	if err != nil {
		return err
	}
	for _, key := range keys {
		if token.Claims(key.Key, claims...) == nil {
			return nil
		}
	}
	return invalidToken("the token's signature does not match, or its claims cannot be read")
}

// check compares what the token says of itself with what is expected.
func (t *Tokens) check(claims jwt.Claims) error {
	err := claims.ValidateWithLeeway(t.expected, leeway)
	unfit := func(r rune) bool { return !unicode.IsPrint(r) } // for the audit log
	switch {
	case claims.Expiry == nil:
		return invalidToken("the token does not expire: it has no exp")
	case errors.Is(err, jwt.ErrExpired):
		return invalidToken("the token has expired")
	case errors.Is(err, jwt.ErrNotValidYet), errors.Is(err, jwt.ErrIssuedInTheFuture):
		return invalidToken("the token is not valid yet")
	case errors.Is(err, jwt.ErrInvalidAudience):
		return invalidToken("the token is for another audience")
	case errors.Is(err, jwt.ErrInvalidIssuer):
		return invalidToken("the token is from another issuer")
	case err != nil:
		return invalidToken("the token is not valid")
	case claims.Subject == "" || utf8.RuneCountInString(claims.Subject) > maxSubject || strings.ContainsFunc(claims.Subject, unfit):
		return invalidToken("the token names no user: sub must have 1 to 255 printable characters")
	}
	return nil
}

// tenancy is where a token names its tenant. The claims are other programs': they
// may be of any type.
type tenancy struct {
	OrgID       any `json:"org_id"`
	AppMetadata any `json:"app_metadata"`
}

// tenant is the one that org_id names, where it is there, else the metadata's.
func (c tenancy) tenant() (uuid.UUID, bool) {
	claim := c.OrgID
	if claim == nil || claim == "" {
		metadata, _ := c.AppMetadata.(map[string]any)
		claim = metadata["organization_id"]
	}
	text, _ := claim.(string)
	return parseTenant(text)
}

// parseTenant reads a tenant's id in the one form that it has among the several
// that uuid.Parse takes.
func parseTenant(text string) (uuid.UUID, bool) {
	tenant, err := uuid.Parse(text)
	return tenant, err == nil && len(text) == 36 && tenant != uuid.Nil
}

func invalidToken(detail string) *problem.Problem { return unauthorized("invalid_token", detail) }
