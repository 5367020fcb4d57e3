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

// Classes sorts events into live and bulk: a tenant has a bucket of tokens, and an
// event that finds none waits behind everybody's live ones. Each process has its
// own buckets.
type Classes struct {
	limit   rate.Limit
	burst   int
	tenants *lru.Cache[uuid.UUID, *rate.Limiter]
}

// NewClasses gives every tenant perSecond events of class live, and burst at once.
func NewClasses(perSecond float64, burst int) *Classes {
	tenants, err := lru.New[uuid.UUID, *rate.Limiter](maxBuckets)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &Classes{limit: rate.Limit(perSecond), burst: burst, tenants: tenants}
}

// Of takes a token of the tenant's, and says which class it is good for.
func (c *Classes) Of(tenant uuid.UUID, now time.Time) bus.Class {
	bucket, ok := c.tenants.Get(tenant)
	if !ok {
		bucket = rate.NewLimiter(c.limit, c.burst)
		// Two at once may both make one: the first that was stored is kept.
		if earlier, found, _ := c.tenants.PeekOrAdd(tenant, bucket); found {
			bucket = earlier
		}
	}
	if bucket.AllowN(now, 1) {
		return bus.Live
	}
	return bus.Bulk
}
