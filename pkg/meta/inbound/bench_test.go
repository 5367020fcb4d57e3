package inbound_test

import (
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/meta/inbound"
)

// BenchmarkParse reads a hundred messages, as Meta sends them: a body of many entries.
func BenchmarkParse(b *testing.B) {
	const messages = 100
	for _, kind := range []struct{ name, file string }{
		{"whatsapp", "testdata/whatsapp/text_referral.json"},
		{"messenger", "testdata/messenger/images.json"},
	} {
		b.Run(kind.name, func(b *testing.B) {
			one := string(readFile(b, kind.file))
			body := []byte("[" + strings.Repeat(one+",", messages-1) + one + "]")
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if updates, err := inbound.Parse(body); err != nil || len(updates) != messages {
					b.Fatal(len(updates), err)
				}
			}
		})
	}
}
