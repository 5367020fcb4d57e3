package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/metatest"
)

// TestContract drives every operation of the contract: valid requests get an
// answer of success, invalid ones a documented refusal, nothing gets a 5xx, and
// every answer fits its schema.
func TestContract(t *testing.T) {
	t.Parallel()
	doc := readContract(t)
	// It makes more of everything than a tenant may have.
	graph := metatest.New(metatest.Config{AppSecret: appSecret})
	graphURL := graph.Start(t)
	sys := start(t, setup{APIs: 1, Workers: 1, OAuths: 1, APIEnv: []string{
		"TENANT_MAX_WEBHOOKS=0", "TENANT_MAX_API_KEYS=0", "TENANT_MAX_CONNECTIONS=0", "META_GRAPH_URL=" + graphURL,
		"META_VERIFY_TOKEN=" + verifyToken, "META_APP_SECRETS=" + appSecret,
	}, OAuthEnv: append(loginEnv(graphURL), "TENANT_MAX_CONNECTIONS=0")})
	w := newContractWorld(t, sys)
	w.graph = graph

	for _, op := range doc.operations {
		t.Run(op.id, func(t *testing.T) {
			answered := map[int]bool{}
			t.Run("valid requests succeed", func(t *testing.T) {
				rapid.Check(t, func(rt *rapid.T) {
					req := w.valid(rt, doc, op)
					status := w.send(rt, doc, op, req)
					if status/100 != 2 && !slices.Contains(refusable[op.id], status) {
						rt.Fatalf("%s: answered %d", req, status)
					}
					answered[status] = true
				})
			})
			if op.anyQuery && len(op.parameters) == 0 {
				return // there is nothing that it would not take
			}
			t.Run("invalid requests are refused", func(t *testing.T) {
				rapid.Check(t, func(rt *rapid.T) {
					req := w.valid(rt, doc, op)
					want := w.spoil(rt, doc, op, req)
					status := w.send(rt, doc, op, req)
					if !slices.Contains(want, status) {
						rt.Fatalf("%s: answered %d, want one of %d", req, status, want)
					}
				})
			})
			for status := range op.answers {
				if status/100 == 2 && !answered[status] && !slices.Contains(rare[op.id], status) {
					t.Errorf("never answered %d", status)
				}
			}
		})
	}
}

// TestContract_Examples checks the contract's examples against its schemas. Every
// body of a request or an answer has one, and so has every type of problem.
func TestContract_Examples(t *testing.T) {
	t.Parallel()
	doc := readContract(t)
	components := at(doc.whole, "components").(map[string]any)
	exemplified := map[string]bool{}
	for name, schema := range components["schemas"].(map[string]any) {
		examples, _ := schema.(map[string]any)["examples"].([]any)
		for _, example := range examples {
			exemplified["#/components/schemas/"+name] = true
			if err := doc.schema(t, "components", "schemas", name).Validate(example); err != nil {
				t.Errorf("the example of %s: %v", name, err)
			}
		}
	}
	types := map[string]bool{}
	problem := doc.schema(t, "components", "schemas", "Problem")
	statuses := map[string]string{} // of the problems, by the name of the answer
	for name, answer := range components["responses"].(map[string]any) {
		examples, _ := at(answer, "content", "application/problem+json", "examples").(map[string]any)
		if len(examples) == 0 {
			t.Errorf("the answer %s has no example", name)
		}
		for title, example := range examples {
			value := at(example, "value")
			if err := problem.Validate(value); err != nil {
				t.Errorf("the example %s of %s: %v", title, name, err)
			}
			types[at(value, "type").(string)] = true
			if status := fmt.Sprint(at(value, "status")); statuses[name] != "" && statuses[name] != status {
				t.Errorf("the examples of %s have the statuses %s and %s", name, statuses[name], status)
			} else {
				statuses[name] = status
			}
		}
	}
	for _, kind := range at(components["schemas"], "Problem", "properties", "type", "enum").([]any) {
		if !types[kind.(string)] {
			t.Errorf("no answer has an example of %s", kind)
		}
	}
	for path, item := range at(doc.whole, "paths").(map[string]any) {
		for method, described := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			bodies := []any{at(described, "requestBody")}
			for status, answer := range at(described, "responses").(map[string]any) {
				bodies = append(bodies, answer)
				ref, _ := at(answer, "$ref").(string)
				if name := strings.TrimPrefix(ref, "#/components/responses/"); ref != "" && statuses[name] != status {
					t.Errorf("%s %s answers %s with examples of %s", method, path, status, statuses[name])
				}
			}
			for _, body := range bodies {
				ref, _ := at(body, "content", "application/json", "schema", "$ref").(string)
				for _, schema := range choicesOf(doc, ref) {
					if !exemplified[schema] {
						t.Errorf("%s %s: %s has no example", method, path, schema)
					}
				}
			}
		}
	}
}

// choicesOf are the schemas that a reference may mean: several for one that is a choice
// of others, none for no reference.
func choicesOf(doc *contractDocument, ref string) (refs []string) {
	if ref == "" {
		return nil
	}
	schema := doc.resolve(map[string]any{"$ref": ref})
	for _, kind := range []string{"oneOf", "anyOf"} {
		choices, _ := schema[kind].([]any)
		for _, choice := range choices {
			if to, ok := at(choice, "$ref").(string); ok {
				refs = append(refs, to)
			}
		}
	}
	if len(refs) == 0 || schema["examples"] != nil {
		return []string{ref}
	}
	return refs
}

// refusable are refusals that a valid request may meet, by the state of things
// at that moment.
var refusable = map[string][]int{
	"retryDelivery": {http.StatusConflict}, // an attempt is in flight
	"createReplay":  {http.StatusConflict}, // one is running
	"cancelReplay":  {http.StatusConflict}, // it has ended already

	"facebookOAuth":         {http.StatusForbidden}, // who logged in has denied it
	"facebookOAuthFunction": {http.StatusForbidden},
}

// rare are successes that need a fault of the servers.
var rare = map[string][]int{}

// request is one request, in parts that can be spoilt.
type request struct {
	method  string
	path    string // with its parameters in it
	query   url.Values
	header  http.Header
	body    any    // to be encoded, unless nil
	raw     []byte // sent instead of body, unless nil
	hasBody bool
}

func (r *request) String() string {
	body := r.raw
	if body == nil && r.hasBody {
		body, _ = json.Marshal(r.body)
	}
	return fmt.Sprintf("%s %s?%s %v %.600s", r.method, r.path, r.query.Encode(), r.header, body)
}

// contractWorld is an installation with something behind every id.
type contractWorld struct {
	sys    *system
	api    string
	key    string      // of a platform key, which may do everything
	feeble []feebleKey // keys for what they do not allow
	tenant uuid.UUID

	client *client

	webhook string // one with logs and deliveries that wait
	event   string // which it got

	connection string

	graph *metatest.Server
	token string // that Meta takes for the connection to be changed

	managers, leavers managers // those who stay, and those who take all back

	contact, conversation string // one of each
}

func newContractWorld(t *testing.T, sys *system) *contractWorld {
	c := sys.Tenant(auth.Scopes()...)
	w := &contractWorld{sys: sys, api: sys.Gateway(), key: c.key, tenant: c.tenant, client: c}
	for _, scope := range []string{auth.ScopeChannelsWrite, auth.ScopeWebhooksRead} {
		w.feeble = append(w.feeble, feebleKey{scope: scope, key: sys.KeyOf(c.tenant, scope)})
	}

	refusing := newReceiver(t).Endpoint(statuses(http.StatusInternalServerError))
	hook := c.SubscribeWith(refusing, webhookInput{Events: []string{"*"}, Retry: &retryPolicy{DelaysSeconds: slices.Repeat([]int{3600}, 12)}})
	w.webhook = hook.ID
	w.event = c.Publish("deal.moved")
	c.AwaitLogs(hook.ID, 1, 30*time.Second)

	w.connection = uuid.NewString()
	_, err := sys.database.Exec(t.Context(), "INSERT INTO connections (id, tenant_id, channel, name, external_id) VALUES ($1, $2, 'whatsapp', 'Sales', $3)", w.connection, w.tenant, w.connection)
	if err != nil {
		t.Fatalf("make a connection: %v", err)
	}
	w.contact, w.conversation = w.correspondence(t)
	return w
}

// feebleKey is a key with one scope.
type feebleKey struct{ scope, key string }

// without is a key that has none of the scopes.
func (w *contractWorld) without(scopes []string) string {
	i := slices.IndexFunc(w.feeble, func(k feebleKey) bool { return !slices.Contains(scopes, k.scope) })
	return w.feeble[i].key
}

// correspondence makes a contact who wrote a message.
func (w *contractWorld) correspondence(t *testing.T) (contact, conversation string) {
	t.Helper()
	contact, conversation = uuid.Must(uuid.NewV7()).String(), uuid.Must(uuid.NewV7()).String()
	for _, sql := range []string{
		"INSERT INTO contacts (id, tenant_id, name, source, phone) VALUES ($3, $1, 'Juliana', 'whatsapp', '+5511912345678')",
		"INSERT INTO conversations (id, tenant_id, connection_id, contact_id, channel) VALUES ($4, $1, $2, $3, 'whatsapp')",
		`INSERT INTO messages (id, tenant_id, connection_id, conversation_id, contact_id, channel, direction, type, text, status, sent_at)
			SELECT id, $1, $2, id, $3, 'whatsapp', 'inbound', 'text', 'Oi', 'received', now() FROM conversations WHERE id = $4`,
	} {
		sql = "WITH given AS (SELECT $1::uuid, $2::uuid, $3::uuid, $4::uuid) " + sql
		if _, err := w.sys.database.Exec(t.Context(), sql, w.tenant, w.connection, contact, conversation); err != nil {
			t.Fatalf("make a conversation: %v", err)
		}
	}
	return contact, conversation
}

// created makes something and returns its id.
func (w *contractWorld) created(t fataler, path string, body any, want int) string {
	var made struct{ ID string }
	if err := w.client.Do(w.client.t.Context(), http.MethodPost, path, body, want, &made); err != nil {
		t.Fatalf("make something: %v", err)
	}
	return made.ID
}

type fataler interface{ Fatalf(string, ...any) }

// params are ids for the parameters of op's path. What op takes away is made for
// it.
func (w *contractWorld) params(rt *rapid.T, op *operation) map[string]string {
	hook := func() string {
		return w.created(rt, "/api/custom-webhooks", map[string]any{
			"name": "short-lived", "url": "https://example.com/", "events": []string{"contact.created"}, "active": false,
		}, http.StatusCreated)
	}
	switch op.id {
	case "deleteWebhook", "createReplay":
		return map[string]string{"id": hook()}
	case "getReplay", "cancelReplay":
		since := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
		id := w.created(rt, "/api/custom-webhooks/"+hook()+"/replay", map[string]any{"since": since}, http.StatusAccepted)
		return map[string]string{"id": id}
	case "revokeAPIKey":
		return map[string]string{"id": w.created(rt, "/api/api-keys", map[string]any{"name": "n", "scopes": []string{"events:write"}}, http.StatusCreated)}
	case "getConnection", "updateConnection", "deleteConnection":
		account := map[string]any{"channel": "whatsapp", "name": "n"}
		w.account(account)
		w.token = account["credentials"].(map[string]any)["accessToken"].(string)
		return map[string]string{"id": w.created(rt, "/api/connections", account, http.StatusCreated)}
	case "getRateLimit", "setRateLimit", "resetRateLimit":
		return map[string]string{"id": w.connection}
	case "getContact", "updateContact":
		return map[string]string{"id": w.contact}
	case "getConversation", "updateConversation", "closeConversation", "reopenConversation", "listMessages":
		return map[string]string{"id": w.conversation}
	case "getEvent":
		return map[string]string{"id": w.event}
	case "getErasure":
		return map[string]string{"id": w.created(rt, "/api/erasures", map[string]any{"contactId": "nobody"}, http.StatusAccepted)}
	case "getFacebookDataDeletion":
		return map[string]string{"code": w.deletion(rt)}
	case "getTenantDeletion":
		return map[string]string{"id": w.created(rt, "/api/tenant-deletions", map[string]any{"tenantId": uuid.New()}, http.StatusAccepted)}
	case "retryDelivery", "cancelDelivery":
		return map[string]string{"id": w.webhook, "deliveryId": w.delivery(rt)}
	case "replaceWebhook", "updateWebhook", "regenerateWebhookSecret", "enableWebhook", "cancelDeliveries", "retryDeliveries", "testWebhook":
		return map[string]string{"id": hook()}
	default:
		return map[string]string{"id": w.webhook}
	}
}

// delivery is one that waits; there is always one.
func (w *contractWorld) delivery(rt *rapid.T) string {
	for {
		queue := w.client.Queue(w.webhook)
		if len(queue) > 1 {
			return queue[0].ID
		}
		w.client.PublishMany("deal.moved", 50)
		eventually(w.client.t, 30*time.Second, func() error {
			if n := w.client.QueueTotal(w.webhook, ""); n < 2 {
				return fmt.Errorf("%d deliveries wait", n)
			}
			return nil
		})
	}
}

// valid is a request that op should take.
func (w *contractWorld) valid(rt *rapid.T, doc *contractDocument, op *operation) *request {
	r := &request{method: strings.ToUpper(op.method), path: op.path, query: url.Values{}, header: http.Header{}}
	ids := w.params(rt, op)
	for _, p := range op.parameters {
		switch p.in {
		case "path":
			r.path = strings.ReplaceAll(r.path, "{"+p.name+"}", ids[p.name])
		case "query":
			if value, ok := challenge[p.name]; ok && op.id == "verifyMetaWebhook" {
				r.query.Set(p.name, value)
			} else if value, ok := queryValue(rt, doc, p); ok && rapid.Bool().Draw(rt, "with "+p.name) {
				r.query.Set(p.name, value)
			}
		case "header":
			if p.name == "Idempotency-Key" && rapid.Bool().Draw(rt, "with a key") {
				r.header.Set(p.name, uuid.NewString())
			}
		}
	}
	if r.query.Has("cursor") && r.query.Has("page") {
		r.query.Del("cursor")
	}
	if op.anyQuery {
		for name, value := range rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(rt, "query") {
			r.query.Set(name, value)
		}
	}
	if !op.public {
		r.header.Set("Authorization", "Bearer "+w.key)
	}
	if op.body != nil && (op.bodyRequired || rapid.Bool().Draw(rt, "with a body")) {
		r.hasBody = true
		r.header.Set("Content-Type", map[bool]string{true: formType, false: "application/json"}[op.form])
		r.body = w.bodyOf(rt, doc, op)
	}
	return r
}

// send makes a request and checks the answer against the contract.
func (w *contractWorld) send(rt *rapid.T, doc *contractDocument, op *operation, r *request) int {
	payload := r.raw
	switch {
	case payload != nil || !r.hasBody:
	case op.form:
		fields := url.Values{}
		for name, value := range r.body.(map[string]any) {
			fields.Set(name, value.(string))
		}
		payload = []byte(fields.Encode())
	default:
		var err error
		if payload, err = json.Marshal(r.body); err != nil {
			rt.Fatalf("encode: %v", err)
		}
	}
	req, err := http.NewRequestWithContext(w.client.t.Context(), r.method, w.api+r.path, bytes.NewReader(payload))
	if err != nil {
		rt.Fatalf("%s: %v", r, err)
	}
	req.URL.RawQuery = r.query.Encode()
	req.Header = r.header.Clone()
	if op.id == "receiveMetaWebhook" && req.Header.Get(meta.SignatureHeader) == "" {
		req.Header.Set(meta.SignatureHeader, meta.Sign(appSecret, payload))
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		rt.Fatalf("%s: %v", r, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		rt.Fatalf("%s: %v", r, err)
	}
	documented, ok := op.answers[resp.StatusCode]
	if !ok {
		rt.Fatalf("%s: answered %d, which is not documented: %s", r, resp.StatusCode, answer)
	}
	if resp.StatusCode >= 500 {
		rt.Fatalf("%s: answered %d: %s", r, resp.StatusCode, answer)
	}
	for _, name := range op.headers[resp.StatusCode] {
		if resp.Header.Get(name) == "" {
			rt.Fatalf("%s: answered %d without %s", r, resp.StatusCode, name)
		}
	}
	if resp.Header.Get("X-Request-Id") == "" {
		rt.Fatalf("%s: answered %d without X-Request-Id", r, resp.StatusCode)
	}
	mediaType, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	schema, ok := documented[mediaType]
	switch {
	case len(documented) == 0 && len(answer) == 0:
		return resp.StatusCode
	case !ok:
		rt.Fatalf("%s: answered %d with a body of type %q: %s", r, resp.StatusCode, mediaType, answer)
	}
	value, err := decode(answer)
	if strings.HasPrefix(mediaType, "text/") {
		value, err = string(answer), nil
	}
	if err != nil {
		rt.Fatalf("%s: answered %q: %v", r, answer, err)
	}
	if err := doc.compiled(rt, schema).Validate(value); err != nil {
		rt.Fatalf("%s: answered %s, which does not fit its schema: %v", r, answer, err)
	}
	if isAction(op) && resp.StatusCode == http.StatusOK { // its schema is that of any action
		if err := doc.schema(rt, "components", "schemas", results[actionOf(r.body)]).Validate(value); err != nil {
			rt.Fatalf("%s: answered %s, which does not fit the action: %v", r, answer, err)
		}
	}
	return resp.StatusCode
}

// spoil makes r wrong in one way and returns the statuses that fit.
func (w *contractWorld) spoil(rt *rapid.T, doc *contractDocument, op *operation, r *request) []int {
	ways := map[string]func() []int{}
	if !op.anyQuery {
		ways["an unknown query parameter"] = func() []int {
			r.query.Set("unheard-of", "1")
			return []int{http.StatusUnprocessableEntity}
		}
	}
	if !op.public {
		ways["no credential"] = func() []int {
			r.header.Del("Authorization")
			return []int{http.StatusUnauthorized}
		}
		ways["an unknown key"] = func() []int {
			r.header.Set("Authorization", "Bearer "+auth.NewKey())
			return []int{http.StatusUnauthorized}
		}
		ways["a tenant that is none"] = func() []int {
			r.header.Set("X-Tenant-Id", rapid.SampledFrom([]string{"x", "0", uuid.Nil.String()}).Draw(rt, "tenant"))
			return []int{http.StatusBadRequest}
		}
		if len(op.scopes) > 0 {
			ways["a key without the scope"] = func() []int {
				r.header.Set("Authorization", "Bearer "+w.without(op.scopes))
				return []int{http.StatusForbidden}
			}
		}
	}
	for _, p := range op.parameters {
		switch p.in {
		case "path":
			ways["an id that nothing has, for "+p.name] = func() []int {
				unknown := rapid.SampledFrom([]string{uuid.Must(uuid.NewV7()).String(), "x", "%00", "..%2f", strings.Repeat("a", 300), uuid.Nil.String()}).Draw(rt, "id")
				segments := strings.Split(op.path, "/")
				path := strings.Split(r.path, "/")
				path[slices.Index(segments, "{"+p.name+"}")] = unknown
				r.path = strings.Join(path, "/")
				return []int{http.StatusNotFound}
			}
		case "query":
			if bad := wrongQuery(doc, p); bad != nil {
				ways["a wrong value for "+p.name] = func() []int {
					r.query.Set(p.name, rapid.SampledFrom(bad).Draw(rt, "value"))
					return []int{http.StatusUnprocessableEntity}
				}
			}
			ways["twice "+p.name] = func() []int {
				r.query[p.name] = []string{"1", "1"}
				return []int{http.StatusUnprocessableEntity}
			}
		}
	}
	switch {
	case op.id == "receiveMetaWebhook":
		maps.Copy(ways, wrongUpdates(r))
	case op.form:
		maps.Copy(ways, w.wrongNotices(r))
	case isAction(op):
		maps.Copy(ways, w.wrongBodies(rt, doc, op, r))
		maps.Copy(ways, w.wrongActions(rt, r))
	case op.body != nil:
		maps.Copy(ways, w.wrongBodies(rt, doc, op, r))
	}
	if op.id == "verifyMetaWebhook" {
		ways["another token"] = func() []int {
			r.query.Set("hub.verify_token", "another")
			return []int{http.StatusForbidden}
		}
	}
	return ways[rapid.SampledFrom(slices.Sorted(maps.Keys(ways))).Draw(rt, "wrong by")]()
}
