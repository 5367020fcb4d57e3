package egress_test

import (
	"errors"
	"net/netip"
	"testing"

	"go.uber.org/goleak"

	"github.com/primezap/primezap/pkg/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPolicy_Allowed(t *testing.T) {
	t.Parallel()
	development := egress.Policy{AllowCIDRs: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("fd00::/8"),
	}}
	allIPv6 := egress.Policy{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("::/0")}}
	for _, tc := range []struct {
		name    string
		addr    string
		policy  egress.Policy
		allowed bool
	}{
		{name: "public IPv4", addr: "93.184.216.34", allowed: true},
		{name: "public IPv6", addr: "2606:4700:4700::1111", allowed: true},
		{name: "below a private range", addr: "172.15.255.255", allowed: true},
		{name: "above a private range", addr: "172.32.0.0", allowed: true},
		{name: "this network", addr: "0.0.0.0"},
		{name: "loopback", addr: "127.8.9.1"},
		{name: "private, 10", addr: "10.0.0.1"},
		{name: "private, 172", addr: "172.31.255.255"},
		{name: "private, 192", addr: "192.168.1.1"},
		{name: "shared, CGNAT", addr: "100.64.0.1"},
		{name: "Alibaba's metadata", addr: "100.100.100.200"},
		{name: "link-local, metadata", addr: "169.254.169.254"},
		{name: "Oracle's metadata", addr: "192.0.0.192"},
		{name: "Azure's wire server", addr: "168.63.129.16"},
		{name: "documentation", addr: "203.0.113.7"},
		{name: "benchmarking", addr: "198.19.0.1"},
		{name: "6to4 relay", addr: "192.88.99.1"},
		{name: "multicast", addr: "224.0.0.1"},
		{name: "reserved", addr: "240.0.0.1"},
		{name: "broadcast", addr: "255.255.255.255"},
		{name: "unspecified IPv6", addr: "::"},
		{name: "loopback IPv6", addr: "::1"},
		{name: "IPv4-compatible", addr: "::8.8.8.8"},
		{name: "IPv4-mapped private", addr: "::ffff:10.0.0.1"},
		{name: "IPv4-mapped public", addr: "::ffff:93.184.216.34"},
		{name: "IPv4-translated", addr: "::ffff:0:10.0.0.1"},
		{name: "NAT64", addr: "64:ff9b::5db8:d822"},
		{name: "local NAT64", addr: "64:ff9b:1::a00:1"},
		{name: "discard", addr: "100::1"},
		{name: "Teredo", addr: "2001:0:4136:e378:8000:63bf:3fff:fdd2"},
		{name: "documentation IPv6", addr: "2001:db8::1"},
		{name: "6to4", addr: "2002:a00:1::1"},
		{name: "unique local", addr: "fd12:3456::1"},
		{name: "AWS's metadata IPv6", addr: "fd00:ec2::254"},
		{name: "link-local IPv6", addr: "fe80::1"},
		{name: "site-local", addr: "fec0::1"},
		{name: "multicast IPv6", addr: "ff02::1"},
		{name: "public with a zone", addr: "2606:4700:4700::1111%eth0"},
		{name: "on the allow-list", addr: "127.0.0.1", policy: development, allowed: true},
		{name: "IPv6 on the allow-list", addr: "fd00:ec2::254", policy: development, allowed: true},
		{name: "mapped form of one on the allow-list", addr: "::ffff:127.0.0.1", policy: development},
		{name: "zone on one on the allow-list", addr: "fd00::1%eth0", policy: development},
		{name: "mapped form, all of IPv6 allowed", addr: "::ffff:10.0.0.1", policy: allIPv6},
		{name: "zone, all of IPv6 allowed", addr: "fe80::1%eth0", policy: allIPv6},
		{name: "private beside an allow-list", addr: "10.0.0.1", policy: development},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := tc.policy.Allowed(netip.MustParseAddr(tc.addr)); got != tc.allowed {
				t.Errorf("Allowed(%s) = %t, want %t", tc.addr, got, tc.allowed)
			}
		})
	}
	t.Run("no address", func(t *testing.T) {
		t.Parallel()
		if (egress.Policy{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}).Allowed(netip.Addr{}) {
			t.Error("the zero address is allowed")
		}
	})
}

func TestPolicy_CheckURL(t *testing.T) {
	t.Parallel()
	const (
		private = "must not point to a private or reserved address"
		decimal = "must write an IPv4 address as four decimal numbers"
		badName = "must have a valid host name"
		noHost  = "must have a host"
		invalid = "must be a valid URL"
		scheme  = "must be an absolute https URL"
		port    = "must have a port from 1 to 65535"
	)
	development := egress.Policy{AllowHTTP: true, AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	onlyIPv6 := egress.Policy{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("::1/128")}}
	for _, tc := range []struct {
		url    string
		policy egress.Policy
		detail string // "" for an allowed URL
	}{
		{url: "https://example.com/hook?a=b"},
		{url: "HTTPS://EXAMPLE.COM"},
		{url: "https://example.com.:8443/"},
		{url: "https://my_service.example.com/"},
		{url: "https://bücher.example/"},
		{url: "https://93.184.216.34/"},
		{url: "https://[2606:4700:4700::1111]:443/"},
		{url: "https://1e100.net/"},
		{url: "https://0xcafe.example/"},
		{url: "https://notlocalhost/"},

		{url: "http://example.com/", detail: "must use https"},
		{url: "http://example.com/", policy: development},
		{url: "ftp://example.com/", detail: scheme},
		{url: "file:///etc/passwd", detail: scheme},
		{url: "javascript:alert(1)", detail: scheme},
		{url: "//example.com/", detail: scheme},
		{url: "example.com/hook", detail: scheme},
		{url: "", detail: scheme},
		{url: "ftp://example.com/", policy: development, detail: "must be an absolute http or https URL"},
		{url: "https:example.com", detail: noHost},
		{url: "https:///hook", detail: noHost},
		{url: "https://:443/", detail: noHost},
		{url: "https://user:pass@example.com/", detail: "must not contain credentials"},
		{url: "https://user@example.com/", detail: "must not contain credentials"},
		{url: "https://@example.com/", detail: "must not contain credentials"},
		{url: "https://example.com:0/", detail: port},
		{url: "https://example.com:65536/", detail: port},
		{url: "https://example.com:x/", detail: invalid},
		{url: "https://exa mple.com/", detail: invalid},
		{url: "https://example.com/\r\nX: y", detail: invalid},
		{url: "https://%31%32%37.0.0.1/", detail: invalid},
		{url: "https://a..example.com/", detail: badName},
		{url: "https://.example.com/", detail: badName},
		{url: "https://./", detail: badName},
		{url: "https://xn--\u00fc/", detail: badName},

		{url: "https://127.0.0.1/", detail: private},
		{url: "https://10.1.2.3:8443/", detail: private},
		{url: "https://169.254.169.254/latest/meta-data", detail: private},
		{url: "https://0.0.0.0/", detail: private},
		{url: "https://[::1]/", detail: private},
		{url: "https://[::]/", detail: private},
		{url: "https://[::ffff:127.0.0.1]/", detail: private},
		{url: "https://[::ffff:7f00:1]/", detail: private},
		{url: "https://[0:0:0:0:0:ffff:a00:1]/", detail: private},
		{url: "https://[64:ff9b::7f00:1]/", detail: private},
		{url: "https://[fe80::1%25eth0]/", detail: private},
		{url: "https://[fd00:ec2::254]/", detail: private},
		{url: "https://１２７.０.０.１/", detail: private},
		{url: "https://127。0。0。1/", detail: private},
		{url: "https://127.0.0.1./", detail: decimal},
		{url: "https://2130706433/", detail: decimal},
		{url: "https://0177.0.0.1/", detail: decimal},
		{url: "https://017700000001/", detail: decimal},
		{url: "https://0x7f000001/", detail: decimal},
		{url: "https://0X7F.1/", detail: decimal},
		{url: "https://127.0.0.0x1/", detail: decimal},
		{url: "https://127.1/", detail: decimal},
		{url: "https://127.0.0.01/", detail: decimal},
		{url: "https://127.0.0.0x/", detail: decimal},
		{url: "https://1.2.3.4.5/", detail: decimal},
		{url: "https://256.0.0.1/", detail: decimal},

		{url: "https://localhost/", detail: private},
		{url: "https://LocalHost.:1/", detail: private},
		{url: "https://a.localhost/", detail: private},
		{url: "http://localhost:3000/", policy: development},
		{url: "http://a.localhost:3000/", policy: development},
		{url: "https://localhost/", policy: onlyIPv6},
		{url: "http://127.0.0.1:3000/", policy: development},
		{url: "http://2130706433:3000/", policy: development, detail: decimal},
		{url: "http://[::ffff:127.0.0.1]:3000/", policy: development, detail: private},
		{url: "http://10.0.0.1/", policy: development, detail: private},
	} {
		t.Run(tc.url, func(t *testing.T) {
			t.Parallel()
			err := tc.policy.CheckURL(tc.url)
			if tc.detail == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			refusal, ok := errors.AsType[*egress.Refusal](err)
			if !ok || refusal.Detail != tc.detail {
				t.Errorf("got %v, want a refusal %q", err, tc.detail)
			}
		})
	}
}
