package e2e

import "syscall"

// processAttr lets no process outlive the test binary, however that ends.
func processAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
