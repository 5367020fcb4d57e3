package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/event"
)

// Who mistypes an event type is told, wherever it is, where they are listed.
func TestServer_UnknownEventType(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	hook := f.do("POST", hooksPath, `{"name":"ERP","url":"https://x.example/","events":["*"]}`).is(http.StatusCreated)
	path := hooksPath + "/" + into[struct{ ID string }](hook).ID
	for _, tc := range []struct{ name, method, path, body, pointer string }{
		{"in a subscription", "POST", hooksPath, `{"name":"a","url":"https://x.example/","events":["deal.moevd"]}`, "/events/0"},
		{"in a list of webhooks", "GET", hooksPath + "?event=deal.moevd", "", "/event"},
		{"in a list of attempts", "GET", path + "/logs?event=deal.moevd", "", "/event"},
		{"in a list of events", "GET", "/api/events?event=deal.moevd", "", "/event"},
		{"in an event", "POST", eventsPath, `{"event":"deal.moevd","data":{}}`, "/event"},
		{"in a test call", "POST", path + "/test", `{"event":"deal.moevd"}`, "/event"},
		{"in a preview", "POST", hooksPath + "/filter/preview", `{"filter":{},"event":"deal.moevd"}`, "/event"},
		{"in a replay", "POST", path + "/replay", `{"since":"2026-01-01T00:00:00Z","events":["deal.moevd"]}`, "/events/0"},
	} {
		p := f.do(tc.method, tc.path, tc.body).refuses(http.StatusUnprocessableEntity, tc.pointer)
		if !strings.HasPrefix(p.Errors[0].Detail, event.NoType) {
			t.Errorf("%s: %q", tc.name, p.Errors[0].Detail)
		}
	}
}
