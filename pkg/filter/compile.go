package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/primezap/primezap/pkg/event"
)

// Bounds of a filter.
const (
	MaxBytes      = 8 << 10 // as it is given
	MaxDepth      = 16      // objects and lists in one another
	MaxConditions = 100     // plain values and operators, those that combine included
	MaxContains   = 10      // of them, $contains
	MaxString     = 1024    // bytes of a string that is compared with
	MaxList       = 100     // values of a $in or $nin, conditions of a $and or $or
	MaxNames      = 16      // in one path
	MaxWork       = 500     // conditions, and names on the way to each: 100 with three names each fit
)

// Error says why something is no filter. Pointer and Detail are meant for the
// client that sent it.
type Error struct {
	// Pointer is the RFC 6901 pointer of what is wrong, from the filter's root.
	Pointer string
	// Detail says what to change.
	Detail string
}

const tooDeep = "nests objects and lists deeper than 16 levels"

func (e *Error) Error() string { return fmt.Sprintf("filter: at %q: %s", e.Pointer, e.Detail) }

// Compile reads a filter. The error is an *Error.
func Compile(raw json.RawMessage) (*Filter, error) {
	f, fault := compile(raw)
	if fault != nil {
		return nil, fault
	}
	return f, nil
}

func compile(raw []byte) (*Filter, *Error) {
	if len(raw) > MaxBytes {
		return nil, &Error{Detail: fmt.Sprintf("must have at most %d bytes", MaxBytes)}
	}
	stable, err := event.Normalise(raw) // so that strings and numbers are written as events have them
	if err != nil {
		fault := &Error{Detail: "cannot be read as JSON"}
		if refused, ok := errors.AsType[*event.Error](err); ok {
			fault.Pointer, fault.Detail = refused.Pointer, refused.Detail
			if refused.Reason == event.TooDeep {
				fault.Detail = tooDeep
			}
		}
		return nil, fault
	}
	var c compiler
	if err := c.Read(stable); err != nil {
		panic(fmt.Sprintf("filter: %q was normalised and cannot be read", stable))
	}
	if c.nodes[0].kind != object {
		return nil, &Error{Detail: "must be an object"}
	}
	f := &Filter{root: &condition{}}
	if c.nodes[0].next > 1 { // {} lets everything pass
		var fault *Error
		if f.root, fault = c.object(0, MaxDepth, false); fault != nil {
			return nil, fault
		}
	}
	f.contains = c.contains
	if f.work = work(f.root, 0); f.work > MaxWork {
		return nil, &Error{Detail: fmt.Sprintf("must have at most %d conditions and names on the way to them, all in all", MaxWork)}
	}
	return f, nil
}

// work counts the walks of a condition to which names lead.
func work(c *condition, names int) (n int) {
	if c.exist != notAsked {
		n += names + 1
	}
	if len(c.tests) > 0 || len(c.paths) > 0 {
		n += names + 1
	}
	n += len(c.none) * (names + 1)
	for _, sub := range slices.Concat(append(slices.Clip(c.either), c.all)...) {
		n += work(sub, names)
	}
	for _, p := range c.paths {
		n += work(p.condition, len(p.names))
	}
	return n
}

// compiler walks a filter, which it reads as a document.
type compiler struct {
	Document
	at         []string // names and indices on the way to what is read
	conditions int
	contains   int
}

func (c *compiler) fault(format string, args ...any) *Error {
	var pointer strings.Builder
	for _, name := range c.at {
		pointer.WriteString("/" + pointerEscapes.Replace(name))
	}
	return &Error{Pointer: pointer.String(), Detail: fmt.Sprintf(format, args...)}
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// within calls read with name on the way.
func (c *compiler) within(name string, read func() *Error) *Error {
	c.at = append(c.at, name)
	fault := read()
	c.at = c.at[:len(c.at)-1]
	return fault
}

// condition reads what is asked of values. placed: a path has led to them.
func (c *compiler) condition(at int32, levels int, placed bool) (*condition, *Error) {
	switch n := &c.nodes[at]; {
	case n.kind == object && n.next == at+1:
		return nil, c.fault("must have a condition")
	case n.kind == object:
		return c.object(at, levels, placed)
	case n.kind == array:
		return nil, c.fault("must be a value or an object: $in asks for one of several values, $and for all")
	case !placed:
		return nil, c.fault("must be an object: a value needs a path before it")
	}
	if fault := c.count(); fault != nil {
		return nil, fault
	}
	t, fault := c.comparison(equal, at)
	return &condition{tests: []test{t}}, fault
}

// object reads a filter or a part of one: paths and operators.
func (c *compiler) object(at int32, levels int, placed bool) (*condition, *Error) {
	if levels == 0 {
		return nil, c.fault(tooDeep)
	}
	into := &condition{}
	for i := at + 1; i < c.nodes[at].next; i = c.nodes[i].next {
		key := string(c.bytes(c.nodes[i].key))
		fault := c.within(key, func() *Error {
			if strings.HasPrefix(key, "$") {
				return c.operator(into, key, i, levels-1, placed)
			}
			names, fault := c.names(key)
			if fault != nil {
				return fault
			}
			sub, fault := c.condition(i, levels-1, true)
			into.paths = append(into.paths, path{names, sub})
			return fault
		})
		if fault != nil {
			return nil, fault
		}
	}
	return into, nil
}

// names splits a path at its dots. A backslash takes what follows it literally.
func (c *compiler) names(key string) ([][]byte, *Error) {
	names := [][]byte{nil}
	for i := 0; i < len(key); i++ {
		switch key[i] {
		case '.':
			names = append(names, nil)
			continue
		case '\\':
			if i++; i == len(key) {
				return nil, c.fault("must have a character behind the backslash")
			}
		}
		last := len(names) - 1
		names[last] = append(names[last], key[i])
	}
	switch {
	case len(names) > MaxNames:
		return nil, c.fault("must have at most %d names", MaxNames)
	case slices.ContainsFunc(names, func(name []byte) bool { return len(name) == 0 }):
		return nil, c.fault("must not have an empty name")
	}
	return names, nil
}

// count counts a condition.
func (c *compiler) count() *Error {
	if c.conditions++; c.conditions > MaxConditions {
		return c.fault("is one condition too many: a filter has at most %d", MaxConditions)
	}
	return nil
}

// comparisons are the operators that compare with one value.
var comparisons = map[string]operator{
	"$eq": equal, "$neq": equal, "$gt": greater, "$gte": greaterOrEqual, "$lt": less, "$lte": lessOrEqual,
	"$startsWith": prefix, "$endsWith": suffix, "$contains": infix,
}

// operators are all, for whoever wrote one that is none.
const operators = "$eq, $neq, $gt, $gte, $lt, $lte, $in, $nin, $exist, $startsWith, $endsWith, $contains, $and, $or, $not"

func (c *compiler) operator(into *condition, name string, at int32, levels int, placed bool) *Error {
	combines := name == "$and" || name == "$or" || name == "$not"
	switch {
	case !slices.Contains(strings.Split(operators, ", "), name):
		return c.fault("is not a known operator; those are %s", operators)
	case !placed && !combines:
		return c.fault("needs a path before it")
	}
	if fault := c.count(); fault != nil {
		return fault
	}
	switch name {
	case "$exist":
		switch c.nodes[at].kind {
		case yes:
			into.exist = mustExist
		case no:
			into.exist = mustNotExist
		default:
			return c.fault("must be true or false")
		}
		return nil
	case "$in", "$nin":
		l, fault := c.list(at)
		into.add(name == "$nin", test{operator: among, list: l})
		return fault
	case "$and", "$or":
		subs, fault := c.conditionsOf(at, levels, placed)
		if name == "$and" {
			into.all = append(into.all, subs...)
		} else {
			into.either = append(into.either, subs)
		}
		return fault
	case "$not":
		sub, fault := c.condition(at, levels, placed)
		if fault == nil {
			into.all = append(into.all, &condition{all: []*condition{sub}, opposite: true})
		}
		return fault
	default:
		t, fault := c.comparison(comparisons[name], at)
		into.add(name == "$neq", t)
		return fault
	}
}

// add adds a test that one value must pass, or none.
func (into *condition) add(none bool, t test) {
	if none {
		into.none = append(into.none, t)
	} else {
		into.tests = append(into.tests, t)
	}
}

// comparison reads what a value is compared with.
func (c *compiler) comparison(op operator, at int32) (test, *Error) {
	n := &c.nodes[at]
	t := test{operator: op, kind: n.kind, num: n.num}
	switch {
	case op == equal && n.kind > text:
		return t, c.fault("must be a string, a number, true, false or null")
	case (op == prefix || op == suffix || op == infix) && n.kind != text:
		return t, c.fault("must be a string")
	case op != equal && n.kind != text && n.kind != number:
		return t, c.fault("must be a number or a string")
	}
	if op == infix {
		if c.contains++; c.contains > MaxContains {
			return t, c.fault("is one $contains too many: a filter has at most %d", MaxContains)
		}
	}
	if n.kind == text {
		var fault *Error
		if t.text, fault = c.string(n); fault != nil {
			return t, fault
		}
	}
	return t, nil
}

func (c *compiler) string(n *node) ([]byte, *Error) {
	s := c.bytes(n.text)
	if len(s) > MaxString {
		return nil, c.fault("must have at most %d bytes", MaxString)
	}
	return slices.Clone(s), nil
}

// elementsOf calls read for each element of a list.
func (c *compiler) elementsOf(at int32, what string, read func(i int32) *Error) *Error {
	n := &c.nodes[at]
	if n.kind != array || n.next == at+1 {
		return c.fault("must be a list of %s", what)
	}
	count := 0
	for i := at + 1; i < n.next; i = c.nodes[i].next {
		if count == MaxList {
			return c.fault("must have at most %d %s", MaxList, what)
		}
		if fault := c.within(strconv.Itoa(count), func() *Error { return read(i) }); fault != nil {
			return fault
		}
		count++
	}
	return nil
}

func (c *compiler) conditionsOf(at int32, levels int, placed bool) (subs []*condition, fault *Error) {
	if levels == 0 {
		return nil, c.fault(tooDeep)
	}
	fault = c.elementsOf(at, "conditions", func(i int32) *Error {
		sub, fault := c.condition(i, levels-1, placed)
		subs = append(subs, sub)
		return fault
	})
	return subs, fault
}

func (c *compiler) list(at int32) (*list, *Error) {
	l := &list{}
	fault := c.elementsOf(at, "values", func(i int32) *Error {
		n := &c.nodes[i]
		switch n.kind {
		case number:
			l.numbers = append(l.numbers, n.num)
		case text:
			s, fault := c.string(n)
			l.texts = append(l.texts, s)
			return fault
		case null, no, yes:
			l.plain[n.kind] = true
		default:
			return c.fault("must be a string, a number, true, false or null")
		}
		return nil
	})
	slices.Sort(l.numbers)
	slices.SortFunc(l.texts, bytes.Compare)
	return l, fault
}
