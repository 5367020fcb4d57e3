package telemetry_test

import (
	"strings"
	"testing"

	"github.com/primezap/primezap/pkg/telemetry"
)

const (
	traceID  = "4bf92f3577b34da6a3ce929d0e0e4736"
	parentID = "00f067aa0ba902b7"
)

func TestValidTraceparent(t *testing.T) {
	t.Parallel()
	good := "00-" + traceID + "-" + parentID + "-01"
	for _, tc := range []struct {
		name, header string
		want         bool
	}{
		{name: "the standard's example", header: good, want: true},
		{name: "a later version as long as ours", header: "cc" + good[2:], want: true},
		{name: "a later version with more behind a dash", header: "cc" + good[2:] + "-more", want: true},
		{name: "a later version with more and no dash", header: "cc" + good[2:] + ".more"},
		{name: "version 00 with more", header: good + "-more"},
		{name: "version ff", header: "ff" + good[2:]},
		{name: "nothing", header: ""},
		{name: "cut short", header: good[:54]},
		{name: "upper case", header: strings.ToUpper(good)},
		{name: "no hex in the version", header: "0g" + good[2:]},
		{name: "no hex in the trace id", header: strings.Replace(good, "4bf", "4bg", 1)},
		{name: "no hex in the parent id", header: strings.Replace(good, "00f0", "00g0", 1)},
		{name: "no hex in the flags", header: good[:54] + "x"},
		{name: "a trace id of zeros", header: "00-" + strings.Repeat("0", 32) + "-" + parentID + "-01"},
		{name: "a parent id of zeros", header: "00-" + traceID + "-" + strings.Repeat("0", 16) + "-01"},
		{name: "no dash after the version", header: good[:2] + "0" + good[3:]},
		{name: "no dash after the trace id", header: good[:35] + "0" + good[36:]},
		{name: "no dash after the parent id", header: good[:52] + "0" + good[53:]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := telemetry.ValidTraceparent(tc.header); got != tc.want {
				t.Errorf("ValidTraceparent(%q) = %t, want %t", tc.header, got, tc.want)
			}
		})
	}
}

func TestNewTraceparent(t *testing.T) {
	t.Parallel()
	a, b := telemetry.NewTraceparent(), telemetry.NewTraceparent()
	if !telemetry.ValidTraceparent(a) || !strings.HasPrefix(a, "00-") || !strings.HasSuffix(a, "-01") {
		t.Errorf("%q is no sampled version 00 header", a)
	}
	if a[3:35] == b[3:35] || a[36:52] == b[36:52] {
		t.Errorf("%q and %q share an id", a, b)
	}
}

func TestChildTraceparent(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, flags, want string
	}{
		{name: "sampled stays sampled", flags: "01", want: "01"},
		{name: "not sampled stays so", flags: "00", want: "00"},
		{name: "flags we do not know are not passed on", flags: "fe", want: "00"},
		{name: "the sampled bit is found among others", flags: "0b", want: "01"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			parent := "00-" + traceID + "-" + parentID + "-" + tc.flags
			child := telemetry.ChildTraceparent(parent)
			if !telemetry.ValidTraceparent(child) || child[3:35] != traceID || child[53:] != tc.want {
				t.Errorf("child %q of %q: want its trace id and flags %s", child, parent, tc.want)
			}
			if child[36:52] == parentID {
				t.Errorf("child %q has its parent's id", child)
			}
		})
	}
	t.Run("a later version is continued as version 00", func(t *testing.T) {
		t.Parallel()
		child := telemetry.ChildTraceparent("cc-" + traceID + "-" + parentID + "-01-more")
		if !strings.HasPrefix(child, "00-"+traceID) || len(child) != 55 {
			t.Errorf("child %q", child)
		}
	})
	t.Run("an invalid parent begins a new trace", func(t *testing.T) {
		t.Parallel()
		if child := telemetry.ChildTraceparent("00-" + traceID + "-x"); !telemetry.ValidTraceparent(child) || child[3:35] == traceID {
			t.Errorf("child %q", child)
		}
	})
}
