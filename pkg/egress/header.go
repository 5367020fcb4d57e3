package egress

import (
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Bounds of a customer's own header, in bytes.
const (
	MaxHeaderName  = 128
	MaxHeaderValue = 4096
)

// reserved holds, in lower case, the names that a customer cannot set: ours,
// those of the connection (RFC 9110, 7.6.1), and those by which net/http or
// the receiver would treat the request otherwise than we mean it.
var reserved = map[string]struct{}{
	"user-agent": {}, "traceparent": {}, "tracestate": {}, "baggage": {},

	"connection": {}, "keep-alive": {}, "te": {}, "trailer": {},
	"transfer-encoding": {}, "upgrade": {}, "http2-settings": {},

	"host": {}, "expect": {}, "accept-encoding": {},
	// With one of these net/http repeats a POST after a lost connection. The
	// key of an event is its webhook-id.
	"idempotency-key": {}, "x-idempotency-key": {},
}

// reservedPrefixes are the families of reserved names: our own, and what
// describes our body or belongs to proxies.
var reservedPrefixes = []string{"webhook-", "x-webhook-", "content-", "proxy-"}

// ReservedHeader reports whether customers cannot set the header name, in
// whatever case.
func ReservedHeader(name string) bool {
	var lower [32]byte // longer than every reserved name; no allocation an attempt
	n := min(len(name), len(lower))
	for i := range n {
		lower[i] = name[i]
		if 'A' <= name[i] && name[i] <= 'Z' {
			lower[i] |= 0x20
		}
	}
	if _, ok := reserved[string(lower[:n])]; ok {
		return true
	}
	for _, prefix := range reservedPrefixes {
		if strings.HasPrefix(string(lower[:n]), prefix) {
			return true
		}
	}
	return false
}

// CheckHeader returns a *Refusal if a customer cannot send the header.
func CheckHeader(name, value string) error {
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return &Refusal{"must have a valid HTTP header name"}
	case len(name) > MaxHeaderName:
		return &Refusal{"must have a name of at most 128 bytes"}
	case ReservedHeader(name):
		return &Refusal{"must not replace a header that PrimeZap sets"}
	case len(value) > MaxHeaderValue:
		return &Refusal{"must have a value of at most 4096 bytes"}
	case !httpguts.ValidHeaderFieldValue(value):
		return &Refusal{"must have a value without control characters"}
	}
	return nil
}
