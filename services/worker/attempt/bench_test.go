package attempt

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	chunk    = 2_000
	inFlight = 16
)

// BenchmarkClient_Do reports what a bare keep-alive transport with one HMAC a
// request uses of the processor, as a share of what an attempt uses. Both
// sides run in every iteration, the receiver in this process: its reading of
// eight headers instead of one is in the attempt's time too.
func BenchmarkClient_Do(b *testing.B) {
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "ok")
	}))
	b.Cleanup(receiver.Close)
	client := newClient(b, Config{})
	transport := &http.Transport{MaxIdleConnsPerHost: inFlight}
	b.Cleanup(transport.CloseIdleConnections)
	body := bytes.Repeat([]byte(`{"a":1},`), 128)
	signer := keySigner("whsec_benchmark_key_of_some_length")

	attempts := func() {
		if o := client.Do(b.Context(), &Request{
			URL: receiver.URL + "/hook", EventType: "message.received",
			EventID: "0190b5a6-7e1c-7cc0-98c0-1234567890ab", Body: body, Signer: signer,
		}); !o.Success {
			b.Errorf("attempt failed: %s %s", o.Class, o.Message)
		}
	}
	bare := func() {
		req, _ := http.NewRequestWithContext(b.Context(), http.MethodPost, receiver.URL+"/hook", bytes.NewReader(body))
		req.Header.Set("X-Webhook-Signature", signer.Hex(body))
		resp, err := transport.RoundTrip(req)
		if err != nil {
			b.Error(err)
			return
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}
	used := func(one func()) time.Duration {
		start := cpuTime(b)
		var workers sync.WaitGroup
		for range inFlight {
			workers.Go(func() {
				for range chunk / inFlight {
					one()
				}
			})
		}
		workers.Wait()
		return cpuTime(b) - start
	}
	used(bare) // the first to run pays for the connections
	used(attempts)

	var bareTime, ours time.Duration
	for b.Loop() {
		bareTime += used(bare)
		ours += used(attempts)
	}
	b.ReportMetric(0, "ns/op") // the sum of both sides says nothing
	b.ReportMetric(bareTime.Seconds()/ours.Seconds(), "of-bare")
	b.ReportMetric(float64(bareTime.Nanoseconds())/1e3/float64(chunk*b.N), "bare-cpu-µs")
	b.ReportMetric(float64(ours.Nanoseconds())/1e3/float64(chunk*b.N), "attempt-cpu-µs")
}

// cpuTime is what this process has used of all processors: unlike the clock it
// stands still while another process runs.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatalf("getrusage: %v", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
