package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/filter"
	"github.com/primezap/primezap/pkg/store/db"
)

// maxPageBytes is when the bodies that a page has to keep are enough.
const maxPageBytes = 8 << 20

// page is a piece of one day of a tenant's ledger: what of it a replay asks for.
type page struct {
	epoch  int64 // of the event store
	point  int64 // it keeps nothing below: of events there, the body was read
	events []*stored
	lost   int // events that are asked for and no longer stored

	nextDay time.Time // where it ends
	afterID string
	last    bool // nothing that is asked for comes behind it
}

// stored is an event that can be delivered.
type stored struct {
	id, eventType string
	seq           int64
	body          []byte // of one that the event store does not keep
}

// passedBy reports whether point has moved on to events whose body was not read.
func (p *page) passedBy(point db.HoldPurgePointRow) bool {
	return point.Epoch == p.epoch && slices.ContainsFunc(p.events, func(e *stored) bool {
		return e.body == nil && e.seq < point.PurgedBelow
	})
}

// pageReader reads a page.
type pageReader struct {
	*replayer
	page
	replay *db.Replay
	toAll  bool           // operational types come by prefixes and * too
	filter *filter.Filter // nil: there is none
	stream *bus.Reader
	kept   map[int64]bool // events before the stream's first whose body is kept
	bytes  int
}

// read reads the next page of the ledger: what it holds has been delivered, or
// waits in queues. An event that it does not hold is on its way by itself.
func (r *replayer) read(ctx context.Context, todo *db.ReplayToDoRow) (*page, error) {
	p := &pageReader{replayer: r, replay: &todo.Replay, toAll: todo.Operational, page: page{nextDay: todo.Replay.NextDay, afterID: todo.Replay.AfterID}}
	q := r.store.Queries()
	entries, err := q.EventsOfDay(ctx, db.EventsOfDayParams{
		TenantID: p.replay.TenantID, Day: p.nextDay, AfterID: p.afterID, RowLimit: replayRead,
	})
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	wanted := slices.DeleteFunc(slices.Clone(entries), func(e db.EventsOfDayRow) bool { return !p.wants(&e) })
	if len(wanted) > 0 {
		if err := p.open(ctx, q, todo.Filter, wanted); err != nil {
			return nil, err
		}
	}
	for i := range wanted {
		if err := p.take(ctx, q, &wanted[i]); err != nil {
			return nil, err
		}
		if len(p.events) == replayPage || p.bytes > maxPageBytes {
			p.afterID = wanted[i].ID
			return &p.page, nil
		}
	}
	if len(entries) == replayRead {
		p.afterID = entries[replayRead-1].ID
		return &p.page, nil
	}
	p.nextDay, p.afterID = p.nextDay.AddDate(0, 0, 1), ""
	// Clocks differ: around midnight an event may be stored before its day begins.
	p.last = p.nextDay.After(bus.Day(p.replay.Until.Add(time.Minute)))
	return &p.page, nil
}

// wants says what can be told without the body.
func (p *pageReader) wants(e *db.EventsOfDayRow) bool {
	return !e.CreatedAt.Before(p.replay.Since) && e.CreatedAt.Before(p.replay.Until) &&
		slices.ContainsFunc(p.replay.Events, func(s string) bool { return event.Matches(s, event.Type(e.Type), p.toAll) })
}

// open looks at the event store.
func (p *pageReader) open(ctx context.Context, q *db.Queries, raw []byte, wanted []db.EventsOfDayRow) (err error) {
	if raw != nil {
		if p.filter, err = filter.Compile(raw); err != nil {
			return fmt.Errorf("the webhook's filter: %w", err)
		}
	}
	if p.stream, err = bus.NewReader(ctx, p.js); err != nil {
		return err
	}
	p.epoch, p.point = p.stream.Epoch(), int64(p.stream.First()) //nolint:gosec // does not reach 2^63
	point, err := q.PurgePoint(ctx)
	if err != nil {
		return fmt.Errorf("read the purge point: %w", err)
	}
	if point.Epoch == p.epoch {
		p.point = max(p.point, point.PurgedBelow)
	}
	var trimmed []int64
	for i := range wanted {
		if seq := wanted[i].StreamSeq; uint64(seq) < p.stream.First() { //nolint:gosec // was a uint64
			trimmed = append(trimmed, seq)
		}
	}
	if len(trimmed) == 0 {
		return nil
	}
	kept, err := q.KeptEvents(ctx, trimmed, p.epoch)
	if err != nil {
		return fmt.Errorf("look for kept bodies: %w", err)
	}
	p.kept = make(map[int64]bool, len(kept))
	for _, seq := range kept {
		p.kept[seq] = true
	}
	return nil
}

// take adds an event to the page if the filter lets it pass.
func (p *pageReader) take(ctx context.Context, q *db.Queries, e *db.EventsOfDayRow) error {
	if e.CreatedAt.UnixNano() < p.epoch { // its sequence is another stream's
		p.lost++
		return nil
	}
	s := &stored{id: e.ID, eventType: e.Type, seq: e.StreamSeq}
	below := s.seq < p.point
	if p.filter != nil || below {
		body, err := p.body(ctx, q, e)
		switch {
		case errors.Is(err, bus.ErrBodyLost):
			p.lost++
			return nil
		case err != nil:
			return err
		}
		if p.filter != nil {
			if data, ok := event.Data(body); !ok || !p.filter.Matches(data) {
				return nil
			}
		}
		if below {
			s.body = body
			p.bytes += len(body)
		}
	}
	p.events = append(p.events, s)
	return nil
}

// body is an event's, from the event store or what was kept of it.
func (p *pageReader) body(ctx context.Context, q *db.Queries, e *db.EventsOfDayRow) ([]byte, error) {
	if uint64(e.StreamSeq) >= p.stream.First() { //nolint:gosec // was a uint64
		read, err := p.stream.Event(ctx, p.epoch, uint64(e.StreamSeq), p.replay.TenantID, e.ID) //nolint:gosec // was a uint64
		if err == nil || !errors.Is(err, bus.ErrBodyLost) {
			return read.Body, err
		}
	} else if !p.kept[e.StreamSeq] {
		return nil, bus.ErrBodyLost
	}
	body, err := q.EventBody(ctx, p.replay.TenantID, p.nextDay, e.ID)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, bus.ErrBodyLost
	}
	if err != nil {
		return nil, fmt.Errorf("read kept body: %w", err)
	}
	return body, nil
}
