// Package health acts on how webhooks fare.
//
// The ledger writes down what happened, in the transaction of the attempts:
// streaks of exhausted deliveries, answers 410, and the success that ended a
// streak. What follows from it is done here, each in a transaction of its own
// that any worker may make and that Postgres lets one make:
//
//   - a streak that has reached a level on its way to an automatic disable raises
//     webhook.failing, and the last level disables the webhook;
//   - an answer 410 disables the webhook that was attempted;
//   - a webhook that came up gets back into its lane what was exhausted in the 24
//     hours before, a chunk at a time.
//
// A level is reached by an exhausted delivery, so nothing is told while nothing
// is attempted. Where a streak passes several levels at once, the last is told.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/outbox"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

const (
	lookEvery = 5 * time.Second // what the ledger does not tell of is found so late at the latest
	beginFor  = 4 * time.Second // a look begins no more after that; the next one follows at once
	workFor   = 15 * time.Second
	chunk     = 100 // webhooks looked up at once
)

// Why a webhook is disabled, as its row and the event say.
const (
	ReasonFailing = "failing"
	ReasonGone    = "gone"
)

// disabling is the level that disables a webhook; those below it are warnings.
const disabling = 100

// Keeper is one worker's.
type Keeper struct {
	store *store.Store
	log   *slog.Logger
	after time.Duration // a streak disables
	wake  chan struct{} // sent to without blocking by Wake, received by Run
}

// New returns a keeper over the worker's role; disableAfter is how long a streak
// lasts before it disables its webhook, for the warnings to tell.
func New(s *store.Store, disableAfter time.Duration, log *slog.Logger) *Keeper {
	return &Keeper{store: s, log: log, after: disableAfter, wake: make(chan struct{}, 1)}
}

// Wake has Run look at once.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default: // it is going to look
	}
}

// Run looks every 5 s, and when it is woken, until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		if err := k.Look(ctx); err != nil && ctx.Err() == nil {
			k.log.Warn("health: act", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-k.wake:
		}
	}
}

// Look does what is to be done now. One webhook that nothing can be done about
// does not keep the others waiting.
func (k *Keeper) Look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, workFor)
	defer cancel()
	begun := time.Now()
	over := func() bool { return ctx.Err() != nil || time.Since(begun) > beginFor }
	err := errors.Join(k.judge(ctx, over), k.recover(ctx, over))
	if over() {
		k.Wake() // there may be more
	}
	return err
}

// judge acts on all streaks and answers that nobody has acted on.
func (k *Keeper) judge(ctx context.Context, over func() bool) error {
	var failures []error
	after := uuid.Nil
	for !over() {
		rows, err := k.store.Queries().UntoldHealth(ctx, after, chunk)
		if err != nil {
			return errors.Join(append(failures, fmt.Errorf("look for untold health: %w", err))...)
		}
		for i := 0; i < len(rows) && !over(); i++ {
			if err := k.act(ctx, &rows[i]); err != nil && len(failures) < chunk {
				failures = append(failures, fmt.Errorf("webhook %s: %w", rows[i].WebhookID, err))
			}
		}
		if len(rows) < chunk {
			break
		}
		after = rows[chunk-1].WebhookID
	}
	return errors.Join(failures...)
}

// errTold undoes a transaction: another worker has acted, or there is no reason
// to any more.
var errTold = errors.New("told already")

func (k *Keeper) act(ctx context.Context, row *db.UntoldHealthRow) error {
	err := k.store.InTx(ctx, func(q *db.Queries) error {
		switch {
		case row.GoneGeneration != nil:
			return k.gone(ctx, q, row.WebhookID, row.GoneGeneration)
		case row.Level == disabling:
			return k.disable(ctx, q, row.WebhookID)
		default:
			return k.warn(ctx, q, row.WebhookID, row.Level)
		}
	})
	if errors.Is(err, errTold) {
		return nil
	}
	return err
}

// gone disables the webhook that was attempted: a generation is one of its
// states, URL and all. One that was changed since stays as it is.
func (k *Keeper) gone(ctx context.Context, q *db.Queries, webhook uuid.UUID, generation *int64) error {
	hook, err := q.DisableWebhook(ctx, new(ReasonGone), webhook, generation)
	disabled := err == nil
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("disable: %w", err)
	}
	if err := q.ForgetGone(ctx, webhook, generation); err != nil {
		return fmt.Errorf("forget the answer: %w", err)
	}
	if !disabled {
		return nil
	}
	streak, err := q.HealthStreak(ctx, webhook)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read streak: %w", err)
	}
	return k.tellDisabled(ctx, q, webhook, &hook, ReasonGone, db.TellHealthRow(streak))
}

// disable locks the webhook before its health, as everybody does, and takes all
// back if the streak is no longer there to be told of.
func (k *Keeper) disable(ctx context.Context, q *db.Queries, webhook uuid.UUID) error {
	hook, err := q.DisableWebhook(ctx, new(ReasonFailing), webhook, nil)
	disabled := err == nil
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("disable: %w", err)
	}
	streak, err := tell(ctx, q, webhook, disabling)
	if err != nil || !disabled {
		return err
	}
	return k.tellDisabled(ctx, q, webhook, &hook, ReasonFailing, streak)
}

func (k *Keeper) warn(ctx context.Context, q *db.Queries, webhook uuid.UUID, level int16) error {
	streak, err := tell(ctx, q, webhook, level)
	if err != nil {
		return err
	}
	hook, err := q.WebhookToWarn(ctx, webhook)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // nobody waits for an inactive one
	}
	if err != nil {
		return fmt.Errorf("read webhook: %w", err)
	}
	return outbox.Raise(ctx, q, outbox.Event{Tenant: hook.TenantID, Type: event.WebhookFailing, At: hook.At, Data: failing{
		Webhook: subject{ID: webhook, Name: hook.Name, URL: hook.Url}, FailingSince: stamp(*streak.FailingSince),
		ExhaustedCount: streak.Exhausted, DisableAt: stamp(streak.FailingSince.Add(k.after)),
	}})
}

func tell(ctx context.Context, q *db.Queries, webhook uuid.UUID, level int16) (db.TellHealthRow, error) {
	streak, err := q.TellHealth(ctx, webhook, level)
	if errors.Is(err, pgx.ErrNoRows) {
		return streak, errTold
	}
	if err != nil {
		return streak, fmt.Errorf("mark level %d as told: %w", level, err)
	}
	return streak, nil
}

func (k *Keeper) tellDisabled(ctx context.Context, q *db.Queries, webhook uuid.UUID, hook *db.DisableWebhookRow, reason string, streak db.TellHealthRow) error {
	k.log.Info("health: webhook disabled", "webhook", webhook, "reason", reason)
	if err := record(ctx, q, webhook, hook, reason); err != nil {
		return err
	}
	d := disabled{
		Webhook: subject{ID: webhook, Name: hook.Name, URL: hook.Url}, Reason: reason, DisabledAt: stamp(hook.DisabledAt),
		ExhaustedCount: streak.Exhausted,
	}
	if streak.FailingSince != nil {
		d.FailingSince = new(stamp(*streak.FailingSince))
	}
	return outbox.Raise(ctx, q, outbox.Event{Tenant: hook.TenantID, Type: event.WebhookDisabled, At: hook.DisabledAt, Data: d})
}

// subject is the webhook that an event tells of.
type subject struct {
	ID   uuid.UUID `json:"id"`
	Name string    `json:"name"`
	URL  string    `json:"url"`
}

type failing struct {
	Webhook        subject `json:"webhook"`
	FailingSince   string  `json:"failingSince"`
	ExhaustedCount int32   `json:"exhaustedCount"`
	DisableAt      string  `json:"disableAt"`
}

type disabled struct {
	Webhook        subject `json:"webhook"`
	Reason         string  `json:"reason"`
	DisabledAt     string  `json:"disabledAt"`
	FailingSince   *string `json:"failingSince"`
	ExhaustedCount int32   `json:"exhaustedCount"`
}

// stamp is a time as the events have it.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// state is what of a webhook its disabling changes, as the API shows it.
type state struct {
	Active         bool    `json:"active"`
	DisabledAt     *string `json:"disabledAt"`
	DisabledReason *string `json:"disabledReason"`
}

// record writes the audit row.
func record(ctx context.Context, q *db.Queries, webhook uuid.UUID, hook *db.DisableWebhookRow, reason string) error {
	before, err := json.Marshal(state{Active: true})
	if err != nil {
		return fmt.Errorf("encode audit: %w", err)
	}
	after, err := json.Marshal(state{DisabledAt: new(hook.DisabledAt.UTC().Format(time.RFC3339Nano)), DisabledReason: &reason})
	if err != nil {
		return fmt.Errorf("encode audit: %w", err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an id: %w", err)
	}
	err = q.InsertAudit(ctx, db.InsertAuditParams{
		ID: id, TenantID: hook.TenantID, Actor: "system", Action: "webhook.disabled", SubjectType: "webhook",
		SubjectID: webhook.String(), Before: before, After: after,
	})
	if err != nil {
		return fmt.Errorf("record in the audit log: %w", err)
	}
	return nil
}
