package login

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/primezap/primezap/pkg/meta"
)

var (
	// ErrSignature means that a signed request is not Meta's.
	ErrSignature = errors.New("the signed request is not signed with the app's secret")
	// ErrSignedRequest means that a signed request that is Meta's cannot be read.
	ErrSignedRequest = errors.New("the signed request has another form than expected")
)

// SignedRequest is what Meta tells of a user: that they took back what they had allowed,
// or want their data deleted.
type SignedRequest struct {
	UserID   string // of this app
	IssuedAt time.Time
}

const maxSignedRequest = 8 << 10 // bytes

// ParseSignedRequest reads the signed_request that Meta posts, which must be signed with
// one of secrets; an empty one signs nothing. The errors are ErrSignature and
// ErrSignedRequest.
func ParseSignedRequest(secrets []string, value string) (SignedRequest, error) {
	if len(value) > maxSignedRequest {
		return SignedRequest{}, ErrSignature
	}
	signature, text, _ := strings.Cut(value, ".")
	given, err := decode(signature)
	if err != nil || !signed(secrets, given, text) {
		return SignedRequest{}, ErrSignature
	}
	raw, err := decode(text)
	if err != nil {
		return SignedRequest{}, ErrSignedRequest
	}
	var payload struct {
		Algorithm string  `json:"algorithm"`
		UserID    meta.ID `json:"user_id"`
		IssuedAt  seconds `json:"issued_at"`
	}
	if json.Unmarshal(raw, &payload) != nil || payload.Algorithm != "HMAC-SHA256" || !idPattern.MatchString(string(payload.UserID)) {
		return SignedRequest{}, ErrSignedRequest
	}
	return SignedRequest{string(payload.UserID), payload.IssuedAt.time()}, nil
}

// signed compares in constant time. The signature is of the text as it came, with
// padding if it has some.
func signed(secrets []string, given []byte, text string) bool {
	ok := false
	for _, secret := range secrets {
		if secret != "" && hmac.Equal(given, digest([]byte(secret), text)) {
			ok = true
		}
	}
	return ok
}

// decode reads base64url with or without padding.
func decode(text string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
}
