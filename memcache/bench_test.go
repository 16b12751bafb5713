package memcache_test

import (
	"context"
	"slices"
	"testing"
	"time"

	gomemcache "github.com/bradfitz/gomemcache/memcache"
	"github.com/stretchr/testify/require"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/internal/testserver"
	"github.com/goappcache/appcache/memcache"
)

// BenchmarkBackend compares the backends with the client alone, for a value of 1 KiB. They take
// turns, so that whatever else the machine does hits them all. The numbers are the medians of the
// time that New and Open take, relative to that of the bare client; 1.00 is no difference.
func BenchmarkBackend(b *testing.B) {
	server := testserver.Memcached(b)
	c := client(b, server.Addr)
	value := make([]byte, 1024)
	require.NoError(b, c.Set(&gomemcache.Item{Key: "k", Value: value}))
	own := open(b, server.Addr)
	cancellable, cancel := context.WithCancel(b.Context())
	defer cancel()

	get := func(ctx context.Context, backend appcache.RawBackend) func() error {
		return func() error {
			_, _, err := backend.GetRaw(ctx, "k")
			return err
		}
	}
	set := func(ctx context.Context, backend appcache.RawBackend) func() error {
		return func() error { return backend.SetRaw(ctx, "k", value, time.Minute) }
	}
	background := context.Background()
	for _, bench := range []struct {
		name       string
		candidates []candidate
	}{
		{"Get", []candidate{
			{"bare", func() error {
				_, err := c.Get("k")
				return err
			}},
			{"New", get(background, memcache.New(c, nil))},
			{"Open", get(background, own)},
			{"Open-cancellable", get(cancellable, own)},
		}},
		{"Set", []candidate{
			{"bare", func() error { return c.Set(&gomemcache.Item{Key: "k", Value: value, Expiration: 60}) }},
			{"New", set(background, memcache.New(c, nil))},
			{"Open", set(background, own)},
			{"Open-cancellable", set(cancellable, own)},
		}},
	} {
		b.Run(bench.name, func(b *testing.B) { compare(b, bench.candidates) })
	}
}

type candidate struct {
	name string
	run  func() error
}

// compare runs the candidates in turns and reports the ratio of each median to the first one's.
func compare(b *testing.B, candidates []candidate) {
	times := make([][]time.Duration, len(candidates))
	for n := 0; b.Loop(); n++ {
		for i := range candidates {
			i := (i + n) % len(candidates) // none always goes first
			begin := time.Now()
			err := candidates[i].run()
			times[i] = append(times[i], time.Since(begin))
			require.NoError(b, err)
		}
	}
	median := func(i int) float64 {
		slices.Sort(times[i])
		return float64(times[i][len(times[i])/2])
	}
	for i := 1; i < len(candidates); i++ {
		b.ReportMetric(median(i)/median(0), candidates[i].name+"/"+candidates[0].name)
	}
	b.ReportMetric(0, "ns/op") // of all of them together: it says nothing
}
