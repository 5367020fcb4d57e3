// Package vault keeps secrets at rest: it seals them with AES256-GCM (Tink) so that
// a ciphertext opens only in the place it was made for.
//
// The keyset is a Tink keyset in cleartext JSON and belongs where the deployment
// keeps its secrets. A key is replaced while everything runs, in steps that each
// reach every process before the next, since a process opens only what its own
// keyset has the key of:
//
//	AddKey      the new key opens
//	PromoteKey  the new key seals; what older ones sealed is sealed again
//	RemoveKey   once nothing is left under the old one
package vault

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
)

var (
	// ErrSealed says that a ciphertext does not open: it was sealed for another
	// binding or with a key that the keyset lacks, or it was changed.
	ErrSealed = errors.New("ciphertext does not open")
	// ErrKeyset says that bytes are no keyset for this package. It has no cause, as
	// a parser's message may quote the key.
	ErrKeyset = errors.New("not a Tink AEAD keyset in cleartext JSON")
)

// Binding is the place that a ciphertext belongs to. No part may be empty or hold a
// '|'. A secret and its predecessor have the same purpose, so that rotating the
// secret can copy the ciphertext from one column to the other.
type Binding struct {
	Tenant  uuid.UUID
	Table   string
	Row     string // its id
	Purpose string
}

// associatedData is tenant|table|row|purpose. It is part of the stored format: to
// change it is to lose every secret.
func (b Binding) associatedData() ([]byte, error) {
	for _, part := range []string{b.Table, b.Row, b.Purpose} {
		if part == "" || strings.Contains(part, "|") {
			return nil, fmt.Errorf("vault: binding %q: a part is empty or holds a |", b)
		}
	}
	return []byte(b.String()), nil
}

// String is for errors and logs; it holds nothing secret.
func (b Binding) String() string {
	return b.Tenant.String() + "|" + b.Table + "|" + b.Row + "|" + b.Purpose
}

// Vault seals and unseals. It is safe for concurrent use.
type Vault struct {
	aead tink.AEAD
	keys []Key
}

// Key is one of a keyset's, in the order in which they were added.
type Key struct {
	ID      uint32
	Primary bool // it seals
}

// Open reads a keyset as this package writes them; all else is ErrKeyset.
func Open(keysetJSON []byte) (*Vault, error) {
	handle, primitive, err := read(keysetJSON)
	if err != nil {
		return nil, err
	}
	return &Vault{aead: primitive, keys: keysOf(handle)}, nil
}

func keysOf(handle *keyset.Handle) (keys []Key) {
	info := handle.KeysetInfo()
	for _, k := range info.GetKeyInfo() {
		keys = append(keys, Key{ID: k.GetKeyId(), Primary: k.GetKeyId() == info.GetPrimaryKeyId()})
	}
	return keys
}

// Seal encrypts plaintext for its binding, with the primary key. The ciphertext is
// 33 bytes longer and differs every time.
func (v *Vault) Seal(plaintext []byte, b Binding) ([]byte, error) {
	data, err := b.associatedData()
	if err != nil {
		return nil, err
	}
	ciphertext, err := v.aead.Encrypt(plaintext, data)
	if err != nil {
		return nil, fmt.Errorf("vault: seal %s: %w", b, err)
	}
	return ciphertext, nil
}

// Unseal returns what Seal was given for the same binding, or ErrSealed.
func (v *Vault) Unseal(ciphertext []byte, b Binding) ([]byte, error) {
	data, err := b.associatedData()
	if err != nil {
		return nil, err
	}
	plaintext, err := v.aead.Decrypt(ciphertext, data)
	if err != nil {
		return nil, fmt.Errorf("vault: unseal %s: %w", b, ErrSealed) // Tink's error says no more
	}
	return plaintext, nil
}

// Keys are the keyset's, oldest first.
func (v *Vault) Keys() []Key { return slices.Clone(v.keys) }

// PrimaryKeyID is the id of the key that Seal uses now.
func (v *Vault) PrimaryKeyID() uint32 {
	return v.keys[slices.IndexFunc(v.keys, func(k Key) bool { return k.Primary })].ID // there is one: Open has made sure
}

// PrefixSize is the length of what Prefixes returns.
const PrefixSize = 5

// Prefixes are what ciphertexts begin with that are under the primary key or a
// newer one, which processes with another keyset seal with already. All others
// are to be sealed again.
func (v *Vault) Prefixes() [][]byte {
	from := slices.IndexFunc(v.keys, func(k Key) bool { return k.Primary })
	var prefixes [][]byte
	for _, k := range v.keys[from:] {
		prefixes = append(prefixes, binary.BigEndian.AppendUint32([]byte{tinkPrefix}, k.ID))
	}
	return prefixes
}

// tinkPrefix begins every ciphertext of a key with output prefix TINK; the key's id
// follows in four bytes, big-endian (https://developers.google.com/tink/wire-format).
const tinkPrefix = 0x01

// KeyID tells which key sealed a ciphertext, without opening it. What is no
// ciphertext of ours is ErrSealed.
func KeyID(ciphertext []byte) (uint32, error) {
	if len(ciphertext) < PrefixSize || ciphertext[0] != tinkPrefix {
		return 0, fmt.Errorf("vault: key of a ciphertext: %w", ErrSealed)
	}
	return binary.BigEndian.Uint32(ciphertext[1:PrefixSize]), nil
}

// NewKeyset makes a keyset with one new key, in cleartext: a secret.
func NewKeyset() ([]byte, error) {
	manager := keyset.NewManager()
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, fmt.Errorf("vault: make a key: %w", err)
	}
	return write(manager, id)
}

// AddKey returns the keyset with one more key, which does not seal yet.
func AddKey(keysetJSON []byte) ([]byte, error) {
	handle, _, err := read(keysetJSON)
	if err != nil {
		return nil, err
	}
	manager := keyset.NewManagerFromHandle(handle)
	if _, err := manager.Add(aead.AES256GCMKeyTemplate()); err != nil {
		return nil, fmt.Errorf("vault: make a key: %w", err)
	}
	return write(manager, handle.KeysetInfo().GetPrimaryKeyId())
}

// PromoteKey returns the keyset with the key that was added last as the one that
// seals. The others still open what they sealed.
func PromoteKey(keysetJSON []byte) ([]byte, error) {
	handle, _, err := read(keysetJSON)
	if err != nil {
		return nil, err
	}
	keys := keysOf(handle)
	return write(keyset.NewManagerFromHandle(handle), keys[len(keys)-1].ID)
}

// RemoveKey returns the keyset without a key. What is still sealed with it is lost
// to whoever has no other copy of the key. The primary key cannot be removed.
func RemoveKey(keysetJSON []byte, id uint32) ([]byte, error) {
	handle, _, err := read(keysetJSON)
	if err != nil {
		return nil, err
	}
	manager := keyset.NewManagerFromHandle(handle)
	if err := manager.Delete(id); err != nil {
		return nil, fmt.Errorf("vault: remove key %d: %w", id, err)
	}
	return write(manager, handle.KeysetInfo().GetPrimaryKeyId())
}

// write returns the manager's keyset with a primary key.
func write(manager *keyset.Manager, primary uint32) ([]byte, error) {
	if err := manager.SetPrimary(primary); err != nil {
		return nil, fmt.Errorf("vault: make key %d primary: %w", primary, err)
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, fmt.Errorf("vault: keyset: %w", err)
	}
	var out bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&out)); err != nil {
		return nil, fmt.Errorf("vault: write keyset: %w", err)
	}
	return out.Bytes(), nil
}

func read(keysetJSON []byte) (*keyset.Handle, tink.AEAD, error) {
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(keysetJSON)))
	if err != nil {
		return nil, nil, ErrKeyset
	}
	for _, key := range handle.KeysetInfo().GetKeyInfo() {
		if key.GetOutputPrefixType() != tinkpb.OutputPrefixType_TINK {
			return nil, nil, ErrKeyset // its ciphertexts would not tell their key
		}
	}
	if !slices.ContainsFunc(keysOf(handle), func(k Key) bool { return k.Primary }) {
		return nil, nil, ErrKeyset
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, nil, ErrKeyset // keys of another kind
	}
	return handle, primitive, nil
}
