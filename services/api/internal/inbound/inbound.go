// Package inbound takes what Meta posts: messages of people and to them, how far
// messages have come, and whatever else it tells of accounts that are connected.
//
// A post is answered with 200 when all of it is committed: contacts, conversations
// and messages together with the events that tell of them, in one transaction for
// up to 200 updates of a tenant. Meta repeats a post that was not answered so for
// seven days. What comes again is found by Meta's id of the message and the
// connection, and has no effect.
//
// Events of a contact leave in the order in which they were committed, since every
// transaction holds the contact from before its first event is made until it ends.
// Of a person whom nobody knows there is no row to hold: her ids are locked instead.
// Locks are taken in one order: ids of strangers, contacts, conversations, messages,
// each sorted. What decides anything is read after them.
//
// Nothing that Meta signed is refused for what it holds. An update that Postgres or
// an event cannot hold is taken out of its batch and stored as an unsupported
// message; what is not understood is kept as it came, in channel_updates.
package inbound

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"github.com/primezap/primezap/pkg/meta"
	updates "github.com/primezap/primezap/pkg/meta/inbound"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/recent"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/api/internal/openapi"
)

// Service implements what Meta calls.
type Service struct {
	store   *store.Store
	config  meta.Config
	tenants refuser
	metrics metrics
	log     *slog.Logger

	known  *recent.Cache[account, db.FindConnectionsRow]
	seldom rate.Sometimes // what anybody can make us log

	unknownMu sync.Mutex
	unknown   *simplelru.LRU[account, time.Time] // when it was last logged that nobody has connected it
	strangers *rate.Limiter                      // of such lines
}

// refuser says which tenants are no more.
type refuser interface {
	// Refuse returns a problem if the tenant was deleted.
	Refuse(ctx context.Context, tenant uuid.UUID) error
}

const (
	logEvery    = time.Minute
	maxAccounts = 10_000 // that are remembered
	maxUnknown  = 1000   // likewise
	maxLines    = 10     // a second, and at once
)

// VerifyMetaWebhook serves GET /webhooks/meta.
func (s *Service) VerifyMetaWebhook(ctx context.Context, req openapi.VerifyMetaWebhookRequestObject) (openapi.VerifyMetaWebhookResponseObject, error) {
	if s.config.VerifyToken == "" {
		s.seldom.Do(func() { s.log.WarnContext(ctx, "Meta's challenge is refused: META_VERIFY_TOKEN is not set") })
		return nil, problem.Forbidden("the challenge is not answered")
	}
	if text(req.Params.HubMode) != "subscribe" || !same(text(req.Params.HubVerifyToken), s.config.VerifyToken) {
		return nil, problem.Forbidden("the challenge is not answered")
	}
	return openapi.VerifyMetaWebhook200TextResponse(text(req.Params.HubChallenge)), nil
}

// same compares without telling by its time how much of a is right, or how long b is.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func text(given *string) string {
	if given == nil {
		return ""
	}
	return *given
}

// ReceiveMetaWebhook serves POST /webhooks/meta.
func (s *Service) ReceiveMetaWebhook(ctx context.Context, req openapi.ReceiveMetaWebhookRequestObject) (openapi.ReceiveMetaWebhookResponseObject, error) {
	secrets := s.config.Secrets()
	if len(secrets) == 0 {
		s.seldom.Do(func() {
			s.log.WarnContext(ctx, "Meta's updates are refused: neither META_APP_SECRETS nor FACEBOOK_APP_SECRET is set")
		})
	}
	if req.Body == nil || !meta.VerifySignature(secrets, text(req.Params.XHubSignature256), *req.Body) {
		return nil, problem.Unauthorized("Signature", "the signature is missing or wrong")
	}
	told, err := updates.Parse(*req.Body)
	switch {
	case errors.Is(err, updates.ErrTooMany):
		s.metrics.cut.Inc()
		s.log.WarnContext(ctx, "Meta told of more at once than is read; the rest is passed over", "updates", len(told))
	case err != nil:
		return nil, problem.BadRequest("the body cannot be read as JSON").WithCause(err)
	}
	start := time.Now()
	if err := s.Take(ctx, told); err != nil {
		return nil, err
	}
	s.metrics.seconds.Observe(time.Since(start).Seconds())
	return openapi.ReceiveMetaWebhook200Response{}, nil
}

// Take stores what was told, and returns when it is committed. After an error some
// of it may be stored: the same may be given again.
func (s *Service) Take(ctx context.Context, told []updates.Update) error {
	for try := 1; ; try++ {
		err := s.take(ctx, told)
		if !errors.Is(err, errGone) || try == tries {
			return err
		}
		s.known.Forget() // the account may be another's by now; what is stored is found
	}
}

func (s *Service) take(ctx context.Context, told []updates.Update) error {
	batches, err := s.sort(ctx, told)
	if err != nil {
		return err
	}
	// One tenant's trouble is not another's: Meta repeats the whole post, for days. What
	// came later of the same tenant waits, to stay behind it.
	failed := map[uuid.UUID]error{}
	for _, b := range batches {
		if failed[b.tenant] != nil || ctx.Err() != nil {
			continue
		}
		if err := s.record(ctx, b); err != nil {
			failed[b.tenant] = fmt.Errorf("store what Meta told: %w", err)
		}
	}
	return errors.Join(append(slices.Collect(maps.Values(failed)), ctx.Err())...)
}
