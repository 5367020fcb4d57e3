package webhook_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/primezap/primezap/pkg/webhook"
)

func TestVerify_Vectors(t *testing.T) {
	t.Parallel()
	for _, r := range readVectors(t).StandardRequests {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			err := webhook.Verify(r.header(), []byte(r.Body), r.Secret, time.Unix(r.Now, 0), webhook.DefaultTolerance)
			if want := r.want(t); !errors.Is(err, want) {
				t.Errorf("Verify = %v, want %v", err, want)
			}
		})
	}
}

func TestVerifyHex_Vectors(t *testing.T) {
	t.Parallel()
	for _, r := range readVectors(t).HexRequests {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			err := webhook.VerifyHex(r.header(), []byte(r.Body), r.Secret)
			if want := r.want(t); !errors.Is(err, want) {
				t.Errorf("VerifyHex = %v, want %v", err, want)
			}
		})
	}
}

// The Go library of Standard Webhooks takes the time from the clock, so each
// request is verified in a bubble whose clock stands at its time.
func TestVerify_AgreesWithStandardWebhooks(t *testing.T) {
	t.Parallel()
	theirs := map[error]error{
		webhook.ErrNoSignature: standardwebhooks.ErrRequiredHeaders,
		webhook.ErrTimestamp:   standardwebhooks.ErrInvalidHeaders,
		webhook.ErrTooOld:      standardwebhooks.ErrMessageTooOld,
		webhook.ErrTooNew:      standardwebhooks.ErrMessageTooNew,
		webhook.ErrSignature:   standardwebhooks.ErrNoMatchingSignature,
	}
	for _, r := range readVectors(t).StandardRequests {
		t.Run(r.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(time.Unix(r.Now, 0)))
				err := standardWebhook(t, r.Secret).Verify([]byte(r.Body), r.header())
				if want := theirs[r.want(t)]; !errors.Is(err, want) {
					t.Errorf("their Verify = %v, want %v", err, want)
				}
			})
		})
	}
}

func TestSigner_AgreesWithStandardWebhooks(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t).Vectors {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			var values []string
			for _, secret := range append([]string{v.Secret}, v.Previous...) {
				value, err := standardWebhook(t, secret).Sign(v.ID, time.Unix(v.Timestamp, 0), []byte(v.Body))
				if err != nil {
					t.Fatal(err)
				}
				values = append(values, value)
			}
			if want := strings.Join(values, " "); v.Standard != want {
				t.Errorf("we sign %s, they %s", v.Standard, want)
			}
		})
	}
}

// standardWebhook is the library's verifier for secret. It takes any string for
// base64, so a custom secret goes in as the key.
func standardWebhook(t *testing.T, secret string) *standardwebhooks.Webhook {
	t.Helper()
	build := standardwebhooks.NewWebhook
	if !strings.HasPrefix(secret, webhook.SecretPrefix) {
		build = func(s string) (*standardwebhooks.Webhook, error) {
			return standardwebhooks.NewWebhookRaw([]byte(s))
		}
	}
	verifier, err := build(secret)
	if err != nil {
		t.Fatal(err)
	}
	return verifier
}

func TestVerify_Refuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		secret    string
		tolerance time.Duration
		late      time.Duration // by which the request arrives after it was signed
		alter     func(http.Header)
		want      error
	}{
		{name: "nothing about a good request", secret: secret},
		{name: "an empty secret, whatever signed", secret: "", want: webhook.ErrSecretLength},
		{name: "a secret that is not what its prefix says", secret: "whsec_0123456789", want: webhook.ErrSecretBase64},
		{name: "a fraction of a second beyond the tolerance", secret: secret, tolerance: time.Minute, late: time.Minute + time.Millisecond, want: webhook.ErrTooOld},
		{name: "not the tolerance itself", secret: secret, tolerance: time.Minute, late: time.Minute},
		{name: "any other second when there is no tolerance", secret: secret, late: time.Second, want: webhook.ErrTooOld},
		{name: "a fraction of a second ahead of the tolerance", secret: secret, tolerance: time.Minute, late: -time.Minute - time.Millisecond, want: webhook.ErrTooNew},
		{name: "a time that would overflow", secret: secret, tolerance: time.Minute, alter: setTimestamp("9223372036854775807"), want: webhook.ErrTimestamp},
		{name: "a time beyond 64 bits", secret: secret, tolerance: time.Minute, alter: setTimestamp("92233720368547758070"), want: webhook.ErrTimestamp},
		{name: "a time before 1970", secret: secret, tolerance: time.Minute, alter: setTimestamp("-1"), want: webhook.ErrTimestamp},
		{name: "a time with a fraction", secret: secret, tolerance: time.Minute, alter: setTimestamp("1760961600.0"), want: webhook.ErrTimestamp},
		{name: "a time written otherwise than it was signed", secret: secret, tolerance: time.Minute, alter: setTimestamp("01760961600"), want: webhook.ErrSignature},
		{name: "the last second of the year 9999 as too new", secret: secret, tolerance: time.Minute, alter: setTimestamp("253402300799"), want: webhook.ErrTooNew},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{}
			newSigner(t, secret).Sign(h, eventID, "deal.moved", sentAt, body)
			if tc.alter != nil {
				tc.alter(h)
			}
			if err := webhook.Verify(h, body, tc.secret, sentAt.Add(tc.late), tc.tolerance); !errors.Is(err, tc.want) {
				t.Errorf("Verify = %v, want %v", err, tc.want)
			}
		})
	}
}

func setTimestamp(value string) func(http.Header) {
	return func(h http.Header) { h.Set(webhook.HeaderTimestamp, value) }
}

func TestVerifyHex_RefusesUnusableSecret(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	newSigner(t, secret).Sign(h, eventID, "deal.moved", sentAt, body)
	if err := webhook.VerifyHex(h, body, ""); !errors.Is(err, webhook.ErrSecretLength) {
		t.Errorf("VerifyHex with an empty secret = %v, want %v", err, webhook.ErrSecretLength)
	}
}

// FuzzVerify: whatever a stranger sends is refused, and nothing panics.
func FuzzVerify(f *testing.F) {
	f.Add("id", "1760961600", "v1,", "", []byte("{}"))
	f.Add("", "-9223372036854775808", " v1, ,v1 v1,,", "zz", []byte(nil))
	f.Add(".", "+1760961600", strings.Repeat("v1,AAAA ", 1000), strings.Repeat("0", 64), []byte("\xff"))
	f.Fuzz(func(t *testing.T, id, ts, standard, hexadecimal string, body []byte) {
		h := http.Header{}
		h.Set(webhook.HeaderID, id)
		h.Set(webhook.HeaderTimestamp, ts)
		h.Set(webhook.HeaderSignature, standard)
		h.Set(webhook.HeaderSignatureHex, hexadecimal)
		if err := webhook.Verify(h, body, secret, sentAt, webhook.DefaultTolerance); err == nil {
			t.Error("Verify accepted a guess")
		}
		if err := webhook.VerifyHex(h, body, secret); err == nil {
			t.Error("VerifyHex accepted a guess")
		}
	})
}
