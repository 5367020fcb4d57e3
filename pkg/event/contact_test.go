package event_test

import (
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/event"
)

func TestContactKey(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"":        "",
		"ctt_1-A": "ctt_1-A",
		// printf '%s' ana@example.com | sha256sum
		"ana@example.com": "sha256:8e43ca37701228e74983efdbd0cff5c16b3b1e5d4e29a7c05626d4d25a018e11",
	} {
		if got := event.ContactKey(id); got != want {
			t.Errorf("%q is %q, want %q", id, got, want)
		}
	}
	if long := strings.Repeat("a", 65); event.ContactKey(long) == event.ContactKey(long+"a") || len(event.ContactKey(long)) > 80 {
		t.Error("long ids are not told apart, or not shortened")
	}
}

func TestContactID(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"c1", "ana@example.com"} {
		key := event.ContactKey(id)
		if got := event.ContactID(&key); (got != nil) != event.ValidID(id) || got != nil && *got != id {
			t.Errorf("of %q is shown %v", id, got)
		}
	}
	if event.ContactID(nil) != nil {
		t.Error("nobody's has an id")
	}
}

func TestContactOf(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"event":"contact.updated","timestamp":"2025-10-20T12:00:00Z","data":{"contact":{"id":"c1","name":"Ana"}}}`: "c1",
		`{"data":{"deal":{"contact":{"id":"c1"}},"contact":{"id":"c2"}}}`:                                            "c2",
		`{"data":{"contact":{"id":"c1"},"Contact":{"id":"c2"}}}`:                                                     "c1",
		`{"data":{"a":[{"contact":1}],"contact":{"tags":["x"],"id":"\u00e3\ud800"}}}`:                                "ã\ufffd",
		`{"data":{"contact":{"id":17}}}`:                                                                             "",
		`{"data":{"contact":null}}`:                                                                                  "",
		`{"data":{}}`:                                                                                                "",
		`no JSON`:                                                                                                    "",
	} {
		if got := event.ContactOf([]byte(body)); got != want {
			t.Errorf("%s is about %q, want %q", body, got, want)
		}
	}
}
