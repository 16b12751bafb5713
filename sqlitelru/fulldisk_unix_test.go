//go:build linux || darwin

package sqlitelru_test

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/goappcache/appcache/sqlitelru"
)

// A process whose files can't grow any more goes on with what it has, and works when they can again.
func TestFilesCantGrow(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cache.db")
	require.NoError(t, child(t, "full", path).Run())
	b := openFile(t, path, nil)
	require.NoError(t, sqlitelru.Check(b))
	verdict, err := sqlitelru.Query(b, "PRAGMA integrity_check")
	require.NoError(t, err)
	require.Equal(t, "ok", verdict)
	requireHit(t, b, "after", "value")
}

var _ = addJob("full", fullJob)

// fullJob uses the file at args[0] while the system lets no file of this process get longer than 300 KB.
func fullJob(ctx context.Context, args []string) error {
	b, err := sqlitelru.Open(args[0], nil)
	if err != nil {
		return err
	}
	if err := b.SetRaw(ctx, "before", []byte("value"), 0); err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	low := limit
	low.Cur = 300_000
	signal.Ignore(syscall.SIGXFSZ) // then it is an error of write
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &low); err != nil {
		return err
	}
	value := strings.Repeat("x", 10_000)
	var stored []string
	failed := 0
	for n := range 200 {
		key := strconv.Itoa(n)
		err := b.SetRaw(ctx, key, []byte(value), 0)
		var e *sqlite.Error
		switch {
		case err == nil:
			stored = append(stored, key)
		case errors.As(err, &e) && (e.Code()&0xff == 10 || e.Code()&0xff == 13): // SQLITE_IOERR, SQLITE_FULL
			failed++
		default:
			return fmt.Errorf("SetRaw: %w", err)
		}
	}
	if failed < 100 || len(stored) < 5 {
		return fmt.Errorf("%d values of 10 KB got into 300 KB, %d not", len(stored), failed)
	}
	hits := func() error {
		for _, key := range append(stored, "before") {
			if _, found, err := b.GetRaw(ctx, key); err != nil || !found {
				return fmt.Errorf("GetRaw(%q): %v, %w", key, found, err)
			}
		}
		return sqlitelru.Check(b)
	}
	if err := hits(); err != nil {
		return err
	}
	if _, err := sqlitelru.Open(args[0]+".other", nil); err != nil {
		return fmt.Errorf("a small file: %w", err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	if err := b.SetRaw(ctx, "after", []byte("value"), 0); err != nil {
		return err
	}
	return errors.Join(hits(), b.Close())
}
