package webhook

import (
	"crypto/sha256"
	"encoding"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"sync"
)

// key is an HMAC-SHA256 key (RFC 2104) whose two pads are hashed already. It is
// plain data, and the hash to load it into comes from one pool for all keys.
// With 100 000 webhooks crypto/hmac took 1.2 µs and 8 allocations for a body of
// 1 KB, a pool of its objects in each Signer 1.9 µs, and this 0.8 µs and none.
type key struct{ inner, outer []byte } // marshalled states of SHA-256

func newKey(secret []byte) key {
	if len(secret) > sha256.BlockSize {
		sum := sha256.Sum256(secret)
		secret = sum[:]
	}
	return key{inner: padded(secret, 0x36), outer: padded(secret, 0x5c)}
}

// standardKey is the key that secret stands for in the Standard Webhooks scheme.
func standardKey(secret string) (key, error) {
	raw, err := keyBytes(secret)
	if err != nil {
		return key{}, err
	}
	return newKey(raw), nil
}

// padded is SHA-256's state after secret, filled up to a block and XORed with pad.
func padded(secret []byte, pad byte) []byte {
	var block [sha256.BlockSize]byte
	copy(block[:], secret)
	for i := range block {
		block[i] ^= pad
	}
	h := sha256.New()
	h.Write(block[:])
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic(err) // documented never to happen to SHA-256
	}
	return state
}

// scratch is what computing one signature needs. Its user holds it alone.
type scratch struct {
	hash   hash.Hash
	digest [sha256.Size]byte
	head   []byte // what is signed before the body
	out    []byte // the signature as text
}

var scratches = sync.Pool{New: func() any { return &scratch{hash: sha256.New()} }}

// hex is the HMAC of body in lower-case hexadecimal.
func (k key) hex(body []byte) string {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.out = hex.AppendEncode(s.out[:0], s.sum(k, nil, body))
	return string(s.out)
}

// signStandard signs id, ts and body with every key, as HeaderSignature writes it.
func signStandard(keys []key, id, ts string, body []byte) string {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	s.head = append(s.head[:0], id...)
	s.head = append(s.head, '.')
	s.head = append(s.head, ts...)
	s.head = append(s.head, '.')
	s.out = s.out[:0]
	for i, k := range keys {
		if i > 0 {
			s.out = append(s.out, ' ')
		}
		s.out = append(s.out, signatureVersion+","...)
		s.out = base64.StdEncoding.AppendEncode(s.out, s.sum(k, s.head, body))
	}
	return string(s.out)
}

// sum is the HMAC of head and body. The next call overwrites it.
func (s *scratch) sum(k key, head, body []byte) []byte {
	s.load(k.inner)
	s.hash.Write(head)
	s.hash.Write(body)
	inner := s.hash.Sum(s.digest[:0])
	s.load(k.outer)
	s.hash.Write(inner)
	return s.hash.Sum(s.digest[:0])
}

func (s *scratch) load(state []byte) {
	if err := s.hash.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		panic(err) // a key is made by newKey or not at all
	}
}
