// Package quota bounds how many things of a kind a tenant may have.
package quota

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/rateheader"
	"github.com/primezap/primezap/pkg/store/db"
)

// Kind is a kind of things, and how many of them a tenant may have.
type Kind struct {
	Name   string // in the plural, as clients know them
	Policy string // its name in RateLimit headers
	Type   string // of the problem
	Max    int    // 0: as many as it likes
}

// Counter counts what a tenant has, up to so many.
type Counter func(ctx context.Context, tenant uuid.UUID, most int32) (int64, error)

// Take makes sure that the tenant may have one more, which the transaction that q
// belongs to then makes. Of two at once the second one waits for the first. The
// error is a problem with status 403 if there is no room; its RateLimit headers name
// the number and no time, since none brings room (the IETF's draft has both).
func (k Kind) Take(ctx context.Context, q *db.Queries, tenant uuid.UUID, count Counter) error {
	if k.Max == 0 {
		return nil
	}
	if err := k.Lock(ctx, q, tenant); err != nil {
		return err
	}
	have, err := count(ctx, tenant, int32(k.Max)) //nolint:gosec // config bounds it
	if err != nil {
		return fmt.Errorf("count %s: %w", k.Name, err)
	}
	if have >= int64(k.Max) {
		p := problem.Forbidden(fmt.Sprintf("the tenant has as many %s as it may have, %d", k.Name, k.Max)).WithType(k.Type)
		p.Header = rateheader.Header(rateheader.Limit{Name: k.Policy, Quota: int64(k.Max)})
		return p
	}
	return nil
}

// Lock is the lock of Take alone, for a transaction that has others to take after it
// before it counts.
func (k Kind) Lock(ctx context.Context, q *db.Queries, tenant uuid.UUID) error {
	if k.Max == 0 {
		return nil
	}
	if err := q.LockQuota(ctx, k.Name+" of "+tenant.String()); err != nil {
		return fmt.Errorf("lock the number of %s: %w", k.Name, err)
	}
	return nil
}
