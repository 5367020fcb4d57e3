package api

import (
	"context"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/services/api/internal/openapi"
)

// rest holds the operations of the contract that no room serves yet, one level
// deeper than the rooms' own.
type rest struct{ pending }

type pending struct{}

var errPending = problem.New(501, "", "this operation is not served yet")

func (pending) ListContacts(context.Context, openapi.ListContactsRequestObject) (openapi.ListContactsResponseObject, error) {
	return nil, errPending
}

func (pending) GetContact(context.Context, openapi.GetContactRequestObject) (openapi.GetContactResponseObject, error) {
	return nil, errPending
}

func (pending) UpdateContact(context.Context, openapi.UpdateContactRequestObject) (openapi.UpdateContactResponseObject, error) {
	return nil, errPending
}

func (pending) ListConversations(context.Context, openapi.ListConversationsRequestObject) (openapi.ListConversationsResponseObject, error) {
	return nil, errPending
}

func (pending) GetConversation(context.Context, openapi.GetConversationRequestObject) (openapi.GetConversationResponseObject, error) {
	return nil, errPending
}

func (pending) UpdateConversation(context.Context, openapi.UpdateConversationRequestObject) (openapi.UpdateConversationResponseObject, error) {
	return nil, errPending
}

func (pending) CloseConversation(context.Context, openapi.CloseConversationRequestObject) (openapi.CloseConversationResponseObject, error) {
	return nil, errPending
}

func (pending) ListMessages(context.Context, openapi.ListMessagesRequestObject) (openapi.ListMessagesResponseObject, error) {
	return nil, errPending
}

func (pending) ReopenConversation(context.Context, openapi.ReopenConversationRequestObject) (openapi.ReopenConversationResponseObject, error) {
	return nil, errPending
}
