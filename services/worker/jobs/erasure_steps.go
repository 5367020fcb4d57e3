package jobs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/event"
	"github.com/primezap/primezap/pkg/store/db"
)

// outbox removes the contact's events that were raised and not published yet. The
// relay may be publishing one of them at this moment: its entry in the ledger
// keeps it from being delivered, and the copy is found later. Of a contact that was
// one of ours all events are meant: there are no more when it is gone.
func (e *erasure) outbox(ctx context.Context) error {
	until := e.row.CreatedAt
	if e.ours() {
		until = time.Now().AddDate(1, 0, 0)
	}
	page, err := e.store.Queries().OutboxOfTenant(ctx, db.OutboxOfTenantParams{
		TenantID: e.row.TenantID, Until: until, After: e.row.Place, RowLimit: walkChunk,
	})
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	var gone []int64
	var k keys
	contacts := e.contacts()
	for _, row := range page {
		if row.Theirs && row.InTime && slices.Contains(contacts, event.ContactKey(event.ContactOf(row.Body))) {
			gone = append(gone, row.ID)
			k.add(row.Day, row.EventID, row.EventType, 0, e.row.CreatedAt)
		}
	}
	if err := e.ensureDays(ctx, &k); err != nil {
		return err
	}
	remove := func(q *db.Queries) (t tally, err error) {
		if len(gone) == 0 {
			return t, nil
		}
		if err := e.put(ctx, q, &k, e.mark()); err != nil {
			return t, fmt.Errorf("enter events of the outbox: %w", err)
		}
		removed, err := q.RemoveOutbox(ctx, gone)
		return tally{events: removed, bodies: removed}, err
	}
	if len(page) == walkChunk {
		return e.stay(ctx, page[len(page)-1].ID, remove)
	}
	if !e.ours() {
		return e.done(ctx, remove)
	}
	here, err := bus.Here(ctx, e.js) // what was not in the outbox is in the stream
	if err != nil {
		return err
	}
	return e.done(ctx, func(q *db.Queries) (tally, error) {
		t, err := remove(q)
		if err == nil {
			err = q.ExtendErasure(ctx, db.ExtendErasureParams{ID: e.row.ID, Epoch: here.Epoch, LastSeq: int64(here.Last), LastTime: here.Time}) //nolint:gosec // does not reach 2^63
		}
		return t, err
	})
}

// enter gives the contact's events that are accepted and not delivered their
// entries in the ledger, with no deliveries.
func (e *erasure) enter(ctx context.Context) error {
	stock, err := bus.TakeStock(ctx, e.js)
	if err != nil {
		return err
	}
	if stock.Epoch != e.row.Epoch {
		return e.done(ctx, nothing) // that stream is gone, with all that was in it
	}
	stream, err := e.events(ctx)
	if err != nil {
		return err
	}
	from := max(uint64(e.row.Place), stock.First, min(stock.Floors[bus.ConsumerLive].Seq, stock.Floors[bus.ConsumerBulk].Seq)+1) //nolint:gosec // was a uint64
	var k keys
	next, end, err := e.walk(ctx, stream, from, uint64(e.row.LastSeq), func(m bus.Message) error { //nolint:gosec // was a uint64
		if !m.Day.IsZero() && m.ID != "" && m.Type != "" {
			k.add(m.Day, m.ID, m.Type, m.Seq, m.Stored)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := e.ensureDays(ctx, &k); err != nil {
		return err
	}
	put := func(q *db.Queries) (tally, error) { return tally{}, e.put(ctx, q, &k, *e.row.ContactID) }
	if end {
		return e.done(ctx, put)
	}
	return e.stay(ctx, int64(next), put) //nolint:gosec // does not reach 2^63
}

// walk shows the contact's messages of a stream, from one sequence to another, a
// bounded number at a time. It returns where to go on, and whether that is the end.
func (e *erasure) walk(ctx context.Context, stream *bus.Eraser, from, to uint64, show func(bus.Message) error) (next uint64, end bool, err error) {
	shown, contacts := 0, e.contacts()
	for range walkChunk {
		m, found, err := stream.Next(ctx, from, e.row.TenantID)
		if err != nil {
			return from, false, err
		}
		if !found || m.Seq > to {
			return from, true, nil
		}
		from = m.Seq + 1
		if !slices.Contains(contacts, m.Contact) {
			continue
		}
		if err := show(m); err != nil {
			return from, false, err
		}
		if shown++; shown == eraseChunk {
			break
		}
	}
	return from, false, nil
}

// erase erases events that the ledger finds by contact: at first by the contact
// itself, then, a second time, by the erasure's mark. Nothing is forgotten before
// everything of it is erased, so whoever is interrupted finds it again. Unless it is
// the last, other contacts follow.
func (e *erasure) erase(ctx context.Context, contact, becomes string, isLast bool) error {
	last, until := e.row.LastSeq, e.row.LastTime
	if becomes == "" {
		last = math.MaxInt64 // what has the mark was in time
	}
	rows, err := e.store.Queries().EventsOfContact(ctx, db.EventsOfContactParams{
		Contact: contact, TenantID: e.row.TenantID, LastSeq: last, LastTime: until, RowLimit: eraseChunk,
	})
	if err != nil {
		return fmt.Errorf("look for events: %w", err)
	}
	if len(rows) == 0 && !isLast {
		return e.stay(ctx, e.row.Place+1, nothing)
	}
	if len(rows) == 0 {
		return e.done(ctx, nothing)
	}
	var f found
	for _, row := range rows {
		f.add(row.Day, row.ID, "", uint64(row.StreamSeq), time.Time{}) //nolint:gosec // was a uint64
	}
	bodies, err := e.eraseStored(ctx, &f, becomes != "")
	if err != nil {
		return err
	}
	if err := e.removeDeliveries(ctx, &f); err != nil {
		return err
	}
	if err := e.eraseAnswers(ctx, f.ids); err != nil {
		return err
	}
	return e.stay(ctx, e.row.Place, func(q *db.Queries) (t tally, err error) {
		// Not while a replay inserts deliveries of what it has found not to be erased.
		if err := q.LockEventStore(ctx); err != nil {
			return t, fmt.Errorf("lock the event store: %w", err)
		}
		removed, err := q.RemoveKeptBodies(ctx, f.keptEpochs, f.keptSeqs)
		if err != nil {
			return t, fmt.Errorf("remove kept bodies: %w", err)
		}
		t.bodies = bodies + removed
		for i, id := range f.ids {
			marked, err := q.MarkErased(ctx, db.MarkErasedParams{
				TenantID: e.row.TenantID, Contact: contact, Becomes: becomes, Day: f.days[i], ID: id,
			})
			if err != nil {
				return t, fmt.Errorf("mark events: %w", err)
			}
			if becomes != "" {
				t.events += marked
			}
		}
		return t, nil
	})
}

// found are events of the contact, and the places that their deliveries refer to:
// those in the stream, and those that bodies are kept of.
type found struct {
	keys
	epochs, storedAt     []int64
	storedIDs            []string
	keptEpochs, keptSeqs []int64
}

func (f *found) place(epoch, seq int64, id string) {
	f.epochs = append(f.epochs, epoch)
	f.storedAt = append(f.storedAt, seq)
	f.storedIDs = append(f.storedIDs, id)
}

// eraseStored erases the events' messages, and returns how many bodies that were.
// A body that is not there any more although the janitor has not come so far was
// erased by us, before we were interrupted: it is counted now.
func (e *erasure) eraseStored(ctx context.Context, f *found, first bool) (bodies int64, err error) {
	stream, err := e.events(ctx)
	if err != nil {
		return 0, err
	}
	point, err := e.store.Queries().PurgePoint(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the purge point: %w", err)
	}
	for i, id := range f.ids {
		erased, err := stream.EraseEvent(ctx, uint64(f.seqs[i]), e.row.TenantID, id) //nolint:gosec // was a uint64
		if err != nil {
			return 0, err
		}
		kept := point.Epoch != stream.Epoch() || f.seqs[i] >= point.PurgedBelow
		if erased || first && f.seqs[i] > 0 && e.row.Epoch == stream.Epoch() && kept {
			bodies++
		}
		f.place(stream.Epoch(), f.seqs[i], id)
	}
	kept, err := e.store.Queries().KeptBodies(ctx, f.days, f.ids, e.row.TenantID)
	if err != nil {
		return 0, fmt.Errorf("look for kept bodies: %w", err)
	}
	for _, b := range kept {
		f.place(b.Epoch, b.StreamSeq, b.EventID)
		f.keptEpochs, f.keptSeqs = append(f.keptEpochs, b.Epoch), append(f.keptSeqs, b.StreamSeq)
	}
	return bodies, nil
}

// removeDeliveries removes the events' rows from the queue. The result of one in
// flight finds no row, and is logged without the answer.
func (e *erasure) removeDeliveries(ctx context.Context, f *found) error {
	for removed := int64(rowChunk); removed == rowChunk; {
		err := e.stay(ctx, e.row.Place, func(q *db.Queries) (t tally, err error) {
			removed, err = q.RemoveQueueRowsOfEvents(ctx, db.RemoveQueueRowsOfEventsParams{
				TenantID: e.row.TenantID, Epochs: f.epochs, Seqs: f.storedAt, Ids: f.storedIDs, RowLimit: rowChunk,
			})
			return tally{deliveries: removed}, err
		})
		if err != nil {
			return fmt.Errorf("remove deliveries: %w", err)
		}
	}
	return nil
}

// eraseAnswers erases what endpoints answered to the events: of all of them at
// once, or one by one where they had many endpoints.
func (e *erasure) eraseAnswers(ctx context.Context, ids []string) error {
	answers, err := e.store.Queries().CountAnswers(ctx, ids, e.row.TenantID, rowChunk)
	if err != nil {
		return fmt.Errorf("look for answers: %w", err)
	}
	if answers == 0 {
		return nil
	}
	if answers == rowChunk && len(ids) > 1 {
		half := len(ids) / 2
		return errors.Join(e.eraseAnswers(ctx, ids[:half]), e.eraseAnswers(ctx, ids[half:]))
	}
	err = e.stay(ctx, e.row.Place, func(q *db.Queries) (t tally, err error) {
		erased, err := q.EraseAnswers(ctx, ids, e.row.TenantID)
		return tally{logs: erased}, err
	})
	if err != nil {
		return fmt.Errorf("erase answers: %w", err)
	}
	return nil
}

// poison erases what of the contact could not be delivered: at first all that is
// there, then what was erased elsewhere and was given up only later.
func (e *erasure) poison(ctx context.Context) error {
	stream, err := bus.NewEraser(ctx, e.js, bus.StreamPoison)
	if err != nil {
		return err
	}
	events, err := e.events(ctx)
	if err != nil {
		return err
	}
	return e.eraseWalked(ctx, stream, uint64(max(0, e.row.Place)), e.row.Step == stepPoison, func(m bus.Message) error { //nolint:gosec // not negative
		if events.Epoch() == e.row.Epoch {
			// Given up, it has no entry in the ledger: nothing else finds it.
			if err := events.EraseSource(ctx, m.Source, e.row.TenantID, m.Contact); err != nil {
				return err
			}
		}
		return stream.Erase(ctx, m.Seq)
	})
}

// copies erases events that were published after the request although they were
// erased: by the relay, or by a client's repeated request.
func (e *erasure) copies(ctx context.Context) error {
	stream, err := e.events(ctx)
	if err != nil {
		return err
	}
	from := e.row.Place
	if from == 0 && stream.Epoch() == e.row.Epoch {
		from = e.row.LastSeq + 1
	}
	return e.eraseWalked(ctx, stream, uint64(from), false, func(m bus.Message) error { return stream.Erase(ctx, m.Seq) }) //nolint:gosec // not negative
}

// eraseWalked erases the contact's messages of a stream: all of them, or those of
// events that have the erasure's mark.
func (e *erasure) eraseWalked(ctx context.Context, stream *bus.Eraser, from uint64, all bool, erase func(bus.Message) error) error {
	var met []bus.Message
	next, end, err := e.walk(ctx, stream, from, stream.Last(), func(m bus.Message) error {
		met = append(met, m)
		return nil
	})
	if err != nil {
		return err
	}
	if !all {
		if met, err = e.marked(ctx, met); err != nil {
			return err
		}
	}
	for _, m := range met {
		if err := erase(m); err != nil {
			return err
		}
	}
	count := func(*db.Queries) (tally, error) { return tally{bodies: int64(len(met))}, nil }
	if end {
		return e.done(ctx, count)
	}
	return e.stay(ctx, int64(next), count) //nolint:gosec // does not reach 2^63
}

// marked are the messages of events that have the erasure's mark.
func (e *erasure) marked(ctx context.Context, met []bus.Message) (erased []bus.Message, err error) {
	if len(met) == 0 {
		return nil, nil
	}
	var k keys
	for _, m := range met {
		k.add(m.Day, m.ID, m.Type, m.Seq, m.Stored)
	}
	first, last := k.bounds()
	positions, err := e.store.Queries().ErasedEvents(ctx, db.ErasedEventsParams{
		Days: k.days, Ids: k.ids, TenantID: e.row.TenantID, Contact: e.mark(), FirstDay: first, LastDay: last,
	})
	if err != nil {
		return nil, fmt.Errorf("look for erased events: %w", err)
	}
	for _, position := range positions {
		erased = append(erased, met[position-1])
	}
	return erased, nil
}
