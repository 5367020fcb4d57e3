package webhooks

import (
	"context"
	"fmt"

	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/param"
)

// EnableWebhook serves POST /api/custom-webhooks/{id}/enable. What waited in the
// queue goes on, and failures count from none again: triggers see to both,
// however a webhook becomes active. One that is active already stays as it is.
func (s *Service) EnableWebhook(ctx context.Context, req openapi.EnableWebhookRequestObject) (openapi.EnableWebhookResponseObject, error) {
	hook, err := param.ID(req.ID)
	if err != nil {
		return nil, err
	}
	var row db.Webhook
	err = s.Store.InTenant(ctx, tenantOf(ctx), func(q *db.Queries) error {
		before, err := q.LockWebhook(ctx, hook)
		if err != nil {
			return store.Found(err)
		}
		if row = before; row.Active {
			return nil
		}
		if row, err = q.EnableWebhook(ctx, hook); err != nil {
			return store.Found(err)
		}
		return record(ctx, q, "webhook.enabled", &before, &row)
	})
	if err != nil {
		return nil, fmt.Errorf("enable webhook %s: %w", hook, err)
	}
	return openapi.EnableWebhook200JSONResponse(show(row)), nil
}
