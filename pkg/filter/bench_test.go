package filter

import (
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/event"
)

// BenchmarkFilter reports what reading and matching cost, on an example and on the
// worst that we know of.
func BenchmarkFilter(b *testing.B) {
	definition, _ := event.Lookup(event.MessageReceived)
	data, _ := event.Data(definition.Example)
	elements := []byte(`{"a":[` + strings.TrimSuffix(strings.Repeat(strings.Repeat(`{"b":`, 15)+`1`+strings.Repeat(`}`, 15)+`,`, MaxElements), ",") + `]}`)
	for _, c := range []struct {
		name, filter string
		data         []byte
	}{
		{"example", `{"channel":{"$in":["whatsapp","instagram"]},"contact.name":{"$startsWith":"M"}}`, data},
		{"worst", `{"$or":[` + strings.TrimSuffix(strings.Repeat(`{"a`+strings.Repeat(".b", 15)+`":2},`, 27), ",") + `]}`, elements},
	} {
		f := mustCompile(b, c.filter)
		var d Document
		b.Run(c.name+"/read", func(b *testing.B) {
			for b.Loop() {
				if err := d.Read(c.data); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+"/match", func(b *testing.B) {
			for b.Loop() {
				d.Matches(f)
			}
		})
	}
}
