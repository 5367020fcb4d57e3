package ratelimit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/primezap/primezap/pkg/store"
	"github.com/primezap/primezap/pkg/testenv"
)

// takerJob names the variable that makes a test binary a process that takes.
const takerJob = "RATELIMIT_TAKER"

// job is what such a process does.
type job struct {
	URL        string
	Config     Config
	Lengths    []time.Duration
	Connection Connection
	Goroutines int
	Takes      int // of each goroutine
}

// taken is what came of one take: the windows that it fell in, or those that were full.
type taken struct {
	Granted bool
	Starts  map[Window]time.Time
}

// take does a job and writes what came of each take to standard output.
func take(encoded string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var j job
	if err := json.Unmarshal([]byte(encoded), &j); err != nil {
		return err
	}
	s, err := store.Open(ctx, j.URL, 16)
	if err != nil {
		return err
	}
	defer s.Close()
	limiter := newLimiter(s, j.Config, j.Lengths...)
	takes := make([][]taken, j.Goroutines)
	failed := make([]error, j.Goroutines)
	var takers sync.WaitGroup
	for i := range j.Goroutines {
		takers.Go(func() {
			for range j.Takes {
				time.Sleep(rand.N(80 * time.Millisecond)) // demand is spread over several windows
				one, err := takeOne(ctx, limiter, j.Connection)
				if err != nil {
					failed[i] = err
					return
				}
				takes[i] = append(takes[i], one)
			}
		})
	}
	takers.Wait()
	if err := errors.Join(failed...); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(slices.Concat(takes...))
}

func takeOne(ctx context.Context, limiter *Limiter, c Connection) (taken, error) {
	receipt, err := limiter.Take(ctx, c, 1)
	refusal, refused := errors.AsType[*Refusal](err)
	switch {
	case refused:
		one := taken{Starts: make(map[Window]time.Time)}
		for _, s := range refusal.Windows {
			if s.Used+1 > s.Limit {
				one.Starts[s.Window] = s.Start
			}
		}
		return one, nil
	case err != nil:
		return taken{}, err
	default:
		return taken{Granted: true, Starts: receipt.Starts}, nil
	}
}

// Whatever is asked for by however many processes, a window grants what it is asked
// for, up to its limit, exactly.
func TestLimiter_Processes(t *testing.T) {
	t.Parallel()
	const processes, goroutines, takes = 3, 32, 105 // 10 080 in all
	limits := map[Window]int{PerMinute: 250, PerHour: 400, PerDay: 1_000_000}
	lengths := map[Window]time.Duration{PerMinute: time.Second, PerHour: 2 * time.Second, PerDay: 1500 * time.Millisecond}
	f := newFixture(t, defaults)
	j := job{
		Config:     Config{PerMinute: int64(limits[PerMinute]), PerHour: int64(limits[PerHour]), PerDay: int64(limits[PerDay])},
		Lengths:    []time.Duration{lengths[PerMinute], lengths[PerHour], lengths[PerDay]},
		Connection: f.connect(), Goroutines: goroutines, Takes: takes,
	}
	all := make([][]taken, processes)
	var running sync.WaitGroup
	for i := range processes {
		j.URL = f.database.URL([]testenv.Role{testenv.API, testenv.Worker}[i%2])
		encoded, err := json.Marshal(j)
		f.check(err)
		running.Go(func() {
			var stdout, stderr bytes.Buffer
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), takerJob+"="+string(encoded))
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Errorf("process %d: %v: %s", i, err, &stderr)
				return
			}
			if err := json.Unmarshal(stdout.Bytes(), &all[i]); err != nil {
				t.Errorf("process %d: %v", i, err)
			}
		})
	}
	running.Wait()
	if t.Failed() {
		return
	}
	granted, refused := map[Window]map[int64]int{}, map[Window]map[int64]int{}
	for _, window := range Windows() {
		granted[window], refused[window] = map[int64]int{}, map[int64]int{}
	}
	made := 0
	for _, one := range slices.Concat(all...) {
		made++
		for window, start := range one.Starts {
			if one.Granted {
				granted[window][start.UnixMicro()]++
			} else {
				refused[window][start.UnixMicro()]++
			}
		}
	}
	if made < 10_000 {
		t.Errorf("%d takes, want 10 000", made)
	}
	for _, window := range Windows() {
		starts := slices.Sorted(maps.Keys(granted[window]))
		for i, start := range starts {
			demand := granted[window][start] + refused[window][start]
			if want := min(demand, limits[window]); granted[window][start] != want {
				t.Errorf("%s: window %d granted %d of %d with a limit of %d", window, i, granted[window][start], demand, limits[window])
			}
			if i > 0 && start < starts[i-1]+lengths[window].Microseconds() {
				t.Errorf("%s: window %d began %d µs after the one before it", window, i, start-starts[i-1])
			}
		}
		for start := range refused[window] {
			if granted[window][start] == 0 {
				t.Errorf("%s: a window refused that granted nothing", window)
			}
		}
		t.Logf("%s: %s", window, describe(starts, granted[window], refused[window]))
	}
	// Otherwise it would have shown nothing.
	if len(refused[PerMinute]) < 2 || len(refused[PerHour]) < 2 || len(granted[PerDay]) < 2 || len(refused[PerDay]) > 0 {
		t.Error("not enough windows were filled, or none stayed open")
	}
}

func describe(starts []int64, granted, refused map[int64]int) string {
	var text string
	for _, start := range starts {
		text += fmt.Sprintf("%d of %d, ", granted[start], granted[start]+refused[start])
	}
	return text
}
