package main

import "syscall"

// processAttr puts a child into a group of its own, which a terminal's Ctrl-C
// does not reach, and lets it end with its parent, however that ends.
func processAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
