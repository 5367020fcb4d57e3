package inbound

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

const replacement = "\uFFFD"

// clean returns JSON with all mended that Postgres refuses, or a parser may: NUL,
// raw or escaped, is taken out; what is no UTF-8 and escaped surrogates without
// their other half become U+FFFD. Where there is nothing to mend it is src itself.
// False means that src is no JSON: taking something out of a broken escape could
// make another of what stands around it.
func clean(src []byte) ([]byte, bool) {
	if bytes.IndexByte(src, 0) >= 0 {
		src = bytes.ReplaceAll(src, []byte{0}, nil)
	}
	if !utf8.Valid(src) {
		src = bytes.ToValidUTF8(src, []byte(replacement))
	}
	var out []byte
	mark := 0 // src[mark:i] is not in out yet
	for i := 0; i < len(src); {
		next := bytes.IndexByte(src[i:], '\\')
		if next < 0 {
			break
		}
		i += next
		if i+1 < len(src) && src[i+1] != 'u' {
			i += len(`\n`)
			continue
		}
		r, ok := escaped(src[i:])
		if !ok {
			return nil, false
		}
		size, with := len(`\u0000`), ""
		switch {
		case r == 0:
		case utf16.IsSurrogate(r):
			if low, ok := escaped(src[i+size:]); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
				i += 2 * size
				continue
			}
			with = replacement
		default:
			i += size
			continue
		}
		out = append(append(out, src[mark:i]...), with...)
		i += size
		mark = i
	}
	if mark == 0 {
		return src, true
	}
	return append(out, src[mark:]...), true
}

// escaped reads \uxxxx at the beginning of b. What it returns may be a surrogate.
func escaped(b []byte) (r rune, ok bool) {
	if len(b) < len(`\u0000`) || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return 0, false
	}
	return rune(n), true
}
