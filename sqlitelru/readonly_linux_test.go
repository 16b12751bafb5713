package sqlitelru_test

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache/sqlitelru"
)

// Root may write to what is read-only, and so this test opens files as somebody else.
func asNobody(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	const nobody = 65534
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	setfsuid := func(uid uintptr) {
		_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, uid, 0, 0) // of this thread; it returns the old one
	}
	setfsuid(nobody)
	defer setfsuid(0)
	f()
}

func TestReadOnlyFile(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "sqlitelru") //nolint:usetesting // t.TempDir's parent is closed to others
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	path := filepath.Join(dir, "cache.db")
	b, err := sqlitelru.Open(path, nil)
	require.NoError(t, err)
	set(t, b, "key", "value")
	require.NoError(t, b.Close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(path, 0o444))

	for _, mode := range []os.FileMode{0o777, 0o555} { // of the folder
		require.NoError(t, os.Chmod(dir, mode))
		asNobody(t, func() { _, err = sqlitelru.Open(path, nil) })
		require.ErrorContains(t, err, path)
		if mode == 0o777 {
			require.ErrorContains(t, err, "read-only")
		}
	}
	asNobody(t, func() { _, err = sqlitelru.Open(filepath.Join(dir, "new.db"), nil) })
	requireCode(t, 14, err) // SQLITE_CANTOPEN
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NoError(t, os.Chmod(dir, 0o700))
}
