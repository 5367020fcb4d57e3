package client

import (
	"context"
	"slices"
	"sync"
	"time"
)

// queue holds events until they are taken in batches. One goroutine takes.
type queue struct {
	batchSize int
	linger    time.Duration

	room chan struct{} // a token for each event held; who waits to send waits for room
	shut chan struct{} // closed by close
	wake chan struct{} // holds one signal: take must look again. Sent by put and close

	mu      sync.Mutex
	closed  bool
	waiting []*item // in the order of arrival
	bytes   int     // of a request with all that waits
}

func newQueue(room, batchSize int, linger time.Duration) *queue {
	return &queue{
		batchSize: batchSize, linger: linger, bytes: bodySize(),
		room: make(chan struct{}, room), shut: make(chan struct{}), wake: make(chan struct{}, 1),
	}
}

// put adds an item, once there is room.
func (q *queue) put(ctx context.Context, it *item) error {
	if err := ctx.Err(); err != nil {
		return err // also where there is room
	}
	select {
	case q.room <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-q.shut:
		return ErrClosed
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed { // take may have returned its last batch
		<-q.room
		return ErrClosed
	}
	it.queuedAt = time.Now()
	q.waiting = append(q.waiting, it)
	q.bytes += bodySize(it) - bodySize()
	q.signal()
	return nil
}

// withdraw takes an item back, unless it is in a batch or settled.
func (q *queue) withdraw(it *item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if it.taken {
		return false
	}
	q.remove(slices.Index(q.waiting, it))
	<-q.room
	return true
}

func (q *queue) remove(i int) {
	q.bytes -= bodySize(q.waiting[i]) - bodySize()
	q.waiting = slices.Delete(q.waiting, i, i+1)
}

// take returns the next batch: a full one at once, another when its first event
// has waited for others long enough. It returns nil when the queue is closed and
// empty.
func (q *queue) take() []*item {
	timer := time.NewTimer(q.linger)
	defer timer.Stop()
	for {
		q.mu.Lock()
		wait, some := q.due()
		if some && wait <= 0 {
			defer q.mu.Unlock()
			return q.next()
		}
		closed := q.closed
		q.mu.Unlock()
		if !some && closed {
			return nil
		}
		if some {
			timer.Reset(wait)
		}
		select {
		case <-q.wake:
		case <-timer.C: // without effect where nothing waits
		}
	}
}

// due says how long the next batch has to wait, and whether there is any.
func (q *queue) due() (wait time.Duration, ok bool) {
	switch {
	case len(q.waiting) == 0:
		return 0, false
	case q.closed, len(q.waiting) >= q.batchSize, q.bytes > maxRequestBytes:
		return 0, true
	}
	return q.linger - time.Since(q.waiting[0].queuedAt), true
}

// next is the first items that fit into a request.
func (q *queue) next() []*item {
	n, size := 0, bodySize()
	for _, it := range q.waiting[:min(q.batchSize, len(q.waiting))] {
		if size += bodySize(it) - bodySize(); size > maxRequestBytes {
			break
		}
		it.taken = true
		n++
	}
	batch := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	for _, it := range batch {
		q.bytes -= bodySize(it) - bodySize()
	}
	return batch
}

// settle says what became of an item that was taken, and makes room.
func (q *queue) settle(it *item, id string, err error) {
	it.id, it.err = id, err
	close(it.settled)
	<-q.room
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.shut)
		q.signal()
	}
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default: // one is there already, and was not looked at yet
	}
}
