package localpg

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

func processAttr(onDeath syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: onDeath}
}

// processes are the Postgres processes at work in data: a postmaster and its
// children stay in that directory, also when the pid file is gone or names
// another process by now.
func processes(_ context.Context, data string) []int {
	var found []int
	names, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well formed
	for _, proc := range names {
		cwd, err := os.Readlink(filepath.Join(proc, "cwd"))
		if err != nil || cwd != data { // or it has ended meanwhile, or is not ours
			continue
		}
		comm, err := os.ReadFile(filepath.Join(proc, "comm"))
		if err != nil || !slices.Contains([]string{"postgres", "postmaster"}, strings.TrimSpace(string(comm))) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(proc)); err == nil {
			found = append(found, pid)
		}
	}
	return found
}

// unreachable opens dir for a process that may not pass through its parents
// (a clone below /root, say): such a process is given the open directory as
// descriptor 3 and finds it under the returned path.
func unreachable(dir string) (path string, open *os.File, err error) {
	if open, err = os.Open(dir); err != nil {
		return "", nil, fmt.Errorf("open %s for the postmaster: %w", dir, err)
	}
	return "/proc/self/fd/3", open, nil
}
