package privacy

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
)

const (
	// rememberFor is how long a tenant is taken for living without being looked up
	// again, and so how long one that another process deleted may still be acted for.
	rememberFor = time.Second
	maxTenants  = 10_000
)

// Tenants tells which tenants were deleted. The keys of these are found no more;
// but tokens are valid until they expire, and the platform may name any tenant.
type Tenants struct {
	store *store.Store
	now   func() time.Time

	mu      sync.Mutex
	living  *simplelru.LRU[uuid.UUID, time.Time] // until when
	deleted int                                  // how often all was forgotten
}

// NewTenants looks tenants up in s, as the api's role.
func NewTenants(s *store.Store, now func() time.Time) *Tenants {
	living, err := simplelru.NewLRU[uuid.UUID, time.Time](maxTenants, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &Tenants{store: s, now: now, living: living}
}

// Refuse returns a problem with status 403 if tenant was deleted.
func (t *Tenants) Refuse(ctx context.Context, tenant uuid.UUID) error {
	asked := t.now()
	t.mu.Lock()
	until, known := t.living.Get(tenant)
	before := t.deleted
	t.mu.Unlock()
	if known && asked.Before(until) {
		return nil
	}
	deleted, err := t.store.Queries().TenantDeleted(ctx, tenant)
	switch {
	case err != nil:
		return fmt.Errorf("look up tenant: %w", err)
	case deleted:
		return problem.Forbidden("the tenant was deleted")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.deleted == before { // else it may have been looked up just before it was deleted
		t.living.Add(tenant, asked.Add(rememberFor))
	}
	return nil
}

// Forget has every tenant looked up again: one was deleted.
func (t *Tenants) Forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.living.Purge()
	t.deleted++
}
