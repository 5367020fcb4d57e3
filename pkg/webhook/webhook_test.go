package webhook_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/webhook"
)

const (
	secret      = "whsec_4MTrUwTQ4VCXGdQ01Vv+xOk3kDN8FV0pVQYWk8M5nYE="
	otherSecret = "whsec_bPUHoA5qw2CzoVBAA0pqDQCJyDE9OXgR3RZhBVAQRGM="
	eventID     = "0199ffa0-1c00-7100-8a00-3f2b6d1e9c00"
)

var (
	sentAt = time.Date(2025, 10, 20, 12, 0, 0, 0, time.UTC)
	body   = []byte(`{"event":"deal.moved","timestamp":"2025-10-20T12:00:00Z","data":{"id":"deal_8312"}}`)
)

func newSigner(t testing.TB, secret string, previous ...string) *webhook.Signer {
	t.Helper()
	signer, err := webhook.NewSigner(secret, previous...)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func TestSigner_Vectors(t *testing.T) {
	t.Parallel()
	for _, v := range readVectors(t).Vectors {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			signer := newSigner(t, v.Secret, v.Previous...)
			for range 2 { // the second time with a hash that was used before
				if got := signer.Hex([]byte(v.Body)); got != v.Hex {
					t.Errorf("Hex = %s, want %s", got, v.Hex)
				}
				at := time.Unix(v.Timestamp, 999_999_999) // the fraction is not signed
				if got := signer.Standard(v.ID, at, []byte(v.Body)); got != v.Standard {
					t.Errorf("Standard = %s, want %s", got, v.Standard)
				}
			}
		})
	}
}

func TestSigner_Sign(t *testing.T) {
	t.Parallel()
	signer := newSigner(t, secret, otherSecret)
	h := http.Header{}
	for _, name := range []string{ // as a customer might configure them
		"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "X-Webhook-Event",
		"X-Webhook-Signature", "Content-Type", "User-Agent", "X-Own",
	} {
		h[name] = []string{"the customer's", "twice"}
	}

	signer.Sign(h, eventID, "deal.moved", sentAt, body)

	for name, want := range map[string]string{
		"content-type":        "application/json",
		"user-agent":          "PrimeZap-Webhook/1.0",
		"x-webhook-event":     "deal.moved",
		"x-webhook-signature": signer.Hex(body),
		"webhook-id":          eventID,
		"webhook-timestamp":   "1760961600",
		"webhook-signature":   signer.Standard(eventID, sentAt, body),
	} {
		if got := h.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s = %q, want %q alone", name, got, want)
		}
	}
	if got := h.Values("X-Own"); len(got) != 2 {
		t.Errorf("X-Own = %q, want it untouched", got)
	}
	if len(h) != 8 {
		t.Errorf("%d headers after Sign, want 8: %v", len(h), h)
	}
	h.Add(webhook.HeaderEvent, "more") // must not run into the neighbour's value
	if got := h.Get(webhook.HeaderSignatureHex); got != signer.Hex(body) {
		t.Errorf("adding to one header changed another to %q", got)
	}
}

func TestSigner_ConcurrentUse(t *testing.T) {
	t.Parallel()
	const workers, rounds = 8, 200
	var wg sync.WaitGroup
	for w := range workers {
		signer := newSigner(t, fmt.Sprintf("a secret of worker %d", w))
		hexWant, standardWant := signer.Hex(body), signer.Standard(eventID, sentAt, body)
		for range 2 { // two goroutines a signer, all on one pool
			wg.Go(func() {
				for range rounds {
					if got := signer.Hex(body); got != hexWant {
						t.Errorf("Hex = %s beside others, alone %s", got, hexWant)
					}
					if got := signer.Standard(eventID, sentAt, body); got != standardWant {
						t.Errorf("Standard = %s beside others, alone %s", got, standardWant)
					}
				}
			})
		}
	}
	wg.Wait()
}

// FuzzSigner holds our HMAC over prepared keys against crypto/hmac's.
func FuzzSigner(f *testing.F) {
	for _, length := range []int{16, 31, 32, 33, 63, 64, 65, 128, 256} {
		f.Add(bytes.Repeat([]byte{'k'}, length), eventID, int64(1760961600), body)
	}
	f.Add([]byte(secret), "", int64(0), []byte(nil))
	f.Add([]byte("0123456789abcdef"), "a.b", int64(-1), bytes.Repeat([]byte("x"), 300<<10))
	f.Fuzz(func(t *testing.T, key []byte, id string, ts int64, body []byte) {
		signer, err := webhook.NewSigner(string(key))
		if err != nil {
			return
		}
		mac := func(key []byte, parts ...[]byte) []byte {
			h := hmac.New(sha256.New, key)
			h.Write(bytes.Join(parts, []byte(".")))
			return h.Sum(nil)
		}
		if got, want := signer.Hex(body), hex.EncodeToString(mac(key, body)); got != want {
			t.Errorf("Hex = %s, crypto/hmac says %s", got, want)
		}
		if encoded, ok := bytes.CutPrefix(key, []byte(webhook.SecretPrefix)); ok {
			if key, err = base64.StdEncoding.DecodeString(string(encoded)); err != nil {
				t.Fatalf("NewSigner took a key that is not base64: %v", err)
			}
		}
		want := "v1," + base64.StdEncoding.EncodeToString(mac(key, []byte(id), fmt.Append(nil, ts), body))
		if got := signer.Standard(id, time.Unix(ts, 0), body); got != want {
			t.Errorf("Standard = %s, crypto/hmac says %s", got, want)
		}
	})
}

// BenchmarkSigner_Sign is the whole cost of signing one delivery of 1 KB.
func BenchmarkSigner_Sign(b *testing.B) {
	for _, bm := range []struct {
		name     string
		previous []string
	}{
		{name: "one secret"},
		{name: "grace period", previous: []string{otherSecret}},
	} {
		b.Run(bm.name, func(b *testing.B) {
			signer := newSigner(b, secret, bm.previous...)
			body := bytes.Repeat([]byte("x"), 1<<10)
			h := http.Header{}
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				signer.Sign(h, eventID, "deal.moved", sentAt, body)
			}
		})
	}
}

func BenchmarkSigner_Hex(b *testing.B) {
	signer := newSigner(b, secret)
	body := bytes.Repeat([]byte("x"), 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		signer.Hex(body)
	}
}

// BenchmarkSigner_ManyKeys signs for another of 100 000 webhooks each time: what
// one costs must not depend on how many there are.
func BenchmarkSigner_ManyKeys(b *testing.B) {
	signers := make([]*webhook.Signer, 100_000)
	for i := range signers {
		signers[i] = newSigner(b, fmt.Sprintf("secret of webhook %d", i))
	}
	body := bytes.Repeat([]byte("x"), 1<<10)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		signers[i%len(signers)].Hex(body)
	}
}
