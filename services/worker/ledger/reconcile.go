package ledger

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store/db"
)

// reconcile asks what of items stands already, decides those items, and returns
// the rest, to be committed. Each item falls into one of three:
//
//   - it is there (its entry, its log row): an earlier try committed, or another
//     worker's entry of the same event did;
//   - its origin is gone: what is left of it are log rows, not counted;
//   - it still can be written.
func (l *Ledger) reconcile(ctx context.Context, items []*item) (left []*item, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	q := l.store.Queries()

	entries, err := presentEntries(ctx, q, items)
	if err != nil {
		return nil, err
	}
	standing, err := standingRows(ctx, q, items)
	if err != nil {
		return nil, err
	}
	// Last: a try that the server is still at work on may commit meanwhile. An
	// origin that was gone by our own doing then has its log rows here.
	logged, err := presentLogs(ctx, q, items)
	if err != nil {
		return nil, err
	}
	for _, it := range items {
		missing := missingLogs(it, logged)
		switch {
		case it.log != nil && len(missing) == 0:
			it.finish(Committed)
		case it.log != nil:
			left = append(left, it)
		case it.entry != nil && !entries[it]:
			left = append(left, it)
		case it.entry != nil && len(missing) == 0:
			it.finish(Committed)
		case it.result != nil && it.result.Log != nil && len(missing) == 0:
			it.finish(Committed)
		case it.result != nil && standing[it]:
			left = append(left, it)
		default:
			left = append(left, superseded(it, missing)...)
		}
	}
	return left, nil
}

// superseded replaces an item by the log rows that are missing; the item is
// decided with the last of them.
func superseded(it *item, missing []*Log) (logs []*item) {
	it.late()
	if len(missing) == 0 {
		it.finish(Superseded)
		return nil
	}
	for i, log := range missing {
		single := &item{log: log}
		if i == len(missing)-1 {
			single.done = func(v Verdict) {
				if v == Committed {
					v = Superseded
				}
				it.finish(v)
			}
		}
		logs = append(logs, single)
	}
	return logs
}

func missingLogs(it *item, logged map[uuid.UUID]bool) (missing []*Log) {
	for _, log := range it.logs() {
		if !logged[log.ID] {
			missing = append(missing, log)
		}
	}
	return missing
}

func presentLogs(ctx context.Context, q *db.Queries, items []*item) (map[uuid.UUID]bool, error) {
	var p db.PresentLogsParams
	for _, it := range items {
		for _, log := range it.logs() {
			at := log.at()
			if p.First.IsZero() || at.Before(p.First) {
				p.First = at
			}
			if at.After(p.Last) {
				p.Last = at
			}
			p.WebhookIds = append(p.WebhookIds, log.Webhook)
			p.Created = append(p.Created, at)
			p.Ids = append(p.Ids, log.ID)
		}
	}
	logged := map[uuid.UUID]bool{}
	if len(p.Ids) == 0 {
		return logged, nil
	}
	positions, err := q.PresentLogs(ctx, p)
	for _, position := range positions {
		logged[p.Ids[position-1]] = true
	}
	return logged, err
}

func presentEntries(ctx context.Context, q *db.Queries, items []*item) (map[*item]bool, error) {
	var p db.PresentEventsParams
	var asked []*item
	for _, it := range items {
		if it.entry == nil {
			continue
		}
		e := &it.entry.Event
		asked = append(asked, it)
		p.Days = append(p.Days, e.Day)
		p.Tenants = append(p.Tenants, e.Tenant)
		p.Ids = append(p.Ids, e.ID)
	}
	present := map[*item]bool{}
	if len(asked) == 0 {
		return present, nil
	}
	p.FirstDay, p.LastDay = bounds(p.Days)
	positions, err := q.PresentEvents(ctx, p)
	for _, position := range positions {
		present[asked[position-1]] = true
	}
	return present, err
}

func standingRows(ctx context.Context, q *db.Queries, items []*item) (map[*item]bool, error) {
	var asked []*item
	var f finishedRows
	for _, it := range items {
		if r := it.result; r != nil {
			asked = append(asked, it)
			f.deliveries = append(f.deliveries, r.Delivery)
			f.leases = append(f.leases, r.Lease)
			f.attempts = append(f.attempts, int16(r.Attempt)) //nolint:gosec // at most a few dozen
		}
	}
	standing := map[*item]bool{}
	if len(asked) == 0 {
		return standing, nil
	}
	positions, err := q.StandingQueueRows(ctx, f.deliveries, f.leases, f.attempts)
	for _, position := range positions {
		standing[asked[position-1]] = true
	}
	return standing, err
}

func bounds(days []time.Time) (first, last time.Time) {
	first, last = days[0], days[0]
	for _, day := range days {
		if day.Before(first) {
			first = day
		}
		if day.After(last) {
			last = day
		}
	}
	return first, last
}
