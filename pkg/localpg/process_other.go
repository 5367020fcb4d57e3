//go:build !linux

package localpg

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// processAttr cannot promise more here: a postmaster outlives a killed owner,
// and the next start stops it.
func processAttr(syscall.Signal) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// processes are the Postgres processes at work in data: the one that the pid
// file names, if it is a Postgres of that directory. The number alone proves
// nothing, it may be another process's by now.
func processes(ctx context.Context, data string) []int {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return nil
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || pid <= 1 {
		return nil
	}
	command, err := exec.CommandContext(ctx, "ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil || !strings.Contains(string(command), "-D "+data+" ") {
		return nil
	}
	return []int{pid}
}

func unreachable(dir string) (string, *os.File, error) {
	return "", nil, fmt.Errorf("an unprivileged user cannot reach %s: choose a directory whose parents it may enter", dir)
}
