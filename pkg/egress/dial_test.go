package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// resolverFunc answers a look-up of any name.
type resolverFunc func(ctx context.Context, host string) ([]netip.Addr, error)

func (f resolverFunc) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	return f(ctx, host)
}

func answers(addrs ...string) resolverFunc {
	return func(context.Context, string) ([]netip.Addr, error) {
		var all []netip.Addr
		for _, a := range addrs {
			all = append(all, netip.MustParseAddr(a))
		}
		return all, nil
	}
}

// dials records the addresses that a Dialer connects to and does not let it
// reach the network.
type dials struct {
	mu     sync.Mutex
	seen   []string
	answer func(ctx context.Context, address string) (net.Conn, error)
}

func (d *dials) connect(ctx context.Context, _, address string) (net.Conn, error) {
	d.mu.Lock()
	d.seen = append(d.seen, address)
	d.mu.Unlock()
	return d.answer(ctx, address)
}

// closing is a connection that says when it is closed.
type closing struct {
	net.Conn
	closed chan struct{}
}

func (c closing) Close() error {
	close(c.closed)
	return nil
}

var errNoRoute = errors.New("no route")

func TestDialer_DialContext(t *testing.T) {
	t.Parallel()
	succeed := func(context.Context, string) (net.Conn, error) { return closing{}, nil }
	development := Policy{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	for _, tc := range []struct {
		name     string
		policy   Policy
		address  string
		resolver resolverFunc
		dialled  []string
		blocked  bool
	}{
		{name: "dials what the name resolved to", address: "example.com:443",
			resolver: answers("93.184.216.34"), dialled: []string{"93.184.216.34:443"}},
		{name: "takes A records in the mapped form", address: "example.com:443",
			resolver: answers("::ffff:93.184.216.34"), dialled: []string{"93.184.216.34:443"}},
		{name: "dials a public literal unresolved", address: "93.184.216.34:443",
			dialled: []string{"93.184.216.34:443"}},
		{name: "refuses a private answer", address: "example.com:443",
			resolver: answers("10.0.0.1"), blocked: true},
		{name: "refuses a mapped private answer", address: "example.com:443",
			resolver: answers("::ffff:10.0.0.1"), blocked: true},
		{name: "refuses a name for one bad answer at the end", address: "example.com:443",
			resolver: answers("93.184.216.34", "2606:4700:4700::1111", "169.254.169.254"), blocked: true},
		{name: "refuses a name for one bad answer at the start", address: "example.com:443",
			resolver: answers("::1", "93.184.216.34"), blocked: true},
		{name: "refuses an answer with a zone", address: "example.com:443",
			resolver: answers("2606:4700:4700::1111%eth0"), blocked: true},
		{name: "judges answers past those it would dial", address: "example.com:443",
			resolver: answers(append(slices.Repeat([]string{"93.184.216.34"}, 40), "10.0.0.1")...), blocked: true},
		{name: "refuses a private literal", address: "127.0.0.1:443", blocked: true},
		{name: "refuses a mapped literal", address: "[::ffff:127.0.0.1]:443", blocked: true},
		{name: "refuses a decimal literal, whatever a resolver makes of it", address: "2130706433:443",
			resolver: answers("93.184.216.34"), blocked: true},
		{name: "refuses a literal with a root dot", address: "127.0.0.1.:443",
			resolver: answers("93.184.216.34"), blocked: true},
		{name: "refuses localhost without resolving it", address: "localhost:443",
			resolver: answers("93.184.216.34"), blocked: true},
		{name: "dials the allowed one of localhost's addresses", policy: development, address: "localhost:443",
			resolver: answers("93.184.216.34"), dialled: []string{"127.0.0.1:443"}},
		{name: "refuses an address without a port", address: "example.com",
			resolver: answers("93.184.216.34"), blocked: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			network := &dials{answer: succeed}
			d := &Dialer{Policy: tc.policy, Resolver: tc.resolver, connect: network.connect}
			_, err := d.DialContext(t.Context(), "tcp", tc.address)
			if _, blocked := errors.AsType[*Refusal](err); blocked != tc.blocked || !blocked && err != nil {
				t.Errorf("got error %v; blocked should be %t", err, tc.blocked)
			}
			if !slices.Equal(network.seen, tc.dialled) {
				t.Errorf("dialled %v, want %v", network.seen, tc.dialled)
			}
		})
	}
}

func TestDialer_LooksUpOnceAndAbsolute(t *testing.T) {
	t.Parallel()
	var asked []string
	rebinding := resolverFunc(func(_ context.Context, host string) ([]netip.Addr, error) {
		asked = append(asked, host)
		if len(asked) > 1 {
			return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
		}
		return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
	})
	network := &dials{answer: func(context.Context, string) (net.Conn, error) { return closing{}, nil }}
	d := &Dialer{Resolver: rebinding, connect: network.connect}
	if _, err := d.DialContext(t.Context(), "tcp", "rebind.example:443"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"rebind.example."}; !slices.Equal(asked, want) {
		t.Errorf("looked up %v, want %v", asked, want)
	}
	if want := []string{"93.184.216.34:443"}; !slices.Equal(network.seen, want) {
		t.Errorf("dialled %v, want only the judged %v", network.seen, want)
	}
	if _, err := d.DialContext(t.Context(), "tcp", "rebind.example:443"); err == nil {
		t.Error("the next dial trusts the first one's answer")
	}
}

func TestDialer_ErrorsOfTheLookUp(t *testing.T) {
	t.Parallel()
	t.Run("a resolver's error is passed on", func(t *testing.T) {
		t.Parallel()
		d := &Dialer{Resolver: resolverFunc(func(context.Context, string) ([]netip.Addr, error) {
			return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
		})}
		_, err := d.DialContext(t.Context(), "tcp", "example.com:443")
		if dns, ok := errors.AsType[*net.DNSError](err); !ok || !dns.IsNotFound {
			t.Errorf("got %v, want the resolver's not found", err)
		}
	})
	t.Run("a name without addresses is not found", func(t *testing.T) {
		t.Parallel()
		d := &Dialer{Resolver: answers()}
		_, err := d.DialContext(t.Context(), "tcp", "example.com:443")
		if dns, ok := errors.AsType[*net.DNSError](err); !ok || !dns.IsNotFound {
			t.Errorf("got %v, want not found", err)
		}
	})
	t.Run("a look-up cut short is its context's error", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		d := &Dialer{Resolver: resolverFunc(func(context.Context, string) ([]netip.Addr, error) {
			cancel()
			return nil, &net.DNSError{Err: "operation was canceled"}
		})}
		if _, err := d.DialContext(ctx, "tcp", "example.com:443"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context canceled", err)
		}
	})
}

func TestDialer_TriesAddressesInTurn(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	two := answers("2606:4700:4700::1111", "93.184.216.34")
	t.Run("a failure begins the next at once", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			network := &dials{answer: func(_ context.Context, address string) (net.Conn, error) {
				if address == "93.184.216.34:443" {
					return closing{}, nil
				}
				return nil, errNoRoute
			}}
			d := &Dialer{Resolver: two, connect: network.connect}
			start := time.Now()
			if _, err := d.DialContext(t.Context(), "tcp", "example.com:443"); err != nil || time.Since(start) != 0 {
				t.Errorf("error %v after %s, want a connection at once", err, time.Since(start))
			}
		})
	})
	t.Run("a silent one has a head start of 250 ms", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			network := &dials{answer: func(ctx context.Context, address string) (net.Conn, error) {
				if address == "93.184.216.34:443" {
					return closing{}, nil
				}
				return hang(ctx)
			}}
			d := &Dialer{Resolver: two, connect: network.connect}
			start := time.Now()
			conn, err := d.DialContext(t.Context(), "tcp", "example.com:443")
			if err != nil || time.Since(start) != 250*time.Millisecond {
				t.Fatalf("error %v after %s, want a connection after 250ms", err, time.Since(start))
			}
			if took := conn.(*Conn).Connect; took != 250*time.Millisecond {
				t.Errorf("connect took %s, want 250ms", took)
			}
		})
	})
	t.Run("a connection that comes too late is closed", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			late := closing{closed: make(chan struct{})}
			network := &dials{answer: func(ctx context.Context, address string) (net.Conn, error) {
				if address != "93.184.216.34:443" {
					<-ctx.Done()
					return late, nil
				}
				return closing{}, nil
			}}
			d := &Dialer{Resolver: two, connect: network.connect}
			if _, err := d.DialContext(t.Context(), "tcp", "example.com:443"); err != nil {
				t.Fatal(err)
			}
			select {
			case <-late.closed:
			default:
				t.Error("the late connection is open")
			}
		})
	})
	t.Run("the first error is told when all fail", func(t *testing.T) {
		t.Parallel()
		network := &dials{answer: func(_ context.Context, address string) (net.Conn, error) {
			if address == "93.184.216.34:443" {
				return nil, errors.New("another")
			}
			return nil, errNoRoute
		}}
		d := &Dialer{Resolver: two, connect: network.connect}
		if _, err := d.DialContext(t.Context(), "tcp", "example.com:443"); !errors.Is(err, errNoRoute) {
			t.Errorf("got %v, want %v", err, errNoRoute)
		}
	})
	t.Run("at most sixteen are tried", func(t *testing.T) {
		t.Parallel()
		network := &dials{answer: func(context.Context, string) (net.Conn, error) { return nil, errNoRoute }}
		d := &Dialer{Resolver: answers(slices.Repeat([]string{"93.184.216.34"}, 40)...), connect: network.connect}
		if _, err := d.DialContext(t.Context(), "tcp", "example.com:443"); !errors.Is(err, errNoRoute) {
			t.Errorf("got %v, want %v", err, errNoRoute)
		}
		if len(network.seen) != 16 {
			t.Errorf("tried %d addresses, want 16", len(network.seen))
		}
	})
	t.Run("the context's end is the end", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			network := &dials{answer: func(ctx context.Context, _ string) (net.Conn, error) { return hang(ctx) }}
			d := &Dialer{Resolver: two, connect: network.connect}
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := d.DialContext(ctx, "tcp", "example.com:443"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want deadline exceeded", err)
			}
		})
	})
}

func TestDialer_RealConnection(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	d := &Dialer{
		Policy:   Policy{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		Resolver: answers("127.0.0.1"),
	}
	for host, named := range map[string]bool{"localhost": true, "hook.example": true, "127.0.0.1": false} {
		conn, err := d.DialContext(t.Context(), "tcp", net.JoinHostPort(host, port))
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		if made := conn.(*Conn); made.Connect <= 0 || named != (made.DNS > 0) {
			t.Errorf("%s: connect %s, look-up %s", host, made.Connect, made.DNS)
		}
		_ = conn.Close()
	}
}
