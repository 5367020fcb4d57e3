package event_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
)

// generator writes documents that a careless or malicious client might send: JSON,
// but hardly ever in normal form.
type generator struct{ *rand.Rand }

// numbers are written as they stand. Some are refused.
var numbers = []string{
	"0", "-0", "0.0", "-0.0", "0e0", "-0e-0", "0E+999999999", "1", "-1", "10", "1.0", "1.10", "-1.50",
	"9007199254740990", "9007199254740991", "-9007199254740991", "9007199254740991.0", "9007199254740992.0",
	"9007199254740993.0", "9007199254740992e0", "9.007199254740993e15", "999999999999999", "1000000000000000",
	"1e15", "1e16", "1e20", "1E20", "1e+20", "123456789012345678901e0", "99999999999999999999.9", "999999999999999999999.9",
	"1e21", "1e22", "1.0e21", "-1e21", "1e100", "1e-5", "1e-6", "1.5e-6", "9.99e-7", "1e-7", "1E-7", "-1e-7", "0.0000001",
	"0.00000012345", "0.000001", "100e-9", "1e-10", "1e-100", "1e10", "12.5e1", "1.25e2", "1.255e2", "0.1", "0.2",
	"0.30000000000000004", "0.1000000000000000055511151231257827021181583404541015625", "2.5", "3.141592653589793238462643",
	"1.7976931348623157e308", "1.7976931348623158e308", "17976931348623157e292", "4.9e-324", "5e-324", "3e-324", "2.4703282292062328e-324",
	"2.4703282292062327e-324", "1e-323", "2.2250738585072014e-308", "2.225073858507201e-308", "2.2250738585072011e-308",
	"1e-400", "-1e-400", "1e-999999999", "1e00", "1e-00", "1e007", "1e-007", "5e-0", "1.0000000000000002", "1.00000000000000011102230246251565404236316680908203125",
	"1.00000000000000011102230246251565404236316680908203124", "1.00000000000000011102230246251565404236316680908203126",
	"0." + strings.Repeat("3", 900), "1" + strings.Repeat("0", 300) + ".5", "1." + strings.Repeat("0", 800) + "1",
	// Refused.
	"9007199254740992", "-9007199254740992", "9007199254740993", "10000000000000000", "18446744073709551616", "1" + strings.Repeat("0", 400),
	"1e309", "-1e309", "1e400", "1.7976931348623159e308", "1e999999999", "1" + strings.Repeat("0", 400) + ".0",
}

// keys are written as they stand, quoted. Some are equal, some only look so.
var keys = []string{
	``, `a`, `\u0061`, `b`, `\u0062`, `A`, `0`, `1`, `\u0031`, `2`, `9`, `10`, `1\u0030`, `11`, `00`, `01`, `-0`, `-1`, `+1`, `1.0`, `1e0`, `0x1`, ` 1`, `1 `,
	`2147483646`, `2147483647`, `2147483648`, `4294967293`, `4294967294`, `4294967295`, `4294967296`, `04294967294`, `9007199254740991`, `9999999999`,
	`18446744073709551616`, `Infinity`, `NaN`, `__proto__`, `\u005f_proto__`, `__proto\u005f_`, `constructor`, `prototype`, `toString`, `toJSON`, `valueOf`,
	`length`, `hasOwnProperty`, `é`, `\u00e9`, `\u00E9`, `e\u0301`, "e\u0301", `😊`, `\ud83d\ude0a`, `\uD83D\uDE0A`, `\ud83d`, `\uD83D`, `\ude0a`, `\ude0a\ud83d`,
	"\u2028", `\u2028`, "\x7f", `\u007f`, `\n`, `\u000a`, `\u000A`, `\u0000`, `\"`, `\u0022`, `\\`, `\u005c`, `\/`, `/`, `~`, `a/b`, `a~b`, `.`, `١`, `１`,
}

// texts are the pieces of strings.
var texts = []string{
	`a`, `Olá, tudo bem?`, `ação`, `\"`, `\\`, `\/`, `/`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u0008`, `\u0009`, `\u000a`, `\u000A`, `\u000c`, `\u000d`,
	`\u0000`, `\u0001`, `\u001f`, `\u001F`, `\u0020`, `\u0022`, `\u0027`, `\u002f`, `\u003c`, `\u003C`, `<>&'`, `\u005c`, `\u005C`, `\u007e`, `\u007f`, "\x7f",
	`\u0080`, "\u0080", `\u00e9`, `\u2028`, "\u2028", `\u2029`, "\u2029", `\ufeff`, "\ufeff", `\ufffd`, "\ufffd", `\ufffe`, `\uffff`, "\uffff", `\ud7ff`, `\ue000`,
	`\ud800`, `\uD800`, `\udbff`, `\udc00`, `\uDC00`, `\udfff`, `\uDFFF`, `\ud800\udc00`, `\uDBFF\uDFFF`, `\ud83d\ude0a`, `\ud83d\uDE0A`, `😊`, "\U0010ffff", `👩🏽‍🦱`,
}

func pick[T any](g generator, from []T) T { return from[g.IntN(len(from))] }

// value appends a value that nests up to depth levels.
func (g generator) value(b []byte, depth int) []byte {
	kinds := 10
	if depth == 0 {
		kinds = 6
	}
	switch g.IntN(kinds) {
	case 0:
		return append(b, pick(g, []string{"true", "false", "null"})...)
	case 1, 2:
		return append(b, g.number()...)
	case 3, 4, 5:
		return g.text(b)
	case 6, 7:
		return g.array(b, depth)
	default:
		return g.object(b, depth)
	}
}

func (g generator) array(b []byte, depth int) []byte {
	b = append(b, '[')
	for i := range g.IntN(5) {
		if i > 0 {
			b = append(b, ',')
		}
		b = g.space(g.value(g.space(b), depth-1))
	}
	if b[len(b)-1] == '[' {
		b = g.space(b)
	}
	return append(b, ']')
}

// object appends an object; now and then one with more members than are compared in
// pairs. Its keys are taken from few, so that duplicates are common.
func (g generator) object(b []byte, depth int) []byte {
	members := g.IntN(8)
	if g.IntN(12) == 0 {
		members, depth = 10+g.IntN(60), 1
	}
	names := make([]string, 0, members)
	for range members {
		name := pick(g, keys)
		if g.IntN(3) == 0 {
			name = strconv.Itoa(g.IntN(40))
		}
		names = append(names, name)
	}
	b = append(b, '{')
	for i := range members {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(g.space(b), '"')
		b = append(b, pick(g, names)...)
		b = append(g.space(append(b, '"')), ':')
		b = g.space(g.value(g.space(b), depth-1))
	}
	return append(b, '}')
}

func (g generator) space(b []byte) []byte {
	if g.IntN(4) > 0 {
		return b
	}
	for range 1 + g.IntN(3) {
		b = append(b, " \t\n\r"[g.IntN(4)])
	}
	return b
}

// number returns a number that is accepted, unless in one case of fifty.
func (g generator) number() string {
	switch g.IntN(6) {
	case 0:
		if g.IntN(8) > 0 {
			return "1.50"
		}
		return pick(g, numbers)
	case 1:
		return strconv.FormatInt(g.Int64N(1<<53)>>g.IntN(53)*int64(1-2*g.IntN(2)), 10)
	case 2: // any finite double, often by more digits than it needs
		f := math.Float64frombits(g.Uint64())
		if math.IsNaN(f) || math.IsInf(f, 0) {
			f = 0
		}
		return fmt.Sprintf("%.*e", g.IntN(30), f/2)
	case 3: // around the limits of the exponent form
		return fmt.Sprintf("%.*fE%+d", g.IntN(20), g.Float64()*10, pick(g, []int{-8, -7, -6, -5, 0, 15, 16, 19, 20, 21, 22}))
	case 4: // denormals
		return strconv.FormatFloat(math.Float64frombits(g.Uint64N(1<<52)>>g.IntN(52)), 'e', g.IntN(20), 64)
	default: // money
		return fmt.Sprintf("%d.%02d", g.IntN(100_000), g.IntN(100))
	}
}

func (g generator) text(b []byte) []byte {
	b = append(b, '"')
	for range g.IntN(7) {
		if g.IntN(3) == 0 {
			format := pick(g, []string{`\u%04x`, `\u%04X`})
			b = fmt.Appendf(b, format, g.IntN(1<<16))
			continue
		}
		b = append(b, pick(g, texts)...)
	}
	return append(b, '"')
}

// document returns a document that is mostly accepted.
func (g generator) document() []byte {
	return g.space(g.value(g.space(nil), 1+g.IntN(6)))
}

// damaged returns a document with a fault that was put in blindly; it may have hit
// where it does no harm.
func (g generator) damaged() []byte {
	doc := g.document()
	at := g.IntN(len(doc))
	junk := pick(g, []string{"\"", "\\", ",", ":", "{", "}", "[", "]", "0", "-", ".", "e", "t", "\x00", "\n", "\x80", "\xff", "\xc3", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80", "\ufeff", "\u00a0", "/"})
	switch g.IntN(4) {
	case 0:
		return doc[:at]
	case 1:
		return append(doc[:at], doc[at+1:]...)
	case 2:
		doc[at] = junk[0]
		return doc
	default:
		return append(doc[:at], append([]byte(junk), doc[at:]...)...)
	}
}
