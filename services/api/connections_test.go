package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/primezap/primezap/pkg/auth"
	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/metatest"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/testenv"
	"github.com/primezap/primezap/services/api"
)

const connectionsPath = "/api/connections"

// connecting is a fixture whose Meta is simulated.
type connecting struct {
	*fixture
	graph *metatest.Server
}

func newConnecting(t *testing.T, adjust func(*api.Config)) connecting {
	t.Helper()
	graph := metatest.New(metatest.Config{RequireProof: true})
	base := graph.Start(t)
	f := newFixture(t, func(c *api.Config) {
		c.Meta = meta.Config{GraphURL: base, AppSecret: metatest.DefaultAppSecret, Timeout: 10 * time.Second}
		if adjust != nil {
			adjust(c)
		}
	})
	f.key = f.newKey(f.tenant, auth.ScopeChannelsWrite, auth.ScopeWebhooksRead)
	return connecting{f, graph}
}

// number is a body that connects the simulated number, with more fields or others.
func number(fields string) string {
	return `{"channel":"whatsapp","name":"Sales","externalId":"` + metatest.DefaultNumberID + `","credentials":{"accessToken":"` + metatest.DefaultNumberToken + `"}` + fields + `}`
}

func account(channel, id, token, fields string) string {
	return fmt.Sprintf(`{"channel":%q,"name":"n","externalId":%q,"credentials":{"accessToken":%q}%s}`, channel, id, token, fields)
}

func (f *fixture) connectionRow(id uuid.UUID) db.Connection {
	f.Helper()
	var row db.Connection
	f.check(f.worker.Pool().QueryRow(f.Context(), "SELECT id, tenant_id, credentials, status, token_refused, deleted_at FROM connections WHERE id = $1", id).
		Scan(&row.ID, &row.TenantID, &row.Credentials, &row.Status, &row.TokenRefused, &row.DeletedAt))
	return row
}

func (f *fixture) tokenOf(id uuid.UUID) (token string) {
	f.Helper()
	f.check(f.worker.InTx(f.Context(), func(q *db.Queries) error {
		u, err := connection.ForUse(f.Context(), q, f.vault, f.tenant, id)
		token = u.Token
		return err
	}))
	return token
}

func (f *fixture) connections() (n int) {
	f.Helper()
	f.check(f.worker.Pool().QueryRow(f.Context(), "SELECT count(*) FROM connections").Scan(&n))
	return n
}

// refuse has Meta refuse the connection's token, as a send would meet it.
func (f *fixture) refuse(id uuid.UUID) {
	f.Helper()
	f.check(f.worker.InTx(f.Context(), func(q *db.Queries) error {
		u, err := connection.ForUse(f.Context(), q, f.vault, f.tenant, id)
		if err != nil {
			return err
		}
		return connection.Refused(f.Context(), q, u, "Session has expired", true)
	}))
}

func TestConnections_Create(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, nil)
	for _, tc := range []struct{ name, body, shown, accountName, token string }{
		{name: "a number", body: number(`,"pageId":null`), accountName: "+55 11 4000-0001", token: metatest.DefaultNumberToken,
			shown: `"channel":"whatsapp","name":"Sales","externalId":"` + metatest.DefaultNumberID + `","pageId":null`},
		{name: "a page", body: account("facebook", metatest.DefaultPageID, metatest.DefaultPageToken, ""), accountName: "Loja Exemplo", token: metatest.DefaultPageToken,
			shown: `"channel":"facebook","name":"n","externalId":"` + metatest.DefaultPageID + `","pageId":null`},
		{name: "an Instagram account with its page", accountName: "loja.exemplo", token: metatest.DefaultPageToken,
			body:  account("instagram", metatest.DefaultAccountID, metatest.DefaultPageToken, `,"pageId":"`+metatest.DefaultPageID+`"`),
			shown: `"channel":"instagram","name":"n","externalId":"` + metatest.DefaultAccountID + `","pageId":"` + metatest.DefaultPageID + `"`},
	} {
		a := f.do("POST", connectionsPath, tc.body).is(http.StatusCreated)
		created := into[connection.View](a)
		if got := a.header.Get("Location"); got != connectionsPath+"/"+created.ID.String() {
			t.Errorf("%s: Location %q", tc.name, got)
		}
		read := f.do("GET", a.header.Get("Location"), "").is(http.StatusOK)
		at := created.CreatedAt.Format(time.RFC3339Nano)
		want := fmt.Sprintf(`{"id":%q,%s,"status":"active","accountName":%q,"lastError":null,"createdAt":%q,"updatedAt":%q}`,
			created.ID, tc.shown, tc.accountName, at, at)
		if got := strings.TrimSpace(string(read.body)); got != want {
			t.Errorf("%s reads as\n%s\nwant\n%s", tc.name, got, want)
		}
		if !bytes.Equal(a.body, read.body) {
			t.Errorf("%s was created as\n%s\nand reads as\n%s", tc.name, a.body, read.body)
		}
		if got := f.tokenOf(created.ID); got != tc.token {
			t.Errorf("%s: a send gets the token %q", tc.name, got)
		}
		if sealed := f.connectionRow(created.ID).Credentials; bytes.Contains(sealed, []byte("EAA")) {
			t.Errorf("%s: the token is stored as it is", tc.name)
		}
		audit := f.audit("?subjectId=" + created.ID.String())
		if len(audit) != 1 || audit[0].Action != "connection.created" || audit[0].SubjectType != "connection" || strings.TrimSpace(string(audit[0].After)) != want {
			t.Errorf("%s: audited as %+v", tc.name, audit)
		}
	}
}

func TestConnections_Invalid(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, nil)
	for _, tc := range []struct {
		name, body string
		pointers   []string
	}{
		{name: "nothing", body: `{}`, pointers: []string{"/channel", "/name", "/externalId", "/credentials/accessToken"}},
		{name: "a channel that is none", body: account("telegram", "1", "t", ""), pointers: []string{"/channel"}},
		{name: "an id of other characters", body: account("whatsapp", "1/../2", "t", ""), pointers: []string{"/externalId"}},
		{name: "an id that is too long", body: account("whatsapp", strings.Repeat("1", 65), "t", ""), pointers: []string{"/externalId"}},
		{name: "a page of a number", body: account("whatsapp", "1", "t", `,"pageId":"2"`), pointers: []string{"/pageId"}},
		{name: "a page that is none", body: account("instagram", "1", "t", `,"pageId":""`), pointers: []string{"/pageId"}},
		{name: "a token with a line break", body: account("whatsapp", "1", "t\nx", ""), pointers: []string{"/credentials/accessToken"}},
		{name: "a token that is too long", body: account("whatsapp", "1", strings.Repeat("t", 4097), ""), pointers: []string{"/credentials/accessToken"}},
		{name: "limits out of range", body: account("whatsapp", "1", "t", `,"limits":{"per_minute":-1,"per_hour":1000000001,"per_day":0}`),
			pointers: []string{"/limits/per_minute", "/limits/per_hour"}},
		{name: "a name of spaces", body: strings.Replace(number(""), "Sales", " ", 1), pointers: []string{"/name"}},
		{name: "a status", body: number(`,"status":"active"`), pointers: []string{"/status"}},
		{name: "credentials of another form", body: strings.Replace(number(""), `{"accessToken"`, `{"appSecret":"x","accessToken"`, 1), pointers: []string{"/credentials/appSecret"}},
	} {
		p := f.do("POST", connectionsPath, tc.body).refuses(http.StatusUnprocessableEntity, tc.pointers...)
		if p.Type != "about:blank" {
			t.Errorf("%s: %+v", tc.name, p)
		}
	}
	f.do("POST", connectionsPath+"?verify=maybe", number("")).refuses(http.StatusUnprocessableEntity, "/verify")
	if n := f.connections(); n != 0 {
		t.Errorf("%d are stored", n)
	}
}

func TestConnections_NeedTheScope(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, nil)
	f.key = f.newKey(f.tenant, auth.ScopeWebhooksWrite, auth.ScopeWebhooksRead, auth.ScopeEventsWrite)
	id := uuid.NewString()
	for _, op := range [][2]string{{"GET", ""}, {"POST", ""}, {"GET", "/" + id}, {"PATCH", "/" + id}, {"DELETE", "/" + id}} {
		f.do(op[0], connectionsPath+op[1], number("")).refuses(http.StatusForbidden)
	}
}

// refusal is a problem with what Meta said.
type refusal struct {
	problem.Problem
	MetaCode, MetaSubcode *int
	FBTraceID             string `json:"fbtraceId"`
}

func TestConnections_MetaRefuses(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, nil)
	f.graph.AddPage(metatest.Page{ID: "2002", Name: "Other", Token: "EAAOTHERPAGE"})
	f.graph.AddNumber(metatest.Number{ID: "8002", Phone: "+551140000002", Token: "EAAEXPIRED"})
	f.graph.RevokeToken("EAAEXPIRED", 463)
	f.graph.AddAccount(metatest.Account{ID: "17842", Username: "second", Page: metatest.DefaultPageID})
	for _, tc := range []struct {
		name, body, pointer string
		fault               *metatest.GraphError
		code, subcode       int
	}{
		{name: "a token that it does not know", body: account("whatsapp", metatest.DefaultNumberID, "EAANOBODYS", ""), pointer: "/credentials/accessToken", code: 190},
		{name: "a token that has expired", body: account("whatsapp", "8002", "EAAEXPIRED", ""), pointer: "/credentials/accessToken", code: 190, subcode: 463},
		{name: "a number that is not there", body: account("whatsapp", "8009", metatest.DefaultNumberToken, ""), pointer: "/externalId", code: 100, subcode: 33},
		{name: "another page's token", body: account("facebook", metatest.DefaultPageID, "EAAOTHERPAGE", ""), pointer: "/externalId"},
		{name: "a user's token for a page", body: account("facebook", metatest.DefaultPageID, metatest.DefaultUserToken, ""), pointer: "/externalId"},
		{name: "an account of another page", body: account("instagram", metatest.DefaultAccountID, "EAAOTHERPAGE", ""), pointer: "/externalId", code: 100, subcode: 33},
		{name: "a page that the account is not linked with", pointer: "/pageId", code: 100, subcode: 33,
			body: account("instagram", metatest.DefaultAccountID, metatest.DefaultPageToken, `,"pageId":"2002"`)},
		{name: "a page that is linked with another account", pointer: "/pageId",
			body: account("instagram", "17842", metatest.DefaultPageToken, `,"pageId":"`+metatest.DefaultPageID+`"`)},
		{name: "a permission that is missing", body: number(""), pointer: "/credentials/accessToken", fault: metatest.ErrorOf(10), code: 10},
		{name: "a token of another app", body: number(""), pointer: "/credentials/accessToken", code: 100,
			fault: &metatest.GraphError{Code: 100, Type: "GraphMethodException", Message: "Invalid appsecret_proof provided in the API argument"}},
	} {
		if tc.fault != nil {
			_, err := f.graph.Inject(metatest.Fault{Kind: metatest.FaultError, Error: tc.fault, Next: 1})
			f.check(err)
		}
		a := f.do("POST", connectionsPath, tc.body)
		p := a.refuses(http.StatusUnprocessableEntity, tc.pointer)
		r := into[refusal](a)
		if p.Type != problem.TypeMetaRefused || (r.MetaCode != nil) != (tc.code != 0) || r.MetaCode != nil && *r.MetaCode != tc.code ||
			(r.MetaSubcode != nil) != (tc.subcode != 0) || r.MetaSubcode != nil && *r.MetaSubcode != tc.subcode || (r.FBTraceID != "") != (tc.code != 0) {
			t.Errorf("%s: %s, want code %d and subcode %d", tc.name, a.body, tc.code, tc.subcode)
		}
		if strings.Contains(string(a.body), "EAA") {
			t.Errorf("%s: the answer shows the token: %s", tc.name, a.body)
		}
	}
	if n := f.connections(); n != 0 {
		t.Errorf("%d are stored", n)
	}
}

func TestConnections_MetaAway(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, func(c *api.Config) { c.Meta.Timeout = 300 * time.Millisecond })
	for _, tc := range []struct {
		name  string
		fault metatest.Fault
	}{
		{name: "slow", fault: metatest.Fault{Kind: metatest.FaultLatency, Delay: metatest.Ms(time.Minute)}},
		{name: "gone", fault: metatest.Fault{Kind: metatest.FaultReset}},
		{name: "broken", fault: metatest.Fault{Kind: metatest.FaultHTML}},
		{name: "garbled", fault: metatest.Fault{Kind: metatest.FaultMalformed}},
		{name: "unavailable", fault: metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(2)}},
		{name: "asked too often", fault: metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(4)}},
		{name: "asked too often for this account", fault: metatest.Fault{Kind: metatest.FaultError, Error: metatest.ErrorOf(80007)}},
	} {
		tc.fault.Share = 1
		_, err := f.graph.Inject(tc.fault)
		f.check(err)
		if p := f.do("POST", connectionsPath, number("")).refuses(http.StatusBadGateway); p.Type != problem.TypeMetaUnreachable {
			t.Errorf("%s: %+v", tc.name, p)
		}
		f.graph.ClearFaults()
	}
	if n := f.connections(); n != 0 {
		t.Errorf("%d are stored", n)
	}
	if audit := f.audit(""); len(audit) > 0 {
		t.Errorf("audited: %+v", audit)
	}
	// Nobody asks where the request says so.
	f.graph.Close()
	f.do("POST", connectionsPath, number("")).refuses(http.StatusBadGateway)
	if c := into[connection.View](f.do("POST", connectionsPath+"?verify=false", number("")).is(http.StatusCreated)); c.AccountName != nil {
		t.Errorf("not asked, Meta calls it %q", *c.AccountName)
	}
}

// While Meta is asked no connection to Postgres is held: more requests wait for Meta
// than the pool has.
func TestConnections_AskMetaOutsideOfTransactions(t *testing.T) {
	t.Parallel()
	asked, answer := make(chan struct{}), make(chan struct{})
	graph := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-answer
		fmt.Fprintf(w, `{"id":%q,"display_phone_number":"+55"}`, r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])
	}))
	t.Cleanup(graph.Close)
	f := newFixture(t, func(c *api.Config) { c.Meta = meta.Config{GraphURL: graph.URL, Timeout: time.Minute} })
	f.key = f.newKey(f.tenant, auth.ScopeChannelsWrite)
	first := into[connection.View](f.do("POST", connectionsPath+"?verify=false", number("")).is(http.StatusCreated))
	const requests = 10 // the pool has 4
	type answered struct {
		status int
		body   string
	}
	answers := make(chan answered, requests)
	for i := range requests {
		method, path, body := "POST", connectionsPath, account("whatsapp", fmt.Sprint(i), "t", "")
		if i%2 == 0 {
			method, path, body = "PATCH", connectionsPath+"/"+first.ID.String(), `{"credentials":{"accessToken":"t"}}`
		}
		go func() {
			a := f.do(method, path, body)
			answers <- answered{a.status, string(a.body)}
		}()
	}
	for range requests {
		<-asked
	}
	f.do("GET", connectionsPath, "").is(http.StatusOK)
	close(answer)
	for range requests {
		if a := <-answers; a.status/100 != 2 {
			t.Errorf("answered %d: %s", a.status, a.body)
		}
	}
}

func TestConnections_Taken(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, nil)
	stranger := "Bearer " + f.newKey(uuid.Must(uuid.NewV7()), auth.ScopeChannelsWrite)
	c := into[connection.View](f.do("POST", connectionsPath, number("")).is(http.StatusCreated))
	for _, key := range []string{"Bearer " + f.key, stranger} {
		a := f.do("POST", connectionsPath, number(""), "Authorization", key)
		if p := a.refuses(http.StatusConflict); p.Type != problem.TypeConnectionTaken || strings.Contains(string(a.body), f.tenant.String()) ||
			strings.Contains(string(a.body), c.ID.String()) {
			t.Errorf("answered %s", a.body)
		}
	}
	f.do("DELETE", connectionsPath+"/"+c.ID.String(), "").is(http.StatusNoContent)
	f.do("POST", connectionsPath, number(""), "Authorization", stranger).is(http.StatusCreated)
}

func TestConnections_TwoAtOnce(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, nil)
	if got := f.atOnce(8, "POST", connectionsPath, number("")); got[http.StatusCreated] != 1 || got[http.StatusConflict] != 7 {
		t.Errorf("answered %v, want one 201, and 409 else", got)
	}
	if n := f.connections(); n != 1 {
		t.Errorf("%d are stored", n)
	}
}

func TestConnections_Quota(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, func(c *api.Config) { c.MaxConnections = 2 })
	create := func(id string) answer {
		return f.do("POST", connectionsPath+"?verify=false", account("facebook", id, "t", ""))
	}
	first := into[connection.View](create("1").is(http.StatusCreated))
	create("2").is(http.StatusCreated)
	a := create("3")
	if p := a.refuses(http.StatusForbidden); p.Type != problem.TypeConnectionLimit || a.header.Get("RateLimit-Policy") != `"connections";q=2` {
		t.Errorf("%+v with %v", p, a.header)
	}
	f.do("DELETE", connectionsPath+"/"+first.ID.String(), "").is(http.StatusNoContent)
	create("3").is(http.StatusCreated)
}

func TestConnections_List(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, nil)
	var ids []uuid.UUID
	for i, channel := range []string{"whatsapp", "facebook", "instagram", "whatsapp", "facebook"} {
		c := into[connection.View](f.do("POST", connectionsPath+"?verify=false", account(channel, fmt.Sprint(i), "t", "")).is(http.StatusCreated))
		ids = append(ids, c.ID)
	}
	at := func(which ...int) (want []uuid.UUID) {
		for _, i := range which {
			want = append(want, ids[i])
		}
		return want
	}
	f.do("PATCH", connectionsPath+"/"+ids[0].String(), `{"status":"paused"}`).is(http.StatusOK)
	f.refuse(ids[1])
	f.do("DELETE", connectionsPath+"/"+ids[4].String(), "").is(http.StatusNoContent)
	listed := func(query string, headers ...string) (got []uuid.UUID, p pagination) {
		l := into[list[connection.View]](f.do("GET", connectionsPath+query, "", headers...).is(http.StatusOK))
		for _, c := range l.Data {
			got = append(got, c.ID)
		}
		return got, l.Pagination
	}
	for query, want := range map[string][]uuid.UUID{
		"": at(3, 2, 1, 0), "?channel=whatsapp": at(3, 0), "?channel=facebook": at(1), "?status=active": at(3, 2),
		"?status=paused": at(0), "?status=reconnect&channel=facebook": at(1), "?status=reconnect&channel=whatsapp": nil,
		"?limit=3": at(3, 2, 1), "?limit=3&page=2": at(0),
	} {
		if got, _ := listed(query); !slices.Equal(got, want) {
			t.Errorf("%s lists %v, want %v", query, got, want)
		}
	}
	first, p := listed("?limit=1&channel=whatsapp")
	if p.Total != 2 || p.TotalPages != 2 || p.NextCursor == nil {
		t.Fatalf("pagination %+v", p)
	}
	rest, p := listed("?limit=1&channel=whatsapp&cursor=" + *p.NextCursor)
	if !slices.Equal(append(first, rest...), at(3, 0)) || p.NextCursor != nil {
		t.Errorf("by cursor: %v then %v, %+v", first, rest, p)
	}
	if got, _ := listed("", "Authorization", "Bearer "+f.newKey(uuid.Must(uuid.NewV7()), auth.ScopeChannelsWrite)); len(got) > 0 {
		t.Errorf("a stranger sees %v", got)
	}
	f.do("GET", connectionsPath+"?channel=telegram&status=deleted&limit=0", "").refuses(http.StatusUnprocessableEntity, "/channel", "/status", "/limit")
}

func TestConnections_AnothersAreNotThere(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, nil)
	c := into[connection.View](f.do("POST", connectionsPath, number("")).is(http.StatusCreated))
	gone := into[connection.View](f.do("POST", connectionsPath+"?verify=false", account("facebook", "1", "t", "")).is(http.StatusCreated))
	f.do("DELETE", connectionsPath+"/"+gone.ID.String(), "").is(http.StatusNoContent)
	stranger := "Bearer " + f.newKey(uuid.Must(uuid.NewV7()), auth.ScopeChannelsWrite)
	for _, tc := range []struct{ id, key string }{
		{c.ID.String(), stranger}, {gone.ID.String(), "Bearer " + f.key}, {"x", "Bearer " + f.key}, {uuid.NewString(), "Bearer " + f.key},
	} {
		path := connectionsPath + "/" + tc.id
		f.do("GET", path, "", "Authorization", tc.key).refuses(http.StatusNotFound)
		f.do("DELETE", path, "", "Authorization", tc.key).refuses(http.StatusNotFound)
		f.do("PATCH", path, `{"name":"mine"}`, "Authorization", tc.key).refuses(http.StatusNotFound)
		f.do("PATCH", path, `{"credentials":{"accessToken":"mine"}}`, "Authorization", tc.key).refuses(http.StatusNotFound)
	}
	if got := f.tokenOf(c.ID); got != metatest.DefaultNumberToken {
		t.Errorf("its token is %q now", got)
	}
}

func TestConnections_Update(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, nil)
	c := into[connection.View](f.do("POST", connectionsPath, number("")).is(http.StatusCreated))
	path := connectionsPath + "/" + c.ID.String()
	for _, tc := range []struct {
		name, patch string
		ok          func(before, after connection.View) bool
		leaves      bool // a trace
	}{
		{name: "nothing changes nothing", patch: `{}`, ok: func(b, a connection.View) bool { return a == b }},
		{name: "what it has already changes nothing", ok: func(b, a connection.View) bool { return a == b },
			patch: `{"name":"Sales","status":"active","credentials":{"accessToken":"` + metatest.DefaultNumberToken + `"}}`},
		{name: "a name", patch: `{"name":"Support"}`, leaves: true, ok: func(b, a connection.View) bool { return a.Name == "Support" && a.Status == b.Status }},
		{name: "a pause", patch: `{"status":"paused"}`, leaves: true, ok: func(b, a connection.View) bool { return a.Status == connection.Paused && a.Name == b.Name }},
		{name: "a token does not end a pause", patch: `{"credentials":{"accessToken":"EAASECOND"}}`, leaves: true,
			ok: func(_, a connection.View) bool { return a.Status == connection.Paused }},
		{name: "null is active", patch: `{"status":null}`, leaves: true, ok: func(_, a connection.View) bool { return a.Status == connection.Active }},
		{name: "a token and a pause at once", patch: `{"status":"paused","credentials":{"accessToken":"` + metatest.DefaultNumberToken + `"}}`, leaves: true,
			ok: func(_, a connection.View) bool { return a.Status == connection.Paused }},
		{name: "active", patch: `{"status":"active"}`, leaves: true, ok: func(_, a connection.View) bool { return a.Status == connection.Active }},
	} {
		if strings.Contains(tc.patch, "EAASECOND") {
			f.graph.AddNumber(metatest.Number{ID: metatest.DefaultNumberID, Phone: "+551140000009", Token: "EAASECOND"})
		} else {
			f.graph.AddNumber(metatest.DefaultWorld().Numbers[0])
		}
		before, audited := into[connection.View](f.do("GET", path, "")), len(f.audit("?subjectId="+c.ID.String()))
		after := into[connection.View](f.do("PATCH", path, tc.patch).is(http.StatusOK))
		if tc.leaves || *before.AccountName == *after.AccountName {
			before.AccountName = after.AccountName // views are compared by their pointers
		}
		if !tc.ok(before, after) || after.UpdatedAt.After(before.UpdatedAt) != tc.leaves {
			t.Errorf("%s: %+v became %+v", tc.name, before, after)
		}
		entries := f.audit("?subjectId=" + c.ID.String())
		if (len(entries) > audited) != tc.leaves || tc.leaves && entries[0].Action != "connection.updated" {
			t.Errorf("%s: %d entries became %d", tc.name, audited, len(entries))
		}
	}
	if got := f.tokenOf(c.ID); got != metatest.DefaultNumberToken {
		t.Errorf("its token is %q", got)
	}
	f.do("PATCH", path, `{"name":null,"credentials":null,"status":"reconnect","limits":{"per_day":-1}}`).
		refuses(http.StatusUnprocessableEntity, "/name", "/credentials", "/status", "/limits/per_day")
	f.do("PATCH", path, `{"externalId":"1"}`).refuses(http.StatusUnprocessableEntity, "/externalId")
	f.do("PATCH", path, `{"credentials":{}}`).refuses(http.StatusUnprocessableEntity, "/credentials/accessToken")
}

func TestConnections_ATokenEndsReconnect(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, nil)
	c := into[connection.View](f.do("POST", connectionsPath, number("")).is(http.StatusCreated))
	path := connectionsPath + "/" + c.ID.String()
	f.refuse(c.ID)
	waits := into[connection.View](f.do("GET", path, "").is(http.StatusOK))
	if waits.Status != connection.Reconnect || waits.LastError == nil || waits.LastError.Message != "Session has expired" {
		t.Fatalf("refused, it reads as %+v", waits)
	}
	f.do("PATCH", path, `{"status":"active"}`).refuses(http.StatusConflict)
	f.do("PATCH", path, `{"status":null}`).refuses(http.StatusConflict)
	f.do("PATCH", path, `{"credentials":{"accessToken":"EAANOBODYS"},"name":"x"}`).refuses(http.StatusUnprocessableEntity, "/credentials/accessToken")
	f.do("PATCH", path+"?verify=maybe", `{"credentials":{"accessToken":"EAANOBODYS"}}`).refuses(http.StatusUnprocessableEntity, "/verify")
	if got := into[connection.View](f.do("GET", path, "")); got.Status != waits.Status || *got.LastError != *waits.LastError || got.Name != waits.Name {
		t.Errorf("after what was refused it reads as %+v", got)
	}
	// A pause does not make it forget what it waits for.
	f.do("PATCH", path, `{"status":"paused"}`).is(http.StatusOK)
	f.do("PATCH", path, `{"status":"active"}`).refuses(http.StatusConflict)
	f.do("PATCH", path, `{"status":"active","credentials":{"accessToken":"`+metatest.DefaultNumberToken+`"}}`).is(http.StatusOK)
	f.refuse(c.ID)
	// Meta takes the same token again, as after somebody has confirmed who they are.
	got := into[connection.View](f.do("PATCH", path, `{"credentials":{"accessToken":"`+metatest.DefaultNumberToken+`"}}`).is(http.StatusOK))
	if got.Status != connection.Active || got.LastError != nil {
		t.Errorf("with a token that Meta takes it reads as %+v", got)
	}
	f.refuse(c.ID)
	got = into[connection.View](f.do("PATCH", path+"?verify=false", `{"credentials":{"accessToken":"EAAUNSEEN"}}`).is(http.StatusOK))
	if got.Status != connection.Active || f.tokenOf(c.ID) != "EAAUNSEEN" {
		t.Errorf("with a token that nobody asked about it reads as %+v", got)
	}
}

func TestConnections_Delete(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, nil)
	c := into[connection.View](f.do("POST", connectionsPath, number(`,"limits":{"per_minute":7}`)).is(http.StatusCreated))
	path := connectionsPath + "/" + c.ID.String()
	if a := f.do("DELETE", path, "").is(http.StatusNoContent); len(a.body) > 0 {
		t.Errorf("answered %s", a.body)
	}
	if row := f.connectionRow(c.ID); row.DeletedAt == nil || row.Credentials != nil {
		t.Errorf("the row: %+v, want it without its token", row)
	}
	var limits int
	f.check(f.worker.Pool().QueryRow(t.Context(), "SELECT count(*) FROM integration_rate_limits").Scan(&limits))
	if limits > 0 {
		t.Errorf("%d rate limits are left", limits)
	}
	f.do("GET", path, "").refuses(http.StatusNotFound)
	f.do("GET", path+"/rate-limit", "").refuses(http.StatusNotFound)
	if last := f.audit("")[0]; last.Action != "connection.deleted" || last.SubjectID != c.ID.String() || !strings.Contains(string(last.Before), metatest.DefaultNumberID) {
		t.Errorf("audited as %+v", last)
	}
}

func TestConnections_Limits(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, func(c *api.Config) {
		c.RateLimits.PerMinute, c.RateLimits.PerHour, c.RateLimits.PerDay = 60, 1000, 10_000
	})
	plain := into[connection.View](f.do("POST", connectionsPath, number(``)).is(http.StatusCreated))
	var stored string // for whoever looks into the table before anything is sent
	f.check(f.worker.Pool().QueryRow(t.Context(), "SELECT string_agg(window_type || ' ' || max_requests || ' ' || request_count, ', ' ORDER BY max_requests) "+
		"FROM integration_rate_limits WHERE connection_id = $1", plain.ID).Scan(&stored))
	if want := "per_minute 60 0, per_hour 1000 0, per_day 10000 0"; stored != want {
		t.Errorf("a new connection has %q, want %q", stored, want)
	}
	f.do("DELETE", connectionsPath+"/"+plain.ID.String(), "").is(http.StatusNoContent)
	c := into[connection.View](f.do("POST", connectionsPath, number(`,"limits":{"per_minute":7,"per_day":null}`)).is(http.StatusCreated))
	path := connectionsPath + "/" + c.ID.String()
	limits := func() []int { return into[rateLimit](f.do("GET", path+"/rate-limit", "").is(http.StatusOK)).limits() }
	if got := limits(); !slices.Equal(got, []int{7, 1000, 10_000}) {
		t.Errorf("created with %v", got)
	}
	for _, tc := range []struct {
		name, patch string
		want        []int
	}{
		{name: "other fields leave them alone", patch: `{"name":"x"}`, want: []int{7, 1000, 10_000}},
		{name: "they are replaced as a whole", patch: `{"limits":{"per_hour":8}}`, want: []int{60, 8, 10_000}},
		{name: "none may be sent", patch: `{"limits":{"per_day":0}}`, want: []int{60, 1000, 0}},
		{name: "null gives the defaults", patch: `{"limits":null}`, want: []int{60, 1000, 10_000}},
	} {
		f.do("PATCH", path, tc.patch).is(http.StatusOK)
		if got := limits(); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	if got := f.audit("?action=rate_limit.updated"); len(got) != 4 || got[0].SubjectID != c.ID.String() {
		t.Errorf("audited: %+v, want the limits at creation and three changes", got)
	}
}

// The token is in no answer, log or audit row, whatever becomes of the request.
func TestConnections_TheTokenIsNowhere(t *testing.T) {
	t.Parallel()
	f := newConnecting(t, nil)
	var log bytes.Buffer
	server, err := api.New(api.Config{
		LiveRate: 200, LiveBurst: 1000, Meta: meta.Config{GraphURL: "http://127.0.0.1:1", Timeout: time.Second},
	}, api.Deps{
		Store: f.open(testenv.API), Vault: f.vault, NATS: f.account.Connect(t, testenv.API), Metrics: prometheus.NewRegistry(),
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	f.check(err)
	served := httptest.NewServer(server)
	t.Cleanup(served.Close)
	const secret = "EAAverySECRETtoken0123456789"
	body := account("whatsapp", "1", secret, "")
	var answers []string
	for _, req := range []struct{ method, path, body string }{
		{"POST", connectionsPath, body},                                                 // Meta is away
		{"POST", connectionsPath + "?verify=false", body},                               // created
		{"POST", connectionsPath + "?verify=false", body},                               // taken
		{"POST", connectionsPath + "?verify=maybe", body},                               // invalid
		{"POST", connectionsPath, strings.Replace(body, `"name":"n",`, "", 1)},          // invalid
		{"POST", connectionsPath, `{"credentials":{"accessToken":["` + secret},          // broken
		{"POST", connectionsPath, `{"credentials":{"accessToken":["` + secret + `"]}}`}, // of another type
		{"GET", connectionsPath, ""},
	} {
		a := f.send(served.URL, req.method, req.path, strings.NewReader(req.body))
		answers = append(answers, fmt.Sprint(a.status, string(a.body), a.header))
	}
	created := into[connection.View](answer{fixture: f.fixture, body: json.RawMessage(answers[1][3:strings.LastIndex(answers[1], "map[")])})
	path := connectionsPath + "/" + created.ID.String()
	for _, req := range []struct{ method, path, body string }{
		{"PATCH", path, `{"credentials":{"accessToken":"` + secret + `2"}}`},
		{"PATCH", path + "?verify=false", `{"credentials":{"accessToken":"` + secret + `2"}}`},
		{"GET", path, ""}, {"DELETE", path, ""}, {"GET", auditPath, ""},
	} {
		a := f.send(served.URL, req.method, req.path, strings.NewReader(req.body))
		answers = append(answers, fmt.Sprint(a.status, string(a.body), a.header))
	}
	var stored string
	f.scan("SELECT string_agg(a::text, '') FROM audit_log a", nil, &stored)
	for _, text := range append(answers, log.String(), stored) {
		if strings.Contains(text, "verySECRET") {
			t.Errorf("the token is in %s", text)
		}
	}
	if !strings.Contains(stored, "connection.updated") || !strings.Contains(log.String(), "127.0.0.1:1") {
		t.Errorf("nothing was looked at: %s\n%s", stored, log.String())
	}
}
