package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	mathrand "math/rand/v2"
)

// Waits between the repetitions of a request double from the first to the last.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 5 * time.Second
)

// maxAnswerBytes bounds what is read of an answer: room for a problem for each
// event of a request.
const maxAnswerBytes = 8 << 20

// send sends a batch until every event of it is settled. All repetitions are the
// same request, also when only some events are open: the API answers the others
// as it did before.
func (c *Client) send(batch []*item, deadline time.Time) {
	if c.work.Err() != nil {
		c.settle(batch, ErrClosed)
		return
	}
	key, text := rand.Text(), body(batch)
	open := slices.Clone(batch) // those that are settled are nil
	for attempt := 1; ; attempt++ {
		answers, err := c.post(c.work, key, text, len(batch))
		if p, refused := errors.AsType[*Problem](err); refused && !temporary(p.Status) {
			if divisible(p.Status) && len(batch) > 1 && !slices.Contains(open, nil) {
				// None was accepted. Whoever is to blame must not take the others along.
				half := len(batch) / 2
				c.send(batch[:half], deadline)
				c.send(batch[half:], deadline)
				return
			}
			if len(batch) == 1 {
				p.inEvent(0)
			}
			c.settle(open, p)
			return
		}
		if err == nil {
			if err = c.sort(open, answers); err == nil {
				return
			}
		}
		wait := pause(attempt, err)
		if time.Now().Add(wait).After(deadline) || sleep(c.work, wait) != nil {
			c.settle(open, fmt.Errorf("%w: %w", ErrUnknown, err))
			return
		}
	}
}

// sort settles the open items that were decided on, and returns why others were
// not, if any.
func (c *Client) sort(open []*item, answers []answer) (undecided error) {
	for i, it := range open {
		if it == nil {
			continue
		}
		switch a := answers[i]; {
		case a.Status == http.StatusAccepted:
			c.queue.settle(it, a.ID, nil)
			open[i] = nil
		case temporary(a.Status):
			undecided = a.problem(i)
		default:
			c.queue.settle(it, "", a.problem(i))
			open[i] = nil
		}
	}
	return undecided
}

func (c *Client) settle(items []*item, err error) {
	for _, it := range items {
		if it != nil {
			c.queue.settle(it, "", err)
		}
	}
}

// answer is what became of one event of a request.
type answer struct {
	Status int      `json:"status"`
	ID     string   `json:"id"`
	Error  *Problem `json:"error"`
}

// problem is why the i-th event of the request was not accepted.
func (a answer) problem(i int) *Problem {
	if a.Error == nil {
		return &Problem{Type: "about:blank", Title: http.StatusText(a.Status), Status: a.Status}
	}
	a.Error.inEvent(i)
	return a.Error
}

// post makes one request and returns the answer to each of its n events. The
// error is a *Problem where the request was refused as a whole; after any other
// it is not known what became of it.
func (c *Client) post(ctx context.Context, key string, text []byte, n int) ([]answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.cfg.APIKey)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	req.Header.Set("User-Agent", "primezap-client-go")
	if c.cfg.TenantID != "" {
		req.Header.Set("X-Tenant-Id", c.cfg.TenantID)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("send %d events: %w", n, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode != http.StatusAccepted && resp.StatusCode != http.StatusMultiStatus {
		return nil, problemOf(resp, body)
	}
	var results struct {
		Data []answer `json:"data"`
	}
	if err := json.Unmarshal(body, &results); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(results.Data) != n {
		return nil, fmt.Errorf("%d answers to %d events", len(results.Data), n)
	}
	return results.Data, nil
}

// pause is how long to wait after an attempt: doubled each time, half of it by
// chance so that clients do not come back all at once, and no less than the API
// asked for.
func pause(attempt int, reason error) time.Duration {
	wait := lastWait
	if doublings := attempt - 1; doublings < 10 {
		wait = min(firstWait<<doublings, lastWait)
	}
	wait = wait/2 + mathrand.N(wait/2)
	if p, ok := errors.AsType[*Problem](reason); ok {
		wait = max(wait, p.RetryAfter)
	}
	return wait
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
