package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
)

// resealChunk is how many webhooks are looked at between two questions whether to
// go on.
const resealChunk = 500

// resealArgs is the job that seals anew what is under another key than the vault's
// newest.
type resealArgs struct{}

// Kind is what River calls the job.
func (resealArgs) Kind() string { return "reseal" }

type resealer struct {
	river.WorkerDefaults[resealArgs]
	store *store.Store
	vault *vault.Vault
	log   *slog.Logger
}

func newResealer(s *store.Store, v *vault.Vault, log *slog.Logger) *resealer {
	return &resealer{store: s, vault: v, log: log}
}

// resumeAt is where in a snoozed job's metadata stands how far it came.
const resumeAt = "resumeAfter"

// Work goes through all webhooks, in the order of their ids. One that is snoozed
// goes on where it was: those that do not open would keep it for ever otherwise.
func (r *resealer) Work(ctx context.Context, job *river.Job[resealArgs]) error {
	walk := sealWalk{resealer: r}
	var left map[string]json.RawMessage // what the job's last turn left
	if json.Unmarshal(job.Metadata, &left) == nil {
		_ = json.Unmarshal(left[resumeAt], &walk.after) // from the beginning, where there is nothing to read
	}
	err := work(ctx, walk.step)
	if walk.resealed > 0 {
		r.log.Info("jobs: secrets sealed again", "webhooks", walk.resealed, "key", r.vault.PrimaryKeyID())
	}
	if walk.unopened > 0 {
		r.log.Warn("jobs: secrets do not open, their webhooks get nothing: the keyset lacks a key",
			"webhooks", walk.unopened, "example", walk.example)
	}
	return errors.Join(err, river.MetadataSet(ctx, resumeAt, walk.after))
}

// sealWalk is where a walk is, and what it did.
type sealWalk struct {
	*resealer
	after              uuid.UUID
	resealed, unopened int
	example            uuid.UUID // one of the unopened
}

// step looks at the next webhooks, and seals again what has to be.
func (w *sealWalk) step(ctx context.Context) (more bool, err error) {
	q := w.store.Queries()
	seals, err := q.WebhookSeals(ctx, w.vault.Prefixes(), w.after, resealChunk)
	if err != nil {
		return false, fmt.Errorf("look for secrets to be sealed again: %w", err)
	}
	for _, s := range seals {
		if s.Outdated {
			if err := w.reseal(ctx, q, s.ID); err != nil {
				return false, fmt.Errorf("seal webhook %s again: %w", s.ID, err)
			}
		}
		w.after = s.ID
	}
	return len(seals) == resealChunk, nil
}

// reseal seals one webhook again, unless it is edited meanwhile: then it is looked
// at the next time, should the edit not have done it already.
func (w *sealWalk) reseal(ctx context.Context, q *db.Queries, id uuid.UUID) error {
	row, err := q.SealedWebhook(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	fresh := db.ResealWebhookParams{ID: id, OldSecret: row.Secret, OldPreviousSecret: row.PreviousSecret, OldHeaders: row.Headers}
	for _, c := range []struct {
		old     []byte
		fresh   *[]byte
		purpose string
	}{
		{row.Secret, &fresh.Secret, "secret"},
		{row.PreviousSecret, &fresh.PreviousSecret, "secret"},
		{row.Headers, &fresh.Headers, "headers"},
	} {
		if len(c.old) == 0 {
			continue
		}
		binding := vault.Binding{Tenant: row.TenantID, Table: "webhooks", Row: id.String(), Purpose: c.purpose}
		plain, err := w.vault.Unseal(c.old, binding)
		if errors.Is(err, vault.ErrSealed) {
			w.unopened++
			w.example = id
			return nil
		}
		if err == nil {
			*c.fresh, err = w.vault.Seal(plain, binding)
		}
		if err != nil {
			return err
		}
	}
	resealed, err := q.ResealWebhook(ctx, fresh)
	w.resealed += int(resealed)
	return err
}
