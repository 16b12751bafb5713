package sqlitelru

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"weak"
)

const (
	// applicationID marks a file as one that Open has made (https://sqlite.org/pragma.html#pragma_application_id).
	applicationID = 0x61707063 // "appc"

	// version is that of the tables, in appcache_meta.
	version = 1

	memoryName = "appcache_memory"

	// All databases of a process share their page caches: the driver is built so. One that reads more than its own
	// takes pages from those that are idle, which may never get them back. With this a cache of up to 15 MiB does
	// not, and is read from memory.
	pageCache = "cache_size = -16384" // KiB, and not pages
)

const schema = `
CREATE TABLE appcache_meta (version INTEGER NOT NULL, slots INTEGER NOT NULL, entries INTEGER NOT NULL,
	bytes INTEGER NOT NULL, clock INTEGER NOT NULL);
INSERT INTO appcache_meta VALUES (1, 0, 0, 0, 0);
CREATE TABLE appcache_entries (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, expires INTEGER NOT NULL,
	due INTEGER, value BLOB NOT NULL);
CREATE INDEX appcache_due ON appcache_entries (due) WHERE due IS NOT NULL;
CREATE TABLE appcache_recency (block INTEGER PRIMARY KEY, used BLOB NOT NULL);
`

var (
	errTables  = errors.New("sqlitelru: the tables appcache_… contradict each other: they are damaged, or another program has written to them; Clear empties them")
	errForeign = errors.New("sqlitelru: the tables appcache_… aren't as they were made: they are damaged, or another program's; delete them, or the file")
)

// damaged says what can be done about a damaged file of ours.
func damaged(path string, err error) error {
	return fmt.Errorf("sqlitelru: the cache %q is damaged; it may be deleted, with -wal and -shm beside it, and is made anew then: %w", path, err)
}

// InMemoryDB returns the database, one for the process, that New(nil, …) keeps its entries in. Its name,
// appcache_memory, keeps it apart from other databases in memory. It is there for looking into it, and for
// tables of the caller's own; don't close it.
func InMemoryDB() *sql.DB {
	_, db := memory()
	return db
}

// memory makes the store of the database in memory, and the pool that InMemoryDB returns. The store has a
// connection of its own, which keeps the data: the pool may close all its connections at any time.
var memory = sync.OnceValues(func() (*store, *sql.DB) {
	// With vfs=memdb and a leading slash all connections share one database. cache=shared would too, but
	// has locks that no timeout ends.
	const dsn = "file:/" + memoryName + "?vfs=memdb"
	db, err := sql.Open("sqlite", dsn+"&_txlock=immediate&_pragma=busy_timeout(10000)")
	s := newStore()
	s.connect = func(ctx context.Context) (*ownConn, error) {
		c, err := dial(ctx, dsn)
		if err != nil {
			return nil, err
		}
		if err = exec(ctx, c, "PRAGMA "+pageCache); err == nil {
			err = s.makeTables(ctx, c, "")
		}
		if err != nil {
			_ = c.close()
			return nil, err
		}
		return c, nil
	}
	if err == nil {
		err = s.prepare(context.Background())
	}
	if err != nil {
		panic("sqlitelru: the database in memory: " + err.Error()) // the driver isn't there, or the memory is full
	}
	stores.Lock()
	defer stores.Unlock()
	stores.byDB[db] = weak.Make(s)
	return s, db
})

// fileStore returns the store of the file at path. It opens nothing yet.
func fileStore(path string) (*store, error) {
	if path == "" || path == ":memory:" || strings.HasPrefix(path, "file:") || strings.ContainsRune(path, 0) {
		return nil, fmt.Errorf("sqlitelru: Open(%q): write the path of a file, or New(nil, …) for a cache in memory", path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlitelru: Open: %w", err)
	}
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // a drive letter
	}
	uri := url.URL{Scheme: "file", Path: slashed, RawQuery: fmt.Sprintf("_error_rc=1&_pragma=busy_timeout(%d)", sqliteSleep.Milliseconds())}
	s := newStore()
	s.path = path
	s.connect = func(ctx context.Context) (*ownConn, error) {
		c, err := dial(ctx, uri.String())
		if err != nil {
			return nil, fmt.Errorf("sqlitelru: opening %q, which must be a file in a folder that is there: %w", path, err)
		}
		if err := s.makeFile(ctx, c); err != nil {
			_ = c.close()
			return nil, err
		}
		return c, nil
	}
	return s, nil
}

// makeFile makes an empty file a cache, checks that any other is one, and changes nothing in what isn't.
func (s *store) makeFile(ctx context.Context, c *ownConn) error {
	id, err := ints(c, "PRAGMA application_id")
	if code(err) == codeNotADB {
		return fmt.Errorf("sqlitelru: %q isn't a file of SQLite, and was left alone: %w", s.path, err)
	}
	if err == nil && id[0] != applicationID {
		if err = checkEmpty(c, s.path); err == nil {
			// Only an empty file can be set up so that freed space may be given back later.
			err = exec(ctx, c, "PRAGMA auto_vacuum = INCREMENTAL")
		}
	}
	if err == nil {
		err = s.setUp(ctx, c)
	}
	switch {
	case err == nil:
		return nil
	case code(err) == codeCorrupt && len(id) > 0 && id[0] == applicationID:
		return damaged(s.path, err)
	default:
		return fmt.Errorf("sqlitelru: opening %q: %w", s.path, err)
	}
}

// checkEmpty returns an error when there is something in a database that isn't marked as ours. It looks
// at all of that in one snapshot, for another process may be making it a cache right now.
func checkEmpty(c *ownConn, path string) error {
	// SQLite takes a file of one byte for an empty one, since it writes an S into one where a file system needs that.
	if info, err := os.Stat(path); err == nil && info.Size() == 1 {
		if content, err := os.ReadFile(path); err != nil || string(content) != "S" {
			return errors.New("this isn't a file of SQLite, and was left alone")
		}
	}
	row, err := ints(c, "SELECT (SELECT count(*) FROM sqlite_schema), user_version, application_id FROM pragma_user_version, pragma_application_id")
	if err == nil && row[2] != applicationID && (row[0] != 0 || row[1] != 0 || row[2] != 0) {
		err = errors.New("this database is another program's, and was left alone: choose another path")
	}
	return err
}

// setUp sets up a connection to a file that is empty or ours.
func (s *store) setUp(ctx context.Context, c *ownConn) error {
	if readOnly, err := c.driver.IsReadOnly("main"); readOnly || err != nil {
		return errors.Join(errors.New("the file is read-only, and a cache writes also when it is read"), err)
	}
	// wal_autocheckpoint bounds how often a COMMIT has to copy the WAL into the file.
	for _, pragma := range []string{"journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 8000", pageCache} {
		if err := exec(ctx, c, "PRAGMA "+pragma); err != nil {
			return err
		}
	}
	return s.makeTables(ctx, c, fmt.Sprintf("PRAGMA application_id = %d", applicationID))
}

// makeTables makes the tables, and runs more with it, when they aren't there. It checks their version, and
// sets the clock.
func (s *store) makeTables(ctx context.Context, c conn, more string) error {
	const tables = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('appcache_meta', 'appcache_entries', 'appcache_recency')"
	row, err := ints(c, tables)
	if err == nil && row[0] == 0 {
		// Where another process makes them in the meantime this fails, and they are there all the same.
		failed := c.script(ctx, schema+more)
		if row, err = ints(c, tables); err == nil && row[0] == 0 {
			err = failed
		}
	}
	if err != nil {
		return err
	}
	there := row[0]
	row, err = ints(c, "SELECT version, clock FROM appcache_meta")
	switch {
	case errors.Is(err, errTables), err == nil && row == nil, code(err) == codeError:
		return errForeign
	case err != nil:
		return err
	case row[0] != version:
		return fmt.Errorf("sqlitelru: the tables are of version %d, and this program knows version %d: delete them or use another database", row[0], version)
	case there != 3:
		return errForeign
	}
	s.catchUp(row[1])
	return nil
}
