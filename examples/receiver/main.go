// Command receiver is the smallest complete receiver of PrimeZap webhooks: it
// verifies each one, prints a line about it and answers 204, or 401 if the
// signature is not the secret's. Start it, create a webhook with the same secret
// and its URL, and watch events arrive:
//
//	export WEBHOOK_SECRET="whsec_$(openssl rand -base64 32)"
//	go run ./examples/receiver -addr 127.0.0.1:9000
//
// With -fail 2 it answers 500 to the first two verified webhooks, and the
// retries can be watched.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/primezap/primezap/pkg/webhook"
)

// maxBody is more than PrimeZap sends (256 KiB): a receiver on the internet must
// not read without end what a stranger sends.
const maxBody = 1 << 20

func main() {
	addr := flag.String("addr", "127.0.0.1:9000", "`address` to listen on")
	secret := flag.String("secret", os.Getenv("WEBHOOK_SECRET"), "the webhook's `secret` (default $WEBHOOK_SECRET)")
	fail := flag.Int64("fail", 0, "answer 500 to the first `n` verified webhooks")
	flag.Lookup("secret").DefValue = "" // or -help would print a secret
	flag.Parse()
	if err := serve(context.Background(), *addr, newReceiver(*secret, *fail, os.Stdout)); err != nil {
		fmt.Fprintln(os.Stderr, "receiver:", err)
		os.Exit(1)
	}
}

// serve answers with r on addr until something goes wrong.
func serve(ctx context.Context, addr string, r *receiver) error {
	// Without this check an empty secret would refuse every webhook, one by one.
	if err := webhook.CheckSecret(r.secret); err != nil {
		return fmt.Errorf(`%w; give one by WEBHOOK_SECRET or -secret, such as "whsec_$(openssl rand -base64 32)"`, err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("waiting for webhooks on http://%s\n", listener.Addr())
	server := &http.Server{Handler: r, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second}
	return server.Serve(listener)
}

// receiver answers webhooks. It is safe for concurrent use, as handlers must be:
// PrimeZap sends several webhooks at a time.
type receiver struct {
	secret string
	fail   int64 // how many verified webhooks get a 500
	seen   atomic.Int64
	out    io.Writer
}

func newReceiver(secret string, fail int64, out io.Writer) *receiver {
	return &receiver{secret: secret, fail: fail, out: out}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.Method != http.MethodPost {
		http.Error(w, "webhooks are POSTed", http.StatusMethodNotAllowed)
		return
	}
	// The body's bytes, as they came: the signature covers these and no others,
	// so verify first and decode afterwards.
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		http.Error(w, "unreadable or too long", http.StatusBadRequest)
		return
	}
	event, id := req.Header.Get(webhook.HeaderEvent), req.Header.Get(webhook.HeaderID)
	if err := webhook.Verify(req.Header, body, r.secret, time.Now(), webhook.DefaultTolerance); err != nil {
		// Quoted: a stranger wrote these, and they go to a terminal.
		r.printf("401 NOT VERIFIED (%v) %q %q %q", err, event, id, body)
		http.Error(w, "not verified", http.StatusUnauthorized)
		return
	}
	// A real receiver would store the event here, unless it has already stored
	// one with this id: a webhook can come twice. Any answer but 2xx, or none
	// within 30 s, has it sent again.
	status := http.StatusNoContent
	if r.seen.Add(1) <= r.fail {
		status = http.StatusInternalServerError
	}
	r.printf("%d verified %s %s %s", status, event, id, body)
	w.WriteHeader(status)
}

// printf prints a line with one Write, so that lines never mix.
func (r *receiver) printf(format string, args ...any) {
	fmt.Fprintf(r.out, time.Now().Format("15:04:05.000")+" "+format+"\n", args...)
}
