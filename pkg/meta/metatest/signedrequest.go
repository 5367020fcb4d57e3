package metatest

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Notice is what Meta tells the app of a user: that they took back what they allowed,
// or want their data deleted. How it is written can be told from Meta's way.
type Notice struct {
	User      string    `json:"user"`
	Padded    bool      `json:"padded,omitempty"`    // with = at the end of both parts
	NumericID bool      `json:"numericId,omitempty"` // user_id is a number
	IssuedAt  time.Time `json:"issuedAt,omitzero"`   // zero: now
	Algorithm string    `json:"algorithm,omitempty"` // empty: HMAC-SHA256
	Secret    string    `json:"secret,omitempty"`    // that signs it; empty: the app's
}

// SignedRequest is a notice as Meta writes it.
func (s *Server) SignedRequest(n Notice) string {
	issued := n.IssuedAt
	if issued.IsZero() {
		issued = s.now()
	}
	var user any = n.User
	if n.NumericID && digits(n.User) {
		user = json.Number(n.User)
	}
	coding := base64.RawURLEncoding
	if n.Padded {
		coding = base64.URLEncoding
	}
	payload := coding.EncodeToString(encode(M{"algorithm": cmp.Or(n.Algorithm, "HMAC-SHA256"), "issued_at": issued.Unix(), "user_id": user}))
	mac := hmac.New(sha256.New, []byte(cmp.Or(n.Secret, s.cfg.AppSecret)))
	_, _ = io.WriteString(mac, payload) // never fails
	return coding.EncodeToString(mac.Sum(nil)) + "." + payload
}

// Answered is what the app answered to a notice.
type Answered struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

// Deauthorize plays a user who takes back all that they allowed: their tokens and
// those of their pages are dead, and the app's deauthorize callback is told.
func (s *Server) Deauthorize(ctx context.Context, n Notice) (Answered, error) {
	if err := n.check(); err != nil {
		return Answered{}, err
	}
	s.mu.Lock()
	s.deauthorise(n.User)
	target := s.app.DeauthorizeURL
	s.mu.Unlock()
	return s.notify(ctx, target, n)
}

// RequestDeletion plays a user who wants their data deleted. It returns what the
// app's data deletion callback answers.
func (s *Server) RequestDeletion(ctx context.Context, n Notice) (Answered, error) {
	if err := n.check(); err != nil {
		return Answered{}, err
	}
	s.mu.Lock()
	target := s.app.DeletionURL
	s.mu.Unlock()
	return s.notify(ctx, target, n)
}

func (n Notice) check() error {
	if n.User == "" || n.NumericID && !digits(n.User) {
		return errors.New("user must not be empty, and digits to be a number")
	}
	return nil
}

func digits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == "" && text[0] != '0'
}

// noticeLater tells the app that a user took all back, once the call that did it may
// be over: the app might hold, until it is answered, what it needs to be told. The
// caller holds mu, in a request.
func (s *Server) noticeLater(n Notice) {
	target := s.app.DeauthorizeURL
	if target == "" {
		return
	}
	done := s.hooks.begin()
	s.requests.Go(func() { // the request that this is part of is counted still
		defer done()
		if answered, err := s.notify(s.hooks.ctx, target, n); err != nil || answered.Status != http.StatusOK {
			s.cfg.Log.Warn("a simulated deauthorize callback was not answered 200", "status", answered.Status)
		}
	})
}

// notify posts a notice.
func (s *Server) notify(ctx context.Context, target string, n Notice) (Answered, error) {
	if target == "" {
		return Answered{}, errNoCallback
	}
	form := url.Values{"signed_request": {s.SignedRequest(n)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return Answered{}, fmt.Errorf("tell the app: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", "facebookexternalua")
	resp, err := s.hooks.client.Do(req)
	if err != nil {
		return Answered{}, fmt.Errorf("tell the app: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return Answered{}, fmt.Errorf("tell the app: %w", err)
	}
	return Answered{resp.StatusCode, string(body)}, nil
}
