package event

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/go-json-experiment/json/jsontext"
)

// ContactKey is what a contact's id is in message headers and in the ledger: the
// id itself where it is as a client's event id may be, else its hash. Empty for
// none.
func ContactKey(id string) string {
	if id == "" || ValidID(id) {
		return id
	}
	hash := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(hash[:]) // no valid id has a colon
}

// ContactID is the id that a key was made of, nil where the key does not show it,
// or is none.
func ContactID(key *string) *string {
	if key == nil || !ValidID(*key) {
		return nil
	}
	return key
}

// ContactOf returns the id of the contact that a body is about: data.contact.id,
// in every type that is about one. Empty where there is none. It reads no further than
// that.
func ContactOf(body []byte) string {
	dec := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for _, name := range []string{"data", "contact", "id"} {
		if !enter(dec, name) {
			return ""
		}
	}
	if dec.PeekKind() != jsontext.KindString {
		return ""
	}
	token, err := dec.ReadToken()
	if err != nil {
		return ""
	}
	return token.String()
}

// enter reads an object up to the value of a member.
func enter(dec *jsontext.Decoder, name string) bool {
	if dec.PeekKind() != jsontext.KindBeginObject {
		return false
	}
	_, err := dec.ReadToken()
	for err == nil && dec.PeekKind() == jsontext.KindString {
		var key jsontext.Token
		if key, err = dec.ReadToken(); err == nil && key.String() == name {
			return true
		}
		err = errors.Join(err, dec.SkipValue())
	}
	return false
}
