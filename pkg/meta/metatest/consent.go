package metatest

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Choice is what a user does in the consent dialog. Its zero value is the first user
// who has pages, and allows all that is asked for.
type Choice struct {
	User    string   `json:"user,omitempty"`    // id; empty: the first one with pages
	Decline []string `json:"decline,omitempty"` // permissions
	Without []string `json:"without,omitempty"` // pages that are left out
	Deny    bool     `json:"deny,omitempty"`    // the whole
	// Error is a failure of Meta's own instead, such as 901: the redirect has then
	// error_code and error_message, and no error.
	Error int `json:"error,omitempty"`
}

// asked is what a consent dialog was opened with.
type asked struct {
	redirect  *url.URL
	uri       string // the redirect as it was written
	state     string
	scopes    []string
	config    bool // of a configuration: all or nothing
	rerequest bool // what was declined before is asked again
	reauth    bool // data access begins anew
	challenge string
	plain     bool
}

// DialogError is why the dialog shows an error instead of a question. Nobody is
// redirected then.
type DialogError struct {
	Reason string // one of reasons
	Detail string // what it is about, if anything
}

func (e *DialogError) Error() string {
	text := dialogWords["en"][e.Reason]
	if e.Detail != "" {
		text += " (" + e.Detail + ")"
	}
	return text
}

// Reasons of the dialog's errors.
const (
	reasonNoApp     = "noApp"
	reasonApp       = "badApp"
	reasonNoURI     = "noUri"
	reasonURI       = "badUri"
	reasonType      = "badType"
	reasonScope     = "badScope"
	reasonConfig    = "badConfig"
	reasonAuthType  = "badAuthType"
	reasonChallenge = "badChallenge"
)

// hostForm are hosts that can be named in a policy.
var hostForm = regexp.MustCompile(`^([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:\d+)?$`)

// ask makes out what the dialog was opened with. The caller holds mu.
func (s *Server) ask(query url.Values) (asked, error) {
	fail := func(reason, detail string) *DialogError { return &DialogError{reason, detail} }
	a := asked{uri: query.Get("redirect_uri"), state: query.Get("state")}
	switch app := query.Get("client_id"); {
	case app == "":
		return a, fail(reasonNoApp, "")
	case app != s.cfg.AppID:
		return a, fail(reasonApp, app)
	case a.uri == "":
		return a, fail(reasonNoURI, "")
	}
	var err error
	a.redirect, err = url.Parse(a.uri)
	if err != nil || !s.mayRedirect(a.uri, a.redirect) {
		return a, fail(reasonURI, a.uri)
	}
	if kind := query.Get("response_type"); kind != "" && kind != "code" {
		return a, fail(reasonType, kind)
	}
	for one := range strings.FieldsFuncSeq(query.Get("auth_type"), func(r rune) bool { return r == ',' || r == ' ' }) {
		switch one {
		case "rerequest":
			a.rerequest = true
		case "reauthorize":
			a.reauth = true
		case "reauthenticate":
		default:
			return a, fail(reasonAuthType, one)
		}
	}
	a.scopes = strings.FieldsFunc(query.Get("scope"), func(r rune) bool { return r == ',' || r == ' ' })
	if id := query.Get("config_id"); id != "" {
		a.scopes, a.config = s.app.Configurations[id]
		if !a.config {
			return a, fail(reasonConfig, id)
		}
		a.scopes = slices.Clone(a.scopes)
	}
	slices.Sort(a.scopes)
	a.scopes = slices.Compact(a.scopes)
	for _, scope := range a.scopes {
		if !slices.Contains(permissions, scope) {
			return a, fail(reasonScope, scope)
		}
	}
	a.challenge = query.Get("code_challenge")
	switch method := query.Get("code_challenge_method"); method {
	case "", "plain":
		a.plain = true
	case "S256":
	default:
		return a, fail(reasonChallenge, method)
	}
	return a, nil
}

// mayRedirect reports whether a login may end at a URL: one of the app's, or one of
// loopback where it has none. The caller holds mu.
func (s *Server) mayRedirect(text string, u *url.URL) bool {
	if u.Scheme != "http" && u.Scheme != "https" || !hostForm.MatchString(u.Host) || u.User != nil || strings.Contains(text, "#") {
		return false
	}
	if len(s.app.RedirectURIs) > 0 {
		return slices.Contains(s.app.RedirectURIs, text)
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

// Consent plays a user before the consent dialog that an app sends them to, and
// returns where they are redirected to: authURL is the dialog's, of any host. The
// error is a [*DialogError] where the dialog would not ask.
func (s *Server) Consent(authURL string, choice Choice) (location string, err error) {
	u, err := url.Parse(authURL)
	if err != nil {
		return "", fmt.Errorf("consent: %w", err)
	}
	if !dialogForm.MatchString(u.Path) {
		return "", fmt.Errorf("consent: the path is not /{version}/dialog/oauth but %s", u.Path)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.ask(u.Query())
	if err != nil {
		return "", err
	}
	return s.decide(a, choice)
}

// decide is what follows from a user's choice. The caller holds mu.
func (s *Server) decide(a asked, choice Choice) (location string, err error) {
	user, ok := find(s.world.Users, func(u User) bool { return choice.User == "" && len(u.Pages) > 0 || u.ID == choice.User })
	if !ok {
		return "", errors.New("the world has no such user")
	}
	for _, scope := range choice.Decline {
		if !slices.Contains(a.scopes, scope) || scope == publicProfile {
			return "", fmt.Errorf("%s is not asked for, or cannot be declined", scope)
		}
	}
	for _, page := range choice.Without {
		if !slices.Contains(user.Pages, page) {
			return "", fmt.Errorf("the user has no page %s", page)
		}
	}
	switch {
	case choice.Error != 0:
		return a.location("error_code", strconv.Itoa(choice.Error), "error_message", "Simulated failure of the dialog"), nil
	case choice.Deny || a.config && len(choice.Decline) > 0:
		return a.location("error", "access_denied", "error_code", "200", "error_description", "Permissions error", "error_reason", "user_denied"), nil
	}
	s.allow(user, a, choice)
	text := "AQ" + s.text(120)
	s.codes.add(text, code{user: user.ID, redirect: a.uri, challenge: a.challenge, plain: a.plain, made: s.now()})
	return a.location("code", text), nil
}

// allow notes what a user allows. What they declined before and are not asked again
// stays so. The caller holds mu.
func (s *Server) allow(user User, a asked, choice Choice) {
	now := s.now()
	g := s.grants[user.ID]
	if g == nil || g.given { // a login says anew what is allowed
		g = &grant{scopes: map[string]bool{publicProfile: true}, until: now.Add(dataAccess)}
		s.grants[user.ID] = g
	}
	if a.reauth || now.Before(g.until) {
		g.until = now.Add(dataAccess)
	}
	for _, scope := range a.scopes {
		if allowed, before := g.scopes[scope]; before && !allowed && !a.rerequest && !a.config {
			continue
		}
		g.scopes[scope] = !slices.Contains(choice.Decline, scope)
	}
	g.pages = slices.DeleteFunc(slices.Clone(user.Pages), func(page string) bool { return slices.Contains(choice.Without, page) })
}

// location is the redirect with parameters, names and values in turn, and the state.
func (a asked) location(parameters ...string) string {
	query := a.redirect.Query()
	for i := 0; i < len(parameters); i += 2 {
		query.Set(parameters[i], parameters[i+1])
	}
	if a.state != "" {
		query.Set("state", a.state)
	}
	to := *a.redirect
	to.RawQuery, to.Fragment = query.Encode(), "_=_"
	return to.String()
}
