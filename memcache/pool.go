package memcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	gomemcache "github.com/bradfitz/gomemcache/memcache"
)

// maxIdle is how many idle connections a pool keeps, as Open's comment says. In use there may be more.
const maxIdle = 64

var errClosed = fmt.Errorf("memcache: the backend is closed: %w", net.ErrClosed)

// pool runs operations on the connections to one server, or on a client of the caller's, which has
// its own connections and may have several servers.
type pool struct {
	theirs *gomemcache.Client // the caller's; nil: all below is ours

	addr    net.Addr
	timeout time.Duration // of each step of I/O; 0: gomemcache's, 500 ms

	mu     sync.Mutex
	idle   []*conn // the last one in is the first one out, so that what a peak left over falls idle
	closed bool
}

// conn is one connection and a client that uses no other. gomemcache takes no context; closing the
// connection under it is what ends an operation whose context has ended.
type conn struct {
	client *gomemcache.Client
	close  func() error
	cancel func() // close, as context.AfterFunc wants it; made once and not for each operation
}

// do runs op, and once more when the connection turns out to be broken, as all of them are after a
// restart of the server or its idle_timeout. op must be harmless to repeat, as get, set, delete and
// flush_all are.
func (p *pool) do(ctx context.Context, op func(*gomemcache.Client) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := p.try(ctx, false, op)
	if !answered(err) && broken(err) && ctx.Err() == nil {
		// The other idle connections are as dead as this one: without dropping them the second
		// attempt, and many an operation after it, would only pick up the next dead one.
		p.drop()
		err = p.try(ctx, true, op)
	}
	if !answered(err) {
		if over := ended(ctx); over != nil {
			return over // err is only what the end of the context made of the connection
		}
	}
	return err
}

// answered says whether the server has answered, so that the connection is ready for the next
// operation.
func answered(err error) bool { return err == nil || errors.Is(err, gomemcache.ErrCacheMiss) }

// ended returns ctx's error. A dial knows the deadline itself, and may come back with a timeout of
// the network's a moment before the context says anything.
func ended(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return ctx.Err()
}

// try runs op once, on a new connection if fresh.
func (p *pool) try(ctx context.Context, fresh bool, op func(*gomemcache.Client) error) error {
	if p.theirs != nil {
		return op(p.theirs)
	}
	c, err := p.take(ctx, fresh)
	if err != nil {
		return err
	}
	var stop func() bool
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, c.cancel)
	}
	err = op(c.client)
	cancelled := stop != nil && !stop() // then it is closed, or will be any moment
	if cancelled || !answered(err) {
		_ = c.close() // never reused: an answer may still be on its way
		return err
	}
	p.put(c)
	return err
}

// take returns an idle connection, or a new one.
func (p *pool) take(ctx context.Context, fresh bool) (*conn, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errClosed
	}
	if last := len(p.idle) - 1; last >= 0 && !fresh {
		c := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		p.mu.Unlock()
		return c, nil
	}
	p.mu.Unlock()

	timeout := p.timeout
	if timeout == 0 {
		timeout = gomemcache.DefaultTimeout
	}
	d := net.Dialer{Timeout: timeout}
	nc, err := d.DialContext(ctx, p.addr.Network(), p.addr.String())
	if err != nil {
		return nil, err
	}
	client := gomemcache.NewFromSelector(p)
	client.Timeout = p.timeout
	client.DialContext = func(context.Context, string, string) (net.Conn, error) { return nc, nil }
	return &conn{client: client, close: nc.Close, cancel: func() { _ = nc.Close() }}, nil
}

// put makes c idle, or closes it where there are enough.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	keep := !p.closed && len(p.idle) < maxIdle
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		_ = c.close()
	}
}

// drop closes the idle connections.
func (p *pool) drop() {
	if p.theirs != nil {
		_ = p.theirs.Close() // closes its idle connections only; the client goes on working
		return
	}
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range idle {
		_ = c.close()
	}
}

// shut closes the idle connections of a pool of ours, and the others when they are given back.
func (p *pool) shut() {
	if p.theirs != nil {
		return
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.drop()
}

// PickServer and Each make the pool its clients' selector: of one server.
func (p *pool) PickServer(string) (net.Addr, error)    { return p.addr, nil }
func (p *pool) Each(f func(addr net.Addr) error) error { return f(p.addr) }

// broken says whether err means that the connection is of no use any more, so that a new one may
// work. A timeout isn't that: to try again would only double the wait for a server that hangs. (A
// timeout of the dial is a gomemcache.ConnectTimeoutError, which is no net.Error and wraps nothing.)
func broken(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return true
	}
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}
