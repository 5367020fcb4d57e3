package event

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how many arrays and objects may stand in one another, the outermost
// included. 64 is what the strictest common parser reads (.NET's default).
const MaxDepth = 64

// Normalise returns the JS-stable form of a JSON document (see the package
// comment), in memory of its own. A refusal is an *Error.
func Normalise(src []byte) ([]byte, error) {
	return AppendNormalised(make([]byte, 0, len(src)), src)
}

// AppendNormalised appends what Normalise returns to dst. After an error it
// returns dst as it was.
//
// The work is linear in src, but for objects that must be rewritten: each copies
// its own text once more, so the worst case is MaxDepth copies. The caller bounds src.
func AppendNormalised(dst, src []byte) ([]byte, error) {
	out, err := appendNormalised(dst, src, MaxDepth)
	if err == nil && len(out)-len(dst) > MaxBodyBytes {
		err = tooLarge(len(out) - len(dst))
	}
	if err != nil {
		return dst, err // a *Error assigned to an error only here, where it is not nil
	}
	return out, nil
}

// appendNormalised is AppendNormalised for at most levels of nesting and any size.
func appendNormalised(dst, src []byte, levels int) ([]byte, *Error) {
	return appendWith(dst, src, levels, false)
}

func appendWith(dst, src []byte, levels int, quoteNumbers bool) ([]byte, *Error) {
	n := normalisers.Get().(*normaliser)
	n.src, n.pos, n.mark, n.dst, n.quoteNumbers = src, 0, 0, dst, quoteNumbers
	err := n.document(levels)
	out := n.dst
	n.release()
	return out, err
}

// normaliser reads src once and writes its JS-stable form to dst. Most of a
// document is in that form already, so text is copied in runs: it is only where
// something must change that the run before it and the replacement are written.
type normaliser struct {
	src  []byte
	pos  int // the next byte of src to read
	mark int // src[mark:pos] is read, needs no change, and is not in dst yet
	dst  []byte

	quoteNumbers bool // that would be refused: see Embed

	members []member // of all objects that are open, the innermost's last
	spare   []byte   // text of the object being rewritten
	table   []int32  // hash table of the object being checked: index into its members + 1
}

// member is a key and its value, by their places in dst.
type member struct {
	key, keyEnd int // the quoted key
	val, end    int
	rank        uint32 // the key's place before all others if an array index, else notIndex
	replaced    bool   // a duplicate, whose value the first of its name has now
}

const (
	notIndex       = math.MaxUint32 // itself no array index in ECMAScript
	maxSafeInteger = "9007199254740991"
	fewMembers     = 16        // up to here comparing all pairs is faster than hashing
	maxKept        = 512 << 10 // bytes of scratch memory that a pooled normaliser keeps
)

var (
	normalisers = sync.Pool{New: func() any { return new(normaliser) }}
	keySeed     = maphash.MakeSeed() // a client cannot choose colliding keys
)

func (n *normaliser) release() {
	n.src, n.dst, n.members = nil, nil, n.members[:0]
	if cap(n.spare)+cap(n.members)*40+cap(n.table)*4 <= maxKept {
		normalisers.Put(n)
	}
}

func (n *normaliser) document(levels int) *Error {
	if err := n.value(levels); err != nil {
		return err
	}
	n.space()
	if n.pos < len(n.src) {
		return n.unexpected("the end")
	}
	n.flush()
	return nil
}

// value reads a value of at most levels of nesting: the recursion is bounded by it.
func (n *normaliser) value(levels int) *Error {
	n.space()
	switch c := n.peek(); c {
	case '{':
		return n.object(levels)
	case '[':
		return n.array(levels)
	case '"':
		return n.text()
	case 't':
		return n.literal("true")
	case 'f':
		return n.literal("false")
	case 'n':
		return n.literal("null")
	default:
		if c == '-' || isDigit(c) {
			return n.number()
		}
		return n.unexpected("a value")
	}
}

func (n *normaliser) object(levels int) *Error {
	if levels == 0 {
		return tooDeep()
	}
	start, base := n.at(), len(n.members)
	n.pos++ // {
	n.space()
	if n.peek() == '}' {
		n.pos++
		return nil
	}
	for {
		n.space()
		if n.peek() != '"' {
			return n.unexpected("a key")
		}
		m, from := member{key: n.at()}, n.pos
		if err := n.text(); err != nil {
			return err
		}
		m.keyEnd = n.at()
		key := n.src[from:n.pos]
		n.space()
		if n.peek() != ':' {
			return n.unexpected("a colon").withinKey(key)
		}
		n.pos++
		n.space()
		m.val = n.at()
		if err := n.value(levels - 1); err != nil {
			return err.withinKey(key)
		}
		m.end = n.at()
		n.members = append(n.members, m) // after the value, which has removed its own
		n.space()
		switch n.peek() {
		case ',':
			n.pos++
		case '}':
			n.pos++
			if len(n.members)-base > 1 {
				n.arrange(start, n.members[base:])
			}
			n.members = n.members[:base]
			return nil
		default:
			return n.unexpected("a comma or the object's end")
		}
	}
}

func (n *normaliser) array(levels int) *Error {
	if levels == 0 {
		return tooDeep()
	}
	n.pos++ // [
	n.space()
	if n.peek() == ']' {
		n.pos++
		return nil
	}
	for i := 0; ; i++ {
		if err := n.value(levels - 1); err != nil {
			return err.within(strconv.Itoa(i))
		}
		n.space()
		switch n.peek() {
		case ',':
			n.pos++
		case ']':
			n.pos++
			return nil
		default:
			return n.unexpected("a comma or the array's end")
		}
	}
}

// arrange brings an object, just read and beginning at start in dst, into the order
// that JavaScript keeps its members in, one for each name.
func (n *normaliser) arrange(start int, members []member) {
	n.flush()
	ordered := !n.replaceDuplicates(members)
	for i := range members {
		m := &members[i]
		m.rank = arrayIndex(n.dst[m.key+1 : m.keyEnd-1])
		if i > 0 && m.rank < members[i-1].rank {
			ordered = false
		}
	}
	if ordered {
		return
	}
	slices.SortFunc(members, func(a, b member) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.key, b.key))
	})
	n.spare = append(n.spare[:0], n.dst[start:]...)
	n.dst = append(n.dst[:start], '{')
	for _, m := range members {
		if m.replaced {
			continue
		}
		if len(n.dst) > start+1 {
			n.dst = append(n.dst, ',')
		}
		n.dst = append(n.dst, n.spare[m.key-start:m.keyEnd-start]...)
		n.dst = append(n.dst, ':')
		n.dst = append(n.dst, n.spare[m.val-start:m.end-start]...)
	}
	n.dst = append(n.dst, '}')
}

// replaceDuplicates gives the first member of each name the value of the last, and
// reports whether there was a name twice. Keys are compared as they stand in dst:
// in normal form, equal strings are equal bytes.
func (n *normaliser) replaceDuplicates(members []member) (found bool) {
	hashed := len(members) > fewMembers
	var mask int
	if hashed {
		mask = 1
		for mask < 2*len(members) {
			mask *= 2
		}
		n.table = slices.Grow(n.table[:0], mask)[:mask]
		clear(n.table)
		mask--
	}
	for i := range members {
		m := &members[i]
		key := n.dst[m.key:m.keyEnd]
		first := i
		if hashed {
			slot := int(maphash.Bytes(keySeed, key)) & mask
			for n.table[slot] != 0 && !n.hasKey(members[n.table[slot]-1], key) {
				slot = (slot + 1) & mask
			}
			if n.table[slot] == 0 {
				n.table[slot] = int32(i) + 1
			}
			first = int(n.table[slot]) - 1
		} else {
			for j := range members[:i] {
				if n.hasKey(members[j], key) {
					first = j
					break
				}
			}
		}
		if first != i {
			members[first].val, members[first].end = m.val, m.end
			m.replaced, found = true, true
		}
	}
	return found
}

func (n *normaliser) hasKey(m member, key []byte) bool {
	return m.keyEnd-m.key == len(key) && string(n.dst[m.key:m.keyEnd]) == string(key)
}

// arrayIndex returns the array index that a key is, or notIndex.
func arrayIndex(key []byte) uint32 {
	if len(key) == 0 || len(key) > 10 || !isDigit(key[0]) || key[0] == '0' && len(key) > 1 {
		return notIndex
	}
	var index uint64
	for _, c := range key {
		if !isDigit(c) {
			return notIndex
		}
		index = index*10 + uint64(c-'0')
	}
	return uint32(min(index, notIndex))
}

// text reads a string and its quotes.
func (n *normaliser) text() *Error {
	n.pos++ // "
	for {
		src, pos := n.src, n.pos // in registers
		for pos < len(src) && plain[src[pos]] {
			pos++
		}
		n.pos = pos
		switch c := n.peek(); {
		case c == '"':
			n.pos++
			return nil
		case c == '\\':
			if err := n.escape(); err != nil {
				return err
			}
		case n.pos == len(n.src):
			return n.unexpected("the string's end")
		case c < ' ':
			return &Error{Reason: Malformed, Detail: fmt.Sprintf("the control character %U at byte %d must be escaped", c, n.pos)}
		default:
			r, size := utf8.DecodeRune(n.src[n.pos:])
			if r == utf8.RuneError && size == 1 {
				return &Error{Reason: Malformed, Detail: fmt.Sprintf("invalid UTF-8 at byte %d", n.pos)}
			}
			n.pos += size
		}
	}
}

// plain holds the bytes that stand for themselves in a string.
var plain = func() (t [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// escape reads an escape sequence, or two that are one surrogate pair.
func (n *normaliser) escape() *Error {
	start := n.pos
	n.pos++ // \
	switch n.peek() {
	case '"', '\\', 'b', 'f', 'n', 'r', 't':
		n.pos++
		return nil
	case '/':
		n.pos++
		n.replace(start, []byte("/"))
		return nil
	case 'u':
		r, ok := hexRune(n.src[start:])
		if !ok {
			return &Error{Reason: Malformed, Detail: fmt.Sprintf("an escape without four hexadecimal digits at byte %d", start)}
		}
		n.pos = start + 6
		if low, ok := hexRune(n.src[n.pos:]); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				r = pair
				n.pos += 6
			}
		}
		var b [6]byte
		n.replace(start, appendChar(b[:0], r))
		return nil
	default:
		return n.unexpected("an escape")
	}
}

// hexRune reads \uxxxx at the beginning of b. What it returns may be a surrogate.
func hexRune(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = (c | 0x20) - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendChar writes a character, or a lone surrogate, as JSON.stringify does.
func appendChar(dst []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	switch {
	case r == '"' || r == '\\':
		return append(dst, '\\', byte(r))
	case r == '\b':
		return append(dst, `\b`...)
	case r == '\f':
		return append(dst, `\f`...)
	case r == '\n':
		return append(dst, `\n`...)
	case r == '\r':
		return append(dst, `\r`...)
	case r == '\t':
		return append(dst, `\t`...)
	case r < ' ' || utf16.IsSurrogate(r):
		return append(dst, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
	default:
		return utf8.AppendRune(dst, r)
	}
}

// number reads a number. What it cannot see to be normal it rewrites.
func (n *normaliser) number() *Error {
	start := n.pos
	negative := n.peek() == '-'
	if negative {
		n.pos++
	}
	first := n.pos
	if n.peek() == '0' {
		n.pos++ // no digit may follow
	} else if !n.digits() {
		return n.unexpected("a digit")
	}
	whole := n.src[first:n.pos]
	exact := true
	if n.peek() == '.' {
		exact = false
		n.pos++
		if !n.digits() {
			return n.unexpected("a digit")
		}
	}
	if n.peek()|0x20 == 'e' {
		exact = false
		n.pos++
		if c := n.peek(); c == '+' || c == '-' {
			n.pos++
		}
		if !n.digits() {
			return n.unexpected("a digit")
		}
	}
	if exact {
		if len(whole) > len(maxSafeInteger) || len(whole) == len(maxSafeInteger) && string(whole) > maxSafeInteger {
			if n.quoteNumbers {
				n.quote(start)
				return nil
			}
			return &Error{Reason: UnsafeInteger, Detail: "integers beyond ±" + maxSafeInteger + " lose digits in JavaScript: send a string"}
		}
		if negative && whole[0] == '0' {
			n.replace(start, whole)
		}
		return nil
	}
	f, err := strconv.ParseFloat(string(n.src[start:n.pos]), 64)
	if err != nil { // the syntax was checked: it is out of range
		if n.quoteNumbers {
			n.quote(start)
			return nil
		}
		return &Error{Reason: NumberOverflow, Detail: "no finite double holds this number: send a string"}
	}
	// From 1e21 on a number keeps its exponent.
	if n.quoteNumbers && math.Abs(f) > 1<<53-1 && math.Abs(f) < 1e21 {
		n.quote(start)
		return nil
	}
	var b [32]byte
	n.replace(start, appendNumber(b[:0], f))
	return nil
}

// quote makes a string of the number that was read since from.
func (n *normaliser) quote(from int) {
	number := string(n.src[from:n.pos])
	n.replace(from, []byte(`"`+number+`"`))
}

// digits skips digits and reports whether there was one.
func (n *normaliser) digits() bool {
	start := n.pos
	for n.pos < len(n.src) && isDigit(n.src[n.pos]) {
		n.pos++
	}
	return n.pos > start
}

// appendNumber is ECMAScript's Number::toString in base 10, for finite numbers.
func appendNumber(dst []byte, f float64) []byte {
	if f == 0 {
		return append(dst, '0') // -0 too
	}
	if a := math.Abs(f); 1e-6 <= a && a < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if last := len(dst) - 1; dst[last-1] == '0' && dst[last-2] == '-' {
		dst[last-1] = dst[last] // strconv writes 1e-07
		dst = dst[:last]
	}
	return dst
}

func (n *normaliser) literal(word string) *Error {
	if !bytes.HasPrefix(n.src[n.pos:], []byte(word)) {
		return n.unexpected("a value")
	}
	n.pos += len(word)
	return nil
}

// space drops white space.
func (n *normaliser) space() {
	start := n.pos
	for n.pos < len(n.src) {
		switch n.src[n.pos] {
		case ' ', '\t', '\n', '\r':
			n.pos++
			continue
		}
		break
	}
	if n.pos > start {
		n.replace(start, nil)
	}
}

// peek returns the next byte, and 0, which no rule expects, at the end.
func (n *normaliser) peek() byte {
	if n.pos < len(n.src) {
		return n.src[n.pos]
	}
	return 0
}

// at returns where in dst the next byte will stand, unless it is replaced.
func (n *normaliser) at() int { return len(n.dst) + n.pos - n.mark }

// replace writes text in place of what was read since from.
func (n *normaliser) replace(from int, text []byte) {
	n.dst = append(n.dst, n.src[n.mark:from]...)
	n.dst = append(n.dst, text...)
	n.mark = n.pos
}

// flush writes all that was read.
func (n *normaliser) flush() { n.replace(n.pos, nil) }

func (n *normaliser) unexpected(want string) *Error {
	if n.pos == len(n.src) {
		return &Error{Reason: Malformed, Detail: "the document ends where " + want + " should be"}
	}
	c, _ := utf8.DecodeRune(n.src[n.pos:])
	return &Error{Reason: Malformed, Detail: fmt.Sprintf("%q at byte %d where %s should be", c, n.pos, want)}
}

func tooDeep() *Error {
	return &Error{Reason: TooDeep, Detail: fmt.Sprintf("the body nests deeper than %d levels", MaxDepth)}
}

func tooLarge(size int) *Error {
	return &Error{Reason: TooLarge, Detail: fmt.Sprintf("%d bytes, at most %d are sent", size, MaxBodyBytes)}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
