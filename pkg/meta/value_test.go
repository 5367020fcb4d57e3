package meta_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/meta"
)

func TestID_UnmarshalJSON(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`"17841400000000011"`:      "17841400000000011",
		`17841400000000011`:        "17841400000000011",
		`123456789012345678901234`: "123456789012345678901234", // no float has been near it
		`-1`:                       "-1",
		`0`:                        "0",
		`""`:                       "",
		`null`:                     "",
		`"wamid.\u0041="`:          "wamid.A=",
	} {
		id := meta.ID("before")
		if err := json.Unmarshal([]byte(raw), &id); err != nil || string(id) != want {
			t.Errorf("%s is %q, %v; want %q", raw, id, err, want)
		}
	}
	for _, raw := range []string{`1.5`, `1e5`, `true`, `{}`, `["1"]`} {
		var id meta.ID
		if err := json.Unmarshal([]byte(raw), &id); err == nil {
			t.Errorf("%s is %q, want an error", raw, id)
		}
	}
}

func TestText_UnmarshalJSON(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		`"Ol\u00edvia"`: "Olívia", `"a\u0000b\ud800"`: "ab\uFFFD", `7`: "7", `{"a":1}`: `{"a":1}`, `null`: "", `""`: "",
		`"` + strings.Repeat("x", 2<<10) + `"`: strings.Repeat("x", 1<<10),
	} {
		text := meta.Text("before")
		if err := json.Unmarshal([]byte(raw), &text); err != nil || string(text) != want {
			t.Errorf("%s is %q, %v; want %q", raw, text, err, want)
		}
	}
}

func TestBool_UnmarshalJSON(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]meta.Bool{
		`true`: true, `"true"`: true, `"True"`: true, `1`: true, `"1"`: true, `{"success":true}`: true, `{"success":"true"}`: true,
		`false`: false, `"false"`: false, `0`: false, `null`: false, `""`: false, `{}`: false, `[]`: false, `[true]`: false,
		`{"success":false}`: false, `{"success":{"success":{"success":true}}}`: false,
	} {
		got := !want
		if err := json.Unmarshal([]byte(raw), &got); err != nil || got != want {
			t.Errorf("%s is %t, %v; want %t", raw, got, err, want)
		}
	}
}

func TestResponse_Success(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		`true`: true, `"true"`: true, ` {"success":true}`: true, `{"success":"true"}`: true, `{"success":{"success":true}}`: true,
		`false`: false, `{"success":false}`: false, `{"id":"1"}`: false, `[]`: false, `null`: false,
	} {
		if got := (&meta.Response{Body: json.RawMessage(body)}).Success(); got != want {
			t.Errorf("Success of %s is %t, want %t", body, got, want)
		}
	}
}
