package memcache

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	gomemcache "github.com/bradfitz/gomemcache/memcache"

	"github.com/goappcache/appcache"
)

const (
	defaultServer  = "127.0.0.1:11211"
	defaultMaxItem = 1 << 20 // memcached's, without -I
	minItem        = 1 << 10 // the least and the most that memcached takes for -I
	maxItem        = 1 << 30

	// itemOverhead is what memcached counts as part of an item besides key and value: 59 bytes in
	// version 1.6 (header 48, CAS 8, a zero after the key, CR LF), and before 1.5 up to 15 more.
	itemOverhead = 48 + 8 + 1 + 2 + 15

	// relativeLimit is the longest expiration time that memcached takes as seconds from now. What
	// is over it is a Unix time.
	relativeLimit = 30 * 24 * 60 * 60

	// flushTick is a little more than a tick of memcached's clock.
	flushTick = 1100 * time.Millisecond
	maxTicks  = 3
)

var _ appcache.RawBackend = (*Backend)(nil)

// Options configures [New] and [Open]. The zero value, and nil, are the defaults.
type Options struct {
	// MaxItemSize is the server's limit for one item in bytes, as given to memcached with -I: 1024
	// to 1 GiB. 0 is memcached's default, 1 MiB. Value, key and a header of up to 74 bytes have to
	// fit in; a value that doesn't is [appcache.ErrTooLarge] and isn't sent. It mustn't be more
	// than the server's: memcached refuses such an item and deletes what was there.
	MaxItemSize int
}

// Backend keeps entries in one or several memcached servers. Its methods are safe for concurrent
// use. The zero value isn't usable; [New] and [Open] make one.
type Backend struct {
	servers *gomemcache.ServerList // nil: the caller's client knows
	pools   []*pool                // one for each server, or one with the caller's client
	byAddr  map[string]*pool       // nil when there is only one
	maxItem int
}

// New returns a backend over client. Nil stands for a memcached on 127.0.0.1:11211, as with [Open].
//
// The client stays the caller's, who configures and closes it. It may be used for other things at
// the same time. When a connection turns out to be broken, the backend drops the client's idle
// connections; that is all it does to it.
//
// gomemcache knows no contexts: an operation that has begun ends when the client's Timeout (500 ms
// for each step unless set) is over, and only then returns the context's error. Whoever needs it
// sooner sets Timeout, or uses Open. Set MaxIdleConns too: the client's own 2 connections a server
// are too few for a service. A server's address that can't be resolved is swallowed by
// gomemcache.New, and all operations then fail with [gomemcache.ErrNoServers].
//
// New panics when the options are impossible.
func New(client *gomemcache.Client, opts *Options) *Backend {
	b := &Backend{maxItem: maxItemSize(opts)}
	if client != nil {
		b.pools = []*pool{{theirs: client}}
		return b
	}
	if err := b.connect(defaultServer); err != nil {
		panic(err) // it is a literal address: there is nothing to look up
	}
	return b
}

// Open returns a backend over servers, with connections of its own, which [Backend.Close] closes.
// A server is "host:port", or the path of a Unix socket (with a "/" in it). Each key lives on one
// of them, the one that gomemcache's default selector picks, so the list and its order should be
// the same in every process.
//
// Names are resolved here, once; a server that is down is no error yet. An operation ends the moment
// its context does. Without that, each step of it (dialling, sending and waiting, reading) ends
// after 500 ms. Of each server's connections up to 64 are kept idle.
//
// Without servers, or when an address can't be resolved, Open returns an error. It panics when the
// options are impossible.
func Open(opts *Options, servers ...string) (*Backend, error) {
	b := &Backend{maxItem: maxItemSize(opts)}
	if len(servers) == 0 {
		return nil, errors.New(`memcache: no servers: give Open at least one, like "localhost:11211"`)
	}
	if err := b.connect(servers...); err != nil {
		return nil, err
	}
	return b, nil
}

func maxItemSize(opts *Options) int {
	if opts == nil || opts.MaxItemSize == 0 {
		return defaultMaxItem
	}
	if n := opts.MaxItemSize; n < minItem || n > maxItem {
		panic(fmt.Sprintf("memcache: Options.MaxItemSize is %d: give the bytes that the server has with -I, %d to %d, or 0 for 1 MiB", n, minItem, maxItem))
	}
	return opts.MaxItemSize
}

func (b *Backend) connect(servers ...string) error {
	for _, server := range servers {
		if server == "" { // net.ResolveTCPAddr takes it for ":0"
			return fmt.Errorf(`memcache: a server's address in %q is empty: give "host:port"`, servers)
		}
	}
	b.servers = new(gomemcache.ServerList)
	if err := b.servers.SetServers(servers...); err != nil {
		return fmt.Errorf("memcache: %w", err)
	}
	b.byAddr = map[string]*pool{}
	return b.servers.Each(func(addr net.Addr) error {
		if b.byAddr[addr.String()] == nil { // one listed twice has twice the keys, not two pools
			p := &pool{addr: addr}
			b.pools = append(b.pools, p)
			b.byAddr[addr.String()] = p
		}
		return nil
	})
}

// GetRaw implements [appcache.RawBackend] with memcached's gets.
func (b *Backend) GetRaw(ctx context.Context, key string) (value []byte, found bool, err error) {
	key, err = storeKey(key)
	if err != nil {
		return nil, false, err
	}
	var item *gomemcache.Item
	err = b.do(ctx, key, func(c *gomemcache.Client) (err error) {
		item, err = c.Get(key)
		return err
	})
	if errors.Is(err, gomemcache.ErrCacheMiss) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	return item.Value, true, nil
}

// SetRaw implements [appcache.RawBackend] with memcached's set. The entry lives for ttl and less
// than two seconds more, but not beyond January 2038, unless memcached evicts it; a ttl of 0 is for
// ever. A value that is too large for [Options] is an error that wraps [appcache.ErrTooLarge].
//
// Any other error doesn't mean that nothing happened: a write that was given up on, or whose
// connection broke and which was sent again, may have reached the server and be carried out later,
// even after a later write of another connection.
func (b *Backend) SetRaw(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	key, err := storeKey(key)
	if err != nil {
		return err
	}
	// Checked here since the server, when it refuses an item, deletes the one that was there.
	if most := b.maxItem - itemOverhead - len(key); len(value) > most {
		return fmt.Errorf("memcache: %w: %d bytes, at most %d fit under this key (Options.MaxItemSize, memcached -I)", appcache.ErrTooLarge, len(value), most)
	}
	item := &gomemcache.Item{Key: key, Value: value, Expiration: expiration(ttl, time.Now)}
	return b.do(ctx, key, func(c *gomemcache.Client) error { return c.Set(item) })
}

// InvalidateRaw implements [appcache.RawBackend] with memcached's delete. What SetRaw says about a
// write that was given up on holds here too.
func (b *Backend) InvalidateRaw(ctx context.Context, key string) error {
	key, err := storeKey(key)
	if err != nil {
		return err
	}
	err = b.do(ctx, key, func(c *gomemcache.Client) error { return c.Delete(key) })
	if errors.Is(err, gomemcache.ErrCacheMiss) {
		return nil
	}
	return err
}

// Clear destroys everything in every server, whoever wrote it, with memcached's flush_all.
//
// On a server that fails the entries stay, and the error says so. A backend that [Open] made flushes
// all the others nevertheless, one after the other and for as long as the context lasts. With a
// client of the caller's gomemcache stops at the first that fails, and those after it in its list
// keep their entries too.
//
// Servers that run without CAS (memcached -C) destroy whatever is written in the same second as
// the flush, even after it. Clear takes that second then, so that what is written after it stays.
// Of the servers of a caller's client it asks only one whether that is so.
func (b *Backend) Clear(ctx context.Context) error {
	var errs []error
	pending := b.pools
	probe := &gomemcache.Item{Key: "appcache-clear-" + rand.Text(), Expiration: 60}
	// A probe that isn't kept in the last round either has been flushed by somebody else meanwhile.
	for round := 0; round <= maxTicks && len(pending) > 0; round++ {
		if round > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(flushTick):
			}
		}
		var unsettled []*pool
		for _, p := range pending {
			settled, err := p.clear(ctx, probe, round > 0)
			switch {
			case err != nil && p.addr != nil:
				errs = append(errs, fmt.Errorf("clearing %s: %w", p.addr, err))
			case err != nil:
				errs = append(errs, err)
			case !settled:
				unsettled = append(unsettled, p)
			}
		}
		pending = unsettled
	}
	return errors.Join(errs...)
}

// clear flushes, unless that has been done, and says whether what is written from now on stays:
// when probe does.
func (p *pool) clear(ctx context.Context, probe *gomemcache.Item, flushed bool) (settled bool, err error) {
	err = p.do(ctx, func(c *gomemcache.Client) error {
		if !flushed {
			if err := c.FlushAll(); err != nil {
				return err
			}
		}
		// An empty list of servers, for which FlushAll returns nil, is found out here.
		if err := c.Set(probe); err != nil {
			return err
		}
		item, err := c.Get(probe.Key)
		if err != nil {
			return err
		}
		// Just after the flush only a server with CAS is believed. Without, the second may have
		// ended here and go on in a caller's other servers.
		settled = flushed || item.CasID != 0
		return c.Delete(probe.Key)
	})
	if errors.Is(err, gomemcache.ErrCacheMiss) {
		err = nil
	}
	return settled, err
}

// Close closes the connections that the backend made; those in use are closed as their operations
// end. The methods return an error afterwards. With a client of the caller's there are none, and
// Close does nothing. It always returns nil, and may be called more than once.
func (b *Backend) Close() error {
	for _, p := range b.pools {
		p.shut()
	}
	return nil
}

// do runs op with a client for the server that has key.
func (b *Backend) do(ctx context.Context, key string, op func(*gomemcache.Client) error) error {
	p := b.pools[0]
	if len(b.pools) > 1 {
		addr, err := b.servers.PickServer(key)
		if err != nil {
			return err
		}
		p = b.byAddr[addr.String()]
	}
	return p.do(ctx, op)
}

// expiration returns what memcached calls exptime. It counts in ticks of one second, and the first
// may come at once: n lives between n-1 and n seconds. So not early means rounding up and one more. (Where the
// clock skips a second it is n-2. That is one in a thousand, and a miss; one more would make all entries go later.)
func expiration(ttl time.Duration, now func() time.Time) int32 {
	if ttl == 0 {
		return 0
	}
	seconds := int64((ttl-1)/time.Second) + 2
	if seconds > relativeLimit {
		seconds += now().Unix()
	}
	return int32(min(seconds, math.MaxInt32))
}
