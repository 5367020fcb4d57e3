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

	"github.com/primezap/primezap/pkg/connection"
	"github.com/primezap/primezap/pkg/grant"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/pkg/vault"
)

// resealChunk is how many webhooks, connections or grants are looked at between two
// questions whether to go on.
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

// Where in a snoozed job's metadata stands how far it came: in which table, and there
// after which row.
const (
	resumeIn = "resumeIn"
	resumeAt = "resumeAfter"
)

// Work goes through all webhooks, all connections and all grants, in the order of their ids.
// One that is snoozed goes on where it was: those that do not open would keep it for
// ever otherwise.
func (r *resealer) Work(ctx context.Context, job *river.Job[resealArgs]) error {
	walk := sealWalk{resealer: r}
	var left map[string]json.RawMessage // what the job's last turn left
	if json.Unmarshal(job.Metadata, &left) == nil {
		// From the beginning, where there is nothing to read.
		_ = json.Unmarshal(left[resumeIn], &walk.table)
		_ = json.Unmarshal(left[resumeAt], &walk.after)
	}
	err := work(ctx, walk.step)
	if walk.resealed > 0 {
		r.log.Info("jobs: secrets sealed again", "rows", walk.resealed, "key", r.vault.PrimaryKeyID())
	}
	if walk.unopened > 0 {
		r.log.Warn("jobs: secrets do not open, their webhooks, connections and grants are of no use: the keyset lacks a key",
			"rows", walk.unopened, "table", sealTables[walk.exampleIn].name, "example", walk.example)
	}
	return errors.Join(err, river.MetadataSet(ctx, resumeIn, walk.table), river.MetadataSet(ctx, resumeAt, walk.after))
}

// sealTables are the tables that hold ciphertexts, in the order of the walk.
var sealTables = []struct {
	name   string
	look   func(ctx context.Context, q *db.Queries, prefixes [][]byte, after uuid.UUID) ([]seal, error)
	reseal func(ctx context.Context, w *sealWalk, q *db.Queries, id uuid.UUID) error
}{
	{
		name: "webhooks",
		look: func(ctx context.Context, q *db.Queries, prefixes [][]byte, after uuid.UUID) (seals []seal, err error) {
			rows, err := q.WebhookSeals(ctx, prefixes, after, resealChunk)
			for _, row := range rows {
				seals = append(seals, seal(row))
			}
			return seals, err
		},
		reseal: resealWebhook,
	},
	{
		name: "connections",
		look: func(ctx context.Context, q *db.Queries, prefixes [][]byte, after uuid.UUID) (seals []seal, err error) {
			rows, err := q.ConnectionSeals(ctx, prefixes, after, resealChunk)
			for _, row := range rows {
				seals = append(seals, seal(row))
			}
			return seals, err
		},
		reseal: resealConnection,
	},
	{
		name: "oauth_grants",
		look: func(ctx context.Context, q *db.Queries, prefixes [][]byte, after uuid.UUID) (seals []seal, err error) {
			rows, err := q.GrantSeals(ctx, prefixes, after, resealChunk)
			for _, row := range rows {
				seals = append(seals, seal(row))
			}
			return seals, err
		},
		reseal: resealGrant,
	},
}

// seal is a row with ciphertexts, and whether one is to be sealed again.
type seal struct {
	ID       uuid.UUID
	Outdated bool
}

// sealWalk is where a walk is, and what it did.
type sealWalk struct {
	*resealer
	table              int // of sealTables
	after              uuid.UUID
	resealed, unopened int
	exampleIn          int
	example            uuid.UUID // one of the unopened
}

// step looks at the next rows, and seals again what has to be.
func (w *sealWalk) step(ctx context.Context) (more bool, err error) {
	if w.table >= len(sealTables) {
		return false, nil
	}
	q, table := w.store.Queries(), sealTables[w.table]
	seals, err := table.look(ctx, q, w.vault.Prefixes(), w.after)
	if err != nil {
		return false, fmt.Errorf("look for secrets to be sealed again: %w", err)
	}
	for _, s := range seals {
		if s.Outdated {
			err := table.reseal(ctx, w, q, s.ID)
			if errors.Is(err, vault.ErrSealed) {
				w.unopened++
				w.exampleIn, w.example = w.table, s.ID
			} else if err != nil {
				return false, fmt.Errorf("seal %s of %s again: %w", s.ID, table.name, err)
			}
		}
		w.after = s.ID
	}
	if len(seals) < resealChunk {
		w.table, w.after = w.table+1, uuid.Nil
	}
	return w.table < len(sealTables), nil
}

// resealWebhook seals one webhook again, unless it is edited meanwhile: then it is
// looked at the next time, should the edit not have done it already.
func resealWebhook(ctx context.Context, w *sealWalk, q *db.Queries, id uuid.UUID) error {
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

// resealConnection seals one connection's token again, unless it gets another one
// meanwhile.
func resealConnection(ctx context.Context, w *sealWalk, q *db.Queries, id uuid.UUID) error {
	row, err := q.SealedConnection(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	fresh, err := connection.Reseal(w.vault, row.TenantID, id, row.Credentials)
	if err != nil {
		return err
	}
	resealed, err := q.ResealConnection(ctx, fresh, id, row.Credentials)
	w.resealed += int(resealed)
	return err
}

// resealGrant seals one grant's token again, unless it gets another one meanwhile.
func resealGrant(ctx context.Context, w *sealWalk, q *db.Queries, id uuid.UUID) error {
	row, err := q.SealedGrant(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	fresh, err := grant.Reseal(w.vault, row.TenantID, id, row.Credentials)
	if err != nil {
		return err
	}
	resealed, err := q.ResealGrant(ctx, fresh, id, row.Credentials)
	w.resealed += int(resealed)
	return err
}
