package ledger

import (
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/worker/attempt"
)

// Disable says which streak of failures disables a webhook: so many deliveries
// exhausted in a row, over so long.
type Disable struct {
	After     time.Duration
	Exhausted int
}

// DefaultDisable is a ledger's that is told nothing else.
var DefaultDisable = Disable{After: 24 * time.Hour, Exhausted: 20}

// noGeneration stands for the absence of a 410.
const noGeneration = -1

// fate is what a commit says of a webhook's health, its items in their order.
type fate struct {
	tenant    uuid.UUID
	tail      int32 // deliveries exhausted after the last success
	exhausted bool  // one was at all
	succeeded bool
	gone      int64 // the generation that was answered with 410, or noGeneration
}

// fates are those of the webhooks that succeeded or had a delivery exhausted, and
// whether any had. Test calls, logs alone and attempts that do not count say
// nothing of health; nor does a delivery that was given up for a reason of ours.
func fates(items []*item) (all map[uuid.UUID]fate, exhausted bool) {
	all = map[uuid.UUID]fate{}
	note := func(log *Log, isExhausted bool) {
		if !log.Counted || !log.Outcome.Success && !isExhausted || log.Outcome.Class == attempt.ClassBodyLost {
			return
		}
		f, ok := all[log.Webhook]
		if !ok {
			f = fate{tenant: log.Tenant, gone: noGeneration}
		}
		if log.Outcome.Success {
			f.succeeded, f.tail = true, 0
		} else {
			f.exhausted, exhausted = true, true
			f.tail++
			if log.Outcome.Status == http.StatusGone {
				f.gone = log.Generation
			}
		}
		all[log.Webhook] = f
	}
	for _, it := range items {
		switch {
		case it.entry != nil:
			ended := exhaustedRows(it.entry.Rows)
			for i := range it.entry.Logs {
				log := &it.entry.Logs[i]
				note(log, ended[log.Delivery])
			}
		case it.result != nil && it.result.Log != nil:
			next := it.result.Next
			note(it.result.Log, next != nil && next.State == Exhausted)
		}
	}
	return all, exhausted
}

// gone reports whether an attempt of the item was answered with 410.
func (it *item) gone() bool {
	if it.result != nil {
		return it.result.Log != nil && it.result.Log.Outcome.Status == http.StatusGone
	}
	if it.entry != nil {
		for i := range it.entry.Logs { // a log is large to copy
			if it.entry.Logs[i].Outcome.Status == http.StatusGone {
				return true
			}
		}
	}
	return false
}

// exhaustedRows are the deliveries of rows that enter the queue exhausted; nil if
// there are none, as for almost every entry.
func exhaustedRows(rows []Row) map[uuid.UUID]bool {
	var ended map[uuid.UUID]bool
	for i := range rows {
		if rows[i].State == Exhausted {
			if ended == nil {
				ended = map[uuid.UUID]bool{}
			}
			ended[rows[i].Delivery] = true
		}
	}
	return ended
}

// healthParams are sorted; ended are the webhooks with an exhausted delivery.
func healthParams(all map[uuid.UUID]fate) (p db.RecordHealthParams, ended []uuid.UUID) {
	for _, id := range sorted(all) {
		f := all[id]
		p.WebhookIds = append(p.WebhookIds, id)
		p.Tenants = append(p.Tenants, f.tenant)
		p.Tails = append(p.Tails, f.tail)
		p.Exhausted = append(p.Exhausted, f.exhausted)
		p.Succeeded = append(p.Succeeded, f.succeeded)
		p.GoneGenerations = append(p.GoneGenerations, f.gone)
		if f.tail > 0 {
			ended = append(ended, id)
		}
	}
	return p, ended
}

func sorted[T any](of map[uuid.UUID]T) []uuid.UUID {
	ids := make([]uuid.UUID, 0, len(of))
	for id := range of {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}
