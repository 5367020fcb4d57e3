package ledger

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/primezap/primezap/pkg/bus"
	"github.com/primezap/primezap/pkg/store"
)

const (
	maxItems  = 256                   // of one commit
	maxRows   = 4 * maxStatementRows  // of one commit, a single large entry aside
	gatherFor = 20 * time.Millisecond // from the first item on
	minPause  = 50 * time.Millisecond // between tries while Postgres is away
	maxPause  = 2 * time.Second
	tryFor    = 20 * time.Second // one commit, one look-up

	maxFruitless = 5 // look-ups in a row that decided nothing
)

// Ledger commits. Items are handed over from any goroutine; one goroutine, Run's,
// writes them.
type Ledger struct {
	// Disable is the streak that disables a webhook; to be set before Run.
	Disable Disable
	// Gone, where set, is told of commits with a 410; it must not block.
	Gone func()

	store *store.Store
	log   *slog.Logger
	in    chan *item    // sent by Submit…, received by Run, never closed
	quit  chan struct{} // closed by Close: no more items come
}

// New returns a ledger over the worker's role. Its queue holds as many items as
// two commits; who submits waits for room.
func New(s *store.Store, log *slog.Logger) *Ledger {
	return &Ledger{Disable: DefaultDisable, store: s, log: log, in: make(chan *item, 2*maxItems), quit: make(chan struct{})}
}

// SubmitEntry hands an entry over.
func (l *Ledger) SubmitEntry(e *Entry) { l.in <- &item{entry: e, done: e.Done} }

// SubmitResult hands a result over.
func (l *Ledger) SubmitResult(r *Result) { l.in <- &item{result: r, done: r.Done} }

// SubmitLog hands a log row over; done is called when it is decided.
func (l *Ledger) SubmitLog(log *Log, done func(Verdict)) { l.in <- &item{log: log, done: done} }

// Close says that no item will be submitted any more. Run ends when it has
// written what it has.
func (l *Ledger) Close() { close(l.quit) }

// Run commits until Close. Once ctx has ended, what is not written is abandoned
// instead: every item is decided, and nobody waits in vain for room.
func (l *Ledger) Run(ctx context.Context) {
	for {
		items, more := l.gather(ctx)
		l.settle(ctx, items)
		if !more {
			return
		}
	}
}

// gather returns the items of the next commit, and whether more may come.
func (l *Ledger) gather(ctx context.Context) (items []*item, more bool) {
	rows := 0
	take := func(it *item) {
		items = append(items, it)
		rows += it.size()
	}
	select {
	case it := <-l.in:
		take(it)
	case <-l.quit:
		for len(items) < maxItems && rows < maxRows { // what was handed over before Close
			select {
			case it := <-l.in:
				take(it)
			default:
				return items, false
			}
		}
		return items, true
	}
	timer := time.NewTimer(gatherFor)
	defer timer.Stop()
	for len(items) < maxItems && rows < maxRows {
		select {
		case it := <-l.in:
			take(it)
		case <-timer.C:
			return items, true
		case <-l.quit:
			return items, true
		case <-ctx.Done():
			return items, true
		}
	}
	return items, true
}

// settle decides every item, whatever it takes, or abandons them when ctx ends.
func (l *Ledger) settle(ctx context.Context, items []*item) {
	pause, fruitless := minPause, 0
	for len(items) > 0 {
		err := l.try(ctx, items)
		fault := faultOf(err)
		if fault == undone && fruitless >= maxFruitless {
			fault = badData // the same refusal again, and nothing stands that explains it
		}
		switch {
		case err == nil:
			for _, it := range items {
				it.finish(it.written)
			}
			l.tell(items)
			return
		case ctx.Err() != nil:
			for _, it := range items {
				it.finish(Abandoned)
			}
			return
		case fault == noPartition && fruitless == 0 && l.makePartitions(ctx, items):
			fruitless++ // if that was not it, do not hurry
			continue
		case fault == badData && len(items) > 1:
			half := len(items) / 2
			l.settle(ctx, items[:half])
			items = items[half:]
			continue
		case fault == badData:
			if !l.reduce(items[0], err) {
				return
			}
			fruitless = 0
			continue
		case fault != undone && fault != victim:
			l.log.Warn("ledger: commit", "error", err, "items", len(items), "pause", pause)
		}
		// Committed or not, which is which stands in the database.
		left, err := l.reconcile(ctx, items)
		if err != nil {
			left = items
		}
		switch {
		case len(left) < len(items):
			pause, fruitless = minPause, 0
		case fault == undone:
			fruitless++
		default: // nothing has changed: Postgres is away
			sleep(ctx, pause)
			pause = min(2*pause, maxPause)
		}
		items = left
	}
}

// tell says that a webhook was found gone, where one was. It may be missed: what
// Gone would do, others do a moment later.
func (l *Ledger) tell(items []*item) {
	if l.Gone == nil {
		return
	}
	if slices.ContainsFunc(items, (*item).gone) {
		l.Gone()
	}
}

// reduce takes out of an item what Postgres may have refused in it: at first the
// endpoint's words; then all of a result but that its row is exhausted, for the
// row would be claimed, attempted and refused for ever. False: nothing is left
// to take, and the item is poisoned.
func (l *Ledger) reduce(it *item, cause error) bool {
	switch {
	case !it.stripped:
		l.log.Warn("ledger: refused for its data, written without the answer", "error", cause)
		it.strip()
		return true
	case it.result != nil && it.written != Poisoned:
		l.log.Error("ledger: result refused for its data, its delivery is given up", "delivery", it.result.Delivery, "error", cause)
		it.giveUp()
		return true
	}
	l.log.Error("ledger: refused for its data", "error", cause)
	it.finish(Poisoned)
	return false
}

func (l *Ledger) try(ctx context.Context, items []*item) error {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	return l.commit(ctx, items)
}

// makePartitions makes those of the days that items write to. It reports whether
// there is reason to try again at once.
func (l *Ledger) makePartitions(ctx context.Context, items []*item) bool {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	// A day at a time: there may be a year between two of them.
	for day := range days(items) {
		if _, err := l.store.Queries().EnsurePartitions(ctx, day, day); err != nil {
			l.log.Warn("ledger: make partitions", "day", day.Format(time.DateOnly), "error", err)
			return false
		}
	}
	return true
}

// days are the days that items write to.
func days(items []*item) map[time.Time]struct{} {
	found := map[time.Time]struct{}{}
	for _, it := range items {
		if it.entry != nil {
			found[bus.Day(it.entry.Event.Day)] = struct{}{}
		}
		for _, log := range it.logs() {
			found[bus.Day(log.at())] = struct{}{}
		}
	}
	return found
}

// fault is what an error of a commit permits.
type fault int

const (
	away        fault = iota // Postgres cannot be reached or will not work now; perhaps committed
	victim                   // rolled back, a deadlock's; again
	undone                   // rolled back; look what stands, then again
	noPartition              // rolled back: a day has no partition yet
	badData                  // rolled back: the same data is refused again
)

func faultOf(err error) fault {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return away
	case store.Repeatable(err):
		return victim
	case pg.Code == "PZ001", pg.Code == "23505":
		return undone
	case pg.Code == "23514" && pg.ConstraintName == "":
		// A check violation of no constraint: no partition takes the row.
		return noPartition
	case strings.HasPrefix(pg.Code, "22"), strings.HasPrefix(pg.Code, "23"), strings.HasPrefix(pg.Code, "54"):
		// 54: larger than Postgres can take, which no waiting makes it.
		return badData
	}
	return away
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
