package appcache_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/redis"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// addrEnv is the server that a process shares with the one that started it.
const addrEnv = "APPCACHE_TEST_REDIS"

// When a Generation was dropped no process reads what any of them had loaded before.
func TestDropsBetweenProcesses(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	require.NoError(t, err)
	addr := testserver.Redis(t).Addr
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestProcessThatDrops$", "-test.v")
	cmd.Env = append(os.Environ(), addrEnv+"="+addr)
	done := make(chan struct{})
	go func() {
		defer close(done)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}()
	dropAndRead(t, addr, 0)
	<-done
}

// TestProcessThatDrops is what the other process runs.
func TestProcessThatDrops(t *testing.T) {
	if addr := os.Getenv(addrEnv); addr != "" {
		dropAndRead(t, addr, 1)
	}
}

// dropAndRead has one goroutine make new versions of a value and drop the namespace that it is in, while others
// read it. The origin is in the same server.
func dropAndRead(t *testing.T, addr string, process int) {
	origin := goredis.NewClient(&goredis.Options{Addr: addr, DB: 1})
	client := goredis.NewClient(&goredis.Options{Addr: addr})
	t.Cleanup(func() {
		require.NoError(t, origin.Close())
		require.NoError(t, client.Close())
	})
	w := &world{dice: newDice(uint64(process)), unit: 50e3}
	cache := appcache.New[int](&shaky{redis.New(client), w}, nil)
	told := func(ctx context.Context) (newest int) {
		all, err := origin.MGet(ctx, "told 0", "told 1").Result()
		if err != nil {
			t.Error(err)
		}
		for _, v := range all {
			if s, ok := v.(string); ok {
				n, _ := strconv.Atoi(s)
				newest = max(newest, n)
			}
		}
		return newest
	}
	together(4, func(i int) {
		ctx := t.Context()
		for range 200 {
			if i == 0 {
				version, err := origin.Incr(ctx, "version").Result()
				if err == nil {
					err = cache.InvalidateNamespace(ctx, generation)
				}
				if err == nil {
					err = origin.Set(ctx, fmt.Sprint("told ", process), version, 0).Err()
				}
				if err != nil {
					t.Error(err)
				}
				continue
			}
			least := told(ctx)
			got, err := cache.GetVia(ctx, generationKey, 0, func(ctx context.Context) (int, error) {
				n, err := origin.Get(ctx, "version").Int()
				if errors.Is(err, goredis.Nil) {
					err = nil
				}
				_ = w.pause(ctx)
				return n, err
			})
			if err != nil || got < least {
				t.Errorf("version %d was read, of which %d was told before; %v", got, least, err)
			}
		}
	})
}
