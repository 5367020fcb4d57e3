//go:build !linux

package main

import "syscall"

// processAttr puts a child into a group of its own, which a terminal's Ctrl-C
// does not reach.
func processAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
