package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/primezap/primezap/pkg/problem"
)

const (
	readKeysEvery = 5 * time.Minute  // so long a key that was taken back is still taken
	readKeysAgain = 10 * time.Second // at the soonest, for a key that is not there, or after a failure
	keysTimeout   = 5 * time.Second
	maxKeysBytes  = 256 << 10
)

// keySet is a copy of the public keys behind a URL (RFC 7517). Keys go out of it
// only when a reading without them succeeds: while the URL is away those of before
// are served.
type keySet struct {
	url    string
	client *http.Client
	log    *slog.Logger
	every  time.Duration
	again  time.Duration

	reader chan struct{} // holds one value while somebody reads

	mu     sync.Mutex
	keys   []jose.JSONWebKey
	tried  time.Time // when the last reading began
	failed error     // why it failed
}

func newKeySet(url string, log *slog.Logger) *keySet {
	return &keySet{
		url: url,
		client: &http.Client{
			Timeout:       keysTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		log: log, every: readKeysEvery, again: readKeysAgain, reader: make(chan struct{}, 1),
	}
}

// run reads the keys until ctx ends.
func (s *keySet) run(ctx context.Context) {
	for {
		wait := s.every
		if err := s.read(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "keys of tokens not read: those of before stay", "url", s.url, "error", err)
			wait = min(wait, s.again)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// find returns the keys that may have signed a token with this header, at least
// one. One that is not there is looked for once more behind the URL, unless that
// was read a moment ago. The error is a problem.
func (s *keySet) find(ctx context.Context, header jose.Header) ([]jose.JSONWebKey, error) {
	if keys := s.fitting(header); len(keys) > 0 {
		return keys, nil
	}
	err := s.read(context.WithoutCancel(ctx), time.Now().Add(-s.again)) // others may wait for it: it ends by the client's timeout
	if keys := s.fitting(header); len(keys) > 0 {
		return keys, nil
	}
	if err != nil {
		return nil, problem.Unavailable(s.again, "the keys that tokens are signed with cannot be read").WithCause(err)
	}
	return nil, invalidToken("the token is signed with an unknown key")
}

// fitting are the keys of the header's id and algorithm. A header without an id
// leaves no choice: it fits a key if there is only one of its algorithm.
func (s *keySet) fitting(header jose.Header) []jose.JSONWebKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	var fit []jose.JSONWebKey
	for _, key := range s.keys {
		if (header.KeyID == "" || key.KeyID == header.KeyID) && (key.Algorithm == "" || key.Algorithm == header.Algorithm) {
			fit = append(fit, key)
		}
	}
	if header.KeyID == "" && len(fit) > 1 {
		return nil
	}
	return fit
}

// read reads the keys, unless a reading began after since: then its result is
// that one's. One reads at a time, the others wait for it.
func (s *keySet) read(ctx context.Context, since time.Time) error {
	select {
	case s.reader <- struct{}{}:
		defer func() { <-s.reader }()
	case <-ctx.Done():
		return fmt.Errorf("wait for keys: %w", ctx.Err())
	}
	s.mu.Lock()
	tried, failed := s.tried, s.failed
	s.mu.Unlock()
	if tried.After(since) {
		return failed
	}
	tried = time.Now()
	keys, err := s.fetch(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried, s.failed = tried, err
	if err == nil {
		s.keys = keys
	}
	return err
}

var errNoKeys = errors.New("no key in it can be used")

func (s *keySet) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("read keys: status %d", res.StatusCode)
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, res.Body, maxKeysBytes))
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		// Sets may hold keys of kinds that we do not know, or for other uses.
		if err := key.UnmarshalJSON(raw); err == nil && key.IsPublic() && (key.Use == "" || key.Use == "sig") {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("read keys: %w", errNoKeys)
	}
	return keys, nil
}
