package event

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Reason says why a document was refused.
type Reason string

// The reasons. Malformed alone means that the document cannot be read; all others
// refuse something readable.
const (
	Malformed      Reason = "malformed"
	UnsafeInteger  Reason = "unsafe_integer"
	NumberOverflow Reason = "number_overflow"
	TooDeep        Reason = "too_deep"
	TooLarge       Reason = "too_large"
	NotObject      Reason = "not_object"
	UnknownType    Reason = "unknown_type"
	InvalidTime    Reason = "invalid_time"
	SchemaMismatch Reason = "schema_mismatch"
)

// What is said of a name that is no event type, or no subscription.
const (
	NoType         = "must be an event type that GET /api/event-types lists"
	NoSubscription = NoType + ", a prefix such as deal.*, or *"
)

// maxPointerBytes bounds what a refused document can make us answer: a key may be
// as long as the document.
const maxPointerBytes = 512

// Error is the refusal of a document. Pointer and Detail are meant for the client
// that sent it, and quote nothing of it but keys and a single character.
type Error struct {
	// Pointer is the RFC 6901 pointer of the refused value: from the root of the
	// document for Normalise, from the body's for Body (/data/deal/valueCents). Where it
	// would be longer than 512 bytes it names an ancestor.
	Pointer string
	Reason  Reason
	// Detail is a sentence without full stop that says what to change.
	Detail string
}

func (e *Error) Error() string {
	return fmt.Sprintf("event: %s at %q: %s", e.Reason, e.Pointer, e.Detail)
}

// Unreadable reports whether the document is not JSON at all, as opposed to JSON
// that we do not accept.
func (e *Error) Unreadable() bool { return e.Reason == Malformed }

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// within prefixes the pointer with the name that the value has in its parent.
func (e *Error) within(name string) *Error {
	segment := "/" + pointerEscapes.Replace(name)
	switch {
	case len(segment) > maxPointerBytes:
		e.Pointer = ""
	case len(segment)+len(e.Pointer) > maxPointerBytes:
		e.Pointer = segment
	default:
		e.Pointer = segment + e.Pointer
	}
	return e
}

// withinKey is within for a key as it stands in the document, quoted.
func (e *Error) withinKey(quoted []byte) *Error {
	var name string
	if err := json.Unmarshal(quoted, &name); err != nil {
		panic(fmt.Sprintf("event: key %q was read and is not JSON: %v", quoted, err))
	}
	return e.within(name)
}
