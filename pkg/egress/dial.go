package egress

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	maxDialled = 16                     // addresses of one name that are tried; all are judged
	headStart  = 250 * time.Millisecond // what an address gets before the next is tried beside it (RFC 8305)
)

// Resolver looks names up; *net.Resolver is one. Names come with their root
// dot: they are absolute, so that the search path of a cluster neither extends
// a customer's name nor costs queries of its own.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Dialer connects to what its policy allows. It resolves names itself: it
// judges every address, refuses the name for a single bad one, and dials the
// judged addresses and nothing else. It is for http.Transport's DialContext.
type Dialer struct {
	Policy   Policy
	Resolver Resolver // nil: net.DefaultResolver

	connect func(ctx context.Context, network, address string) (net.Conn, error) // nil: a net.Dialer's; for tests
}

// Conn is a connection made by a Dialer, with what it took to make it.
type Conn struct {
	net.Conn
	DNS     time.Duration // zero if there was no name to resolve
	Connect time.Duration // from the first connect to the one that succeeded
}

// DialContext connects to address, host:port. The connection is a *Conn. The
// error is a *Refusal if the policy forbids the destination, a *net.DNSError
// if its name does not resolve, ctx's error, or what the connect said, for
// several addresses the first of them.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &Refusal{"must have a valid host"}
	}
	start := time.Now()
	addrs, err := d.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	resolved := time.Now()
	raw, err := d.race(ctx, network, port, addrs)
	if err != nil {
		return nil, err
	}
	conn := &Conn{Conn: raw, Connect: time.Since(resolved)}
	if _, err := netip.ParseAddr(host); err != nil {
		conn.DNS = resolved.Sub(start)
	}
	return conn, nil
}

// resolve returns the addresses of host, at least one, each of them allowed.
func (d *Dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if err := d.Policy.checkHost(host); err != nil {
		return nil, err
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	name := strings.TrimSuffix(host, ".")
	if isLocalhost(name) {
		return d.Policy.loopback(), nil
	}
	var resolver Resolver = net.DefaultResolver
	if d.Resolver != nil {
		resolver = d.Resolver
	}
	addrs, err := resolver.LookupNetIP(ctx, "ip", name+".")
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", name, err)
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no addresses", Name: name, IsNotFound: true}
	}
	judged := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		judged[i] = a.Unmap() // resolvers give A records in the mapped form
		if !d.Policy.Allowed(judged[i]) {
			return nil, &Refusal{"resolves to a private or reserved address"}
		}
	}
	return judged, nil
}

// race connects to the addresses in turn, each getting a head start or its
// failure before the next, and returns the first connection; the others end
// before it returns.
func (d *Dialer) race(ctx context.Context, network, port string, addrs []netip.Addr) (net.Conn, error) {
	connect := d.connect
	if connect == nil {
		connect = new(net.Dialer).DialContext
	}
	addrs = addrs[:min(len(addrs), maxDialled)]
	if len(addrs) == 1 {
		return connect(ctx, network, net.JoinHostPort(addrs[0].String(), port))
	}
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result) // sent by each connect unless the race is over
	var connects sync.WaitGroup
	defer connects.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the connects that lost
	var first error
	next := time.NewTimer(0)
	defer next.Stop()
	for begun, failed := 0, 0; failed < len(addrs); {
		select {
		case <-next.C:
			target := net.JoinHostPort(addrs[begun].String(), port)
			connects.Go(func() {
				conn, err := connect(ctx, network, target)
				select {
				case results <- result{conn, err}:
				case <-ctx.Done():
					if err == nil {
						_ = conn.Close()
					}
				}
			})
			if begun++; begun < len(addrs) {
				next.Reset(headStart)
			}
		case r := <-results:
			if r.err == nil {
				return r.conn, nil
			}
			if failed++; first == nil {
				first = r.err
			}
			if begun < len(addrs) {
				next.Reset(0)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, first
}
