//go:build !linux

package testserver

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dieWithParent is for Linux only: elsewhere a test process that crashes leaves its servers behind.
func dieWithParent() *syscall.SysProcAttr { return nil }

// stopped reports whether the process has stopped.
func stopped(pid int) bool {
	state, err := exec.Command("ps", "-o", "state=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.HasPrefix(strings.TrimSpace(string(state)), "T")
}
