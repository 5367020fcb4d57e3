package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/audit"
	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/store/db"
)

const (
	subscriptionsEvery = 5 * time.Minute
	// Meta takes an app off a page whose webhooks it could not bring for an hour.
	lookAtSubscriptionEvery = 45 * time.Minute // at most a quarter more
)

// subscriptionsArgs is the job that keeps pages subscribed.
type subscriptionsArgs struct{}

// Kind is what River calls the job.
func (subscriptionsArgs) Kind() string { return "subscriptions" }

// subscriptionKeeper compares what Meta tells of pages with what it is to tell, and finds
// tokens of pages that Meta takes no more.
type subscriptionKeeper struct {
	river.WorkerDefaults[subscriptionsArgs]
	platform
}

// Work looks at the pages whose time has come.
func (k *subscriptionKeeper) Work(ctx context.Context, _ *river.Job[subscriptionsArgs]) error {
	return k.turn(ctx, k.step)
}

func (k *subscriptionKeeper) step(ctx context.Context) (more bool, err error) {
	rows, err := k.store.Queries().ClaimSubscriptions(ctx, claimFor.Seconds(), claimAtOnce)
	if err != nil {
		return false, fmt.Errorf("claim subscriptions: %w", err)
	}
	pages := pagesOf(rows)
	batch := make([]claimed, len(pages))
	for i, one := range pages {
		batch[i] = &lookedPage{subscriptionKeeper: k, page: one}
	}
	err = k.lookAt(ctx, subscriptionsArgs{}.Kind(), batch, func(ctx context.Context, rest int, pause time.Duration) error {
		var ids []uuid.UUID
		for _, one := range pages[len(pages)-rest:] {
			ids = append(ids, one.ids...)
		}
		return k.store.Queries().ReleaseSubscriptions(ctx, pause.Seconds(), ids)
	})
	return len(rows) == claimAtOnce, err
}

// watchedPage is one that Meta is to tell of, and the connections that were claimed of it.
type watchedPage struct {
	tenant   uuid.UUID
	id       string
	ids      []uuid.UUID
	failures int32
}

// pagesOf are the pages of connections, in their order: that of a page and that of the
// Instagram account that is linked with it are told of together.
func pagesOf(rows []db.Connection) []watchedPage {
	var pages []watchedPage
	for _, row := range rows {
		id := cmp.Or(connection.PageOf(row), row.ExternalID)
		at := slices.IndexFunc(pages, func(p watchedPage) bool { return p.tenant == row.TenantID && p.id == id })
		if at < 0 {
			at = len(pages)
			pages = append(pages, watchedPage{tenant: row.TenantID, id: id})
		}
		pages[at].ids = append(pages[at].ids, row.ID)
		pages[at].failures = max(pages[at].failures, row.SubscriptionFailures)
	}
	return pages
}

// lookedPage is one that was claimed.
type lookedPage struct {
	*subscriptionKeeper
	page watchedPage
}

func (l *lookedPage) failed(ctx context.Context) error {
	if err := l.store.Queries().SubscriptionsNotLooked(ctx, backoff(l.page.failures), l.page.ids); err != nil {
		return fmt.Errorf("put off page %s: %w", l.page.id, err)
	}
	return nil
}

// look has Meta tell of the page what it is to tell, and finds out what the tokens are
// worth that are not needed for it.
func (l *lookedPage) look(ctx context.Context) error {
	q := l.store.Queries()
	rows, err := q.ConnectionsOfPage(ctx, l.page.tenant, l.page.id)
	if err != nil {
		return fmt.Errorf("read the connections of page %s: %w", l.page.id, err)
	}
	rows = slices.DeleteFunc(rows, func(row db.Connection) bool { return row.SubscriptionCheckAt == nil })
	var want []string
	l.page.ids = nil
	for _, row := range rows {
		want, l.page.ids = append(want, row.SubscribedFields...), append(l.page.ids, row.ID)
	}
	slices.Sort(want)
	want = slices.Compact(want)
	asking, done := context.WithTimeout(ctx, lookFor)
	defer done()
	restored := len(want) == 0
	refusals := make(map[string]error) // of tokens; nil: Meta takes it
	var taken []connection.Usable
	for _, row := range rows {
		u, err := connection.Open(l.vault, row)
		if errors.Is(err, connection.ErrReconnect) {
			continue
		}
		if err != nil {
			return err // resealing says which keys are missing
		}
		refusal, asked := refusals[u.Token]
		switch {
		case asked:
		case restored:
			if refusal, err = l.inspect(asking, u); err != nil {
				return err
			}
		default:
			refusal = l.restore(asking, row, u, want)
			if refusal != nil && !refusedToken(refusal) {
				return l.note(ctx, u, refusal)
			}
			restored = refusal == nil
		}
		refusals[u.Token] = refusal
		if refusal == nil {
			taken = append(taken, u)
		} else if err := l.refuse(ctx, u, refusal); err != nil {
			return err
		}
	}
	// Where nobody has a token that Meta takes another login brings one.
	return l.done(ctx, taken)
}

// inspect asks Meta what a token is. The refusal is nil for one that it takes.
func (l *lookedPage) inspect(ctx context.Context, u connection.Usable) (refusal, err error) {
	info, err := l.app.Debug(ctx, u.Token)
	switch {
	case err != nil:
		return nil, fmt.Errorf("inspect the token of %s: %w", u, err)
	case !info.Valid && meta.ClassOf(info.Code) == meta.Auth:
		return dead(info), nil
	case !info.Valid:
		return nil, fmt.Errorf("inspect the token of %s: Meta takes it for invalid, by code %d", u, info.Code)
	}
	return nil, nil
}

// restore has Meta tell of fields that it does not tell of. The token is of one of the
// page's connections.
func (l *lookedPage) restore(ctx context.Context, row db.Connection, u connection.Usable, want []string) error {
	have, err := l.app.Subscriptions(ctx, l.page.id, u.Token)
	if err != nil {
		return fmt.Errorf("look at page %s: %w", l.page.id, err)
	}
	missing := func(field string) bool { return !slices.Contains(have, field) }
	if !slices.ContainsFunc(want, missing) {
		return nil
	}
	all, err := l.app.Subscribe(ctx, l.page.id, u.Token, want)
	if err != nil {
		return fmt.Errorf("subscribe page %s again: %w", l.page.id, err)
	}
	wanted := false
	err = l.store.InTx(ctx, func(q *db.Queries) error {
		rows, err := q.LockConnectionsOfPage(ctx, l.page.tenant, l.page.id)
		if err != nil {
			return err
		}
		wanted = false
		for _, row := range rows {
			wanted = wanted || row.SubscribedFields != nil
		}
		if !wanted {
			return nil
		}
		return audit.RecordBy(ctx, q, l.page.tenant, audit.System, audit.Change{
			Action: "connection.subscription_restored", SubjectType: "connection", SubjectID: row.ID.String(),
			Before: subscribed{have}, After: subscribed{all},
		})
	})
	if err != nil {
		return fmt.Errorf("keep that page %s is subscribed again: %w", l.page.id, err)
	}
	if !wanted { // somebody unsubscribed, or disconnected it, at the same time
		return l.app.Unsubscribe(ctx, l.page.id, u.Token)
	}
	l.metrics.restored.Inc()
	l.log.Warn("jobs: Meta had stopped telling of a page: subscribed again", "connection", row.ID, "page", l.page.id, "had", len(have), "has", len(all))
	return nil
}

// subscribed is what the audit log shows of a page.
type subscribed struct {
	Fields []string `json:"subscribedFields"`
}

// done puts the next look off, and forgets what Meta said the last time of those whose
// token it takes.
func (l *lookedPage) done(ctx context.Context, taken []connection.Usable) error {
	return l.store.InTx(ctx, func(q *db.Queries) error {
		for _, u := range taken {
			if l.page.failures == 0 {
				break
			}
			if err := connection.Succeeded(ctx, q, u); err != nil {
				return err
			}
		}
		return q.SubscriptionsLooked(ctx, around(lookAtSubscriptionEvery), l.page.ids)
	})
}

// refuse keeps that Meta does not take a token.
func (l *lookedPage) refuse(ctx context.Context, u connection.Usable, cause error) error {
	message := "Meta takes the token no more"
	if failed, ok := errors.AsType[*meta.Error](cause); ok && failed.Message != "" {
		message = failed.Message
	}
	err := l.store.InTx(ctx, func(q *db.Queries) error { return connection.Refused(ctx, q, u, message, true) })
	if err != nil {
		return fmt.Errorf("refuse %s: %w", u, err)
	}
	l.log.Warn("jobs: Meta takes a page's token no more", "connection", u.ID, "page", l.page.id)
	return nil
}

// note keeps what Meta does not let the token do, for the tenant to see, and returns the
// error: it may be granted yet.
func (l *lookedPage) note(ctx context.Context, u connection.Usable, cause error) error {
	failed, ok := errors.AsType[*meta.Error](cause)
	if !ok || passing(cause) || failed.Throttled() {
		return cause
	}
	err := l.store.InTx(ctx, func(q *db.Queries) error { return connection.Refused(ctx, q, u, failed.Message, false) })
	return errors.Join(cause, err)
}
