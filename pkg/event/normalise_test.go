package event_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/event"
)

var seed = flag.Uint64("seed", 20251020, "of the documents that are generated for Node")

// example is a block of testdata/normalise.txt.
type example struct {
	rule, src       string
	out             string // "" where it is refused
	reason, pointer string
}

func examples(tb testing.TB) []example {
	tb.Helper()
	text, err := os.ReadFile("testdata/normalise.txt")
	if err != nil {
		tb.Fatal(err)
	}
	var all []example
	for block := range strings.SplitSeq(strings.TrimSuffix(string(text), "\n"), "\n\n") {
		if strings.HasPrefix(block, "# ") {
			continue
		}
		lines := strings.Split(block, "\n")
		if len(lines) != 3 {
			tb.Fatalf("a block of %d lines: %q", len(lines), block)
		}
		e := example{rule: lines[0], src: lines[1]}
		var accepted, refused bool
		if e.out, accepted = strings.CutPrefix(lines[2], "= "); !accepted {
			e.out = ""
			lines[2], refused = strings.CutPrefix(lines[2], "! ")
			e.reason, e.pointer, _ = strings.Cut(lines[2], " ")
		}
		if !accepted && !refused {
			tb.Fatalf("a block without result: %q", block)
		}
		all = append(all, e)
	}
	return all
}

func TestNormalise(t *testing.T) {
	t.Parallel()
	for _, e := range examples(t) {
		t.Run(e.rule, func(t *testing.T) {
			t.Parallel()
			out, err := event.Normalise([]byte(e.src))
			if e.reason == "" {
				if err != nil || string(out) != e.out {
					t.Errorf("Normalise(%s) =\n%s, %v; want\n%s", e.src, out, err, e.out)
				}
				return
			}
			if err == nil {
				t.Fatalf("Normalise(%s) = %s; want it refused", e.src, out)
			}
			got := refusal(t, err)
			if string(got.Reason) != e.reason || got.Pointer != e.pointer || got.Detail == "" {
				t.Errorf("Normalise(%s): %v; want %s at %q", e.src, got, e.reason, e.pointer)
			}
			if got.Unreadable() != (e.reason == "malformed") {
				t.Errorf("Unreadable() = %t of %v", got.Unreadable(), got)
			}
		})
	}
}

func TestNormalise_InvalidUTF8(t *testing.T) {
	t.Parallel()
	for _, bytes := range []string{
		"\x80", "\xff", "\xc3", "\xc3(", "\xc0\xaf", "\xe2\x80", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80",
	} {
		for _, src := range []string{`{"a":"x` + bytes + `"}`, `{"` + bytes + `":1}`, `{"a":1}` + bytes} {
			if out, err := event.Normalise([]byte(src)); err == nil {
				t.Errorf("Normalise(%q) = %q; want it refused", src, out)
			} else if e := refusal(t, err); e.Reason != event.Malformed {
				t.Errorf("Normalise(%q): %v; want malformed", src, e)
			}
		}
	}
}

func TestNormalise_Depth(t *testing.T) {
	t.Parallel()
	nested := func(open, end string, levels int) []byte {
		return []byte(strings.Repeat(open, levels) + "1" + strings.Repeat(end, levels))
	}
	for _, tc := range []struct{ name, open, end, step string }{
		{name: "arrays", open: "[", end: "]", step: "/0"},
		{name: "objects", open: `{"a":`, end: "}", step: "/a"},
		{name: "objects out of order", open: `{"b":1,"0":`, end: "}", step: "/0"},
	} {
		t.Run(tc.name+" nest 64 levels and no more", func(t *testing.T) {
			t.Parallel()
			if _, err := event.Normalise(nested(tc.open, tc.end, event.MaxDepth)); err != nil {
				t.Errorf("%d levels: %v", event.MaxDepth, err)
			}
			for _, levels := range []int{event.MaxDepth + 1, 100_000} {
				_, err := event.Normalise(nested(tc.open, tc.end, levels))
				if err == nil {
					t.Fatalf("%d levels were accepted", levels)
				}
				e := refusal(t, err)
				if want := strings.Repeat(tc.step, event.MaxDepth); e.Reason != event.TooDeep || e.Pointer != want {
					t.Errorf("%d levels: %v; want too_deep at %s", levels, e, want)
				}
			}
		})
	}
	t.Run("nesting is refused where it passes the limit, whatever follows", func(t *testing.T) {
		t.Parallel()
		_, err := event.Normalise([]byte(strings.Repeat("[", 100_000)))
		if e := refusal(t, err); e.Reason != event.TooDeep {
			t.Errorf("100 000 open arrays: %v; want too_deep", e)
		}
	})
}

func TestNormalise_Size(t *testing.T) {
	t.Parallel()
	text := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
	for _, tc := range []struct {
		name, src string
		accepted  bool
	}{
		{name: "a form of 256 KiB is accepted", src: text(event.MaxBodyBytes), accepted: true},
		{name: "one byte more is refused", src: text(event.MaxBodyBytes + 1)},
		{name: "white space does not count", src: strings.Repeat(" ", event.MaxBodyBytes) + text(event.MaxBodyBytes), accepted: true},
		{name: "needless escapes do not count", src: `"` + strings.Repeat(`\u00e9`, event.MaxBodyBytes/2-1) + `"`, accepted: true},
		{name: "replaced duplicates do not count", src: `{"a":` + text(event.MaxBodyBytes) + `,"a":` + text(event.MaxBodyBytes-6) + `}`, accepted: true},
		{name: "digits that the form adds count", src: "[" + strings.Repeat("1e20,", event.MaxBodyBytes/22) + "1e20]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			out, err := event.Normalise([]byte(tc.src))
			if tc.accepted {
				if err != nil || len(out) != event.MaxBodyBytes {
					t.Errorf("%d bytes, %v; want %d", len(out), err, event.MaxBodyBytes)
				}
				return
			}
			if err == nil {
				t.Fatalf("%d bytes were accepted", len(out))
			}
			if e := refusal(t, err); e.Reason != event.TooLarge || e.Pointer != "" {
				t.Errorf("%v; want too_large at the root", e)
			}
		})
	}
}

func TestNormalise_PointerIsBounded(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("k", 300)
	for _, tc := range []struct{ name, src, pointer string }{
		{name: "up to 512 bytes it is whole", src: `{"` + name + `":[{"x":1e400}]}`, pointer: "/" + name + "/0/x"},
		{name: "beyond, it names an ancestor", src: `{"` + name + `":{"` + name + `":{"x":1e400}}}`, pointer: "/" + name},
		{name: "a key too long for it is left out with what is below", src: `{"a":{"` + name + name + `":{"x":1e400}}}`, pointer: "/a"},
		{name: "so is a key as long as the document", src: `{"a":{"` + strings.Repeat(name, 500) + `":{"x":1e400}}}`, pointer: "/a"},
		{name: "then it may name the whole document", src: `{"` + name + name + `":{"x":1e400}}`, pointer: ""},
		{name: "escapes do not make a key long", src: `{"` + strings.Repeat(`\u006b`, 300) + `":1e400}`, pointer: "/" + name},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := event.Normalise([]byte(tc.src))
			if e := refusal(t, err); e.Pointer != tc.pointer {
				t.Errorf("the pointer is %q; want %q", e.Pointer, tc.pointer)
			}
		})
	}
}

func TestAppendNormalised(t *testing.T) {
	t.Parallel()
	t.Run("what stands in dst stays, also where the document is rearranged", func(t *testing.T) {
		t.Parallel()
		out, err := event.AppendNormalised([]byte(`{"x":`), []byte(`[{"b":1,"0":2,"b":3}, {"a":1,"a":2}]`))
		if want := `{"x":[{"0":2,"b":3},{"a":2}]`; err != nil || string(out) != want {
			t.Errorf("%s, %v; want %s", out, err, want)
		}
	})
	t.Run("after a refusal dst is as it was", func(t *testing.T) {
		t.Parallel()
		out, err := event.AppendNormalised([]byte(`{"x":`), []byte(`[{"b":1}, 1e400]`))
		if err == nil || string(out) != `{"x":` {
			t.Errorf("%s, %v", out, err)
		}
	})
	t.Run("the result shares no memory with the document", func(t *testing.T) {
		t.Parallel()
		src := []byte(`{"a":"b"}`)
		out, err := event.Normalise(src)
		if err != nil {
			t.Fatal(err)
		}
		clear(src)
		if string(out) != `{"a":"b"}` {
			t.Errorf("it became %q", out)
		}
	})
}

// TestNormalise_Node puts documents before a JavaScript engine: for each accepted
// one JSON.stringify(JSON.parse(out)) === out and its values are those that the
// engine reads from the document; each refused one has a documented fault.
func TestNormalise_Node(t *testing.T) {
	t.Parallel()
	t.Logf("go test -run TestNormalise_Node ./pkg/event -args -seed=%d", *seed)
	node := startOracle(t)
	g := generator{rand.New(rand.NewPCG(*seed, 0))}

	var accepted, refused int
	check := func(src []byte) {
		if node.check(t, src) {
			accepted++
		} else {
			refused++
		}
	}
	for _, e := range examples(t) {
		check([]byte(e.src))
	}
	for _, number := range numbers {
		check([]byte(number))
	}
	for _, first := range keys { // every pair: equal or not, in either order
		for _, second := range keys {
			check(fmt.Appendf(nil, `{"%s":1,"b":2,"%s":3}`, first, second))
		}
	}
	for _, format := range []string{`\u%04x`, `\u%04X`} { // every escape, alone and between others
		for high := range 256 {
			src := []byte(`["`)
			for low := range 256 {
				src = fmt.Appendf(src, format+`","`, high<<8|low)
			}
			check(append(src, `"]`...))
			src = []byte(`"`)
			for low := range 256 {
				src = fmt.Appendf(src, format, high<<8|low)
			}
			check(append(src, '"'))
		}
	}
	for c := range rune(128) { // every short escape, right or wrong, and every raw character
		check([]byte(`["\` + string(c) + `"]`))
		check([]byte(`["` + string(c) + `"]`))
	}
	for c := range 256 { // every byte where a value or white space may stand
		check([]byte{'[', byte(c), ']'})
		check([]byte{'{', '"', '"', byte(c), ':', '1', byte(c), '}', byte(c)})
	}
	for c := rune(128); c < 0x10ffff; c += 97 {
		check([]byte(`["` + string(c) + `"]`))
	}
	random := 0
	for range 6000 {
		if node.check(t, g.document()) {
			random++
		}
	}
	for range 3000 {
		check(g.damaged())
	}
	t.Logf("%d documents accepted, %d of them random, %d refused", accepted+random, random, refused)
	if random < 5000 {
		t.Errorf("only %d random documents were accepted: the generator has to do better", random)
	}
}

// TestNormalise_Concurrent would find, with the race detector, memory that two
// documents share through the pool.
func TestNormalise_Concurrent(t *testing.T) {
	t.Parallel()
	for i := range 8 {
		t.Run(fmt.Sprintf("a document has its own memory %d", i), func(t *testing.T) {
			t.Parallel()
			src := fmt.Appendf(nil, `{"b":"%[1]d","a":{"1":%[1]d,"0":[%[1]d.0]},"b":%[1]d}`, i)
			want := fmt.Sprintf(`{"b":%[1]d,"a":{"0":[%[1]d],"1":%[1]d}}`, i)
			for range 500 {
				if out, err := event.Normalise(src); err != nil || string(out) != want {
					t.Fatalf("%s, %v; want %s", out, err, want)
				}
			}
		})
	}
}

func FuzzNormalise(f *testing.F) {
	for _, e := range examples(f) {
		f.Add([]byte(e.src))
	}
	for _, d := range event.Types() {
		f.Add([]byte(d.Example))
	}
	f.Add([]byte(strings.Repeat("[", 100_000)))
	f.Add([]byte(strings.Repeat(`{"1":`, 70)))
	f.Add([]byte(`{"` + strings.Repeat(`k":1,"`, 40) + `":[1e20,1.0]}`))
	node := startOracle(f)
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 2*event.MaxBodyBytes {
			return // the engine needs too long to read it aloud
		}
		node.check(t, src)
	})
}
