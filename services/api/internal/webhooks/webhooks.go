// Package webhooks serves what a tenant does with its webhooks: their settings,
// the log of attempts, the queue of deliveries that are not done, replays, test
// calls.
//
// Every query runs in a transaction of the tenant that the request acts for, so
// another tenant's rows are as if they were not there.
package webhooks

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strings"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/egress"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/quota"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/page"
	"github.com/primezap/primezap/services/api/internal/param"
	"github.com/primezap/primezap/services/api/internal/render"
)

// Service implements the operations on webhooks.
type Service struct {
	Store  *store.Store
	Vault  *vault.Vault
	Policy egress.Policy // of the URLs that are taken
	NATS   *nats.Conn    // to the workers, for test calls
	Max    int           // live webhooks of a tenant; 0: as many as it likes
	Jobs   jobInserter   // for replays
}

// path of the webhooks; an id follows it.
const path = "/api/custom-webhooks/"

// ListWebhooks serves GET /api/custom-webhooks.
func (s *Service) ListWebhooks(ctx context.Context, req openapi.ListWebhooksRequestObject) (openapi.ListWebhooksResponseObject, error) {
	pages, faults := page.Parse(req.Params.Page, req.Params.Limit, req.Params.Cursor, page.IDKeySize)
	active := param.Boolean("active", req.Params.Active, &faults)
	var subscriptions, wide []string
	if name := req.Params.Event; name != nil {
		if subscriptions, wide = covering(*name); subscriptions == nil {
			faults = append(faults, problem.FieldError{Pointer: "/event", Detail: event.NoSubscription})
		}
	}
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	tenant := tenantOf(ctx)
	var total int64
	var rows []db.Webhook
	err := s.Store.InTenant(ctx, tenant, func(q *db.Queries) (err error) {
		total, err = q.CountWebhooks(ctx, db.CountWebhooksParams{
			TenantID: tenant, Active: active, Subscriptions: subscriptions, OperationalSubscriptions: wide, Cap: page.CountLimit,
		})
		if err != nil {
			return err
		}
		rows, err = q.ListWebhooks(ctx, db.ListWebhooksParams{
			TenantID: tenant, Active: active, Subscriptions: subscriptions, OperationalSubscriptions: wide,
			Before: pages.AfterID(), RowLimit: pages.Limit(), RowOffset: pages.Offset(),
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list webhooks: %w", err)
	}
	rows, pagination := page.Show(pages, rows, total, func(row db.Webhook) []byte { return page.IDKey(row.ID) })
	return openapi.ListWebhooks200JSONResponse{Data: each(rows, show), Pagination: pagination}, nil
}

// CreateWebhook serves POST /api/custom-webhooks. The secret is in this answer
// and in no later one.
func (s *Service) CreateWebhook(ctx context.Context, req openapi.CreateWebhookRequestObject) (openapi.CreateWebhookResponseObject, error) {
	tenant := tenantOf(ctx)
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("make a webhook's id: %w", err)
	}
	edit := editor{Service: s, row: db.Webhook{ID: id, TenantID: tenant, AutoRecover: true}}
	secret := edit.create(*req.Body)
	if err := edit.err(); err != nil {
		return nil, err
	}
	row := edit.row
	err = s.Store.InTenant(ctx, tenant, func(q *db.Queries) (err error) {
		if err := s.room(ctx, q, tenant); err != nil {
			return err
		}
		row, err = q.InsertWebhook(ctx, db.InsertWebhookParams{
			ID: row.ID, TenantID: row.TenantID, Name: row.Name, Url: row.Url, Description: row.Description,
			Events: row.Events, Active: row.Active, Operational: row.Operational, Secret: row.Secret,
			SecretHint: row.SecretHint, Headers: row.Headers, HeaderNames: row.HeaderNames, Filter: row.Filter,
			RatePerSecond: row.RatePerSecond, RetryDelays: row.RetryDelays, AutoRecover: row.AutoRecover,
		})
		if err != nil {
			return err
		}
		return record(ctx, q, "webhook.created", nil, &row)
	})
	if err != nil {
		return nil, fmt.Errorf("create webhook: %w", err)
	}
	return openapi.CreateWebhook201JSONResponse{
		Body:    withSecret(row, secret),
		Headers: openapi.CreateWebhook201ResponseHeaders{Location: new(path + row.ID.String())},
	}, nil
}

// room makes sure that the tenant may have one more webhook.
func (s *Service) room(ctx context.Context, q *db.Queries, tenant uuid.UUID) error {
	kind := quota.Kind{Name: "webhooks", Policy: "webhooks", Type: problem.TypeWebhookLimit, Max: s.Max}
	return kind.Take(ctx, q, tenant, func(ctx context.Context, tenant uuid.UUID, most int32) (int64, error) {
		return q.CountWebhooks(ctx, db.CountWebhooksParams{TenantID: tenant, Cap: most})
	})
}

// GetWebhook serves GET /api/custom-webhooks/{id}.
func (s *Service) GetWebhook(ctx context.Context, req openapi.GetWebhookRequestObject) (openapi.GetWebhookResponseObject, error) {
	var row db.Webhook
	err := s.of(ctx, req.ID, func(_ *db.Queries, hook db.Webhook) error {
		row = hook
		return nil
	})
	if err != nil {
		return nil, err
	}
	return openapi.GetWebhook200JSONResponse(show(row)), nil
}

// ReplaceWebhook serves PUT /api/custom-webhooks/{id}.
func (s *Service) ReplaceWebhook(ctx context.Context, req openapi.ReplaceWebhookRequestObject) (openapi.ReplaceWebhookResponseObject, error) {
	row, err := s.change(ctx, req.ID, func(e *editor) { e.replace(*req.Body) })
	if err != nil {
		return nil, err
	}
	return openapi.ReplaceWebhook200JSONResponse(show(row)), nil
}

// UpdateWebhook serves PATCH /api/custom-webhooks/{id}.
func (s *Service) UpdateWebhook(ctx context.Context, req openapi.UpdateWebhookRequestObject) (openapi.UpdateWebhookResponseObject, error) {
	row, err := s.change(ctx, req.ID, func(e *editor) { e.merge(*req.Body) })
	if err != nil {
		return nil, err
	}
	return openapi.UpdateWebhook200JSONResponse(show(row)), nil
}

// change edits a webhook under its lock: of two merges at once, neither loses
// what the other changed. An edit that changes nothing leaves no trace.
func (s *Service) change(ctx context.Context, id string, edit func(*editor)) (db.Webhook, error) {
	hook, err := param.ID(id)
	if err != nil {
		return db.Webhook{}, err
	}
	var row db.Webhook
	err = s.Store.InTenant(ctx, tenantOf(ctx), func(q *db.Queries) (err error) {
		before, err := q.LockWebhook(ctx, hook)
		if err != nil {
			return store.Found(err)
		}
		e := editor{Service: s, row: before}
		edit(&e)
		if err := e.err(); err != nil {
			return err
		}
		row = e.row
		if same(before, row) {
			return nil
		}
		row, err = q.UpdateWebhook(ctx, db.UpdateWebhookParams{
			ID: row.ID, Name: row.Name, Url: row.Url, Description: row.Description, Events: row.Events,
			Active: row.Active, Operational: row.Operational, Secret: row.Secret, SecretHint: row.SecretHint,
			Headers: row.Headers, HeaderNames: row.HeaderNames, Filter: row.Filter,
			RatePerSecond: row.RatePerSecond, RetryDelays: row.RetryDelays, AutoRecover: row.AutoRecover,
			DisabledAt: row.DisabledAt, DisabledReason: row.DisabledReason,
		})
		if err != nil {
			return store.Found(err)
		}
		return record(ctx, q, "webhook.updated", &before, &row)
	})
	if err != nil {
		return db.Webhook{}, fmt.Errorf("change webhook %s: %w", hook, err)
	}
	return row, nil
}

// DeleteWebhook serves DELETE /api/custom-webhooks/{id}.
func (s *Service) DeleteWebhook(ctx context.Context, req openapi.DeleteWebhookRequestObject) (openapi.DeleteWebhookResponseObject, error) {
	hook, err := param.ID(req.ID)
	if err != nil {
		return nil, err
	}
	err = s.Store.InTenant(ctx, tenantOf(ctx), func(q *db.Queries) error {
		row, err := q.LockWebhook(ctx, hook)
		if err != nil {
			return store.Found(err)
		}
		if _, err := q.DeleteWebhook(ctx, hook); err != nil { // one: it is locked
			return err
		}
		return record(ctx, q, "webhook.deleted", &row, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("delete webhook %s: %w", hook, err)
	}
	return openapi.DeleteWebhook204Response{}, nil
}

// record writes a change of a webhook into the audit log, in the transaction of
// the change.
func record(ctx context.Context, q *db.Queries, action string, before, after *db.Webhook) error {
	change := audit.Change{Action: action, SubjectType: "webhook"}
	if before != nil {
		change.SubjectID, change.Before = before.ID.String(), show(*before)
	}
	if after != nil {
		change.SubjectID, change.After = after.ID.String(), show(*after)
	}
	return audit.Record(ctx, q, change)
}

// same says whether an edit left a row as it was. Ciphertexts are compared as they
// are: an edit keeps that of a value which it does not change.
func same(before, after db.Webhook) bool {
	return bytes.Equal(before.Secret, after.Secret) && bytes.Equal(before.Headers, after.Headers) &&
		reflect.DeepEqual(show(before), show(after))
}

// of runs fn in the tenant's transaction with one of its webhooks.
func (s *Service) of(ctx context.Context, id string, fn func(*db.Queries, db.Webhook) error) error {
	hook, err := param.ID(id)
	if err != nil {
		return err
	}
	err = s.Store.InTenant(ctx, tenantOf(ctx), func(q *db.Queries) error {
		row, err := q.GetWebhook(ctx, hook)
		if err != nil {
			return store.Found(err)
		}
		return fn(q, row)
	})
	if err != nil {
		return fmt.Errorf("webhook %s: %w", hook, err)
	}
	return nil
}

// show is a webhook as answers have it: of header values it does not even know
// the ciphertext.
func show(row db.Webhook) openapi.Webhook {
	w := openapi.Webhook{
		ID: row.ID, Name: row.Name, URL: row.Url, Description: row.Description, Events: row.Events,
		Active: row.Active, Headers: make(openapi.Headers, len(row.HeaderNames)), Filter: row.Filter,
		Retry:       openapi.RetryPolicy{DelaysSeconds: make([]int, len(row.RetryDelays)), AutoRecover: row.AutoRecover},
		Operational: row.Operational, SecretHint: row.SecretHint, DisabledAt: render.Time(row.DisabledAt), DisabledReason: row.DisabledReason,
		CreatedAt: row.CreatedAt.UTC(), UpdatedAt: row.UpdatedAt.UTC(),
	}
	for _, name := range row.HeaderNames {
		w.Headers[name] = mask
	}
	if row.RatePerSecond != nil {
		w.Rate = &openapi.Rate{PerSecond: int(*row.RatePerSecond)}
	}
	for i, delay := range row.RetryDelays {
		w.Retry.DelaysSeconds[i] = int(delay)
	}
	return w
}

// withSecret is a webhook as the answer has it that gives it its secret.
func withSecret(row db.Webhook, secret string) openapi.WebhookWithSecret {
	w := show(row)
	return openapi.WebhookWithSecret{
		ID: w.ID, Name: w.Name, URL: w.URL, Description: w.Description, Events: w.Events, Active: w.Active,
		Headers: w.Headers, Filter: w.Filter, Rate: w.Rate, Retry: w.Retry, Operational: w.Operational, Secret: secret,
		SecretHint: w.SecretHint, DisabledAt: w.DisabledAt, DisabledReason: w.DisabledReason,
		CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt,
	}
}

// covering are the subscriptions that cover s, an event type or itself a
// subscription: those that do so for any webhook, none if s is neither, and those
// that do for an operational one alone.
func covering(s string) (all, operational []string) {
	if !event.ValidSubscription(s) {
		return nil, nil
	}
	wide := []string{event.All}
	for i, c := range strings.TrimSuffix(s, event.All) {
		if c == '.' {
			wide = append(wide, s[:i+1]+event.All)
		}
	}
	if event.Type(s).Operational() {
		return []string{s}, wide
	}
	return append(wide, s), nil
}

// tenantOf is the tenant that the request acts for. Without one, which the
// server's middleware does not let happen, it is the zero one, which has no rows.
func tenantOf(ctx context.Context) uuid.UUID {
	p, _ := auth.FromContext(ctx)
	return p.Tenant
}

func each[From, To any](rows []From, show func(From) To) []To {
	shown := make([]To, len(rows))
	for i, row := range rows {
		shown[i] = show(row)
	}
	return shown
}
