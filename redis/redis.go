package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/goappcache/appcache"
)

var _ appcache.RawBackend = (*Backend)(nil)

// maxValue is the size in bytes of the largest value that a server takes as it comes, its
// proto-max-bulk-len. A longer one would be sent whole and then end the connection.
const maxValue = 512 << 20

// Backend keeps entries in Redis. Make one with [New]; the zero value is of no use. It is safe for
// concurrent use.
type Backend struct {
	client goredis.UniversalClient
	own    bool // client is of our making
}

// New returns a backend over a client, which stays the caller's: New doesn't talk to the server, and
// the client is neither changed nor closed. It may be a [goredis.Client], with or without Sentinel, a
// [goredis.ClusterClient], a [goredis.Ring], a [goredis.AutoPipeliner], or a type of the caller's
// that embeds a pointer to one of these. The package's documentation says how to set a client up.
//
// nil is for database 0 of the server at localhost:6379, with a client whose calls end at their
// context's deadline and which dials a server that is down once an attempt instead of five times.
// [Backend.Close] closes it.
//
// New panics on a nil pointer in client.
func New(client goredis.UniversalClient) *Backend {
	if client == nil {
		return &Backend{own: true, client: goredis.NewClient(&goredis.Options{
			Addr:                  "localhost:6379",
			ContextTimeoutEnabled: true,
			DialerRetries:         1,
		})}
	}
	if v := reflect.ValueOf(client); v.Kind() == reflect.Pointer && v.IsNil() {
		panic(fmt.Sprintf("redis: New was given a nil %T: pass a client, or nil itself for the server at localhost:6379", client))
	}
	return &Backend{client: client}
}

// Close closes the client that New made when it was given none. It leaves a client of the caller's
// alone. Closing again does nothing.
func (b *Backend) Close() error {
	if !b.own {
		return nil
	}
	if err := b.client.Close(); !errors.Is(err, goredis.ErrClosed) {
		return err
	}
	return nil
}

// GetRaw returns the value under key, with one GET. The caller owns the returned slice. A key that
// holds something else than a string, such as a list, is an error and not a miss.
func (b *Backend) GetRaw(ctx context.Context, key string) (value []byte, found bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	// Bytes is the memory that the reply was read into, and nobody else's: no copy is needed.
	value, err = b.client.Get(ctx, key).Bytes()
	switch {
	case err == nil:
		return value, true, nil
	case errors.Is(err, goredis.Nil):
		return nil, false, nil
	default:
		return nil, false, b.failed(ctx, err)
	}
}

// SetRaw stores value under key, with one SET. Redis counts a ttl in whole milliseconds: a part of
// one is rounded up. A ttl of 0 never expires, and a negative one is [appcache.ErrNegativeTTL]. A
// value over 512 MiB, which is the most that a server takes by default, is [appcache.ErrTooLarge].
func (b *Backend) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ttl < 0 {
		return appcache.ErrNegativeTTL // go-redis takes -1 for "keep the TTL", and others for "for ever"
	}
	if len(value) > maxValue {
		return fmt.Errorf("redis: %w: %d bytes, of at most %d", appcache.ErrTooLarge, len(value), maxValue)
	}
	if err := b.client.Set(ctx, key, value, wholeMilliseconds(ttl)).Err(); err != nil {
		return b.failed(ctx, err)
	}
	return nil
}

// InvalidateRaw removes the entry under key, whatever it holds, with one DEL.
func (b *Backend) InvalidateRaw(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.client.Del(ctx, key).Err(); err != nil {
		return b.failed(ctx, err)
	}
	return nil
}

// Clear destroys every key of the client's database, on every master or shard, whoever wrote it. It
// sends FLUSHDB to each of them, so other databases of the servers stay. When some can't be
// flushed the others are all the same, and the errors come back joined.
//
// A Ring leaves out a shard that it takes for down, and that shard comes back with its entries. Clear
// is an error then: the shards it reached must be those of RingOptions.Addrs. So after Ring.SetAddrs
// has changed them, Clear flushes the ones that are up and always returns an error. It also is an error
// with an AutoPipeliner over a ClusterClient, whose masters can't be reached through it.
func (b *Backend) Clear(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var err error
	switch c := b.client.(type) {
	// FlushDB of a ClusterClient or a Ring flushes one server and reports success. A ClusterClient's
	// ForEachShard goes to the replicas too, which refuse a flush, so it must not be looked for first.
	case hasMasters:
		_, err = flushEach(ctx, c.ForEachMaster)
	case hasShards:
		var flushed map[string]bool
		flushed, err = flushEach(ctx, c.ForEachShard)
		if ring, ok := c.(interface{ Options() *goredis.RingOptions }); ok {
			err = errors.Join(err, allFlushed(ring.Options().Addrs, flushed))
		}
	case interface{ Options() *goredis.Options }: // a Client
		err = b.client.FlushDB(ctx).Err()
	default:
		err = b.flushUnknown(ctx)
	}
	if err != nil {
		return b.failed(ctx, err)
	}
	return nil
}

// hasMasters is a ClusterClient, and hasShards a Ring.
type (
	hasMasters interface {
		ForEachMaster(context.Context, func(context.Context, *goredis.Client) error) error
	}
	hasShards interface {
		ForEachShard(context.Context, func(context.Context, *goredis.Client) error) error
	}
	forEach = func(context.Context, func(context.Context, *goredis.Client) error) error
)

// flushEach flushes each server that each leads to, and returns their addresses and all their errors.
func flushEach(ctx context.Context, each forEach) (map[string]bool, error) {
	var mu sync.Mutex
	var errs []error
	addrs := make(map[string]bool)
	err := each(ctx, func(ctx context.Context, c *goredis.Client) error {
		err := c.FlushDB(ctx).Err()
		mu.Lock()
		defer mu.Unlock()
		addrs[c.Options().Addr] = true
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", c.Options().Addr, err))
		}
		return nil // of several errors each would return one
	})
	return addrs, errors.Join(append(errs, err)...)
}

// allFlushed checks that the shards which a Ring led us to are the ones it was made with. It skips
// those that are down and says nothing, and what SetAddrs has changed can't be asked for.
func allFlushed(shards map[string]string, flushed map[string]bool) error {
	var errs []error
	known := make(map[string]bool)
	for name, addr := range shards {
		known[addr] = true
		if !flushed[addr] {
			errs = append(errs, fmt.Errorf("redis: the shard %s at %s is down and was not flushed", name, addr))
		}
	}
	for addr := range flushed {
		if !known[addr] {
			errs = append(errs, fmt.Errorf("redis: the shard at %s is not in the ring's options: after SetAddrs nobody knows whether others are down", addr))
		}
	}
	return errors.Join(errs...)
}

// flushUnknown flushes a client that says nothing of what is beneath it. An AutoPipeliner, or a
// struct with a UniversalClient in it, hides a cluster, and FlushDB would flush one master of it.
func (b *Backend) flushUnknown(ctx context.Context) error {
	info, err := b.client.Info(ctx, "cluster").Result()
	if err != nil {
		return err
	}
	if strings.Contains(info, "cluster_enabled:1") {
		return fmt.Errorf("redis: through a %T Clear can't reach every master of the cluster: give New the ClusterClient itself", b.client)
	}
	return b.client.FlushDB(ctx).Err()
}

// failed returns what a method answers when the client answered err.
func (b *Backend) failed(ctx context.Context, err error) error {
	// A ClusterClient that can't reach a node goes on trying for up to ClusterStateReloadInterval, a
	// minute, although another has long taken its place. So it is told to look again, also when the
	// caller ran out of time, which is how a node that is gone looks to short deadlines. It doesn't
	// block, and the client does it at most five times a second.
	var reply goredis.Error
	if c, ok := b.client.(interface{ ReloadState(context.Context) }); ok && !errors.As(err, &reply) {
		c.ReloadState(ctx)
	}
	done := ctx.Err()
	if deadline, ok := ctx.Deadline(); ok && done == nil && !time.Now().Before(deadline) {
		done = context.DeadlineExceeded // the socket's timer can be a moment ahead of the context's
	}
	if done == nil || errors.Is(err, done) {
		return err
	}
	return fmt.Errorf("%w: %w", done, err) // a read that met the deadline is only an "i/o timeout"
}

// wholeMilliseconds rounds up, because go-redis cuts off. Less than one would even be logged.
func wholeMilliseconds(ttl time.Duration) time.Duration {
	rest := ttl % time.Millisecond
	if rest == 0 || ttl > math.MaxInt64-time.Millisecond {
		return ttl // in 292 years nobody misses the rest
	}
	return ttl + time.Millisecond - rest
}
