package connections

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/messaging"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/problem"
)

// accounts asks Meta; it is a *meta.Client.
type accounts interface {
	Account(ctx context.Context, channel messaging.Channel, id, token string) (meta.Account, error)
	LinkedAccount(ctx context.Context, page, token string) (string, error)
}

// Where a request has what Meta is asked about.
const (
	atToken   = "/credentials/accessToken"
	atAccount = "/externalId"
	atPage    = "/pageId"
)

// check asks Meta whether a token is an account's own, and the page its page. It
// returns what Meta calls the account, nil where it has no name for it. The error is
// a problem.
func (s *Service) check(ctx context.Context, a connection.Account) (*string, error) {
	account, err := s.Meta.Account(ctx, a.Channel, a.ExternalID, a.Token)
	if errors.Is(err, meta.ErrOtherAccount) {
		return nil, refused(atAccount, "is not the account that the token is for")
	}
	if err != nil {
		return nil, explain(err, atAccount)
	}
	if a.PageID != nil {
		linked, err := s.Meta.LinkedAccount(ctx, *a.PageID, a.Token)
		if errors.Is(err, meta.ErrOtherAccount) || err == nil && linked != a.ExternalID {
			return nil, refused(atPage, "is not the page that the account is linked with")
		}
		if err != nil {
			return nil, explain(err, atPage)
		}
	}
	if account.Name == "" {
		return nil, nil
	}
	return &account.Name, nil
}

// explain is the problem of an error of Meta's, at of one that is not the token's.
func explain(err error, at string) error {
	answer, answered := errors.AsType[*meta.Error](err)
	if !answered {
		return unreachable("Meta did not answer: the token could not be checked", err)
	}
	switch answer.Class {
	case meta.Retryable:
		return unreachable("Meta cannot check the token now", err)
	case meta.RateLimited, meta.RateLimitedRecipient:
		p := unreachable("Meta takes no more calls for now: the token could not be checked", err)
		p.RetryAfter = answer.Usage.RegainAccess()
		return p
	case meta.Auth, meta.Permission:
		at = atToken
	default:
		if strings.Contains(answer.Message, "appsecret_proof") { // the token is another app's
			at = atToken
		}
	}
	detail := "Meta refuses it"
	if answer.Message != "" {
		detail += ": " + answer.Message
	}
	p := answer.On(refused(at, detail))
	return fmt.Errorf("check with Meta: %w", p.WithCause(err))
}

func refused(at, detail string) *problem.Problem {
	return problem.Invalid(problem.FieldError{Pointer: at, Detail: detail}).WithType(problem.TypeMetaRefused)
}

func unreachable(detail string, cause error) *problem.Problem {
	return problem.New(http.StatusBadGateway, "", detail).WithType(problem.TypeMetaUnreachable).WithCause(cause)
}
