package main

import "syscall"

// processAttr lets no instance outlive the test binary, however that ends.
func processAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
