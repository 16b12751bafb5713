package testserver

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// dieWithParent makes the system kill a server when the test process ends without cleaning up, as it
// does when a test runs into its timeout.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// stopped reports whether all threads of the process have stopped.
func stopped(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, thread := range threads {
		if state, err := os.ReadFile(thread); err != nil || !bytes.Contains(state, []byte(") T ")) {
			return false
		}
	}
	return len(threads) > 0
}
