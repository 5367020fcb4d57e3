package filter

import (
	"bytes"
	"cmp"
	"slices"
	"sync"

	"github.com/primezap/primezap/pkg/event"
)

// Filter is a compiled one. It does not change, and may be used by many
// goroutines.
type Filter struct {
	root     *condition
	work     int // conditions, and names on the way to each
	contains int // conditions that read whole strings
}

// condition is what stands in one object of a filter.
type condition struct {
	// Each of these looks at all values by itself:
	exist  existence
	none   []test         // no value may pass
	all    []*condition   // of $and and $not
	either [][]*condition // of each $or

	// One value must pass all of these:
	tests []test
	paths []path

	opposite bool // the condition of a $not
}

type existence uint8

const (
	notAsked existence = iota
	mustExist
	mustNotExist
)

// path is a member with a condition of its own.
type path struct {
	names     [][]byte
	condition *condition
}

type operator uint8

const (
	equal operator = iota
	greater
	greaterOrEqual
	less
	lessOrEqual
	among
	prefix
	suffix
	infix
)

// test is a comparison with one value.
type test struct {
	operator operator
	kind     kind // of what is compared with, but for among
	num      float64
	text     []byte
	list     *list
}

// list is what a value may be among, by kind and in order.
type list struct {
	plain   [text]bool // by kind: null, no, yes
	numbers []float64
	texts   [][]byte
}

// documents are reused by Matches.
var documents = sync.Pool{New: func() any { return new(Document) }}

// maxKept is how many nodes and unescaped bytes a document may have that is reused.
const maxKept = 4096

// Matches reports whether data, an event's in the form that pkg/event normalises
// to, passes the filter. What is not in that form does not. Several filters of
// one event share a [Document] better.
func (f *Filter) Matches(data []byte) bool {
	matches, err := f.match(data)
	return err == nil && matches
}

// MatchesBody is Matches for a whole body, as pkg/event makes it.
func (f *Filter) MatchesBody(body []byte) (bool, error) {
	data, ok := event.Data(body)
	if !ok {
		return false, errMalformed
	}
	return f.match(data)
}

func (f *Filter) match(data []byte) (bool, error) {
	d := documents.Get().(*Document)
	err := d.Read(data)
	matches := err == nil && d.Matches(f)
	if d.data = nil; cap(d.nodes) <= maxKept && cap(d.unescaped) <= maxKept {
		documents.Put(d)
	}
	return matches, err
}

// holds reports whether c holds for the values that names lead to from base.
func (d *Document) holds(c *condition, base int32, names [][]byte) bool {
	if c.opposite {
		return !d.allHold(c, base, names)
	}
	return d.allHold(c, base, names)
}

func (d *Document) allHold(c *condition, base int32, names [][]byte) bool {
	if c.exist != notAsked && d.some(base, names, nil, nil) != (c.exist == mustExist) {
		return false
	}
	if (len(c.tests) > 0 || len(c.paths) > 0) && !d.some(base, names, c.tests, c.paths) {
		return false
	}
	for i := range c.none {
		if d.some(base, names, c.none[i:i+1], nil) {
			return false
		}
	}
	for _, sub := range c.all {
		if !d.holds(sub, base, names) {
			return false
		}
	}
	for _, subs := range c.either {
		if !slices.ContainsFunc(subs, func(sub *condition) bool { return d.holds(sub, base, names) }) {
			return false
		}
	}
	return true
}

// some reports whether names lead from base to a value that passes tests and
// paths; without any, whether they lead to a value.
func (d *Document) some(base int32, names [][]byte, tests []test, paths []path) bool {
	d.steps++
	n := &d.nodes[base]
	last := len(names) == 0
	switch {
	case n.kind == array && !(last && len(tests)+len(paths) == 0):
		for i := base + 1; i < n.next; i = d.nodes[i].next {
			if d.some(i, names, tests, paths) {
				return true
			}
		}
		return false
	case !last:
		if n.kind != object {
			return false
		}
		member, ok := d.member(base, names[0])
		return ok && d.some(member, names[1:], tests, paths)
	}
	for i := range tests {
		if !d.passes(&tests[i], n) {
			return false
		}
	}
	for i := range paths {
		if !d.holds(paths[i].condition, base, paths[i].names) {
			return false
		}
	}
	return true
}

func (d *Document) passes(t *test, n *node) bool {
	if t.operator == among {
		return t.list.has(d, n)
	}
	if n.kind != t.kind {
		return false
	}
	switch t.operator {
	case prefix:
		return bytes.HasPrefix(d.bytes(n.text), t.text)
	case suffix:
		return bytes.HasSuffix(d.bytes(n.text), t.text)
	case infix:
		return bytes.Contains(d.bytes(n.text), t.text)
	}
	var order int // of kinds with one value, 0
	switch n.kind {
	case number:
		order = cmp.Compare(n.num, t.num)
	case text:
		order = bytes.Compare(d.bytes(n.text), t.text)
	}
	switch t.operator {
	case greater:
		return order > 0
	case greaterOrEqual:
		return order >= 0
	case less:
		return order < 0
	case lessOrEqual:
		return order <= 0
	default:
		return order == 0
	}
}

func (l *list) has(d *Document, n *node) (found bool) {
	switch n.kind {
	case number:
		_, found = slices.BinarySearch(l.numbers, n.num)
	case text:
		_, found = slices.BinarySearchFunc(l.texts, d.bytes(n.text), bytes.Compare)
	case null, no, yes:
		found = l.plain[n.kind]
	}
	return found
}
