package inbound

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"math"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// maxLevels is how deep a document is taken apart: a phone number of a card of an
// edited message, in an array of bodies, is at the seventeenth. What is deeper is
// checked, and kept as it is.
const maxLevels = 20

// document is JSON read once. Its values are nodes in the order of the text, each
// followed by what it holds: 16 bytes a value, however a body is made up.
type document struct {
	src   []byte
	nodes []node
}

// node is a value: where it stands in the text, and which node comes after all that
// it holds. What an object holds is names and values in turn.
type node struct {
	start, end, next uint32
	kind             jsontext.Kind
}

// read takes JSON apart. Where it fails, at is the byte that the fault is found at.
func read(src []byte) (root value, at int64, ok bool) {
	if len(src) > math.MaxInt32 {
		return value{}, 0, false
	}
	d := &document{src: src, nodes: make([]node, 0, 1+len(src)/24)}
	dec := jsontext.NewDecoder(bytes.NewBuffer(src), jsontext.AllowDuplicateNames(true))
	if err := d.read(dec, maxLevels); err != nil {
		return value{}, dec.InputOffset(), false
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return value{}, dec.InputOffset(), false // something follows
	}
	return value{d: d}, 0, true
}

// read adds the next value and what it holds, to so many levels.
func (d *document) read(dec *jsontext.Decoder, levels int) error {
	kind, at := dec.PeekKind(), len(d.nodes)
	d.nodes = append(d.nodes, node{kind: kind})
	var start int64
	if levels > 0 && (kind == jsontext.KindBeginObject || kind == jsontext.KindBeginArray) {
		if _, err := dec.ReadToken(); err != nil {
			return err
		}
		start = dec.InputOffset() - 1
		for more := true; more; {
			switch dec.PeekKind() {
			case jsontext.KindEndObject, jsontext.KindEndArray:
				more = false
			default:
				if err := d.read(dec, levels-1); err != nil {
					return err
				}
			}
		}
		if _, err := dec.ReadToken(); err != nil { // of the other kind, too
			return err
		}
	} else {
		text, err := dec.ReadValue()
		if err != nil {
			return err
		}
		start = dec.InputOffset() - int64(len(text))
	}
	n := &d.nodes[at]
	n.start, n.end, n.next = uint32(start), uint32(dec.InputOffset()), uint32(len(d.nodes))
	return nil
}

// value is one of a document, or none: the zero value, which has and holds nothing.
type value struct {
	d  *document
	at uint32
}

func (v value) kind() jsontext.Kind {
	if v.d == nil {
		return 0
	}
	return v.d.nodes[v.at].kind
}

// exists reports whether there is a value, other than null.
func (v value) exists() bool { return v.d != nil && v.kind() != jsontext.KindNull }

func (v value) isObject() bool { return v.kind() == jsontext.KindBeginObject }

// raw is the value as it stands in the document.
func (v value) raw() []byte {
	if v.d == nil {
		return nil
	}
	n := v.d.nodes[v.at]
	return v.d.src[n.start:n.end:n.end]
}

// members are what an object holds, by name.
func (v value) members() iter.Seq2[value, value] {
	return func(yield func(value, value) bool) {
		if !v.isObject() {
			return
		}
		nodes := v.d.nodes
		for at := v.at + 1; at < nodes[v.at].next; at = nodes[at+1].next {
			if !yield(value{v.d, at}, value{v.d, at + 1}) {
				return
			}
		}
	}
}

// get is the member of an object with this name, the last one, as parsers have it.
func (v value) get(name string) (found value) {
	for key, member := range v.members() {
		if key.is(name) {
			found = member
		}
	}
	return found
}

// items are those of an array.
func (v value) items() iter.Seq[value] {
	return func(yield func(value) bool) {
		if v.kind() != jsontext.KindBeginArray {
			return
		}
		nodes := v.d.nodes
		for at := v.at + 1; at < nodes[v.at].next; at = nodes[at].next {
			if !yield(value{v.d, at}) {
				return
			}
		}
	}
}

// list is the items of an array; a value that is none, as if it were alone in one.
func (v value) list() iter.Seq[value] {
	if !v.exists() || v.kind() == jsontext.KindBeginArray {
		return v.items()
	}
	return func(yield func(value) bool) { yield(v) }
}

// is reports whether the value is this string, of ASCII.
func (v value) is(text string) bool {
	if v.kind() != jsontext.KindString {
		return false
	}
	raw := v.raw()
	inner := raw[1 : len(raw)-1]
	if string(inner) == text {
		return true
	}
	const escape = len(`\u0041`)
	return len(text) < len(inner) && len(inner) <= escape*len(text) && bytes.IndexByte(inner, '\\') >= 0 && v.text() == text
}

// text is a string's content, a number's digits as they stand, or a literal's name:
// Meta writes ids, times and truths in either way. Empty for all else.
func (v value) text() string {
	raw := v.raw()
	switch v.kind() {
	case jsontext.KindString:
		if bytes.IndexByte(raw, '\\') < 0 {
			return string(raw[1 : len(raw)-1])
		}
		text, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return "" // it was read as a string
		}
		return string(text)
	case jsontext.KindNumber, jsontext.KindTrue, jsontext.KindFalse:
		return string(raw)
	default:
		return ""
	}
}

// line is text without white space around it.
func (v value) line() string { return strings.TrimSpace(v.text()) }
