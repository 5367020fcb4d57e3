package oauth

import (
	"context"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
)

// pending answers what nobody serves yet.
type pending struct{}

var errPending = problem.New(501, "", "not served yet")

func (pending) FacebookOAuth(context.Context, openapi.FacebookOAuthRequestObject) (openapi.FacebookOAuthResponseObject, error) {
	return nil, errPending
}

func (pending) FacebookOAuthFunction(context.Context, openapi.FacebookOAuthFunctionRequestObject) (openapi.FacebookOAuthFunctionResponseObject, error) {
	return nil, errPending
}

func (pending) FacebookCallback(context.Context, openapi.FacebookCallbackRequestObject) (openapi.FacebookCallbackResponseObject, error) {
	return nil, errPending
}

func (pending) FacebookCallbackInEnglish(context.Context, openapi.FacebookCallbackInEnglishRequestObject) (openapi.FacebookCallbackInEnglishResponseObject, error) {
	return nil, errPending
}

func (pending) DeleteFacebookData(context.Context, openapi.DeleteFacebookDataRequestObject) (openapi.DeleteFacebookDataResponseObject, error) {
	return nil, errPending
}

func (pending) GetFacebookDataDeletion(context.Context, openapi.GetFacebookDataDeletionRequestObject) (openapi.GetFacebookDataDeletionResponseObject, error) {
	return nil, errPending
}

func (pending) DeauthorizeFacebook(context.Context, openapi.DeauthorizeFacebookRequestObject) (openapi.DeauthorizeFacebookResponseObject, error) {
	return nil, errPending
}
