//go:build !failpoint

// Package failpoint kills the process at a named place, or breaks a rule on
// purpose, in binaries built with the tag failpoint: for tests of what survives
// a crash, and for the tests of those tests. Without the tag nothing of it is
// left.
package failpoint

// Enabled says whether this binary has failpoints.
const Enabled = false

// Hit does nothing.
func Hit(string) {}

// Mutated is never true.
func Mutated(string) bool { return false }
