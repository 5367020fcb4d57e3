package jobs

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/primezap/primezap/pkg/testenv"
)

func TestRunner_Run(t *testing.T) {
	t.Parallel()
	database, account := testenv.DB(t), testenv.NATS(t)
	ctx, cancel := context.WithCancel(t.Context())
	const fleet = 2
	ended := make(chan error, fleet)
	for range fleet {
		r, err := New(Config{Store: open(t, database, testenv.Worker), JetStream: connect(t, account, testenv.Worker), Vault: newVault(t), Log: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		go func() { ended <- r.Run(ctx) }()
	}
	s := open(t, database, testenv.Worker)
	eventually(t, "every job has been done", func() bool {
		return ask[int](t, s, "SELECT count(DISTINCT kind) FROM river_job WHERE state = 'completed'") == 7
	})
	if jobs := ask[int](t, s, "SELECT count(*) FROM river_job"); jobs != 7 {
		t.Errorf("%d jobs for %d workers, want each of 7 once", jobs, fleet)
	}
	cancel()
	for range fleet {
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run = %v, want nil from a runner that was asked to end", err)
			}
		case <-time.After(patience):
			t.Fatal("a runner did not end")
		}
	}
}

func TestRunner_RunStops(t *testing.T) {
	t.Parallel()
	database, account := testenv.DB(t), testenv.NATS(t)
	s, js, v := open(t, database, testenv.Worker), connect(t, account, testenv.Worker), newVault(t)
	testenv.StressStop(t, func(ctx context.Context) error {
		r, err := New(Config{Store: s, JetStream: js, Vault: v, Log: quiet()})
		if err != nil {
			return err
		}
		return r.Run(ctx)
	})
}

func TestWork(t *testing.T) {
	t.Parallel()
	t.Run("repeats while there is more", func(t *testing.T) {
		t.Parallel()
		steps := 0
		err := work(t.Context(), func(context.Context) (bool, error) { steps++; return steps < 3, nil })
		if err != nil || steps != 3 {
			t.Errorf("work = %v after %d steps, want nil after 3", err, steps)
		}
	})

	t.Run("ends at an error", func(t *testing.T) {
		t.Parallel()
		broken := errors.New("broken")
		err := work(t.Context(), func(context.Context) (bool, error) { return true, broken })
		if !errors.Is(err, broken) {
			t.Errorf("work = %v, want %v", err, broken)
		}
	})

	t.Run("snoozes when its worker stops", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		err := work(ctx, func(ctx context.Context) (bool, error) { cancel(); return false, ctx.Err() })
		if snooze, ok := errors.AsType[*river.JobSnoozeError](err); !ok || snooze.Duration != 0 {
			t.Errorf("work = %v, want a snooze of no time", err)
		}
	})

	t.Run("snoozes after 20 seconds", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			started := time.Now()
			err := work(t.Context(), func(ctx context.Context) (bool, error) { sleep(ctx, 3*time.Second); return true, nil })
			if _, ok := errors.AsType[*river.JobSnoozeError](err); !ok || time.Since(started) != 21*time.Second {
				t.Errorf("work = %v after %s, want a snooze after the step that ends past 20s", err, time.Since(started))
			}
		})
	})
}

func TestAlone(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.DB(t), testenv.Worker)
	client, err := river.NewClient(riverpgxv5.New(s.Pool()), &river.Config{})
	if err != nil {
		t.Fatal(err)
	}
	insert := func(when string, want bool) {
		inserted, err := client.Insert(t.Context(), purgeArgs{}, alone())
		if err != nil {
			t.Fatal(err)
		}
		if got := !inserted.UniqueSkippedAsDuplicate; got != want {
			t.Errorf("%s: inserted is %t, want %t", when, got, want)
		}
	}
	insert("at first", true)
	for _, state := range []string{"available", "running", "scheduled"} { // scheduled: it snoozes
		exec(t, s, "UPDATE river_job SET state = $1::text::river_job_state", state)
		insert("beside one that is "+state, false)
	}
	for _, state := range []string{"completed", "discarded"} {
		exec(t, s, "UPDATE river_job SET state = $1::text::river_job_state, finalized_at = now()", state)
		insert("after one that is "+state, true)
		exec(t, s, "DELETE FROM river_job WHERE finalized_at IS NULL")
	}
}

// TestRiver_API shows that the api's role can ask for a job, and for one that is
// asked for already.
func TestRiver_API(t *testing.T) {
	t.Parallel()
	client, err := river.NewClient(riverpgxv5.New(open(t, testenv.DB(t), testenv.API).Pool()), &river.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, duplicate := range []bool{false, true} {
		inserted, err := client.Insert(t.Context(), purgeArgs{}, &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true}})
		if err != nil {
			t.Fatal(err)
		}
		if inserted.UniqueSkippedAsDuplicate != duplicate {
			t.Errorf("skipped as a duplicate: %t, want %t", inserted.UniqueSkippedAsDuplicate, duplicate)
		}
	}
}
