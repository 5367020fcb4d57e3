package webhooks

import (
	"context"
	"fmt"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/webhook"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/param"
)

const (
	defaultGrace = 24 * 60 * 60     // seconds
	maxGrace     = 7 * 24 * 60 * 60 // seconds
)

// RegenerateWebhookSecret serves POST /api/custom-webhooks/{id}/regenerate-secret.
// The secret is in this answer and in no later one. Several at once follow one
// another: each replaces the secret that the one before it made.
func (s *Service) RegenerateWebhookSecret(ctx context.Context, req openapi.RegenerateWebhookSecretRequestObject) (openapi.RegenerateWebhookSecretResponseObject, error) {
	id, err := param.ID(req.ID)
	if err != nil {
		return nil, err
	}
	grace := defaultGrace
	if req.Body != nil && req.Body.GracePeriodSeconds != nil { // 0 is a choice, absent is not
		grace = *req.Body.GracePeriodSeconds
	}
	if grace < 0 || grace > maxGrace {
		return nil, problem.Invalid(problem.FieldError{Pointer: "/gracePeriodSeconds", Detail: "must be 0 to 604800 seconds"})
	}
	secret := webhook.NewSecret()
	var row db.Webhook
	err = s.Store.InTenant(ctx, tenantOf(ctx), func(q *db.Queries) error {
		before, err := q.LockWebhook(ctx, id)
		if err != nil {
			return store.Found(err)
		}
		e := editor{Service: s, row: before}
		e.secret(secret)
		if err := e.err(); err != nil {
			return err
		}
		row, err = q.RegenerateSecret(ctx, db.RegenerateSecretParams{
			ID: id, Secret: e.row.Secret, SecretHint: e.row.SecretHint, GraceSeconds: int32(grace), //nolint:gosec // bounded just above
		})
		if err != nil {
			return err
		}
		return record(ctx, q, "webhook.secret_regenerated", &before, &row)
	})
	if err != nil {
		return nil, fmt.Errorf("regenerate the secret of webhook %s: %w", id, err)
	}
	return openapi.RegenerateWebhookSecret200JSONResponse(withSecret(row, secret)), nil
}
