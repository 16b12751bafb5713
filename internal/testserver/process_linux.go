package testserver

import "syscall"

// dieWithParent makes the system kill a server when the test process ends without cleaning up, as it
// does when a test runs into its timeout.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
