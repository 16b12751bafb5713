package redis_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/redis"
)

// BenchmarkBackend compares each method with what it calls of the client, by the medians. The calls
// take turns, so that whatever else the machine does slows down both: backend/bare is the number to
// look at. An operation is one call of each.
func BenchmarkBackend(b *testing.B) {
	client := newClient(b, testserver.Redis(b).Addr)
	backend := redis.New(client)
	key := strings.Repeat("k", 20)
	for _, size := range []int{100, 10_000} {
		value := bytes.Repeat([]byte("v"), size)
		for _, bm := range []struct {
			name          string
			bare, backend func(ctx context.Context) error
		}{
			{
				"get",
				func(ctx context.Context) error { _, err := client.Get(ctx, key).Bytes(); return err },
				func(ctx context.Context) error { _, _, err := backend.GetRaw(ctx, key); return err },
			},
			{
				"miss",
				func(ctx context.Context) error {
					if _, err := client.Get(ctx, "absent").Bytes(); !errors.Is(err, goredis.Nil) {
						return err
					}
					return nil
				},
				func(ctx context.Context) error { _, _, err := backend.GetRaw(ctx, "absent"); return err },
			},
			{
				"set",
				func(ctx context.Context) error { return client.Set(ctx, key, value, time.Minute).Err() },
				func(ctx context.Context) error { return backend.SetRaw(ctx, key, value, time.Minute) },
			},
			{
				"invalidate",
				func(ctx context.Context) error { return client.Del(ctx, "absent").Err() },
				func(ctx context.Context) error { return backend.InvalidateRaw(ctx, "absent") },
			},
		} {
			b.Run(fmt.Sprintf("%s/%d", bm.name, size), func(b *testing.B) {
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				if err := client.Set(ctx, key, value, 0).Err(); err != nil {
					b.Fatal(err)
				}
				timed := func(call func(context.Context) error) time.Duration {
					begin := time.Now()
					if err := call(ctx); err != nil {
						b.Fatal(err)
					}
					return time.Since(begin)
				}
				var bare, backend []time.Duration
				for b.Loop() {
					if rand.IntN(2) == 0 {
						bare = append(bare, timed(bm.bare))
						backend = append(backend, timed(bm.backend))
					} else {
						backend = append(backend, timed(bm.backend))
						bare = append(bare, timed(bm.bare))
					}
				}
				slices.Sort(bare)
				slices.Sort(backend)
				middle := len(bare) / 2
				b.ReportMetric(float64(bare[middle]), "bare-ns/op")
				b.ReportMetric(float64(backend[middle]), "backend-ns/op")
				b.ReportMetric(float64(backend[middle])/float64(bare[middle]), "backend/bare")
			})
		}
	}
}
