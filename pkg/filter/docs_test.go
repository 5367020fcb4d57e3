package filter

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

var block = regexp.MustCompile("(?ms)^```json ([^\n]+)\n(.*?)^```$")

// call is a request or an answer, from its body on.
var call = regexp.MustCompile("(?ms)^```http\n[^\n]+\n\n(.*?)^```$")

// Every example of the page is run. A page that says something else than the code
// is worse than none.
func TestDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/filters.md")
	if err != nil {
		t.Fatal(err)
	}
	var filters []*Filter // that the next data is about
	var text []string
	asked, ran := false, 0
	for _, b := range block.FindAllStringSubmatch(string(page), -1) {
		info, body := b[1], b[2]
		if info == "filter" {
			if asked {
				filters, text, asked = nil, nil, false
			}
			filters, text = append(filters, mustCompile(t, body)), append(text, body)
			continue
		}
		if pointer, ok := strings.CutPrefix(info, "refused at /filter"); ok {
			_, err := Compile([]byte(body))
			if fault, ok := errors.AsType[*Error](err); !ok || fault.Pointer != pointer {
				t.Errorf("%s is not refused at %s: %v", body, pointer, err)
			}
			ran++
			continue
		}
		if info != "passes" && info != "does not pass" || len(filters) == 0 {
			t.Fatalf("a block %q that no filter stands before", info)
		}
		asked = true
		documents := json.NewDecoder(strings.NewReader(body))
		for {
			var data json.RawMessage
			if err := documents.Decode(&data); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", body, err)
			}
			for i, f := range filters {
				if got := f.Matches(normalise(t, data)); got != (info == "passes") {
					t.Errorf("%s%s: %t; the page says that it %s", text[i], data, got, info)
				}
			}
			ran++
		}
	}
	var tried json.RawMessage
	for _, b := range call.FindAllStringSubmatch(string(page), -1) {
		var body struct {
			Filter, Data json.RawMessage
			Matches      *bool
		}
		if err := json.Unmarshal([]byte(b[1]), &body); err != nil {
			t.Fatalf("%s: %v", b[1], err)
		}
		if body.Filter != nil {
			mustCompile(t, string(body.Filter))
			tried = body.Filter
			continue
		}
		if got := mustCompile(t, string(tried)).Matches(normalise(t, body.Data)); body.Matches == nil || got != *body.Matches {
			t.Errorf("%s matches: %t", b[1], got)
		}
		ran++
	}
	if ran < 50 {
		t.Errorf("the page has %d examples: were they not found?", ran)
	}
	for name := range strings.SplitSeq(operators, ", ") {
		if !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("the page does not explain %s", name)
		}
	}
}
