package ledger

import (
	"bytes"
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/failpoint"
	"github.com/primezap/primezap/pkg/histogram"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

// maxStatementRows bounds one statement's arrays; all of an event's rows are in
// one transaction whatever their number.
const maxStatementRows = 1000

// step is one statement of a commit, with the name of the place before it.
type step struct {
	place string
	run   func(context.Context, *db.Queries) error
}

// Places of failpoints.
const (
	placeBegin  = "ledger.begin"
	placeMiddle = "ledger.transaction"
	placeLanes  = "ledger.lanes"
	placeHealth = "ledger.health"
	placeCommit = "ledger.commit"
	placeAcks   = "ledger.committed"
)

// commit writes items in one transaction. Locks are taken in one order
// everywhere: webhooks, tenants, events, queue rows, lanes, statistics, health;
// keys sorted.
func (l *Ledger) commit(ctx context.Context, items []*item) error {
	steps := l.plan(items)
	if failpoint.Enabled {
		return l.commitStepwise(ctx, steps)
	}
	batch := store.NewBatch()
	for _, s := range steps {
		if err := s.run(ctx, batch.Queries); err != nil {
			return err
		}
	}
	return l.store.Commit(ctx, batch)
}

// commitStepwise is commit with the places between its statements, for tests
// that kill the process there.
func (l *Ledger) commitStepwise(ctx context.Context, steps []step) error {
	failpoint.Hit(placeBegin)
	err := l.store.InTx(ctx, func(q *db.Queries) error {
		for _, s := range steps {
			failpoint.Hit(s.place)
			if err := s.run(ctx, q); err != nil {
				return err
			}
		}
		failpoint.Hit(placeCommit)
		return nil
	})
	if err == nil {
		failpoint.Hit(placeAcks)
	}
	return err
}

func (l *Ledger) plan(items []*item) []step {
	var steps []step
	add := func(place string, run func(context.Context, *db.Queries) error) {
		steps = append(steps, step{place, run})
	}
	lanes := map[uuid.UUID]lane{}
	if p := eventParams(items); len(p.Ids) > 0 {
		add(placeBegin, func(ctx context.Context, q *db.Queries) error { return q.InsertEvents(ctx, p) })
	}
	finished, moved := resultParams(items, lanes)
	if len(finished.deliveries) > 0 {
		add(placeMiddle, func(ctx context.Context, q *db.Queries) error {
			return q.FinishQueueRows(ctx, finished.deliveries, finished.leases, finished.attempts)
		})
	}
	if len(moved.DeliveryIds) > 0 {
		add(placeMiddle, func(ctx context.Context, q *db.Queries) error { return q.RescheduleQueueRows(ctx, moved) })
	}
	for _, p := range rowParams(items, lanes) {
		add(placeMiddle, func(ctx context.Context, q *db.Queries) error { return q.InsertQueueRows(ctx, p) })
	}
	if len(lanes) > 0 {
		ids, tenants, delays := laneParams(lanes)
		add(placeLanes, func(ctx context.Context, q *db.Queries) error { return q.WakeLanes(ctx, ids, tenants, delays) })
	}
	var logs []*Log
	for _, it := range items {
		logs = append(logs, it.logs()...)
	}
	for chunk := range slices.Chunk(logs, maxStatementRows) {
		p := logParams(chunk)
		add(placeMiddle, func(ctx context.Context, q *db.Queries) error { return q.InsertLogs(ctx, p) })
	}
	if p := statsParams(logs); len(p.WebhookIds) > 0 {
		add(placeMiddle, func(ctx context.Context, q *db.Queries) error { return q.AddStats(ctx, p) })
	}
	health, exhausted := fates(items)
	if p := durationParams(logs); len(p.WebhookIds) > 0 {
		if !exhausted {
			p.Succeeded = sorted(health) // what else there is to say of health
		}
		add(placeMiddle, func(ctx context.Context, q *db.Queries) error { return q.AddDurations(ctx, p) })
	}
	if exhausted {
		// All of health by one statement, the successes too: its keys are sorted.
		p, ended := healthParams(health)
		add(placeHealth, func(ctx context.Context, q *db.Queries) error { return q.RecordHealth(ctx, p) })
		add(placeMiddle, func(ctx context.Context, q *db.Queries) error {
			return q.RaiseLevels(ctx, l.Disable.After.Seconds(), int32(l.Disable.Exhausted), ended) //nolint:gosec // validated
		})
	}
	return steps
}

// eventParams are sorted: two workers that hold the same events would otherwise
// wait for each other's.
func eventParams(items []*item) (p db.InsertEventsParams) {
	var events []*bus.Event
	for _, it := range items {
		if it.entry != nil {
			events = append(events, &it.entry.Event)
		}
	}
	slices.SortFunc(events, func(a, b *bus.Event) int {
		return cmp.Or(a.Day.Compare(b.Day), compareIDs(a.Tenant, b.Tenant), cmp.Compare(a.ID, b.ID))
	})
	for _, e := range events {
		p.Days = append(p.Days, e.Day)
		p.Tenants = append(p.Tenants, e.Tenant)
		p.Ids = append(p.Ids, e.ID)
		p.Types = append(p.Types, e.Type)
		p.Seqs = append(p.Seqs, int64(e.Seq)) //nolint:gosec // a sequence does not reach 2^63
		p.Contacts = append(p.Contacts, e.Contact)
		p.Created = append(p.Created, e.AcceptedAt)
	}
	return p
}

// lane is when a webhook's lane must wake at the latest.
type lane struct {
	tenant uuid.UUID
	delay  time.Duration
}

func wake(lanes map[uuid.UUID]lane, webhook, tenant uuid.UUID, delay time.Duration) {
	if have, ok := lanes[webhook]; !ok || delay < have.delay {
		lanes[webhook] = lane{tenant: tenant, delay: delay}
	}
}

func laneParams(lanes map[uuid.UUID]lane) (ids, tenants []uuid.UUID, delays []int64) {
	ids = sorted(lanes)
	for _, id := range ids {
		tenants = append(tenants, lanes[id].tenant)
		delays = append(delays, lanes[id].delay.Milliseconds())
	}
	return ids, tenants, delays
}

type finishedRows struct {
	deliveries []uuid.UUID
	leases     []uuid.UUID
	attempts   []int16
}

func resultParams(items []*item, lanes map[uuid.UUID]lane) (f finishedRows, m db.RescheduleQueueRowsParams) {
	for _, it := range items {
		r := it.result
		switch {
		case r == nil:
		case r.Next == nil:
			f.deliveries = append(f.deliveries, r.Delivery)
			f.leases = append(f.leases, r.Lease)
			f.attempts = append(f.attempts, int16(r.Attempt)) //nolint:gosec // at most a few dozen
		default:
			m.DeliveryIds = append(m.DeliveryIds, r.Delivery)
			m.LeaseIds = append(m.LeaseIds, r.Lease)
			m.Attempts = append(m.Attempts, int16(r.Attempt)) //nolint:gosec // at most a few dozen
			m.States = append(m.States, int16(r.Next.State))
			m.NextAttempts = append(m.NextAttempts, int16(r.Next.Attempt)) //nolint:gosec // at most a few dozen
			m.DelayMs = append(m.DelayMs, r.Next.Delay.Milliseconds())
			m.LastStatuses = append(m.LastStatuses, int16(r.Next.LastStatus)) //nolint:gosec // three digits
			m.LastErrors = append(m.LastErrors, clean(r.Next.LastError))
			if r.Next.State != Exhausted {
				wake(lanes, r.Webhook, r.Tenant, r.Next.Delay)
			}
		}
	}
	return f, m
}

func rowParams(items []*item, lanes map[uuid.UUID]lane) (params []db.InsertQueueRowsParams) {
	var p db.InsertQueueRowsParams
	for _, it := range items {
		if it.entry == nil {
			continue
		}
		e := &it.entry.Event
		for i := range it.entry.Rows {
			r := &it.entry.Rows[i]
			p.DeliveryIds = append(p.DeliveryIds, r.Delivery)
			p.WebhookIds = append(p.WebhookIds, r.Webhook)
			p.Tenants = append(p.Tenants, e.Tenant)
			p.EventIds = append(p.EventIds, e.ID)
			p.EventTypes = append(p.EventTypes, e.Type)
			p.EventDays = append(p.EventDays, e.Day)
			p.Epochs = append(p.Epochs, it.entry.Epoch)
			p.StreamSeqs = append(p.StreamSeqs, int64(e.Seq)) //nolint:gosec // a sequence does not reach 2^63
			p.Kinds = append(p.Kinds, int16(r.Kind))
			p.States = append(p.States, int16(r.State))
			p.Attempts = append(p.Attempts, int16(r.Attempt)) //nolint:gosec // at most a few dozen
			p.DelayMs = append(p.DelayMs, r.Delay.Milliseconds())
			p.LeaseIds = append(p.LeaseIds, r.Lease)
			p.LastStatuses = append(p.LastStatuses, int16(r.LastStatus)) //nolint:gosec // three digits
			p.LastErrors = append(p.LastErrors, clean(r.LastError))
			p.Unfiltered = append(p.Unfiltered, r.Unfiltered)
			if r.State != Exhausted {
				wake(lanes, r.Webhook, e.Tenant, r.Delay)
			}
			if len(p.DeliveryIds) == maxStatementRows {
				params, p = append(params, p), db.InsertQueueRowsParams{}
			}
		}
	}
	if len(p.DeliveryIds) > 0 {
		params = append(params, p)
	}
	return params
}

func logParams(logs []*Log) (p db.InsertLogsParams) {
	for _, l := range logs {
		o := &l.Outcome
		p.WebhookIds = append(p.WebhookIds, l.Webhook)
		p.Created = append(p.Created, l.at())
		p.Ids = append(p.Ids, l.ID)
		p.Tenants = append(p.Tenants, l.Tenant)
		p.DeliveryIds = append(p.DeliveryIds, l.Delivery)
		p.EventIds = append(p.EventIds, l.EventID)
		p.EventTypes = append(p.EventTypes, l.Event)
		p.Attempts = append(p.Attempts, int16(l.Attempt)) //nolint:gosec // at most a few dozen
		p.Kinds = append(p.Kinds, int16(l.Kind))
		p.Counted = append(p.Counted, l.Counted)
		p.Success = append(p.Success, o.Success)
		p.Statuses = append(p.Statuses, int16(o.Status)) //nolint:gosec // three digits
		p.DurationMs = append(p.DurationMs, millis(o.Duration))
		p.DnsMs = append(p.DnsMs, phase(o.Timing.DNS))
		p.ConnectMs = append(p.ConnectMs, phase(o.Timing.Connect))
		p.TlsMs = append(p.TlsMs, phase(o.Timing.TLS))
		p.FirstByteMs = append(p.FirstByteMs, phase(o.Timing.FirstByte))
		p.RequestHeaders = append(p.RequestHeaders, string(o.RequestHeaders))
		p.ResponseHeaders = append(p.ResponseHeaders, string(o.ResponseHeaders))
		p.ResponseBodies = append(p.ResponseBodies, clean(o.ResponseBody))
		p.ErrorClasses = append(p.ErrorClasses, string(o.Class))
		p.ErrorMessages = append(p.ErrorMessages, clean(o.Message))
	}
	return p
}

// at is the log row's time: microseconds, as Postgres keeps them, so that the
// row is found again.
func (l *Log) at() time.Time { return l.Outcome.Start.UTC().Truncate(time.Microsecond) }

func millis(d time.Duration) int32 {
	return int32(max(0, min(d.Round(time.Millisecond).Milliseconds(), math.MaxInt32))) //nolint:gosec // bounded just here
}

// phase is -1, stored as null, for a phase that did not take place.
func phase(d time.Duration) int32 {
	if d == 0 {
		return -1
	}
	return millis(d)
}

type statsKey struct {
	webhook uuid.UUID
	hour    time.Time
	event   string
	status  int16
}

type stats struct {
	tenant            uuid.UUID
	total, successful int64
	duration          int64
}

func statsParams(logs []*Log) (p db.AddStatsParams) {
	sums := map[statsKey]*stats{}
	for _, l := range logs {
		if !l.Counted {
			continue
		}
		key := statsKey{l.Webhook, l.at().Truncate(time.Hour), l.Event, int16(l.Outcome.Status)} //nolint:gosec // three digits
		sum := sums[key]
		if sum == nil {
			sum = &stats{tenant: l.Tenant}
			sums[key] = sum
		}
		sum.total++
		if l.Outcome.Success {
			sum.successful++
		}
		sum.duration += int64(millis(l.Outcome.Duration))
	}
	keys := make([]statsKey, 0, len(sums))
	for key := range sums {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b statsKey) int {
		return cmp.Or(compareIDs(a.webhook, b.webhook), a.hour.Compare(b.hour), cmp.Compare(a.event, b.event), cmp.Compare(a.status, b.status))
	})
	for _, key := range keys {
		sum := sums[key]
		p.WebhookIds = append(p.WebhookIds, key.webhook)
		p.Hours = append(p.Hours, key.hour)
		p.EventTypes = append(p.EventTypes, key.event)
		p.Statuses = append(p.Statuses, key.status)
		p.Tenants = append(p.Tenants, sum.tenant)
		p.Totals = append(p.Totals, sum.total)
		p.Successful = append(p.Successful, sum.successful)
		p.DurationMsSums = append(p.DurationMsSums, sum.duration)
	}
	return p
}

type durationKey struct {
	webhook uuid.UUID
	hour    time.Time
	bucket  int16
}

func durationParams(logs []*Log) (p db.AddDurationsParams) {
	totals := map[durationKey]int64{}
	tenants := map[uuid.UUID]uuid.UUID{}
	for _, l := range logs {
		if l.Counted {
			totals[durationKey{l.Webhook, l.at().Truncate(time.Hour), histogram.Bucket(millis(l.Outcome.Duration))}]++
			tenants[l.Webhook] = l.Tenant
		}
	}
	keys := make([]durationKey, 0, len(totals))
	for key := range totals {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b durationKey) int {
		return cmp.Or(compareIDs(a.webhook, b.webhook), a.hour.Compare(b.hour), cmp.Compare(a.bucket, b.bucket))
	})
	for _, key := range keys {
		p.WebhookIds = append(p.WebhookIds, key.webhook)
		p.Hours = append(p.Hours, key.hour)
		p.Buckets = append(p.Buckets, key.bucket)
		p.Tenants = append(p.Tenants, tenants[key.webhook])
		p.Totals = append(p.Totals, totals[key])
	}
	return p
}

func compareIDs(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) }
