package peers_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/goappcache/appcache"
	"github.com/goappcache/appcache/benchmarks/internal/report"
	"github.com/goappcache/appcache/benchmarks/peers"
	"github.com/goappcache/appcache/cachetest"
	"github.com/goappcache/appcache/internal/testserver"
)

var (
	write = flag.String("write", "", "write what was measured into docs/, as measured by this command")

	measured report.Report
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *write == "" {
		os.Exit(testserver.Main(m, nil))
	}
	os.Exit(report.RunAndWrite(m, machine, writeDocs))
}

// turn is how long a candidate runs until it is the next one's turn.
const turn = 10 * time.Millisecond

var goroutines = []int{1, 8, 64}

var errLoaded = errors.New("the value isn't in the cache")

// measure measures the candidates that aren't nil.
func measure(b *testing.B, name string, goroutines int, candidates ...*report.Candidate) {
	b.Helper()
	g := report.Group{Name: name, Goroutines: goroutines, Batch: turn}
	for _, c := range candidates {
		if c != nil {
			g.Candidates = append(g.Candidates, *c)
		}
	}
	b.Run(name, func(b *testing.B) { measured.Measure(b, g) })
}

// operation makes of a peer what is measured, or nil where it can't do that.
type operation[V any] struct {
	name string
	of   func(ctx context.Context, p peers.Peer[V], keys []string, value V) func() error
}

func operations[V any]() []operation[V] {
	random := func(keys []string) string { return keys[rand.IntN(len(keys))] }
	hit := func(ctx context.Context, p peers.Peer[V], keys []string, _ V) func() error {
		if p.Get == nil {
			return nil
		}
		return func() error { _, err := p.Get(ctx, random(keys)); return err }
	}
	return []operation[V]{
		{"hit", hit},
		{"miss", func(ctx context.Context, p peers.Peer[V], keys []string, _ V) func() error {
			if p.Get == nil {
				return nil
			}
			missing := make([]string, len(keys))
			for i, key := range keys {
				missing[i] = key[:len(key)-1] + "!" // as long
			}
			return func() error {
				if _, err := p.Get(ctx, random(missing)); !errors.Is(err, peers.ErrMiss) {
					return fmt.Errorf("a hit: %w", err)
				}
				return nil
			}
		}},
		{"set", func(ctx context.Context, p peers.Peer[V], keys []string, value V) func() error {
			if p.Set == nil {
				return nil
			}
			return func() error { return p.Set(ctx, random(keys), value) }
		}},
		{"read-through hit", func(ctx context.Context, p peers.Peer[V], keys []string, _ V) func() error {
			load := func(context.Context) (V, error) { return *new(V), errLoaded }
			return func() error { _, err := p.Via(ctx, random(keys), load); return err }
		}},
		{"hit, cancellable context", func(ctx context.Context, p peers.Peer[V], keys []string, value V) func() error {
			ctx, cancel := context.WithCancel(ctx)
			_ = cancel // when the process ends
			return hit(ctx, p, keys, value)
		}},
	}
}

// benchStore measures what the peers of a store do with a value, by the given operations.
func benchStore[V any](b *testing.B, store string, list []peers.Peer[V], kind string, value V, only ...string) {
	b.Helper()
	ctx := context.Background()
	for _, op := range operations[V]() {
		if len(only) > 0 && !slices.Contains(only, op.name) {
			continue
		}
		candidates := make([]*report.Candidate, len(list))
		for i, p := range list {
			keys := make([]string, 64)
			for k := range keys {
				keys[k] = fmt.Sprintf("bench/%s/%d/%02d", strings.ReplaceAll(kind, " ", "-"), i, k)
				if p.Via == nil || p.Set != nil {
					require.NoError(b, p.Set(ctx, keys[k], value))
					continue
				}
				_, err := p.Via(ctx, keys[k], func(context.Context) (V, error) { return value, nil })
				require.NoError(b, err)
			}
			if run := op.of(ctx, p, keys, value); run != nil {
				candidates[i] = &report.Candidate{Name: p.Name, Run: run}
			}
		}
		for _, n := range goroutines {
			measure(b, rowName(store, kind, op.name, n), n, candidates...)
		}
	}
}

func rowName(store, kind, op string, goroutines int) string {
	return store + "/" + kind + "/" + op + "/" + strconv.Itoa(goroutines)
}

// With -short these are measured, of bytes and of the struct.
var (
	shortBytes  = []string{"hit", "set"}
	shortStruct = []string{"hit", "set", "read-through hit"}
)

const shortKind = "struct"

// stores are those of the tables. The in-process ones are beside Redis, in read-through.
var stores = []string{"redis", "memcached"}

// kinds are the values.
var kinds = []string{"1 KiB", "1 KiB, compressed", shortKind, shortKind + ", compressed", "100 structs", "100 structs, compressed"}

func BenchmarkStores(b *testing.B) {
	s := start(b)
	if testing.Short() {
		benchStore(b, "redis", redisPeers[[]byte](b, s, false), kinds[0], kibibyte(), shortBytes...)
		benchStore(b, "redis", redisPeers[Account](b, s, false), shortKind, account(0), shortStruct...)
		benchStore(b, "memcached", memcachedPeers[[]byte](s, false), kinds[0], kibibyte(), shortBytes...)
		benchStore(b, "memcached", memcachedPeers[Account](s, false), shortKind, account(0), shortStruct...)
		return
	}
	for i, compress := range []bool{false, true} {
		benchStore(b, "redis", append(redisPeers[[]byte](b, s, compress), inProcess[[]byte](compress)...), kinds[0+i], kibibyte())
		benchStore(b, "redis", append(redisPeers[Account](b, s, compress), inProcess[Account](compress)...), kinds[2+i], account(0))
		benchStore(b, "redis", append(redisPeers[[]Account](b, s, compress), inProcess[[]Account](compress)...), kinds[4+i], accounts())
		benchStore(b, "memcached", memcachedPeers[[]byte](s, compress), kinds[0+i], kibibyte())
		benchStore(b, "memcached", memcachedPeers[Account](s, compress), kinds[2+i], account(0))
		benchStore(b, "memcached", memcachedPeers[[]Account](s, compress), kinds[4+i], accounts())
	}
}

// inProcess returns the caches in the memory of the process, which don't compress.
func inProcess[V any](compress bool) []peers.Peer[V] {
	if compress {
		return nil
	}
	return peers.InProcess[V]()
}

// In a storm 64 goroutines ask for one key that isn't there, and its load takes a millisecond.
const (
	stormCallers = 64
	stormLoad    = time.Millisecond
)

// storms counts the storms of each peer, and the loads in them.
var storms = map[string]*struct{ storms, loads atomic.Int64 }{}

func BenchmarkStorm(b *testing.B) {
	if testing.Short() {
		b.Skip("not in the short form")
	}
	s := start(b)
	var candidates []*report.Candidate
	for i, p := range append(redisPeers[Account](b, s, false), peers.InProcess[Account]()...) {
		if p.Name == again {
			continue
		}
		if storms[p.Name] == nil {
			storms[p.Name] = new(struct{ storms, loads atomic.Int64 })
		}
		count := storms[p.Name]
		load := func(context.Context) (Account, error) {
			count.loads.Add(1)
			time.Sleep(stormLoad)
			return account(0), nil
		}
		candidates = append(candidates, &report.Candidate{Name: p.Name, Run: func() error {
			key := fmt.Sprintf("storm/%d/%d", i, count.storms.Add(1))
			errs := make([]error, stormCallers)
			var wg sync.WaitGroup
			for j := range errs {
				wg.Go(func() { _, errs[j] = p.Via(context.Background(), key, load) })
			}
			wg.Wait()
			return errors.Join(errs...)
		}})
	}
	measure(b, "storm", 1, candidates...)
}

// frontEnd are the groups of BenchmarkFrontEnd: what the front end adds, over a backend in memory so that
// nothing hides it.
var frontEnd = []string{"1 KiB, hit", "struct, hit", "struct, set", "options", "read-through hit", "read-through hit, 64 goroutines"}

func BenchmarkFrontEnd(b *testing.B) {
	ctx := context.Background()
	backend := cachetest.NewMemory()
	client := peers.Client{
		Get: func(ctx context.Context, key string) ([]byte, error) {
			data, found, err := backend.GetRaw(ctx, key)
			if err == nil && !found {
				err = peers.ErrMiss
			}
			return data, err
		},
		Set: func(ctx context.Context, key string, value []byte) error {
			return backend.SetRaw(ctx, key, value, peers.TTL)
		},
	}
	const key = "bench/front-end"
	raw, rawCache := peers.Bare[[]byte]("backend", client, false), peers.Appcache[[]byte]("appcache", backend, false)
	require.NoError(b, raw.Set(ctx, key, kibibyte()))
	require.NoError(b, rawCache.Set(ctx, key, kibibyte()))
	measure(b, frontEnd[0], 1,
		&report.Candidate{Name: "backend", Run: func() error { _, err := raw.Get(ctx, key); return err }},
		&report.Candidate{Name: "appcache", Run: func() error { _, err := rawCache.Get(ctx, key); return err }})

	const structKey = "bench/front-end/struct"
	value := account(0)
	bare, cache := peers.Bare[Account]("backend", client, false), peers.Appcache[Account]("appcache", backend, false)
	require.NoError(b, bare.Set(ctx, structKey, value))
	require.NoError(b, cache.Set(ctx, structKey, value))
	measure(b, frontEnd[1], 1,
		&report.Candidate{Name: "backend", Run: func() error { _, err := bare.Get(ctx, structKey); return err }},
		&report.Candidate{Name: "appcache", Run: func() error { _, err := cache.Get(ctx, structKey); return err }})
	measure(b, frontEnd[2], 1,
		&report.Candidate{Name: "backend", Run: func() error { return bare.Set(ctx, structKey, value) }},
		&report.Candidate{Name: "appcache", Run: func() error { return cache.Set(ctx, structKey, value) }})
	benchOptions(b, backend)
	benchVia(b, frontEnd[4], 1)
	benchVia(b, frontEnd[5], 64)
}

// benchOptions measures what the options of a cache, and namespaces, add to a Get of 1 KiB.
func benchOptions(b *testing.B, backend appcache.RawBackend) {
	b.Helper()
	ctx := context.Background()
	cancellable, cancel := context.WithCancel(ctx)
	defer cancel()
	get := func(name string, ctx context.Context, opts *appcache.Options, key appcache.Key[[]byte]) *report.Candidate {
		cache := appcache.New[[]byte](backend, opts)
		require.NoError(b, cache.Set(ctx, key, kibibyte(), peers.TTL))
		return &report.Candidate{Name: name, Run: func() error {
			_, found, err := cache.Get(ctx, key)
			if err == nil && !found {
				err = peers.ErrMiss
			}
			return err
		}}
	}
	const plain = appcache.StringKey[[]byte]("bench/options")
	measure(b, frontEnd[3], 1,
		get("Get", ctx, nil, plain),
		get("cancellable context", cancellable, nil, plain),
		get("Timeout", ctx, &appcache.Options{Timeout: time.Second}, plain),
		get("Observe", ctx, &appcache.Options{Observe: func(context.Context, appcache.Event) {}}, plain),
		get("StaleFor, EarlyRefresh", ctx, &appcache.Options{Prefix: "policies", StaleFor: time.Hour, EarlyRefresh: 1}, plain),
		get("key of segments", ctx, nil, segments{}),
		get("key in a Generation", ctx, nil, inGeneration{}))
}

// benchVia measures what a hit costs GetVia more than Get. Each goroutine has any of as many keys.
func benchVia(b *testing.B, name string, goroutines int) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background()) // as requests have one
	defer cancel()
	keys := make([]appcache.StringKey[[]byte], goroutines)
	for i := range keys {
		keys[i] = appcache.StringKey[[]byte](fmt.Sprint("bench/via/", i))
	}
	var candidates []*report.Candidate
	for _, c := range []struct {
		name string
		opts appcache.Options
	}{
		{"", appcache.Options{}},
		{", Timeout", appcache.Options{Timeout: time.Second}},
		{", StaleFor, EarlyRefresh", appcache.Options{StaleFor: time.Hour, EarlyRefresh: 1}},
	} {
		cache := appcache.New[[]byte](cachetest.NewMemory(), &c.opts)
		for _, key := range keys {
			require.NoError(b, cache.Set(ctx, key, make([]byte, 100), peers.TTL))
		}
		load := func(context.Context) ([]byte, error) { return nil, errLoaded }
		candidates = append(candidates,
			&report.Candidate{Name: "Get" + c.name, Run: func() error {
				_, _, err := cache.Get(ctx, keys[rand.IntN(goroutines)])
				return err
			}},
			&report.Candidate{Name: "GetVia" + c.name, Run: func() error {
				_, err := cache.GetVia(ctx, keys[rand.IntN(goroutines)], peers.TTL, load)
				return err
			}})
	}
	measure(b, name, goroutines, candidates...)
}

type segments struct{ appcache.BaseKey[[]byte] }

func (segments) CacheKeySegments() []string { return []string{"bench", "options"} }

type inGeneration struct{ segments }

func (inGeneration) NamespaceKey() appcache.NamespaceKey {
	return appcache.Generation("bench/generation")
}

// codecs are measured with a struct and with 100, and their sizes kept.
var (
	codecs = []struct {
		name string
		appcache.Serialiser
	}{
		{"CBOR", appcache.CBOR{}}, {"CBOR, Portable", appcache.CBOR{Portable: true}}, {"JSON", appcache.JSON{}}, {"Gob", appcache.Gob{}},
		{"msgpack", mpack{}},
	}
	codecRows = []string{"struct", "100 structs"}
	sizes     = map[string]int{} // of what was encoded or compressed
)

type mpack struct{}

func (mpack) Marshal(v any) ([]byte, error)      { return msgpack.Marshal(v) }
func (mpack) Unmarshal(data []byte, v any) error { return msgpack.Unmarshal(data, v) }

func BenchmarkCodecs(b *testing.B) {
	if testing.Short() {
		b.Skip("not in the short form")
	}
	one, many := account(0), accounts()
	benchCodecs(b, codecRows[0], &one, func() any { return new(Account) })
	benchCodecs(b, codecRows[1], &many, func() any { return new([]Account) })
}

func benchCodecs(b *testing.B, row string, value any, empty func() any) {
	b.Helper()
	var encode, decode []*report.Candidate
	for _, c := range codecs {
		data, err := c.Marshal(value)
		require.NoError(b, err)
		sizes[row+"/"+c.name] = len(data)
		encode = append(encode, &report.Candidate{Name: c.name, Run: func() error { _, err := c.Marshal(value); return err }})
		decode = append(decode, &report.Candidate{Name: c.name, Run: func() error { return c.Unmarshal(data, empty()) }})
	}
	measure(b, row+"/encode", 1, encode...)
	measure(b, row+"/decode", 1, decode...)
}

type compressor interface {
	Compress(data []byte) ([]byte, error)
	Decompress(data []byte) ([]byte, error)
}

// stdGzip is the standard library's, with its writers kept, as the library keeps its own.
type stdGzip struct{ writers *sync.Pool }

func (z stdGzip) Compress(data []byte) ([]byte, error) {
	w := z.writers.Get().(*gzip.Writer)
	defer z.writers.Put(w)
	var out bytes.Buffer
	w.Reset(&out)
	_, err := w.Write(data)
	err = errors.Join(err, w.Close())
	return out.Bytes(), err
}

func (stdGzip) Decompress(data []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

type zstandard struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

func (z zstandard) Compress(data []byte) ([]byte, error)   { return z.encoder.EncodeAll(data, nil), nil }
func (z zstandard) Decompress(data []byte) ([]byte, error) { return z.decoder.DecodeAll(data, nil) }

type snappy struct{}

func (snappy) Compress(data []byte) ([]byte, error)   { return s2.Encode(nil, data), nil }
func (snappy) Decompress(data []byte) ([]byte, error) { return s2.Decode(nil, data) }

var (
	compressors    = []string{"Gzip", "standard library, level 5", "zstd", "s2"}
	compressorRows = []string{"1 KiB", "struct as JSON", "100 structs as JSON"}
)

func BenchmarkCompressors(b *testing.B) {
	if testing.Short() {
		b.Skip("not in the short form")
	}
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	require.NoError(b, err)
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	require.NoError(b, err)
	all := []compressor{
		appcache.Gzip{},
		stdGzip{&sync.Pool{New: func() any { w, _ := gzip.NewWriterLevel(nil, 5); return w }}},
		zstandard{encoder, decoder},
		snappy{},
	}
	one, err := json.Marshal(account(0))
	require.NoError(b, err)
	many, err := json.Marshal(accounts())
	require.NoError(b, err)
	for i, data := range [][]byte{kibibyte(), one, many} {
		var compress, decompress []*report.Candidate
		for j, c := range all {
			compressed, err := c.Compress(data)
			require.NoError(b, err)
			back, err := c.Decompress(compressed)
			require.NoError(b, err)
			require.Equal(b, data, back)
			sizes[compressorRows[i]+"/"+compressors[j]] = len(compressed)
			compress = append(compress, &report.Candidate{Name: compressors[j], Run: func() error { _, err := c.Compress(data); return err }})
			decompress = append(decompress, &report.Candidate{Name: compressors[j], Run: func() error { _, err := c.Decompress(compressed); return err }})
		}
		measure(b, compressorRows[i]+"/compress", 1, compress...)
		measure(b, compressorRows[i]+"/decompress", 1, decompress...)
	}
}
