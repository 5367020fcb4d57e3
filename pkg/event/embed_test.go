package event_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/event"
)

func TestEmbed(t *testing.T) {
	t.Parallel()
	const most = 40
	for _, tc := range []struct{ name, doc, want string }{
		{"a document in JS-stable form stays", `{"a":[1,"x",null,true]}`, `{"a":[1,"x",null,true]}`},
		{"white space and needless escapes go", `{ "a" : "\u0041\/" }`, `{"a":"A/"}`},
		{"the greatest safe integer stays a number", `[9007199254740991,-9007199254740991]`, `[9007199254740991,-9007199254740991]`},
		{"an integer beyond becomes a string", `{"id":17841400000000011}`, `{"id":"17841400000000011"}`},
		{"a negative one too", `[-9007199254740992]`, `["-9007199254740992"]`},
		{"a number that no double holds becomes a string", `[1e400]`, `["1e400"]`},
		{"so does what would be written as such an integer", `[1e20,9007199254740992.0,1e21]`, `["1e20","9007199254740992.0",1e+21]`},
		{"as many bytes as allowed stay", `"` + strings.Repeat("x", most-2) + `"`, `"` + strings.Repeat("x", most-2) + `"`},
		{"one byte more is left out", `"` + strings.Repeat("x", most-1) + `"`, ``},
		{"bytes count in the form that is sent", `"` + strings.Repeat(`\u0041`, most-2) + `"`, `"` + strings.Repeat("A", most-2) + `"`},
		{"what is no JSON is left out", `{"a":`, ``},
		{"nothing is left out", ``, ``},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := event.Embed([]byte(tc.doc), most)
			if string(got) != tc.want {
				t.Errorf("Embed(%s) = %s, want %s", tc.doc, got, tc.want)
			}
			if tc.want == "" && got != nil {
				t.Errorf("Embed(%s) is not nil", tc.doc)
			}
		})
	}
}

func TestEmbed_Depth(t *testing.T) {
	t.Parallel()
	nested := func(levels int) []byte {
		return []byte(strings.Repeat("[", levels) + strings.Repeat("]", levels))
	}
	if event.Embed(nested(event.EmbedDepth), 1<<10) == nil {
		t.Error("leaves out what is as deep as allowed")
	}
	if got := event.Embed(nested(event.EmbedDepth+1), 1<<10); got != nil {
		t.Errorf("embeds %d levels", event.EmbedDepth+1)
	}
	if got := event.Embed(nested(100_000), 1<<20); got != nil {
		t.Error("embeds 100 000 levels")
	}
}

// TestEmbed_Body shows that what Body refuses it takes once it is embedded, and that
// a normaliser that quoted is strict again.
func TestEmbed_Body(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, doc := range []string{
		`{"id":17841400000000011}`, `{"x":1e400,"y":[-1e999]}`, `{"id":123456789012345678901234567890}`,
		`{"x":1e20,"y":9007199254740993}`,
	} {
		embedded := event.Embed([]byte(doc), 1<<10)
		body, err := event.Body(event.MessageReceived, at, []byte(`{"message":{"raw":`+string(embedded)+`}}`))
		if err != nil || !strings.Contains(string(body), string(embedded)) {
			t.Errorf("with %s: %s, %v", embedded, body, err)
		}
		if _, err := event.Body(event.MessageReceived, at, []byte(doc)); !refused(err) {
			t.Errorf("Body(%s): %v, want a refusal", doc, err)
		}
	}
}

func refused(err error) bool {
	_, ok := errors.AsType[*event.Error](err)
	return ok
}
