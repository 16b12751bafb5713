package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"
)

// Files is a store that keeps each entry in a file of one folder. It is safe for concurrent use, on
// Unix also by several processes: the worst that one can do to another is to remove, as expired, an
// entry that the other replaced at that moment, which is then a miss. Nothing bounds the folder's
// size: call Sweep now and then. A power cut may cost entries, for files aren't synced to the disk.
type Files struct {
	dir string

	// Held shared to put a file in its place, and alone to remove one that has expired, so that no
	// entry is replaced between the look at its expiry and its removal.
	removal sync.RWMutex
}

// NewFiles returns the store in the folder dir, which is made when the first entry is stored.
func NewFiles(dir string) *Files { return &Files{dir: dir} }

// A file begins with the time at which its entry expires, in 8 bytes: Unix time in ns, big-endian.
// Then come the key and the value.
const headerSize = 8

// path returns the name of key's file. It is a hash because no file system takes every key.
func (f *Files) path(key string) string {
	return filepath.Join(f.dir, fmt.Sprintf("%x.entry", sha256.Sum256([]byte(key))))
}

var isEntry = regexp.MustCompile(`^[0-9a-f]{64}\.entry$`).MatchString

// GetRaw reads the file of key. One that is damaged, or another key's, is a miss.
func (f *Files) GetRaw(ctx context.Context, key string) (value []byte, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	data, err := os.ReadFile(f.path(key))
	if err != nil {
		return nil, false, ignoreAbsent(err)
	}
	if expired(data) {
		_ = f.removeExpired(f.path(key)) // a miss, whether or not its room can be given back
		return nil, false, nil
	}
	if value, found = bytes.CutPrefix(data[headerSize:], []byte(key)); found {
		return value, true, nil
	}
	return nil, false, nil
}

// SetRaw writes a new file and renames it: whoever reads finds the old entry or the new one, whole.
func (f *Files) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	expires := int64(math.MaxInt64) // the year 2262: never
	if now := time.Now().UnixNano(); ttl > 0 && int64(ttl) < expires-now {
		expires = now + int64(ttl)
	}
	data := binary.BigEndian.AppendUint64(nil, uint64(expires))
	data = append(append(data, key...), value...)

	// Each time, for whoever removed the folder meant to empty the cache and not to end it.
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(f.dir, "*.entry.tmp")
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Close()); err == nil {
		f.removal.RLock()
		err = os.Rename(file.Name(), f.path(key))
		f.removal.RUnlock()
	}
	if err != nil {
		_ = os.Remove(file.Name())
	}
	return err
}

// InvalidateRaw removes the file of key.
func (f *Files) InvalidateRaw(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return ignoreAbsent(os.Remove(f.path(key)))
}

// Clear removes every entry in the folder, whatever program stored it, and no other file.
func (f *Files) Clear(ctx context.Context) error { return f.forEach(ctx, os.Remove) }

// Sweep removes the entries that have expired. Those that nobody looks up again stay until then.
func (f *Files) Sweep(ctx context.Context) error { return f.forEach(ctx, f.removeExpired) }

func (f *Files) forEach(ctx context.Context, do func(path string) error) error {
	files, err := os.ReadDir(f.dir)
	if err = errors.Join(ctx.Err(), ignoreAbsent(err)); err != nil {
		return err
	}
	for _, file := range files {
		if !isEntry(file.Name()) {
			continue
		}
		if err = errors.Join(ctx.Err(), ignoreAbsent(do(filepath.Join(f.dir, file.Name())))); err != nil {
			return err
		}
	}
	return nil
}

// removeExpired removes the file at path if its entry is over.
func (f *Files) removeExpired(path string) error {
	f.removal.Lock()
	defer f.removal.Unlock()
	data, err := os.ReadFile(path) // again, for it may be a newer one
	if err != nil || !expired(data) {
		return err
	}
	return os.Remove(path)
}

// expired reports whether the entry in a file is over, or was never whole.
func expired(data []byte) bool {
	return len(data) < headerSize || int64(binary.BigEndian.Uint64(data)) <= time.Now().UnixNano()
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
