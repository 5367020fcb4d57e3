package e2e

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"

	"github.com/primezap/primezap/pkg/gateway"
)

// Gateway serves the first api and the first oauth behind one address, as a load
// balancer does, and returns it.
func (s *system) Gateway() string {
	s.t.Helper()
	served := httptest.NewServer(gateway.New(s.proxyTo(s.APIs[0]), s.proxyTo(s.OAuths[0])))
	s.t.Cleanup(served.Close)
	return served.URL
}

// proxyTo passes requests on as they are.
func (s *system) proxyTo(p *process) http.Handler {
	target, err := url.Parse(urlOf(p))
	if err != nil {
		s.t.Fatalf("where %s serves: %v", p.name, err)
	}
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
}
