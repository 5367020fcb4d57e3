package jobs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/grant/renewal"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

const (
	grantsEvery      = 5 * time.Minute
	lookAtGrantEvery = 6 * time.Hour // a healthy one; Meta takes 200 calls of the app an hour for each user
	renewBefore      = 7 * 24 * time.Hour
	renewFor         = 20 * time.Second // a renewal may take so long, with all pages
	sameEnd          = time.Hour        // ends so near to one another are the same
)

// grantsArgs is the job that looks after what people allowed by logging in.
type grantsArgs struct{}

// Kind is what River calls the job.
func (grantsArgs) Kind() string { return "grants" }

// grantKeeper renews users' tokens before their end, and tells tenants of ends that it
// cannot put off.
type grantKeeper struct {
	river.WorkerDefaults[grantsArgs]
	platform
	renewer *renewal.Renewer
	before  time.Duration // an end is so near
}

func newGrantKeeper(p platform, before time.Duration) *grantKeeper {
	return &grantKeeper{
		platform: p, before: cmp.Or(before, renewBefore), renewer: &renewal.Renewer{Store: p.store, Vault: p.vault, App: p.app},
	}
}

// Work looks at the grants whose time has come.
func (k *grantKeeper) Work(ctx context.Context, _ *river.Job[grantsArgs]) error {
	return k.turn(ctx, k.step)
}

func (k *grantKeeper) step(ctx context.Context) (more bool, err error) {
	rows, err := k.store.Queries().ClaimGrants(ctx, claimFor.Seconds(), claimAtOnce)
	if err != nil {
		return false, fmt.Errorf("claim grants: %w", err)
	}
	batch := make([]claimed, len(rows))
	for i, row := range rows {
		batch[i] = &lookedGrant{grantKeeper: k, row: row, now: row.CheckAt.Add(-claimFor)}
	}
	err = k.lookAt(ctx, grantsArgs{}.Kind(), batch, func(ctx context.Context, rest int, pause time.Duration) error {
		var ids []uuid.UUID
		for _, row := range rows[len(rows)-rest:] {
			ids = append(ids, row.ID)
		}
		return k.store.Queries().ReleaseGrants(ctx, pause.Seconds(), ids)
	})
	return len(rows) == claimAtOnce, err
}

// lookedGrant is one that was claimed.
type lookedGrant struct {
	*grantKeeper
	row db.OauthGrant
	now time.Time // the database's, of the claim
}

func (l *lookedGrant) failed(ctx context.Context) error {
	if err := l.store.Queries().GrantNotLooked(ctx, backoff(l.row.CheckFailures), l.row.ID); err != nil {
		return fmt.Errorf("put off grant %s: %w", l.row.ID, err)
	}
	return nil
}

func (l *lookedGrant) look(ctx context.Context) error {
	g, err := grant.Open(l.vault, l.row)
	if err != nil { // resealing says which keys are missing
		return fmt.Errorf("grant %s: %w", l.row.ID, err)
	}
	asking, done := context.WithTimeout(ctx, lookFor)
	defer done()
	info, err := l.app.Debug(asking, g.Token())
	switch {
	case err != nil:
		// Also if Meta does not take the token of this call: that is the app's own.
		return fmt.Errorf("look at grant %s: %w", l.row.ID, err)
	case !info.Valid && meta.ClassOf(info.Code) == meta.Auth:
		return l.refuse(ctx, info)
	case !info.Valid:
		return fmt.Errorf("look at grant %s: Meta takes the token for invalid, by code %d", l.row.ID, info.Code)
	}
	ends := ends{token: info.ExpiresAt, dataAccess: info.DataAccessExpiresAt}
	if !l.near(ends.token) {
		return l.keep(ctx, &ends, false)
	}
	return l.renew(ctx, ends)
}

// renew has the token's end put off, and tells of it where that cannot be done.
func (l *lookedGrant) renew(ctx context.Context, ends ends) error {
	asking, done := context.WithTimeout(ctx, renewFor)
	defer done()
	_, warnings, err := l.renewer.Renew(asking, l.row.TenantID, l.row.ID, audit.System)
	switch _, whole := throttled(err); {
	case errors.Is(err, store.ErrNotFound):
		return nil
	case errors.Is(err, grant.ErrReconnect):
		l.refused(err)
		return nil
	case err != nil && (whole || passing(err) && ends.token.Sub(l.now) > l.before/2):
		return err // there is time to try again
	case err != nil:
		l.log.Warn("jobs: a user's token cannot be renewed before its end", "grant", l.row.ID, "end", ends.token, "error", err)
		return l.keep(ctx, &ends, true)
	}
	for _, warning := range warnings {
		l.log.Info("jobs: not read for a grant", "grant", l.row.ID, "warning", warning.String())
	}
	l.metrics.renewed.Inc()
	return l.keep(ctx, nil, false)
}

// refused counts a token that Meta was found to take no more.
func (l *lookedGrant) refused(cause error) {
	l.metrics.refused.Inc()
	l.log.Warn("jobs: Meta takes a user's token no more", "grant", l.row.ID, "error", cause)
}

// appRemoved is the subcode of a token whose user has taken back all.
const appRemoved = 458

// refuse keeps that the token is dead. Of a user who removed the app those of the pages
// are, too.
func (l *lookedGrant) refuse(ctx context.Context, info login.Info) error {
	reason := connection.TokenRefused
	if info.Subcode == appRemoved {
		reason = connection.Deauthorized
	}
	refused := false
	err := l.store.InTx(ctx, func(q *db.Queries) (err error) {
		refused, err = grant.Refuse(ctx, q, l.row, reason)
		return err
	})
	if err != nil {
		return fmt.Errorf("refuse grant %s: %w", l.row.ID, err)
	}
	if refused {
		l.refused(fmt.Errorf("%s: %w", reason, dead(info)))
	}
	return nil
}

// ends are until when a grant is good; zero: for ever.
type ends struct{ token, dataAccess time.Time }

// near says whether an end is to be told of.
func (l *lookedGrant) near(end time.Time) bool {
	return !end.IsZero() && end.Before(l.now.Add(l.before))
}

// keep stores the ends that were read of the claimed token, nil where another one was
// stored since, and tells of those that are near: each once. tokenEnds says that the
// token cannot outlive its end.
func (l *lookedGrant) keep(ctx context.Context, read *ends, tokenEnds bool) error {
	err := l.store.InTx(ctx, func(q *db.Queries) error {
		row, err := grant.Lock(ctx, q, l.row.TenantID, l.row.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if !row.GrantedAt.Equal(l.row.GrantedAt) || row.Status != string(grant.Active) {
			return nil // somebody logged in again: what was read is of before
		}
		now := ends{moment(row.ExpiresAt), moment(row.DataAccessExpiresAt)}
		if read != nil {
			if !bytes.Equal(row.Credentials, l.row.Credentials) {
				return nil // somebody renewed it meanwhile
			}
			now = *read
		}
		if err := l.tell(ctx, q, row, now, tokenEnds || read == nil && l.near(now.token)); err != nil {
			return err
		}
		return q.GrantLooked(ctx, around(lookAtGrantEvery), row.ID)
	})
	if err != nil {
		return fmt.Errorf("keep what Meta says of grant %s: %w", l.row.ID, err)
	}
	return nil
}

// tell raises connection.expiring of the grant's connections. Where there are none there
// is nobody to be told.
func (l *lookedGrant) tell(ctx context.Context, q *db.Queries, row db.OauthGrant, ends ends, tokenEnds bool) error {
	noted := db.NoteGrantEndsParams{
		ID: row.ID, ExpiresAt: pointer(ends.token), DataAccessExpiresAt: pointer(ends.dataAccess),
		ToldExpiresAt: row.ToldExpiresAt, ToldDataAccessAt: row.ToldDataAccessAt,
	}
	for _, one := range []struct {
		end    time.Time
		due    bool
		told   **time.Time
		reason connection.Reason
	}{
		{ends.token, tokenEnds, &noted.ToldExpiresAt, connection.Token},
		{ends.dataAccess, l.near(ends.dataAccess), &noted.ToldDataAccessAt, connection.DataAccess},
	} {
		if !one.due || same(*one.told, one.end) {
			continue
		}
		connections, err := connection.OfGrant(ctx, q, row.TenantID, row.ID)
		if err != nil {
			return err
		}
		if len(connections) == 0 {
			continue
		}
		if err := connection.RaiseExpiring(ctx, q, connections, l.now, one.reason, one.end); err != nil {
			return err
		}
		*one.told = &one.end
	}
	_, err := q.NoteGrantEnds(ctx, noted)
	return err
}

// same says whether an end is the one that was told of: Meta may count it anew each time.
func same(told *time.Time, end time.Time) bool {
	return told != nil && told.Sub(end).Abs() < sameEnd
}

// moment is an end as Meta says it.
func moment(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func pointer(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
