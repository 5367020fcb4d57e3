package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

const (
	keepEvents = 7 * 24 * time.Hour // what a replay can reach back to
	// Above shortAbove of the event store's bytes the days are cut down until it
	// is trimmed to trimTo: the API must not refuse new events for the sake of
	// delivered ones.
	shortAbove = 0.8
	trimTo     = 0.7
	bodyChunk  = 64 // bodies of one transaction, of up to 256 KiB
)

// janitorArgs is the job that trims the event store.
type janitorArgs struct{}

// Kind is what River calls the job.
func (janitorArgs) Kind() string { return "janitor" }

type janitor struct {
	river.WorkerDefaults[janitorArgs]
	store *store.Store
	js    jetstream.JetStream
	log   *slog.Logger
	keep  time.Duration
	now   func() time.Time
}

func newJanitor(s *store.Store, js jetstream.JetStream, log *slog.Logger) *janitor {
	return &janitor{store: s, js: js, log: log, keep: keepEvents, now: time.Now}
}

// Work trims the event store as far as it may be.
func (j *janitor) Work(ctx context.Context, _ *river.Job[janitorArgs]) error {
	return work(ctx, j.trim)
}

// trim purges once. What is purged was delivered or lies in the ledger as queue
// rows, and their bodies are kept: the purge point is committed first, so that
// whoever inserts a row below it from then on keeps the body himself; then come
// the bodies that rows need by now; then the purge. There is more if the bodies
// were too many for one transaction.
func (j *janitor) trim(ctx context.Context) (more bool, err error) {
	stock, err := bus.TakeStock(ctx, j.js)
	if err != nil {
		return false, err
	}
	below, err := j.point(ctx, stock)
	if err != nil || below <= stock.First {
		return false, err
	}
	if err := j.store.Queries().SavePurgePoint(ctx, stock.Epoch, int64(below)); err != nil { //nolint:gosec // does not reach 2^63
		return false, fmt.Errorf("commit the purge point: %w", err)
	}
	kept, err := j.keepBodies(ctx, stock, below)
	if err != nil {
		return false, err
	}
	if err := bus.PurgeBelow(ctx, j.js, kept); err != nil {
		return false, err
	}
	return kept < below, nil
}

// point is the sequence below which the stock may be purged.
func (j *janitor) point(ctx context.Context, stock *bus.Stock) (uint64, error) {
	below, found, err := bus.FirstSince(ctx, j.js, j.now().Add(-j.keep))
	if err != nil {
		return 0, err
	}
	if !found {
		below = stock.Last + 1
	}
	floor := stock.Floor()
	if room := roomBelow(stock); room > below {
		below = room
		j.log.Warn("jobs: the event store is short of space: delivered events are kept for a shorter time, undelivered ones are never dropped",
			"bytes", stock.Bytes, "maxBytes", stock.MaxBytes, "oldest", stock.FirstTime, "undelivered", stock.Last-min(floor, stock.Last))
	}
	return min(below, floor), nil
}

// roomBelow is the sequence below which so much would have to go that the stock
// is no longer short of space, 0 if it is not. Events count as equally large:
// what is missing, the next turn finds.
func roomBelow(stock *bus.Stock) uint64 {
	if stock.MaxBytes <= 0 || float64(stock.Bytes) <= shortAbove*float64(stock.MaxBytes) {
		return 0
	}
	excess := float64(stock.Bytes) - trimTo*float64(stock.MaxBytes)
	return stock.First + uint64(float64(stock.Messages)*excess/float64(stock.Bytes)) + 1
}

// keepBodies copies what queue rows still need of the events below a sequence,
// and returns the sequence that it came to: below it nothing is missing.
func (j *janitor) keepBodies(ctx context.Context, stock *bus.Stock, below uint64) (kept uint64, err error) {
	q := j.store.Queries()
	needed, err := q.NeededEvents(ctx, db.NeededEventsParams{
		Epoch: stock.Epoch, First: int64(stock.First), Below: int64(below), RowLimit: bodyChunk, //nolint:gosec // do not reach 2^63
	})
	if err != nil {
		return 0, fmt.Errorf("look for bodies that are needed: %w", err)
	}
	if len(needed) == 0 {
		return below, nil
	}
	reader, err := bus.NewReader(ctx, j.js)
	if err != nil {
		return 0, err
	}
	copies := db.KeepBodiesParams{Epoch: stock.Epoch}
	for _, row := range needed {
		e, err := reader.Event(ctx, stock.Epoch, uint64(row.StreamSeq), row.TenantID, row.EventID) //nolint:gosec // was a uint64
		if errors.Is(err, bus.ErrBodyLost) {
			j.log.Error("jobs: the body of a waiting delivery is not in the event store", "seq", row.StreamSeq, "event", row.EventID)
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("keep body: %w", err)
		}
		copies.StreamSeqs = append(copies.StreamSeqs, row.StreamSeq)
		copies.Tenants = append(copies.Tenants, row.TenantID)
		copies.Days = append(copies.Days, row.EventDay)
		copies.Ids = append(copies.Ids, row.EventID)
		copies.Bodies = append(copies.Bodies, e.Body)
	}
	if err := q.KeepBodies(ctx, copies); err != nil {
		return 0, fmt.Errorf("keep bodies: %w", err)
	}
	if len(needed) == bodyChunk {
		return uint64(needed[len(needed)-1].StreamSeq) + 1, nil //nolint:gosec // was a uint64
	}
	return below, nil
}
