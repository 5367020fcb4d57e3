package webhook

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// DefaultTolerance is how far a delivery's timestamp may be from the receiver's
// clock, in either direction, in the libraries of Standard Webhooks.
const DefaultTolerance = 5 * time.Minute

// signatureVersion marks the one kind of signature that this package makes and
// accepts: HMAC-SHA256.
const signatureVersion = "v1"

// maxTimestamp is the last second of the year 9999: time.Time overflows silently
// on what a header can say.
const maxTimestamp = 253402300799

// Errors of [Verify] and [VerifyHex].
var (
	// ErrNoSignature means that a header which the scheme needs is missing.
	ErrNoSignature = errors.New("webhook: not signed")
	// ErrTimestamp means that the timestamp is no number of Unix seconds.
	ErrTimestamp = errors.New("webhook: unreadable timestamp")
	// ErrTooOld means that the attempt was made longer ago than the tolerance:
	// somebody may be replaying it, or the receiver's clock is wrong.
	ErrTooOld = errors.New("webhook: timestamp too old")
	// ErrTooNew means that the timestamp is further ahead than the tolerance.
	ErrTooNew = errors.New("webhook: timestamp too new")
	// ErrSignature means that no signature is that of this body under the secret.
	ErrSignature = errors.New("webhook: signature does not match")
)

// Verify checks the Standard Webhooks signature of a delivery with headers h and
// the unaltered body. The attempt must have been made within tolerance of now,
// before or after; [DefaultTolerance] is a good one. Comparison takes the same
// time whatever differs. The error is [ErrNoSignature], [ErrTimestamp],
// [ErrTooOld], [ErrTooNew], [ErrSignature], or one of [CheckSecret].
func Verify(h http.Header, body []byte, secret string, now time.Time, tolerance time.Duration) error {
	k, err := standardKey(secret)
	if err != nil {
		return err
	}
	for _, name := range []string{HeaderID, HeaderTimestamp, HeaderSignature} {
		if h.Get(name) == "" {
			return fmt.Errorf("%w: no header %s", ErrNoSignature, name)
		}
	}
	ts := h.Get(HeaderTimestamp)
	seconds, err := strconv.ParseInt(ts, 10, 64)
	if err != nil || seconds < 0 || seconds > maxTimestamp {
		return ErrTimestamp
	}
	age := now.Sub(time.Unix(seconds, 0))
	if age > tolerance {
		return ErrTooOld
	}
	if age < -tolerance {
		return ErrTooNew
	}
	want := []byte(signStandard([]key{k}, h.Get(HeaderID), ts, body))
	for signature := range strings.FieldsSeq(h.Get(HeaderSignature)) {
		if hmac.Equal([]byte(signature), want) {
			return nil
		}
	}
	return ErrSignature
}

// VerifyHex checks the hexadecimal signature of a delivery with headers h and the
// unaltered body. It says nothing about when the request was made: unlike with
// [Verify], whoever recorded one can send it again. The error is
// [ErrNoSignature], [ErrSignature], or one of [CheckSecret].
func VerifyHex(h http.Header, body []byte, secret string) error {
	if err := CheckSecret(secret); err != nil {
		return err
	}
	signature := h.Get(HeaderSignatureHex)
	if signature == "" {
		return fmt.Errorf("%w: no header %s", ErrNoSignature, HeaderSignatureHex)
	}
	if !hmac.Equal([]byte(signature), []byte(newKey([]byte(secret)).hex(body))) {
		return ErrSignature
	}
	return nil
}
