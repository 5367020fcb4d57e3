package meta

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
)

// ErrorOf reads an error out of an answer whose call had token.
func ErrorOf(status int, body []byte, token string) *Error {
	return errorOf(status, body, token == "", hider(token))
}

// UsageOf reads the usage headers.
var UsageOf = usageOf

// Classes are the codes that are known, permissions 200 to 299 aside.
var Classes = classes

// Trust takes a server's certificate.
func (c *Client) Trust(certificate *x509.Certificate) {
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	c.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots}
}
