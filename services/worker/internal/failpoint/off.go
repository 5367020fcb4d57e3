//go:build !failpoint

// Package failpoint kills the process at a named place, in binaries built with
// the tag failpoint. Without the tag nothing of it is left.
package failpoint

// Enabled says whether this binary has failpoints.
const Enabled = false

// Hit does nothing.
func Hit(string) {}
