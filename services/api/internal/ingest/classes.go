package ingest

import (
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/primezap/primezap/pkg/bus"
)

// maxBuckets bounds the tenants that are remembered: some 10 MB. The one that is
// forgotten published nothing for longest; its bucket begins full again.
const maxBuckets = 1 << 16

// buckets holds a bucket of tokens for each tenant. Each process has its own.
type buckets struct {
	limit   rate.Limit
	burst   int
	tenants *lru.Cache[uuid.UUID, *rate.Limiter]
}

func newBuckets(perSecond float64, burst int) *buckets {
	tenants, err := lru.New[uuid.UUID, *rate.Limiter](maxBuckets)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &buckets{limit: rate.Limit(perSecond), burst: burst, tenants: tenants}
}

func (b *buckets) of(tenant uuid.UUID) *rate.Limiter {
	bucket, ok := b.tenants.Get(tenant)
	if !ok {
		bucket = rate.NewLimiter(b.limit, b.burst)
		// Two at once may both make one: the first that was stored is kept.
		if earlier, found, _ := b.tenants.PeekOrAdd(tenant, bucket); found {
			bucket = earlier
		}
	}
	return bucket
}

// Classes sorts events into live and bulk: an event of a tenant whose bucket is
// empty waits behind everybody's live ones.
type Classes struct{ buckets *buckets }

// NewClasses gives every tenant perSecond events of class live, and burst at once.
func NewClasses(perSecond float64, burst int) *Classes {
	return &Classes{newBuckets(perSecond, burst)}
}

// Of takes a token of the tenant's, and says which class it is good for.
func (c *Classes) Of(tenant uuid.UUID, now time.Time) bus.Class {
	if c.buckets.of(tenant).AllowN(now, 1) {
		return bus.Live
	}
	return bus.Bulk
}
