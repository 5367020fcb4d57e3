// Package egress decides which destinations PrimeZap may call on a customer's
// word, and with which of the customer's headers.
//
// It holds the one policy that two services need: the API refuses a URL or a
// header that is wrong on its face when it is given, and the worker checks
// again at every dial. The worker's check is the one that protects: a name
// means something else tomorrow, so every address it resolves to is judged at
// the time of the dial, and the judged address is the one dialled.
//
// The ranges are those of code.dny.dev/ssrf, generated from the IANA special
// purpose registries.
package egress

import (
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"code.dny.dev/ssrf"
	"golang.org/x/net/idna"
)

// Refusal is an error that says why a destination or a header is refused.
// Detail is a sentence for whoever gave it; it never holds the value itself
// nor an address that a name resolved to.
type Refusal struct{ Detail string }

func (r *Refusal) Error() string { return "refused by egress policy: " + r.Detail }

// Policy says which destinations may be called. The zero value allows https to
// public addresses alone.
type Policy struct {
	AllowHTTP  bool           // plain http beside https
	AllowCIDRs []netip.Prefix // allowed although they are not public, such as 127.0.0.0/8
}

// guardian knows the ranges that are not the public internet: private,
// loopback, link-local, shared (CGNAT), multicast, reserved, documentation,
// 6to4, Teredo and, in IPv6, all outside 2000::/3, so also IPv4-mapped, NAT64
// and unique local addresses. The metadata addresses of the large clouds lie
// in these, but for Azure's.
var guardian = ssrf.New(ssrf.WithAnyPort(),
	ssrf.WithDeniedV4Prefixes(netip.MustParsePrefix("168.63.129.16/32"))) // answers Azure's machines alone

// Allowed reports whether a may be called. IPv4-mapped addresses and those
// with a zone, which no prefix contains, never are: no receiver needs them.
func (p Policy) Allowed(a netip.Addr) bool {
	if !a.IsValid() || a.Is4In6() {
		return false
	}
	for _, allowed := range p.AllowCIDRs {
		if allowed.Contains(a) {
			return true
		}
	}
	return guardian.SafeAddr(a) == nil
}

// CheckURL returns a *Refusal if raw is no URL that the policy lets be called,
// as far as can be told without resolving its name.
func (p Policy) CheckURL(raw string) error {
	_, err := p.ParseURL(raw)
	return err
}

// ParseURL is CheckURL for callers that go on to use the URL.
func (p Policy) ParseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, &Refusal{"must be a valid URL"}
	}
	switch {
	case u.Scheme == "http" && !p.AllowHTTP:
		return nil, &Refusal{"must use https"}
	case u.Scheme != "https" && u.Scheme != "http" && p.AllowHTTP:
		return nil, &Refusal{"must be an absolute http or https URL"}
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, &Refusal{"must be an absolute https URL"}
	case u.User != nil:
		return nil, &Refusal{"must not contain credentials"}
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, &Refusal{"must have a port from 1 to 65535"}
		}
	}
	if err := p.checkHost(u.Hostname()); err != nil {
		return nil, err
	}
	return u, nil
}

// checkHost judges a host as it stands in a URL, without brackets.
func (p Policy) checkHost(host string) error {
	for i := range len(host) {
		if host[i] < 0x80 {
			continue
		}
		// As net/http will do: full-width digits become an address here.
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil {
			return &Refusal{"must have a valid host name"}
		}
		host = ascii
		break
	}
	if host == "" {
		return &Refusal{"must have a host"}
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if !p.Allowed(addr) {
			return &Refusal{"must not point to a private or reserved address"}
		}
		return nil
	}
	name := strings.TrimSuffix(host, ".")
	if name == "" || name[0] == '.' || len(name) > 253 || strings.Contains(name, "..") {
		return &Refusal{"must have a valid host name"}
	}
	if isNumber(name[strings.LastIndexByte(name, '.')+1:]) {
		// No top-level domain is a number: browsers and getaddrinfo read
		// 2130706433, 0x7f.1 or 127.0.0.1. as an address.
		return &Refusal{"must write an IPv4 address as four decimal numbers"}
	}
	if isLocalhost(name) && len(p.loopback()) == 0 {
		return &Refusal{"must not point to a private or reserved address"}
	}
	return nil
}

// isNumber reports whether the last label of a host makes it an IPv4 address
// to the URL standard ("ends in a number"): digits, or 0x and hex digits.
func isNumber(label string) bool {
	if len(label) >= 2 && label[0] == '0' && label[1]|0x20 == 'x' {
		return strings.Trim(label[2:], "0123456789abcdefABCDEF") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// isLocalhost reports whether RFC 6761 makes name, without its root dot, the
// machine itself.
func isLocalhost(name string) bool {
	const tail = ".localhost"
	return strings.EqualFold(name, tail[1:]) ||
		len(name) > len(tail) && strings.EqualFold(name[len(name)-len(tail):], tail)
}

// loopback returns the addresses that localhost stands for and that the policy
// allows. It is not resolved: no customer controls it, so that allowing
// 127.0.0.0/8 alone is enough on a machine that has ::1 as well.
func (p Policy) loopback() []netip.Addr {
	var addrs []netip.Addr
	for _, a := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		if p.Allowed(a) {
			addrs = append(addrs, a)
		}
	}
	return addrs
}
