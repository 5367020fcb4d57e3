// Package gateway says which service a path belongs to: the services' paths do not
// overlap, so that one address, as a load balancer has it, can serve them all.
package gateway

import (
	"net/http"
	"slices"
	"strings"
)

// oauth are the beginnings of the oauth service's paths. All others are the api's, and
// so is what every service has for its operators, /healthz and the like.
var oauth = []string{"/api/oauth/", "/functions/v1/", "/integracoes/facebook/", "/oauth/"}

// OAuth returns how the paths of the oauth service begin.
func OAuth() []string { return slices.Clone(oauth) }

// New returns a handler that gives each request to the service whose path it is. It
// changes nothing of it.
func New(api, login http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isOAuth(r.URL.Path) {
			login.ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})
}

func isOAuth(path string) bool {
	for _, prefix := range oauth {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}
