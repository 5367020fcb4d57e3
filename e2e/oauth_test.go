package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/meta/metatest"
)

// loginRedirect is where logins of tests come back to. Nothing listens there: tests
// read the address.
const loginRedirect = "http://127.0.0.1:8083/integracoes/facebook/callback"

// loginEnv are the oauth service's settings for a simulated Meta.
func loginEnv(graphURL string) []string {
	return []string{
		"FACEBOOK_APP_ID=" + metatest.DefaultAppID, "META_APP_SECRETS=" + appSecret, "META_GRAPH_URL=" + graphURL, "META_DIALOG_URL=" + graphURL,
		"OAUTH_STATE_KEY=" + strings.Repeat("k", 32), "OAUTH_REDIRECT_ALLOWLIST=" + loginRedirect, "OAUTH_ACTIONS_PER_MINUTE=0",
	}
}

// Act has an action of POST /api/oauth/facebook done, and decodes what it answers into
// into, unless nil.
func (c *client) Act(ctx context.Context, body map[string]any, want int, into any) error {
	return c.Do(ctx, http.MethodPost, "/api/oauth/facebook", body, want, into)
}

// Consent begins a login and plays somebody at Meta's dialog. It returns what
// exchange_code takes.
func (c *client) Consent(ctx context.Context, graph *metatest.Server, choice metatest.Choice) (map[string]any, error) {
	var begun struct{ AuthURL, State string }
	if err := c.Act(ctx, map[string]any{"action": "get_auth_url", "redirectUri": loginRedirect}, http.StatusOK, &begun); err != nil {
		return nil, err
	}
	location, err := graph.Consent(begun.AuthURL, choice)
	if err != nil {
		return nil, fmt.Errorf("the dialog: %w", err)
	}
	back, err := url.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("the dialog came back with %q: %w", location, err)
	}
	body := map[string]any{"action": "exchange_code", "redirectUri": loginRedirect, "state": back.Query().Get("state")}
	for parameter, member := range map[string]string{
		"code": "code", "error": "error", "error_code": "errorCode", "error_reason": "errorReason", "error_description": "errorDescription",
	} {
		if value := back.Query().Get(parameter); value != "" {
			body[member] = value
		}
	}
	return body, nil
}

// newManager makes somebody who has a page with an Instagram account at Meta, and
// returns their id and the page's.
func newManager(graph *metatest.Server) (user, page string) {
	page, account := newMetaID(), newMetaID()
	user = newMetaID()
	graph.AddPage(metatest.Page{ID: page, Name: "Loja " + page, Category: "Store"})
	graph.AddAccount(metatest.Account{ID: account, Username: "loja." + page, Page: page})
	graph.AddUser(metatest.User{ID: user, Name: "Rui Barros", Pages: []string{page}})
	return user, page
}

// newMetaID is an id as Meta's are, and nobody else's.
func newMetaID() string {
	id := uuid.New()
	return fmt.Sprintf("1%018d", binary.BigEndian.Uint64(id[8:])%1e18)
}

// exchanged is what tests read of a login's end.
type exchanged struct {
	AccessToken, GrantID string
	Pages                []struct {
		ID, AccessToken string
		ConnectionID    *string
	}
	Warnings []struct{ Reason, Message string }
}
