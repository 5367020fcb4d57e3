package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

const (
	eraseChunk   = 100  // events of one round
	walkChunk    = 1000 // messages or rows that are looked at in one
	rowChunk     = 1000 // rows of one transaction
	defaultLease = 45 * time.Second
	// Erasures and deletions are never given up: after an error they pause.
	failurePause = 15 * time.Second
)

// The steps of an erasure, in their order.
const (
	stepOutbox      = iota // what is kept of the person, then events that are not published yet
	stepEnter              // events that are not in the ledger yet
	stepErase              // events that are
	stepPoison             // what could not be delivered
	stepWait               // for what is on its way somewhere
	stepCopies             // published again meanwhile
	stepPoisonAgain        // given up meanwhile
	stepEraseAgain         // written meanwhile
	stepFinish             // what channels told of the person
)

// eraser erases what was stored of a contact when somebody asked for it.
//
// Every event of the contact gets its entry in the ledger first, if it has none:
// from then on nobody delivers it, and a worker that holds it is superseded, which
// leaves no answer of an endpoint behind. So each event is found in the ledger, by
// its contact, and erased wherever it is kept; only then the ledger forgets whom it
// was about, and finds it by the erasure instead. All of that is done once more
// after a while, for the sake of copies that were under way between two places.
//
// Before that goes what is kept of a contact that is one of ours: see forget.
type eraser struct {
	river.WorkerDefaults[jobs.Erasure]
	store      *store.Store
	js         jetstream.JetStream
	log        *slog.Logger
	againAfter time.Duration
}

// newEraser returns one that looks again for late copies after twice a lease:
// longer than an attempt and its way to the ledger, the janitor's turn, the relay's
// batch or a request takes.
func newEraser(s *store.Store, js jetstream.JetStream, lease time.Duration, log *slog.Logger) *eraser {
	return &eraser{store: s, js: js, log: log, againAfter: 2 * cmp.Or(lease, defaultLease)}
}

// Work goes on with an erasure where it stands.
func (e *eraser) Work(ctx context.Context, job *river.Job[jobs.Erasure]) error {
	row, err := e.store.Queries().StartErasure(ctx, job.Args.ID)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && row.ContactID == nil {
		return nil // its tenant was deleted, or it has ended
	}
	if err == nil {
		err = work(ctx, (&erasure{eraser: e, row: row}).step)
	}
	return persist(e.log, err, "erasure", job.Args.ID)
}

// NextRetry is soon: only a worker that died uses up an attempt.
func (e *eraser) NextRetry(*river.Job[jobs.Erasure]) time.Time {
	return time.Now().Add(failurePause)
}

// persist turns a job's error into a pause. A row that is gone took its job along.
func persist(log *slog.Logger, err error, what string, id uuid.UUID) error {
	var snooze *river.JobSnoozeError
	switch {
	case err == nil, errors.As(err, &snooze):
		return err
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	}
	log.Warn("jobs: interrupted, goes on later", "job", what, "id", id, "error", err)
	return river.JobSnooze(failurePause)
}

// erasure is one at work.
type erasure struct {
	*eraser
	row db.Erasure
}

// tally is what a transaction erased.
type tally struct{ events, bodies, logs, deliveries, records int64 }

// mark is the contact of events that were erased, until all has ended.
func (e *erasure) mark() string { return "erasure:" + e.row.ID.String() }

func (e *erasure) step(ctx context.Context) (more bool, err error) {
	switch e.row.Step {
	case stepOutbox:
		if e.row.Place == 0 {
			if more, err := e.forget(ctx); more || err != nil {
				return true, err
			}
		}
		return true, e.outbox(ctx)
	case stepEnter:
		return true, e.enter(ctx)
	case stepErase:
		contacts := e.contacts()
		at := min(int(e.row.Place), len(contacts)-1)
		return true, e.erase(ctx, contacts[at], e.mark(), at == len(contacts)-1)
	case stepPoison, stepPoisonAgain:
		return true, e.poison(ctx)
	case stepWait:
		return true, e.wait(ctx)
	case stepCopies:
		return true, e.copies(ctx)
	case stepEraseAgain:
		return true, e.erase(ctx, e.mark(), "", true)
	case stepFinish:
		if more, err := e.search(ctx); more || err != nil {
			return true, err
		}
	}
	if err := e.store.Queries().FinishErasure(ctx, e.row.ID); err != nil {
		return false, fmt.Errorf("finish: %w", err)
	}
	e.log.Info("jobs: erased", "erasure", e.row.ID, "events", e.row.Events, "bodies", e.row.Bodies, "logs", e.row.Logs, "deliveries", e.row.Deliveries, "records", e.row.Records)
	return false, nil
}

// advance commits what do writes together with what it erased and the place that
// it has come to.
func (e *erasure) advance(ctx context.Context, step int16, place int64, do func(*db.Queries) (tally, error)) error {
	var row db.Erasure
	err := e.store.InTx(ctx, func(q *db.Queries) error {
		t, err := do(q)
		if err != nil {
			return err
		}
		row, err = q.AdvanceErasure(ctx, db.AdvanceErasureParams{
			ID: e.row.ID, Step: step, Place: place, Erased: step >= stepWait,
			Events: t.events, Bodies: t.bodies, Logs: t.logs, Deliveries: t.deliveries, Records: t.records,
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("step %d: %w", e.row.Step, err)
	}
	e.row = row
	return nil
}

// stay is the place in a step; done the start of the next one.
func (e *erasure) stay(ctx context.Context, place int64, do func(*db.Queries) (tally, error)) error {
	return e.advance(ctx, e.row.Step, place, do)
}

func (e *erasure) done(ctx context.Context, do func(*db.Queries) (tally, error)) error {
	return e.advance(ctx, e.row.Step+1, 0, do)
}

func nothing(*db.Queries) (tally, error) { return tally{}, nil }

// wait lets pass what is on its way.
func (e *erasure) wait(ctx context.Context) error {
	seconds, err := e.store.Queries().ErasureAge(ctx, e.row.ID)
	if err != nil {
		return fmt.Errorf("look at the time: %w", err)
	}
	if rest := e.againAfter - time.Duration(seconds*float64(time.Second)); rest > 0 {
		return river.JobSnooze(rest)
	}
	return e.done(ctx, nothing)
}

// keys are events of the contact, column by column.
type keys struct {
	days    []time.Time
	ids     []string
	types   []string
	seqs    []int64
	created []time.Time
}

func (k *keys) add(day time.Time, id, eventType string, seq uint64, created time.Time) {
	k.days = append(k.days, day)
	k.ids = append(k.ids, id)
	k.types = append(k.types, eventType)
	k.seqs = append(k.seqs, int64(seq)) //nolint:gosec // does not reach 2^63
	k.created = append(k.created, created)
}

// bounds are the first and the last day.
func (k *keys) bounds() (first, last time.Time) {
	for i, day := range k.days {
		if i == 0 || day.Before(first) {
			first = day
		}
		if day.After(last) {
			last = day
		}
	}
	return first, last
}

// put makes the events' entries in the ledger, under contact.
func (e *erasure) put(ctx context.Context, q *db.Queries, k *keys, contact string) error {
	if len(k.ids) == 0 {
		return nil
	}
	return q.EnterErased(ctx, db.EnterErasedParams{
		TenantID: e.row.TenantID, Contact: contact, Days: k.days, Ids: k.ids, Types: k.types, Seqs: k.seqs, Created: k.created,
	})
}

// ensureDays makes the partitions that put needs.
func (e *erasure) ensureDays(ctx context.Context, k *keys) error {
	seen := map[time.Time]bool{}
	for _, day := range k.days {
		if seen[day] {
			continue
		}
		seen[day] = true
		if _, err := e.store.Queries().EnsurePartitions(ctx, day, day); err != nil {
			return fmt.Errorf("make the partition of %s: %w", day.Format(time.DateOnly), err)
		}
	}
	return nil
}

// events is the stream of them.
func (e *erasure) events(ctx context.Context) (*bus.Eraser, error) {
	return bus.NewEraser(ctx, e.js, bus.StreamEvents)
}
