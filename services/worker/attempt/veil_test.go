package attempt

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestVeiled(t *testing.T) {
	t.Parallel()
	own := []Header{{"Authorization", "Bearer abcdefgh-0123456789"}, {"X-Key", `quo"ted\value`}, {"X-Mode", "short"}}
	for name, tc := range map[string]struct {
		text string
		cut  bool
		want string
	}{
		"a value":                               {"got Bearer abcdefgh-0123456789.", false, "got ••."},
		"a value without its scheme":            {"token=abcdefgh-0123456789&", false, "token=••&"},
		"a value in JSON":                       {`{"key":"quo\"ted\\value"}`, false, `{"key":"••"}`},
		"a value that is cut":                   {"got abcdefgh-012345", true, "got ••"},
		"the beginning of a value in the midst": {"abcdefgh-0123 is none", true, "abcdefgh-0123 is none"},
		"a word":                                {"a short answer", true, "a short answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := veiled(tc.text, own, tc.cut); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
	t.Run("never grows, and stays JSON", func(t *testing.T) {
		t.Parallel()
		encoded, err := json.Marshal(map[string]string{"a": strings.Repeat(own[0].Value, 3), "b": own[1].Value})
		if err != nil {
			t.Fatal(err)
		}
		if got := veiled(string(encoded), own, false); !json.Valid([]byte(got)) || len(got) > len(encoded) {
			t.Errorf("became %s", got)
		}
	})
}
