package metatest

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// How long users' tokens live.
const (
	shortLife = 5108 * time.Second
	longLife  = 60 * 24 * time.Hour
)

// maxTokens is how many tokens, and how many codes, are known at a time; the oldest
// are forgotten.
const maxTokens = 100_000

// token is one that the app was given.
type token struct {
	user    string
	page    string // whose token it is, if it is no user's
	long    bool
	issued  time.Time
	expires time.Time   // zero: never
	dead    *GraphError // why it is good for nothing any more
}

// tokens are those that the app was given.
type tokens struct {
	all   map[string]*token
	order []string          // the oldest first
	pages map[pageOf]string // tokens of pages
}

// pageOf is a page as read with a user's token: read again, its token is the same.
type pageOf struct{ token, page string }

func newTokens() tokens {
	return tokens{all: make(map[string]*token), pages: make(map[pageOf]string)}
}

// issue gives a token out. The caller holds mu.
func (s *Server) issue(t token) string {
	t.issued = s.now()
	prefix := "EAAB"
	if t.page != "" {
		prefix = "EAAP"
	}
	text := prefix + s.text(96)
	s.tokens.all[text] = &t
	s.tokens.order = append(s.tokens.order, text)
	if len(s.tokens.order) > maxTokens {
		delete(s.tokens.all, s.tokens.order[0]) // its pages' tokens go in their turn
		s.tokens.order = s.tokens.order[1:]
	}
	return text
}

// pageToken is the token of a page for who reads it with a user's token: one without
// end from a token that lives long. It is empty where the user may not act for the
// page. The caller holds mu.
func (s *Server) pageToken(c *call, p Page) string {
	from := s.tokens.all[c.token]
	u, _ := s.world.user(c.holder.user)
	switch {
	case c.holder.kind == holderPage:
		return c.token
	case !u.acts(p.ID):
		return ""
	case from == nil && p.Token != "": // both are the world's
		return p.Token
	}
	key := pageOf{c.token, p.ID}
	if text, ok := s.tokens.pages[key]; ok && s.tokens.all[text] != nil {
		return text
	}
	t := token{user: c.holder.user, page: p.ID, long: true}
	if from != nil && !from.long {
		t.long, t.expires = false, from.expires
	}
	if len(s.tokens.pages) > maxTokens {
		clear(s.tokens.pages) // they will be other ones
	}
	s.tokens.pages[key] = s.issue(t)
	return s.tokens.pages[key]
}

// whose finds who has a token, or why it is good for nothing. The caller holds mu.
func (s *Server) whose(text string) (holder, *GraphError) {
	if failed := s.dead[text]; failed != nil {
		return holder{}, failed
	}
	if text == s.appToken() {
		return holder{kind: holderApp, id: s.cfg.AppID}, nil
	}
	t := s.tokens.all[text]
	if t == nil {
		h, ok := s.world.holder(text)
		if !ok {
			return holder{}, ErrorOf(190)
		}
		return h, nil
	}
	switch {
	case t.dead != nil:
		return holder{}, t.dead
	case !t.expires.IsZero() && !s.now().Before(t.expires):
		return holder{}, s.invalid(463, t.expires)
	case t.page == "":
		return holder{kind: holderUser, id: t.user, user: t.user}, nil
	case !s.reaches(t.user, t.page):
		return holder{}, s.invalid(492, time.Time{})
	}
	return holder{kind: holderPage, id: t.page, user: t.user}, nil
}

// appToken is the app's own.
func (s *Server) appToken() string { return s.cfg.AppID + "|" + s.cfg.AppSecret }

// invalid is what is said of a token that is good no more.
func (s *Server) invalid(subcode int, at time.Time) *GraphError {
	reasons := map[int]string{
		458: "The user has not authorized application " + s.cfg.AppID + ".",
		459: "The user has to log in at www.facebook.com and do what is asked there.",
		460: "The session has been invalidated because the user changed their password or Facebook has changed the session for security reasons.",
		463: "Session has expired on " + at.UTC().Format("Monday, 02-Jan-06 15:04:05 MST") + ".",
		464: "The user's account is not confirmed.",
		467: "The session is invalid because the user logged out.",
		492: "The user has no role on the page, or has not chosen it.",
	}
	reason := cmp.Or(reasons[subcode], "Simulated.")
	return (&GraphError{Code: 190, Subcode: subcode, Message: "Error validating access token: " + reason}).complete()
}

// RevokeToken makes calls with a token fail with code 190 from now on. Subcode 0 is
// 463, a token that has expired.
func (s *Server) RevokeToken(token string, subcode int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead[token] = s.invalid(cmp.Or(subcode, 463), s.now())
}

// RestoreToken makes a revoked token good again.
func (s *Server) RestoreToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.dead, token)
}

// ExpireTokens makes the tokens of a user's logins end at a time, which may be to
// come, and those of pages that end with them, and returns how many those are.
func (s *Server) ExpireTokens(user string, at time.Time) (tokens int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens.all {
		if t.user == user && t.dead == nil && !t.expires.IsZero() {
			t.expires = at
			tokens++
		}
	}
	return tokens
}

// InvalidateUser makes all tokens fail with code 190 that a user has, and those of
// pages that come from them, and returns how many those are. Subcode 0 is 463: then
// only those fail that can expire. Tokens of a new login are good.
func (s *Server) InvalidateUser(user string, subcode int) (tokens int) {
	subcode = cmp.Or(subcode, 463)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.invalidate(user, subcode)
}

// invalidate is InvalidateUser. The caller holds mu.
func (s *Server) invalidate(user string, subcode int) (tokens int) {
	now := s.now()
	for _, t := range s.tokens.all {
		if t.user != user || t.dead != nil || subcode == 463 && t.expires.IsZero() {
			continue
		}
		t.dead = s.invalid(subcode, now)
		if subcode == 463 {
			t.expires = now
		}
		tokens++
	}
	if u, ok := s.world.user(user); ok && u.Token != "" && s.dead[u.Token] == nil {
		s.dead[u.Token] = s.invalid(subcode, now)
		tokens++
	}
	return tokens
}

// deauthorise takes back all that a user allowed. The caller holds mu.
func (s *Server) deauthorise(user string) {
	s.invalidate(user, 458)
	delete(s.grants, user)
}

// debugToken serves GET /debug_token. The caller holds mu.
func (s *Server) debugToken(c *call) (any, *GraphError) {
	input := c.param("input_token")
	if input == "" {
		return nil, badParameter("The parameter input_token is required.")
	}
	h, failed := s.whose(input)
	data := M{"is_valid": failed == nil, "scopes": []string{}}
	if failed != nil {
		problem := M{"code": failed.Code, "message": failed.Message}
		if failed.Subcode != 0 {
			problem["subcode"] = failed.Subcode
		}
		data["error"] = problem
	}
	t := s.tokens.all[input]
	known := h.kind != ""
	if t == nil {
		t = &token{issued: s.began}
		if !known {
			h, known = s.world.holder(input)
		}
	} else if !known {
		h, known = holder{kind: holderUser, id: t.user, user: t.user}, true
		if t.page != "" {
			h = holder{kind: holderPage, id: t.page, user: t.user}
		}
	}
	if !known {
		return M{"data": data}, nil
	}
	expires := t.expires
	if failed != nil && failed.Subcode == 463 && (expires.IsZero() || expires.After(s.now())) {
		expires = s.now()
	}
	data["app_id"], data["application"] = s.cfg.AppID, appName
	data["type"] = map[string]string{holderApp: "APP", holderUser: "USER", holderPage: "PAGE", holderNumber: "SYSTEM_USER"}[h.kind]
	if h.kind == holderApp {
		return M{"data": data}, nil
	}
	data["issued_at"], data["expires_at"] = s.moment(t.issued), s.moment(expires)
	data["data_access_expires_at"] = s.moment(time.Time{})
	switch h.kind {
	case holderPage:
		data["profile_id"] = h.id
	case holderNumber:
		data["user_id"], _, _ = strings.Cut(h.id, "|")
		data["scopes"] = []string{"whatsapp_business_management", "whatsapp_business_messaging", publicProfile}
	}
	if h.user == "" {
		return M{"data": data}, nil
	}
	data["user_id"] = h.user
	if g := s.grantOf(h.user); g != nil {
		data["data_access_expires_at"] = s.moment(g.until)
		if failed == nil {
			data["scopes"] = g.granted(s.now())
			data["granular_scopes"] = s.granular(h.user, g)
		}
	}
	return M{"data": data}, nil
}

// moment is a time in seconds, 0 for never; a text where that is asked for.
func (s *Server) moment(at time.Time) any {
	seconds := int64(0)
	if !at.IsZero() {
		seconds = at.Unix()
	}
	if s.quirks.TextNumbers {
		return fmt.Sprint(seconds)
	}
	return seconds
}

// granular says which pages and accounts the permissions are for. The caller holds
// mu.
func (s *Server) granular(user string, g *grant) []M {
	var pages, accounts []string
	for _, p := range s.reached(user) {
		pages = append(pages, p.ID)
		if a, ok := s.world.linked(p.ID); ok {
			accounts = append(accounts, a.ID)
		}
	}
	all := []M{}
	for _, scope := range g.granted(s.now()) {
		one := M{"scope": scope}
		targets := map[string][]string{"pages": pages, "instagram": accounts}[strings.SplitN(scope, "_", 2)[0]]
		if len(targets) > 0 && !s.quirks.NoTargets {
			one["target_ids"] = targets
		}
		if scope != publicProfile && scope != emailScope {
			all = append(all, one)
		}
	}
	return all
}

// forbidden is an error of permissions.
func forbidden(code int, message string) *GraphError {
	return (&GraphError{Code: code, Message: fmt.Sprintf("(#%d) %s", code, message), Status: http.StatusForbidden}).complete()
}
