package filter

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/primezap/primezap/pkg/event"
)

// MaxElements is how many array elements filters see of an event, those in nested
// arrays included, in the order they are written in.
const MaxElements = 1000

// fewMembers is the size up to which an object is searched from its beginning.
const fewMembers = 16

// errMalformed refuses what is no JSON in normal form.
var errMalformed = errors.New("filter: data is not in normal form")

// kind is that of a JSON value.
type kind uint8

const (
	null kind = iota
	no
	yes
	number
	text
	array
	object
)

// span is a place in a document's text.
type span struct{ from, to int32 }

// node is a value. What it contains follows it.
type node struct {
	kind kind
	key  span    // a member's
	next int32   // the first node behind this one and all that it contains
	text span    // a string, unescaped
	num  float64 // a number
}

// Document is an event's data, read once for any number of filters. The zero
// value is ready. It is for one goroutine at a time.
type Document struct {
	data      []byte
	unescaped []byte // strings that had escapes; a span behind data is in here
	nodes     []node
	elements  int
	sorted    map[int32][]int32 // large objects' members by key, as asked
	pos       int
	steps     int // of all filters since it was read
}

// ReadBody is Read for the data of a whole body, as pkg/event makes it.
func (d *Document) ReadBody(body []byte) error {
	data, ok := event.Data(body)
	if !ok {
		d.nodes = d.nodes[:0]
		return errMalformed
	}
	return d.Read(data)
}

// Read reads data, which must be in the form that pkg/event normalises to and
// must not change while the document is used. It reuses memory, so what was read
// before is gone.
func (d *Document) Read(data []byte) error {
	d.data, d.unescaped, d.nodes = data, d.unescaped[:0], d.nodes[:0]
	d.elements, d.pos, d.steps = 0, 0, 0
	clear(d.sorted)
	if len(data) > math.MaxInt32/2 || !d.value(event.MaxDepth, span{}) || d.pos != len(data) {
		d.nodes = d.nodes[:0]
		return errMalformed
	}
	return nil
}

// Matches reports whether what was read passes f.
func (d *Document) Matches(f *Filter) bool {
	return len(d.nodes) > 0 && d.holds(f.root, 0, nil)
}

// bytesAStep is how much text is searched in the time of a step.
const bytesAStep = 64

// Cost is how many steps f may make on what was read, at most. A step is a value
// that is visited: 20 ns or so.
func (d *Document) Cost(f *Filter) int {
	return 2*f.work*(1+min(d.elements, MaxElements)) + f.contains*len(d.data)/bytesAStep
}

// Steps is how many steps were made on what was read, for all filters.
func (d *Document) Steps() int { return d.steps }

// value reads a value of at most levels of nesting.
func (d *Document) value(levels int, key span) bool {
	switch c := d.peek(); c {
	case '{', '[':
		return levels > 0 && d.container(c, levels, key)
	case '"':
		s, ok := d.quoted()
		d.leaf(node{kind: text, key: key, text: s})
		return ok
	case 't':
		d.leaf(node{kind: yes, key: key})
		return d.literal("true")
	case 'f':
		d.leaf(node{kind: no, key: key})
		return d.literal("false")
	case 'n':
		d.leaf(node{kind: null, key: key})
		return d.literal("null")
	default:
		num, ok := d.number()
		d.leaf(node{kind: number, key: key, num: num})
		return ok
	}
}

func (d *Document) leaf(n node) {
	n.next = int32(len(d.nodes)) + 1
	d.nodes = append(d.nodes, n)
}

// container reads an object or an array.
func (d *Document) container(opening byte, levels int, key span) bool {
	at := len(d.nodes)
	isObject := opening == '{'
	d.nodes = append(d.nodes, node{kind: array, key: key})
	if isObject {
		d.nodes[at].kind = object
	}
	closing := opening + 2 // in ASCII, of both
	d.pos++
	for first := true; ; first = false {
		switch c := d.peek(); {
		case c == closing && (first || d.data[d.pos-1] != ','):
			d.pos++
			d.nodes[at].next = int32(len(d.nodes))
			return true
		case !first && d.data[d.pos-1] != ',':
			return false
		}
		if !d.item(isObject, levels-1) {
			return false
		}
		if d.peek() == ',' {
			d.pos++
		}
	}
}

// item reads a member or an element.
func (d *Document) item(isMember bool, levels int) bool {
	if isMember {
		key, ok := d.quoted()
		if !ok || d.peek() != ':' {
			return false
		}
		d.pos++
		return d.value(levels, key)
	}
	d.elements++
	hidden, at := d.elements > MaxElements, len(d.nodes)
	ok := d.value(levels, span{})
	if hidden {
		d.nodes = d.nodes[:at]
	}
	return ok
}

func (d *Document) peek() byte {
	if d.pos < len(d.data) {
		return d.data[d.pos]
	}
	return 0
}

func (d *Document) literal(word string) bool {
	if !bytes.HasPrefix(d.data[d.pos:], []byte(word)) {
		return false
	}
	d.pos += len(word)
	return true
}

// quoted reads a string.
func (d *Document) quoted() (s span, ok bool) {
	if d.peek() != '"' {
		return span{}, false
	}
	d.pos++
	start := d.pos
	end := bytes.IndexByte(d.data[start:], '"')
	if end < 0 {
		return span{}, false
	}
	end += start
	if bytes.IndexByte(d.data[start:end], '\\') < 0 {
		d.pos = end + 1
		return span{int32(start), int32(end)}, true
	}
	return d.escaped()
}

// escaped reads the rest of a string that has escapes.
func (d *Document) escaped() (s span, ok bool) {
	from := len(d.data) + len(d.unescaped)
	for d.pos < len(d.data) {
		c := d.data[d.pos]
		d.pos++
		switch c {
		case '"':
			return span{int32(from), int32(len(d.data) + len(d.unescaped))}, true
		case '\\':
			if !d.escape() {
				return span{}, false
			}
		default:
			d.unescaped = append(d.unescaped, c)
		}
	}
	return span{}, false
}

// escape reads what stands behind a backslash.
func (d *Document) escape() bool {
	c := d.peek()
	d.pos++
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		if len(d.data)-d.pos < 4 {
			return false
		}
		r, err := strconv.ParseUint(string(d.data[d.pos:d.pos+4]), 16, 16)
		d.pos += 4
		d.unescaped = appendUnit(d.unescaped, rune(r))
		return err == nil
	default:
		return false
	}
	d.unescaped = append(d.unescaped, c)
	return true
}

// appendUnit writes a character, or a lone surrogate as UTF-8 would have it if it
// had it, so that it is equal to itself and to nothing else.
func appendUnit(dst []byte, r rune) []byte {
	if utf16.IsSurrogate(r) {
		return append(dst, 0xE0|byte(r>>12), 0x80|byte(r>>6&0x3F), 0x80|byte(r&0x3F))
	}
	return utf8.AppendRune(dst, r)
}

// number reads a number. One that is a whole number or has few digits, as most,
// needs no memory.
func (d *Document) number() (num float64, ok bool) {
	start := d.pos
	var mantissa, digits, decimals int
	exact, point := true, false
	for ; d.pos < len(d.data); d.pos++ {
		switch c := d.data[d.pos]; {
		case '0' <= c && c <= '9':
			if digits < maxExactDigits {
				mantissa = mantissa*10 + int(c-'0')
			}
			digits++
			if point {
				decimals++
			}
			continue
		case c == '.' && !point:
			point = true
			continue
		case c == '-' && d.pos == start:
			continue
		case c == '.', c == '-', c == '+', c == 'e', c == 'E':
			exact = false
			continue
		}
		break
	}
	if digits == 0 {
		return 0, false
	}
	if exact && digits <= maxExactDigits {
		num = float64(mantissa) / powersOf10[decimals] // both are exact, so this is the nearest
		if d.data[start] == '-' {
			num = -num
		}
		return num, true
	}
	num, err := strconv.ParseFloat(string(d.data[start:d.pos]), 64)
	return num, err == nil
}

// maxExactDigits is how many digits always make a whole number that a double
// holds exactly.
const maxExactDigits = 15

var powersOf10 = [maxExactDigits + 1]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

func (d *Document) bytes(s span) []byte {
	if behind := int32(len(d.data)); s.from >= behind {
		return d.unescaped[s.from-behind : s.to-behind]
	}
	return d.data[s.from:s.to]
}

// member finds an object's member by its name.
func (d *Document) member(of int32, name []byte) (member int32, ok bool) {
	if by, ok := d.sorted[of]; ok {
		return d.search(by, name)
	}
	n, count := &d.nodes[of], 0
	for i := of + 1; i < n.next; i = d.nodes[i].next {
		if bytes.Equal(d.bytes(d.nodes[i].key), name) {
			return i, true
		}
		if count++; count == fewMembers && d.nodes[i].next < n.next {
			return d.search(d.sort(of), name)
		}
	}
	return 0, false
}

func (d *Document) search(by []int32, name []byte) (member int32, ok bool) {
	at, ok := slices.BinarySearchFunc(by, name, func(i int32, name []byte) int {
		return bytes.Compare(d.bytes(d.nodes[i].key), name)
	})
	if !ok {
		return 0, false
	}
	return by[at], true
}

// sort orders a large object's members, once.
func (d *Document) sort(of int32) []int32 {
	var by []int32
	for i := of + 1; i < d.nodes[of].next; i = d.nodes[i].next {
		by = append(by, i)
	}
	slices.SortStableFunc(by, func(a, b int32) int {
		return bytes.Compare(d.bytes(d.nodes[a].key), d.bytes(d.nodes[b].key))
	})
	if d.sorted == nil {
		d.sorted = map[int32][]int32{}
	}
	d.sorted[of] = by
	return by
}
