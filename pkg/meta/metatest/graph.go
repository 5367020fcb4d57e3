package metatest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// M is an object of JSON.
type M = map[string]any

// maxBody bounds what a call may bring.
const maxBody = 1 << 20

// defaultVersion is of calls without one.
const defaultVersion = "v25.0"

// newestVersion is the latest that there is. Expired ones are served by the oldest
// that lives.
const newestVersion = 26

// call is a request to the Graph API, as far as it could be read.
type call struct {
	method, path string
	version      string
	origin       string // scheme and host, as the caller has them
	object, edge string // /{object}/{edge}
	item         string // /{object}/{edge}/{item}
	params       url.Values
	raw          json.RawMessage
	body         M
	kind         string

	token  string
	holder holder
	number Number // whose call it is, on WhatsApp
	input  string // whom it is to, as it says
	to     string // and as they are known
	person Person
}

// answer is what a call gets.
type answer struct {
	status int
	body   []byte
	sent   string // the id of the message that was accepted, if one was
}

var (
	versionForm = regexp.MustCompile(`^v(\d{1,3})\.\d$`)
	pathForm    = regexp.MustCompile(`^[A-Za-z0-9_.]+$`)
)

// graph serves what graph.facebook.com does.
func (s *Server) graph(w http.ResponseWriter, r *http.Request) {
	c, failed := s.read(w, r)
	s.mu.Lock()
	s.tried(c)
	fault := s.meet(c)
	s.mu.Unlock()
	if !pause(r.Context(), s.cfg.Latency) || fault.Kind != FaultSlowBody && !pause(r.Context(), time.Duration(fault.Delay)) {
		return
	}
	switch fault.Kind {
	case FaultReset:
		cut(w)
		return
	case FaultHTML:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, "<!DOCTYPE html><html><body><h1>Sorry, something went wrong.</h1></body></html>")
		return
	case FaultError:
		failed = fault.Error
	}
	s.mu.Lock()
	trace := "A" + s.text(22)
	a := s.answer(c, failed, fault, trace)
	s.usageHeaders(w.Header(), c)
	s.mu.Unlock()

	h := w.Header()
	h.Set("Content-Type", "application/json; charset=UTF-8")
	h.Set("Facebook-Api-Version", c.version)
	h.Set("X-Fb-Trace-Id", trace)
	h.Set("Cache-Control", "private, no-cache, no-store, must-revalidate")
	switch fault.Kind {
	case FaultLostAnswer:
		cut(w)
		return
	case FaultMalformed:
		a.body = a.body[:len(a.body)/2]
	case FaultEcho:
		a = echo(c, a, fault.Error, trace)
	case FaultSlowBody:
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
		w.WriteHeader(a.status)
		trickle(r.Context(), w, a.body, time.Duration(fault.Delay))
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // the caller may be gone
}

// answer does what a call asks for. The caller holds mu.
func (s *Server) answer(c *call, failed *GraphError, fault Fault, trace string) answer {
	var result any
	if failed == nil && c.kind != callExchange { // that one brings the app's secret
		failed = s.authorise(c)
	}
	if failed == nil {
		failed = s.take(c)
	}
	var a answer
	if failed == nil {
		result, a.sent, failed = s.act(c, fault)
	}
	if failed != nil {
		s.record.refused[failed.Code]++
		return answer{status: failed.Status, body: failed.body(trace)}
	}
	if a.sent != "" && fault.Kind == FaultLostAnswer {
		s.record.lost(a.sent)
	}
	a.status, a.body = http.StatusOK, encode(result)
	if s.quirks.NumericIDs {
		a.body = Encode(result, Encoding{UTF8: true, NumericIDs: true})
	}
	return a
}

// echo is an answer that quotes a call's parameters and token: as an error's message,
// or as what was to be JSON, with the answer that the call would have got.
func echo(c *call, a answer, failed *GraphError, trace string) answer {
	said := c.params.Encode() + " " + c.token
	if failed == nil {
		return answer{status: a.status, body: []byte("You sent " + said + " and get " + string(a.body))}
	}
	quoting := *failed
	quoting.Message += " You sent " + said
	return answer{status: quoting.Status, body: quoting.body(trace)}
}

// act is what a call that may be made does. The caller holds mu.
func (s *Server) act(c *call, fault Fault) (result any, sent string, failed *GraphError) {
	switch {
	case c.kind == callGet && c.edge == "":
		result, failed = s.node(c)
	case c.kind == callExchange:
		result, failed = s.exchange(c)
	case c.kind == callDebug:
		result, failed = s.debugToken(c)
	case c.kind == callAccounts:
		result, failed = s.accounts(c)
	case c.kind == callPermissions:
		result, failed = s.permissionsOf(c)
	case c.kind == callSubscribed:
		result, failed = s.subscribedApps(c)
	case c.method == http.MethodPost && c.edge == "messages" && c.number.ID != "":
		return s.sendWhatsApp(c, fault)
	case c.method == http.MethodPost && c.edge == "messages":
		return s.sendPage(c)
	default:
		failed = unsupported(c.method)
	}
	return result, "", failed
}

// unsupported is answered to a call that nobody serves.
func unsupported(method string) *GraphError {
	return badParameter("Unsupported %s request. Please read the Graph API documentation at https://developers.facebook.com/docs/graph-api", strings.ToLower(method))
}

// read reads a call. One that cannot be understood comes with the reason.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (*call, *GraphError) {
	c := &call{method: r.Method, path: r.URL.Path, version: defaultVersion, origin: origin(r), kind: callOther, params: r.URL.Query(), body: M{}}
	if parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/"); len(parts) > 0 {
		if form := versionForm.FindStringSubmatch(parts[0]); form != nil {
			major, _ := strconv.Atoi(form[1]) // three digits at most
			if major < 1 || major > newestVersion {
				return c, unknownPath(r.URL.Path)
			}
			c.version, parts = parts[0], parts[1:]
		}
		switch {
		case len(parts) == 1:
			c.object = parts[0]
		case len(parts) == 2:
			c.object, c.edge = parts[0], parts[1]
		case len(parts) == 3 && parts[1] == "permissions":
			c.object, c.edge, c.item = parts[0], parts[1], parts[2]
		default:
			return c, unknownPath(r.URL.Path)
		}
		if !pathForm.MatchString(c.object) {
			return c, unknownPath(r.URL.Path)
		}
	}
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return c, badParameter("Invalid parameter")
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")) // none is JSON
	var broken bool
	if media == "application/x-www-form-urlencoded" {
		form, err := url.ParseQuery(string(content))
		broken = err != nil
		for name, values := range form {
			c.params[name] = values
			c.body[name] = formValue(values[0])
		}
		c.raw = encode(c.body)
	} else if len(content) > 0 {
		if json.Unmarshal(content, &c.body) != nil || c.body == nil {
			broken, c.body = true, M{}
		}
		c.raw = content
	}
	c.token = c.params.Get("access_token")
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && (strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "OAuth")) {
		c.token = token
	}
	if token, ok := c.body["access_token"].(string); ok && c.token == "" {
		c.token = token
	}
	s.aim(c)
	if broken {
		return c, badParameter("Invalid parameter")
	}
	return c, nil
}

// formValue is a value of a form: what Meta documents as an object is JSON there.
func formValue(text string) any {
	var v any
	if strings.HasPrefix(text, "{") && json.Unmarshal([]byte(text), &v) == nil {
		return v
	}
	return text
}

// aim finds out what kind of call it is and whom it is for.
func (s *Server) aim(c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.number, _ = s.world.number(c.object)
	get, post, remove := c.method == http.MethodGet, c.method == http.MethodPost, c.method == http.MethodDelete
	switch {
	case c.object == "oauth" && c.edge == "access_token":
		c.kind = callExchange
	case get && c.object == "debug_token" && c.edge == "":
		c.kind = callDebug
	case get && c.edge == "accounts":
		c.kind = callAccounts
	case c.edge == "permissions" && (remove || get && c.item == ""):
		c.kind = callPermissions
	case c.edge == "subscribed_apps" && (get || post || remove):
		c.kind = callSubscribed
	case get:
		c.kind = callGet
	case c.method != http.MethodPost || c.edge != "messages":
	case c.number.ID != "" && c.body["status"] != nil:
		c.kind = callMarkRead
	default:
		c.kind = callSend
		s.address(c)
	}
}

// authorise finds out whose token it is. The caller holds mu.
func (s *Server) authorise(c *call) *GraphError {
	if c.token == "" {
		if c.object == "me" {
			return (&GraphError{Code: 2500, Message: "An active access token must be used to query information about the current user."}).complete()
		}
		return ErrorOf(200)
	}
	var failed *GraphError
	if c.holder, failed = s.whose(c.token); failed != nil {
		return failed
	}
	given := c.param("appsecret_proof")
	proof := func(message string) *GraphError {
		return (&GraphError{Code: 100, Type: methodException, Message: message}).complete()
	}
	switch {
	case given == "" && s.cfg.RequireProof && c.holder.kind != holderApp: // the app's token has the secret in it
		return proof("API calls from the server require an appsecret_proof argument")
	case given != "" && !hmac.Equal([]byte(given), []byte(Proof(s.cfg.AppSecret, c.token))):
		return proof("Invalid appsecret_proof provided in the API argument")
	}
	switch {
	case c.kind == callDebug:
		if c.holder.kind != holderApp {
			return badParameter("You must provide an app access token, or a user access token that is an owner or developer of the app")
		}
	case c.object == "me":
		c.object = c.holder.id
	case !s.may(c):
		return noObject(c.method, c.object)
	}
	return nil
}

// param is a parameter that is a text, from the query, a form or JSON.
func (c *call) param(name string) string {
	if text := c.params.Get(name); text != "" {
		return text
	}
	return text(c.body, name)
}

// list is a parameter that is a list: separated by commas, or of JSON.
func (c *call) list(name string) (all []string) {
	list, ok := c.body[name].([]any)
	if given := c.param(name); !ok && !strings.HasPrefix(given, "[") {
		for one := range strings.SplitSeq(given, ",") {
			list = append(list, strings.TrimSpace(one))
		}
	} else if !ok && json.Unmarshal([]byte(given), &list) != nil {
		return nil
	}
	for _, one := range list {
		if text, ok := one.(string); ok && text != "" {
			all = append(all, text)
		}
	}
	return all
}

// origin is what the caller reached the server by.
func origin(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// Proof is the appsecret_proof of a token.
func Proof(appSecret, token string) string {
	mac := hmac.New(sha256.New, []byte(appSecret))
	_, _ = mac.Write([]byte(token)) // never fails
	return hex.EncodeToString(mac.Sum(nil))
}

// usageHeaders say how much of the limits is taken, in percent. The caller holds mu.
func (s *Server) usageHeaders(h http.Header, c *call) {
	app := s.used.windows[appWindow].percent(s.limits.AppPerMinute)
	h.Set("X-App-Usage", fmt.Sprintf(`{"call_count":%d,"total_cputime":%d,"total_time":%d}`, app, app/2, app/2))
	id, kind, percent := c.object, "messenger", 0
	if c.number.ID != "" {
		id, kind = c.number.WABA, "whatsapp"
		percent = s.used.windows[wabaWindow+id].percent(s.limits.WABAPerMinute)
	} else if _, ok := s.world.account(id); ok {
		kind = "instagram"
	} else if _, ok := s.world.page(id); !ok {
		return
	}
	h.Set("X-Business-Use-Case-Usage", string(encode(M{id: []M{{
		"type": kind, "call_count": percent, "total_cputime": percent / 2, "total_time": percent / 2,
		"estimated_time_to_regain_access": percent / 100, // minutes
	}}})))
}

// pause waits, and reports false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// trickle writes body in ten parts over d.
func trickle(ctx context.Context, w http.ResponseWriter, body []byte, d time.Duration) {
	const parts = 10
	flusher := http.NewResponseController(w)
	for part := range parts {
		if !pause(ctx, d/parts) {
			return
		}
		if _, err := w.Write(body[len(body)*part/parts : len(body)*(part+1)/parts]); err != nil {
			return
		}
		_ = flusher.Flush() // a writer that cannot flush writes when it likes
	}
}

// cut ends the connection so that the caller sees a reset.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // the server cuts it
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // a reset, no orderly end
	}
	_ = conn.Close() // it is meant to break
}
