package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// rawRun asks for raw requests.
type rawRun struct {
	URL         string        `json:"url"`
	Body        string        `json:"body"`
	Connections int           `json:"connections"`
	Duration    time.Duration `json:"duration"`
}

// rawResult is how many there were.
type rawResult struct {
	Requests int64         `json:"requests"`
	Took     time.Duration `json:"took"`
}

// startRaw is the role raw: the ceiling. It does what no sender of signed
// webhooks can do without, and nothing more: one HMAC and one request over a
// connection that is kept.
func startRaw(_ nothing, mux *http.ServeMux) (nothing, func() error, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 1 << 14}
	handle(mux, "/run", func(ctx context.Context, run rawRun) (rawResult, error) { return runRaw(ctx, transport, run) })
	return nothing{}, func() error { transport.CloseIdleConnections(); return nil }, nil
}

func runRaw(ctx context.Context, transport *http.Transport, run rawRun) (rawResult, error) {
	var requests atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, run.Connections)
	began := time.Now()
	for range run.Connections {
		wg.Go(func() {
			for time.Since(began) < run.Duration {
				if err := rawRequest(ctx, transport, run.URL, []byte(run.Body)); err != nil {
					failed <- err
					return
				}
				requests.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	close(failed)
	var errs error
	for err := range failed {
		errs = errors.Join(errs, err)
	}
	return rawResult{requests.Load(), took}, errs
}

var rawKey = []byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

func rawRequest(ctx context.Context, transport *http.Transport, url string, body []byte) error {
	mac := hmac.New(sha256.New, rawKey)
	mac.Write(body)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Webhook-Signature", hex.EncodeToString(mac.Sum(nil)))
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("raw request: %w", err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("raw request: %w", err)
	}
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("raw request: %s", resp.Status)
	}
	return nil
}
