package main

import (
	"database/sql"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// openTerminal returns the two ends of a pseudoterminal (pts(4)).
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = master.Close() })
	var number, unlock int32
	for request, arg := range map[uintptr]*int32{syscall.TIOCSPTLCK: &unlock, syscall.TIOCGPTN: &number} {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(arg)))
		require.Zero(t, errno)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	return master, terminal
}

func TestProgressOnTerminal(t *testing.T) {
	t.Parallel()
	master, terminal := openTerminal(t)
	cmd := program(t, "-cache", filepath.Join(t.TempDir(), "cache.db"), write(t, sources))
	cmd.Stderr = terminal
	require.NoError(t, cmd.Start())
	require.NoError(t, terminal.Close())
	shown, _ := io.ReadAll(master) // ends with EIO, once the program is gone
	require.NoError(t, cmd.Wait())
	require.Regexp(t, `^(\r\d of 4 files)+\r\x1b\[K$`, string(shown), "one line, removed at the end")
}

// Ctrl-C is sent while the program waits for a lock on the cache's file, so that it can't be done
// before that.
func TestCtrlC(t *testing.T) {
	t.Parallel()
	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("%d.go", i)] = "package a\n"
	}
	folder, cacheFile := write(t, files), filepath.Join(t.TempDir(), "cache.db")
	_, _, code := output(t, "-cache", cacheFile, t.TempDir()) // makes the file
	require.Zero(t, code)
	db, err := sql.Open("sqlite", cacheFile)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)

	cmd := program(t, "-cache", cacheFile, folder)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return hasOpen(cmd.Process.Pid, cacheFile) }, 30*time.Second, time.Millisecond)
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	time.Sleep(300 * time.Millisecond) // until it knows
	_, err = conn.ExecContext(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	require.NoError(t, conn.Close())

	require.Error(t, cmd.Wait())
	require.Equal(t, 1, cmd.ProcessState.ExitCode(), stderr.String())
	require.Empty(t, stdout.String())
	match := regexp.MustCompile(`^sourcestats: interrupted: (\d+) of 300 files are done and kept, and the next run goes on from there\n$`).
		FindStringSubmatch(stderr.String())
	require.NotNil(t, match, stderr.String())
	require.NotEqual(t, "300", match[1])

	out, errs, code := output(t, "-cache", cacheFile, folder)
	require.Zero(t, code, errs)
	require.Contains(t, out, "\n"+match[1]+" of 300 files came from the cache.")
}

// hasOpen reports whether a process has a file open.
func hasOpen(pid int, path string) bool {
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	return slices.ContainsFunc(links, func(link string) bool {
		target, err := os.Readlink(link)
		return err == nil && target == path
	})
}
