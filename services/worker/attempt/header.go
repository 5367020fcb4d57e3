package attempt

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/primezap/primezap/pkg/egress"
)

// Header is one of a customer's own headers.
type Header struct{ Name, Value string }

const (
	maxResponseHeaders     = 64
	maxResponseHeaderBytes = 8 << 10 // of JSON
	mask                   = `"••••"`
)

// Constant values are shared by all requests; a transport does not modify them.
var (
	contentType = []string{"application/json"}
	userAgent   = []string{"PrimeZap-Webhook/1.0"}
)

// headers holds a request's own values of the fixed headers, so that they are
// one allocation and the header map refers to them.
type headers struct {
	event, hexSignature, id, timestamp, signature, traceparent [1]string
}

// sendable returns own without reserved and malformed headers. They were
// refused when given; a stored one could still split or redirect the request.
func sendable(own []Header) []Header {
	bad := func(c Header) bool { return egress.CheckHeader(c.Name, c.Value) != nil }
	if !slices.ContainsFunc(own, bad) {
		return own
	}
	return slices.DeleteFunc(slices.Clone(own), bad)
}

// header returns the map for net/http. Names are as they stand on the wire:
// net/http does not change the case of keys, and customers' spelling is kept.
func (v *headers) header(own []Header) http.Header {
	h := make(http.Header, 8+len(own))
	for _, c := range own {
		h[c.Name] = append(h[c.Name], c.Value)
	}
	h["Content-Type"] = contentType
	h["User-Agent"] = userAgent
	h["X-Webhook-Event"] = v.event[:]
	h["X-Webhook-Signature"] = v.hexSignature[:]
	h["webhook-id"] = v.id[:]
	h["webhook-timestamp"] = v.timestamp[:]
	h["webhook-signature"] = v.signature[:]
	if v.traceparent[0] != "" {
		h["traceparent"] = v.traceparent[:]
	}
	return h
}

// json returns the same as a JSON object, customers' values masked.
func (v *headers) json(own []Header) []byte {
	size := 256 + len(v.event[0]) + len(v.hexSignature[0]) + len(v.id[0]) + len(v.signature[0]) + len(v.traceparent[0])
	for _, c := range own {
		size += len(c.Name) + len(mask) + len(`"":,`)
	}
	b := make([]byte, 0, size)
	b = append(b, `{"Content-Type":"application/json","User-Agent":"PrimeZap-Webhook/1.0","X-Webhook-Event":`...)
	b = appendString(b, v.event[0])
	b = append(b, `,"X-Webhook-Signature":`...)
	b = appendString(b, v.hexSignature[0])
	b = append(b, `,"webhook-id":`...)
	b = appendString(b, v.id[0])
	b = append(b, `,"webhook-timestamp":`...)
	b = appendString(b, v.timestamp[0])
	b = append(b, `,"webhook-signature":`...)
	b = appendString(b, v.signature[0])
	if v.traceparent[0] != "" {
		b = append(b, `,"traceparent":`...)
		b = appendString(b, v.traceparent[0])
	}
	for _, c := range own {
		b = append(b, ',')
		b = appendString(b, c.Name)
		b = append(b, ':')
		b = append(b, mask...)
	}
	return append(b, '}')
}

// responseJSON returns h as a JSON object, in the order of names, several
// values of one name joined. What does not fit the bounds is left out.
func responseJSON(h http.Header) []byte {
	var few [16]string
	names := few[:0]
	size := len(`{}`)
	for name, values := range h {
		names = append(names, name)
		size += len(name) + len(values[0]) + len(`"":"",`)
	}
	slices.Sort(names)
	b := append(make([]byte, 0, min(size, maxResponseHeaderBytes)), '{')
	for _, name := range names[:min(len(names), maxResponseHeaders)] {
		before := len(b)
		if before > 1 {
			b = append(b, ',')
		}
		b = appendString(b, name)
		b = append(b, ':')
		value := h[name][0]
		if len(h[name]) > 1 {
			value = strings.Join(h[name], ", ")
		}
		b = appendString(b, value)
		if len(b) >= maxResponseHeaderBytes {
			b = b[:before]
		}
	}
	return append(b, '}')
}

// appendString appends s as a JSON string, valid UTF-8 and without NUL.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(strings.ReplaceAll(s, "\x00", "")) // a string always marshals
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// text returns body as Postgres text takes it, valid UTF-8 without NUL, at
// most limit bytes. A character that limit cuts is left out with the rest.
func text(body []byte, limit int) string {
	s := string(body)
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	s = strings.ReplaceAll(s, "\x00", "")
	if len(s) > limit { // by the replacements
		s = strings.ToValidUTF8(s[:limit], "")
	}
	return s
}
