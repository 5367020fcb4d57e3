package consent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/oauth/internal/facebook"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
	"github.com/primezap/primezap/services/oauth/internal/refusal"
)

// exchange ends a login by what the dialog came back with.
func (s *Service) exchange(ctx context.Context, in openapi.ExchangeCodeAction) (any, error) {
	if err := check(in); err != nil {
		return nil, err
	}
	if !s.Login.MayRedirect(in.RedirectURI) {
		return nil, login.ErrRedirect
	}
	state, err := s.States.Verify(in.State, claims(ctx, in.RedirectURI))
	if err != nil {
		return nil, err
	}
	if err := s.use(ctx, state); err != nil {
		return nil, err
	}
	if in.Code == "" {
		return nil, denied(in)
	}
	// The code is good once: who hangs up now would not get another answer for it.
	ctx = context.WithoutCancel(ctx)
	found, err := s.read(ctx, in, state)
	if err != nil {
		return nil, anew(err)
	}
	p, _ := auth.FromContext(ctx)
	stored, err := s.save(ctx, p, found)
	if err != nil {
		return nil, lost(err)
	}
	return found.show(stored), nil
}

// check reads the fields by themselves.
func check(in openapi.ExchangeCodeAction) error {
	var faults faults
	failed := in.Error != "" || in.ErrorCode != ""
	switch {
	case in.Code == "" && !failed:
		faults.add("is required, unless there is an error", "code")
	case in.Code != "" && failed:
		faults.add("must not be there beside an error", "code")
	}
	faults.bounded("code", in.Code, maxOpaque)
	faults.bounded("redirectUri", in.RedirectURI, maxRedirect)
	faults.bounded("state", in.State, maxOpaque)
	faults.bounded("error", in.Error, maxErrorName)
	faults.bounded("errorCode", in.ErrorCode, maxErrorCode)
	faults.bounded("errorReason", in.ErrorReason, maxErrorReason)
	faults.bounded("errorDescription", in.ErrorDescription, maxErrorText)
	return faults.err()
}

// use notes that a state was used, for good, whatever comes after it.
func (s *Service) use(ctx context.Context, state login.State) error {
	tenant := facebook.Tenant(ctx)
	err := s.Store.InTenant(ctx, tenant, func(q *db.Queries) error {
		return grant.UseState(ctx, q, tenant, state.Nonce, state.Expires)
	})
	if err != nil {
		return fmt.Errorf("use state: %w", err)
	}
	return nil
}

// denied is the problem of a login that the dialog ended by an error.
func denied(in openapi.ExchangeCodeAction) error {
	said := cmp.Or(in.ErrorDescription, in.ErrorReason, in.Error, "Meta's dialog failed")
	p := problem.Forbidden("the login was not allowed: " + said).WithType(problem.TypeOAuthDenied)
	for name, value := range map[string]string{"metaError": in.Error, "metaErrorReason": in.ErrorReason} {
		if value != "" {
			p = p.WithExtension(name, value)
		}
	}
	if code, err := strconv.Atoi(in.ErrorCode); err == nil {
		p = p.WithExtension("metaCode", code)
	}
	return p
}

const beginAnew = "begin the login anew"

// anew is the error of a login that can go no further: its code is used up.
func anew(err error) error {
	err = refusal.Of(err)
	p, ok := errors.AsType[*problem.Problem](err)
	if !ok {
		return err
	}
	p = p.WithCause(err)
	switch p.Type {
	case problem.TypeMetaUnreachable, problem.TypeMetaThrottled, problem.TypeMetaRefused:
		p.Detail += ": " + beginAnew
	}
	return p
}

// lost is the error of a login whose gain could not be stored.
func lost(err error) error {
	if errors.Is(err, grant.ErrTooMany) {
		return err
	}
	return problem.Unavailable(0, "Meta took the code, and what it gave could not be stored: "+beginAnew).WithCause(err)
}
