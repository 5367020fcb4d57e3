package filter

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/primezap/primezap/pkg/event"
)

// reference says what a filter says of data, by the rules of docs/filters.md and
// with no regard to cost: both are decoded, and all values of a path collected.
// Lone surrogates are beyond it.
func reference(t testing.TB, filter, data []byte) bool {
	t.Helper()
	var f map[string]any
	if err := json.Unmarshal(surrogates(normalise(t, filter)), &f); err != nil {
		t.Fatal(err)
	}
	var d any
	if err := json.Unmarshal(surrogates(normalise(t, data)), &d); err != nil {
		t.Fatal(err)
	}
	return holds(f, []any{d})
}

// surrogates writes lone ones as characters that nobody uses.
func surrogates(stable []byte) []byte {
	return bytes.ReplaceAll(stable, []byte(`\ud83d`), []byte("\U0010abcd"))
}

// spread replaces arrays by their elements.
func spread(values []any) (all []any) {
	for _, v := range values {
		if list, ok := v.([]any); ok {
			all = append(all, spread(list)...)
		} else {
			all = append(all, v)
		}
	}
	return all
}

func follow(values []any, path string) []any {
	var names []string
	name := ""
	for i := 0; i < len(path); i++ {
		switch path[i] {
		case '.':
			names, name = append(names, name), ""
		case '\\':
			i++
			name += path[i : i+1]
		default:
			name += path[i : i+1]
		}
	}
	for _, name := range append(names, name) {
		var next []any
		for _, v := range spread(values) {
			if members, ok := v.(map[string]any); ok {
				if member, ok := members[name]; ok {
					next = append(next, member)
				}
			}
		}
		values = next
	}
	return values
}

func holds(condition any, values []any) bool {
	members, ok := condition.(map[string]any)
	if !ok {
		members = map[string]any{"$eq": condition}
	}
	together := map[string]any{} // what one value must satisfy
	for key, arg := range members {
		ok := true
		switch key {
		case "$exist":
			ok = (len(values) > 0) == arg.(bool)
		case "$neq":
			ok = !anyPasses(values, "$eq", arg)
		case "$nin":
			ok = !anyPasses(values, "$in", arg)
		case "$not":
			ok = !holds(arg, values)
		case "$and":
			for _, sub := range arg.([]any) {
				ok = ok && holds(sub, values)
			}
		case "$or":
			ok = false
			for _, sub := range arg.([]any) {
				ok = ok || holds(sub, values)
			}
		default:
			together[key] = arg
		}
		if !ok {
			return false
		}
	}
	if len(together) == 0 {
		return true
	}
	for _, v := range spread(values) {
		all := true
		for key, arg := range together {
			if strings.HasPrefix(key, "$") {
				all = all && passes(v, key, arg)
			} else {
				all = all && holds(arg, follow([]any{v}, key))
			}
		}
		if all {
			return true
		}
	}
	return false
}

func anyPasses(values []any, op string, arg any) bool {
	for _, v := range spread(values) {
		if passes(v, op, arg) {
			return true
		}
	}
	return false
}

func passes(v any, op string, arg any) bool {
	a, texts := v.(string)
	b, both := arg.(string)
	texts = texts && both
	x, numbers := v.(float64)
	y, both := arg.(float64)
	numbers = numbers && both
	switch op {
	case "$eq":
		_, composite := v.(map[string]any)
		return !composite && v == arg
	case "$in":
		for _, one := range arg.([]any) {
			if passes(v, "$eq", one) {
				return true
			}
		}
		return false
	case "$gt":
		return texts && a > b || numbers && x > y
	case "$gte":
		return texts && a >= b || numbers && x >= y
	case "$lt":
		return texts && a < b || numbers && x < y
	case "$lte":
		return texts && a <= b || numbers && x <= y
	case "$startsWith":
		return texts && strings.HasPrefix(a, b)
	case "$endsWith":
		return texts && strings.HasSuffix(a, b)
	case "$contains":
		return texts && strings.Contains(a, b)
	}
	panic(op)
}

// check holds a filter against the reference and the bound.
func check(t *testing.T, raw, data []byte) {
	t.Helper()
	f, err := Compile(raw)
	if err != nil {
		return
	}
	stable, err := event.Normalise(data)
	if err != nil {
		f.Matches(data) // must not panic
		return
	}
	var d Document
	if err := d.Read(stable); err != nil {
		t.Fatalf("%s: %v", stable, err)
	}
	got := d.Matches(f)
	if d.steps > d.Cost(f) {
		t.Errorf("%s makes %d steps on %s, more than %d", raw, d.steps, stable, d.Cost(f))
	}
	surrogate := bytes.Contains(stable, []byte(`\ud`)) || strings.Contains(string(raw), `\u`) || strings.Contains(string(raw), `\U`)
	if surrogate || d.elements > MaxElements || !utf8.Valid(raw) {
		return
	}
	if want := reference(t, raw, data); got != want {
		t.Errorf("%s on %s: %t, the reference says %t", raw, stable, got, want)
	}
}

func FuzzFilter_Matches(f *testing.F) {
	for _, r := range rules(f) {
		for _, data := range append(r.Matches, r.Differs...) {
			f.Add([]byte(r.Filter), []byte(data))
		}
	}
	f.Fuzz(func(t *testing.T, raw, data []byte) {
		if len(data) > event.MaxBodyBytes {
			return
		}
		check(t, raw, data)
	})
}

// random makes filters and data of few names and values, so that they meet.
type random struct{ *rand.Rand }

func (r random) pick(of ...string) string { return of[r.IntN(len(of))] }

func (r random) name() string { return r.pick("a", "b", "c") }

func (r random) plain() string {
	return r.pick(`"x"`, `"y"`, `"xy"`, `""`, `0`, `1`, `2`, `1.5`, `true`, `false`, `null`)
}

func (r random) value(depth int) string {
	switch n := r.IntN(6); {
	case depth == 0 || n < 2:
		return r.plain()
	case n < 4:
		return r.object(depth)
	default:
		var items []string
		for range r.IntN(4) {
			items = append(items, r.value(depth-1))
		}
		return "[" + strings.Join(items, ",") + "]"
	}
}

func (r random) object(depth int) string {
	var members []string
	for range r.IntN(4) {
		members = append(members, `"`+r.name()+`":`+r.value(depth-1))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func (r random) filter(depth int, placed bool) string {
	var members []string
	for range 1 + r.IntN(2) {
		var member string
		switch n := r.IntN(10); {
		case depth > 0 && n == 0:
			member = `"$not":` + r.filter(depth-1, placed)
		case depth > 0 && n == 1:
			member = `"` + r.pick("$and", "$or") + `":[` + r.filter(depth-1, placed) + `,` + r.filter(depth-1, placed) + `]`
		case placed && n < 7:
			switch op := r.pick("$eq", "$neq", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exist", "$startsWith", "$endsWith", "$contains"); op {
			case "$eq", "$neq":
				member = `"` + op + `":` + r.plain()
			case "$in", "$nin":
				member = `"` + op + `":[` + r.plain() + `,` + r.plain() + `]`
			case "$exist":
				member = `"$exist":` + r.pick("true", "false")
			case "$startsWith", "$endsWith", "$contains":
				member = `"` + op + `":` + r.pick(`"x"`, `"y"`, `""`)
			default:
				member = `"` + op + `":` + r.pick(`"x"`, `"xy"`, `1`, `1.5`)
			}
		case depth > 0 && n < 9:
			member = `"` + r.pick(r.name(), r.name()+"."+r.name()) + `":` + r.filter(depth-1, true)
		default:
			member = `"` + r.name() + `":` + r.plain()
		}
		members = append(members, member)
	}
	return "{" + strings.Join(members, ",") + "}"
}

func TestFilter_Matches_AsTheReference(t *testing.T) {
	t.Parallel()
	r := random{rand.New(rand.NewPCG(1, 2))}
	compiled, matched := 0, 0
	const runs = 30_000
	for range runs {
		raw, data := []byte(r.filter(3, false)), []byte(r.object(3))
		check(t, raw, data)
		if f, err := Compile(raw); err == nil {
			compiled++
			if f.Matches(normalise(t, data)) {
				matched++
			}
		}
		if t.Failed() {
			return
		}
	}
	if compiled < runs*9/10 || matched < runs/10 || matched > runs*9/10 {
		t.Errorf("of %d filters %d compile and %d match: this test proves little", runs, compiled, matched)
	}
}
