package ledger

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/primezap/primezap/pkg/testenv"
)

// cut is what a relay does to a round trip that executes statements.
type cut int

const (
	pass   cut = iota
	before     // the server never sees it
	during     // the server sees it, and will do it, but the client's connection ends at once
	after      // the server has done it, its answer is lost
)

// cancelRequest is the code of a connection that only asks to cancel another's
// statement. A client whose connection broke makes one; here it comes too late,
// so that what the server has seen is done.
const cancelRequest = 80877102

// relay stands between a client and Postgres and cuts connections. It reads the
// protocol just so far that it knows where a round trip ends.
type relay struct {
	network, address string // of the server
	choose           func() cut

	mu    sync.Mutex
	cuts  [4]int
	conns map[net.Conn]struct{}
	wg    sync.WaitGroup
}

// relayed returns a URL of the world's database, as the worker, that leads
// through a relay. choose is asked at each round trip, from any goroutine.
func (w *world) relayed(choose func() cut) (address string, r *relay) {
	w.t.Helper()
	config, err := pgx.ParseConfig(w.database.URL(testenv.Worker))
	if err != nil {
		w.t.Fatal(err)
	}
	r = &relay{choose: choose, conns: map[net.Conn]struct{}{}}
	r.network, r.address = pgconn.NetworkAddress(config.Host, config.Port)
	dir, err := os.MkdirTemp("", "relay") // a socket's path must be short
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		w.t.Fatal(err)
	}
	r.wg.Go(func() { r.serve(w.t, listener) })
	w.t.Cleanup(func() {
		_ = listener.Close()
		r.mu.Lock()
		for conn := range r.conns {
			_ = conn.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
	u := url.URL{Scheme: "postgres", User: url.UserPassword(config.User, config.Password), Path: "/" + config.Database}
	if config.Password == "" {
		u.User = url.User(config.User)
	}
	u.RawQuery = url.Values{"host": {dir}, "port": {"5432"}, "sslmode": {"disable"}}.Encode()
	return u.String(), r
}

func (r *relay) serve(t *testing.T, listener net.Listener) {
	for {
		client, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		var dialer net.Dialer
		server, err := dialer.DialContext(context.WithoutCancel(t.Context()), r.network, r.address)
		if err != nil {
			_ = client.Close() // as if it were the server
			continue
		}
		both := &pair{relay: r, client: client, server: server}
		r.keep(client, server)
		r.wg.Go(both.toServer)
		r.wg.Go(both.toClient)
	}
}

func (r *relay) keep(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		r.conns[conn] = struct{}{}
	}
}

func (r *relay) decide() cut {
	choice := r.choose()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cuts[choice]++
	return choice
}

func (r *relay) count(c cut) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cuts[c]
}

// pair is a client and its connection to the server.
type pair struct {
	relay          *relay
	client, server net.Conn

	mu   sync.Mutex
	mute bool // nothing more goes to the client
}

func (p *pair) close() {
	_, _ = p.client.Close(), p.server.Close()
	p.relay.mu.Lock()
	defer p.relay.mu.Unlock()
	delete(p.relay.conns, p.client)
	delete(p.relay.conns, p.server)
}

func (p *pair) toServer() {
	whole := true
	defer func() {
		if whole {
			p.close()
		}
	}()
	in := bufio.NewReader(p.client)
	startup, err := message(in, false)
	if err != nil || binary.BigEndian.Uint32(startup[4:]) == cancelRequest {
		return
	}
	if _, err := p.server.Write(startup); err != nil {
		return
	}
	var trip []byte // what has come of a round trip
	executes := false
	for {
		msg, err := message(in, true)
		if err != nil {
			return
		}
		trip = append(trip, msg...)
		switch msg[0] {
		case 'E': // execute
			executes = true
			continue
		case 'P', 'B', 'D', 'C': // parse, bind, describe, close: a sync or a flush will come
			continue
		}
		choice := pass
		if executes && msg[0] == 'S' {
			choice = p.relay.decide()
		}
		if choice == before {
			return
		}
		if choice == after || choice == during {
			p.mu.Lock()
			p.mute = true
			p.mu.Unlock()
		}
		if _, err := p.server.Write(trip); err != nil {
			return
		}
		if choice == during {
			_ = p.client.Close()
			whole = false // the other direction ends it
			return
		}
		trip, executes = trip[:0], false
	}
}

func (p *pair) toClient() {
	defer p.close()
	in := bufio.NewReader(p.server)
	for {
		msg, err := message(in, true)
		if err != nil {
			return
		}
		p.mu.Lock()
		mute := p.mute
		p.mu.Unlock()
		if mute {
			if msg[0] == 'Z' { // ready for query: all is done, and committed
				return
			}
			continue
		}
		if _, err := p.client.Write(msg); err != nil {
			return
		}
	}
}

// message reads one message of the protocol.
func message(in *bufio.Reader, typed bool) ([]byte, error) {
	head := 4
	if typed {
		head++
	}
	msg := make([]byte, head)
	if _, err := io.ReadFull(in, msg); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint32(msg[head-4:])) // with itself
	msg = append(msg, make([]byte, length-4)...)
	_, err := io.ReadFull(in, msg[head:])
	return msg, err
}
