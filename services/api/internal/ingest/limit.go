package ingest

import (
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/primezap/primezap/pkg/bucket"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/rateheader"
)

// window is the time that the limit speaks of, and so when to come again.
const window = time.Second

// Limit is how many events a tenant may publish in a second. Items of an array
// beyond it are refused by themselves, in their order.
//
// A request that is repeated under its Idempotency-Key takes no tokens for what was
// accepted of it: the same items would take them all each time, and of an array of
// more than a second's events the rest would never be accepted.
type Limit struct {
	perSecond int
	buckets   *bucket.Buckets
	paid      *lru.Cache[eventKey, struct{}]
}

// eventKey is an event under an Idempotency-Key.
type eventKey struct {
	tenant uuid.UUID
	id     string
}

// maxPaid bounds the events that are remembered: some 10 MB.
const maxPaid = 1 << 16

// NewLimit lets every tenant publish perSecond events a second; nil for 0, which
// is no limit.
func NewLimit(perSecond int) *Limit {
	if perSecond == 0 {
		return nil
	}
	paid, err := lru.New[eventKey, struct{}](maxPaid)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &Limit{perSecond: perSecond, buckets: bucket.New(float64(perSecond), perSecond), paid: paid}
}

// budget is what a request learns of its limit. The zero value is without one.
type budget struct {
	limit *Limit
	now   time.Time
	asked map[uuid.UUID]struct{} // tenants that took a token, or found none
}

func (l *Limit) budget(now time.Time) *budget {
	return &budget{limit: l, now: now, asked: make(map[uuid.UUID]struct{})}
}

// take takes a token of the event's tenant, or says why there is none.
func (b *budget) take(it *item) *problem.Problem {
	if b.limit == nil {
		return nil
	}
	tenant := it.event.Tenant
	b.asked[tenant] = struct{}{}
	if b.limit.paid.Contains(eventKey{tenant, it.event.ID}) || b.limit.buckets.Take(tenant, b.now) {
		return nil
	}
	return problem.TooManyRequests(window, fmt.Sprintf("the tenant published more than %d events within a second", b.limit.perSecond)).
		WithType(problem.TypeIngestLimit)
}

// accepted remembers an event that may come again. One with an id of its client's
// does not come so far again: it has a row.
func (b *budget) accepted(it *item) {
	if b.limit != nil && it.event.Deduplicate && it.id == "" {
		b.limit.paid.Add(eventKey{it.event.Tenant, it.event.ID}, struct{}{})
	}
}

// headers tell the client how much of the limit is left; of several tenants, that of
// the one with the least. They are nil without a limit.
func (b *budget) headers(tenant uuid.UUID) http.Header {
	if b.limit == nil {
		return nil
	}
	b.asked[tenant] = struct{}{}
	left := float64(b.limit.perSecond)
	for tenant := range b.asked {
		left = min(left, b.limit.buckets.Left(tenant, b.now))
	}
	left = math.Floor(left)
	var whole time.Duration // until the bucket is full: as burst and rate are the same, a second at most
	if left < float64(b.limit.perSecond) {
		whole = window
	}
	return rateheader.Header(rateheader.Limit{
		Name: "ingest", Quota: int64(b.limit.perSecond), Window: window, Left: int64(left), Whole: whole,
	})
}
