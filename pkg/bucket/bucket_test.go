package bucket_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bucket"
)

func TestBuckets(t *testing.T) {
	t.Parallel()
	b := bucket.New(1, 3)
	busy, quiet := uuid.New(), uuid.New()
	now := time.Unix(1_700_000_000, 0)
	for i := range 3 {
		if !b.Take(busy, now) {
			t.Fatalf("token %d of 3 is refused", i+1)
		}
	}
	if b.Take(busy, now) {
		t.Error("more tokens than there are")
	}
	if got := b.Until(busy, now.Add(250*time.Millisecond), 1); got != 750*time.Millisecond {
		t.Errorf("the next token comes in %s", got)
	}
	if got := b.Until(busy, now, 3); got != 3*time.Second {
		t.Errorf("the bucket is full in %s", got)
	}
	if got := b.Left(quiet, now); got != 3 || b.Until(quiet, now, 1) != 0 || !b.Take(quiet, now) {
		t.Errorf("a tenant that did nothing has %v left", got)
	}
	if !b.Take(busy, now.Add(time.Second)) {
		t.Error("the bucket does not fill")
	}
}

func TestBuckets_OneForATenant(t *testing.T) {
	t.Parallel()
	b, tenant, now := bucket.New(1, 10), uuid.New(), time.Unix(1_700_000_000, 0)
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if b.Take(tenant, now) {
				taken.Add(1)
			}
		})
	}
	all.Wait()
	if taken.Load() != 10 {
		t.Errorf("%d tokens of 10 were taken at once", taken.Load())
	}
}
