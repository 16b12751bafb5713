package sqlitelru_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

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
	os.Exit(m.Run())
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

	// store: stores "1", "2" and so on in the file at args[0], and says so after each, until it is killed.
	"store": func(ctx context.Context, args []string) error {
		b, err := sqlitelru.Open(args[0], nil)
		if err != nil {
			return err
		}
		begin, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		out := bufio.NewWriter(os.Stdout)
		for n := begin; ; n++ {
			key := strconv.Itoa(n)
			if err := b.SetRaw(ctx, key, []byte(strings.Repeat(key+" ", n%500)), 0); err != nil {
				return err
			}
			if _, _, err := b.GetRaw(ctx, strconv.Itoa(1+rand.IntN(n))); err != nil {
				return err
			}
			_, _ = fmt.Fprintln(out, n)
			if err := out.Flush(); err != nil {
				return err
			}
		}
	},
}
