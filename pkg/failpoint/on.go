//go:build failpoint

// Package failpoint kills the process at a named place, or breaks a rule on
// purpose, in binaries built with the tag failpoint: for tests of what survives
// a crash, and for the tests of those tests. Without the tag nothing of it is
// left.
package failpoint

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Enabled says whether this binary has failpoints.
const Enabled = true

// PRIMEZAP_FAILPOINT=name:n kills the process with SIGKILL the nth time that
// the place called name is reached. PRIMEZAP_MUTATION=name breaks a rule.
var (
	name    string
	after   int64
	hits    atomic.Int64
	mutated = os.Getenv("PRIMEZAP_MUTATION")
)

func init() {
	var count string
	name, count, _ = strings.Cut(os.Getenv("PRIMEZAP_FAILPOINT"), ":")
	after, _ = strconv.ParseInt(count, 10, 64)
	after = max(after, 1)
}

// Hit kills the process if this is the place and the time. Its last words, on
// standard error, are for the test, which cannot tell one SIGKILL from another.
func Hit(place string) {
	if place == name && hits.Add(1) == after {
		fmt.Fprintf(os.Stderr, "failpoint: killed at %s\n", place)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// Mutated says whether the rule called rule is to be broken.
func Mutated(rule string) bool { return rule == mutated }
