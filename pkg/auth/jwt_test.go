package auth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/labstack/echo/v4"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/config"
	"github.com/primezap/primezap/pkg/problem"
)

const secret = "a secret of thirty-two bytes, and more"

// signer is a key and what it signs with.
type signer struct {
	*testing.T
	kid string
	alg jose.SignatureAlgorithm
	key any // private, or the secret's bytes
}

func rsaSigner(t *testing.T, kid string) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return signer{t, kid, jose.RS256, key}
}

func ecSigner(t *testing.T, kid string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{t, kid, jose.ES256, key}
}

func edSigner(t *testing.T, kid string) signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{t, kid, jose.EdDSA, key}
}

// public is what others may know of the key.
func (s signer) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.key.(crypto.Signer).Public(), KeyID: s.kid, Algorithm: string(s.alg), Use: "sig"}
}

// sign makes a token with valid claims, less or changed as changes say; nil takes
// a claim away.
func (s signer) sign(changes map[string]any) string {
	s.Helper()
	claims := map[string]any{
		"sub": "maria", "org_id": ours.String(), "iss": "https://id.example.com", "aud": "primezap",
		"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return s.signClaims(claims)
}

func (s signer) signClaims(claims any) string {
	s.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	if s.kid != "" {
		options = options.WithHeader("kid", s.kid)
	}
	made, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: s.key}, options)
	if err != nil {
		s.Fatal(err)
	}
	token, err := jwt.Signed(made).Claims(claims).Serialize()
	if err != nil {
		s.Fatal(err)
	}
	return token
}

// tokensOf are those that cfg takes.
func tokensOf(t *testing.T, cfg auth.JWTConfig) *auth.Tokens {
	t.Helper()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return auth.NewTokens(cfg, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

// refuses fails the test unless the token is answered with the status.
func refuses(t *testing.T, tokens *auth.Tokens, token string, status int) {
	t.Helper()
	p, err := tokens.Verify(t.Context(), token)
	if statusOf(err) != status {
		t.Errorf("%v, want status %d", err, status)
	}
	if p.Actor != "" || len(p.Scopes) > 0 {
		t.Errorf("a refused token made the principal %+v", p)
	}
	refused, _ := errors.AsType[*problem.Problem](err)
	if status == 401 && !strings.Contains(refused.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("challenge %q", refused.Header.Get("WWW-Authenticate"))
	}
}

func accepts(t *testing.T, tokens *auth.Tokens, token string) {
	t.Helper()
	if p, err := tokens.Verify(t.Context(), token); err != nil || p.Tenant != ours {
		t.Errorf("principal %+v, %v; want one of %s", p, err, ours)
	}
}

func TestTokens_Verify(t *testing.T) {
	t.Parallel()
	s := signer{t, "", jose.HS256, []byte(secret)}
	tokens := tokensOf(t, auth.JWTConfig{Secret: secret, Audience: config.List{"primezap", "other"}, Issuer: "https://id.example.com"})
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	metadata := func(tenant any) map[string]any { return map[string]any{"organization_id": tenant} }
	for _, tc := range []struct {
		name   string
		claims map[string]any
		status int
		tenant string
	}{
		{name: "org_id is the tenant", tenant: ours.String()},
		{name: "without it the metadata's organization is", claims: map[string]any{"org_id": nil, "app_metadata": metadata(theirs.String())}, tenant: theirs.String()},
		{name: "an empty org_id is none", claims: map[string]any{"org_id": "", "app_metadata": metadata(theirs.String())}, tenant: theirs.String()},
		{name: "of both org_id decides", claims: map[string]any{"app_metadata": metadata(theirs.String())}, tenant: ours.String()},
		{name: "also when it is no UUID", claims: map[string]any{"org_id": "org_7", "app_metadata": metadata(theirs.String())}, status: 403},
		{name: "no tenant is a 403", claims: map[string]any{"org_id": nil}, status: 403},
		{name: "so is one of another type", claims: map[string]any{"org_id": 7}, status: 403},
		{name: "so is metadata of another type", claims: map[string]any{"org_id": nil, "app_metadata": "x"}, status: 403},
		{name: "so is the nil UUID", claims: map[string]any{"org_id": "00000000-0000-0000-0000-000000000000"}, status: 403},
		{name: "so is a UUID in another form", claims: map[string]any{"org_id": "{" + ours.String() + "}"}, status: 403},
		{name: "what has expired is refused", claims: map[string]any{"exp": in(-time.Minute)}, status: 401},
		{name: "clocks may differ by seconds", claims: map[string]any{"exp": in(-10 * time.Second), "nbf": in(10 * time.Second)}, tenant: ours.String()},
		{name: "what does not expire is refused", claims: map[string]any{"exp": nil}, status: 401},
		{name: "what is not valid yet is refused", claims: map[string]any{"nbf": in(time.Minute)}, status: 401},
		{name: "another audience is refused", claims: map[string]any{"aud": "billing"}, status: 401},
		{name: "no audience is refused", claims: map[string]any{"aud": nil}, status: 401},
		{name: "one of several audiences will do", claims: map[string]any{"aud": []string{"billing", "other"}}, tenant: ours.String()},
		{name: "another issuer is refused", claims: map[string]any{"iss": "https://id.example.com/"}, status: 401},
		{name: "no issuer is refused", claims: map[string]any{"iss": nil}, status: 401},
		{name: "no subject is refused", claims: map[string]any{"sub": nil}, status: 401},
		{name: "a subject unfit for the audit log is refused", claims: map[string]any{"sub": "a\nb"}, status: 401},
		{name: "so is one that is too long", claims: map[string]any{"sub": strings.Repeat("x", 256)}, status: 401},
		{name: "claims of another type are refused", claims: map[string]any{"exp": "tomorrow"}, status: 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			token := s.sign(tc.claims)
			if tc.status != 0 {
				refuses(t, tokens, token, tc.status)
				return
			}
			p, err := tokens.Verify(t.Context(), token)
			if err != nil || p.Tenant.String() != tc.tenant {
				t.Errorf("principal of %s, %v; want one of %s", p.Tenant, err, tc.tenant)
			}
		})
	}
	t.Run("a user has every scope but platform", func(t *testing.T) {
		t.Parallel()
		p, err := tokens.Verify(t.Context(), s.sign(nil))
		want := []string{auth.ScopeEventsWrite, auth.ScopeWebhooksRead, auth.ScopeWebhooksWrite, auth.ScopeChannelsWrite}
		if err != nil || p.Actor != "user:maria" || !slices.Equal(p.Scopes, want) {
			t.Errorf("principal %+v, %v; want user:maria with %v", p, err, want)
		}
	})
	t.Run("what is not configured is not checked", func(t *testing.T) {
		t.Parallel()
		accepts(t, tokensOf(t, auth.JWTConfig{Secret: secret}), s.sign(map[string]any{"aud": nil, "iss": nil}))
	})
}

func TestTokens_Forged(t *testing.T) {
	t.Parallel()
	s := signer{t, "", jose.HS256, []byte(secret)}
	tokens := tokensOf(t, auth.JWTConfig{Secret: secret})
	token := s.sign(nil)
	accepts(t, tokens, token)
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	changed, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	other := signer{t, "", jose.HS256, []byte(strings.Repeat("x", 32))}
	for name, forged := range map[string]string{
		"another secret":     other.sign(nil),
		"a changed claim":    header + "." + encode(strings.Replace(string(changed), "maria", "joana", 1)) + "." + signature,
		"no signature":       header + "." + payload + ".",
		"alg none":           encode(`{"alg":"none"}`) + "." + payload + ".",
		"alg None":           encode(`{"alg":"None"}`) + "." + payload + "." + signature,
		"no alg":             encode(`{}`) + "." + payload + "." + signature,
		"another hash":       signer{t, "", jose.HS512, []byte(strings.Repeat(secret, 2))}.sign(nil),
		"no token":           "eyJhbGciOi",
		"nothing":            "",
		"more than we parse": token + strings.Repeat("x", 17<<10),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuses(t, tokens, forged, 401)
		})
	}
}

// What verifies with a public key must not be taken for what a secret signs.
func TestTokens_AlgorithmIsPinned(t *testing.T) {
	t.Parallel()
	r, e, d := rsaSigner(t, "r"), ecSigner(t, "e"), edSigner(t, "d")
	behind := serveKeys(t, r.public(), e.public(), d.public())
	all := tokensOf(t, auth.JWTConfig{JWKSURL: behind.URL})
	for _, s := range []signer{r, e, d} {
		accepts(t, all, s.sign(nil))
	}
	der, err := x509.MarshalPKIXPublicKey(r.public().Key)
	if err != nil {
		t.Fatal(err)
	}
	known, err := json.Marshal(r.public())
	if err != nil {
		t.Fatal(err)
	}
	for name, shared := range map[string][]byte{
		"in DER": der, "in PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "as a JWK": known,
		"its modulus": r.public().Key.(*rsa.PublicKey).N.Bytes(),
	} {
		t.Run("HS256 with the public key "+name, func(t *testing.T) {
			t.Parallel()
			refuses(t, all, signer{t, "r", jose.HS256, shared}.sign(nil), 401)
		})
	}
	t.Run("alg none with a known kid", func(t *testing.T) {
		t.Parallel()
		_, payload, _ := strings.Cut(r.sign(nil), ".")
		payload, _, _ = strings.Cut(payload, ".")
		none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"r"}`))
		refuses(t, all, none+"."+payload+".", 401)
	})
	t.Run("an algorithm that is not configured", func(t *testing.T) {
		t.Parallel()
		one := tokensOf(t, auth.JWTConfig{JWKSURL: behind.URL, Algorithms: config.List{"ES256"}})
		accepts(t, one, e.sign(nil))
		refuses(t, one, r.sign(nil), 401)
	})
	t.Run("another one than the key's", func(t *testing.T) {
		t.Parallel()
		key := r.public()
		key.Algorithm = "PS256"
		refuses(t, tokensOf(t, auth.JWTConfig{JWKSURL: serveKeys(t, key).URL}), r.sign(nil), 401)
	})
	t.Run("a key that the token brings along", func(t *testing.T) {
		t.Parallel()
		own := rsaSigner(t, "r")
		made, err := jose.NewSigner(jose.SigningKey{Algorithm: own.alg, Key: own.key},
			(&jose.SignerOptions{EmbedJWK: true}).WithHeader("kid", "r").WithHeader("jku", behind.URL))
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.Signed(made).Claims(map[string]any{"sub": "x", "org_id": ours.String(), "exp": time.Now().Add(time.Hour).Unix()}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		refuses(t, all, token, 401)
	})
	t.Run("a secret among the keys", func(t *testing.T) {
		t.Parallel()
		shared := jose.JSONWebKey{Key: []byte(secret), KeyID: "s", Algorithm: "HS256"}
		tokens := tokensOf(t, auth.JWTConfig{JWKSURL: serveKeys(t, r.public(), shared).URL})
		refuses(t, tokens, signer{t, "s", jose.HS256, []byte(secret)}.sign(nil), 401)
	})
}

func TestMiddleware_Tokens(t *testing.T) {
	t.Parallel()
	s := signer{t, "", jose.HS256, []byte(secret)}
	tokens := tokensOf(t, auth.JWTConfig{Secret: secret})
	for _, tc := range []struct {
		name, credential, tenant string
		status                   int
		body                     string
	}{
		{name: "a token acts for its tenant", credential: s.sign(nil), status: 200, body: ours.String()},
		{name: "and may name it", credential: s.sign(nil), tenant: ours.String(), status: 200, body: ours.String()},
		{name: "and no other", credential: s.sign(nil), tenant: theirs.String(), status: 403, body: "another tenant"},
		{name: "whatever scopes it claims", credential: s.sign(map[string]any{"scope": "platform", "scopes": []string{"platform"}}), tenant: theirs.String(), status: 403, body: "another tenant"},
		{name: "API keys go on", credential: tenantKey, status: 200, body: ours.String()},
		{name: "what is neither is a 401", credential: "x", status: 401, body: "neither"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			e := echo.New()
			e.HTTPErrorHandler = problem.ErrorHandler(slog.New(slog.DiscardHandler), nil)
			e.GET("/", func(c echo.Context) error {
				p, _ := auth.FromContext(c.Request().Context())
				return c.String(http.StatusOK, p.Tenant.String())
			}, auth.Middleware(keys{}, tokens))
			req := httptest.NewRequest(http.MethodGet, "/", nil)
			req.Header.Set("Authorization", "Bearer "+tc.credential)
			if tc.tenant != "" {
				req.Header.Set("X-Tenant-Id", tc.tenant)
			}
			rec := httptest.NewRecorder()
			e.ServeHTTP(rec, req)
			if rec.Code != tc.status || !strings.Contains(rec.Body.String(), tc.body) {
				t.Errorf("got %d %s; want %d with %q", rec.Code, rec.Body, tc.status, tc.body)
			}
		})
	}
}

func TestJWTConfig_Validate(t *testing.T) {
	t.Parallel()
	const at = "https://id.example.com/.well-known/jwks.json"
	for _, tc := range []struct {
		name string
		cfg  auth.JWTConfig
		want string // in the error; "" for none
	}{
		{name: "nothing"},
		{name: "a secret", cfg: auth.JWTConfig{Secret: strings.Repeat("x", 32), Algorithms: config.List{"HS256"}}},
		{name: "a URL", cfg: auth.JWTConfig{JWKSURL: at, Algorithms: config.List{"RS256", "ES256", "EdDSA"}, Audience: config.List{"a"}, Issuer: "i"}},
		{name: "a URL on this machine", cfg: auth.JWTConfig{JWKSURL: "http://127.0.0.1:8081/keys"}},
		{name: "a short secret", cfg: auth.JWTConfig{Secret: "hush" + strings.Repeat("x", 27)}, want: "JWT_HS256_SECRET must have at least 32 bytes"},
		{name: "both", cfg: auth.JWTConfig{Secret: secret, JWKSURL: at}, want: "must not both be set"},
		{name: "plain http", cfg: auth.JWTConfig{JWKSURL: "http://id.example.com/"}, want: "JWT_JWKS_URL must be an https URL"},
		{name: "a password in the URL", cfg: auth.JWTConfig{JWKSURL: "https://me:hush@id.example.com/"}, want: "JWT_JWKS_URL must be an https URL"},
		{name: "no URL", cfg: auth.JWTConfig{JWKSURL: "id.example.com"}, want: "JWT_JWKS_URL must be an https URL"},
		{name: "none as an algorithm", cfg: auth.JWTConfig{JWKSURL: at, Algorithms: config.List{"none"}}, want: `JWT_ALGORITHMS: "none"`},
		{name: "HS256 with a URL", cfg: auth.JWTConfig{JWKSURL: at, Algorithms: config.List{"HS256"}}, want: `JWT_ALGORITHMS: "HS256"`},
		{name: "RS256 with a secret", cfg: auth.JWTConfig{Secret: secret, Algorithms: config.List{"RS256"}}, want: `JWT_ALGORITHMS: "RS256"`},
		{name: "an audience of no tokens", cfg: auth.JWTConfig{Audience: config.List{"a"}}, want: "need JWT_HS256_SECRET or JWT_JWKS_URL"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := tc.cfg.Validate()
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%v, want %q in it", err, tc.want)
			case err != nil && strings.Contains(err.Error(), "hush"):
				t.Errorf("%v shows a secret", err)
			}
		})
	}
}
