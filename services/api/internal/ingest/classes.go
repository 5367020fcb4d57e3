package ingest

import (
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bucket"
	"github.com/primezap/primezap/pkg/bus"
)

// Classes sorts events into live and bulk: an event of a tenant whose bucket is
// empty waits behind everybody's live ones.
type Classes struct{ buckets *bucket.Buckets }

// NewClasses gives every tenant perSecond events of class live, and burst at once.
func NewClasses(perSecond float64, burst int) *Classes {
	return &Classes{bucket.New(perSecond, burst)}
}

// Of takes a token of the tenant's, and says which class it is good for.
func (c *Classes) Of(tenant uuid.UUID, now time.Time) bus.Class {
	if c.buckets.Take(tenant, now) {
		return bus.Live
	}
	return bus.Bulk
}
