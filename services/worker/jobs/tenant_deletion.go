package jobs

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
)

// requestsEnd is how long a request goes on, at most, that came before its key was
// refused.
const requestsEnd = 45 * time.Second

// deleter removes all that is stored of a deleted tenant. Its keys are refused
// from the request on, but events may be on their way, and attempts in flight. So
// it passes over everything again and again, until a pass that began late enough
// finds nothing; only then the webhooks' own rows go, by which the others are found.
type deleter struct {
	river.WorkerDefaults[jobs.TenantDeletion]
	store   *store.Store
	js      jetstream.JetStream
	log     *slog.Logger
	settles time.Duration
}

// newDeleter returns one for which nothing more can come of a tenant when a last
// request has ended, and what came of it was attempted, under its lease.
func newDeleter(s *store.Store, js jetstream.JetStream, lease time.Duration, log *slog.Logger) *deleter {
	return &deleter{store: s, js: js, log: log, settles: requestsEnd + 2*cmp.Or(lease, defaultLease)}
}

// Work goes on with a deletion where it stands.
func (d *deleter) Work(ctx context.Context, job *river.Job[jobs.TenantDeletion]) error {
	row, err := d.store.Queries().StartTenantDeletion(ctx, job.Args.ID)
	if err == nil && row.FinishedAt != nil {
		return nil
	}
	if err == nil {
		err = work(ctx, (&deletion{deleter: d, row: row}).step)
	}
	return persist(d.log, err, "tenant deletion", job.Args.ID)
}

// NextRetry is soon: only a worker that died uses up an attempt.
func (d *deleter) NextRetry(*river.Job[jobs.TenantDeletion]) time.Time {
	return time.Now().Add(failurePause)
}

// deletion is one at work.
type deletion struct {
	*deleter
	row db.TenantDeletion
}

// part is one of the steps. It removes a bounded number of rows, and says how many
// those were, where it is to go on in the next round, and whether there is one.
type part struct {
	name   string
	tables []string // that are empty of the tenant after it
	remove func(context.Context, *deletion, *db.Queries) (removed, place int64, more bool, err error)
}

// pass are the parts that are repeated, in their order: nothing that is still at
// work may find a reason to write behind them.
var pass = []part{
	{name: "webhooks", remove: shutWebhooks},
	// No token is renewed by one that is gone, and nothing connected.
	{name: "states of logins", tables: []string{"oauth_states"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveStatesOf(ctx, tenant, rowChunk)
	})},
	{name: "grants", tables: []string{"oauth_grants"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveGrantsOf(ctx, tenant, rowChunk)
	})},
	// Nothing is received or sent through one that is gone; the lookups for what
	// Meta tells do not find it from the request on.
	{name: "connections", tables: []string{"connections"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveConnectionsOf(ctx, tenant, rowChunk)
	})},
	{name: "rate limits", tables: []string{"integration_rate_limits"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveRateLimitsOf(ctx, tenant, rowChunk)
	})},
	{name: "messages", tables: []string{"messages"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveMessagesOf(ctx, tenant, rowChunk)
	})},
	{name: "conversations", tables: []string{"conversations"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveConversationsOf(ctx, tenant, rowChunk)
	})},
	{name: "identities", tables: []string{"contact_identities"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveIdentitiesOf(ctx, tenant, rowChunk)
	})},
	{name: "contacts", tables: []string{"contacts", "contact_tags"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveContactsOf(ctx, tenant, rowChunk)
	})},
	{name: "updates of channels", tables: []string{"channel_updates"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveUpdatesOf(ctx, tenant, rowChunk)
	})},
	{name: "outbox", tables: []string{"outbox"}, remove: removeOutbox},
	{name: "streams", remove: purgeStreams},
	{name: "replays", tables: []string{"replays"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveReplaysOf(ctx, tenant, rowChunk)
	})},
	{
		name: "deliveries",
		tables: []string{
			"webhook_queue", "webhook_lanes", "webhook_logs", "webhook_stats_hourly", "webhook_durations_hourly", "webhook_stats_daily",
			"webhook_health",
		},
		remove: removeDeliveries,
	},
	{name: "events", tables: []string{"events"}, remove: removeEvents},
	{name: "bodies", tables: []string{"event_bodies"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveBodiesOf(ctx, tenant, bodyChunk)
	})},
	{name: "idempotency keys", tables: []string{"idempotency_keys"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveKeysOf(ctx, tenant, rowChunk)
	})},
	{name: "erasures", tables: []string{"erasures"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveErasuresOf(ctx, tenant, rowChunk)
	})},
	{name: "audit log", tables: []string{"audit_log"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveAuditOf(ctx, tenant, rowChunk)
	})},
	{name: "API keys", tables: []string{"api_keys"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveAPIKeysOf(ctx, tenant)
	})},
}

// ending are the parts that come once, after the last pass.
var ending = []part{
	{name: "the webhooks themselves", tables: []string{"webhooks"}, remove: chunk(func(ctx context.Context, q *db.Queries, tenant uuid.UUID) (int64, error) {
		return q.RemoveWebhooksOf(ctx, tenant, webhookChunk)
	})},
}

// keptTables hold what stays of a deleted tenant.
var keptTables = []string{
	"tenants",          // its id, so that nobody becomes that tenant again
	"tenant_deletions", // that it was deleted, when, and how many rows those were
}

// chunk is a part that removes rows until there are none.
func chunk(remove func(context.Context, *db.Queries, uuid.UUID) (int64, error)) func(context.Context, *deletion, *db.Queries) (int64, int64, bool, error) {
	return func(ctx context.Context, d *deletion, q *db.Queries) (removed, place int64, more bool, err error) {
		removed, err = remove(ctx, q, d.row.TargetID)
		return removed, 0, removed > 0, err
	}
}

func (d *deletion) step(ctx context.Context) (more bool, err error) {
	parts := slices.Concat(pass, ending)
	at := slices.IndexFunc(parts, func(p part) bool { return p.name == d.row.Step })
	switch {
	case d.row.Step == settling:
		return true, d.nextPass(ctx)
	case at < 0:
		if err := d.store.Queries().FinishTenantDeletion(ctx, d.row.ID); err != nil {
			return false, fmt.Errorf("finish: %w", err)
		}
		d.log.Info("jobs: tenant deleted", "deletion", d.row.ID, "tenant", d.row.TargetID, "rows", d.row.Rows)
		return false, nil
	}
	following := finished
	switch {
	case at == len(pass)-1:
		following = settling
	case at+1 < len(parts):
		following = parts[at+1].name
	}
	err = d.store.InTx(ctx, func(q *db.Queries) error {
		removed, place, more, err := parts[at].remove(ctx, d, q)
		if err != nil {
			return err
		}
		step := d.row.Step
		if !more {
			step, place = following, 0
		}
		row, err := q.AdvanceTenantDeletion(ctx, db.AdvanceTenantDeletionParams{
			ID: d.row.ID, Step: step, Place: place, Removed: removed, Found: removed,
		})
		if err == nil {
			d.row = row
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("remove %s: %w", d.row.Step, err)
	}
	return true, nil
}

// Names of steps that are no parts.
const (
	settling = "what is still on its way"
	finished = "nothing more"
)

// nextPass begins another pass, once it may be the last, or goes on behind them.
func (d *deletion) nextPass(ctx context.Context) error {
	q := d.store.Queries()
	row, err := q.NextDeletionPass(ctx, db.NextDeletionPassParams{
		ID: d.row.ID, SettleSeconds: d.settles.Seconds(), FirstStep: pass[0].name, LastStep: ending[0].name,
	})
	if err != nil {
		return fmt.Errorf("begin another pass: %w", err)
	}
	d.row = row
	if row.Step == ending[0].name {
		return nil
	}
	seconds, err := q.DeletionAge(ctx, d.row.ID)
	if err != nil {
		return fmt.Errorf("look at the time: %w", err)
	}
	if rest := d.settles - time.Duration(seconds*float64(time.Second)); rest > 0 {
		return river.JobSnooze(rest)
	}
	return nil
}

// removeOutbox walks over the table: it is short.
func removeOutbox(ctx context.Context, d *deletion, q *db.Queries) (removed, place int64, more bool, err error) {
	page, err := q.OutboxOfTenant(ctx, db.OutboxOfTenantParams{TenantID: d.row.TargetID, Until: time.Now(), After: d.row.Place, RowLimit: walkChunk})
	if err != nil || len(page) == 0 {
		return 0, 0, false, err
	}
	var ids []int64
	for _, row := range page {
		if row.Theirs {
			ids = append(ids, row.ID)
		}
	}
	if len(ids) > 0 {
		if removed, err = q.RemoveOutbox(ctx, ids); err != nil {
			return 0, 0, false, err
		}
	}
	return removed, page[len(page)-1].ID, len(page) == walkChunk, nil
}

// met says that the pass found something that is no removed row, so that it is not
// the last.
func (d *deletion) met(ctx context.Context, q *db.Queries) error {
	_, err := q.AdvanceTenantDeletion(ctx, db.AdvanceTenantDeletionParams{ID: d.row.ID, Step: d.row.Step, Place: d.row.Place, Found: 1})
	return err
}

// shutWebhooks makes workers stop: nothing more is delivered.
func shutWebhooks(ctx context.Context, d *deletion, q *db.Queries) (removed, place int64, more bool, err error) {
	shut, err := q.ShutWebhooks(ctx, d.row.TargetID, rowChunk)
	if err != nil || shut == 0 {
		return 0, 0, false, err
	}
	return 0, 0, true, d.met(ctx, q)
}

// purgeStreams removes the tenant's messages.
func purgeStreams(ctx context.Context, d *deletion, q *db.Queries) (removed, place int64, more bool, err error) {
	some, err := bus.PurgeTenant(ctx, d.js, d.row.TargetID)
	if err != nil || !some {
		return 0, 0, false, err
	}
	return 0, 0, false, d.met(ctx, q)
}

// webhookPage is how many webhooks are looked at together.
const webhookPage = 50

// removeDeliveries removes what is kept for each webhook, one page of webhooks
// after another.
func removeDeliveries(ctx context.Context, d *deletion, q *db.Queries) (removed, place int64, more bool, err error) {
	page, err := q.WebhooksOfTenant(ctx, d.row.TargetID, d.row.Place, webhookPage)
	if err != nil || len(page) == 0 {
		return 0, 0, false, err
	}
	ids := make([]uuid.UUID, len(page))
	for i, hook := range page {
		ids[i] = hook.ID
	}
	// In the order of locks: rows of the queue, lanes, logs, statistics, health.
	rows := func(remove func() (int64, error)) {
		if err == nil && removed < rowChunk {
			var n int64
			n, err = remove()
			removed += n
		}
	}
	for _, id := range ids {
		rows(func() (int64, error) { return q.RemoveQueueRowsOf(ctx, id, rowChunk) })
	}
	rows(func() (int64, error) { return q.RemoveLanesOf(ctx, ids) })
	for _, id := range ids {
		rows(func() (int64, error) { return q.RemoveLogsOf(ctx, id, rowChunk) })
	}
	rows(func() (int64, error) { return q.RemoveStatsOf(ctx, ids, rowChunk) })
	rows(func() (int64, error) { return q.RemoveDurationsOf(ctx, ids, rowChunk) })
	rows(func() (int64, error) { return q.RemoveDailyStatsOf(ctx, ids) })
	rows(func() (int64, error) { return q.RemoveHealthOf(ctx, ids) })
	if err != nil {
		return 0, 0, false, err
	}
	if removed > 0 {
		return removed, d.row.Place, true, nil // the same page again
	}
	return 0, page[len(page)-1].Generation, true, nil
}

// removeEvents goes through the days.
func removeEvents(ctx context.Context, d *deletion, q *db.Queries) (removed, place int64, more bool, err error) {
	days, err := q.EventDays(ctx)
	if err != nil {
		return 0, 0, false, err
	}
	for _, day := range days {
		if removed, err = q.RemoveEventsOf(ctx, day, d.row.TargetID, rowChunk); err != nil || removed > 0 {
			return removed, 0, true, err
		}
	}
	return 0, 0, false, nil
}
