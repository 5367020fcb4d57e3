package conversations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/outbox"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
	"github.com/primezap/primezap/services/api/internal/param"
	"github.com/primezap/primezap/services/api/internal/people"
)

// maxCounted is how many messages of a conversation are counted as it is closed.
const maxCounted = 100_000

// UpdateConversation serves PATCH /api/conversations/{id}. A status reopens a closed
// one, an assignee alone does not.
func (s *Service) UpdateConversation(ctx context.Context, req openapi.UpdateConversationRequestObject) (openapi.UpdateConversationResponseObject, error) {
	status, assignee := req.Body.Status, req.Body.Assignee
	faults := people.CheckAgent(assignee.Value, "assignee")
	switch {
	case status.Given && status.Value == nil:
		faults = append(faults, problem.FieldError{Pointer: "/status", Detail: "must not be null"})
	case status.Given && *status.Value != openapi.ConversationStatus(messaging.Open) && *status.Value != openapi.ConversationStatus(messaging.Pending):
		faults = append(faults, problem.FieldError{Pointer: "/status", Detail: "must be open or pending"})
	}
	if len(faults) > 0 {
		return nil, problem.Invalid(faults...)
	}
	row, err := s.change(ctx, req.ID, func(row *db.Conversation) {
		row.Status = string(status.Or(openapi.ConversationStatus(row.Status)))
		if assignee.Given {
			row.AssigneeID, row.AssigneeName = nil, nil
			if a := assignee.Value; a != nil {
				row.AssigneeID, row.AssigneeName = &a.ID, &a.Name
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return openapi.UpdateConversation200JSONResponse(show(row)), nil
}

// CloseConversation serves POST /api/conversations/{id}/close.
func (s *Service) CloseConversation(ctx context.Context, req openapi.CloseConversationRequestObject) (openapi.CloseConversationResponseObject, error) {
	row, err := s.change(ctx, req.ID, func(row *db.Conversation) { row.Status = string(messaging.Closed) })
	if err != nil {
		return nil, err
	}
	return openapi.CloseConversation200JSONResponse(show(row)), nil
}

// ReopenConversation serves POST /api/conversations/{id}/reopen.
func (s *Service) ReopenConversation(ctx context.Context, req openapi.ReopenConversationRequestObject) (openapi.ReopenConversationResponseObject, error) {
	row, err := s.change(ctx, req.ID, func(row *db.Conversation) {
		if closed(*row) {
			row.Status = string(messaging.Open)
		}
	})
	if err != nil {
		return nil, err
	}
	return openapi.ReopenConversation200JSONResponse(show(row)), nil
}

func closed(row db.Conversation) bool { return row.Status == string(messaging.Closed) }

// change changes a conversation under its contact's lock and its own, and tells of
// it. A change that changes nothing leaves no trace.
func (s *Service) change(ctx context.Context, id string, edit func(*db.Conversation)) (db.Conversation, error) {
	conversation, err := param.ID(id)
	if err != nil {
		return db.Conversation{}, err
	}
	principal, _ := auth.FromContext(ctx)
	var row db.Conversation
	err = s.Store.InTenant(ctx, principal.Tenant, func(q *db.Queries) error {
		contact, before, err := people.LockConversation(ctx, q, conversation)
		if err != nil {
			return err
		}
		row = before
		edit(&row)
		was, with := people.Conversation(before), people.Contact(contact)
		if _, changed := messaging.ConversationUpdated(was, people.Conversation(row), with, messaging.Actor{}); !changed {
			row = before
			return nil
		}
		if closed(before) && !closed(row) {
			if err := alone(ctx, q, before); err != nil {
				return err
			}
		}
		row, err = q.UpdateConversation(ctx, db.UpdateConversationParams{
			ID: row.ID, Status: row.Status, AssigneeID: row.AssigneeID, AssigneeName: row.AssigneeName,
		})
		if err != nil {
			return err
		}
		told, _ := messaging.ConversationUpdated(was, people.Conversation(row), with, people.Actor(ctx))
		action := "conversation.updated"
		switch {
		case closed(row) && !closed(before):
			action = "conversation.closed"
			n, err := q.CountMessages(ctx, row.ID, maxCounted)
			if err != nil {
				return err
			}
			told = messaging.ConversationClosed(people.Conversation(row), with, people.Actor(ctx), messaging.Resolved, n)
		case closed(before) && !closed(row):
			action = "conversation.reopened"
		}
		err = audit.Record(ctx, q, audit.Change{
			Action: action, SubjectType: "conversation", SubjectID: row.ID.String(), Before: show(before), After: show(row),
		})
		if err != nil {
			return err
		}
		return outbox.Raise(ctx, q, outbox.Of(row.TenantID, row.UpdatedAt, told))
	})
	if err != nil {
		return db.Conversation{}, fmt.Errorf("change conversation %s: %w", conversation, err)
	}
	return row, nil
}

// alone refuses to reopen a conversation beside another: the contact's next message
// must belong to one.
func alone(ctx context.Context, q *db.Queries, row db.Conversation) error {
	other, err := q.OtherOpenConversation(ctx, row.ContactID, row.ConnectionID, row.ID)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	return problem.Conflict("the contact has another conversation on this connection that is not closed: " + other.String())
}

// message is one as answers have it.
func message(row db.Message) (json.RawMessage, error) {
	m, err := people.Message(row)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("show message %s: %w", row.ID, err)
	}
	return text, nil
}
