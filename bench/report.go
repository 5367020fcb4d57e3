package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is what a run found; as JSON it is results/latest.json.
type report struct {
	At       time.Time `json:"at"`
	Revision string    `json:"revision,omitempty"`
	Go       string    `json:"go"`
	Cores    int       `json:"cores"`
	Settings settings  `json:"settings"`

	Summary summary           `json:"summary"`
	PeakRSS map[string]uint64 `json:"peakRssBytes"` // of postgres: proportional shares after a slice

	Connections int         `json:"rawConnections"` // that the raw client did best with
	Raw         []slice     `json:"raw"`
	Sustained   []slice     `json:"sustained"`
	Paced       []slice     `json:"paced"`
	Latencies   []latencies `json:"latencies"`

	Starved   int   `json:"starved"`        // slices in which the API took less than could be delivered
	Delivered int64 `json:"delivered"`      // different events, in the whole run
	Again     int64 `json:"deliveredAgain"` // deliveries of an event that was there already
}

// summary is the medians of the slices.
type summary struct {
	Ceiling      float64 `json:"ceilingPerSecond"`
	PerSecond    float64 `json:"sustainedPerSecond"`
	OfCeiling    float64 `json:"ofCeiling"`    // of the ratios of neighbouring slices
	CPUOfCeiling float64 `json:"cpuOfCeiling"` // processor time: the raw client's share of ours

	CeilingCPU   map[string]float64 `json:"ceilingCpuMicros"`
	SustainedCPU map[string]float64 `json:"sustainedCpuMicros"`
	PacedCPU     map[string]float64 `json:"pacedCpuMicros"`

	Latency latencies `json:"latency"`
}

// total is the name of the sum of all processes.
const total = "total"

// summarise takes the medians of what there is.
func (r *report) summarise() {
	rate := func(s slice) float64 { return s.PerSecond }
	var ratios, cpuRatios []float64
	for i, raw := range r.Raw {
		ratios = append(ratios, r.Sustained[i].PerSecond/raw.PerSecond)
		if r.Sustained[i].Total > 0 {
			cpuRatios = append(cpuRatios, raw.Total/r.Sustained[i].Total)
		}
	}
	r.Summary = summary{
		Ceiling: medianOf(r.Raw, rate), PerSecond: medianOf(r.Sustained, rate),
		OfCeiling: median(ratios), CPUOfCeiling: median(cpuRatios),
		CeilingCPU: cpuMedians(r.Raw), SustainedCPU: cpuMedians(r.Sustained), PacedCPU: cpuMedians(r.Paced),
		Latency: latencies{
			PerSecond:  medianOf(r.Latencies, func(l latencies) float64 { return l.PerSecond }),
			FromAccept: percentileMedians(r.Latencies, func(l latencies) percentiles { return l.FromAccept }),
			FromSend:   percentileMedians(r.Latencies, func(l latencies) percentiles { return l.FromSend }),
			Accept:     percentileMedians(r.Latencies, func(l latencies) percentiles { return l.Accept }),
		},
	}
}

// addMemory keeps the peaks.
func (r *report) addMemory(m *meter) error {
	now, err := m.memory()
	for name, bytes := range now {
		r.PeakRSS[name] = max(r.PeakRSS[name], bytes)
	}
	return err
}

func cpuMedians(of []slice) map[string]float64 {
	if len(of) == 0 || of[0].Total == 0 {
		return nil
	}
	medians := map[string]float64{total: medianOf(of, func(s slice) float64 { return s.Total })}
	for name := range of[0].CPU {
		medians[name] = medianOf(of, func(s slice) float64 { return s.CPU[name] })
	}
	return medians
}

// latencies are those of events published one by one.
type latencies struct {
	PerSecond  float64     `json:"perSecond"`
	FromAccept percentiles `json:"fromAccept"` // from the API's 202 to the sink
	FromSend   percentiles `json:"fromSend"`   // from the begin of the request to the sink
	Accept     percentiles `json:"accept"`     // from the begin of the request to the 202
}

// percentiles are in milliseconds.
type percentiles struct {
	P50 float64 `json:"p50Ms"`
	P95 float64 `json:"p95Ms"`
	P99 float64 `json:"p99Ms"`
	Max float64 `json:"maxMs"`
}

// between are the percentiles of the times from each of from to the one at its
// place in to, in Unix nanoseconds. A delivery may arrive before its 202 does:
// then it took no time.
func between(from, to []int64) percentiles {
	ms := make([]float64, len(from))
	for i := range from {
		ms[i] = float64(max(0, to[i]-from[i])) / 1e6
	}
	slices.Sort(ms)
	at := func(share float64) float64 {
		if len(ms) == 0 {
			return 0
		}
		return ms[max(0, int(math.Ceil(share*float64(len(ms))))-1)] // nearest rank
	}
	return percentiles{at(0.50), at(0.95), at(0.99), at(1)}
}

func percentileMedians(of []latencies, which func(latencies) percentiles) percentiles {
	each := func(p func(percentiles) float64) float64 {
		return medianOf(of, func(l latencies) float64 { return p(which(l)) })
	}
	return percentiles{
		P50: each(func(p percentiles) float64 { return p.P50 }), P95: each(func(p percentiles) float64 { return p.P95 }),
		P99: each(func(p percentiles) float64 { return p.P99 }), Max: each(func(p percentiles) float64 { return p.Max }),
	}
}

func medianOf[T any](of []T, value func(T) float64) float64 {
	values := make([]float64, len(of))
	for i, v := range of {
		values[i] = value(v)
	}
	return median(values)
}

// median of no values is 0.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// print writes the tables.
func (r *report) print(w io.Writer) error {
	s := r.Summary
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "\ndeliveries/s\t\tof ceiling\tby CPU time\t\n")
	fmt.Fprintf(out, "raw client, %d connections\t%.0f\t\t\t\n", r.Connections, s.Ceiling)
	fmt.Fprintf(out, "sustained\t%.0f\t%.1f %%\t%.1f %%\t\n", s.PerSecond, 100*s.OfCeiling, 100*s.CPUOfCeiling)
	if s.SustainedCPU != nil {
		fmt.Fprintf(out, "\nCPU µs a delivery\traw\tsustained\tat %.0f %% load\tpeak MiB\t\n", 100*r.Settings.Load)
		for _, name := range costliest(s.SustainedCPU) {
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t\n", name, figure("%.1f", s.CeilingCPU[name]), figure("%.1f", s.SustainedCPU[name]),
				figure("%.1f", s.PacedCPU[name]), figure("%.0f", float64(r.PeakRSS[name])/(1<<20)))
		}
	}
	if len(r.Latencies) > 0 {
		fmt.Fprintf(out, "\nms at %.0f events/s\tp50\tp95\tp99\tmax\t\n", s.Latency.PerSecond)
		for _, row := range []struct {
			name string
			p    percentiles
		}{
			{"accepted to delivered", s.Latency.FromAccept},
			{"sent to delivered", s.Latency.FromSend},
			{"sent to accepted", s.Latency.Accept},
		} {
			fmt.Fprintf(out, "%s\t%.2f\t%.2f\t%.2f\t%.2f\t\n", row.name, row.p.P50, row.p.P95, row.p.P99, row.p.Max)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	others := medianOf(slices.Concat(r.Raw, r.Sustained, r.Paced), func(s slice) float64 { return s.Others })
	idle := medianOf(r.Sustained, func(s slice) float64 { return s.Idle })
	fmt.Fprintf(w, "\n%d events delivered, %d of them more than once. Of %d cores others used %.2f, and %.2f were idle in sustained slices.\n",
		r.Delivered, r.Again, r.Cores, others, idle)
	if r.Starved > 0 {
		fmt.Fprintf(w, "In %d slices the API took less than could be delivered: the sustained rate is the API's.\n", r.Starved)
	}
	return nil
}

// costliest are the processes, the one that costs most first, then the total.
func costliest(cpu map[string]float64) []string {
	names := slices.SortedFunc(maps.Keys(cpu), func(a, b string) int {
		return cmp.Or(cmp.Compare(cpu[b], cpu[a]), cmp.Compare(a, b))
	})
	return append(slices.DeleteFunc(names, func(n string) bool { return n == total }), total)
}

// figure is a cell of a table, empty for what took no part.
func figure(format string, value float64) string {
	if text := fmt.Sprintf(format, value); strings.Trim(text, "0.") != "" {
		return text
	}
	return ""
}

// write puts the report into dir.
func (r *report) write(dir string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "latest.json"), append(content, '\n'), 0o644); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
