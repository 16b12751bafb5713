package sqlitelru_test

import (
	"bufio"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/sqlitelru"
)

// childEnv names what TestMain is to do as a process of its own, instead of running tests.
const childEnv = "SQLITELRU_TEST_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		if err := childJobs[job](context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	sqlitelru.InMemoryDB() // is never closed
	os.Exit(testserver.Main(m, nil))
}

// child returns the command that runs a job in another process.
func child(t testing.TB, job string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), childEnv+"="+job)
	cmd.Stderr = os.Stderr
	return cmd
}

const sharedLimit = 40

var childJobs = map[string]func(ctx context.Context, args []string) error{
	// share: uses the file at args[0] together with others, args[1] times.
	"share": func(ctx context.Context, args []string) error {
		b, err := sqlitelru.Open(args[0], &sqlitelru.Options{MaxSize: sharedLimit})
		if err != nil {
			return err
		}
		ops, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		for range ops {
			key := fmt.Sprint("key ", rand.IntN(2*sharedLimit))
			if rand.IntN(2) == 0 {
				if err := b.SetRaw(ctx, key, []byte(key+strings.Repeat(".", rand.IntN(2000))), 0); err != nil {
					return fmt.Errorf("SetRaw: %w", err)
				}
				continue
			}
			value, found, err := b.GetRaw(ctx, key)
			if err != nil {
				return fmt.Errorf("GetRaw: %w", err)
			}
			if found && strings.TrimRight(string(value), ".") != key {
				return fmt.Errorf("GetRaw(%q) returned %q", key, value)
			}
		}
		return b.Close()
	},

	// store: stores entries under args[1] and 1, 2 and so on in the file at args[0], and says so after
	// each, until it is killed. From time to time it has the WAL copied into the file.
	"store": func(ctx context.Context, args []string) error {
		path, name := args[0], args[1]
		b, err := sqlitelru.Open(path, &sqlitelru.Options{MaxSize: killedLimit})
		if err != nil {
			return err
		}
		begin, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		for n := begin; ; n++ {
			if err := b.SetRaw(ctx, name+strconv.Itoa(n), []byte(killedValue(name, n)), 0); err != nil {
				return err
			}
			if err := b.SetRaw(ctx, name, []byte(strconv.Itoa(n)), 0); err != nil {
				return err
			}
			fmt.Println(n)
			if n%32 == 0 {
				if _, err := sqlitelru.Query(b, "PRAGMA wal_checkpoint"); err != nil {
					return err
				}
			}
		}
	},

	// pages: has a caller's database of 1 MB in the folder args[0] and then a cache of 5 MB, in memory or where args[1]
	// says, reads both, and prints how many pages are missing from memory when they are read again.
	"pages": func(ctx context.Context, args []string) error {
		db, err := sql.Open("sqlite", args[0]+"/callers.db")
		if err != nil {
			return err
		}
		db.SetMaxOpenConns(1)
		if _, err := db.ExecContext(ctx, `CREATE TABLE callers (value BLOB); WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1
			FROM n WHERE id < 1000) INSERT INTO callers SELECT zeroblob(1000) FROM n`); err != nil {
			return err
		}
		b, err := sqlitelru.New(nil, nil)
		if args[1] != "" {
			b, err = sqlitelru.Open(args[1], nil)
		}
		if err != nil {
			return err
		}
		for i := range 5000 {
			if err := b.SetRaw(ctx, fmt.Sprint(i), make([]byte, 1000), 0); err != nil {
				return err
			}
		}
		read := func() error {
			for i := range 5000 {
				if _, found, err := b.GetRaw(ctx, fmt.Sprint(i)); !found || err != nil {
					return fmt.Errorf("entry %d: %w", i, cmp.Or(err, errors.New("a miss")))
				}
			}
			var sum int64
			return db.QueryRowContext(ctx, "SELECT sum(length(value)) FROM callers WHERE value <> 'x'").Scan(&sum)
		}
		var own, callers [2]int
		for i := range 2 {
			if err := read(); err != nil {
				return err
			}
			if own[i], err = sqlitelru.Status(b, sqlite.DBStatusCacheMiss); err != nil {
				return err
			}
			conn, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			if err := errors.Join(conn.Raw(func(c any) error {
				callers[i], _, err = c.(sqlite.DBStatus).Status(sqlite.DBStatusCacheMiss, false)
				return err
			}), conn.Close()); err != nil {
				return err
			}
		}
		_, err = fmt.Println(own[1]-own[0], callers[1]-callers[0])
		return err
	},

	// lock: begins a transaction on the file at args[0], writes a lot in it, says so, and waits to be killed.
	"lock": func(ctx context.Context, args []string) error {
		db, err := sql.Open("sqlite", args[0]+"?_txlock=immediate&_pragma=cache_size(10)")
		if err != nil {
			return err
		}
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		// More than the cache takes, so that it gets into the WAL.
		if _, err := tx.ExecContext(ctx, "UPDATE appcache_entries SET value = zeroblob(50000); UPDATE appcache_meta SET entries = 1000"); err != nil {
			return err
		}
		fmt.Println("locked")
		_, err = bufio.NewReader(os.Stdin).ReadByte() // which nobody sends
		return err
	},
}

// addJob is for jobs that not every system can do.
func addJob(name string, job func(ctx context.Context, args []string) error) bool {
	childJobs[name] = job
	return true
}

const killedLimit = 200

// killedValue is what the job "store" stores, which may be short, long, or take many pages.
func killedValue(name string, n int) string {
	times := n * 31 % 1500
	if n%8 == 0 {
		times *= 50
	}
	return strings.Repeat(name+strconv.Itoa(n)+" ", times)
}
