package webhook

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// SecretPrefix marks a secret whose remainder is a key in base64, as Standard
// Webhooks writes them.
const SecretPrefix = "whsec_"

// Bounds of a secret's length in characters, the prefix included.
const (
	MinSecretLength = 16
	MaxSecretLength = 256
)

// generatedKeyBytes is the length of a generated key: as long as SHA-256's
// output, beyond which HMAC gains nothing.
const generatedKeyBytes = 32

// Errors of [CheckSecret]. Each is also an [ErrSecret], and none quotes the secret.
var (
	ErrSecret           = errors.New("webhook: unusable secret")
	ErrSecretLength     = fmt.Errorf("%w: must have %d to %d characters", ErrSecret, MinSecretLength, MaxSecretLength)
	ErrSecretCharacters = fmt.Errorf("%w: must be printable ASCII", ErrSecret)
	ErrSecretBase64     = fmt.Errorf("%w: what follows %s must be padded base64", ErrSecret, SecretPrefix)
)

// secretEncoding refuses non-zero trailing bits: decoders differ on those, and
// so would the keys.
var secretEncoding = base64.StdEncoding.Strict()

// NewSecret returns a new random secret: SecretPrefix and the base64 of 32 bytes.
func NewSecret() string {
	raw := make([]byte, generatedKeyBytes)
	rand.Read(raw) // never fails: it ends the program instead
	return SecretPrefix + secretEncoding.EncodeToString(raw)
}

// CheckSecret tells whether secret can sign: any 16 to 256 characters of
// printable ASCII, but a secret that begins with SecretPrefix must go on in
// padded base64. Receivers' libraries decode such a secret, and it would fail
// there only after it was stored here. The error is [ErrSecretLength],
// [ErrSecretCharacters] or [ErrSecretBase64].
func CheckSecret(secret string) error {
	_, err := keyBytes(secret)
	return err
}

// Hint returns what may be shown of secret once it is stored: its prefix, if it
// has one, and its last four characters, as in "whsec_…x4Q=". Of a string too
// short to be a secret it shows nothing.
func Hint(secret string) string {
	const shown = 4
	if len(secret) < MinSecretLength {
		return "…"
	}
	tail := "…" + secret[len(secret)-shown:]
	if strings.HasPrefix(secret, SecretPrefix) {
		return SecretPrefix + tail
	}
	return tail
}

// keyBytes is the HMAC key of the Standard Webhooks signature.
func keyBytes(secret string) ([]byte, error) {
	if len(secret) < MinSecretLength || len(secret) > MaxSecretLength {
		return nil, ErrSecretLength
	}
	for i := range len(secret) {
		if secret[i] < ' ' || secret[i] > '~' {
			return nil, ErrSecretCharacters
		}
	}
	encoded, ok := strings.CutPrefix(secret, SecretPrefix)
	if !ok {
		return []byte(secret), nil
	}
	decoded, err := secretEncoding.DecodeString(encoded)
	if err != nil {
		return nil, ErrSecretBase64 // not err, which quotes a place in the secret
	}
	return decoded, nil
}
