package event

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
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
// in every type that is about one. Empty where there is none.
func ContactOf(body []byte) string {
	at := json.RawMessage(body)
	for _, name := range []string{"data", "contact", "id"} {
		var members map[string]json.RawMessage // unlike a struct's, its names are exact
		if json.Unmarshal(at, &members) != nil {
			return ""
		}
		at = members[name]
	}
	var id string
	if json.Unmarshal(at, &id) != nil {
		return ""
	}
	return id
}
