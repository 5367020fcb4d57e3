package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/metatest"
)

// No secret is in logs, answers, metrics, rows, messages or a dump of the database,
// whatever goes well or wrong; but for the answers that are there to tell one.
func TestSecrets_StayWhereTheyBelong(t *testing.T) {
	t.Parallel()
	w := newSecretsWorld(t)
	api, oauth := w.sys.APIs[0], w.sys.OAuths[0]
	tenant, other := w.sys.Tenant(), w.sys.Tenant()
	key := w.hide("API key", tenant.key)
	w.hide("API key", other.key)
	planted := random() // no secret: it has to be found

	// Webhooks with secrets and headers of their own, at endpoints that echo.
	r := newReceiver(t)
	echo := func(first int) answer {
		return func(rw http.ResponseWriter, _ *http.Request, d *delivery, _ <-chan struct{}) {
			rw.Header().Set("X-Echo", d.Header.Get("Authorization"))
			if d.Attempt == 1 {
				rw.WriteHeader(first)
			}
			_, _ = fmt.Fprintf(rw, "%v %s", d.Header, d.Body)
		}
	}
	var hooks []string
	for i, status := range []int{200, 500} {
		own, header := w.hide("webhook secret", random()), w.hide("header of a webhook", random())
		var hook webhookInfo
		w.post(api, "/api/custom-webhooks", key, webhookInput{
			Name: fmt.Sprint("hook ", i), URL: r.Endpoint(echo(status)).URL, Events: []string{"*"}, Secret: own,
			Headers: map[string]string{"Authorization": "Bearer " + header}, Operational: true, Retry: &retryPolicy{DelaysSeconds: []int{1}},
		}, http.StatusCreated, &hook, "webhook secret")
		if i == 1 {
			var again webhookInfo
			w.post(api, "/api/custom-webhooks/"+hook.ID+"/regenerate-secret", key, map[string]int{"gracePeriodSeconds": 60}, http.StatusOK, &again, "webhook secret", "new webhook secret")
			w.hide("new webhook secret", again.Secret)
		}
		hooks = append(hooks, hook.ID)
	}
	w.post(api, eventsPath, key, eventInput{Event: "deal.moved", Data: encodeAny(t, map[string]string{"planted": planted})}, http.StatusAccepted, nil)

	// Logins, as they may end.
	var login struct {
		GrantID string
		Pages   []struct{ ID, AccessToken string }
	}
	manager := metatest.Choice{User: metatest.DefaultManagerID}
	first := w.begin(key, manager)
	w.exchange(key, first, nil, http.StatusOK, &login)
	w.exchange(key, first, nil, http.StatusConflict, nil) // replayed
	w.exchange(key, w.begin(key, metatest.Choice{Deny: true}), map[string]any{"code": nil, "error": "access_denied", "errorReason": "user_denied"}, http.StatusForbidden, nil)
	forged := w.begin(key, manager)
	forged.state = strings.ToUpper(forged.state)
	w.exchange(key, forged, nil, http.StatusUnprocessableEntity, nil)
	w.exchange(other.key, w.begin(key, manager), nil, http.StatusUnprocessableEntity, nil)
	unknown := w.begin(key, manager)
	unknown.code = w.hide("code", "AQ"+random())
	w.exchange(key, unknown, nil, http.StatusUnprocessableEntity, nil)
	w.exchange(key, w.begin(key, manager), map[string]any{"unknown": w.hide("code", random())}, http.StatusUnprocessableEntity, nil)

	// Meta that is down, throttles, or quotes what it was sent.
	parameter := &metatest.GraphError{Code: 100, Status: 400}
	for _, fault := range []metatest.Fault{
		{Kind: metatest.FaultReset}, {Kind: metatest.FaultHTML}, {Kind: metatest.FaultLostAnswer}, {Kind: metatest.FaultMalformed}, {Kind: metatest.FaultEcho},
		{Kind: metatest.FaultEcho, Error: parameter}, {Kind: metatest.FaultError, Error: &metatest.GraphError{Code: 4}},
		{Kind: metatest.FaultError, Error: &metatest.GraphError{Code: 190, Subcode: 460}},
	} {
		for _, call := range []string{"access_token", "accounts", "permissions", "get", "subscribed_apps"} {
			b := w.begin(key, manager)
			fault.Call, fault.Next = call, 6
			if _, err := w.meta.Inject(fault); err != nil {
				t.Fatal(err)
			}
			w.try(key, "exchange_code", "redirectUri", secretsCallback, "state", b.state, "code", b.code)
			w.try(key, "subscribe_webhook", "pageId", metatest.DefaultPageID)
			w.meta.ClearFaults()
		}
	}
	login.Pages = nil
	w.exchange(key, w.begin(key, manager), nil, http.StatusOK, &login)

	// What can be done with what was allowed.
	page := ""
	for _, one := range login.Pages {
		if one.ID == metatest.DefaultPageID {
			page = one.AccessToken
		}
	}
	if page == "" {
		t.Fatalf("the login has no token of the page: %+v", login)
	}
	w.try(key, "subscribe_webhook", "pageId", metatest.DefaultPageID)
	w.try(key, "subscribe_webhook", "pageId", metatest.DefaultPageID, "pageAccessToken", page)
	w.try(key, "subscribe_webhook", "pageId", metatest.DefaultPageID, "pageAccessToken", w.token("EAAP"+random()))
	w.try(other.key, "subscribe_webhook", "pageId", metatest.DefaultPageID, "pageAccessToken", page) // takes it over
	w.try(key, "list_connections")
	w.try(key, "refresh", "grantId", login.GrantID)
	w.try(key, "unsubscribe_webhook", "pageId", metatest.DefaultPageID)

	// Credentials that are entered, right and wrong.
	number := metatest.Number{ID: "800000000000009", WABA: "700000000000009", Phone: "+551140000009", Name: "Loja", Token: w.token("EAAS" + random())}
	w.meta.AddNumber(number)
	for token, want := range map[string]int{number.Token: http.StatusCreated, w.token("EAAS" + random()): http.StatusUnprocessableEntity} {
		w.post(api, "/api/connections", key, map[string]any{
			"channel": "whatsapp", "name": "number " + fmt.Sprint(want), "externalId": number.ID, "credentials": map[string]string{"accessToken": token},
		}, want, nil)
	}

	// Meta's own calls: its question, a message, and what is no message of its.
	for _, token := range []string{w.verifyToken, w.hide("verify token", random())} {
		w.ask(api, http.MethodGet, "/webhooks/meta?"+url.Values{"hub.mode": {"subscribe"}, "hub.challenge": {"1"}, "hub.verify_token": {token}}.Encode(), "", "", "")
	}
	message := fmt.Sprintf(`{"object":"whatsapp_business_account","entry":[{"id":"1","changes":[{"field":"messages","value":{"metadata":{"phone_number_id":%q},
		"contacts":[{"profile":{"name":"Ana"},"wa_id":"5511900000001"}],"messages":[{"from":"5511900000001","id":"wamid.1","timestamp":"1763942300","type":"text","text":{"body":%q}}]}}]}]}`, number.ID, planted)
	for _, secret := range []string{w.appSecret, "another"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, urlOf(api)+"/webhooks/meta", strings.NewReader(message))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set(meta.SignatureHeader, meta.Sign(secret, []byte(message)))
		w.send(req)
	}

	// Logins end in the middle: by a crash that dumps what runs, and one that does not.
	for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGKILL} {
		w.begin(key, manager)
		oauth.tell(sig)
		oauth.AwaitExit(exitWithin)
		oauth.Start()
		w.sys.awaitReadiness(oauth)
	}
	w.sys.Workers[0].Kill()
	w.sys.Workers[0].Start()

	// It is taken back: here, and at Meta.
	w.try(key, "disconnect", "grantId", login.GrantID)
	w.exchange(key, w.begin(key, manager), nil, http.StatusOK, nil)
	for _, notice := range []metatest.Notice{{User: metatest.DefaultManagerID, Secret: random()}, {User: metatest.DefaultManagerID}} {
		signed := w.hide("signed_request", w.meta.SignedRequest(notice))
		for _, path := range []string{"/oauth/facebook/deauthorize", "/oauth/facebook/data-deletion"} {
			w.ask(oauth, http.MethodPost, path, "", "application/x-www-form-urlencoded", url.Values{"signed_request": {signed}}.Encode())
		}
	}
	w.sys.AwaitIdle(2 * soon)
	for _, path := range []string{"/api/connections", "/api/audit-log", "/api/events", "/api/api-keys", "/api/contacts", "/api/conversations", "/api/nothing"} {
		w.ask(api, http.MethodGet, path, key, "", "")
	}
	for _, hook := range hooks {
		for _, list := range []string{"", "/logs", "/queue", "/stats"} {
			w.ask(api, http.MethodGet, "/api/custom-webhooks/"+hook+list, key, "", "")
		}
	}
	w.collect()
	for _, place := range []string{"the stream EVENTS", "the table webhook_logs", "the table messages", "GET /api/custom-webhooks"} {
		if !w.seen(place, planted) {
			t.Errorf("%s does not show what was planted there: it is not searched", place)
		}
	}
	w.judge()
}
