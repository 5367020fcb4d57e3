package metatest

import (
	"bytes"
	"container/heap"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Bounds of the courier.
const (
	lanes         = 8
	maxQueued     = 100_000
	maxQueueBytes = 256 << 20
	maxKept       = 1000
	maxKeptBytes  = 32 << 20
	hookTimeout   = 20 * time.Second
	maxSays       = 1 << 10 // of what the callback says
)

// hook is a webhook that is to be sent.
type hook struct {
	due    time.Time
	seq    uint64
	person string // whose webhooks keep their order
	body   []byte
	failed int // attempts
	kept   *Webhook
}

// Webhook is one that was sent, and what its last attempt came to.
type Webhook struct {
	Body      json.RawMessage `json:"body"`
	Signature string          `json:"signature"` // X-Hub-Signature-256
	Attempts  int             `json:"attempts"`
	At        time.Time       `json:"at"`               // of the last attempt
	Status    int             `json:"status,omitempty"` // what was answered; 0: nothing
	Says      string          `json:"says,omitempty"`   // the body of an answer that is not 200, or why there is none
	Retrying  bool            `json:"retrying"`         // it will come again by itself
}

// courier signs webhooks and sends them. Its goroutines are one that hands out what
// is due and one for each lane.
type courier struct {
	secret  string
	backoff []time.Duration
	log     *slog.Logger
	client  *http.Client
	ctx     context.Context // the life of the goroutines, ended by close
	cancel  context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // sent by enqueue, received by hand; holds one
	lanes   [lanes]chan hook

	mu      sync.Mutex
	url     string
	queue   hooks
	bytes   int // of what is queued or under way
	pending int // queued or under way
	quiet   chan struct{}
	seq     uint64
	dropped int
	kept    []*Webhook
	size    int // of kept
}

func newCourier(secret, url string, backoff []time.Duration, log *slog.Logger) *courier {
	c := &courier{secret: secret, url: url, backoff: backoff, log: log, wake: make(chan struct{}, 1)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.client = &http.Client{
		Timeout:       hookTimeout,
		Transport:     &http.Transport{MaxIdleConnsPerHost: lanes * 2, MaxConnsPerHost: lanes * 4},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.running.Go(c.hand)
	for i := range c.lanes {
		c.lanes[i] = make(chan hook, 16)
		c.running.Go(func() { c.run(c.lanes[i]) })
	}
	return c
}

func (c *courier) close() {
	c.cancel()
	c.running.Wait()
	c.client.CloseIdleConnections()
}

func (c *courier) setURL(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.url = url
}

// enqueue takes a webhook to be sent when it is due. Without a callback URL it is
// dropped; where too many wait already, it is counted as dropped besides.
func (c *courier) enqueue(h hook) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.url == "" || c.ctx.Err() != nil:
		return
	case c.pending >= maxQueued || c.bytes+len(h.body) > maxQueueBytes:
		c.dropped++
		return
	}
	c.pending++
	c.bytes += len(h.body)
	c.push(h)
}

// begin counts something else that is under way; done ends it.
func (c *courier) begin() (done func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.done(hook{})
	}
}

// push queues what is counted already. The caller holds mu.
func (c *courier) push(h hook) {
	c.seq++
	h.seq = c.seq
	heap.Push(&c.queue, h)
	select {
	case c.wake <- struct{}{}:
	default: // it will wake anyhow
	}
}

// hand gives to the lanes what is due, until close.
func (c *courier) hand() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		h, wait := c.next()
		if h != nil {
			lane := fnv.New32a()
			_, _ = io.WriteString(lane, h.person) // never fails
			select {
			case c.lanes[lane.Sum32()%lanes] <- *h:
			case <-c.ctx.Done():
				return
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-c.wake:
		case <-c.ctx.Done():
			return
		}
	}
}

// next is what is due, or how long nothing is.
func (c *courier) next() (*hook, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return nil, time.Hour
	}
	if wait := time.Until(c.queue[0].due); wait > 0 {
		return nil, wait
	}
	h, _ := heap.Pop(&c.queue).(hook)
	return &h, 0
}

// run sends what comes to a lane, until close.
func (c *courier) run(lane chan hook) {
	for {
		select {
		case h := <-lane:
			c.attempt(h)
		case <-c.ctx.Done():
			return
		}
	}
}

// attempt sends a webhook and queues it anew if it has to come again.
func (c *courier) attempt(h hook) {
	status, says := c.post(c.ctx, h.body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.kept == nil {
		h.kept = c.keep(h.body)
	}
	again := status != http.StatusOK && h.failed < len(c.backoff)
	c.note(h.kept, status, says, again)
	if again {
		h.due = time.Now().Add(c.backoff[h.failed])
		h.failed++
		c.push(h)
		return
	}
	c.done(h)
}

// done takes a webhook off the count. The caller holds mu.
func (c *courier) done(h hook) {
	c.pending--
	c.bytes -= len(h.body)
	if c.pending == 0 && c.quiet != nil {
		close(c.quiet)
		c.quiet = nil
	}
}

// once sends a webhook at once, and again later if that fails.
func (c *courier) once(ctx context.Context, person string, body []byte) Webhook {
	status, says := c.post(ctx, body)
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.keep(body)
	again := status != http.StatusOK && len(c.backoff) > 0 && c.url != "" && c.ctx.Err() == nil &&
		c.pending < maxQueued && c.bytes+len(body) <= maxQueueBytes
	c.note(kept, status, says, again)
	if again {
		c.pending++
		c.bytes += len(body)
		c.push(hook{due: time.Now().Add(c.backoff[0]), person: person, body: body, failed: 1, kept: kept})
	}
	return *kept
}

// keep remembers a webhook, and forgets old ones. The caller holds mu.
func (c *courier) keep(body []byte) *Webhook {
	w := &Webhook{Body: body, Signature: signature(c.secret, body)}
	c.kept = append(c.kept, w)
	c.size += len(body)
	for len(c.kept) > maxKept || c.size > maxKeptBytes && len(c.kept) > 1 {
		c.size -= len(c.kept[0].Body)
		c.kept = c.kept[1:]
	}
	return w
}

// note writes down an attempt. The caller holds mu.
func (c *courier) note(w *Webhook, status int, says string, again bool) {
	w.Attempts++
	w.At, w.Status, w.Says, w.Retrying = time.Now(), status, says, again
	if status != http.StatusOK && c.ctx.Err() == nil {
		c.log.Warn("a simulated webhook was not answered 200", "status", status, "attempt", w.Attempts, "again", again)
	}
}

var errNoCallback = errors.New("there is no callback URL")

// post sends a webhook. It returns status 0 and the reason where nothing came back.
func (c *courier) post(ctx context.Context, body []byte) (status int, says string) {
	c.mu.Lock()
	url := c.url
	c.mu.Unlock()
	if url == "" {
		return 0, errNoCallback.Error()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "facebookexternalua")
	req.Header.Set("X-Hub-Signature-256", signature(c.secret, body))
	resp, err := c.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxSays)) // what came of it says enough
	if resp.StatusCode == http.StatusOK {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection serves again
		return resp.StatusCode, ""
	}
	return resp.StatusCode, string(answer)
}

// signature is X-Hub-Signature-256 of a body.
func signature(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write(body) // never fails
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// settle waits until nothing is queued or under way.
func (c *courier) settle(ctx context.Context) error {
	c.mu.Lock()
	if c.pending == 0 {
		c.mu.Unlock()
		return nil
	}
	if c.quiet == nil {
		c.quiet = make(chan struct{})
	}
	quiet := c.quiet
	c.mu.Unlock()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("webhooks are still under way: %w", ctx.Err())
	case <-c.ctx.Done():
		return http.ErrServerClosed
	}
}

// last are copies of the last n webhooks, the oldest first.
func (c *courier) last(n int) []Webhook {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Webhook, 0, min(n, len(c.kept)))
	for _, w := range c.kept[max(0, len(c.kept)-n):] {
		all = append(all, *w)
	}
	return all
}

// Settle waits until every webhook so far was answered 200 or given up.
func (s *Server) Settle(ctx context.Context) error { return s.hooks.settle(ctx) }

// Webhooks are those that were sent, the oldest first: the last thousand at most.
func (s *Server) Webhooks() []Webhook { return s.hooks.last(maxKept) }

// Dropped is how many webhooks were not sent because too many were waiting.
func (s *Server) Dropped() int {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	return s.hooks.dropped
}

// Redeliver sends the last n webhooks once more, as Meta may for seven days. It
// returns how many there were.
func (s *Server) Redeliver(n int) int {
	last := s.hooks.last(n)
	for _, w := range last {
		s.hooks.enqueue(hook{due: time.Now(), person: "redelivery", body: w.Body})
	}
	return len(last)
}

// Deliver signs a webhook as it is and sends it, and returns what came of it. It
// comes again, later, if the callback does not answer 200.
func (s *Server) Deliver(ctx context.Context, body []byte) Webhook {
	return s.hooks.once(ctx, "", slices.Clone(body))
}

// hooks are a heap by due and order.
type hooks []hook

func (h hooks) Len() int { return len(h) }

func (h hooks) Less(i, k int) bool {
	if h[i].due.Equal(h[k].due) {
		return h[i].seq < h[k].seq
	}
	return h[i].due.Before(h[k].due)
}

func (h hooks) Swap(i, k int) { h[i], h[k] = h[k], h[i] }

// Push is for package heap.
func (h *hooks) Push(x any) {
	one, _ := x.(hook) // enqueue gives no other
	*h = append(*h, one)
}

// Pop is for package heap.
func (h *hooks) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = hook{} // its body can go
	*h = (*h)[:len(*h)-1]
	return last
}
