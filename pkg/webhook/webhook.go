// Package webhook signs outgoing webhooks and verifies incoming ones. PrimeZap's
// workers sign with it and a receiver written in Go verifies with it, so it
// depends on the standard library alone.
//
// Every delivery carries two signatures, and a receiver checks whichever it
// prefers:
//
//   - [HeaderSignature] follows Standard Webhooks (standardwebhooks.com): it
//     covers id, time and body, so that a request cannot be replayed later.
//     [Verify] checks it. Prefer it.
//   - [HeaderSignatureHex] is the hexadecimal HMAC-SHA256 of the body alone.
//     [VerifyHex] checks it.
//
// Both cover the exact bytes of the body: verify before decoding.
package webhook

import (
	"net/http"
	"strconv"
	"time"
)

// Names of the headers that every delivery carries. HTTP does not distinguish
// upper and lower case in them.
const (
	// HeaderID holds the event's id: the same over attempts, redeliveries and
	// replays, so a receiver that remembers ids handles each event once.
	HeaderID = "webhook-id"
	// HeaderTimestamp holds the time of this attempt in Unix seconds.
	HeaderTimestamp = "webhook-timestamp"
	// HeaderSignature holds "v1," and a base64 signature; while a replaced
	// secret is still honoured, two of them with a space between.
	HeaderSignature = "webhook-signature"
	// HeaderEvent holds the event's type, such as deal.moved.
	HeaderEvent = "X-Webhook-Event"
	// HeaderSignatureHex holds the body's HMAC-SHA256 in lower-case hexadecimal.
	HeaderSignatureHex = "X-Webhook-Signature"
)

// UserAgent and ContentType are sent with every delivery.
const (
	UserAgent   = "PrimeZap-Webhook/1.0"
	ContentType = "application/json"
)

// Keys of http.Header are canonical; canonicalising them once here rather than
// in Header.Set saves an allocation a header.
var (
	keyID        = http.CanonicalHeaderKey(HeaderID)
	keyTimestamp = http.CanonicalHeaderKey(HeaderTimestamp)
	keySignature = http.CanonicalHeaderKey(HeaderSignature)
)

// Signer signs the deliveries of one webhook. Build it once and use it for every
// attempt: it keeps the keys ready. It is safe for concurrent use.
type Signer struct {
	hex      key
	standard []key // the secret's own first, then those of replaced secrets
}

// NewSigner returns a Signer for secret. Secrets that secret has replaced, but
// that receivers may still hold, go in previous: each adds a value to the
// Standard Webhooks signature. The hexadecimal one has room for one value only,
// and that is secret's. The error is one of [CheckSecret].
func NewSigner(secret string, previous ...string) (*Signer, error) {
	s := &Signer{hex: newKey([]byte(secret)), standard: make([]key, 0, 1+len(previous))}
	for _, each := range append([]string{secret}, previous...) {
		k, err := standardKey(each)
		if err != nil {
			return nil, err
		}
		s.standard = append(s.standard, k)
	}
	return s, nil
}

// Hex returns the value of [HeaderSignatureHex].
func (s *Signer) Hex(body []byte) string { return s.hex.hex(body) }

// Standard returns the value of [HeaderSignature] for an attempt made at at,
// whose second is what [HeaderTimestamp] must say.
func (s *Signer) Standard(id string, at time.Time, body []byte) string {
	return signStandard(s.standard, id, timestamp(at), body)
}

// Sign sets in h, over whatever stood there, each header that a delivery carries
// by contract: the five of this package, Content-Type and User-Agent.
func (s *Signer) Sign(h http.Header, id, event string, at time.Time, body []byte) {
	ts := timestamp(at)
	set := []struct{ key, value string }{
		{"Content-Type", ContentType},
		{"User-Agent", UserAgent},
		{HeaderEvent, event},
		{HeaderSignatureHex, s.hex.hex(body)},
		{keyID, id},
		{keyTimestamp, ts},
		{keySignature, signStandard(s.standard, id, ts, body)},
	}
	values := make([]string, len(set)) // one array for all: Sign runs for every attempt
	for i, header := range set {
		values[i] = header.value
		h[header.key] = values[i : i+1 : i+1]
	}
}

// timestamp is at as HeaderTimestamp writes it.
func timestamp(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }
