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

func (pending) CreateReplay(context.Context, openapi.CreateReplayRequestObject) (openapi.CreateReplayResponseObject, error) {
	return nil, errPending
}

func (pending) CancelReplay(context.Context, openapi.CancelReplayRequestObject) (openapi.CancelReplayResponseObject, error) {
	return nil, errPending
}

func (pending) GetReplay(context.Context, openapi.GetReplayRequestObject) (openapi.GetReplayResponseObject, error) {
	return nil, errPending
}
