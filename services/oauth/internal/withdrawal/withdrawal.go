// Package withdrawal hears from Meta that somebody took back what they had allowed, or
// wants their data deleted, and tells them how far that is.
//
// What Meta posts is signed with the app's secret. It is kept together with the job that
// does it, and answered before it is done. The same request again, which Meta may send
// for as long as it likes, has the same confirmation code.
package withdrawal

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/problem"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/oauth/internal/asked"
	"github.com/primezap/primezap/services/oauth/internal/facebook"
	"github.com/primezap/primezap/services/oauth/internal/openapi"
)

// The kinds, as they are stored.
const (
	deauthorize = "deauthorize"
	deletion    = "deletion"
)

// path is where the status page is.
const path = "/oauth/facebook/data-deletion/"

// Service takes withdrawals and shows how far they are.
type Service struct {
	Store     *store.Store
	Jobs      *jobs.Inserter
	Secrets   []string // any of which may have signed; none: nothing is taken
	PublicURL string   // of the service; empty: where a call came to
}

// DeauthorizeFacebook serves POST /oauth/facebook/deauthorize.
func (s *Service) DeauthorizeFacebook(ctx context.Context, req openapi.DeauthorizeFacebookRequestObject) (openapi.DeauthorizeFacebookResponseObject, error) {
	answer, err := s.take(ctx, deauthorize, req.Body.SignedRequest)
	return openapi.DeauthorizeFacebook200JSONResponse(answer), err
}

// DeleteFacebookData serves POST /oauth/facebook/data-deletion.
func (s *Service) DeleteFacebookData(ctx context.Context, req openapi.DeleteFacebookDataRequestObject) (openapi.DeleteFacebookDataResponseObject, error) {
	answer, err := s.take(ctx, deletion, req.Body.SignedRequest)
	return openapi.DeleteFacebookData200JSONResponse(answer), err
}

// take keeps what was told, with the job that does it.
func (s *Service) take(ctx context.Context, kind, signed string) (openapi.Withdrawal, error) {
	if len(s.Secrets) == 0 {
		return openapi.Withdrawal{}, facebook.NotConfigured([]string{"FACEBOOK_APP_SECRET"})
	}
	told, err := login.ParseSignedRequest(s.Secrets, signed)
	if errors.Is(err, login.ErrSignature) {
		return openapi.Withdrawal{}, problem.Unauthorized("Signature", "the request is not signed with the app's secret").WithCause(err)
	}
	if err != nil {
		return openapi.Withdrawal{}, problem.BadRequest("what was signed cannot be read").WithCause(err)
	}
	if told.IssuedAt.IsZero() {
		told.IssuedAt = time.Now().Truncate(time.Minute) // repetitions come soon
	}
	row := db.InsertWithdrawalParams{
		ID: uuid.Must(uuid.NewV7()), Kind: kind, Code: newCode(), Request: digest(s.Secrets[0], kind, told), UserID: told.UserID, IssuedAt: told.IssuedAt,
	}
	err = pgx.BeginFunc(ctx, s.Store.Pool(), func(tx pgx.Tx) error {
		q := db.New(tx)
		inserted, err := q.InsertWithdrawal(ctx, row)
		if err != nil {
			return fmt.Errorf("keep a withdrawal: %w", err)
		}
		if inserted > 0 {
			return s.Jobs.Insert(ctx, tx, jobs.GrantWithdrawal{ID: row.ID})
		}
		if row.Code, err = q.WithdrawalCode(ctx, row.Request); err != nil {
			return fmt.Errorf("read a withdrawal: %w", err)
		}
		return nil
	})
	if err != nil {
		return openapi.Withdrawal{}, err
	}
	return openapi.Withdrawal{URL: s.base(ctx) + path + row.Code, ConfirmationCode: row.Code}, nil
}

// newCode is one that nobody guesses.
func newCode() string {
	var code [16]byte
	_, _ = rand.Read(code[:]) // never fails
	return hex.EncodeToString(code[:])
}

// digest is the same for the same request, however it is written. It outlives what is
// known of the user, so that it must not lead back to them: without the secret nobody
// can try ids.
func digest(secret, kind string, told login.SignedRequest) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = fmt.Fprintf(mac, "%s %s %d", kind, told.UserID, told.IssuedAt.Unix()) // never fails
	return mac.Sum(nil)
}

// base is where users reach the service. Where it is not configured, it is the host that
// Meta called, which has to be by https: what a proxy says of the scheme is not asked.
// Only who signed the request gets to read it.
func (s *Service) base(ctx context.Context) string {
	if s.PublicURL != "" {
		return strings.TrimRight(s.PublicURL, "/")
	}
	u := url.URL{Scheme: "https", Host: cmp.Or(asked.Host(ctx), "localhost")}
	if meta.Loopback(u.Hostname()) {
		u.Scheme = "http"
	}
	return u.String()
}
