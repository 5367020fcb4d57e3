package e2e

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/meta/metatest"
)

// results are the schemas of what the actions of Facebook Login answer.
var results = map[string]string{
	"get_auth_url":        "AuthURL",
	"subscribe_webhook":   "SubscribedWebhook",
	"unsubscribe_webhook": "UnsubscribedWebhook",
	"list_connections":    "GrantedConnections",
	"refresh":             "RefreshedGrant",
	"disconnect":          "Disconnected",
	"exchange_code":       "ExchangedCode",
}

// isAction says whether an operation has actions.
func isAction(op *operation) bool { return strings.HasPrefix(op.id, "facebookOAuth") }

// actionOf is what a body asks for, nothing where it asks for nothing that there is.
func actionOf(body any) string {
	fields, _ := body.(map[string]any)
	action, _ := fields["action"].(string)
	return action
}

// actionSchema is the schema of an action's body.
func (d *contractDocument) actionSchema(op *operation, action string) map[string]any {
	for _, choice := range op.body["oneOf"].([]any) {
		schema := d.resolve(choice.(map[string]any))
		if names, _ := at(schema, "properties", "action", "enum").([]any); len(names) == 1 && names[0] == action {
			return schema
		}
	}
	return nil
}

// managers are people at Meta who log in again and again: a tenant has so many at most.
type managers struct {
	all  [20]struct{ user, page string }
	turn int
}

// next is the one whose turn it is, and their page.
func (m *managers) next(graph *metatest.Server) (user, page string) {
	one := &m.all[m.turn%len(m.all)]
	m.turn++
	if one.user == "" {
		one.user, one.page = newManager(graph)
	}
	return one.user, one.page
}

// action is the body of one that should be done.
func (w *contractWorld) action(rt *rapid.T, doc *contractDocument, op *operation) map[string]any {
	body := doc.value(rt, doc.actionSchema(op, rapid.SampledFrom(slices.Sorted(maps.Keys(results))).Draw(rt, "action")), "").(map[string]any)
	switch body["action"] {
	case "get_auth_url":
		body["redirectUri"] = loginRedirect
		if body["scopes"] != nil {
			body["scopes"] = rapid.SliceOfNDistinct(rapid.SampledFrom(login.DefaultScopes()), 0, 6, rapid.ID).Draw(rt, "permissions")
		}
	case "exchange_code":
		user, _ := w.managers.next(w.graph)
		return w.consent(rt, metatest.Choice{User: user, Deny: rapid.Bool().Draw(rt, "denied")})
	case "subscribe_webhook":
		made, page := w.logIn(rt)
		body["pageId"] = page
		if body["pageAccessToken"] != nil {
			body["pageAccessToken"] = made.Pages[0].AccessToken
		}
		if body["fields"] != nil {
			body["fields"] = rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"messages", "message_reads", "message_reactions", "feed"}), 0, 4, rapid.ID).Draw(rt, "fields")
		}
	case "unsubscribe_webhook":
		_, page := w.logIn(rt)
		if rapid.Bool().Draw(rt, "subscribed") {
			w.act(rt, map[string]any{"action": "subscribe_webhook", "pageId": page}, nil)
		}
		body["pageId"] = page
	case "list_connections":
		delete(body, "cursor") // only an answer has one
	case "refresh", "disconnect":
		made, _ := w.logIn(rt)
		delete(body, "grantId")
		delete(body, "connectionId")
		if rapid.Bool().Draw(rt, "of a connection") {
			body["connectionId"] = *made.Pages[0].ConnectionID
		} else {
			body["grantId"] = made.GrantID
		}
	}
	return body
}

// consent is the body that exchanges what the dialog came back with.
func (w *contractWorld) consent(rt *rapid.T, choice metatest.Choice) map[string]any {
	body, err := w.actor().Consent(w.client.t.Context(), w.graph, choice)
	if err != nil {
		rt.Fatalf("log in: %v", err)
	}
	return body
}

// logIn connects a page, and returns what the exchange answered and the page's id.
func (w *contractWorld) logIn(rt *rapid.T) (made exchanged, page string) {
	user, page := w.managers.next(w.graph)
	w.act(rt, w.consent(rt, metatest.Choice{User: user}), &made)
	if len(made.Pages) != 1 || made.Pages[0].ConnectionID == nil {
		rt.Fatalf("logging in connects %+v", made)
	}
	return made, page
}

func (w *contractWorld) act(rt *rapid.T, body map[string]any, into any) {
	if err := w.actor().Act(w.client.t.Context(), body, http.StatusOK, into); err != nil {
		rt.Fatalf("%v", err)
	}
}

// actor calls the oauth service as whoever the requests are of.
func (w *contractWorld) actor() *client { return w.client.Via(w.sys.OAuths[0]) }

// wrongActions are the ways in which the body of an action can be made wrong beside
// those of any body.
func (w *contractWorld) wrongActions(rt *rapid.T, r *request) map[string]func() []int {
	with := func(name string, value any, status int) func() []int {
		return func() []int {
			fields := maps.Clone(r.body.(map[string]any))
			fields[name] = value
			r.body = fields
			return []int{status}
		}
	}
	ways := map[string]func() []int{"an action that is none": with("action", "exchange", http.StatusUnprocessableEntity)}
	switch actionOf(r.body) {
	case "get_auth_url":
		ways["a redirect that is not allowed"] = with("redirectUri", loginRedirect+"/", http.StatusUnprocessableEntity)
		ways["a permission that is not asked for"] = with("scopes", []string{"ads_management"}, http.StatusUnprocessableEntity)
	case "exchange_code":
		ways["a state that is forged"] = with("state", "forged", http.StatusUnprocessableEntity)
		ways["another redirect"] = with("redirectUri", loginRedirect+"/", http.StatusUnprocessableEntity)
		ways["a state that was used"] = func() []int {
			fields := r.body.(map[string]any)
			if fields["code"] == nil {
				_ = w.actor().Act(w.client.t.Context(), fields, http.StatusForbidden, nil) // what it says is another test's
			} else {
				w.act(rt, fields, nil)
			}
			return []int{http.StatusConflict}
		}
		if r.body.(map[string]any)["code"] != nil {
			ways["a code that Meta does not know"] = with("code", "AQunknown", http.StatusUnprocessableEntity)
		}
	case "subscribe_webhook", "unsubscribe_webhook":
		ways["a page that is not connected"] = func() []int {
			with("pageId", newMetaID(), 0)()
			delete(r.body.(map[string]any), "pageAccessToken")
			return []int{http.StatusNotFound}
		}
		ways["a page that is none"] = with("pageId", "me", http.StatusUnprocessableEntity)
	case "list_connections":
		ways["a cursor that is none"] = with("cursor", "!", http.StatusUnprocessableEntity)
	case "refresh", "disconnect":
		ways["neither grant nor connection"] = func() []int {
			with("grantId", nil, 0)()
			return with("connectionId", nil, http.StatusUnprocessableEntity)()
		}
		for _, name := range []string{"grantId", "connectionId"} {
			if r.body.(map[string]any)[name] != nil {
				ways["an id that nothing has"] = with(name, "0198c0f2-0a1b-7c2d-8e3f-405162738490", http.StatusNotFound)
			}
		}
	}
	return ways
}

// notice is what Meta posts of somebody.
func (w *contractWorld) notice(rt *rapid.T) map[string]any {
	user, _ := w.leavers.next(w.graph)
	if rapid.Bool().Draw(rt, "logged in") {
		w.act(rt, w.consent(rt, metatest.Choice{User: user}), nil)
	}
	return map[string]any{"signed_request": w.graph.SignedRequest(metatest.Notice{
		User: user, Padded: rapid.Bool().Draw(rt, "padded"), NumericID: rapid.Bool().Draw(rt, "a number"),
	})}
}

// deletion asks for a deletion, and returns its code.
func (w *contractWorld) deletion(rt *rapid.T) string {
	user, _ := w.leavers.next(w.graph)
	fields := url.Values{"signed_request": {w.graph.SignedRequest(metatest.Notice{User: user})}}
	req, err := http.NewRequestWithContext(w.client.t.Context(), http.MethodPost, w.api+"/oauth/facebook/data-deletion", strings.NewReader(fields.Encode()))
	if err != nil {
		rt.Fatalf("%v", err)
	}
	req.Header.Set("Content-Type", formType)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		rt.Fatalf("ask for a deletion: %v", err)
	}
	defer resp.Body.Close()
	var asked struct {
		Code string `json:"confirmation_code"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&asked); err != nil || asked.Code == "" {
		rt.Fatalf("asking for a deletion: %s, %v", resp.Status, err)
	}
	return asked.Code
}

// wrongNotices are the ways in which what Meta posts of somebody can be made wrong.
func (w *contractWorld) wrongNotices(r *request) map[string]func() []int {
	signed := func(n metatest.Notice, status int) func() []int {
		return func() []int {
			n.User = metatest.DefaultUserID
			r.body = map[string]any{"signed_request": w.graph.SignedRequest(n)}
			return []int{status}
		}
	}
	raw := func(contentType, body string, status int) func() []int {
		return func() []int {
			r.header.Set("Content-Type", contentType)
			r.raw = []byte(body)
			return []int{status}
		}
	}
	const form = "application/x-www-form-urlencoded"
	return map[string]func() []int{
		"a signature of another secret": signed(metatest.Notice{Secret: "another"}, http.StatusUnauthorized),
		"a signature of another kind":   signed(metatest.Notice{Algorithm: "none"}, http.StatusBadRequest),
		"no signed request":             raw(form, "x=1", http.StatusUnprocessableEntity),
		"nothing":                       raw(form, "", http.StatusUnprocessableEntity),
		"a body that is too large":      raw(form, "signed_request="+strings.Repeat("a", 16<<10), http.StatusRequestEntityTooLarge),
		"a body that is JSON":           raw("application/json", `{"signed_request": "x"}`, http.StatusUnsupportedMediaType),
	}
}
