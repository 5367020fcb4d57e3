// Package bucket bounds how often tenants may do something: each has a bucket of
// tokens, which fills by itself.
package bucket

import (
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// maxTenants bounds the tenants that are remembered: some 10 MB. The one that is
// forgotten did nothing for longest; its bucket begins full again.
const maxTenants = 1 << 16

// Buckets holds a bucket for each tenant. Each process has its own. It is safe for
// concurrent use.
type Buckets struct {
	limit   rate.Limit
	burst   int
	tenants *lru.Cache[uuid.UUID, *rate.Limiter]
}

// New gives every tenant perSecond tokens a second, and burst at once.
func New(perSecond float64, burst int) *Buckets {
	tenants, err := lru.New[uuid.UUID, *rate.Limiter](maxTenants)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &Buckets{limit: rate.Limit(perSecond), burst: burst, tenants: tenants}
}

// Take takes a token of the tenant's, if there is one.
func (b *Buckets) Take(tenant uuid.UUID, now time.Time) bool { return b.of(tenant).AllowN(now, 1) }

// Left are the tokens that a tenant has, and parts of one.
func (b *Buckets) Left(tenant uuid.UUID, now time.Time) float64 {
	return max(b.of(tenant).TokensAt(now), 0)
}

// Until is how long it takes until a tenant has so many tokens.
func (b *Buckets) Until(tenant uuid.UUID, now time.Time, tokens float64) time.Duration {
	missing := tokens - b.Left(tenant, now)
	if missing <= 0 {
		return 0
	}
	return time.Duration(missing / float64(b.limit) * float64(time.Second))
}

func (b *Buckets) of(tenant uuid.UUID) *rate.Limiter {
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
