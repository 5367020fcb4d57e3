package metatest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"maps"
	"net/http"
	"time"
)

// codeLife is how long a code can be exchanged.
const codeLife = 10 * time.Minute

// code is what a login ends with.
type code struct {
	user      string
	redirect  string
	challenge string // of PKCE; empty: none was sent
	plain     bool   // the challenge is the verifier
	made      time.Time
	used      bool
	tries     int
}

// tried counts each time that a code comes, whatever becomes of the call. The caller
// holds mu.
func (s *Server) tried(c *call) {
	if c.kind == callExchange {
		if known := s.codes.all[c.param("code")]; known != nil {
			known.tries++
		}
	}
}

// CodeTries are the codes that were given out, and how often each came to be
// exchanged: a client that is careful sends none twice, whatever befalls it.
func (s *Server) CodeTries() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	tries := make(map[string]int, len(s.codes.all))
	for text, known := range s.codes.all {
		tries[text] = known.tries
	}
	return tries
}

// codes are those that were given out.
type codes struct {
	all   map[string]*code
	order []string // the oldest first
}

func (l *codes) add(text string, one code) {
	l.all[text] = &one
	l.order = append(l.order, text)
	if len(l.order) > maxTokens {
		delete(l.all, l.order[0])
		l.order = l.order[1:]
	}
}

// login is an error of a login.
func login(code, subcode int, message string) *GraphError {
	return (&GraphError{Code: code, Subcode: subcode, Message: message, Status: http.StatusBadRequest}).complete()
}

// exchange serves /oauth/access_token. The caller holds mu.
func (s *Server) exchange(c *call) (any, *GraphError) {
	app, secret := c.param("client_id"), c.param("client_secret")
	switch {
	case c.method != http.MethodGet && c.method != http.MethodPost:
		return nil, unsupported(c.method)
	case app == "":
		return nil, login(101, 0, "Missing client_id parameter.")
	case app != s.cfg.AppID:
		return nil, login(101, 0, "Error validating application. Cannot get application info due to a system error.")
	case secret == "":
		return nil, login(1, 0, "Missing client_secret parameter.")
	case subtle.ConstantTimeCompare([]byte(secret), []byte(s.cfg.AppSecret)) == 0:
		return nil, login(1, 0, "Error validating client secret.")
	}
	switch c.param("grant_type") {
	case "", "authorization_code":
		return s.redeem(c)
	case "fb_exchange_token":
		return s.extend(c)
	}
	return nil, login(100, 0, "Unsupported grant_type.")
}

// redeem gives a token for a code. One that is refused for what came with it can be
// sent again. The caller holds mu.
func (s *Server) redeem(c *call) (any, *GraphError) {
	known := s.codes.all[c.param("code")]
	switch {
	case c.param("redirect_uri") == "":
		return nil, login(191, 0, "Missing redirect_uri parameter.")
	case known == nil:
		return nil, login(100, 0, "Invalid verification code format.")
	case known.used:
		return nil, login(100, 36009, "This authorization code has been used.")
	case s.now().Sub(known.made) >= codeLife:
		return nil, login(100, 36007, "This authorization code has expired.")
	case c.param("redirect_uri") != known.redirect:
		return nil, login(100, 36008, "Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request")
	case !known.proves(c.param("code_verifier")):
		return nil, login(100, 0, "The code_verifier does not match the code_challenge.")
	case s.grantOf(known.user) == nil:
		return nil, s.invalid(458, time.Time{})
	}
	known.used = true
	return s.tokenAnswer(token{user: known.user, expires: s.now().Add(shortLife)}, shortLife), nil
}

// proves reports whether a verifier belongs to the challenge of the dialog.
func (k *code) proves(verifier string) bool {
	if k.challenge == "" || k.plain {
		return verifier == k.challenge || k.challenge == ""
	}
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:]) == k.challenge
}

// extend gives a token that lives long for a user's token. That one stays as it is.
// The caller holds mu.
func (s *Server) extend(c *call) (any, *GraphError) {
	from := c.param("fb_exchange_token")
	if from == "" {
		return nil, login(100, 0, "Missing fb_exchange_token parameter.")
	}
	h, failed := s.whose(from)
	switch {
	case failed != nil:
		again := *failed
		again.Status = http.StatusBadRequest
		return nil, &again
	case h.kind != holderUser:
		return nil, login(100, 0, "The token is no user's.")
	}
	return s.tokenAnswer(token{user: h.user, long: true, expires: s.now().Add(longLife)}, longLife), nil
}

// tokenAnswer gives a token out. The caller holds mu.
func (s *Server) tokenAnswer(t token, life time.Duration) M {
	answer := M{"access_token": s.issue(t)}
	if !s.quirks.BareToken {
		maps.Copy(answer, M{"token_type": "bearer", "expires_in": int(life.Seconds())})
	}
	return answer
}
