package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/event"
)

// rule is one of testdata/cases.json: a filter and data that passes it or does not.
type rule struct {
	Rule    string            `json:"rule"`
	Filter  json.RawMessage   `json:"filter"`
	Matches []json.RawMessage `json:"matches"`
	Differs []json.RawMessage `json:"differs"`
}

func rules(t testing.TB) (all []rule) {
	t.Helper()
	file, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(file, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func mustCompile(t testing.TB, raw string) *Filter {
	t.Helper()
	f, err := Compile([]byte(raw))
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return f
}

func normalise(t testing.TB, data []byte) []byte {
	t.Helper()
	stable, err := event.Normalise(data)
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return stable
}

func TestFilter_Matches(t *testing.T) {
	t.Parallel()
	for _, r := range rules(t) {
		t.Run(r.Rule, func(t *testing.T) {
			t.Parallel()
			f := mustCompile(t, string(r.Filter))
			for want, all := range map[bool][]json.RawMessage{true: r.Matches, false: r.Differs} {
				for _, data := range all {
					if got := f.Matches(normalise(t, data)); got != want {
						t.Errorf("%s on %s: %t, want %t", r.Filter, data, got, want)
					}
					if got := reference(t, r.Filter, data); got != want {
						t.Errorf("the reference says %t of %s on %s", got, r.Filter, data)
					}
				}
			}
		})
	}
}

func TestFilter_Matches_NotInNormalForm(t *testing.T) {
	t.Parallel()
	f := mustCompile(t, `{}`)
	for _, data := range []string{
		``, ` `, `{`, `}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1 }`, `[1,]`, `[,]`, `[1 2]`, `[1`, `{"a":1]`, `{"a":1}x`, `"`, `"\`, `"\u12`, `"\u123x"`,
		`"\q"`, `nul`, `tru`, `-`, `1.2.3`, `1-2`, `1e999`, `.`, `{a:1}`, strings.Repeat("[", 1000), strings.Repeat(`{"a":`, 100_000),
	} {
		if f.Matches([]byte(data)) {
			t.Errorf("%.40s passes", data)
		}
	}
}

func TestFilter_Matches_SeesTheFirstElements(t *testing.T) {
	t.Parallel()
	f := mustCompile(t, `{"a":1,"b":2}`)
	// The members behind an array do not count as elements.
	array := func(zeros int, rest string) []byte {
		return []byte(`{"a":[` + strings.Repeat("0,", zeros) + "1" + rest + `],"b":2}`)
	}
	for _, tc := range []struct {
		rule    string
		data    []byte
		matches bool
	}{
		{"the last that is seen", array(MaxElements-1, ""), true},
		{"the first that is not seen", array(MaxElements, ""), false},
		{"an element behind those", array(MaxElements-1, strings.Repeat(",[[1,2],{}]", 100)), true},
		{"nested ones are counted, too", []byte(`{"x":[[` + strings.Repeat("0,", MaxElements-3) + `0],0],"a":[1],"b":2}`), false},
		{"one less of them", []byte(`{"x":[[` + strings.Repeat("0,", MaxElements-4) + `0],0],"a":[1],"b":2}`), true},
	} {
		if got := f.Matches(tc.data); got != tc.matches {
			t.Errorf("%s: %t, want %t", tc.rule, got, tc.matches)
		}
	}
}

func TestDocument_Read(t *testing.T) {
	t.Parallel()
	t.Run("serves many filters and documents in turn", func(t *testing.T) {
		t.Parallel()
		var d Document
		for _, r := range rules(t) {
			f := mustCompile(t, string(r.Filter))
			for i, data := range append(r.Matches, r.Differs...) {
				if err := d.Read(normalise(t, data)); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if got, want := d.Matches(f), i < len(r.Matches); got != want {
						t.Errorf("%s on %s: %t, want %t", r.Filter, data, got, want)
					}
				}
			}
		}
	})
	t.Run("passes nothing after an error", func(t *testing.T) {
		t.Parallel()
		var d Document
		f := mustCompile(t, `{"a":1}`)
		if err := d.Read([]byte(`{"a":1}`)); err != nil || !d.Matches(f) {
			t.Fatalf("Read: %v", err)
		}
		if err := d.Read([]byte(`{"a":1}}`)); !errors.Is(err, errMalformed) || d.Matches(f) {
			t.Errorf("Read: %v, matches %t", err, d.Matches(f))
		}
	})
}

// Not parallel, for the allocations of others would be counted.
func TestDocument_Read_ReusesMemory(t *testing.T) {
	definition, _ := event.Lookup(event.MessageReceived)
	data, ok := event.Data(definition.Example)
	if !ok {
		t.Fatal("the example has no data")
	}
	f := mustCompile(t, `{"$or":[{"channel":"telegram"},{"contact.name":{"$startsWith":"M","$neq":"x"}},{"text":{"$contains":"?"}}]}`)
	var d Document
	allocations := testing.AllocsPerRun(100, func() {
		if err := d.Read(data); err != nil {
			t.Fatal(err)
		}
		d.Matches(f)
	})
	if allocations > 0 {
		t.Errorf("reading and matching allocate %.0f times", allocations)
	}
}

// The worst that we know of: every condition looks for its value in every element,
// at the end of a path as long as there may be, and does not find it.
func TestFilter_Matches_Bound(t *testing.T) {
	t.Parallel()
	nested := func(open, leaf, end string, n int) string {
		return strings.Repeat(open, n) + leaf + strings.Repeat(end, n)
	}
	array := func(element string) string {
		n := min(MaxElements+10, (event.MaxBodyBytes-100)/(len(element)+1))
		return `{"a":[` + strings.TrimSuffix(strings.Repeat(element+",", n), ",") + `]}`
	}
	conditions := func(op string, n int, path, condition string) string {
		return `{"` + op + `":[` + strings.TrimSuffix(strings.Repeat(`{"`+path+`":`+condition+`},`, n), ",") + `]}`
	}
	for _, tc := range []struct{ filter, data string }{
		{conditions("$or", 99, "a.b.b", `2`), array(`{"b":{"b":1}}`)},
		{conditions("$or", 27, "a"+strings.Repeat(".b", 15), `2`), array(nested(`{"b":`, `1`, `}`, 15))},
		{conditions("$and", 33, "a", `{"$not":{"c":{"$exist":true}}}`), array(`{"b":1}`)},
		{conditions("$or", 7, "a", nested(`{"b":`, `2`, `}`, 13)), array(nested(`{"b":`, `1`, `}`, 13))},
		{conditions("$and", 99, "a.b", `{"$nin":[1]}`), array(`{"b":[[2]]}`)},
		{conditions("$or", 9, "a", `{"$contains":"`+strings.Repeat("x", 500)+`y"}`), array(`"` + strings.Repeat("x", 250) + `"`)},
	} {
		f, data := mustCompile(t, tc.filter), normalise(t, []byte(tc.data))
		var d Document
		if err := d.Read(data); err != nil {
			t.Fatal(err)
		}
		d.Matches(f)
		limit := 2*MaxWork*(1+MaxElements) + MaxContains*event.MaxBodyBytes/bytesAStep
		if cost := d.Cost(f); d.steps > cost || cost > limit {
			t.Errorf("%.60s makes %d steps on %d elements, more than %d or %d", tc.filter, d.steps, d.elements, cost, limit)
		}
		if d.steps < MaxElements*5 && d.elements >= MaxElements {
			t.Errorf("%.60s makes %d steps alone: this test proves nothing", tc.filter, d.steps)
		}
	}
}

func TestCompile_Refusals(t *testing.T) {
	t.Parallel()
	repeat := func(what string, n int) string { return strings.TrimSuffix(strings.Repeat(what+",", n), ",") }
	paths := func(n int, condition string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"k%d":%s`, i, condition)
		}
		return "{" + b.String()[1:] + "}"
	}
	for _, tc := range []struct{ rule, filter, pointer, detail string }{
		{"no JSON", `{`, ``, `ends`},
		{"no JSON in a member", `{"a":tru}`, `/a`, `value`},
		{"an array", `[]`, ``, `object`},
		{"null", `null`, ``, `object`},
		{"a string", `"won"`, ``, `object`},
		{"an operator we do not know", `{"stage.name":{"$foo":1}}`, `/stage.name/$foo`, `$startsWith`},
		{"two operators in one", `{"a":{"$eq, $neq":1}}`, `/a/$eq, $neq`, `known`},
		{"a regular expression", `{"a":{"$regex":"(a+)+$"}}`, `/a/$regex`, `known`},
		{"an operator in capitals", `{"a":{"$EQ":1}}`, `/a/$EQ`, `known`},
		{"a comparison without a path", `{"$eq":1}`, `/$eq`, `path`},
		{"a value without a path", `{"$or":["won"]}`, `/$or/0`, `path`},
		{"a name that is escaped in the pointer", `{"a/b~c":{"$x":1}}`, `/a~1b~0c/$x`, `known`},
		{"an empty condition", `{"a":{}}`, `/a`, `condition`},
		{"an empty alternative", `{"$or":[{"a":1},{}]}`, `/$or/1`, `condition`},
		{"an empty $not", `{"$not":{}}`, `/$not`, `condition`},
		{"a list in place of a value", `{"a":[1,2]}`, `/a`, `$in`},
		{"a list that is compared with", `{"a":{"$eq":[1]}}`, `/a/$eq`, `string`},
		{"an object that is compared with", `{"a":{"$neq":{}}}`, `/a/$neq`, `string`},
		{"an order of booleans", `{"a":{"$gt":true}}`, `/a/$gt`, `number or a string`},
		{"an order of nothing", `{"a":{"$lte":null}}`, `/a/$lte`, `number or a string`},
		{"the beginning of a number", `{"a":{"$startsWith":5}}`, `/a/$startsWith`, `string`},
		{"an existence that is no boolean", `{"a":{"$exist":1}}`, `/a/$exist`, `true or false`},
		{"a $in of a string", `{"a":{"$in":"abc"}}`, `/a/$in`, `list`},
		{"an empty $in", `{"a":{"$in":[]}}`, `/a/$in`, `list`},
		{"an object in $nin", `{"a":{"$nin":[1,{}]}}`, `/a/$nin/1`, `string`},
		{"an empty $and", `{"$and":[]}`, `/$and`, `list`},
		{"a $or of an object", `{"$or":{"a":1}}`, `/$or`, `list`},
		{"a fault in an alternative", `{"$or":[{"a":1},{"b":{"$x":1}}]}`, `/$or/1/b/$x`, `known`},
		{"a fault in $not", `{"a":{"$not":{"$gt":{}}}}`, `/a/$not/$gt`, `number`},
		{"an empty name", `{"a..b":1}`, `/a..b`, `empty name`},
		{"no name", `{"":1}`, `/`, `empty name`},
		{"a backslash at the end", `{"a\\":1}`, `/a\`, `backslash`},
		{"an integer that no double holds", `{"a":9007199254740993}`, `/a`, `string`},
		{"a number that no double holds", `{"a":{"$lt":1e400}}`, `/a/$lt`, `string`},
		{"too many bytes", `{"a":"` + strings.Repeat("x", MaxBytes) + `"}`, ``, `8192 bytes`},
		{"too deep", strings.Repeat(`{"a":`, MaxDepth+1) + `1` + strings.Repeat(`}`, MaxDepth+1), strings.Repeat("/a", MaxDepth), `16 levels`},
		{"much too deep", strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat(`}`, 100), strings.Repeat("/a", 64), `16 levels`},
		{"lists too deep", strings.Repeat(`{"$or":[`, MaxDepth) + `1` + strings.Repeat(`]}`, MaxDepth), strings.Repeat("/$or/0", MaxDepth/2), `16 levels`},
		{"a $not too deep", strings.Repeat(`{"$not":`, MaxDepth+1) + `1` + strings.Repeat(`}`, MaxDepth+1), strings.Repeat("/$not", MaxDepth), `16 levels`},
		{"too many conditions", paths(MaxConditions+1, `1`), fmt.Sprintf("/k%d", MaxConditions), `at most 100`},
		{"too many operators", paths(MaxConditions/2+1, `{"$gt":1,"$lt":2}`), fmt.Sprintf("/k%d/$gt", MaxConditions/2), `at most 100`},
		{"too many $contains", paths(MaxContains+1, `{"$contains":"a"}`), fmt.Sprintf("/k%d/$contains", MaxContains), `at most 10`},
		{"a long string", `{"a":"` + strings.Repeat("x", MaxString+1) + `"}`, `/a`, `1024 bytes`},
		{"a long string in a list", `{"a":{"$in":["b","` + strings.Repeat("x", MaxString+1) + `"]}}`, `/a/$in/1`, `1024 bytes`},
		{"a long list", `{"a":{"$in":[` + repeat("1", MaxList+1) + `]}}`, `/a/$in`, `100 values`},
		{"a long path", `{"` + strings.Repeat("a.", MaxNames) + `a":1}`, `/` + strings.Repeat("a.", MaxNames) + `a`, `16 names`},
		{"too much work", `{"$and":[` + repeat(`{"a.b.c.d":1}`, 84) + `]}`, ``, `500 conditions and names`},
	} {
		t.Run(tc.rule, func(t *testing.T) {
			t.Parallel()
			f, err := Compile([]byte(tc.filter))
			fault, ok := errors.AsType[*Error](err)
			if !ok || f != nil {
				t.Fatalf("Compile returns %v, %v", f, err)
			}
			if fault.Pointer != tc.pointer || !strings.Contains(fault.Detail, tc.detail) {
				t.Errorf("refused at %q: %s; want %q: …%s…", fault.Pointer, fault.Detail, tc.pointer, tc.detail)
			}
		})
	}
	t.Run("what is just within the bounds is taken", func(t *testing.T) {
		t.Parallel()
		for _, raw := range []string{
			strings.Repeat(`{"a":`, MaxDepth) + `1` + strings.Repeat(`}`, MaxDepth),
			paths(MaxConditions, `1`), paths(MaxContains, `{"$contains":"a"}`),
			`{"a":"` + strings.Repeat("x", MaxString) + `"}`, `{"a":{"$in":[` + repeat("1", MaxList) + `]}}`,
			`{"` + strings.Repeat("a.", MaxNames-1) + `a":1}`, `{"$and":[` + repeat(`{"a.b.c":1}`, 99) + `]}`,
			`{"a":1` + strings.Repeat(" ", MaxBytes-7) + `}`,
		} {
			mustCompile(t, raw)
		}
	})
}

// The filter is the caller's no more once it is compiled.
func TestCompile_KeepsNothing(t *testing.T) {
	t.Parallel()
	raw := []byte(`{"stage.name":{"$in":["won","lost"]},"x":"yes"}`)
	f := mustCompile(t, string(raw))
	g, err := Compile(raw)
	if err != nil {
		t.Fatal(err)
	}
	clear(raw)
	data := []byte(`{"stage":{"name":"won"},"x":"yes"}`)
	if !f.Matches(data) || !g.Matches(data) {
		t.Error("a filter changes with the bytes that it was made of")
	}
	if !bytes.Contains(data, []byte("won")) {
		t.Error("matching changes the data")
	}
}
