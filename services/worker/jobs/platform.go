package jobs

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"

	"github.com/primezap/primezap/pkg/meta"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/vault"
)

const (
	claimAtOnce  = 20               // grants, or connections, of one step
	claimFor     = 10 * time.Minute // whoever claimed them and died: then others do
	lookFor      = 8 * time.Second  // one of them may take so long
	awayAfter    = 2                // so many in a row without an answer: Meta is away
	pauseAway    = 5 * time.Minute
	failureBase  = 5 * time.Minute // the first time that Meta gave no answer that says anything
	failureMost  = 6 * time.Hour
	throttledFor = 15 * time.Minute // unless Meta says for how long
	throttledMax = time.Hour
)

// platform is what jobs look after at Meta with.
type platform struct {
	store   *store.Store
	app     *login.App // nil: nobody can log in, and there is nothing to do
	vault   *vault.Vault
	log     *slog.Logger
	metrics *metaMetrics
}

// metaMetrics count what the jobs did at Meta.
type metaMetrics struct {
	renewed, refused, restored prometheus.Counter
	failed                     *prometheus.CounterVec
}

func newMetaMetrics() *metaMetrics {
	return &metaMetrics{
		renewed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "primezap_grants_renewed_total", Help: "Users' tokens that Meta replaced before their end.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "primezap_grants_refused_total", Help: "Users' tokens that Meta was found to take no more.",
		}),
		restored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "primezap_subscriptions_restored_total", Help: "Pages that Meta had stopped telling of, and was told to tell of again.",
		}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "primezap_meta_looks_failed_total", Help: "Looks at grants and subscriptions to which Meta gave no answer that says anything, by job.",
		}, []string{"job"}),
	}
}

func (m *metaMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.renewed, m.refused, m.restored, m.failed}
}

// turn works as long as a job may, where there is something to do, and until Meta is away.
func (p *platform) turn(ctx context.Context, step func(context.Context) (more bool, err error)) error {
	if p.app == nil {
		return nil
	}
	err := work(ctx, step)
	if errors.Is(err, errAway) {
		return nil // the next turn comes soon enough
	}
	return err
}

// claimed is something that is looked at, one after the other of a batch.
type claimed interface {
	// look asks Meta and keeps what it says. The error is Meta's, where it says nothing.
	look(ctx context.Context) error
	// failed puts off what Meta said nothing of.
	failed(ctx context.Context) error
}

// lookAt looks at all of a batch. One that Meta says nothing of comes later, and later
// each time. When Meta is away, or takes no more calls of the app, release puts off the
// rest, and the job ends, or snoozes until Meta may take calls again.
func (p *platform) lookAt(ctx context.Context, job string, batch []claimed, release func(ctx context.Context, rest int, pause time.Duration) error) error {
	away := 0
	for i, one := range batch {
		err := one.look(ctx)
		if ctx.Err() != nil {
			return ctx.Err() // what is claimed comes again
		}
		if err == nil {
			away = 0
			continue
		}
		p.metrics.failed.WithLabelValues(job).Inc()
		if err := one.failed(ctx); err != nil {
			return err
		}
		pause, whole := throttled(err)
		if passing(err) {
			away++
		}
		switch {
		case whole:
			p.log.Warn("jobs: Meta takes no more calls of the app for now", "job", job, "pause", pause.String(), "error", err)
			return errors.Join(release(ctx, len(batch)-i-1, pause), river.JobSnooze(pause))
		case away == awayAfter:
			p.log.Warn("jobs: Meta does not answer", "job", job, "error", err)
			return errors.Join(release(ctx, len(batch)-i-1, pauseAway), errAway)
		}
		p.log.Info("jobs: Meta did not say", "job", job, "error", err)
	}
	return nil
}

// errAway ends a job's turn.
var errAway = errors.New("no answer of Meta")

// throttled says whether Meta takes no more calls of the whole app, and for how long it
// is left alone then. A page or a user may have too many on its own.
func throttled(err error) (pause time.Duration, whole bool) {
	failed, ok := errors.AsType[*meta.Error](err)
	if !ok || !failed.Throttled() {
		return 0, false
	}
	switch failed.Code {
	case 17, 32, 80001, 80002, 80006:
		return 0, false
	}
	pause = failed.Usage.RegainAccess()
	if pause <= 0 {
		pause = throttledFor
	}
	return min(pause, throttledMax), true
}

// passing says whether Meta was not reached, or not well.
func passing(err error) bool {
	if failed, ok := errors.AsType[*meta.Error](err); ok {
		return failed.Class == meta.Retryable && !failed.Throttled()
	}
	return errors.Is(err, meta.ErrNotSent) || errors.Is(err, meta.ErrOutcomeUnknown)
}

// refusedToken says whether Meta does not take the token of a call.
func refusedToken(err error) bool {
	failed, ok := errors.AsType[*meta.Error](err)
	return ok && failed.Class == meta.Auth
}

// dead is what Meta says of a token that it does not take.
func dead(info login.Info) *meta.Error {
	return &meta.Error{Coded: true, Code: info.Code, Subcode: info.Subcode, Class: meta.Auth}
}

// backoff is how many seconds something is put off after so many failures.
func backoff(before int32) float64 {
	return around(time.Duration(min(float64(failureBase)*math.Pow(2, float64(before)), float64(failureMost))))
}

// around is a time in seconds, a quarter shorter to a quarter longer: what was looked at
// together is not for ever.
func around(d time.Duration) float64 {
	return d.Seconds() * (0.75 + rand.Float64()/2) //nolint:gosec // no secret
}
