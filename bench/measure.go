package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

const (
	paceConnections = 8
	calibrateFor    = 1 * time.Second
	warmFor         = 2 * time.Second
	profileFor      = 10 * time.Second
	settleFor       = 500 * time.Millisecond // after the bound was met, and before each slice
)

// slice is what was measured in one stretch of time.
type slice struct {
	PerSecond float64            `json:"perSecond"`
	CPU       map[string]float64 `json:"cpuMicros"` // a delivery (or raw request), by process
	Total     float64            `json:"totalCpuMicros"`
	Others    float64            `json:"othersCores"` // processors that others on this machine used meanwhile
	Idle      float64            `json:"idleCores"`   // and that nobody did
}

// reading is the state at the begin or end of a slice.
type reading struct {
	counts counts
	usage  usage
}

func (st *stack) read(ctx context.Context) (r reading, err error) {
	if r.counts, err = call[counts](ctx, st.control("sink"), "/counts", nothing{}); err != nil {
		return r, err
	}
	r.usage, err = st.meter.cpu()
	return r, err
}

// slice is what happened between two readings. The total is that of the named
// processes, or of all.
func (from reading) slice(to reading, named ...string) slice {
	n := float64(to.counts.Delivered - from.counts.Delivered + to.counts.Raw - from.counts.Raw)
	seconds := to.counts.At.Sub(from.counts.At).Seconds()
	s := slice{PerSecond: n / seconds, CPU: map[string]float64{}}
	used := 0.0
	for name, total := range to.usage.byName {
		spent := total - from.usage.byName[name]
		used += spent
		if name != "bench" { // it only looks on
			s.CPU[name] = spent * 1e6 / n
			if len(named) == 0 || slices.Contains(named, name) {
				s.Total += s.CPU[name]
			}
		}
	}
	if busy := to.usage.busy - from.usage.busy; busy > 0 {
		s.Others = max(0, (busy-used)/seconds)
		s.Idle = max(0, float64(runtime.NumCPU())-busy/seconds)
	}
	return s
}

// measure runs all slices.
func measure(ctx context.Context, s settings, st *stack) (r *report, err error) {
	defer func() {
		if err != nil {
			err = because(ctx, err)
		}
	}()
	r = &report{At: time.Now().UTC().Truncate(time.Second), Settings: s, PeakRSS: map[string]uint64{}}
	if r.Connections, err = st.calibrate(ctx, s); err != nil {
		return nil, err
	}
	if _, err := st.sustained(ctx, r, warmFor); err != nil {
		return nil, err
	}
	for i := range s.Slices {
		progress("slice %d of %d", i+1, s.Slices)
		raw, err := st.raw(ctx, r.Connections, s.Slice)
		if err != nil {
			return nil, err
		}
		ours, err := st.sustained(ctx, r, s.Slice)
		if err != nil {
			return nil, err
		}
		r.Raw, r.Sustained = append(r.Raw, raw), append(r.Sustained, ours)
	}
	r.summarise()
	for i := range s.Slices {
		if s.Load == 0 {
			break
		}
		progress("slice %d of %d at %.0f %% load", i+1, s.Slices, 100*s.Load)
		if err := st.paced(ctx, r, s); err != nil {
			return nil, err
		}
	}
	r.summarise()
	for _, name := range s.Profile {
		progress("profile of %s", name)
		if err := st.profile(ctx, r, s, name); err != nil {
			return nil, err
		}
	}
	end, err := call[counts](ctx, st.control("sink"), "/counts", nothing{})
	r.Delivered, r.Again = end.Delivered, end.Again
	return r, err
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

// calibrate finds out how many connections the raw client does best with.
func (st *stack) calibrate(ctx context.Context, s settings) (best int, err error) {
	top := map[int]float64{}
	for range 2 { // alternating: what disturbs one disturbs all
		for _, n := range s.RawConns {
			result, err := st.raw(ctx, n, calibrateFor)
			if err != nil {
				return 0, err
			}
			top[n] += result.PerSecond
		}
	}
	return slices.MaxFunc(slices.Sorted(maps.Keys(top)), func(a, b int) int { return int(top[a] - top[b]) }), nil
}

// raw is a slice of the raw client.
func (st *stack) raw(ctx context.Context, connections int, length time.Duration) (slice, error) {
	from, err := st.read(ctx)
	if err != nil {
		return slice{}, err
	}
	if _, err := call[rawResult](ctx, st.control("raw"), "/run", rawRun{
		URL: "http://" + st.sinkAddrs[0] + rawPath, Body: string(st.plan.delivered(0)), Connections: connections, Duration: length,
	}); err != nil {
		return slice{}, err
	}
	to, err := st.read(ctx)
	return from.slice(to, "raw", "sink"), err
}

// feed runs do while events are published as fast as they are delivered.
func (st *stack) feed(ctx context.Context, r *report, do func() error) error {
	began, err := call[filled](ctx, st.control("drive"), "/feed", nothing{})
	if err != nil {
		return err
	}
	if !began.Full {
		r.Starved++
	}
	err = errors.Join(pause(ctx, settleFor), do())
	if _, drained := call[nothing](ctx, st.control("drive"), "/drain", nothing{}); drained != nil {
		err = errors.Join(err, drained)
	}
	return errors.Join(err, r.addMemory(st.meter))
}

// sustained is a slice of the whole path, at its limit.
func (st *stack) sustained(ctx context.Context, r *report, length time.Duration) (result slice, err error) {
	err = st.feed(ctx, r, func() error {
		from, err := st.read(ctx)
		if err != nil {
			return err
		}
		if err := pause(ctx, length); err != nil {
			return err
		}
		to, err := st.read(ctx)
		result = from.slice(to)
		return err
	})
	return result, err
}

// pace is the load at which latency is measured.
func (s *settings) pace(sustained float64, length time.Duration) pace {
	return pace{PerSecond: s.Load * sustained, Duration: length, Connections: paceConnections}
}

// paced is a slice of single events at a share of the sustained rate.
func (st *stack) paced(ctx context.Context, r *report, s settings) error {
	if err := pause(ctx, settleFor); err != nil {
		return err
	}
	from, err := st.read(ctx)
	if err != nil {
		return err
	}
	result, err := call[latencies](ctx, st.control("drive"), "/pace", s.pace(r.Summary.PerSecond, s.Slice))
	if err != nil {
		return err
	}
	to, err := st.read(ctx)
	r.Paced, r.Latencies = append(r.Paced, from.slice(to)), append(r.Latencies, result)
	return errors.Join(err, r.addMemory(st.meter))
}

// profile writes two processor profiles of a process: at the limit, and at the
// load at which latency is measured.
func (st *stack) profile(ctx context.Context, r *report, s settings, name string) error {
	if err := st.feed(ctx, r, func() error { return st.fetchProfile(ctx, name, name) }); err != nil {
		return err
	}
	if s.Load == 0 {
		return nil
	}
	fetched := make(chan error, 1) // sent once
	go func() { fetched <- st.fetchProfile(ctx, name, name+"-paced") }()
	_, err := call[latencies](ctx, st.control("drive"), "/pace", s.pace(r.Summary.PerSecond, profileFor+settleFor))
	return errors.Join(err, <-fetched)
}

// fetchProfile has a process profiled and writes results/<file>.pprof.
func (st *stack) fetchProfile(ctx context.Context, name, file string) error {
	from := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%.0f", st.control(name), profileFor.Seconds())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return err
	}
	content, err := do(http.DefaultClient, req, http.StatusOK)
	if err != nil {
		return fmt.Errorf("profile of %s: %w", name, err)
	}
	return os.WriteFile(filepath.Join(st.home.results, file+".pprof"), content, 0o644)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
