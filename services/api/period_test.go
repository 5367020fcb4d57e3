package api_test

import (
	"net/http"
	"testing"
)

// A list of a period that ends before it begins would be empty, and hide the slip.
func TestServer_PeriodThatEndsBeforeItBegins(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	hook := f.do("POST", hooksPath, `{"name":"ERP","url":"https://x.example/","events":["*"]}`).is(http.StatusCreated)
	for _, list := range []string{hooksPath + "/" + into[struct{ ID string }](hook).ID + "/logs", "/api/events", "/api/audit-log"} {
		f.do("GET", list+"?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "").refuses(http.StatusUnprocessableEntity, "/to")
		f.do("GET", list+"?from=2026-01-01T00:00:00Z&to=2026-01-01T00:00:00Z", "").is(http.StatusOK)
		f.do("GET", list+"?to=2026-01-01T00:00:00Z", "").is(http.StatusOK)
	}
}
