package pages

import (
	"context"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
	"github.com/primezap/primezap/services/oauth/internal/refusal"
)

// refresh serves refresh.
func (s *Service) refresh(ctx context.Context, in openapi.RefreshAction) (any, error) {
	var faults faults
	faults.oneOf(in.ConnectionID, in.GrantID)
	if err := faults.err(); err != nil {
		return nil, err
	}
	p, _ := auth.FromContext(ctx)
	which, err := s.grantOf(ctx, p.Tenant, in)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, asking+storing)
	defer cancel()
	shown, left, err := s.Renewer.Renew(ctx, p.Tenant, which, p.Actor)
	if err != nil {
		return nil, err
	}
	answer := openapi.RefreshedGrant{Grant: shown, Warnings: []openapi.OAuthWarning{}}
	for _, w := range left {
		answer.Warnings = append(answer.Warnings, refusal.Left(w))
	}
	return answer, nil
}

// grantOf is which grant is meant.
func (s *Service) grantOf(ctx context.Context, tenant uuid.UUID, in openapi.RefreshAction) (uuid.UUID, error) {
	if in.GrantID != "" {
		return id(in.GrantID)
	}
	var row db.Connection
	err := s.Store.InTenant(ctx, tenant, func(q *db.Queries) (err error) {
		row, err = read(ctx, q, tenant, in.ConnectionID)
		return err
	})
	switch {
	case err != nil:
		return uuid.Nil, err
	case row.GrantID == nil:
		return uuid.Nil, refusal.Field("connectionId", "was connected by a token, which nothing renews: log in, or give another one")
	}
	return *row.GrantID, nil
}
