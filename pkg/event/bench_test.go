package event_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/event"
)

// BenchmarkNormalise reports the rate over what arrives. The documents after the
// first three are the worst that a client can send for their size.
func BenchmarkNormalise(b *testing.B) {
	body := dataOf(b, event.MessageReceived)
	var indented bytes.Buffer
	if err := json.Indent(&indented, body, "", "  "); err != nil {
		b.Fatal(err)
	}
	var ascii []byte
	for _, r := range string(body) {
		if r < 128 {
			ascii = append(ascii, byte(r))
		} else {
			ascii = fmt.Appendf(ascii, `\u%04x`, r&0xffff)
		}
	}
	const size = 250_000
	var many strings.Builder
	for i := 0; many.Len() < size; i++ {
		fmt.Fprintf(&many, `,"%d":1`, (i*7919)%1_000_003)
	}
	const levels = event.MaxDepth - 1
	pad := strings.Repeat("x", size/levels)
	for _, doc := range []struct {
		name string
		src  []byte
	}{
		{"stable", body},
		{"indented", indented.Bytes()},
		{"escaped", ascii},
		{"members", []byte("{" + many.String()[1:] + "}")},
		{"duplicates", []byte(`{"a":1` + strings.Repeat(`,"a":1`, size/6) + `}`)},
		{"numbers", []byte("[1.5" + strings.Repeat(",1.2345678901234567e-300", size/24) + "]")},
		{"rearranged", []byte(strings.Repeat(`{"b":"`+pad+`","0":`, levels) + "1" + strings.Repeat("}", levels))},
	} {
		b.Run(doc.name, func(b *testing.B) {
			b.SetBytes(int64(len(doc.src)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := event.Normalise(doc.src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBody(b *testing.B) {
	data, at := dataOf(b, event.MessageReceived), time.Date(2025, 10, 20, 12, 0, 0, 0, time.UTC)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := event.Body(event.MessageReceived, at, data); err != nil {
			b.Fatal(err)
		}
	}
}

// dataOf returns the data of a type's example.
func dataOf(tb testing.TB, t event.Type) []byte {
	tb.Helper()
	d, ok := event.Lookup(t)
	if !ok {
		tb.Fatalf("no type %s", t)
	}
	var body struct{ Data json.RawMessage }
	if err := json.Unmarshal(d.Example, &body); err != nil {
		tb.Fatalf("the example of %s: %v", t, err)
	}
	return body.Data
}
