package vault_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"

	"github.com/primezap/primezap/pkg/vault"
)

var (
	tenant = uuid.MustParse("0198f3a0-0000-7000-8000-000000000001")
	here   = vault.Binding{Tenant: tenant, Table: "webhooks", Row: "0198f3a0-0000-7000-8000-000000000002", Purpose: "secret"}
	secret = []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
)

func newKeyset(t testing.TB) []byte {
	t.Helper()
	keys, err := vault.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func open(t testing.TB, keys []byte) *vault.Vault {
	t.Helper()
	v, err := vault.Open(keys)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func seal(t testing.TB, v *vault.Vault, b vault.Binding) []byte {
	t.Helper()
	ciphertext, err := v.Seal(secret, b)
	if err != nil {
		t.Fatal(err)
	}
	return ciphertext
}

func TestVault_Seal(t *testing.T) {
	t.Parallel()
	v := open(t, newKeyset(t))
	first, second := seal(t, v, here), seal(t, v, here)
	if bytes.Contains(first, secret) || bytes.Equal(first, second) {
		t.Error("the ciphertext shows its secret, or the same one twice")
	}
	if len(first) != len(secret)+33 {
		t.Errorf("ciphertext of %d bytes is %d long, want 33 more", len(secret), len(first))
	}
	for _, ciphertext := range [][]byte{first, second} {
		if got, err := v.Unseal(ciphertext, here); err != nil || !bytes.Equal(got, secret) {
			t.Errorf("Unseal = %q, %v; want the secret", got, err)
		}
	}
}

func TestVault_UnsealRefuses(t *testing.T) {
	t.Parallel()
	v := open(t, newKeyset(t))
	sealed := seal(t, v, here)
	with := func(change func(*vault.Binding)) vault.Binding {
		b := here
		change(&b)
		return b
	}
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	for _, tc := range []struct {
		name       string
		ciphertext []byte
		binding    vault.Binding
	}{
		{name: "another tenant", ciphertext: sealed, binding: with(func(b *vault.Binding) { b.Tenant = uuid.New() })},
		{name: "another table", ciphertext: sealed, binding: with(func(b *vault.Binding) { b.Table = "connections" })},
		{name: "another row", ciphertext: sealed, binding: with(func(b *vault.Binding) { b.Row = uuid.NewString() })},
		{name: "another purpose", ciphertext: sealed, binding: with(func(b *vault.Binding) { b.Purpose = "headers" })},
		{name: "a changed ciphertext", ciphertext: flipped, binding: here},
		{name: "a ciphertext cut short", ciphertext: sealed[:8], binding: here},
		{name: "no ciphertext", binding: here},
		{name: "a key of another keyset", ciphertext: seal(t, open(t, newKeyset(t)), here), binding: here},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got, err := v.Unseal(tc.ciphertext, tc.binding); !errors.Is(err, vault.ErrSealed) || got != nil {
				t.Errorf("Unseal = %q, %v; want ErrSealed", got, err)
			}
		})
	}
}

func TestVault_RefusesAmbiguousBindings(t *testing.T) {
	t.Parallel()
	v := open(t, newKeyset(t))
	for name, b := range map[string]vault.Binding{
		"no table":           {Tenant: tenant, Row: "1", Purpose: "secret"},
		"no row":             {Tenant: tenant, Table: "webhooks", Purpose: "secret"},
		"no purpose":         {Tenant: tenant, Table: "webhooks", Row: "1"},
		"a bar in the table": {Tenant: tenant, Table: "a|b", Row: "1", Purpose: "secret"},
		"a bar in the row":   {Tenant: tenant, Table: "a", Row: "b|1", Purpose: "secret"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := v.Seal(secret, b); err == nil {
				t.Error("Seal accepts it")
			}
			if _, err := v.Unseal(secret, b); err == nil || errors.Is(err, vault.ErrSealed) {
				t.Errorf("Unseal: %v, want an error about the binding", err)
			}
		})
	}
}

// fixedKeyset and fixedCiphertext were made by this package once. They hold the
// stored format still: associated data, key type, prefix.
const (
	fixedKeyset     = `{"primaryKeyId":1354692726,"key":[{"keyData":{"typeUrl":"type.googleapis.com/google.crypto.tink.AesGcmKey","value":"GiB+ZkHCEySZ74iT2bweBBr0pTpAKLvEg3QJwFWllrQQww==","keyMaterialType":"SYMMETRIC"},"status":"ENABLED","keyId":1354692726,"outputPrefixType":"TINK"}]}`
	fixedCiphertext = "AVC++HYMYEMPE7Bq63EiF/Ie8c1ErJG6Dyowx6lbWbxFXIP3POFUpzbC6ZkuvfJ4L2B1oYFpVW6MLWsijqq4SxXH1lqu0cI="
)

func TestVault_OpensWhatEarlierVersionsSealed(t *testing.T) {
	t.Parallel()
	ciphertext, err := base64.StdEncoding.DecodeString(fixedCiphertext)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := open(t, []byte(fixedKeyset)).Unseal(ciphertext, here); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("Unseal = %q, %v; want the secret", got, err)
	}
	if id, err := vault.KeyID(ciphertext); err != nil || id != 1354692726 {
		t.Errorf("KeyID = %d, %v; want 1354692726", id, err)
	}
}

// TestRotation goes through the steps that replace a key.
func TestRotation(t *testing.T) {
	t.Parallel()
	step := func(keys []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	first := newKeyset(t)
	added := step(vault.AddKey(first))
	promoted := step(vault.PromoteKey(added))
	before, after := open(t, first).PrimaryKeyID(), open(t, promoted).PrimaryKeyID()
	removed := step(vault.RemoveKey(promoted, before))
	sealedBefore, sealedAfter := seal(t, open(t, first), here), seal(t, open(t, promoted), here)

	for _, tc := range []struct {
		name                   string
		keys                   []byte
		seals                  uint32
		list                   []vault.Key
		opensBefore            bool
		opensAfter             bool
		keepsBefore, keepAfter bool // does not want it sealed again
	}{
		{name: "at first", keys: first, seals: before, list: []vault.Key{{ID: before, Primary: true}}, opensBefore: true, keepsBefore: true},
		{name: "a key that was added opens, and does not seal", keys: added, seals: before,
			list: []vault.Key{{ID: before, Primary: true}, {ID: after}}, opensBefore: true, opensAfter: true, keepsBefore: true, keepAfter: true},
		{name: "promoted, it seals, and the old one still opens", keys: promoted, seals: after,
			list: []vault.Key{{ID: before}, {ID: after, Primary: true}}, opensBefore: true, opensAfter: true, keepAfter: true},
		{name: "a key that was removed does not open", keys: removed, seals: after, list: []vault.Key{{ID: after, Primary: true}}, opensAfter: true, keepAfter: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			v := open(t, tc.keys)
			if got, err := vault.KeyID(seal(t, v, here)); err != nil || got != tc.seals || v.PrimaryKeyID() != tc.seals {
				t.Errorf("key %d seals (%v), and %d is the primary one, want %d", got, err, v.PrimaryKeyID(), tc.seals)
			}
			if got := v.Keys(); !slices.Equal(got, tc.list) {
				t.Errorf("Keys = %v, want %v", got, tc.list)
			}
			for _, sealed := range []struct {
				ciphertext   []byte
				opens, keeps bool
			}{{sealedBefore, tc.opensBefore, tc.keepsBefore}, {sealedAfter, tc.opensAfter, tc.keepAfter}} {
				if _, err := v.Unseal(sealed.ciphertext, here); (err == nil) != sealed.opens {
					t.Errorf("Unseal: %v, want it to open: %t", err, sealed.opens)
				}
				keeps := slices.ContainsFunc(v.Prefixes(), func(prefix []byte) bool { return bytes.HasPrefix(sealed.ciphertext, prefix) })
				if keeps != sealed.keeps {
					t.Errorf("to be sealed again: %t, want %t", !keeps, !sealed.keeps)
				}
			}
		})
	}
	if _, err := vault.RemoveKey(promoted, after); err == nil {
		t.Error("the key that seals was removed")
	}
	if _, err := vault.RemoveKey(promoted, before+after); err == nil {
		t.Error("a key that is not there was removed")
	}
	if again := step(vault.PromoteKey(promoted)); open(t, again).PrimaryKeyID() != after {
		t.Error("promoted twice, another key seals")
	}
}

func TestKeyID_RefusesWhatIsNoCiphertext(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\x01\x00\x00\x00", "whsec_plain"} {
		if id, err := vault.KeyID([]byte(text)); !errors.Is(err, vault.ErrSealed) {
			t.Errorf("KeyID(%q) = %d, %v; want ErrSealed", text, id, err)
		}
	}
}

func TestOpen_RefusesOtherKeysets(t *testing.T) {
	t.Parallel()
	good := string(newKeyset(t))
	for _, tc := range []struct{ name, keys string }{
		{name: "nothing"},
		{name: "no JSON", keys: "s3cret"},
		{name: "JSON cut short", keys: good[:len(good)/2]},
		{name: "no keys", keys: "{}"},
		{name: "a primary key that is not there", keys: strings.Replace(fixedKeyset, `"primaryKeyId":1354692726`, `"primaryKeyId":1`, 1)},
		{name: "keys that only authenticate", keys: write(t, mac.HMACSHA256Tag256KeyTemplate())},
		{name: "keys that do not mark what they seal", keys: write(t, aead.AES256GCMNoPrefixKeyTemplate())},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if _, err := vault.Open([]byte(tc.keys)); err != vault.ErrKeyset { //nolint:errorlint // exactly: a cause could quote the key
				t.Errorf("Open: %v, want ErrKeyset itself", err)
			}
			for name, change := range map[string]func([]byte) ([]byte, error){
				"AddKey": vault.AddKey, "PromoteKey": vault.PromoteKey,
				"RemoveKey": func(keys []byte) ([]byte, error) { return vault.RemoveKey(keys, 1) },
			} {
				if _, err := change([]byte(tc.keys)); err != vault.ErrKeyset { //nolint:errorlint // the same
					t.Errorf("%s: %v, want ErrKeyset itself", name, err)
				}
			}
		})
	}
}

// write returns a keyset with one key of the template, in cleartext JSON.
func write(t *testing.T, template *tinkpb.KeyTemplate) string {
	t.Helper()
	handle, err := keyset.NewHandle(template)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&out)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func BenchmarkVault_Unseal(b *testing.B) {
	v := open(b, newKeyset(b))
	sealed := seal(b, v, here)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Unseal(sealed, here); err != nil {
			b.Fatal(err)
		}
	}
}
