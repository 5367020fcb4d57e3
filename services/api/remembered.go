package api

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/primezap/primezap/pkg/auth"
)

const (
	// rememberFor is how long a key is taken for valid without being looked up
	// again, and so how long one that another process revoked may still be used.
	rememberFor = time.Second
	maxKeys     = 10_000
)

// remembered spares the database the look-up of a key that was found a moment
// ago: a CRM sends all of its requests with one. A key that was not found is
// looked up each time.
type remembered struct {
	lookup auth.Lookup
	now    func() time.Time

	mu      sync.Mutex
	known   *simplelru.LRU[[sha256.Size]byte, found]
	revoked int // how often all was forgotten
}

type found struct {
	principal auth.Principal
	until     time.Time
}

func remember(lookup auth.Lookup, now func() time.Time) *remembered {
	known, err := simplelru.NewLRU[[sha256.Size]byte, found](maxKeys, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &remembered{lookup: lookup, now: now, known: known}
}

// LookupKey implements auth.Lookup.
func (r *remembered) LookupKey(ctx context.Context, hash []byte) (auth.Principal, error) {
	key, asked := [sha256.Size]byte(hash), r.now()
	r.mu.Lock()
	last, ok := r.known.Get(key)
	revoked := r.revoked
	r.mu.Unlock()
	if ok && asked.Before(last.until) {
		return last.principal, nil
	}
	principal, err := r.lookup.LookupKey(ctx, hash)
	if err != nil {
		return auth.Principal{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.revoked == revoked { // else it may have been found just before it was revoked
		r.known.Add(key, found{principal, asked.Add(rememberFor)})
	}
	return principal, nil
}

// forget has every key looked up again: one was revoked.
func (r *remembered) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known.Purge()
	r.revoked++
}
