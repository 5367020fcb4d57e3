package webhook_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/webhook"
)

func TestCheckSecret(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, secret string
		want         error
	}{
		{name: "16 characters are enough", secret: "0123456789abcdef"},
		{name: "15 are not", secret: "0123456789abcde", want: webhook.ErrSecretLength},
		{name: "256 are allowed", secret: strings.Repeat("x", 256)},
		{name: "257 are not", secret: strings.Repeat("x", 257), want: webhook.ErrSecretLength},
		{name: "none is no secret", secret: "", want: webhook.ErrSecretLength},
		{name: "space and tilde are printable", secret: " ~ ~ ~ ~ ~ ~ ~ ~"},
		{name: "a tab is not", secret: "0123456789\tabcdef", want: webhook.ErrSecretCharacters},
		{name: "delete is not", secret: "0123456789\x7fabcdef", want: webhook.ErrSecretCharacters},
		{name: "letters beyond ASCII are not", secret: "palavra-passe não", want: webhook.ErrSecretCharacters},
		{name: "whsec_ and padded base64", secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		{name: "whsec_ and unpadded base64 is refused", secret: "whsec_4MTrUwTQ4VCXGdQ01Vv+xOk3kDN8FV0pVQYWk8M5nYE", want: webhook.ErrSecretBase64},
		{name: "whsec_ and the URL's base64 is refused", secret: "whsec_4MTrUwTQ4VCXGdQ01Vv-xOk3kDN8FV0pVQYWk8M5nYE=", want: webhook.ErrSecretBase64},
		{name: "whsec_ and base64 with stray bits is refused", secret: "whsec_4MTrUwTQ4VCXGdQ01Vv+xOk3kDN8FV0pVQYWk8M5nYF=", want: webhook.ErrSecretBase64},
		{name: "whsec_ and no base64 is refused", secret: "whsec_not base64 at all", want: webhook.ErrSecretBase64},
		{name: "WHSEC_ is no prefix", secret: "WHSEC_not base64 at all"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := webhook.CheckSecret(tc.secret)
			if !errors.Is(err, tc.want) {
				t.Fatalf("CheckSecret = %v, want %v", err, tc.want)
			}
			if tc.want != nil && !errors.Is(err, webhook.ErrSecret) {
				t.Errorf("%v is no ErrSecret", err)
			}
			if _, err := webhook.NewSigner(tc.secret); !errors.Is(err, tc.want) {
				t.Errorf("NewSigner = %v, want %v", err, tc.want)
			}
			if _, err := webhook.NewSigner(secret, tc.secret); !errors.Is(err, tc.want) {
				t.Errorf("NewSigner with it as the previous one = %v, want %v", err, tc.want)
			}
		})
	}
}

func TestNewSecret(t *testing.T) {
	t.Parallel()
	first, second := webhook.NewSecret(), webhook.NewSecret()
	if first == second {
		t.Error("two secrets are the same")
	}
	encoded, ok := strings.CutPrefix(first, "whsec_")
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(raw) != 32 {
		t.Errorf("%d random bytes with prefix %t (%v), want whsec_ and 32 bytes", len(raw), ok, err)
	}
	if err := webhook.CheckSecret(first); err != nil {
		t.Errorf("CheckSecret of a new secret: %v", err)
	}
}

func TestHint(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, secret, want string }{
		{name: "a generated secret keeps prefix and last four", secret: secret, want: "whsec_…nYE="},
		{name: "a custom secret keeps the last four", secret: "correct horse battery staple", want: "…aple"},
		{name: "the shortest secret keeps the last four", secret: "0123456789abcdef", want: "…cdef"},
		{name: "what is too short to be a secret keeps nothing", secret: "whsec_123456789", want: "…"},
		{name: "no secret", secret: "", want: "…"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := webhook.Hint(tc.secret); got != tc.want {
				t.Errorf("Hint = %q, want %q", got, tc.want)
			}
		})
	}
}
