package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/prometheus/procfs"
)

// meter reads what processes use from /proc. Without one (not Linux) there are
// rates and latencies, but no processor times and no memory.
type meter struct {
	fs    *procfs.FS
	roots map[int]string // by pid; children count as their parent
}

func newMeter() (*meter, error) {
	m := &meter{roots: map[int]string{os.Getpid(): "bench"}}
	fs, err := procfs.NewDefaultFS()
	if errors.Is(err, os.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open /proc: %w", err)
	}
	m.fs = &fs
	return m, nil
}

// usage is processor time since the start, in seconds.
type usage struct {
	byName map[string]float64
	busy   float64 // of all processors, by whomever
}

// cpu reads the processor times.
func (m *meter) cpu() (usage, error) {
	u := usage{byName: map[string]float64{}}
	if m.fs == nil {
		return u, nil
	}
	machine, err := m.fs.Stat()
	if err != nil {
		return u, fmt.Errorf("read processor times: %w", err)
	}
	t := machine.CPUTotal // guests are in User and Nice
	u.busy = t.User + t.Nice + t.System + t.IRQ + t.SoftIRQ
	err = m.each(func(name string, root bool, p procfs.Proc, stat procfs.ProcStat) error {
		u.byName[name] += stat.CPUTime()
		if root && name != "bench" { // of children that have ended; of bench they are compilers
			const ticks = 100 // a second, on every Linux: USER_HZ
			u.byName[name] += float64(stat.CUTime+stat.CSTime) / ticks
		}
		return nil
	})
	return u, err
}

// each calls do for every process that has a name, and for its children.
func (m *meter) each(do func(name string, root bool, p procfs.Proc, stat procfs.ProcStat) error) error {
	all, err := m.fs.AllProcs()
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, p := range all {
		stat, err := p.Stat()
		if err != nil {
			continue // it has ended meanwhile
		}
		name, root := m.roots[stat.PID]
		if !root {
			var child bool
			if name, child = m.roots[stat.PPID]; !child || name == "bench" {
				continue
			}
		}
		if err := do(name, root, p, stat); err != nil {
			return fmt.Errorf("%s (process %d): %w", name, stat.PID, err)
		}
	}
	return nil
}

// memory reads peak resident memory in bytes: of Postgres, whose processes share
// theirs, the sum of proportional shares now.
func (m *meter) memory() (map[string]uint64, error) {
	bytes := map[string]uint64{}
	if m.fs == nil {
		return bytes, nil
	}
	err := m.each(func(name string, _ bool, p procfs.Proc, _ procfs.ProcStat) error {
		if name == postgresName {
			rollup, err := p.ProcSMapsRollup()
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			bytes[name] += rollup.Pss
			return nil
		}
		status, err := p.NewStatus()
		if err != nil {
			return err
		}
		bytes[name] += status.VmHWM
		return nil
	})
	return bytes, err
}
