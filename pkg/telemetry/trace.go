package telemetry

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"strings"
)

// TraceparentHeader is the name of the W3C Trace Context header, also among the
// headers of a message.
const TraceparentHeader = "traceparent"

// NewTraceparent begins a trace: a new trace id, flagged as sampled, since the log
// row of an attempt records it. An OpenTelemetry propagator takes the place of
// these functions once spans are exported; the header stays the same.
func NewTraceparent() string {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], rand.Uint64())
	binary.BigEndian.PutUint64(id[8:], nonZero())
	return traceparent(hex.EncodeToString(id[:]), "01")
}

// ChildTraceparent continues parent's trace with a new parent id, keeping its
// decision on sampling. A parent that is not valid begins a new trace, as the
// standard demands.
func ChildTraceparent(parent string) string {
	if !ValidTraceparent(parent) {
		return NewTraceparent()
	}
	flags := "00"
	if strings.ContainsRune("13579bdf", rune(parent[54])) { // bit 0, sampled: the one flag we know
		flags = "01"
	}
	return traceparent(parent[3:35], flags)
}

// ValidTraceparent says whether s can be continued
// (https://www.w3.org/TR/trace-context/#traceparent-header). Versions after 00
// count as long as they begin as 00 does.
func ValidTraceparent(s string) bool {
	if len(s) < 55 {
		return false
	}
	version, traceID, parentID, flags := s[:2], s[3:35], s[36:52], s[53:55]
	return s[2] == '-' && s[35] == '-' && s[52] == '-' &&
		isHex(version) && isHex(traceID) && isHex(parentID) && isHex(flags) &&
		version != "ff" && strings.Trim(traceID, "0") != "" && strings.Trim(parentID, "0") != "" &&
		(len(s) == 55 || version != "00" && s[55] == '-')
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// traceparent joins a header with a new parent id. The ids are no secrets, and one
// is made for every attempt: math/rand is the right source.
func traceparent(traceID, flags string) string {
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], nonZero())
	return "00-" + traceID + "-" + hex.EncodeToString(id[:]) + "-" + flags
}

func nonZero() uint64 {
	for {
		if n := rand.Uint64(); n != 0 {
			return n
		}
	}
}
