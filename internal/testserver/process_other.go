//go:build !linux

package testserver

import "syscall"

// dieWithParent is for Linux only: elsewhere a test process that crashes leaves its servers behind.
func dieWithParent() *syscall.SysProcAttr { return nil }
