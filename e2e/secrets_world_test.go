package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/metatest"
	"github.com/primezap/primezap/pkg/testenv"
)

const (
	secretsCallback = "http://127.0.0.1:8080/oauth/facebook/callback"
	functionPath    = "/functions/v1/facebook-oauth"
)

// secretsWorld is an installation whose secrets are all known, and all that it shows to
// anybody.
type secretsWorld struct {
	t    *testing.T
	sys  *system
	meta *metatest.Server

	appSecret, stateKey, verifyToken string

	mu      sync.Mutex
	secrets []secret
	tokens  map[string]bool // of Meta's
	shown   []shown
}

// shown is a text that somebody sees, and the names of the secrets that it is there to
// tell.
type shown struct {
	where string
	text  []byte
	tells []string
}

// random is a secret that nothing else holds.
func random() string { return rand.Text() + rand.Text() }

func newSecretsWorld(t *testing.T) *secretsWorld {
	t.Helper()
	w := &secretsWorld{t: t, appSecret: random(), stateKey: random(), verifyToken: random(), tokens: make(map[string]bool)}
	w.meta = metatest.New(metatest.Config{
		AppSecret: w.appSecret, VerifyToken: w.verifyToken, RequireProof: true, Quirks: metatest.Quirks{PageSize: 10},
	})
	t.Cleanup(w.meta.Close)
	graph := httptest.NewServer(http.HandlerFunc(w.record))
	t.Cleanup(graph.Close)
	env := []string{
		"LOG_LEVEL=debug", "FACEBOOK_APP_ID=" + metatest.DefaultAppID, "FACEBOOK_APP_SECRET=" + w.appSecret, "META_APP_SECRETS=" + w.appSecret,
		"META_VERIFY_TOKEN=" + w.verifyToken, "META_GRAPH_URL=" + graph.URL, "META_DIALOG_URL=" + graph.URL, "META_GRAPH_TIMEOUT=2s",
		"OAUTH_STATE_KEY=" + w.stateKey, "OAUTH_REDIRECT_ALLOWLIST=" + secretsCallback, "OAUTH_PKCE=true", "OAUTH_ACTIONS_PER_MINUTE=0",
	}
	w.sys = start(t, setup{APIs: 1, Workers: 1, OAuths: 1, APIEnv: env, WorkerEnv: slices.Concat(env, impatient.WorkerEnv), OAuthEnv: env, WholeLogs: true})
	w.hide("app secret", w.appSecret)
	w.hide("state key", w.stateKey)
	w.hide("verify token", w.verifyToken)
	for _, found := range regexp.MustCompile(`"value":\s*"([^"]+)"`).FindAllStringSubmatch(w.sys.keyset, -1) {
		w.hide("vault key", found[1])
	}
	if err := w.meta.SetApp(metatest.App{
		DeauthorizeURL: urlOf(w.sys.OAuths[0]) + "/oauth/facebook/deauthorize", DeletionURL: urlOf(w.sys.OAuths[0]) + "/oauth/facebook/data-deletion",
	}); err != nil {
		t.Fatal(err)
	}
	return w
}

// hide notes a secret.
func (w *secretsWorld) hide(name, text string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := (secret{name, text}); text != "" && !slices.Contains(w.secrets, one) {
		w.secrets = append(w.secrets, one)
	}
	return text
}

// token notes a token of Meta's, and what proves calls with it.
func (w *secretsWorld) token(text string) string {
	w.hide("Meta's token", text)
	w.hide("appsecret_proof", meta.Proof(w.appSecret, text))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens[text] = true
	return text
}

var (
	tokenForm    = regexp.MustCompile(`EAA[BP][A-Za-z0-9_-]{96}`)
	verifierForm = regexp.MustCompile(`code_verifier=([A-Za-z0-9._~-]{43,128})`)
)

// record is Meta, of whose calls all tokens are noted.
func (w *secretsWorld) record(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	for _, found := range verifierForm.FindAllSubmatch(append([]byte(r.URL.RawQuery+"&"), body...), -1) {
		w.hide("PKCE verifier", string(found[1]))
	}
	w.meta.ServeHTTP(&tokenWriter{rw, w}, r)
}

// tokenWriter notes the tokens of an answer, which metatest writes at once.
type tokenWriter struct {
	http.ResponseWriter
	world *secretsWorld
}

func (t *tokenWriter) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *tokenWriter) Write(body []byte) (int, error) {
	for _, token := range tokenForm.FindAll(body, -1) {
		t.world.token(string(token))
	}
	return t.ResponseWriter.Write(body)
}

// show notes what somebody sees.
func (w *secretsWorld) show(where string, text []byte, tells ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shown = append(w.shown, shown{where, text, tells})
}

// ask makes a request, whose whole answer is noted. tells are secrets that the answer
// of a success is there to tell.
func (w *secretsWorld) ask(p *process, method, path, key, contentType, body string, tells ...string) (status int, answer []byte) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, urlOf(p)+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	if body != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return w.send(req, tells...)
}

func (w *secretsWorld) send(req *http.Request, tells ...string) (status int, answer []byte) {
	w.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		tells = nil
	}
	header := fmt.Sprintf("%d %v\n", resp.StatusCode, resp.Header)
	path, _, _ := strings.Cut(req.URL.Path, "?")
	w.show(req.Method+" "+path, append([]byte(header), answer...), tells...)
	return resp.StatusCode, answer
}

// post is ask with JSON, whose answer is read into to unless it is nil.
func (w *secretsWorld) post(p *process, path, key string, body any, want int, to any, tells ...string) {
	w.t.Helper()
	status, answer := w.ask(p, http.MethodPost, path, key, "application/json", string(encodeAny(w.t, body)), tells...)
	if status != want {
		w.t.Errorf("POST %s: answered %d %s, want %d", path, status, answer, want)
		return
	}
	if to != nil {
		if err := json.Unmarshal(answer, to); err != nil {
			w.t.Errorf("POST %s: %v", path, err)
		}
	}
}

func encodeAny(t testing.TB, v any) []byte {
	t.Helper()
	encoded, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// begun is a login up to the dialog's end.
type begun struct{ state, code string }

// begin goes through the dialog, and through the page where it comes back to.
func (w *secretsWorld) begin(key string, choice metatest.Choice) begun {
	w.t.Helper()
	var to struct{ AuthURL, State string }
	w.post(w.sys.OAuths[0], functionPath, key, map[string]any{"action": "get_auth_url", "redirectUri": secretsCallback}, http.StatusOK, &to, "state")
	back, err := w.meta.Consent(to.AuthURL, choice)
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := url.Parse(back)
	if err != nil {
		w.t.Fatal(err)
	}
	b := begun{w.hide("state", to.State), w.hide("code", u.Query().Get("code"))}
	w.ask(w.sys.OAuths[0], http.MethodGet, u.Path+"?"+u.RawQuery, "", "", "")
	return b
}

// exchange ends a login.
func (w *secretsWorld) exchange(key string, b begun, more map[string]any, want int, to any) {
	w.t.Helper()
	body := map[string]any{"action": "exchange_code", "redirectUri": secretsCallback, "state": b.state, "code": b.code}
	for name, value := range more {
		body[name] = value
		if value == nil {
			delete(body, name)
		}
	}
	w.post(w.sys.OAuths[0], functionPath, key, body, want, to, "Meta's token")
}

// try is an action, of which only what it shows matters.
func (w *secretsWorld) try(key, action string, parameters ...string) {
	w.t.Helper()
	body := map[string]any{"action": action}
	for pair := range slices.Chunk(parameters, 2) {
		body[pair[0]] = pair[1]
	}
	w.ask(w.sys.OAuths[0], http.MethodPost, "/api/oauth/facebook", key, "application/json", string(encodeAny(w.t, body)), tellsOf(action)...)
}

// tellsOf are the secrets that an action is there to tell.
func tellsOf(action string) []string {
	if action == "exchange_code" {
		return []string{"Meta's token"}
	}
	return nil
}

// collect notes what lies about when all is done: logs, metrics, tables and streams.
func (w *secretsWorld) collect() {
	w.t.Helper()
	for _, p := range slices.Concat(w.sys.APIs, w.sys.Workers, w.sys.OAuths) {
		w.show("the log of "+p.name, []byte(p.log.all()))
		for line := range strings.Lines(p.log.all()) {
			var record struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &record) != nil || record.Msg != "admin ready" || !p.running() {
				continue
			}
			req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+record.Address+"/metrics", nil)
			if err != nil {
				w.t.Fatal(err)
			}
			if resp, err := http.DefaultTransport.RoundTrip(req); err == nil { // an earlier run's is gone
				text, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				w.show("the metrics of "+p.name, text)
			}
		}
	}
	w.tables()
	w.dump()
	names := w.sys.js.StreamNames(w.t.Context())
	for name := range names.Name() {
		w.stream(name)
	}
	if err := names.Err(); err != nil {
		w.t.Fatal(err)
	}
}

// tables are all rows of all tables, partitions and River's among them, as text.
func (w *secretsWorld) tables() {
	w.t.Helper()
	rows, err := w.sys.database.Query(w.t.Context(), `SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_' ORDER BY 1`)
	if err != nil {
		w.t.Fatal(err)
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) < 20 {
		w.t.Fatalf("tables %v, %v", tables, err)
	}
	for _, table := range tables {
		rows, err := w.sys.database.Query(w.t.Context(), `SELECT t::text FROM `+table+` AS t`)
		if err != nil {
			w.t.Fatal(err)
		}
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			w.t.Fatal(err)
		}
		w.show("the table "+table, []byte(strings.Join(texts, "\n")))
	}
}

// dump is what pg_dump writes, where there is one.
func (w *secretsWorld) dump() {
	w.t.Helper()
	path, err := exec.LookPath("pg_dump")
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump"); err != nil && len(found) > 0 {
		path = found[len(found)-1]
	}
	if path == "" {
		w.t.Log("there is no pg_dump here: the tables alone are searched")
		return
	}
	out, err := exec.CommandContext(w.t.Context(), path, "--dbname", w.sys.setup.Database.URL(testenv.Superuser)).Output()
	if err != nil {
		w.t.Fatalf("pg_dump: %v", err)
	}
	w.show("the output of pg_dump", out)
}

// stream is all that a stream holds.
func (w *secretsWorld) stream(name string) {
	w.t.Helper()
	stream, err := w.sys.js.Stream(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	state := stream.CachedInfo().State
	var text bytes.Buffer
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		msg, err := stream.GetMsg(w.t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s %v %s\n", msg.Subject, msg.Header, msg.Data)
	}
	w.show("the stream "+name, text.Bytes())
}

// judge fails for each secret that stands where it need not.
func (w *secretsWorld) judge() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	s := newSearch(w.secrets)
	s.prove(w.t, w.secrets)
	for _, shown := range w.shown {
		for _, f := range s.find(shown.text) {
			if !slices.Contains(shown.tells, f.secret) {
				w.t.Errorf("%s shows a %s, in the form %s", shown.where, f.secret, f.how)
			}
		}
	}
}

// seen says whether a text stands in what is shown at a place.
func (w *secretsWorld) seen(place, text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := newSearch([]secret{{"planted", text}})
	return slices.ContainsFunc(w.shown, func(one shown) bool {
		return strings.HasPrefix(one.where, place) && len(s.find(one.text)) > 0
	})
}
