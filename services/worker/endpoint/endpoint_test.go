package endpoint

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/pkg/webhook"
	"github.com/primezap/primezap/services/worker/attempt"
)

func newVault(t *testing.T) *vault.Vault {
	t.Helper()
	keyset, err := vault.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(keyset)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// seal seals for the place that the webhook's part has.
func seal(t *testing.T, v *vault.Vault, s Sealed, purpose, plain string) []byte {
	t.Helper()
	sealed, err := v.Seal([]byte(plain), vault.Binding{Tenant: s.Tenant, Table: "webhooks", Row: s.ID.String(), Purpose: purpose})
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// signedWith tells with which of secrets a signer signs.
func signedWith(t *testing.T, signer *webhook.Signer, secrets ...string) (valid []string) {
	t.Helper()
	header, body, now := http.Header{}, []byte(`{}`), time.Now()
	signer.Sign(header, "e1", "deal.moved", now, body)
	for _, secret := range secrets {
		if webhook.Verify(header, body, secret, now, webhook.DefaultTolerance) == nil {
			valid = append(valid, secret)
		}
	}
	return valid
}

func TestOpener_Open(t *testing.T) {
	t.Parallel()
	const current, previous = "the secret of today", "the secret of yesterday"
	v := newVault(t)
	webhookOf := func(tenant uuid.UUID) Sealed {
		s := Sealed{ID: uuid.New(), Tenant: tenant, Generation: 7, URL: "https://example.com", Events: []string{"*"}, RetryDelays: []int32{1, 3600}}
		s.Secret = seal(t, v, s, "secret", current)
		return s
	}
	t.Run("makes the webhook ready to be delivered to", func(t *testing.T) {
		t.Parallel()
		s := webhookOf(uuid.New())
		s.Headers = seal(t, v, s, "headers", `[{"name":"X-Key","value":"k"}]`)
		e, err := NewOpener(v).Open(s)
		if err != nil {
			t.Fatal(err)
		}
		if e.ID != s.ID || e.Tenant != s.Tenant || e.Generation != 7 || e.URL != s.URL || !slices.Equal(e.Events, s.Events) {
			t.Errorf("opened %+v", e)
		}
		if !slices.Equal(e.Schedule, attempt.Schedule{time.Second, time.Hour}) {
			t.Errorf("its schedule is %v", e.Schedule)
		}
		if !slices.Equal(e.Headers, []attempt.Header{{Name: "X-Key", Value: "k"}}) {
			t.Errorf("its headers are %v", e.Headers)
		}
		if got := signedWith(t, e.Signer(time.Now()), current, previous); !slices.Equal(got, []string{current}) {
			t.Errorf("it is signed with %q", got)
		}
	})
	t.Run("signs with the previous secret too, until its grace ends", func(t *testing.T) {
		t.Parallel()
		s := webhookOf(uuid.New())
		ends := time.Now().Add(time.Hour)
		s.PreviousSecret, s.PreviousSecretUntil = seal(t, v, s, "secret", previous), &ends
		e, err := NewOpener(v).Open(s)
		if err != nil {
			t.Fatal(err)
		}
		for at, want := range map[time.Time][]string{
			ends.Add(-time.Nanosecond): {current, previous}, ends: {current}, ends.Add(time.Hour): {current},
		} {
			if got := signedWith(t, e.Signer(at), current, previous); !slices.Equal(got, want) {
				t.Errorf("%s before the end it is signed with %q, want %q", ends.Sub(at), got, want)
			}
			header := http.Header{}
			e.Signer(at).Sign(header, "e1", "deal.moved", at, []byte(`{}`))
			mac := hmac.New(sha256.New, []byte(current))
			mac.Write([]byte(`{}`))
			if got := header.Get(webhook.HeaderSignatureHex); got != hex.EncodeToString(mac.Sum(nil)) {
				t.Errorf("%s before the end the hex signature is %q, want the new secret's", ends.Sub(at), got)
			}
		}
	})
	for name, spoil := range map[string]func(s *Sealed){
		"a secret of another webhook": func(s *Sealed) { s.Secret = webhookOf(s.Tenant).Secret },
		"a secret of another tenant":  func(s *Sealed) { s.Tenant = uuid.New() },
		"a secret sealed with a key that is not there": func(s *Sealed) {
			s.Secret = seal(t, newVault(t), *s, "secret", current)
		},
		"a previous secret of another webhook": func(s *Sealed) {
			ends := time.Now().Add(time.Hour)
			s.PreviousSecret, s.PreviousSecretUntil = webhookOf(s.Tenant).Secret, &ends
		},
		"headers in the secret's place": func(s *Sealed) { s.Secret = seal(t, v, *s, "headers", current) },
		"a secret in the headers' place": func(s *Sealed) {
			s.Headers = s.Secret
		},
		"no secret": func(s *Sealed) { s.Secret = nil },
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			t.Parallel()
			s := webhookOf(uuid.New())
			spoil(&s)
			e, err := NewOpener(v).Open(s)
			if e != nil || !errors.Is(err, vault.ErrSealed) {
				t.Errorf("opened %+v, %v, want %v", e, err, vault.ErrSealed)
			}
			if err != nil && (strings.Contains(err.Error(), current) || !strings.Contains(err.Error(), s.ID.String())) {
				t.Errorf("the error is %q", err)
			}
		})
	}
}
