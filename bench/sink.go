package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// maxEvents is how many events a run may publish: the sink has a place for each.
const maxEvents = 4 << 20

// rawPath is where the raw client posts to.
const rawPath = "/raw"

// inboundPath is where messages are delivered to that people wrote.
const inboundPath = "/inbound"

// sinkSettings are those of the role sink.
type sinkSettings struct {
	Ports int           `json:"ports"`
	Slow  time.Duration `json:"slow"`
}

// sinkReady says where it listens.
type sinkReady struct {
	Addresses []string `json:"addresses"`
}

// counts are what a sink has received.
type counts struct {
	Delivered int64     `json:"delivered"` // different events
	Again     int64     `json:"again"`     // deliveries of an event that was there already
	Raw       int64     `json:"raw"`
	At        time.Time `json:"at"`
}

// span is a range of event numbers.
type span struct {
	First int64 `json:"first"`
	Count int64 `json:"count"`
}

// sink stands for the customers' endpoints: it reads a request, notes when which
// event arrived, and answers 204.
type sink struct {
	slow     time.Duration
	arrivals []atomic.Int64 // by event number: Unix nanoseconds, 0 until it arrives

	delivered, again, raw atomic.Int64
}

// startSink is the role sink.
func startSink(s sinkSettings, mux *http.ServeMux) (ready sinkReady, stop func() error, err error) {
	receiver := &sink{slow: s.Slow, arrivals: make([]atomic.Int64, maxEvents)}
	server := &http.Server{Handler: receiver, ReadHeaderTimeout: 5 * time.Second}
	var serving sync.WaitGroup
	stop = func() error {
		err := server.Close()
		serving.Wait()
		return err
	}
	for range s.Ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return sinkReady{}, nil, errors.Join(err, stop())
		}
		serving.Go(func() { _ = server.Serve(listener) }) // ends by stop
		ready.Addresses = append(ready.Addresses, listener.Addr().String())
	}
	handle(mux, "/counts", func(context.Context, nothing) (counts, error) { return receiver.counts(), nil })
	handle(mux, "/arrivals", func(_ context.Context, which span) ([]int64, error) { return receiver.list(which) })
	return ready, stop, nil
}

// buffers hold one request's body: 16 KiB are far more than an event of ours has.
var buffers = sync.Pool{New: func() any { return new([16 << 10]byte) }}

// ServeHTTP takes a delivery.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	buf := buffers.Get().(*[16 << 10]byte)
	defer buffers.Put(buf)
	size, err := io.ReadFull(r.Body, buf[:])
	if !errors.Is(err, io.ErrUnexpectedEOF) { // longer, empty, or broken off
		http.Error(w, "no event of the benchmark", http.StatusBadRequest)
		return
	}
	mark := dataMark
	if r.URL.Path == inboundPath {
		mark = inboundMark
	}
	n := number(buf[:size], mark)
	if s.slow > 0 {
		time.Sleep(s.slow)
	}
	switch {
	case r.URL.Path == rawPath:
		s.raw.Add(1)
	case n <= 0 || n >= maxEvents:
		http.Error(w, "no event of the benchmark", http.StatusBadRequest)
		return
	case s.arrivals[n].CompareAndSwap(0, time.Now().UnixNano()):
		s.delivered.Add(1)
	default:
		s.again.Add(1)
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *sink) counts() counts {
	return counts{Delivered: s.delivered.Load(), Again: s.again.Load(), Raw: s.raw.Load(), At: time.Now()}
}

// list returns when the events of a span arrived.
func (s *sink) list(which span) ([]int64, error) {
	if which.First < 0 || which.Count < 0 || which.First+which.Count > maxEvents {
		return nil, fmt.Errorf("no events %d and the %d after it", which.First, which.Count)
	}
	times := make([]int64, which.Count)
	for i := range times {
		times[i] = s.arrivals[which.First+int64(i)].Load()
	}
	return times, nil
}
