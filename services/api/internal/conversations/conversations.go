// Package conversations serves what contacts and a tenant's accounts write to each
// other, and whether somebody has to answer.
package conversations

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/page"
	"github.com/primezap/primezap/services/api/internal/param"
	"github.com/primezap/primezap/services/api/internal/people"
	"github.com/primezap/primezap/services/api/internal/render"
)

// Service implements the operations on conversations and their messages.
type Service struct {
	Store *store.Store
}

// ListConversations serves GET /api/conversations.
func (s *Service) ListConversations(ctx context.Context, req openapi.ListConversationsRequestObject) (openapi.ListConversationsResponseObject, error) {
	pages, faults := page.Parse(req.Params.Page, req.Params.Limit, req.Params.Cursor, page.IDKeySize)
	list := listing{
		statuses:   statuses(req.Params.Status, &faults),
		connection: reference("connectionId", req.Params.ConnectionID, &faults),
		contact:    reference("contactId", req.Params.ContactID, &faults),
		pages:      pages,
	}
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	principal, _ := auth.FromContext(ctx)
	list.tenant = principal.Tenant
	var total int64
	var rows []db.Conversation
	err := s.Store.InTenant(ctx, principal.Tenant, func(q *db.Queries) (err error) {
		if err := list.resolve(ctx, q); err != nil {
			return err
		}
		if total, err = list.count(ctx, q); err != nil {
			return err
		}
		rows, err = list.rows(ctx, q)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list conversations: %w", err)
	}
	rows, pagination := page.Show(pages, rows, total, func(row db.Conversation) []byte { return page.IDKey(row.ID) })
	shown := make([]openapi.Conversation, len(rows))
	for i, row := range rows {
		shown[i] = show(row)
	}
	return openapi.ListConversations200JSONResponse{Data: shown, Pagination: pagination}, nil
}

// statuses are those that are asked for: all, or one.
func statuses(only *string, faults *[]problem.FieldError) []string {
	all := []string{string(messaging.Open), string(messaging.Pending), string(messaging.Closed)}
	if only == nil {
		return all
	}
	for _, status := range all {
		if status == *only {
			return []string{status}
		}
	}
	param.Fault(faults, "status", "must be open, pending or closed")
	return nil
}

// reference is the id of something, nil for a parameter that is not there.
func reference(name string, value *string, faults *[]problem.FieldError) *uuid.UUID {
	if value == nil {
		return nil
	}
	id, ok := param.UUID(*value)
	if !ok {
		param.Fault(faults, name, "must be an id, a UUID")
	}
	return &id
}

// listing is what a list asks for; each way has an index of its own.
type listing struct {
	tenant              uuid.UUID
	statuses            []string
	connection, contact *uuid.UUID
	pages               page.Request
}

// resolve takes a contact that turned out to be another for that other.
func (l *listing) resolve(ctx context.Context, q *db.Queries) error {
	if l.contact == nil {
		return nil
	}
	row, err := people.Find(ctx, q, *l.contact)
	if errors.Is(err, store.ErrNotFound) {
		return nil // then there are none
	}
	l.contact = &row.ID
	return err
}

func (l *listing) count(ctx context.Context, q *db.Queries) (int64, error) {
	switch {
	case l.contact != nil:
		return q.CountConversationsOfContact(ctx, db.CountConversationsOfContactParams{
			ContactID: *l.contact, ConnectionID: l.connection, Statuses: l.statuses, Cap: page.CountLimit,
		})
	case l.connection != nil:
		return q.CountConversationsOfConnection(ctx, *l.connection, l.statuses, page.CountLimit)
	default:
		return q.CountConversations(ctx, l.tenant, l.statuses, page.CountLimit)
	}
}

func (l *listing) rows(ctx context.Context, q *db.Queries) ([]db.Conversation, error) {
	before, limit, offset := l.pages.AfterID(), l.pages.Limit(), l.pages.Offset()
	switch {
	case l.contact != nil:
		return q.ListConversationsOfContact(ctx, db.ListConversationsOfContactParams{
			ContactID: *l.contact, ConnectionID: l.connection, Statuses: l.statuses, Before: before, RowLimit: limit, RowOffset: offset,
		})
	case l.connection != nil:
		return q.ListConversationsOfConnection(ctx, db.ListConversationsOfConnectionParams{
			ConnectionID: *l.connection, Statuses: l.statuses, Before: before, StatusLimit: offset + limit, RowLimit: limit, RowOffset: offset,
		})
	default:
		return q.ListConversations(ctx, db.ListConversationsParams{
			TenantID: l.tenant, Statuses: l.statuses, Before: before, StatusLimit: offset + limit, RowLimit: limit, RowOffset: offset,
		})
	}
}

// GetConversation serves GET /api/conversations/{id}.
func (s *Service) GetConversation(ctx context.Context, req openapi.GetConversationRequestObject) (openapi.GetConversationResponseObject, error) {
	var row db.Conversation
	err := s.of(ctx, req.ID, func(_ *db.Queries, conversation db.Conversation) error {
		row = conversation
		return nil
	})
	if err != nil {
		return nil, err
	}
	return openapi.GetConversation200JSONResponse(show(row)), nil
}

// ListMessages serves GET /api/conversations/{id}/messages: as events have them, raw
// as it came.
func (s *Service) ListMessages(ctx context.Context, req openapi.ListMessagesRequestObject) (openapi.ListMessagesResponseObject, error) {
	pages, faults := page.Parse(req.Params.Page, req.Params.Limit, req.Params.Cursor, page.IDKeySize)
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	var total int64
	var rows []db.Message
	err := s.of(ctx, req.ID, func(q *db.Queries, conversation db.Conversation) (err error) {
		if total, err = q.CountMessages(ctx, conversation.ID, page.CountLimit); err != nil {
			return err
		}
		rows, err = q.ListMessages(ctx, db.ListMessagesParams{
			ConversationID: conversation.ID, Before: pages.AfterID(), RowLimit: pages.Limit(), RowOffset: pages.Offset(),
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	rows, pagination := page.Show(pages, rows, total, func(row db.Message) []byte { return page.IDKey(row.ID) })
	shown := make([]openapi.Message, len(rows))
	for i, row := range rows {
		if shown[i], err = message(row); err != nil {
			return nil, err
		}
	}
	return openapi.ListMessages200JSONResponse{Data: shown, Pagination: pagination}, nil
}

// of runs fn in the tenant's transaction with one of its conversations.
func (s *Service) of(ctx context.Context, id string, fn func(*db.Queries, db.Conversation) error) error {
	conversation, err := param.ID(id)
	if err != nil {
		return err
	}
	principal, _ := auth.FromContext(ctx)
	err = s.Store.InTenant(ctx, principal.Tenant, func(q *db.Queries) error {
		row, err := q.GetConversation(ctx, conversation)
		if errors.Is(err, pgx.ErrNoRows) {
			return store.ErrNotFound
		}
		if err != nil {
			return err
		}
		return fn(q, row)
	})
	if err != nil {
		return fmt.Errorf("conversation %s: %w", conversation, err)
	}
	return nil
}

// show is a conversation as answers have it.
func show(row db.Conversation) openapi.Conversation {
	return openapi.Conversation{
		ID: row.ID, Channel: openapi.Channel(row.Channel), ConnectionID: row.ConnectionID, ContactID: row.ContactID,
		Status: openapi.ConversationStatus(row.Status), Assignee: people.ShowAgent(people.Conversation(row).Assignee),
		LastMessageAt: render.Time(row.LastMessageAt), LastInboundAt: render.Time(row.LastInboundAt),
		CreatedAt: row.CreatedAt.UTC(), UpdatedAt: row.UpdatedAt.UTC(), ClosedAt: render.Time(row.ClosedAt),
	}
}
