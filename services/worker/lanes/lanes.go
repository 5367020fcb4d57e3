// Package lanes brings the deliveries of the queue in Postgres to their
// attempts.
//
// An endpoint with queue rows has a lane: one row that says when somebody should
// look at it again. Workers claim due lanes and take a bounded number of rows
// from each, so what a healthy endpoint waits does not depend on how many rows a
// sick one has. A claim is three statements with a snapshot each: lock due
// lanes, lease due rows, recompute the lanes. In one statement they would share
// a snapshot and lose wake-ups.
//
// The lane of a webhook with a rate also remembers what was claimed of it within
// the last second: see rate.go.
package lanes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/failpoint"
	"github.com/primezap/primezap/pkg/filter"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/store/db"
	"github.com/primezap/primezap/services/worker/attempt"
	"github.com/primezap/primezap/services/worker/dispatch"
	"github.com/primezap/primezap/services/worker/endpoint"
	"github.com/primezap/primezap/services/worker/ledger"
	"github.com/primezap/primezap/services/worker/settle"
)

const (
	pollEvery    = 100 * time.Millisecond
	pollAgain    = 2 * time.Millisecond  // the last claim found something
	pollSoon     = 10 * time.Millisecond // due lanes were somebody else's at the moment
	maxLanes     = 200                   // of one claim
	maxBacklog   = 20                    // of them, lanes with a backlog
	maxRows      = 512                   // of one claim
	removeChunk  = 1000                  // rows of a deleted webhook, a claim
	sweepEvery   = time.Minute
	sweepLanes   = 1000
	failurePause = time.Second
)

// Bodies reads an event's body back.
type Bodies interface {
	// Event returns bus.ErrBodyLost where the body is gone for good.
	Event(ctx context.Context, epoch int64, seq uint64, tenant uuid.UUID, id string) (bus.Event, error)
}

// Results takes what became of claimed rows.
type Results interface {
	SubmitResult(*ledger.Result)
}

// Config is a claimer's parts.
type Config struct {
	Store   *store.Store
	Pool    *dispatch.Pool
	Bodies  Bodies
	Opener  endpoint.Opener
	Results Results
	Lease   time.Duration // longer than an attempt, and its way to the ledger, can take
	Log     *slog.Logger
}

// Claimer is one worker's.
type Claimer struct {
	Config
	repaired func(int)   // told how many lanes a sweep repaired
	turns    []time.Time // to come, of lanes with a rate that were claimed here; Run's
}

// New returns a claimer. repaired is told how many lanes each sweep repaired.
func New(c Config, repaired func(int)) *Claimer { return &Claimer{Config: c, repaired: repaired} }

// Run claims, and sweeps each minute, until ctx ends.
func (c *Claimer) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { c.sweepEvery(ctx) })
	defer wg.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-c.Pool.Freed():
			// Endpoints that were at their cap may have rows waiting.
			if !timer.Stop() {
				select {
				case <-timer.C:
				default:
				}
			}
		}
		timer.Reset(c.poll(ctx))
	}
}

// poll claims once and says when to claim again.
func (c *Claimer) poll(ctx context.Context) time.Duration {
	worked, err := c.claim(ctx)
	switch {
	case ctx.Err() != nil:
		return pollEvery
	case err != nil:
		c.Log.Warn("lanes: claim", "error", err)
		return failurePause
	case worked:
		return pollAgain
	}
	due, err := c.Store.Queries().LanesDue(ctx, c.Pool.Full())
	if err == nil && due != nil && *due && c.Pool.Room() > 0 {
		return pollSoon
	}
	return c.untilTurn()
}

// claim leases due rows and offers them. It reports whether it found lanes that
// it could do something about.
func (c *Claimer) claim(ctx context.Context) (worked bool, err error) {
	room := min(c.Pool.Room(), maxRows)
	if room == 0 {
		return false, nil
	}
	var rows []db.LeaseQueueRowsRow
	var shared shares
	var turns []float64
	lease := uuid.Must(uuid.NewV7())
	full := c.Pool.Full()
	err = c.Store.InTx(ctx, func(q *db.Queries) error {
		rows, turns, worked = nil, nil, false
		claimed, err := q.ClaimLanes(ctx, full, int32(min(room, maxLanes)), int32(min(room, maxBacklog))) //nolint:gosec // small
		if err != nil {
			return fmt.Errorf("lock lanes: %w", err)
		}
		var dealt int
		shared, dealt, err = c.split(ctx, q, claimed, room)
		worked = len(shared.ids)+len(shared.paced)+dealt > 0
		if err != nil || !worked {
			return err
		}
		if len(shared.ids) > 0 {
			rows, err = q.LeaseQueueRows(ctx, db.LeaseQueueRowsParams{
				WebhookIds: shared.ids, RowLimits: shared.limits, LeaseID: &lease, LeaseSeconds: c.Lease.Seconds(),
			})
			if err != nil {
				return fmt.Errorf("lease rows: %w", err)
			}
		}
		if ids := shared.unpaced(); len(ids) > 0 {
			if err := q.RecomputeLanes(ctx, ids); err != nil {
				return fmt.Errorf("recompute lanes: %w", err)
			}
		}
		if len(shared.paced) > 0 {
			if turns, err = q.PaceLanes(ctx, shared.pace(rows)); err != nil {
				return fmt.Errorf("pace lanes: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	c.remember(turns)
	if len(rows) > 0 {
		failpoint.Hit("lanes.claimed")
	}
	leased := make(map[uuid.UUID]int32, len(shared.ids))
	for i := range rows {
		leased[rows[i].WebhookID]++
		c.offer(lease, &rows[i])
	}
	for i, id := range shared.ids {
		if _, paced := shared.paced[id]; leased[id] == shared.limits[i] && !paced {
			c.Pool.Want(id) // there may be more
		}
	}
	return worked, nil
}

// shares is what each of the claimed lanes may have.
type shares struct {
	ids    []uuid.UUID
	limits []int32
	paced  map[uuid.UUID]int32 // the rates of those that have one, also where there is nothing for them
}

// split deals with the lanes of webhooks that are gone or inactive, and shares
// the room among the others, each as much: what one may have and does not need
// is lost to the rest of this claim. A lane for which there is none is left as it
// is: it keeps its place.
func (c *Claimer) split(ctx context.Context, q *db.Queries, claimed []db.ClaimLanesRow, room int) (shared shares, dealt int, err error) {
	var open []db.ClaimLanesRow
	var shut []uuid.UUID
	for _, lane := range claimed {
		switch {
		case lane.Deleted:
			dealt++
			if err := c.remove(ctx, q, lane.WebhookID); err != nil {
				return shares{}, 0, err
			}
		case !lane.Active:
			shut = append(shut, lane.WebhookID)
		default:
			open = append(open, lane)
		}
	}
	if len(shut) > 0 {
		if err := q.ShutLanes(ctx, shut); err != nil {
			return shares{}, 0, fmt.Errorf("shut lanes: %w", err)
		}
	}
	for i, lane := range open {
		share := max(1, room/(len(open)-i))
		limit := min(c.Pool.RoomAt(lane.WebhookID), share, room)
		if lane.Rate > 0 && room > 0 {
			limit = min(limit, c.allowed(lane))
			shared.addPaced(lane)
		}
		if limit <= 0 {
			continue
		}
		room -= limit
		shared.ids = append(shared.ids, lane.WebhookID)
		shared.limits = append(shared.limits, int32(limit)) //nolint:gosec // small
	}
	return shared, dealt + len(shut), nil
}

// remove removes a chunk of a deleted webhook's rows, and its lane with the last.
func (c *Claimer) remove(ctx context.Context, q *db.Queries, webhook uuid.UUID) error {
	removed, err := q.RemoveQueueRowsOf(ctx, webhook, removeChunk)
	if err != nil {
		return fmt.Errorf("remove rows of deleted webhook: %w", err)
	}
	if removed == removeChunk {
		return nil // to look whether there are more would read them all
	}
	if err := q.RemoveLane(ctx, webhook); err != nil {
		return fmt.Errorf("remove lane of deleted webhook: %w", err)
	}
	return nil
}

// claimed is a row under this worker's lease.
type claimed struct {
	dispatch.Delivery
	lease uuid.UUID
	kind  ledger.Kind
}

// offer has a row attempted, or gives it back.
func (c *Claimer) offer(lease uuid.UUID, row *db.LeaseQueueRowsRow) {
	d := &claimed{lease: lease, kind: ledger.Kind(row.Kind)}
	d.Delivery = dispatch.Delivery{
		ID: row.DeliveryID, Attempt: int(row.Attempt), Before: int(row.RecoveredAfter), FromLane: true,
		Event: &bus.Event{Tenant: row.TenantID, Type: row.EventType, ID: row.EventID, Day: row.EventDay},
		Load:  func(ctx context.Context) (*bus.Event, error) { return c.load(ctx, row) },
		Done:  func(o attempt.Outcome) { c.ended(d, o) },
	}
	opened, err := c.Opener.Open(endpoint.Sealed{
		ID: row.WebhookID, Tenant: row.TenantID, Generation: row.Generation, URL: row.Url, Secret: row.Secret,
		PreviousSecret: row.PreviousSecret, PreviousSecretUntil: row.PreviousSecretUntil, Headers: row.Headers,
		RetryDelays: row.RetryDelays,
	})
	if err != nil {
		c.Log.Error("lanes: webhook cannot be opened, its deliveries wait", "webhook", row.WebhookID, "error", err)
		d.Endpoint = &endpoint.Endpoint{ID: row.WebhookID, Tenant: row.TenantID}
		c.release(d, time.Minute)
		return
	}
	d.Endpoint = opened
	if row.Unfiltered && row.Attempt == 1 && row.Filter != nil && !c.filter(d, row) {
		return
	}
	if c.Pool.Offer(&d.Delivery) == dispatch.Refused {
		c.release(d, pollEvery) // its breaker opened, or the worker closes
	}
}

// filter has the attempt ask the webhook's filter first. It gives the row back
// where this worker cannot read the filter, and reports that: the row waits for
// one that can.
func (c *Claimer) filter(d *claimed, row *db.LeaseQueueRowsRow) (readable bool) {
	asked, err := filter.Compile(row.Filter)
	if err != nil {
		c.Log.Error("lanes: filter cannot be read, deliveries wait", "webhook", row.WebhookID, "error", err)
		next := settle.Again(d.Attempt, time.Minute)
		next.LastError = "the webhook's filter cannot be read by the worker"
		c.submit(d, nil, next)
		return false
	}
	d.Load = func(ctx context.Context) (*bus.Event, error) {
		e, err := c.load(ctx, row)
		if err != nil {
			return nil, err
		}
		switch matches, err := asked.MatchesBody(e.Body); {
		case err != nil:
			return nil, errors.Join(dispatch.ErrUnreadable, err)
		case !matches:
			return nil, dispatch.ErrFiltered
		}
		return e, nil
	}
	return true
}

func (c *Claimer) ended(d *claimed, o attempt.Outcome) {
	log, next := settle.Outcome(&d.Delivery, d.kind, o)
	c.submit(d, log, next)
}

// release gives a row back that was not attempted.
func (c *Claimer) release(d *claimed, delay time.Duration) {
	c.submit(d, nil, settle.Again(d.Attempt, delay))
}

func (c *Claimer) submit(d *claimed, log *ledger.Log, next *ledger.Next) {
	c.Results.SubmitResult(&ledger.Result{
		Delivery: d.ID, Webhook: d.Endpoint.ID, Tenant: d.Endpoint.Tenant, Lease: d.lease, Attempt: d.Attempt,
		Log: log, Next: next,
	})
}

// load reads the row's event from the event store or, where that has been
// trimmed, from the bodies that were rescued.
func (c *Claimer) load(ctx context.Context, row *db.LeaseQueueRowsRow) (*bus.Event, error) {
	e, err := c.Bodies.Event(ctx, row.Epoch, uint64(row.StreamSeq), row.TenantID, row.EventID) //nolint:gosec // was a uint64
	switch {
	case err == nil:
		return &e, nil
	case !errors.Is(err, bus.ErrBodyLost):
		return nil, errors.Join(dispatch.ErrUnreadable, err)
	}
	body, err := c.Store.Queries().EventBody(ctx, row.TenantID, row.EventDay, row.EventID)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, bus.ErrBodyLost
	case err != nil:
		return nil, errors.Join(dispatch.ErrUnreadable, err)
	}
	return &bus.Event{Tenant: row.TenantID, Type: row.EventType, ID: row.EventID, Day: row.EventDay, Body: body}, nil
}
