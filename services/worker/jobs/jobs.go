// Package jobs runs the background jobs: River's, on the worker's role. A job's
// row is its truth; jobs that others ask for are inserted in the transaction
// that asks, with ids alone for arguments.
//
// Some keep house. Each of them comes periodically and is unique, so that of a
// whole fleet one worker does it; one that fails is not retried, its next turn
// comes soon enough:
//
//	partitions     makes those of the days to come, drops those past retention
//	purge          removes rows that nobody needs any more
//	janitor        trims the event store
//	statistics     sums up days that are over, and removes old ones
//	reseal         seals secrets again, under the vault's newest key
//	grants         renews users' tokens at Meta before their end, or tells of it
//	subscriptions  has Meta tell of pages again that it stopped telling of
//
// Others were asked for, and are not given up before they are done:
//
//	connection_moved  tells a tenant that another one has an account that it had connected
//	erasure           erases what is stored of a contact
//	tenant_deletion   removes what is stored of a tenant
//	replay            delivers stored events again; given up after an hour of failures
//
// Each may be interrupted anywhere, and run twice at a time: every step is a
// transaction of its own that can be repeated. A job works at most 20 s, then
// snoozes and goes on.
package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	asked "github.com/primezap/primezap/pkg/jobs"
	"github.com/primezap/primezap/pkg/meta/login"
	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/vault"
)

const (
	workFor       = 20 * time.Second // then a job snoozes
	jobTimeout    = 30 * time.Second // then its context ends
	stuckAfter    = time.Minute      // then another worker takes it
	keepDone      = time.Hour        // finished jobs, to be looked at
	keepFailed    = 24 * time.Hour
	atOnce        = 4 // jobs in one worker
	replaysAtOnce = 2
	stopFor       = time.Second     // jobs may go on after the end
	leaveAfter    = 2 * time.Second // after the end nobody waits for one any longer
	startPause    = time.Second     // between tries to start

	partitionsEvery = time.Hour
	purgeEvery      = 5 * time.Minute
	janitorEvery    = 15 * time.Second
	statisticsEvery = time.Hour
	resealEvery     = time.Hour
)

// Runner works on jobs, and takes part in the election of the one worker that
// brings the periodic ones.
type Runner struct {
	client  *river.Client[pgx.Tx]
	log     *slog.Logger
	metrics *metaMetrics
}

// Config is what jobs work with.
type Config struct {
	Store          *store.Store        // as the worker's role
	JetStream      jetstream.JetStream // as the worker's user
	Vault          *vault.Vault
	AuditRetention time.Duration // of the audit log; 0: 400 days
	// MessageRetention is how long messages are kept, 0: for ever. Meta may tell of one
	// again for a week, and what is not there any more would be stored anew.
	MessageRetention time.Duration
	Lease            time.Duration // of a delivery in flight; 0: 45 s
	// App is who people have logged in to, nil for nobody: then nothing is looked after at
	// Meta.
	App         *login.App
	RenewBefore time.Duration // users' tokens, before their end; 0: 7 days
	Log         *slog.Logger
}

// New returns a runner.
func New(cfg Config) (*Runner, error) {
	s, js, log := cfg.Store, cfg.JetStream, cfg.Log
	meta := platform{store: s, app: cfg.App, vault: cfg.Vault, log: log, metrics: newMetaMetrics()}
	workers := river.NewWorkers()
	adders := []error{
		river.AddWorkerSafely(workers, newPartitioner(s, log)),
		river.AddWorkerSafely(workers, newPurger(s, cfg.AuditRetention, cfg.MessageRetention, log)),
		river.AddWorkerSafely(workers, newJanitor(s, js, log)),
		river.AddWorkerSafely(workers, newStatistician(s)),
		river.AddWorkerSafely(workers, newResealer(s, cfg.Vault, log)),
		river.AddWorkerSafely(workers, newGrantKeeper(meta, cfg.RenewBefore)),
		river.AddWorkerSafely(workers, &subscriptionKeeper{platform: meta}),
		river.AddWorkerSafely(workers, newEraser(s, js, cfg.Lease, log)),
		river.AddWorkerSafely(workers, newDeleter(s, js, cfg.Lease, log)),
		river.AddWorkerSafely(workers, newReplayer(s, js, log)),
		river.AddWorkerSafely(workers, newWithdrawer(s, log)),
		river.AddWorkerSafely(workers, newMoveTeller(s)),
	}
	if err := errors.Join(adders...); err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	client, err := river.NewClient(riverpgxv5.New(s.Pool()), &river.Config{
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: atOnce}, asked.QueueReplays: {MaxWorkers: replaysAtOnce}},
		Workers: workers,
		PeriodicJobs: []*river.PeriodicJob{
			every(partitionsEvery, partitionsArgs{}), every(purgeEvery, purgeArgs{}), every(janitorEvery, janitorArgs{}),
			every(statisticsEvery, statisticsArgs{}), every(resealEvery, resealArgs{}),
			every(grantsEvery, grantsArgs{}), every(subscriptionsEvery, subscriptionsArgs{}),
		},
		JobTimeout:                  jobTimeout,
		RescueStuckJobsAfter:        stuckAfter,
		ReindexerSchedule:           river.NeverSchedule(), // the worker's role owns no index
		CompletedJobRetentionPeriod: keepDone,
		DiscardedJobRetentionPeriod: keepFailed,
		SoftStopTimeout:             stopFor,
		Logger:                      slog.New(warnings{log.Handler()}),
	})
	if err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	return &Runner{client: client, log: log, metrics: meta.metrics}, nil
}

// Metrics are what the jobs count.
func (r *Runner) Metrics() []prometheus.Collector { return r.metrics.all() }

// warnings drops what River says at info level: counts, every few seconds.
type warnings struct{ slog.Handler }

func (w warnings) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn && w.Handler.Enabled(ctx, level)
}

// every brings a job at its interval, and when a worker is elected to do so.
func every(interval time.Duration, args river.JobArgs) *river.PeriodicJob {
	return river.NewPeriodicJob(river.PeriodicInterval(interval), func() (river.JobArgs, *river.InsertOpts) {
		return args, alone()
	}, &river.PeriodicJobOpts{RunOnStart: true})
}

// alone keeps a job from being inserted while one of its kind has not ended.
func alone() *river.InsertOpts {
	return &river.InsertOpts{
		MaxAttempts: 1,
		UniqueOpts: river.UniqueOpts{ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning,
			rivertype.JobStateRetryable, rivertype.JobStateScheduled,
		}},
	}
}

// Run works until ctx ends, then gives running jobs a second before it cancels
// them. An error says that one did not end even so, and is left behind.
func (r *Runner) Run(ctx context.Context) error {
	for {
		err := r.client.Start(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil
		}
		r.log.Warn("jobs: start", "error", err)
		sleep(ctx, startPause)
	}
	stopped := r.client.Stopped()
	select {
	case <-ctx.Done():
	case <-stopped:
		return nil
	}
	timer := time.NewTimer(leaveAfter)
	defer timer.Stop()
	select {
	case <-stopped:
		return nil
	case <-timer.C:
		return errors.New("jobs: still at work after their contexts ended")
	}
}

// step does a bounded piece of work and says whether there is more.
type step func(context.Context) (more bool, err error)

// work repeats step until there is no more. A job that has worked long enough,
// or whose worker stops, is snoozed: it goes on later, elsewhere perhaps.
func work(ctx context.Context, step step) error {
	started := time.Now()
	for {
		more, err := step(ctx)
		switch {
		case ctx.Err() != nil:
			return river.JobSnooze(0)
		case err != nil:
			return err
		case !more:
			return nil
		case time.Since(started) > workFor:
			return river.JobSnooze(time.Second)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
