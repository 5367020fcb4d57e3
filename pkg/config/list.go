package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// List is a setting of several values, separated by commas. Blanks around a value
// and empty values are dropped, so that "," is an empty list where unset means a
// default.
type List []string

// UnmarshalText reads the list from a variable.
func (l *List) UnmarshalText(text []byte) error {
	*l = nil
	for value := range strings.SplitSeq(string(text), ",") {
		if value = strings.TrimSpace(value); value != "" {
			*l = append(*l, value)
		}
	}
	return nil
}

// CIDRs is a setting of several address ranges, written like a List. An address
// alone is the range of just that address.
type CIDRs []netip.Prefix

// UnmarshalText reads the ranges from a variable. It refuses ranges with bits
// behind their length (10.1.2.3/8): what was meant is anybody's guess.
func (c *CIDRs) UnmarshalText(text []byte) error {
	var values List
	if err := values.UnmarshalText(text); err != nil {
		return err
	}
	*c = nil
	for _, value := range values {
		if addr, err := netip.ParseAddr(value); err == nil && addr.Zone() == "" {
			*c = append(*c, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(value)
		if err != nil {
			return fmt.Errorf("%q is neither an address nor a range like 10.0.0.0/8", value)
		}
		if prefix != prefix.Masked() {
			return fmt.Errorf("%q has bits behind its length: did you mean %s?", value, prefix.Masked())
		}
		*c = append(*c, prefix)
	}
	return nil
}

// Contains says whether addr is in one of the ranges. An IPv4 address mapped into
// IPv6 counts as the IPv4 address.
func (c CIDRs) Contains(addr netip.Addr) bool {
	for _, prefix := range c {
		if prefix.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}
