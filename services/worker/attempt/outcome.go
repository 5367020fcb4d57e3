package attempt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/primezap/primezap/pkg/egress"
)

// Class says why an attempt failed; it stands in the log row.
type Class string

// Every failed attempt has one class; the first cause that applies is told.
const (
	ClassNone        Class = ""            // it succeeded
	ClassDNS         Class = "dns"         // the name does not resolve
	ClassRefused     Class = "refused"     // no connection: refused or unreachable
	ClassBlocked     Class = "blocked"     // the egress policy forbids the destination
	ClassTLS         Class = "tls"         // no TLS session: certificate, protocol, or lost in the handshake
	ClassTimeout     Class = "timeout"     // not finished in time, whatever it was doing
	ClassReset       Class = "reset"       // the connection ended before an answer
	ClassStatus      Class = "status"      // answered, neither 2xx nor 3xx
	ClassRedirect    Class = "redirect"    // answered 3xx, which is not followed
	ClassBody        Class = "body"        // the answer is not HTTP, has too large a header, or broke off
	ClassBodyLost    Class = "body_lost"   // set by others: the event's body is gone, nothing was sent
	ClassInterrupted Class = "interrupted" // the context ended first: it does not count
)

// Outcome is what became of one attempt.
type Outcome struct {
	Success  bool // 2xx, and the answer read to its end or to 64 KiB
	Status   int  // zero without an answer
	Start    time.Time
	Duration time.Duration
	Timing   Timing

	RequestHeaders  []byte // JSON object of what is sent, customers' values masked; nil if the URL is refused
	ResponseHeaders []byte // JSON object, at most 8 KiB; nil without an answer
	ResponseBody    string // the first 4 KiB, valid UTF-8 without NUL

	Class      Class
	Message    string        // for the endpoint's owner; "" on success
	RetryAfter time.Duration // asked for with a 429 or 503, 0 to 1 h
}

// Timing is where an attempt's time went. DNS, Connect and TLS are the lengths
// of these phases, zero for one that did not take place, as on a connection
// that was open already; FirstByte is from the start of the attempt to the
// answer's header, zero without one.
type Timing struct{ DNS, Connect, TLS, FirstByte time.Duration }

// handshakeError marks an error of the TLS handshake.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "tls handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }

// explain names the class of err, which ended the attempt before there was a
// status; answered says that an answer had begun. The messages are our own
// words: errors of the network hold addresses that a customer must not see.
func explain(err error, answered bool) (Class, string) {
	if refusal, ok := errors.AsType[*egress.Refusal](err); ok {
		return ClassBlocked, "the URL " + refusal.Detail
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return ClassDNS, "the name has no address"
		}
		return ClassDNS, "the name could not be looked up"
	}
	if t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && t.Timeout() {
		return ClassTimeout, "the connection timed out"
	}
	op, _ := errors.AsType[*net.OpError](err)
	if op != nil && op.Op == "remote error" { // crypto/tls: an alert, with its text
		return ClassTLS, "the endpoint refused the TLS session: " + op.Err.Error()
	}
	if handshake, ok := errors.AsType[*handshakeError](err); ok {
		return ClassTLS, explainHandshake(handshake.err)
	}
	if op != nil && op.Op == "dial" {
		if errors.Is(err, syscall.ECONNREFUSED) {
			return ClassRefused, "the endpoint refused the connection"
		}
		return ClassRefused, "the endpoint could not be reached"
	}
	if !answered || lost(err) {
		return ClassReset, "the connection was closed before an answer"
	}
	return ClassBody, "the answer is not readable as HTTP"
}

// lost reports whether err says that the connection ended.
func lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func explainHandshake(err error) string {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the certificate is not for this host name"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the certificate is not from a known authority, or an intermediate certificate is missing"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired {
			return "the certificate has expired or is not valid yet"
		}
		return "the certificate is not valid"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the endpoint does not speak TLS on this port"
	}
	if lost(err) {
		return "the connection was closed during the TLS handshake"
	}
	return "no TLS session could be agreed on"
}

// unfinished handles an attempt that ended because its time or its worker's
// did; false if neither has.
func (o *Outcome) unfinished(parent, ctx context.Context, limit time.Duration, doing string) bool {
	switch {
	case parent.Err() != nil:
		o.Class, o.Message = ClassInterrupted, "the worker stopped during the attempt"
	case ctx.Err() != nil:
		o.Class, o.Message = ClassTimeout, fmt.Sprintf("%s within %s", doing, limit)
	default:
		return false
	}
	return true
}

// judge sets the class by the status alone.
func (o *Outcome) judge(h http.Header, now time.Time) {
	switch o.Status / 100 {
	case 2:
		o.Success = true
		return
	case 3:
		o.Class, o.Message = ClassRedirect, "the endpoint answered "+strconv.Itoa(o.Status)+": redirects are not followed"
	default:
		o.Class, o.Message = ClassStatus, "the endpoint answered "+strconv.Itoa(o.Status)
	}
	if o.Status == http.StatusTooManyRequests || o.Status == http.StatusServiceUnavailable {
		o.RetryAfter = retryAfter(h.Get("Retry-After"), now)
	}
}

// retryAfter reads the header's seconds or HTTP date; zero if it is neither or
// past, at most an hour.
func retryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	seconds, err := strconv.ParseUint(value, 10, 32)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}
