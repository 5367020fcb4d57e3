package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReading_Slice(t *testing.T) {
	t.Parallel()
	at := time.Now()
	from := reading{counts{Delivered: 100, Raw: 7, At: at}, usage{map[string]float64{"worker": 1, "sink": 1, "bench": 9}, 100}}
	to := reading{
		counts{Delivered: 1100, Raw: 7, At: at.Add(2 * time.Second)},
		usage{map[string]float64{"worker": 1.2, "sink": 1.1, "bench": 9.1}, 100.9},
	}
	s := from.slice(to)
	near := func(name string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-6 {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	near("rate", s.PerSecond, 500)
	near("worker", s.CPU["worker"], 200)
	near("sink", s.CPU["sink"], 100)
	near("total", s.Total, 300)
	near("others", s.Others, 0.25) // 0.9 s in all, less 0.4 s of ours, in 2 s
	if _, ok := s.CPU["bench"]; ok {
		t.Error("who looks on is counted as a cost")
	}
	near("total of the sink alone", from.slice(to, "sink").Total, 100)
}

func TestBetween(t *testing.T) {
	t.Parallel()
	t.Run("percentiles are by the nearest rank", func(t *testing.T) {
		t.Parallel()
		from, to := make([]int64, 100), make([]int64, 100)
		for i := range from {
			from[i] = 5e9
			to[i] = from[i] + int64(100-i)*int64(time.Millisecond)
		}
		if got, want := between(from, to), (percentiles{P50: 50, P95: 95, P99: 99, Max: 100}); got != want {
			t.Errorf("between = %+v, want %+v", got, want)
		}
	})
	t.Run("a delivery before its 202 took no time", func(t *testing.T) {
		t.Parallel()
		if got := between([]int64{10e6}, []int64{4e6}); got != (percentiles{}) {
			t.Errorf("between = %+v", got)
		}
	})
}

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		values []float64
		want   float64
	}{
		{name: "the middle one of an odd number", values: []float64{9, 1, 5}, want: 5},
		{name: "between the two in the middle of an even number", values: []float64{4, 1, 9, 2}, want: 3},
		{name: "nothing of nothing", want: 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := median(tc.values); got != tc.want {
				t.Errorf("median(%v) = %v, want %v", tc.values, got, tc.want)
			}
		})
	}
}

// sample is a report of three slices, of which the second was disturbed.
func sample() *report {
	r := &report{Settings: settings{Load: 0.3}, PeakRSS: map[string]uint64{"worker": 60 << 20}, Connections: 32}
	for _, rates := range [][2]float64{{10_000, 5_000}, {4_000, 2_400}, {12_000, 4_800}} {
		r.Raw = append(r.Raw, slice{PerSecond: rates[0], Total: 60, CPU: map[string]float64{"raw": 35, "sink": 25, "worker": 0.02}})
		r.Sustained = append(r.Sustained, slice{PerSecond: rates[1], Total: 120, CPU: map[string]float64{"worker": 80, "sink": 40, "raw": 0}})
	}
	r.Paced = []slice{{PerSecond: 1500, Total: 200, CPU: map[string]float64{"worker": 150, "sink": 50}}}
	r.Latencies = []latencies{{PerSecond: 1500, FromAccept: percentiles{1.25, 2, 3, 4}}}
	r.summarise()
	return r
}

func TestReport_Summarise(t *testing.T) {
	t.Parallel()
	t.Run("the ratio is that of slices side by side", func(t *testing.T) {
		t.Parallel()
		s := sample().Summary
		if s.Ceiling != 10_000 || s.PerSecond != 4_800 || s.OfCeiling != 0.5 || s.CPUOfCeiling != 0.5 {
			t.Errorf("summary %+v", s)
		}
		if want := map[string]float64{"worker": 80, "sink": 40, "raw": 0, total: 120}; !maps.Equal(s.SustainedCPU, want) {
			t.Errorf("CPU %v, want %v", s.SustainedCPU, want)
		}
	})
}

func TestReport_Print(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := sample().print(&out); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{
		"raw client, 32 connections 10000", "sustained 4800 50.0 % 50.0 %",
		"worker 80.0 150.0 60 sink 25.0 40.0 50.0 raw 35.0 total 60.0 120.0 200.0", "accepted to delivered 1.25 2.00 3.00 4.00",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestReport_Write(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := sample().write(dir); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "latest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal(content, &back); err != nil {
		t.Fatal(err)
	}
	if back.Summary.OfCeiling != 0.5 || back.Summary.Latency.FromAccept.P50 != 1.25 || back.PeakRSS["worker"] != 60<<20 {
		t.Errorf("read back: %+v", back)
	}
}
