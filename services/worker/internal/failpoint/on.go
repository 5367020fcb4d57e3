//go:build failpoint

// Package failpoint kills the process at a named place, in binaries built with
// the tag failpoint. Without the tag nothing of it is left.
package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Enabled says whether this binary has failpoints.
const Enabled = true

// PRIMEZAP_FAILPOINT=name:n kills the process with SIGKILL the nth time that
// the place called name is reached.
var (
	name  string
	after int64
	hits  atomic.Int64
)

func init() {
	var count string
	name, count, _ = strings.Cut(os.Getenv("PRIMEZAP_FAILPOINT"), ":")
	after, _ = strconv.ParseInt(count, 10, 64)
	after = max(after, 1)
}

// Hit kills the process if this is the place and the time.
func Hit(place string) {
	if place == name && hits.Add(1) == after {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}
