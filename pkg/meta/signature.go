package meta

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// SignatureHeader is the header that a webhook's signature comes in.
const SignatureHeader = "X-Hub-Signature-256"

const signaturePrefix = "sha256="

// Sign is the value of [SignatureHeader] for body, signed with an app's secret.
func Sign(secret string, body []byte) string {
	return signaturePrefix + hex.EncodeToString(mac(secret, body))
}

// VerifySignature says whether header is the signature of body, byte for byte as
// it came, by one of the secrets. An empty secret signs nothing.
func VerifySignature(secrets []string, header string, body []byte) bool {
	digits, ok := strings.CutPrefix(header, signaturePrefix)
	if !ok {
		return false
	}
	given, err := hex.DecodeString(digits)
	if err != nil {
		return false
	}
	for _, secret := range secrets {
		if secret != "" && hmac.Equal(given, mac(secret, body)) {
			return true
		}
	}
	return false
}

// Proof is the appsecret_proof of a call made with token: it shows that whoever
// holds the token holds the app's secret too.
func Proof(secret, token string) string {
	return hex.EncodeToString(mac(secret, []byte(token)))
}

func mac(secret string, message []byte) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write(message)
	return h.Sum(nil)
}
