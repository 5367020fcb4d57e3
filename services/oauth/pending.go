package oauth

import (
	"context"

	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/services/oauth/internal/facebook"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
)

// pending answers what nobody serves yet.
type pending struct{}

var errPending = problem.New(501, "", "not served yet")

// pendingActions are those of POST /api/oauth/facebook.
func pendingActions() []facebook.Action {
	return []facebook.Action{
		facebook.On("subscribe_webhook", func(context.Context, openapi.SubscribeWebhookAction) (any, error) { return nil, errPending }),
		facebook.On("unsubscribe_webhook", func(context.Context, openapi.UnsubscribeWebhookAction) (any, error) { return nil, errPending }),
		facebook.On("list_connections", func(context.Context, openapi.ListConnectionsAction) (any, error) { return nil, errPending }).Stored(),
		facebook.On("refresh", func(context.Context, openapi.RefreshAction) (any, error) { return nil, errPending }),
		facebook.On("disconnect", func(context.Context, openapi.DisconnectAction) (any, error) { return nil, errPending }),
	}
}
