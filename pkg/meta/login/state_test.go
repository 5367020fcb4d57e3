package login_test

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/meta/login"
)

var claims = login.Claims{Tenant: uuid.MustParse("018f0000-0000-7000-8000-000000000001"), User: "user:ana", RedirectURI: redirect}

func states(t *testing.T, key string, now func() time.Time) *login.States {
	t.Helper()
	s, err := login.NewStates(key, now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func at(when time.Time) func() time.Time { return func() time.Time { return when } }

func TestStates_Verify(t *testing.T) {
	t.Parallel()
	s := states(t, stateKey, at(noon))
	text, made, err := s.Make(claims, []string{"pages_messaging", "instagram_basic"}, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("a state says what the login began with", func(t *testing.T) {
		t.Parallel()
		got, err := s.Verify(text, claims)
		if err != nil || got.Nonce != made.Nonce || len(got.Nonce) != 22 || !got.Expires.Equal(noon.Add(10*time.Minute)) ||
			!slices.Equal(got.Scopes, []string{"pages_messaging", "instagram_basic"}) || got.Verifier != made.Verifier || len(got.Verifier) != 43 {
			t.Errorf("state %+v, %v; made as %+v", got, err, made)
		}
	})
	t.Run("it fits into a URL and says nothing of whom it is for", func(t *testing.T) {
		t.Parallel()
		body, _, _ := strings.Cut(text, ".")
		raw, err := base64.RawURLEncoding.DecodeString(body)
		if err != nil || len(text) > 600 {
			t.Errorf("%d bytes, %v", len(text), err)
		}
		for _, secret := range []string{claims.User, claims.Tenant.String(), "example.com", made.Verifier} {
			if strings.Contains(string(raw), secret) {
				t.Errorf("%s is in %s", secret, raw)
			}
		}
	})
	t.Run("no two are the same", func(t *testing.T) {
		t.Parallel()
		_, other, err := s.Make(claims, nil, true)
		if err != nil || other.Nonce == made.Nonce || other.Verifier == made.Verifier {
			t.Errorf("%+v after %+v, %v", other, made, err)
		}
	})
	t.Run("without PKCE there is no verifier", func(t *testing.T) {
		t.Parallel()
		text, _, err := s.Make(claims, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Verify(text, claims); err != nil || got.Verifier != "" {
			t.Errorf("state %+v, %v", got, err)
		}
	})
	body, signature, _ := strings.Cut(text, ".")
	flip := func(s string, i int) string { return s[:i] + string(s[i]^1) + s[i+1:] }
	other := claims
	other.Tenant[15]++
	for name, tc := range map[string]struct {
		by     *login.States
		state  string
		claims login.Claims
		want   error
	}{
		"nothing is forged":                        {s, "", claims, login.ErrStateForged},
		"one without signature is forged":          {s, body, claims, login.ErrStateForged},
		"one with an empty signature is forged":    {s, body + ".", claims, login.ErrStateForged},
		"one that was changed is forged":           {s, flip(body, len(body)/2) + "." + signature, claims, login.ErrStateForged},
		"one with another signature is forged":     {s, body + "." + flip(signature, 3), claims, login.ErrStateForged},
		"one with a shorter signature is forged":   {s, body + "." + signature[:40], claims, login.ErrStateForged},
		"one with something behind it is forged":   {s, text + ".x", claims, login.ErrStateForged},
		"one that is endless is forged":            {s, strings.Repeat("A", 1<<20) + "." + signature, claims, login.ErrStateForged},
		"one of another key is forged":             {states(t, stateKey+"0", at(noon)), text, claims, login.ErrStateForged},
		"it is good in the last second":            {states(t, stateKey, at(noon.Add(10*time.Minute-time.Second))), text, claims, nil},
		"it has expired after ten minutes":         {states(t, stateKey, at(noon.Add(10*time.Minute))), text, claims, login.ErrStateExpired},
		"another tenant's is refused":              {s, text, other, login.ErrStateOwner},
		"another user's is refused":                {s, text, login.Claims{Tenant: claims.Tenant, User: "user:anna", RedirectURI: redirect}, login.ErrStateOwner},
		"one for another redirect URI is refused":  {s, text, login.Claims{Tenant: claims.Tenant, User: claims.User, RedirectURI: redirect + "/"}, login.ErrStateRedirect},
		"an expired one of another's is expired":   {states(t, stateKey, at(noon.Add(time.Hour))), text, other, login.ErrStateExpired},
		"a forged one that has expired is forged":  {states(t, stateKey, at(noon.Add(time.Hour))), flip(body, 8) + "." + signature, claims, login.ErrStateForged},
		"a redirect that is the user's is refused": {s, text, login.Claims{Tenant: claims.Tenant, User: claims.User + redirect}, login.ErrStateOwner},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := tc.by.Verify(tc.state, tc.claims); !errors.Is(err, tc.want) || tc.want == nil && err != nil {
				t.Errorf("state %+v, %v; want %v", got, err, tc.want)
			}
		})
	}
}

func TestStates_Make(t *testing.T) {
	t.Parallel()
	t.Run("a key of 31 bytes is refused", func(t *testing.T) {
		t.Parallel()
		_, err := login.NewStates(stateKey[1:], time.Now)
		if !errors.Is(err, login.ErrNotConfigured) {
			t.Errorf("error %v", err)
		}
		hides(t, err)
	})
	t.Run("one that could not be verified is not made", func(t *testing.T) {
		t.Parallel()
		if _, _, err := states(t, stateKey, time.Now).Make(claims, slices.Repeat([]string{"pages_messaging"}, 300), false); !errors.Is(err, login.ErrScope) {
			t.Errorf("error %v", err)
		}
	})
}
