package sqlitelru_test

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
