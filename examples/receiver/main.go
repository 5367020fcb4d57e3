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
	"flag"
	"fmt"
	"io"
	"log"
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
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "receiver prints the PrimeZap webhooks that it receives.")
		flag.PrintDefaults()
	}
	// PrintDefaults would print the default, and it may be a secret.
	flag.Lookup("secret").DefValue = ""
	flag.Parse()

	// Without this check an empty secret would refuse every webhook, one by one.
	if err := webhook.CheckSecret(*secret); err != nil {
		log.Fatalf(`%v; give one with -secret or WEBHOOK_SECRET, such as "whsec_$(openssl rand -base64 32)"`, err)
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("waiting for webhooks on http://%s\n", listener.Addr())
	server := &http.Server{
		Handler:           newReceiver(*secret, *fail, os.Stdout),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
	}
	log.Fatal(server.Serve(listener))
}

// receiver answers webhooks. It is safe for concurrent use, as handlers must be:
// PrimeZap sends several webhooks at a time.
type receiver struct {
	secret string
	fail   int64 // how many verified webhooks get a 500
	seen   atomic.Int64
	lines  *log.Logger // one Write a line, so lines never mix
}

func newReceiver(secret string, fail int64, out io.Writer) *receiver {
	return &receiver{secret: secret, fail: fail, lines: log.New(out, "", log.Ltime|log.Lmicroseconds)}
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
		r.lines.Printf("401 NOT VERIFIED (%v) %q %q %q", err, event, id, body)
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
	r.lines.Printf("%d verified %s %s %s", status, event, id, body)
	w.WriteHeader(status)
}
