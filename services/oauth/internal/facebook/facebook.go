// Package facebook serves POST /api/oauth/facebook, and the same under its other name:
// it bounds how often tenants call, reads which action is meant, and answers what that
// one says. What actions do is other packages'.
package facebook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/strict"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
	"github.com/primezap/primezap/services/oauth/internal/refusal"
)

// Service implements the operations.
type Service struct {
	missing []string
	limit   *limit
	actions map[string]Action
	names   string // of all actions
}

// New returns the service of actions. missing are the settings without which those
// fail that are not Stored; perMinute is how often a tenant may call, 0 for as often as
// it likes.
func New(missing []string, perMinute int, actions ...Action) *Service {
	s := &Service{missing: missing, limit: newLimit(perMinute), actions: make(map[string]Action, len(actions))}
	for _, action := range actions {
		s.actions[action.name] = action
	}
	s.names = strings.Join(slices.Sorted(maps.Keys(s.actions)), ", ")
	return s
}

// FacebookOAuth serves POST /api/oauth/facebook.
func (s *Service) FacebookOAuth(ctx context.Context, req openapi.FacebookOAuthRequestObject) (openapi.FacebookOAuthResponseObject, error) {
	return s.serve(ctx, *req.Body)
}

// FacebookOAuthFunction serves POST /functions/v1/facebook-oauth.
func (s *Service) FacebookOAuthFunction(ctx context.Context, req openapi.FacebookOAuthFunctionRequestObject) (openapi.FacebookOAuthFunctionResponseObject, error) {
	return s.serve(ctx, *req.Body)
}

func (s *Service) serve(ctx context.Context, body []byte) (*answer, error) {
	now, tenant := time.Now(), Tenant(ctx)
	if err := s.limit.take(tenant, now); err != nil {
		return nil, err
	}
	action, err := s.which(body)
	if err != nil {
		return nil, err
	}
	if len(s.missing) > 0 && !action.stored {
		return nil, NotConfigured(s.missing)
	}
	said, err := action.do(ctx, body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", action.name, refusal.Of(err))
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // URLs stay readable
	if err := enc.Encode(said); err != nil {
		return nil, fmt.Errorf("encode the answer to %s: %w", action.name, err)
	}
	return &answer{header: s.limit.header(tenant, now), body: buf.Bytes()}, nil
}

// which finds the action that a body is for. The error is a problem.
func (s *Service) which(body []byte) (Action, error) {
	if string(bytes.TrimSpace(body)) == "null" {
		return Action{}, problem.Invalid(problem.FieldError{Detail: "must be an object"})
	}
	var in struct {
		Action *string `json:"action"` // what else there is may depend on it
	}
	if err := jsonv2.Unmarshal(body, &in); err != nil {
		return Action{}, strict.Problem(err)
	}
	if in.Action == nil {
		return Action{}, refusal.Field("action", "is required: one of "+s.names)
	}
	action, ok := s.actions[*in.Action]
	if !ok {
		return Action{}, refusal.Field("action", "must be one of "+s.names)
	}
	return action, nil
}

// NotConfigured says which settings are missing.
func NotConfigured(missing []string) *problem.Problem {
	return problem.Unavailable(0, "not set: "+strings.Join(missing, ", ")).WithType(problem.TypeOAuthNotConfigured)
}

// Tenant is whose request it is.
func Tenant(ctx context.Context) uuid.UUID {
	p, _ := auth.FromContext(ctx)
	return p.Tenant
}

// Private is for the operations of this package: no answer is stored, since some have
// tokens in them, and neither are refusals.
func Private(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set(echo.HeaderCacheControl, "no-store")
		return next(c)
	}
}

// answer is what an action says.
type answer struct {
	header http.Header
	body   []byte
}

// VisitFacebookOAuthResponse implements openapi.FacebookOAuthResponseObject.
func (a *answer) VisitFacebookOAuthResponse(w http.ResponseWriter) error { return a.write(w) }

// VisitFacebookOAuthFunctionResponse implements openapi.FacebookOAuthFunctionResponseObject.
func (a *answer) VisitFacebookOAuthFunctionResponse(w http.ResponseWriter) error { return a.write(w) }

func (a *answer) write(w http.ResponseWriter) error {
	maps.Copy(w.Header(), a.header)
	w.Header().Set(echo.HeaderContentType, echo.MIMEApplicationJSON)
	w.WriteHeader(http.StatusOK)
	_, err := w.Write(a.body)
	return err
}
