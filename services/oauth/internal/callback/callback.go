// Package callback serves the page that Meta's consent dialog comes back to in a
// pop-up. Its script hands what came to the window that opened it:
//
//	{type: "primezap:facebook-oauth", code, state}
//	{type: "primezap:facebook-oauth", error, errorCode, errorReason, errorDescription, state}
//
// Each value is a string, or null where the dialog gave none. The message is sent once to
// each origin that may have it, and the browser delivers it if that is the opener's. The
// opener answers {type: "primezap:facebook-oauth:ack"}, and the page closes itself.
// Where nobody answers it says what happened, and what to do.
//
// The server reads nothing of the URL, which holds the code: the page is the same for
// everybody.
package callback

import (
	"context"
	_ "embed" // the script
	"net/http"
	"slices"
	"strings"

	"github.com/primezap/primezap/services/oauth/internal/asked"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
	"github.com/primezap/primezap/services/oauth/internal/page"
)

//go:embed callback.js
var script string

// Service serves the page.
type Service struct {
	portuguese, english *page.Answer
}

// New makes the page for openers of these origins, and of its own. "*" stands for none
// that a code could be given to.
func New(origins []string) (*Service, error) {
	exact := slices.DeleteFunc(slices.Clone(origins), func(origin string) bool { return origin == "*" })
	p := page.Page{
		Title: "Facebook – PrimeZap", Sections: sections, Unable: unable,
		Script: script, Targets: strings.Join(exact, " "),
	}
	portuguese, err := p.Render(http.StatusOK, page.Portuguese)
	if err != nil {
		return nil, err
	}
	english, err := p.Render(http.StatusOK, page.English)
	if err != nil {
		return nil, err
	}
	return &Service{portuguese, english}, nil
}

func (s *Service) in(ctx context.Context, otherwise page.Language) *page.Answer {
	if page.Prefers(asked.Languages(ctx), otherwise) == page.Portuguese {
		return s.portuguese
	}
	return s.english
}

// FacebookCallback serves GET /integracoes/facebook/callback.
func (s *Service) FacebookCallback(ctx context.Context, _ openapi.FacebookCallbackRequestObject) (openapi.FacebookCallbackResponseObject, error) {
	return s.in(ctx, page.Portuguese), nil
}

// FacebookCallbackInEnglish serves GET /oauth/facebook/callback.
func (s *Service) FacebookCallbackInEnglish(ctx context.Context, _ openapi.FacebookCallbackInEnglishRequestObject) (openapi.FacebookCallbackInEnglishResponseObject, error) {
	return s.in(ctx, page.English), nil
}
