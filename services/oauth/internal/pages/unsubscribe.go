package pages

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/oauth/internal/facebook"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
)

// unsubscribe serves unsubscribe_webhook.
func (s *Service) unsubscribe(ctx context.Context, in openapi.UnsubscribeWebhookAction) (any, error) {
	var faults faults
	faults.page(in.PageID)
	if err := faults.err(); err != nil {
		return nil, err
	}
	tenant := facebook.Tenant(ctx)
	var u connection.Usable
	err := s.Store.InTenant(ctx, tenant, func(q *db.Queries) error {
		row, err := ownPage(ctx, q, tenant, in.PageID)
		if err != nil {
			return err
		}
		u, err = connection.Open(s.Vault, row)
		return err
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	for range rounds {
		if err := s.App.Unsubscribe(ctx, in.PageID, u.Token); err != nil {
			return nil, s.noted(ctx, &u, err)
		}
		if err := s.unsubscribed(ctx, tenant, in.PageID); err != nil {
			return nil, err
		}
		// Whoever subscribed between the two has stored it before, or will find that it is
		// stored and not at Meta.
		told, err := s.App.Subscriptions(ctx, in.PageID, u.Token)
		if err != nil {
			return nil, s.noted(ctx, &u, err)
		}
		if len(told) == 0 {
			return openapi.UnsubscribedWebhook{Success: true}, nil
		}
	}
	return nil, errBusy
}

// unsubscribed stores that Meta tells nothing of a page, whether somebody waits or not.
func (s *Service) unsubscribed(ctx context.Context, tenant uuid.UUID, page string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storing)
	defer cancel()
	err := s.Store.InTenant(ctx, tenant, func(q *db.Queries) error { return connection.Unsubscribed(ctx, q, tenant, page) })
	if err != nil {
		return fmt.Errorf("store that page %s is unsubscribed: %w", page, err)
	}
	return nil
}
