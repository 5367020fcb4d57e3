// Command bench measures what a delivery costs: the whole path of an event, with
// everything switched on, against a bare HTTP client that posts to the same sink.
//
// Every part is a process of its own on this machine: api, worker, nats-server,
// Postgres, the sink that stands for the customers' endpoints, the driver that
// publishes events, and the raw client, that bare one. Raw and path slices alternate, so that
// what else the machine does slows both.
//
//	bench [flags]   measures, prints tables, writes bench/results/latest.json; with
//	                -statistics n, how long statistics of n attempts take; with -takes, how
//	                many messages a second can be taken from rate limits; with
//	                -inbound, how fast Meta's posts are answered
//	bench <role>    is a part: bench starts these itself
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	Slices      int           `json:"slices"`
	Slice       time.Duration `json:"sliceNs"`
	Webhooks    int           `json:"webhooks"`
	Tenants     int           `json:"tenants"`
	Hosts       int           `json:"hosts"` // ports of the sink that the webhooks' URLs share
	Slow        time.Duration `json:"slowNs"`
	Outstanding int64         `json:"outstanding"` // events published and not yet delivered
	Feeders     int           `json:"feeders"`
	Batch       int           `json:"batch"`
	Load        float64       `json:"load"` // share of the sustained rate at which latency is measured
	RawConns    []int         `json:"-"`
	Profile     []string      `json:"-"`
	Statistics  int           `json:"-"` // attempts to measure the answer of statistics with; 0: deliveries are measured
	Takes       bool          `json:"-"` // measure takes from rate limits
	Inbound     bool          `json:"-"` // measure what Meta's posts take
	Rate        float64       `json:"-"` // of inbound messages
	For         time.Duration `json:"-"` // how long they come
	Dir         string        `json:"-"`
}

func readFlags(args []string) (settings, error) {
	s := settings{}
	var raw, profile string
	var quick bool
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&s.Slices, "slices", 5, "slices of each kind; their medians count")
	flags.DurationVar(&s.Slice, "slice", 4*time.Second, "length of a slice")
	flags.IntVar(&s.Webhooks, "webhooks", 10, "webhooks; every event matches one of them")
	flags.IntVar(&s.Tenants, "tenants", 1, "tenants that the webhooks are spread over")
	flags.IntVar(&s.Hosts, "hosts", 0, "host:port pairs that the webhooks' URLs share (0: one each, at most 64)")
	flags.DurationVar(&s.Slow, "slow", 0, "how long the sink takes for an answer")
	flags.Int64Var(&s.Outstanding, "outstanding", 20_000, "events published and not yet delivered, at most")
	flags.IntVar(&s.Feeders, "feeders", 4, "connections of the driver to the API")
	flags.IntVar(&s.Batch, "batch", 100, "events in one POST /api/events of the sustained slices")
	flags.Float64Var(&s.Load, "load", 0.3, "share of the sustained rate at which latency is measured; 0: not at all")
	flags.StringVar(&raw, "raw", "", "connections of the raw client, comma separated, the best counts (default 16,32; with -slow 2048,4096)")
	flags.StringVar(&profile, "profile", "", "processes to profile in one more slice, comma separated: "+strings.Join(profiled, ", ")+"; with -inbound: "+strings.Join(profiledInbound, ", "))
	flags.IntVar(&s.Statistics, "statistics", 0, "measure instead how long statistics of so many attempts of one webhook take")
	flags.BoolVar(&s.Takes, "takes", false, "measure instead how many messages a second can be taken from rate limits")
	flags.BoolVar(&s.Inbound, "inbound", false, "measure instead how fast one standalone answers Meta's posts, and follow their messages")
	flags.Float64Var(&s.Rate, "rate", 1000, "with -inbound: messages a second")
	flags.DurationVar(&s.For, "for", time.Minute, "with -inbound: how long")
	flags.StringVar(&s.Dir, "dir", "", "where streams and database are kept meanwhile; on a disk (default a directory in /var/tmp)")
	flags.BoolVar(&quick, "quick", false, "one short slice of each kind: shows that everything works, measures nothing")
	if err := flags.Parse(args); err != nil {
		return settings{}, err
	}
	if flags.NArg() > 0 {
		return settings{}, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	if quick {
		s.Slices, s.Slice, s.Outstanding = 1, time.Second, 2_000
	}
	if s.Hosts == 0 {
		s.Hosts = min(s.Webhooks, 64)
	}
	if raw == "" {
		raw = "16,32"
		if s.Slow > 0 {
			raw = "2048,4096"
		}
	}
	for word := range strings.SplitSeq(raw, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 {
			return settings{}, fmt.Errorf("-raw: %q is no number of connections", word)
		}
		s.RawConns = append(s.RawConns, n)
	}
	if profile != "" {
		s.Profile = strings.Split(profile, ",")
	}
	return s, s.validate()
}

func (s *settings) validate() error {
	var errs []error
	if s.Slices < 1 || s.Slice < 100*time.Millisecond {
		errs = append(errs, errors.New("at least one slice of 100ms is needed"))
	}
	if s.Feeders < 1 || s.Batch < 1 || s.Batch > 500 || s.Outstanding < int64(s.Batch) {
		errs = append(errs, errors.New("-feeders, -batch (1..500) or -outstanding (at least a batch) makes no sense"))
	}
	if s.Statistics < 0 || s.Statistics > 100_000_000 {
		errs = append(errs, errors.New("-statistics makes no sense"))
	}
	if s.Rate <= 0 || s.Rate*s.For.Seconds() < 1 || s.Rate*s.For.Seconds() > maxEvents/2 {
		errs = append(errs, errors.New("-rate or -for makes no sense"))
	}
	if s.Hosts < 1 || s.Slow < 0 || s.Load < 0 || s.Load > 1 {
		errs = append(errs, errors.New("-hosts, -slow or -load makes no sense"))
	}
	names := profiled
	if s.Inbound {
		names = profiledInbound
	}
	for _, name := range s.Profile {
		if !slices.Contains(names, name) {
			errs = append(errs, fmt.Errorf("-profile: %q is none of %s", name, strings.Join(names, ", ")))
		}
	}
	_, err := newPlan(s.Tenants, s.Webhooks)
	return errors.Join(append(errs, err)...)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 0 {
		if role, ok := roles[args[0]]; ok {
			return role()
		}
	}
	s, err := readFlags(args)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	home, err := findHome(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if s.Takes {
		return runTakes(ctx, cancel, s, home)
	}
	if s.Inbound {
		return runInbound(ctx, cancel, s, home)
	}
	stack, err := start(ctx, cancel, s, home)
	if err != nil {
		return err
	}
	if s.Statistics > 0 {
		figures, err := measureStatistics(ctx, s.Statistics, stack)
		if err := errors.Join(err, stack.stop(ctx)); err != nil {
			return err
		}
		return figures.print(os.Stdout)
	}
	report, err := measure(ctx, s, stack)
	if err := errors.Join(err, stack.stop(ctx)); err != nil {
		return err
	}
	report.Revision = revision(ctx, home.root)
	report.Go, report.Cores = runtime.Version(), runtime.NumCPU()
	if err := report.print(os.Stdout); err != nil {
		return err
	}
	return report.write(home.results)
}
