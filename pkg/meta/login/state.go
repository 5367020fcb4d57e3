package login

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

var (
	// ErrStateForged means that a state is not one of ours.
	ErrStateForged = errors.New("the state is not one of ours")
	// ErrStateExpired means that a login took too long.
	ErrStateExpired = errors.New("the state has expired")
	// ErrStateOwner means that a state is another tenant's or another user's.
	ErrStateOwner = errors.New("the state is another tenant's or user's")
	// ErrStateRedirect means that a state is for another redirect URI.
	ErrStateRedirect = errors.New("the state is for another redirect URI")
)

const (
	stateLife = 10 * time.Minute // as long as Meta takes a code
	maxState  = 4 << 10          // bytes
)

// Claims are what a state is bound to.
type Claims struct {
	Tenant      uuid.UUID
	User        string
	RedirectURI string
}

// State is what a login began with. A state proves that it is ours, but not that it
// comes the first time: whoever takes one notes its Nonce until Expires, and refuses it
// the second time.
type State struct {
	Nonce    string // unique, of 22 characters
	Expires  time.Time
	Scopes   []string // what was asked for
	Verifier string   // of PKCE; empty: without. Only who has the key can tell it from the state.
}

// States makes states and verifies them. They say nothing readable of whom they are for:
// they pass through Meta, and stand in browsers' histories.
type States struct {
	sign, bind, prove []byte // keys
	now               func() time.Time
}

// NewStates returns the states of a key of 32 bytes or more.
func NewStates(key string, now func() time.Time) (*States, error) {
	if len(key) < minStateKey {
		return nil, fmt.Errorf("states: %w: OAUTH_STATE_KEY must have %d bytes or more", ErrNotConfigured, minStateKey)
	}
	s := &States{now: now}
	for _, derived := range []struct {
		to   *[]byte
		what string
	}{{&s.sign, "state"}, {&s.bind, "state claims"}, {&s.prove, "code verifier"}} {
		key, err := hkdf.Key(sha256.New, []byte(key), nil, "primezap login: "+derived.what, sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("states: derive key: %w", err)
		}
		*derived.to = key
	}
	return s, nil
}

// payload is what a state is on the wire, before its signature.
type payload struct {
	Nonce    string   `json:"n"`
	Expires  int64    `json:"e"` // seconds
	Owner    []byte   `json:"o"`
	Redirect []byte   `json:"r"`
	Scopes   []string `json:"s"`
	PKCE     bool     `json:"p,omitempty"`
}

var coding = base64.RawURLEncoding.Strict()

// Make makes a state that is good for ten minutes, and for claims alone.
func (s *States) Make(claims Claims, scopes []string, pkce bool) (string, State, error) {
	nonce := make([]byte, 16)
	_, _ = rand.Read(nonce) // never fails
	p := payload{
		Nonce:    coding.EncodeToString(nonce),
		Expires:  s.now().Add(stateLife).Unix(),
		Owner:    s.owner(claims),
		Redirect: s.redirect(claims),
		Scopes:   scopes,
		PKCE:     pkce,
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return "", State{}, fmt.Errorf("make state: %w", err)
	}
	text := coding.EncodeToString(raw)
	state := text + "." + coding.EncodeToString(digest(s.sign, text))
	if len(state) > maxState {
		return "", State{}, fmt.Errorf("make state: %w: %d are too many", ErrScope, len(scopes))
	}
	return state, s.state(p), nil
}

// Verify says what a state began with: the error is ErrStateForged, ErrStateExpired,
// ErrStateOwner or ErrStateRedirect.
func (s *States) Verify(state string, claims Claims) (State, error) {
	if len(state) > maxState {
		return State{}, ErrStateForged
	}
	text, signature, _ := strings.Cut(state, ".")
	given, err := coding.DecodeString(signature)
	if err != nil || !hmac.Equal(given, digest(s.sign, text)) {
		return State{}, ErrStateForged
	}
	raw, err := coding.DecodeString(text)
	if err != nil {
		return State{}, ErrStateForged
	}
	var p payload
	if err := json.Unmarshal(raw, &p); err != nil {
		return State{}, ErrStateForged
	}
	switch {
	case !s.now().Before(time.Unix(p.Expires, 0)):
		return State{}, ErrStateExpired
	case !hmac.Equal(p.Owner, s.owner(claims)):
		return State{}, ErrStateOwner
	case !hmac.Equal(p.Redirect, s.redirect(claims)):
		return State{}, ErrStateRedirect
	}
	return s.state(p), nil
}

func (s *States) state(p payload) State {
	state := State{Nonce: p.Nonce, Expires: time.Unix(p.Expires, 0).UTC(), Scopes: p.Scopes}
	if p.PKCE {
		state.Verifier = coding.EncodeToString(digest(s.prove, p.Nonce))
	}
	return state
}

// owner is told by the tenant's sixteen bytes and what follows them.
func (s *States) owner(c Claims) []byte { return digest(s.bind, "owner", string(c.Tenant[:]), c.User) }

func (s *States) redirect(c Claims) []byte { return digest(s.bind, "redirect", c.RedirectURI) }

func digest(key []byte, texts ...string) []byte {
	h := hmac.New(sha256.New, key)
	for _, text := range texts {
		h.Write([]byte(text))
	}
	return h.Sum(nil)
}
