package event

import "slices"

// trimmed returns data without what would only add to a number of faults: once so
// many values are not accepted, further items of arrays and further members that
// have no name in the schema are left out. The library notes every fault there is,
// and 256 KiB have room for a hundred thousand.
//
// What is left out is judged by itself in the schema, so data that is wrong after
// trimming was wrong before. The converse does not hold.
func (r *rule) trimmed(data []byte, faults int) []byte {
	t := trimmer{src: data, dst: make([]byte, 0, len(data)), left: faults}
	t.value([]*rule{r}, 0)
	return t.dst
}

type trimmer struct {
	src, dst []byte
	left     int // faults to come
}

// value writes the value at pos, to which all of the rules apply, and returns
// where it ends.
func (t *trimmer) value(rules []*rule, pos int) (end int) {
	rules = expanded(rules)
	kind := kindAt(t.src, pos)
	divisible := kind == objectKind || kind == arrayKind
	for _, r := range rules {
		divisible = divisible && r.kinds&kind != 0 && r.some == nil && r.enum == nil
	}
	switch {
	case divisible && kind == arrayKind:
		return t.array(rules, pos)
	case divisible:
		return t.object(rules, pos)
	}
	for _, r := range rules {
		if _, ok := r.value(t.src, pos); !ok {
			t.left--
			break
		}
	}
	end = skipValue(t.src, pos)
	t.dst = append(t.dst, t.src[pos:end]...)
	return end
}

func (t *trimmer) array(rules []*rule, pos int) (end int) {
	var items []*rule
	least := 0
	for _, r := range rules {
		least = max(least, r.minItems)
		if r.items != nil {
			items = append(items, r.items)
		}
	}
	end = skipValue(t.src, pos)
	t.dst = append(t.dst, '[')
	for n := 0; t.src[pos+1] != ']' && (t.left > 0 || n < least); n++ {
		if n > 0 {
			t.dst = append(t.dst, ',')
		}
		if pos = t.value(items, pos+1); t.src[pos] == ']' {
			break
		}
	}
	t.dst = append(t.dst, ']')
	return end
}

func (t *trimmer) object(rules []*rule, pos int) (end int) {
	counted := false
	for _, r := range rules {
		counted = counted || r.minMembers > 0
	}
	t.dst = append(t.dst, '{')
	first := true
	for pos++; t.src[pos] != '}'; {
		if t.src[pos] == ',' {
			pos++
		}
		after, _ := skipString(t.src, pos)
		key := t.src[pos:after]
		if t.left <= 0 && !counted && !slices.ContainsFunc(rules, func(r *rule) bool { return r.member(key, 0) >= 0 }) {
			pos = skipValue(t.src, after+1)
			continue
		}
		if !first {
			t.dst = append(t.dst, ',')
		}
		first = false
		t.dst = append(t.dst, t.src[pos:after+1]...)
		pos = t.value(membersNamed(rules, key), after+1)
	}
	t.dst = append(t.dst, '}')
	return pos + 1
}

// membersNamed are the rules for a member.
func membersNamed(rules []*rule, key []byte) (of []*rule) {
	for _, r := range rules {
		member := r.rest
		if at := r.member(key, 0); at >= 0 {
			member = r.members[at].rule
		}
		if member != nil {
			of = append(of, member)
		}
	}
	return of
}

// expanded adds the rules that rules are made of. Alternatives are not among them:
// a value that has some is looked at as a whole.
func expanded(rules []*rule) []*rule {
	var all []*rule
	for _, r := range rules {
		all = append(all, r)
		all = append(all, expanded(r.all)...)
	}
	return all
}
