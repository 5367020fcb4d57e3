package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// Event is something that happened.
type Event struct {
	// Type is the event's type, such as deal.moved.
	Type string
	// Data is the event's data, an object: anything that encoding/json writes, also
	// json.RawMessage. At most 256 KiB; integers beyond ±(2^53−1) must be strings.
	Data any
	// Timestamp is when it happened. Default: the time of the call.
	Timestamp time.Time
	// ID makes the event known: of two events with the same id only the first is
	// delivered. 1 to 64 letters, digits, _ and -. Default: the API gives one.
	ID string
	// TenantID is whose event it is, as in [Config.TenantID].
	TenantID string
}

// item is an event on its way. Its settled channel is closed once, after id and
// err were set.
type item struct {
	json []byte // as it stands in the request

	// Guarded by the queue's lock:
	queuedAt time.Time
	taken    bool // by a batch

	id      string
	err     error
	settled chan struct{}
}

func newItem(event Event) (*item, error) {
	if event.Timestamp.IsZero() {
		event.Timestamp = time.Now()
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(struct {
		Event     string `json:"event"`
		Data      any    `json:"data"`
		Timestamp string `json:"timestamp"`
		ID        string `json:"id,omitempty"`
		TenantID  string `json:"tenantId,omitempty"`
	}{event.Type, event.Data, event.Timestamp.UTC().Format(time.RFC3339Nano), event.ID, event.TenantID})
	if err != nil {
		return nil, fmt.Errorf("client: encode an event's data: %w", err)
	}
	it := &item{json: bytes.TrimSuffix(text.Bytes(), []byte("\n")), settled: make(chan struct{})}
	if bodySize(it) > maxRequestBytes {
		return nil, ErrTooLarge
	}
	return it, nil
}

// bodySize is the length of a request's body.
func bodySize(items ...*item) int {
	size := 1 // a bracket more than commas
	for _, it := range items {
		size += len(it.json) + 1
	}
	return size
}

func body(items []*item) []byte {
	text := make([]byte, 0, bodySize(items...))
	for i, it := range items {
		text = append(text, "[,"[min(i, 1)])
		text = append(text, it.json...)
	}
	return append(text, ']')
}
