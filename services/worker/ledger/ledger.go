package ledger

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

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
	store *store.Store
	log   *slog.Logger
	in    chan *item    // sent by Submit…, received by Run, never closed
	quit  chan struct{} // closed by Close: no more items come
}

// New returns a ledger over the worker's role. Its queue holds as many items as
// two commits; who submits waits for room.
func New(s *store.Store, log *slog.Logger) *Ledger {
	return &Ledger{store: s, log: log, in: make(chan *item, 2*maxItems), quit: make(chan struct{})}
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

// Run commits until Close, or until ctx ends: then what is not written is
// abandoned, and every item is still decided.
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
				it.finish(Committed)
			}
			return
		case ctx.Err() != nil:
			for _, it := range items {
				it.finish(Abandoned)
			}
			return
		case fault == noPartition:
			if l.makePartitions(ctx, items) == nil {
				continue
			}
		case fault == badData && len(items) > 1:
			half := len(items) / 2
			l.settle(ctx, items[:half])
			items = items[half:]
			continue
		case fault == badData:
			l.settleRefused(ctx, items[0], err)
			return
		case fault == undone: // a deadlock's victim, or an item is superseded
			pause = minPause
		default:
			l.log.Warn("ledger: commit", "error", err, "items", len(items), "pause", pause)
		}
		// Committed or not, which is which stands in the database.
		left, err := l.reconcile(ctx, items)
		if err != nil {
			sleep(ctx, pause)
			pause = min(2*pause, maxPause)
			continue
		}
		if fruitless++; len(left) < len(items) {
			fruitless = 0
		}
		items = left
	}
}

func (l *Ledger) try(ctx context.Context, items []*item) error {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	return l.commit(ctx, items)
}

// settleRefused writes an item that Postgres refuses without the endpoint's
// words, and poisons it if that is refused as well.
func (l *Ledger) settleRefused(ctx context.Context, it *item, cause error) {
	l.log.Warn("ledger: refused for its data, written without the answer", "error", cause)
	it.strip()
	pause := minPause
	for {
		err := l.try(ctx, []*item{it})
		switch {
		case err == nil:
			it.finish(Committed)
			return
		case ctx.Err() != nil:
			it.finish(Abandoned)
			return
		case faultOf(err) == badData:
			l.log.Error("ledger: refused for its data", "error", err)
			it.finish(Poisoned)
			return
		}
		left, err := l.reconcile(ctx, []*item{it})
		if err == nil && len(left) == 0 {
			return
		}
		sleep(ctx, pause)
		pause = min(2*pause, maxPause)
	}
}

func (l *Ledger) makePartitions(ctx context.Context, items []*item) error {
	first, last := days(items)
	if _, err := l.store.Queries().EnsurePartitions(ctx, first, last); err != nil {
		l.log.Warn("ledger: make partitions", "error", err)
		return err
	}
	return nil
}

// days are the first and last day that items write to.
func days(items []*item) (first, last time.Time) {
	widen := func(day time.Time) {
		day = day.UTC().Truncate(24 * time.Hour)
		if first.IsZero() || day.Before(first) {
			first = day
		}
		if day.After(last) {
			last = day
		}
	}
	for _, it := range items {
		if it.entry != nil {
			widen(it.entry.Event.Day)
		}
		for _, log := range it.logs() {
			widen(log.at())
		}
	}
	return first, last
}

// fault is what an error of a commit permits.
type fault int

const (
	away        fault = iota // Postgres cannot be reached or will not work now; perhaps committed
	undone                   // rolled back; look what stands, then again
	noPartition              // rolled back: a day has no partition yet
	badData                  // rolled back: the same data is refused again
)

func faultOf(err error) fault {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case !ok:
		return away
	case store.Repeatable(err), pg.Code == "PZ001", pg.Code == "23505":
		return undone
	case pg.Code == "23514" && pg.ConstraintName == "":
		// A check violation of no constraint: no partition takes the row.
		return noPartition
	case strings.HasPrefix(pg.Code, "22"), strings.HasPrefix(pg.Code, "23"):
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
