// Package recent spares the database a look-up whose answer was had a moment ago.
package recent

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// For is how long an answer is taken for true without being looked up again, and
// so how long what another process changed may go unnoticed.
const For = time.Second

// Cache keeps the answers to look-ups that succeeded.
type Cache[K comparable, V any] struct {
	now func() time.Time

	mu        sync.Mutex
	known     *simplelru.LRU[K, answer[V]]
	forgotten int // how often all was
}

type answer[V any] struct {
	value V
	until time.Time
}

// New returns an empty cache for at most size answers.
func New[K comparable, V any](size int, now func() time.Time) *Cache[K, V] {
	known, err := simplelru.NewLRU[K, answer[V]](size, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &Cache[K, V]{now: now, known: known}
}

// Get returns the answer for key, by look if it is not known. Its error is look's.
func (c *Cache[K, V]) Get(key K, look func() (V, error)) (V, error) {
	asked := c.now()
	c.mu.Lock()
	last, ok := c.known.Get(key)
	before := c.forgotten
	c.mu.Unlock()
	if ok && asked.Before(last.until) {
		return last.value, nil
	}
	value, err := look()
	if err != nil {
		return value, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forgotten == before { // else it may be what was true just before the change
		c.known.Add(key, answer[V]{value, asked.Add(For)})
	}
	return value, nil
}

// Forget has everything looked up again: something has changed.
func (c *Cache[K, V]) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known.Purge()
	c.forgotten++
}
