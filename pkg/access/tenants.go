package access

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/recent"
	"github.com/primezap/primezap/pkg/store"
)

const maxTenants = 10_000

// Tenants tells which tenants were deleted. The keys of these are found no more;
// but tokens are valid until they expire, and the platform may name any tenant.
type Tenants struct {
	store  *store.Store
	living *recent.Cache[uuid.UUID, struct{}]
}

// NewTenants looks tenants up in s, as the api's role.
func NewTenants(s *store.Store, now func() time.Time) *Tenants {
	return &Tenants{store: s, living: recent.New[uuid.UUID, struct{}](maxTenants, now)}
}

// Refuse returns a problem with status 403 if tenant was deleted.
func (t *Tenants) Refuse(ctx context.Context, tenant uuid.UUID) error {
	_, err := t.living.Get(tenant, func() (none struct{}, err error) {
		deleted, err := t.store.Queries().TenantDeleted(ctx, tenant)
		switch {
		case err != nil:
			return none, fmt.Errorf("look up tenant: %w", err)
		case deleted:
			return none, problem.Forbidden("the tenant was deleted")
		}
		return none, nil
	})
	return err
}

// Forget has every tenant looked up again: one was deleted.
func (t *Tenants) Forget() { t.living.Forget() }
