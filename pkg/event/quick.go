package event

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// rule is a schema in a form that is checked in one pass over JS-stable bytes,
// without decoding them. It errs on one side: what it accepts, the schema accepts;
// what it does not, the schema may still accept, because of an escape in a string
// or a keyword that has no rule. Then the library decides.
//
// That is worth it because nearly every event is valid: the library needs some
// 28 µs for one, as much as half a delivery, the rule 2 µs.
type rule struct {
	never bool // a keyword without a rule
	kinds kinds
	enum  [][]byte // values in JS-stable form; nil for any
	all   []*rule
	some  []*rule // at least one; nil for any

	minLength, maxLength int // of strings, in characters
	pattern              []run
	format               func([]byte) bool

	whole    bool // of numbers: no fraction
	min, max float64

	items              *rule
	minItems, maxItems int

	members    []namedRule
	required   uint64 // bits of members
	minMembers int
	rest       *rule // for further members
}

// namedRule is a member of an object; rule is nil where it may be anything.
type namedRule struct {
	key  []byte // quoted, JS-stable
	rule *rule
}

// kinds is a set of kinds of JSON values.
type kinds uint8

const (
	nullKind kinds = 1 << iota
	boolKind
	numberKind
	stringKind
	arrayKind
	objectKind
	anyKind = nullKind | boolKind | numberKind | stringKind | arrayKind | objectKind
)

// accepts reports whether data, JS-stable, surely is what the schema asks for.
func (r *rule) accepts(data []byte) bool {
	end, ok := r.value(data, 0)
	return ok && end == len(data)
}

// value checks the value at pos and returns where it ends.
func (r *rule) value(src []byte, pos int) (end int, ok bool) {
	if r.never {
		return 0, false
	}
	kind := kindAt(src, pos)
	if r.kinds&kind == 0 {
		return 0, false
	}
	switch kind {
	case objectKind:
		end, ok = r.object(src, pos)
	case arrayKind:
		end, ok = r.array(src, pos)
	case stringKind:
		end, ok = r.text(src, pos)
	case numberKind:
		end, ok = r.number(src, pos)
	default:
		end, ok = skipValue(src, pos), true
	}
	if !ok || r.enum != nil && !contains(r.enum, src[pos:end]) {
		return 0, false
	}
	for _, also := range r.all {
		if _, ok := also.value(src, pos); !ok {
			return 0, false
		}
	}
	if r.some == nil {
		return end, true
	}
	for _, one := range r.some {
		if _, ok := one.value(src, pos); ok {
			return end, true
		}
	}
	return 0, false
}

func (r *rule) object(src []byte, pos int) (end int, ok bool) {
	var seen uint64
	n := 0
	next := 0 // members come mostly in the schema's order
	pos++     // {
	for src[pos] != '}' {
		if src[pos] == ',' {
			pos++
		}
		n++
		after, _ := skipString(src, pos)
		key := src[pos:after]
		pos = after + 1 // the colon
		member := r.rest
		if at := r.member(key, next); at >= 0 {
			member, next = r.members[at].rule, at+1
			seen |= 1 << at
		}
		if member == nil {
			pos = skipValue(src, pos)
			continue
		}
		if pos, ok = member.value(src, pos); !ok {
			return 0, false
		}
	}
	return pos + 1, seen&r.required == r.required && n >= r.minMembers
}

// member finds a member, at next first.
func (r *rule) member(key []byte, next int) int {
	if next < len(r.members) && bytes.Equal(r.members[next].key, key) {
		return next
	}
	for at := range r.members {
		if bytes.Equal(r.members[at].key, key) {
			return at
		}
	}
	return -1
}

func (r *rule) array(src []byte, pos int) (end int, ok bool) {
	n := 0
	pos++ // [
	for src[pos] != ']' {
		if src[pos] == ',' {
			pos++
		}
		n++
		if r.items == nil {
			pos = skipValue(src, pos)
		} else if pos, ok = r.items.value(src, pos); !ok {
			return 0, false
		}
	}
	return pos + 1, r.minItems <= n && n <= r.maxItems
}

func (r *rule) text(src []byte, pos int) (end int, ok bool) {
	end, plain := skipString(src, pos)
	content := src[pos+1 : end-1]
	if r.minLength > 1 || r.maxLength < math.MaxInt || r.pattern != nil || r.format != nil {
		if !plain {
			return 0, false
		}
		if n := utf8.RuneCount(content); n < r.minLength || n > r.maxLength {
			return 0, false
		}
	}
	ok = len(content) >= r.minLength &&
		(r.pattern == nil || matches(r.pattern, content)) &&
		(r.format == nil || r.format(content))
	return end, ok
}

func (r *rule) number(src []byte, pos int) (end int, ok bool) {
	end = skipValue(src, pos)
	text := src[pos:end]
	if r.whole && bytes.ContainsAny(text, ".e") {
		return 0, false
	}
	if math.IsInf(r.min, -1) && math.IsInf(r.max, 1) {
		return end, true
	}
	n, err := strconv.ParseFloat(string(text), 64)
	return end, err == nil && r.min <= n && n <= r.max
}

// The bytes are JS-stable: what follows trusts them to be JSON without white space.

func kindAt(src []byte, pos int) kinds {
	switch src[pos] {
	case '{':
		return objectKind
	case '[':
		return arrayKind
	case '"':
		return stringKind
	case 't', 'f':
		return boolKind
	case 'n':
		return nullKind
	default:
		return numberKind
	}
}

// skipString returns the end of the string at pos, and whether it has no escapes.
func skipString(src []byte, pos int) (end int, plain bool) {
	plain = true
	for pos++; ; {
		quote := pos + bytes.IndexByte(src[pos:], '"')
		escape := bytes.IndexByte(src[pos:quote], '\\')
		if escape < 0 {
			return quote + 1, plain
		}
		plain = false
		pos += escape + 2 // and what is escaped, maybe the quote
	}
}

func skipValue(src []byte, pos int) int {
	depth := 0
	for {
		switch src[pos] {
		case '"':
			pos, _ = skipString(src, pos)
		case '{', '[':
			depth++
			pos++
			continue
		case '}', ']':
			depth--
			pos++
		case ',', ':':
			pos++
			continue
		default:
			for pos < len(src) && src[pos] != ',' && src[pos] != ']' && src[pos] != '}' {
				pos++
			}
		}
		if depth == 0 {
			return pos
		}
	}
}

func contains(values [][]byte, value []byte) bool {
	for _, v := range values {
		if bytes.Equal(v, value) {
			return true
		}
	}
	return false
}

// run is a part of a pattern: min to max characters of a class.
type run struct {
	class    [utf8.RuneSelf]bool
	min, max int
}

// matches takes as many characters for each run as there are. That a regular
// expression could match otherwise is why no match says nothing.
func matches(runs []run, content []byte) bool {
	for i := range runs {
		r := &runs[i]
		n := 0
		for n < len(content) && n < r.max && content[n] < utf8.RuneSelf && r.class[content[n]] {
			n++
		}
		if n < r.min {
			return false
		}
		content = content[n:]
	}
	return len(content) == 0
}

// runsOf reads a regular expression that is a sequence of characters and classes
// of them, repeated or not, from the beginning to the end of the text.
func runsOf(pattern string) ([]run, bool) {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil || parsed.Op != syntax.OpConcat {
		return nil, false
	}
	parts := parsed.Sub
	last := len(parts) - 1
	if parts[0].Op != syntax.OpBeginText || parts[last].Op != syntax.OpEndText {
		return nil, false
	}
	runs := []run{}
	for _, part := range parts[1:last] {
		least, most := 1, 1
		switch part.Op {
		case syntax.OpRepeat:
			least, most = part.Min, part.Max
		case syntax.OpPlus:
			most = -1
		case syntax.OpStar:
			least, most = 0, -1
		case syntax.OpQuest:
			least = 0
		default:
			part = &syntax.Regexp{Sub: []*syntax.Regexp{part}}
		}
		if most < 0 {
			most = math.MaxInt
		}
		part = part.Sub[0]
		single := least == 1 && most == 1
		switch {
		case part.Flags&syntax.FoldCase != 0:
			return nil, false
		case part.Op == syntax.OpLiteral && (single || len(part.Rune) == 1):
			for _, r := range part.Rune {
				runs = append(runs, newRun(least, most, r, r))
			}
		case part.Op == syntax.OpCharClass:
			runs = append(runs, newRun(least, most, part.Rune...))
		default:
			return nil, false
		}
	}
	return runs, true
}

// newRun has a class of ranges, each of two characters; those beyond ASCII are
// left to the library.
func newRun(least, most int, ranges ...rune) run {
	r := run{min: least, max: most}
	for i := 0; i < len(ranges); i += 2 {
		for c := ranges[i]; c <= ranges[i+1] && c < utf8.RuneSelf; c++ {
			r.class[c] = true
		}
	}
	return r
}

// formats are checked more strictly than the library does it.
var formats = map[string]func([]byte) bool{
	"date-time": func(content []byte) bool {
		// Go also takes an hour of one digit, and a comma for the point.
		var t time.Time
		return len(content) > len("2006-01-02T15") && content[len("2006-01-02T15")] == ':' &&
			bytes.IndexByte(content, ',') < 0 && t.UnmarshalText(content) == nil
	},
	"date": func(content []byte) bool {
		_, err := time.Parse(time.DateOnly, string(content))
		return err == nil
	},
	"uri": func(content []byte) bool {
		rest, ok := bytes.CutPrefix(content, []byte("https://"))
		host, _, _ := bytes.Cut(rest, []byte("/"))
		return ok && len(host) > 0 && only(host, ".-") && only(rest, ".-_~/?&=+,;%") && escaped(rest)
	},
}

// escaped reports whether each percent sign is followed by two hexadecimal digits.
func escaped(content []byte) bool {
	for {
		at := bytes.IndexByte(content, '%')
		if at < 0 {
			return true
		}
		if content = content[at+1:]; len(content) < 2 || !isHex(content[0]) || !isHex(content[1]) {
			return false
		}
	}
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F' }

// only reports whether content is nothing but letters and digits of ASCII and the
// other characters.
func only(content []byte, others string) bool {
	for _, c := range content {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || isDigit(c) || strings.IndexByte(others, c) >= 0) {
			return false
		}
	}
	return true
}

// ruler makes rules of one schema document.
type ruler struct {
	defs map[string]json.RawMessage
	made map[string]*rule // by the name in $defs: a schema may be within itself
}

// newRule makes the rule of a schema, itself a document.
func newRule(schema json.RawMessage) *rule {
	var document struct {
		Defs map[string]json.RawMessage `json:"$defs"`
	}
	if err := json.Unmarshal(schema, &document); err != nil {
		return &rule{never: true}
	}
	return (&ruler{defs: document.Defs, made: map[string]*rule{}}).rule(schema)
}

func (m *ruler) rule(schema json.RawMessage) *rule {
	var keywords map[string]json.RawMessage
	if err := json.Unmarshal(schema, &keywords); err != nil { // true and false are schemas too
		return &rule{never: true}
	}
	r := &rule{
		kinds: anyKind, maxLength: math.MaxInt, maxItems: math.MaxInt,
		min: math.Inf(-1), max: math.Inf(1),
	}
	for name, value := range keywords {
		if !m.keyword(r, name, value) {
			return &rule{never: true}
		}
	}
	var required []string
	if text, ok := keywords["required"]; ok && json.Unmarshal(text, &required) != nil {
		return &rule{never: true}
	}
	for _, name := range required {
		key, _ := quoted(name)
		at := r.member(key, 0)
		if at < 0 {
			at = len(r.members)
			r.members = append(r.members, namedRule{key: key, rule: r.rest})
		}
		r.required |= 1 << at
	}
	if len(r.members) > 64 { // bits of required
		return &rule{never: true}
	}
	return r
}

// keyword makes a keyword part of r; false if it has no rule.
func (m *ruler) keyword(r *rule, name string, value json.RawMessage) bool {
	read := func(into any) bool { return json.Unmarshal(value, into) == nil }
	switch name {
	case "$schema", "$defs", "$comment", "title", "description", "default", "examples":
		return true
	case "required":
		return true // when all members are known
	case "$ref":
		var ref string
		also := (*rule)(nil)
		if read(&ref) {
			also = m.definition(ref)
		}
		r.all = append(r.all, also)
		return also != nil
	case "type":
		return r.ofType(value)
	case "const":
		return r.oneOf([]json.RawMessage{value})
	case "enum":
		var values []json.RawMessage
		return read(&values) && r.oneOf(values)
	case "allOf":
		also, ok := m.rules(value)
		r.all = append(r.all, also...)
		return ok
	case "anyOf":
		some, ok := m.rules(value)
		r.some = some
		return ok
	case "minLength":
		return read(&r.minLength)
	case "maxLength":
		return read(&r.maxLength)
	case "minimum":
		return read(&r.min)
	case "maximum":
		return read(&r.max)
	case "minProperties":
		return read(&r.minMembers)
	case "minItems":
		return read(&r.minItems)
	case "maxItems":
		return read(&r.maxItems)
	case "pattern":
		var pattern string
		ok := read(&pattern)
		if ok {
			r.pattern, ok = runsOf(pattern)
		}
		return ok
	case "format":
		var format string
		ok := read(&format)
		if ok {
			r.format, ok = formats[format]
		}
		return ok
	case "items":
		r.items = m.rule(value)
		return true
	case "additionalProperties":
		r.rest = m.rule(value)
		return true
	case "properties":
		return m.properties(r, value)
	default:
		return false
	}
}

func (m *ruler) rules(schemas json.RawMessage) ([]*rule, bool) {
	var each []json.RawMessage
	if err := json.Unmarshal(schemas, &each); err != nil {
		return nil, false
	}
	made := make([]*rule, len(each))
	for i := range each {
		made[i] = m.rule(each[i])
	}
	return made, true
}

// properties keeps the schema's order, in which most objects come.
func (m *ruler) properties(r *rule, value json.RawMessage) bool {
	var schemas map[string]json.RawMessage
	if err := json.Unmarshal(value, &schemas); err != nil {
		return false
	}
	decoder := json.NewDecoder(bytes.NewReader(value))
	for range 1 + len(schemas) {
		token, err := decoder.Token()
		if err != nil {
			return false
		}
		name, ok := token.(string)
		if !ok {
			continue // the brace
		}
		var schema json.RawMessage
		if err := decoder.Decode(&schema); err != nil {
			return false
		}
		key, ok := quoted(name)
		if !ok {
			return false
		}
		r.members = append(r.members, namedRule{key: key, rule: m.rule(schema)})
	}
	return true
}

func (m *ruler) definition(ref string) *rule {
	name, ok := strings.CutPrefix(ref, "#/$defs/")
	schema, defined := m.defs[name]
	if !ok || !defined {
		return nil
	}
	made := m.made[name]
	if made == nil {
		made = new(rule)
		m.made[name] = made
		*made = *m.rule(schema)
	}
	return made
}

func (r *rule) ofType(value json.RawMessage) bool {
	var names []string
	if err := json.Unmarshal(value, &names); err != nil {
		names = []string{""}
		if err := json.Unmarshal(value, &names[0]); err != nil {
			return false
		}
	}
	r.kinds = 0
	for _, name := range names {
		switch name {
		case "null":
			r.kinds |= nullKind
		case "boolean":
			r.kinds |= boolKind
		case "integer":
			r.whole = r.kinds&numberKind == 0
			r.kinds |= numberKind
		case "number":
			r.whole = false
			r.kinds |= numberKind
		case "string":
			r.kinds |= stringKind
		case "array":
			r.kinds |= arrayKind
		case "object":
			r.kinds |= objectKind
		default:
			return false
		}
	}
	return true
}

func (r *rule) oneOf(values []json.RawMessage) bool {
	r.enum = make([][]byte, len(values))
	for i, value := range values {
		var err error
		if r.enum[i], err = Normalise(value); err != nil {
			return false
		}
	}
	return true
}

// quoted is a key as it stands in an object.
func quoted(name string) ([]byte, bool) {
	text, err := json.Marshal(name)
	if err != nil {
		return nil, false
	}
	key, err := Normalise(text)
	return key, err == nil
}
