package facebook

import (
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bucket"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/rateheader"
)

// limit is how many actions a tenant may call in a minute, all of them at once if it
// likes. Those that are refused count too: they cost as much. Nil: there is none.
type limit struct {
	perMinute int
	buckets   *bucket.Buckets
}

func newLimit(perMinute int) *limit {
	if perMinute == 0 {
		return nil
	}
	return &limit{perMinute, bucket.New(float64(perMinute)/time.Minute.Seconds(), perMinute)}
}

// take counts a call of a tenant's. The error is a problem.
func (l *limit) take(tenant uuid.UUID, now time.Time) error {
	if l == nil || l.buckets.Take(tenant, now) {
		return nil
	}
	p := problem.TooManyRequests(l.buckets.Until(tenant, now, 1), fmt.Sprintf("the tenant called more than %d actions within a minute", l.perMinute)).
		WithType(problem.TypeOAuthLimit)
	p.Header = l.header(tenant, now)
	return p
}

// header tells how much of the limit is left; nil where there is none.
func (l *limit) header(tenant uuid.UUID, now time.Time) http.Header {
	if l == nil {
		return nil
	}
	return rateheader.Header(rateheader.Limit{
		Name: "actions", Quota: int64(l.perMinute), Window: time.Minute,
		Left: int64(math.Floor(l.buckets.Left(tenant, now))), Whole: l.buckets.Until(tenant, now, float64(l.perMinute)),
	})
}
