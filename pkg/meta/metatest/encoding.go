package metatest

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Encoding is how a payload is written. The zero value is Meta's way: ASCII, with
// all else and slashes escaped, in lower case.
type Encoding struct {
	UTF8       bool // nothing is escaped that need not be
	NumericIDs bool // ids of digits are numbers, as in old payloads and tests of the dashboard
}

// ids are the names of fields that may be numbers in old payloads.
var ids = map[string]bool{
	"id": true, "phone_number_id": true, "wa_id": true, "from": true, "recipient_id": true, "timestamp": true,
	"user_id": true, "page_id": true, "app_id": true, "ad_id": true, "catalog_id": true, "sticker_id": true,
	"target_ids": true, "profile_id": true,
}

// Encode writes a payload.
func Encode(payload any, e Encoding) []byte {
	if e.NumericIDs {
		var plain any
		decoder := json.NewDecoder(bytes.NewReader(encode(payload)))
		decoder.UseNumber()
		if err := decoder.Decode(&plain); err != nil {
			panic("metatest: " + err.Error()) // it was just written
		}
		payload = numeric(plain, "")
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(payload); err != nil {
		panic("metatest: " + err.Error()) // payloads are objects, lists, texts and numbers
	}
	text := bytes.TrimSuffix(out.Bytes(), []byte("\n"))
	if e.UTF8 {
		return text
	}
	return escape(text)
}

// numeric makes numbers of the ids that are digits.
func numeric(v any, name string) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = numeric(value, key)
		}
	case []any:
		for i, value := range v {
			v[i] = numeric(value, name)
		}
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		if ids[name] && err == nil && strconv.FormatInt(n, 10) == v {
			return json.Number(v)
		}
	}
	return v
}

// escape writes what is not ASCII, and slashes, as escapes. Both occur in strings
// alone.
func escape(text []byte) []byte {
	out := make([]byte, 0, len(text)+len(text)/4)
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		switch {
		case r == '/':
			out = append(out, '\\', '/')
		case r < utf8.RuneSelf:
			out = append(out, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = unit(unit(out, high), low)
		default:
			out = unit(out, r)
		}
	}
	return out
}

// unit writes one unit of UTF-16.
func unit(out []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(out, '\\', 'u', digits[r>>12&0xf], digits[r>>8&0xf], digits[r>>4&0xf], digits[r&0xf])
}
